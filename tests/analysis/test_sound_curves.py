"""Curves of attacks on the waveform: one per norm, on axes in dB."""

import functools
import math

import numpy as np
import pandas as pd
import pytest

from tenuto.analysis import curve_shape, curves, statistics
from tenuto.errors import DataError
from tenuto.files import read_csv
from tenuto.reporting import write_curves
from tenuto.reporting.curves import curve_table
from tenuto.reporting.figures import curves as curve_figures
from tests.analysis import test_curves
from tests.analysis.test_curves import DRAWS, measured, natural
from tests.analysis.test_natural import graded
from tests.reporting import made_up
from tests.reporting.made_up import CLIPS, epsilon_of, sound


@functools.cache
def both():
    """The curves of two norms."""
    return measured(sound())


def of(norm, rows=None, *more):
    """The curves of one norm."""
    made = both() if rows is None else measured(rows, *more)
    (chosen,) = [one for one in made.by_norm if one.norm == norm]
    return chosen


# One curve per norm


def test_every_norm_has_a_curve_of_its_own():
    assert [one.norm for one in both().by_norm] == ["snr", "masked"]
    for one in both().by_norm:
        expected = [0.125, *made_up.SOUND[one.norm].values()]
        assert one.runs["mae"].tolist() == pytest.approx(expected)


def test_the_curve_of_a_norm_does_not_depend_on_the_others():
    together, alone = of("snr"), measured(sound(ladders={"snr": made_up.SOUND["snr"]}))
    pd.testing.assert_frame_equal(together.summary, alone.summary)
    assert alone.others == ()


def test_a_norm_is_chosen_by_its_name():
    result = curves.measure(sound(), draws=DRAWS, norm="masked")
    assert (result.norm, result.others) == ("masked", ())
    with pytest.raises(DataError, match="no norm 'linf'; norms of the rows: snr, masked"):
        curves.measure(sound(), draws=DRAWS, norm="linf")


def test_norms_that_are_not_in_db_have_curves_of_their_own_too():
    rows = pd.concat([test_curves.run(), test_curves.run(ladder={1.0: 0.25}).assign(norm="l2")])
    result = measured(rows)
    assert [one.norm for one in result.by_norm] == ["linf", "l2"]
    assert [one.summary["doubling"].item() for one in result.by_norm] == pytest.approx([0.1 + 0.1 / 3, 1.0])


def test_natural_changes_of_other_weights_are_left_out():
    rows, changes = sound().assign(checkpoint="b" * 64), pd.concat([natural(), graded()], ignore_index=True)
    same = measured(rows, changes.assign(checkpoint="b" * 64))
    assert len(same.natural)
    assert len(same.corruption)
    other = measured(rows, changes.assign(checkpoint="a" * 64))
    assert other.natural.empty
    assert other.corruption.empty
    assert "natural-2 of A2E-6 was measured with other weights than were attacked: left out." in other.remarks


def test_names_of_norms_are_text_in_a_notebook():
    rows = pd.concat([test_curves.run(), test_curves.run().assign(norm="<script>alert(1)</script>")])
    page = measured(rows)._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_names_of_norms_lead_to_no_other_folder(tmp_path, undrawn):
    rows = pd.concat([test_curves.run(), test_curves.run().assign(norm="x/../../../evil")])
    out = tmp_path / "a" / "b"
    write_curves(measured(rows), out)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent for path in written} == {out}
    assert (out / "curve-x_.._.._.._evil.csv").is_file()


def test_runs_with_other_budgets_are_refused_in_db():
    other = sound(seed=21, ladders={"snr": {40: 0.2}, "masked": made_up.SOUND["masked"]})
    with pytest.raises(DataError, match="A2E-21 was attacked at 40 dB SNR and A2E-6 at 40 dB SNR, 20 dB SNR"):
        measured(pd.concat([sound(), other]))


# Numbers in the unit of the axis


