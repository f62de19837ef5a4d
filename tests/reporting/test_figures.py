import numpy as np
import pandas as pd
import pytest

from tenuto.analysis import smc2025
from tenuto.errors import DataError
from tenuto.reporting.figures import smc2025 as figures

from . import made_up

TIGHT = np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])


def differences(**samples):
    lines = [(name, seed, value) for name, sample in samples.items() for seed, value in enumerate(sample)]
    return pd.DataFrame(lines, columns=["system", "seed", "difference"])


def labels_of(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def test_figure_3_orders_the_systems_as_the_study_does():
    figure = figures.figure3(smc2025.difference(made_up.study()))
    assert labels_of(figure.axes[0]) == ["A2E", "aA2E", "A2B2E", "aA2B2E", "A2M2E"]


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


def test_figure_3_without_runs_is_refused():
    with pytest.raises(DataError, match="no runs to show"):
        figures.figure3(differences())


def test_the_axis_is_broken_around_a_far_outlier():
    values = [TIGHT, np.append(TIGHT, 9.0)]
    assert figures.break_between(values) == (1.5, 9.0)
    figure = figures.figure3(differences(A2E=values[0], A2B2E=values[1]))
    upper, lower = (axes.get_ylim() for axes in figure.axes)
    assert lower[0] == 0
    assert lower[1] < upper[0] < 9.0 < upper[1]


@pytest.mark.parametrize(
    "values",
    [
        [TIGHT],
        [np.append(TIGHT, 2.0)],
        [np.append(TIGHT, 9.0), TIGHT * 7],
        [np.array([1.0, 9.0])],
    ],
    ids=["no outlier", "near outlier", "outlier below another box", "too few seeds to call it one"],
)
def test_the_axis_is_whole_otherwise(values):
    assert figures.break_between(values) is None


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
    figure = figures.figure4(made_up.study(), 6, ("sad",), ("A2E",))
    assert list(panels(figure)) == ["A2E: sad"]


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


def test_a_figure_is_saved_as_png_and_pdf_with_the_same_bytes_each_time(tmp_path):
    contents = []
    for folder in ("one", "two"):
        written = figures.save(figures.figure3(differences(A2E=TIGHT)), tmp_path / folder / "figure3")
        assert list(written) == ["figure3.png", "figure3.pdf"]
        contents.append([path.read_bytes() for path in written.values()])
    assert contents[0] == contents[1]
    assert contents[0][0].startswith(b"\x89PNG")
    assert contents[0][1].startswith(b"%PDF")
    assert b"CreationDate" not in contents[0][1]
