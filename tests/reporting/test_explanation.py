"""Figures of explanations and interventions show the numbers they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tenuto.errors import ConfigError, DataError
from tenuto.evaluation.explanation import Curve, Explanation
from tenuto.reporting import write_figure
from tenuto.reporting.figures.explanation import attack_name, explanation_figure, intervention_figure

EMOTIONS = {"valence": 0.25, "energy": 0.5, "tension": 0.75, "anger": -0.25, "fear": 1.25}
EFFECTS = {name: {"mode": 0.1 * place, "tonal_stability": -0.2} for place, name in enumerate(EMOTIONS)}
SECONDS = (5.0, 6.0, 7.0, 8.0)


def explained(bottleneck=True, places=True, seconds=SECONDS):
    curve = {
        name: tuple(value + step / 100 for step in range(len(seconds))) for name, value in EMOTIONS.items()
    }
    concepts = {"mode": 0.5, "tonal_stability": 0.25} if bottleneck else None
    return Explanation(
        source="songs/one & two.mp3",
        system="A2M2E" if bottleneck else "A2E",
        emotions=EMOTIONS,
        places=dict.fromkeys(EMOTIONS, 83.0) if places else None,
        concepts=concepts,
        centre=concepts,
        baseline=dict.fromkeys(EMOTIONS, 0.0) if bottleneck else None,
        effects=EFFECTS if bottleneck else None,
        curve=Curve(seconds, curve, None),
        training_clips=144 if places else 0,
    )


def axes_of(figure, title):
    (panel,) = [axes for axes in figure.get_axes() if axes.get_title().startswith(title)]
    return panel


def bars(axes: Any) -> list[float]:
    return [patch.get_width() for patch in axes.patches if patch.get_height() < 1]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_every_emotion_has_a_bar_with_its_value_and_place_on_the_rating_scale():
    axes = explanation_figure(explained()).get_axes()[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(EMOTIONS)
    assert bars(axes) == list(EMOTIONS.values())
    assert texts(axes)[0] == "0.25 (above 83 %)"
    low, high = axes.get_xlim()
    assert low < -0.25
    assert high > 1.25


def test_a_rating_scale_of_the_user_is_drawn_for_bars_and_curves():
    figure = explanation_figure(explained(), (-1.0, 1.0))
    profile, curves = figure.get_axes()[:2]
    assert profile.get_xlim()[0] <= -1.0
    assert "each strip from -1 to" in curves.get_title(loc="left")


def test_without_training_clips_no_place_is_shown():
    axes = explanation_figure(explained(places=False)).get_axes()[0]
    assert texts(axes)[0] == "0.25"
    assert axes.get_title(loc="left") == "Emotions"


def test_every_emotion_has_its_curve_between_the_extremes_of_all():
    axes = explanation_figure(explained()).get_axes()[1]
    for place, (line, value) in enumerate(zip(axes.lines, EMOTIONS.values(), strict=True)):
        np.testing.assert_array_equal(line.get_xdata(), SECONDS)
        heights = np.asarray(line.get_ydata()) - (len(EMOTIONS) - 1 - place) + 0.4
        expected = (value + np.arange(4) / 100 + 0.25) / (1.28 + 0.25) * 0.8
        np.testing.assert_allclose(heights, expected)


@pytest.mark.parametrize("seconds", [(5.0,), (5.0, 6.0, 6.03)])
def test_a_short_recording_has_no_curves_and_a_narrower_figure(seconds):
    one, several = (explanation_figure(explained(False, seconds=times)) for times in (seconds, SECONDS))
    assert (len(one.get_axes()), len(several.get_axes())) == (1, 2)
    assert one.get_size_inches()[0] < several.get_size_inches()[0]


def test_effects_are_bars_in_the_order_of_the_concepts():
    axes = axes_of(explanation_figure(explained()), "fear")
    assert axes.get_title() == "fear +0.20"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["tonal stability", "mode"]
    assert bars(axes) == [-0.2, 0.4]


def test_panels_without_an_emotion_are_empty():
    visible = [axes for axes in explanation_figure(explained()).get_axes()[2:] if axes.axison]
    assert [axes.get_title().split()[0] for axes in visible] == list(EMOTIONS)


@pytest.mark.parametrize("name", ["figure", "figure.svg"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"a figure ends in \.png or \.pdf"):
        write_figure(explanation_figure(explained()), tmp_path / name)


def corrected(inputs="attacked", target="clean", first=0.3, epsilon=np.nan, **columns):
    """Rows of three corrections: the error falls by 0.1 each time."""
    attack = {"protocol": "standard-1", "attack": "worst", "norm": "linf"} if inputs == "attacked" else {}
    table = {
        "run": "A2M2E-21",
        "system": "A2M2E",
        "protocol": "",
        "attack": "",
        "norm": "",
        **attack,
        "epsilon": epsilon,
    }
    table |= {"inputs": inputs, "target": target, "k": range(3), "mae": [first, first - 0.1, first - 0.2]}
    table |= {"mean_mae": first, "lowest_mae": first - 0.2, "highest_mae": first + 0.1, **columns}
    return pd.DataFrame(table)


def line(axes, label):
    (curve,) = [line for line in axes.lines if line.get_label() == label]
    return np.asarray(curve.get_ydata()).tolist()


def test_each_target_has_a_panel_with_clean_and_attacked_lines():
    rows = pd.concat(
        [corrected("clean", "annotation", 0.25), corrected("attacked", "annotation"), corrected()]
    )
    figure = intervention_figure(rows)
    annotations, clean = figure.get_axes()
    assert annotations.get_title() == "Concepts set to their labels"
    assert line(annotations, "clean, largest first") == pytest.approx([0.25, 0.15, 0.05])
    assert line(annotations, "attacked, largest first") == pytest.approx([0.3, 0.2, 0.1])
    assert line(annotations, "clean, any order (mean)") == [0.25] * 3
    assert clean.get_title() == "Concepts set to the clean clip's values"
    assert [each.get_label() for each in clean.lines] == [
        "attacked, any order (mean)",
        "attacked, largest first",
    ]


def test_of_several_attacks_the_strongest_is_drawn_and_named():
    rows = pd.concat([corrected(epsilon=0.02), corrected(first=0.6, epsilon=0.1), corrected(epsilon=0.05)])
    figure = intervention_figure(rows)
    assert line(figure.get_axes()[0], "attacked, largest first") == pytest.approx([0.6, 0.5, 0.4])
    assert figure.get_suptitle() == "A2M2E-21\nstandard-1, worst, linf 0.1 (the strongest of 3)"


def test_clean_clips_alone_are_drawn():
    figure = intervention_figure(corrected("clean", "annotation"))
    assert figure.get_suptitle() == "A2M2E-21, clean test clips"


def test_an_attack_without_budget_has_none_in_its_name():
    row = {
        "protocol": "paper-2025-released",
        "attack": "ReleasedAttack",
        "norm": "none",
        "epsilon": float("nan"),
    }
    assert attack_name(row) == "paper-2025-released, ReleasedAttack"


@pytest.mark.parametrize(
    ("runs", "rows"), [(2, pd.concat([corrected(), corrected(run="A2M2E-6")])), (0, corrected()[:0])]
)
def test_rows_of_other_than_one_run_are_refused(runs, rows):
    with pytest.raises(DataError, match=f"{runs} runs in the interventions"):
        intervention_figure(rows)


def test_a_missing_column_is_named():
    with pytest.raises(DataError, match="no column mean_mae in the interventions"):
        intervention_figure(corrected().drop(columns="mean_mae"))