def test_the_error_doubles_between_two_budgets_in_db():
    # 0.25 is a third of the way from 0.1875 at 40 dB to 0.375 at 20 dB.
    assert of("snr").summary["doubling"].item() == pytest.approx(40 - 20 / 3)
    # It is a ninth of the way from 0.1875 at -6 dB to 0.75 at 6 dB.
    assert of("masked").summary["doubling"].item() == pytest.approx(-6 + 12 / 9)


def test_below_the_smallest_budget_the_effect_is_proportional_to_the_size():
    # The error rises by 0.25 up to 40 dB, and has doubled after half of that: at half the amplitude.
    result = of("snr", sound(ladders={"snr": {40: 0.375, 20: 0.5}}))
    assert result.summary["doubling"].item() == pytest.approx(40 + 20 * math.log10(2))


@pytest.mark.parametrize(("norm", "infinite"), [("snr", -math.inf), ("masked", math.inf)])
def test_an_error_that_never_doubles_is_not_reached(norm, infinite):
    rows = sound(ladders={norm: {0: 0.13, {"snr": -6, "masked": 6}[norm]: 0.2}})
    result = measured(rows)
    assert result.summary["doubling"].item() == infinite
    assert curve_table(result).cells["Doubles at"].item().startswith("not reached")


def test_an_interval_end_that_is_not_reached_is_beyond_the_largest_budget():
    rows = pd.concat(
        [sound(seed=6), sound(seed=21, ladders={"snr": {40: 0.13, 20: 0.14}, "masked": {-6: 0.13, 6: 0.14}})]
    )
    snr, masked = (curve_table(one).cells["Doubles at"].item() for one in measured(rows).by_norm)
    assert snr.endswith("(< 20 to 33.3)")
    assert masked.endswith("(-4.7 to > 6)")


def test_areas_are_over_the_drawn_axis():
    # Excess 0.0625 at 40 dB and 0.25 at 20 dB: their mean, whatever the clean clip.
    result = of("snr").summary
    assert result["mean_excess"].item() == pytest.approx((0.0625 + 0.25) / 2)
    assert result["area"].item() == pytest.approx((0.1875 + 0.375) / 2 * 20)


def test_the_excess_of_one_budget_is_that_at_the_budget():
    result = of("snr", sound(ladders={"snr": {40: 0.1875}}))
    assert result.summary["mean_excess"].item() == pytest.approx(0.0625)
    assert "One budget (40 dB SNR): the curve is a straight line from the clean error." in result.remarks


def test_the_size_from_which_on_the_attack_exceeds_natural_changes_is_in_db():
    # mp3 moves predictions by 0.125, the attack by 0.0625 at 40 dB and by 0.25 at 20 dB: a third of the way.
    result = of("snr", sound(), natural(moved=0.125))
    assert result.summary["natural_change"].item() == "mp3 128 kb/s"
    assert result.summary["beyond"].item() == pytest.approx(40 - 20 / 3)
    assert curve_table(result).cells["Exceeds natural at"].item() == "33.3 dB"


def test_tables_have_both_epsilon_and_db():
    result = of("snr")
    assert result.runs["db"].tolist() == pytest.approx([math.inf, 40, 20])
    assert result.summary["largest_db"].item() == pytest.approx(20)
    assert "db" not in measured(test_curves.run()).runs


def test_the_interval_is_that_of_draws_in_db():
    rows = pd.concat(
        [sound(seed=6), sound(seed=21, ladders={"snr": {40: 0.25, 20: 0.75}, "masked": {6: 0.5, -6: 0.2}})]
    )
    line = of("snr", rows).summary.iloc[0]
    matrix = [
        np.repeat([[a], [b]], CLIPS, axis=1) for a, b in ((0.125, 0.125), (0.1875, 0.25), (0.375, 0.75))
    ]
    drawn = np.stack([statistics.bootstrap_means(table, DRAWS) for table in matrix], axis=-1)
    doubled = -20 * np.log10(curve_shape.crossing([0, 0.01, 0.1], drawn, 0.25, in_db=True))
    assert (line["doubling_low"], line["doubling_high"]) == pytest.approx((doubled.min(), doubled.max()))


# The corruption error


