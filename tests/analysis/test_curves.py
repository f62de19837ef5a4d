"""Curves from rows whose errors are known."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from tenuto.analysis import curve_shape, curves, emotion_curves, statistics
from tenuto.analysis.natural import OTHER_EXCERPT
from tenuto.errors import DataError, FileError
from tenuto.files import write_json
from tenuto.reporting import curves as curve_tables, write_curves
from tenuto.reporting.curves import curve_table
from tenuto.reporting.figures import curves as curve_figures
from tenuto.store.rows import NATURAL_PROTOCOL, emotion_names, values_of, write_rows
from tenuto.store.run import RunFolder
from tests.reporting import made_up

CLEAN = 0.125
LADDER = {0.1: 0.1875, 0.2: 0.375}
"""Epsilon -> worst error. Twice the clean error, 0.25, is met a third of the way from 0.1 to 0.2."""

DRAWS = 200


def attacked(epsilon, error, system="A2E", seed=6, attack="APGD", objective="squared error", **columns):
    named = {"protocol": "standard-1", "attack": attack, "objective": objective, "norm": "linf"}
    return made_up.run(system, seed, CLEAN, error, **named, epsilon=epsilon, **columns)


def run(system="A2E", seed=6, ladder=None, scale=1.0, **columns):
    """A strong attack with the errors of the ladder, and a weak one that adds hardly anything."""
    parts = [
        attacked(epsilon, error * scale, system, seed, attack, **columns)
        for epsilon, worst in (ladder or LADDER).items()
        for attack, error in (("Noise", CLEAN / scale), ("APGD", worst))
    ]
    return pd.concat(parts, ignore_index=True)


def pushing(rows):
    """The same rows and attacks that push ``tender`` up by epsilon and down by half of it."""
    parts = [rows]
    for (system, seed, epsilon), _ in rows.groupby(["system", "seed", "epsilon"]):
        for direction, change in (("up", epsilon), ("down", -epsilon / 2)):
            one = attacked(epsilon, CLEAN, system, seed, objective=f"tender {direction}")
            parts.append(one.assign(adversarial_tender=one["clean_tender"] + change))
    return pd.concat(parts, ignore_index=True)


def natural(system="A2E", seed=6, moved=0.25):
    """Other excerpts that only two clips have, and mp3, which moves predictions by ``moved``."""
    about = {"protocol": NATURAL_PROTOCOL, "attack": "natural", "l2": np.nan, "linf": np.nan}
    other = made_up.run(system, seed, CLEAN, CLEAN + 0.0625, **about, objective=OTHER_EXCERPT)
    mp3 = made_up.run(system, seed, CLEAN, CLEAN + moved, **about, objective="mp3 128 kb/s")
    return pd.concat([other.head(2), mp3], ignore_index=True)


def measured(rows, beside=None, constant=None):
    return curves.measure(rows, beside, draws=DRAWS, constant=constant)


# Per run


def test_a_curve_goes_from_the_clean_error_over_the_worst_of_every_budget():
    result = curves.curve(run())
    assert tuple(result.columns) == curves.CURVE
    assert result["epsilon"].tolist() == [0.0, 0.1, 0.2]
    assert result["mae"].tolist() == pytest.approx([0.125, 0.1875, 0.375])
    assert result["moved"].tolist() == pytest.approx([0.0, 0.0625, 0.25])
    assert result["clean_mae"].tolist() == pytest.approx([0.125] * 3)


def test_the_worst_is_sought_clip_by_clip():
    rows = run(ladder={0.1: 0.25})
    weak = (rows["attack"] == "Noise") & (rows["clip"] == "002")
    for emotion in emotion_names(rows):
        rows.loc[weak, f"adversarial_{emotion}"] = rows.loc[weak, f"label_{emotion}"] + 1.25
    assert curves.curve(rows)["mae"].tolist() == pytest.approx([0.125, (4 * 0.25 + 1.25) / 5])


def test_correlation_is_that_of_the_worst_predictions():
    falling = attacked(0.1, 0.5, falling=True)
    assert curves.curve(falling)["correlation"].tolist() == pytest.approx([1.0, -1.0])


def test_systems_stand_in_the_order_of_the_study_and_seeds_rise():
    rows = pd.concat([run("aA2E", 6), run("A2E", 21), run("A2E", 6)])
    order = curves.curve(rows).drop_duplicates(["system", "seed"])[["system", "seed"]]
    assert order.to_numpy().tolist() == [["A2E", 6], ["A2E", 21], ["aA2E", 6]]


def test_other_parts_of_the_split_do_not_count():
    rows = pd.concat([run(), run(split="train", scale=3.0)], ignore_index=True)
    pd.testing.assert_frame_equal(curves.curve(rows), curves.curve(run()))


# Where there is no curve


def test_rows_without_budgets_are_refused_in_one_sentence():
    with pytest.raises(DataError, match="paper-2025-released: no row of a test clip has an epsilon"):
        curves.curve(made_up.run())


def test_several_protocols_are_refused():
    with pytest.raises(DataError, match=r"2 protocols \(standard-1, standard-2\)"):
        curves.curve(pd.concat([run(), run(seed=21).assign(protocol="standard-2")]))


def test_runs_with_other_budgets_are_refused_by_name():
    rows = pd.concat([run(), run(seed=21, ladder={0.1: 0.2})])
    with pytest.raises(DataError, match=r"A2E-21 was attacked at 0.1 and A2E-6 at 0.1, 0.2"):
        curves.curve(rows)


def test_runs_on_other_clips_are_refused_by_name():
    rows = run(seed=21)
    with pytest.raises(DataError, match="clip 004 has a row in A2E-6 but none in A2E-21"):
        curves.curve(pd.concat([run(), rows[rows["clip"] != "004"]]))


def test_one_curve_of_two_norms_is_refused():
    with pytest.raises(DataError, match=r"2 norms \(linf, l2\); choose one with `norm`"):
        curves.curve(pd.concat([run(), run().assign(norm="l2")]))


def test_two_runs_of_one_system_and_seed_are_refused():
    with pytest.raises(DataError, match=r"2 runs \(A2E-6, other\)"):
        curves.curve(pd.concat([run(), run().assign(run="other")]))


# What sums a curve up


def test_the_doubling_epsilon_lies_between_two_budgets():
    assert measured(run()).summary["doubling"].item() == pytest.approx(0.1 + 0.1 / 3)


def test_an_error_that_never_doubles_has_an_infinite_epsilon_and_says_not_reached():
    result = measured(run(ladder={0.1: 0.15, 0.2: 0.2}))
    assert result.summary["doubling"].item() == math.inf
    assert curve_table(result).cells["Doubles at"].item().startswith("not reached")


def test_mean_excess_and_area_over_a_linear_axis():
    # Excess 0, 0.0625, 0.25 at 0, 0.1, 0.2: trapezoids of 0.003125 and 0.015625, over 0.2.
    result = measured(run()).summary
    assert result["mean_excess"].item() == pytest.approx(0.09375)
    assert result[["mean_excess_low", "mean_excess_high"]].to_numpy().ravel().tolist() == pytest.approx(
        [0.09375] * 2
    )


@pytest.mark.parametrize(
    ("values", "goal", "expected"),
    [
        ([1.0, 1.5, 2.5], 2.0, 0.15),
        ([1.0, 3.0, 2.5], 2.0, 0.05),
        ([1.0, 2.0, 2.5], 2.0, 0.1),
        ([1.0, 0.5, 3.0], 1.0, 0.0),
        ([1.0, 1.0, 1.0], 2.0, math.inf),
        ([0.0, 1.0, 1.0], 0.0, 0.0),
    ],
)
def test_crossing(values, goal, expected):
    assert float(curve_shape.crossing([0.0, 0.1, 0.2], values, goal)) == pytest.approx(expected)


def test_crossing_takes_many_curves_at_once():
    result = curve_shape.crossing([0.0, 1.0], [[0.0, 1.0], [0.0, 4.0], [0.0, 0.1]], [0.5, 1.0, 1.0])
    assert result.tolist() == pytest.approx([0.5, 0.25, math.inf])


# Intervals


def test_one_seed_resamples_clips_and_says_so():
    result = measured(run())
    assert result.summary["resampled"].item() == "clips"
    assert "One seed only, so intervals resample clips alone: A2E." in result.remarks
    assert "resample clips." in curve_table(result).caption


def test_several_seeds_resample_seeds_and_clips():
    rows = pd.concat([run(seed=6), run(seed=21, scale=2.0)])
    result = measured(rows)
    band = result.bands.query("quantity == 'error' and epsilon == 0.2").iloc[0]
    matrix = np.repeat([[0.375], [0.75]], made_up.CLIPS, axis=1)
    expected = statistics.crossed_interval(matrix, DRAWS)
    assert (band["low"], band["mean"], band["high"]) == pytest.approx((0.375, 0.5625, 0.75))
    assert (band["low"], band["high"]) == pytest.approx((expected.low, expected.high))
    assert band["resampled"] == "seeds and clips"


def test_the_doubling_interval_reaches_beyond_the_ladder_where_draws_never_double():
    rows = pd.concat([run(seed=6), run(seed=21, ladder={0.1: CLEAN, 0.2: CLEAN})])
    result = measured(rows)
    line = result.summary.iloc[0]
    assert line["doubling"] == pytest.approx(0.2)
    assert line["doubling_low"] == pytest.approx(0.1 + 0.1 / 3)
    assert line["doubling_high"] == math.inf
    assert curve_table(result).cells["Doubles at"].item() == "0.200 (0.133 to > 0.2)"


def test_an_interval_that_does_not_exist_is_not_shown():
    line = {"mean_excess": 0.5, "mean_excess_low": math.nan, "mean_excess_high": math.nan}
    assert curve_tables._estimate(line, "mean_excess") == "0.500"


# Natural changes


def test_natural_changes_are_measured_on_the_clips_that_have_them():
    result = measured(run(), natural()).natural.set_index("change")
    assert result.loc[OTHER_EXCERPT, ["clips", "skipped", "moved"]].tolist() == pytest.approx([2, 3, 0.0625])
    assert result.loc["mp3 128 kb/s", ["clips", "skipped"]].tolist() == [5, 0]


def test_beyond_natural_is_where_the_attack_moves_further_than_any_change():
    line = measured(run(), natural(moved=0.15625)).summary.iloc[0]
    assert (line["natural"], line["natural_change"]) == (pytest.approx(0.15625), "mp3 128 kb/s")
    assert line["beyond"] == pytest.approx(0.15)  # moved 0.0625 at 0.1 and 0.25 at 0.2


def test_what_nothing_moves_exceeds_nothing_and_an_error_of_0_never_doubles():
    constant = run(ladder={0.1: 0.125, 0.2: 0.125})
    changes = natural()
    for name in emotion_names(changes):
        changes[f"adversarial_{name}"] = changes[f"clean_{name}"]
    line = measured(constant, changes).summary.iloc[0]
    assert (line["natural"], line["beyond"]) == (0, math.inf)
    for kind in ("clean", "adversarial"):
        constant[[f"{kind}_{name}" for name in emotion_names(constant)]] = values_of(constant, "label")
    exact = measured(constant).summary.iloc[0]
    assert (exact["clean_mae"], exact["doubling"]) == (0, math.inf)


def test_natural_rows_of_other_runs_are_left_out():
    result = measured(run(), natural(seed=21))
    assert result.natural.empty
    assert "No natural-1 changes of A2E-6: `tenuto natural RUN` measures them." in result.remarks
    assert "Natural" not in curve_table(result).cells


def test_natural_rows_of_clips_that_were_not_attacked_are_left_out():
    rows, changes = run(), natural()
    first = rows["clip"].iloc[0]
    others = changes["clip"] != first
    changes.loc[others, [name for name in changes if name.startswith("adversarial_")]] += 1
    alone = measured(rows[rows["clip"] == first], changes).natural
    assert set(alone["clips"]) == {1}
    expected = measured(rows[rows["clip"] == first], changes[~others]).natural
    pd.testing.assert_frame_equal(alone, expected)
    left = "Natural changes of 4 clips that were not attacked: left out."
    assert left in measured(rows[rows["clip"] == first], changes).remarks
    assert left not in measured(rows, changes).remarks


def test_natural_rows_need_their_columns():
    with pytest.raises(DataError, match="rows of natural variation: no column clip"):
        measured(run(), natural().drop(columns="clip"))


def test_an_emotion_moves_naturally_as_far_as_under_its_strongest_change():
    result = measured(run(), natural(moved=0.25)).natural_emotions
    assert result == pytest.approx(dict.fromkeys(emotion_names(run()), 0.25))


def test_the_constant_baseline_is_what_the_run_recorded_and_else_not_known(tmp_path):
    folder = RunFolder(tmp_path / "A2E-6")
    write_rows(folder.rows("own-1"), run().assign(protocol="own-1"))
    assert math.isnan(curves.from_folders([tmp_path], draws=DRAWS).mean_mae)
    write_json(folder.metrics, {"mean_predictor": {"mae": {"overall": 0.25}}})
    assert curves.from_folders([tmp_path], draws=DRAWS).mean_mae == 0.25


def test_any_protocol_with_several_budgets_has_curves():
    several, one = run(), run(ladder={0.1: 0.2})
    assert curves.with_budgets({"own-1": several, "paper": made_up.run(), "single": one}) == "own-1"
    assert curves.with_budgets({"a": several, "b": pd.concat([several, run(seed=7)])}) == "b"
    assert curves.with_budgets({"single": one}) is None


# Emotions


def test_each_emotion_is_followed_up_and_down():
    result = emotion_curves.emotion_curves(pushing(run()))
    assert tuple(result.columns) == emotion_curves.EMOTION_COLUMNS
    assert set(result["emotion"]) == {"tender"}
    for direction, changes in (("up", [0.0, 0.1, 0.2]), ("down", [0.0, -0.05, -0.1])):
        own = result[result["direction"] == direction]
        assert own["epsilon"].tolist() == [0.0, 0.1, 0.2]
        assert own["change"].tolist() == pytest.approx(changes)


def test_a_protocol_that_pushes_no_single_emotion_has_no_such_curves(tmp_path, undrawn):
    result = measured(run())
    assert result.emotions.empty
    assert "emotions.png" not in write_curves(result, tmp_path)


# Files


def test_all_files_are_written_and_say_the_same_twice(tmp_path):
    rows = pushing(pd.concat([run("A2E"), run("A2M2E", scale=1.5)]))
    result = measured(rows, pd.concat([natural(), natural("A2M2E")]))
    written = write_curves(result, tmp_path / "once")
    expected = {f"{name}.{kind}" for name in ("curve", "emotions") for kind in ("csv", "png", "pdf")}
    assert set(written) == expected | {"bands.csv", "natural.csv", "summary.csv", "summary.md", "summary.tex"}
    again = write_curves(measured(rows, pd.concat([natural(), natural("A2M2E")])), tmp_path / "twice")
    for name, path in written.items():
        assert path.read_bytes() == again[name].read_bytes(), name


def test_one_budget_is_drawn_and_said():
    result = measured(run(ladder={0.001: 0.126}))
    assert any(sentence.startswith("One epsilon (0.001)") for sentence in result.remarks)
    above, _ = curve_figures.curve_figure(result).axes
    assert above.lines[0].get_xdata().tolist() == [0.0, 0.001]


def stored(folder, *tables):
    for table in tables:
        place = folder / table["run"].iloc[0] / "attacks" / f"{table['protocol'].iloc[0]}.csv"
        write_rows(place, table)
    return folder


def test_folders_may_be_runs_or_studies(tmp_path):
    stored(tmp_path / "runs", run(), run(seed=21), natural())
    whole = curves.from_folders([tmp_path], draws=DRAWS)
    parts = [tmp_path / "runs" / name for name in ("A2E-6", "A2E-21")]
    pd.testing.assert_frame_equal(whole.runs, curves.from_folders(parts, draws=DRAWS).runs)
    assert set(whole.natural["run"]) == {"A2E-6"}
    assert "No natural-1 changes of A2E-21: `tenuto natural RUN` measures them." in whole.remarks


def test_runs_without_the_protocol_are_named(tmp_path):
    stored(tmp_path, run(), made_up.run("A2M2E"))
    assert curves.from_folders([tmp_path], draws=DRAWS).remarks[0] == (
        "No rows of standard-1 of A2M2E-6: left out."
    )


def test_a_folder_without_the_protocol_is_refused(tmp_path):
    stored(tmp_path, made_up.run())
    with pytest.raises(
        FileError,
        match=r"no rows of protocol standard-1 for test clips\. .* rows: paper-2025-released",
    ):
        curves.from_folders([tmp_path])


def test_the_same_run_twice_is_refused(tmp_path):
    stored(tmp_path, run())
    with pytest.raises(DataError, match="A2E-6 has two rows of the same attack"):
        curves.from_folders([tmp_path, tmp_path / "A2E-6"])


# Figures


def test_labels_beside_the_axis_keep_their_distance_and_stay_inside():
    result = curve_figures.spread([0.1, 0.11, 0.12, 0.99, 1.0], 0.07)
    assert all(second - first >= 0.07 - 1e-9 for first, second in itertools.pairwise(result))
    assert result[0] >= 0.0
    assert result[-1] <= 1.0


def test_the_figure_names_every_system_and_every_natural_change():
    rows = pd.concat([run("A2E"), run("own system", scale=1.5)])
    figure = curve_figures.curve_figure(measured(rows, natural(), constant=0.25))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["A2E", "own system"]
    above, below = figure.axes
    assert [text.get_text() for text in above.texts] == ["predict the mean"]
    assert [text.get_text() for text in below.texts] == [OTHER_EXCERPT, "mp3 128 kb/s"]


SAMPLES = "samples (full scale 1)"


def test_budgets_of_two_units_are_not_compared():
    both = pd.concat([run(), run("waves", unit=SAMPLES)], ignore_index=True)
    with pytest.raises(DataError, match="epsilon is in 2 units"):
        curves.measure(both, draws=DRAWS)


def test_axis_and_caption_name_the_unit():
    result = curves.measure(run("waves", unit=SAMPLES), draws=DRAWS)
    assert result.unit == SAMPLES
    label = curve_figures.curve_figure(result).axes[1].get_xlabel()
    assert label == "Largest change of a sample, ε (full scale 1)"
    assert f"epsilon from 0 to 0.2 in {SAMPLES}." in curve_table(result).caption
