import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from tenuto.analysis import sentences, smc2025
from tenuto.analysis.comparison import Settings, compare
from tenuto.errors import DataError
from tenuto.reporting import save_figure
from tenuto.reporting.figures import smc2025 as figures
from tenuto.reporting.figures.clip import clip_figure
from tenuto.reporting.figures.curves import curve_figure, emotion_figure
from tenuto.reporting.figures.explanation import explanation_figure, intervention_figure
from tenuto.reporting.figures.tradeoff import tradeoff
from tests.analysis import test_curves
from tests.reporting import test_clip, test_explanation

from . import made_up

TIGHT = np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])


def differences(**samples):
    lines = [(name, seed, value) for name, sample in samples.items() for seed, value in enumerate(sample)]
    return pd.DataFrame(lines, columns=["system", "seed", "difference"])


def labels_of(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def test_figure_3_has_the_order_of_all_tables_and_a_legend():
    figure = figures.figure3(smc2025.difference(made_up.study()))
    assert labels_of(figure.axes[0]) == list(made_up.SYSTEMS)
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [entry.split(":")[0] for entry in entries] == list(made_up.SYSTEMS)
    assert len({handle.get_color() for handle in figure.legends[0].legend_handles}) == 5


def test_figure_3_leaves_missing_systems_out_and_puts_others_last():
    figure = figures.figure3(differences(own=[1.0], A2M2E=[2.0]))
    assert labels_of(figure.axes[0]) == ["A2M2E", "own"]


def test_figure_3_shows_every_seed():
    figure = figures.figure3(differences(A2E=TIGHT))
    (dots,) = (np.asarray(line.get_ydata()) for line in figure.axes[0].lines if line.get_marker() == "o")
    np.testing.assert_array_equal(np.sort(dots), TIGHT)


def test_few_seeds_get_no_box():
    assert not figures.figure3(differences(A2E=[1.0, 2.0])).axes[0].patches
    assert len(figures.figure3(differences(A2E=TIGHT)).axes[0].patches) == 1


@pytest.mark.parametrize("values", [(-0.08, -0.02), (-0.5, 0.1), (0.2, 0.4), (0.0, 0.0)])
def test_figure_3_shows_all_seeds_at_the_size_they_have(values):
    low, high = figures.figure3(differences(A2E=values)).axes[0].get_ylim()
    assert low <= min(values)
    assert max(values) < high
    extent = max(*values, 0) - min(*values, 0)
    assert high - low <= 1.2 * (extent or 1)


def test_figure_3_without_runs_is_refused():
    with pytest.raises(DataError, match="no runs to show"):
        figures.figure3(differences())


def test_an_outlier_is_inside_the_axis():
    figure = figures.figure3(differences(A2E=np.append(TIGHT, 9.0)))
    assert len(figure.axes) == 1
    assert figure.axes[0].get_ylim()[1] > 9


def test_differences_below_zero_are_inside_the_axis():
    low, _ = figures.figure3(differences(A2E=TIGHT - 2)).axes[0].get_ylim()
    assert low < -1


def panels(figure):
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def points(axes, marker):
    (line,) = (line for line in axes.lines if line.get_marker() == marker)
    return np.column_stack([line.get_xdata(), line.get_ydata()])


def test_figure_4_has_systems_in_columns_and_emotions_in_rows():
    figure = figures.figure4(made_up.study())
    assert list(panels(figure)) == [
        f"{system}: {emotion}" for emotion in ("tension", "tender") for system in ("A2B2E", "A2M2E", "aA2B2E")
    ]


def test_figure_4_shows_clean_and_attacked_predictions_over_annotations():
    rows = made_up.study()
    chosen = rows[(rows["seed"] == 21) & (rows["system"] == "A2M2E")]
    axes = panels(figures.figure4(rows))["A2M2E: tender"]
    np.testing.assert_array_equal(points(axes, "x"), chosen[["label_tender", "clean_tender"]])
    np.testing.assert_array_equal(points(axes, "o"), chosen[["label_tender", "adversarial_tender"]])


def test_figure_4_insets_show_the_clean_points_alone():
    axes = panels(figures.figure4(made_up.study()))["A2M2E: tender"]
    (inset,) = axes.child_axes
    np.testing.assert_array_equal(points(inset, "x"), points(axes, "x"))
    assert all(line.get_marker() != "o" for line in inset.lines)


@pytest.mark.parametrize(
    ("scale", "drawn_scale"), [((0.1, 0.9), (0, 1)), ((-1.0, 1.0), (-1, 1)), ((1.0, 9.0), (1, 9))]
)
def test_figure_4_is_drawn_over_the_rating_scale(scale, drawn_scale):
    rows = made_up.run("A2M2E", 21).assign(scale_low=scale[0], scale_high=scale[1])
    values = [name for name in rows if name.startswith(("label_", "clean_", "adversarial_"))]
    rows[values] = scale[0] + (scale[1] - scale[0]) * rows[values]
    low, high = drawn_scale
    for axes in panels(figures.figure4(rows)).values():
        for drawn in (axes, *axes.child_axes):
            (diagonal,) = (line for line in drawn.lines if line.get_linestyle() == "--")
            np.testing.assert_array_equal(diagonal.get_xydata(), [[low, low], [high, high]])
        assert axes.get_xlim() == pytest.approx((low - 0.05 * (high - low), high + 0.05 * (high - low)))


def test_figure_4_shares_its_axes():
    limits = {
        (axes.get_xlim(), axes.get_ylim()) for axes in panels(figures.figure4(made_up.study())).values()
    }
    assert len(limits) == 1


def test_figure_4_says_which_prediction_is_shown():
    text = figures.figure4(made_up.study()).get_supxlabel()
    assert text.startswith("Seed 21")
    assert "Attacked predictions are those of the last iterate." in text


def test_figure_4_takes_other_seeds_emotions_and_systems():
    figure: Any = figures.figure4(made_up.study(), 6, ("sad",), ("A2E",))
    assert list(panels(figure)) == ["A2E: sad"]
    figure.draw_without_rendering()
    assert figure._supxlabel.get_window_extent().width < figure.bbox.width


def test_figure_4_without_rows_names_what_was_wanted():
    with pytest.raises(DataError, match="no rows of A2B2E, A2M2E, aA2B2E with seed 5"):
        figures.figure4(made_up.study(), 5)


@pytest.mark.parametrize("attacked", [0.0, 0.5, 3.0, -3.0])
def test_no_inset_hides_a_point(attacked):
    rows = pd.concat(
        [made_up.run("A2M2E", 21, attacked=attacked), made_up.run("A2B2E", 21, attacked=-attacked)]
    )
    for axes in panels(figures.figure4(rows)).values():
        (inset,) = axes.child_axes
        left, bottom, width, height = inset.get_axes_locator()(inset, None).bounds
        everything = np.concatenate([points(axes, "x"), points(axes, "o")])
        shown = axes.transAxes.inverted().transform(axes.transData.transform(everything))
        frame = axes.transAxes.inverted().transform(
            axes.figure.transFigure.transform([(left, bottom), (left + width, bottom + height)])
        )
        assert not ((shown > frame[0]) & (shown < frame[1])).all(axis=1).any()


def test_the_overview_shows_both_measures_before_and_after():
    means = pd.DataFrame(
        {"clean_mae": [0.1, 0.2], "mae": [0.3, 0.4], "clean_corr": [0.9, 0.8], "corr": [0.5, np.nan]},
        index=["A2E", "A2M2E"],
    )
    error, correlation = figures.overview(means).axes
    assert [label.get_text() for label in error.get_yticklabels()] == ["A2E", "A2M2E"]
    assert [line.get_xdata()[0] for line in error.lines if len(line.get_xdata())] == [0.1, 0.3, 0.2, 0.4]
    assert correlation.get_xlim() == (-1.05, 1.05)


LONG = [f"A2M2E_sequential_bottleneck_variant_{number}" for number in range(10)]
CROWDED: dict[str, Callable[[], Any]] = {
    "overview": lambda: figures.overview(sentences.run_means(made_up.study(LONG)).means),
    "figure3": lambda: figures.figure3(smc2025.difference(made_up.study(LONG))),
    "figure4": lambda: figures.figure4(made_up.study(LONG), systems=LONG[:3]),
    "curve": lambda: curve_figure(test_curves.measured(pd.concat(map(test_curves.run, LONG)))),
    "emotions": lambda: emotion_figure(
        test_curves.measured(made_up.renamed(test_curves.pushing(test_curves.run()), LONG[0]))
    ),
    "explanation": lambda: explanation_figure(
        dataclasses.replace(
            test_explanation.explained(),
            source="-".join(LONG[:4]),
            effects={name: {"mode": 0.1} for name in LONG[:4]},
        )
    ),
    "intervention": lambda: intervention_figure(test_explanation.corrected(run=" ".join(LONG), system="A2E")),
    "clip": lambda: clip_figure(test_clip.made_up(clip="".join(LONG))),
}


@pytest.mark.parametrize("kind", CROWDED)
def test_many_long_names_are_neither_cut_nor_drawn_over_each_other(kind):
    figure = CROWDED[kind]()
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and len(text.get_text()) > 9]
    names = [text for text in texts if "_" in text.get_text() and not text.get_rotation()]
    assert names
    assert all(
        0 <= text.get_window_extent().x0 <= text.get_window_extent().x1 <= figure.bbox.x1 for text in texts
    )
    pairs = itertools.combinations([text.get_window_extent() for text in names], 2)
    assert not any(first.overlaps(second) for first, second in pairs)
    assert figure.axes[0].get_window_extent().height > 0.2 * figure.bbox.height