def test_the_corruption_error_is_that_of_every_system_next_to_all_norms():
    natural_rows = pd.concat([graded("A2E", clips=CLIPS), natural(moved=0.125)], ignore_index=True)
    result = measured(pd.concat([sound(), sound("A2M2E")]), natural_rows)
    for one in result.by_norm:
        assert one.corruption["corruption_error"].tolist() == pytest.approx([0.25])
        assert set(one.natural["change"]) == {"other excerpt", "mp3 128 kb/s"}
        cells = curve_table(one).cells["Corruption error"].tolist()
        assert cells == ["0.250 (0.250 to 0.250)", "–"]
        assert (
            "Corruption error: mean MAE over the kinds and strengths of natural-2."
            in curve_table(one).caption
        )
        above, _ = curve_figures.curve_figure(one).axes
        assert [text.get_text() for text in above.texts] == ["corruption error"]


def test_runs_of_natural_2_on_other_clips_have_no_corruption_error():
    rows = pd.concat([sound(), sound(seed=21)])
    fewer = graded(seed=21, clips=CLIPS).query("clip < '003'")
    natural_rows = pd.concat([graded(clips=CLIPS), fewer])
    result = measured(rows, natural_rows)
    assert result.corruption.empty
    assert any(
        remark.startswith("No corruption error: A2E: not every run has natural-2 rows")
        for remark in result.remarks
    )


# Text


def test_the_caption_speaks_of_the_axis():
    snr, masked = (curve_table(one).caption for one in both().by_norm)
    assert "signal-to-noise ratio from 40 to 20 dB." in snr
    assert "noise-to-mask ratio from -6 to 6 dB." in masked
    assert "epsilon" not in snr + masked


def test_a_heading_names_the_largest_budget():
    assert "MAE at 20 dB" in curve_table(of("snr")).cells
    assert "MAE at 6 dB" in curve_table(of("masked")).cells


# Figures


def test_attacks_get_stronger_to_the_right():
    for norm, ends in (("snr", (60, 20)), ("masked", (-18, 6))):
        result = of(norm)
        below = curve_figures.curve_figure(result).axes[1]
        assert below.get_xlim() == pytest.approx(ends)
        assert below.get_xlabel() == f"{result.axis.title} (dB)"
        labels = [label.get_text().replace("−", "-") for label in below.get_xticklabels()]
        assert labels[0] == "clean"
        assert sorted(map(float, labels[1:])) == sorted(made_up.SOUND[norm])


def test_no_solid_line_leads_to_the_clean_clip():
    above, _ = curve_figures.curve_figure(of("snr")).axes
    solid = [line for line in above.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]
    assert [list(line.get_xdata()) for line in solid] == [pytest.approx([40, 20])]


def test_emotions_are_drawn_over_the_same_axis():
    pushes = [
        made_up.run(
            attacked=0.125,
            clean=0.125,
            norm="snr",
            epsilon=epsilon_of("snr", db),
            objective="tender up",
            protocol="sound-1",
        )
        for db in (40, 20)
    ]
    result = of("snr", pd.concat([sound(), *pushes]).assign(unit="samples (full scale 1)"))
    panel = curve_figures.emotion_figure(result).axes[0]
    assert panel.get_xlim() == pytest.approx((60, 20))


# Files


def test_every_norm_has_files_of_its_own(tmp_path, undrawn):
    written = write_curves(measured(sound(), natural()), tmp_path)
    for norm in ("snr", "masked"):
        for name in ("curve-{}.png", "curve-{}.pdf", "curve-{}.csv", "bands-{}.csv", "summary-{}.md"):
            assert name.format(norm) in written
    assert "natural.csv" in written
    assert "curve.png" not in written


def test_a_norm_that_is_chosen_has_the_usual_names(tmp_path, undrawn):
    written = write_curves(curves.measure(sound(), draws=DRAWS, norm="snr"), tmp_path)
    assert "curve.png" in written
    table = read_csv(written["curve.csv"])
    assert table["db"].tolist() == pytest.approx([math.inf, 40, 20])