def test_a_figure_is_saved_as_png_and_pdf_with_the_same_bytes_each_time(tmp_path):
    contents = []
    for folder in ("one", "two"):
        written = save_figure(figures.figure3(differences(A2E=TIGHT)), tmp_path / folder / "figure3")
        assert list(written) == ["figure3.png", "figure3.pdf"]
        contents.append([path.read_bytes() for path in written.values()])
    assert contents[0] == contents[1]
    assert contents[0][0].startswith(b"\x89PNG")
    assert contents[0][1].startswith(b"%PDF")
    assert b"CreationDate" not in contents[0][1]


def errors(systems):
    """The comparison of systems with two runs each, whose clean errors are 0.1 and 0.2; no pair is planned."""
    runs = [
        made_up.run(system, seed, clean=seed / 10, attacked=0.5 + seed / 10 + place / 10)
        for place, system in enumerate(systems)
        for seed in (1, 2)
    ]
    return compare(pd.concat(runs), Settings(pairs=[], draws=100))


def test_the_trade_off_shows_every_run_the_means_and_an_attack_without_effect():
    (axes,) = tradeoff(errors(("A2E", "own"))).axes
    runs, mean, own_runs, own_mean, no_effect, _ = (line.get_xydata() for line in axes.lines)
    np.testing.assert_allclose(runs, [[0.1, 0.6], [0.2, 0.7]])
    np.testing.assert_allclose(own_runs, [[0.1, 0.7], [0.2, 0.8]])
    np.testing.assert_allclose([*mean, *own_mean], [[0.15, 0.65], [0.15, 0.75]])
    np.testing.assert_array_equal(no_effect[:, 0], no_effect[:, 1])
    assert axes.get_ylim() == pytest.approx((0, 1.08 * 0.8))


def test_ten_systems_with_long_names_are_told_apart_in_a_legend_outside_the_axes():
    names = [f"A2M2E_sequential_variant_{number}" for number in range(10)]
    figure = tradeoff(errors(names))
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    marks = {(line.get_color(), line.get_marker()) for line in legend.legend_handles}
    assert len(marks) == len(names) + 2
    frame = legend.get_window_extent()
    assert axes.get_tightbbox().x1 <= frame.x0
    assert figure.bbox.intersection(figure.bbox, frame).size == pytest.approx(frame.size)
    assert axes.get_window_extent().width > 0.4 * figure.bbox.width
