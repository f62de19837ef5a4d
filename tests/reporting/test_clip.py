"""The picture of a clip shows the numbers it is given, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tenuto.evaluation.resynthesis import STATES
from tenuto.evaluation.resynthesised_clip import Resynthesis
from tenuto.reporting import save_figure
from tenuto.reporting.figures.clip import STATE_NAMES, clip_figure, decibels, percent, sentence, title, words

BANDS = 149
EMOTIONS = ("valence", "tension")


def states(names, annotated=True):
    """A value of its own for every state and name."""
    kinds = ("annotation", *STATES) if annotated else STATES
    return {
        kind: {name: 0.1 * row + 0.25 * column for column, name in enumerate(names)}
        for row, kind in enumerate(kinds)
    }


def made_up(concepts=None, **changes) -> Any:
    delta = np.zeros((313, BANDS), np.float32)
    delta[100:120, 50] = -0.1
    clean = np.full((313, BANDS), 0.5, np.float32)
    attack = {
        "protocol": "standard-1",
        "attack": "APGD",
        "objective": "error",
        "norm": "linf",
        "epsilon": 0.1,
    }
    fields: dict[str, Any] = {
        "run": "A2E-6-1a2b3c4d",
        "system": "A2E",
        "clip": "055",
        "attack": attack | {"l2": 1.0, "linf": 0.1},
        "start_seconds": 1.0,
        "emotions": states(EMOTIONS),
        "concepts": concepts,
        "effect": {"after": 0.5, "heard": 0.25, "rendered": 0.0},
        "survival": 0.44,
        "snr_db": 21.62,
        "gain": 1.0,
        "residual": 0.0,
        "iterations": 3,
        "band_hz": tuple(np.geomspace(32, 10777, BANDS).tolist()),
        "clean": clean,
        "attacked": clean + delta,
        "perturbation": delta,
        "samples_before": np.zeros(4, np.int16),
        "samples_after": np.zeros(4, np.int16),
        "noise_to_mask": np.full((200, 3), 0.1),
        "critical_hz": (0.0, 1000.0, 5000.0),
        "perceptual": 4.5,
    }
    return Resynthesis(**(fields | changes))


def axes_of(figure, name):
    titles = [{axes.get_title(loc=place) for place in ("right", "center")} for axes in figure.get_axes()]
    (panel,) = [axes for axes, own in zip(figure.get_axes(), titles, strict=True) if name in own]
    return panel


def picture(figure, name):
    return np.asarray(axes_of(figure, name).images[0].get_array())


def test_the_three_pictures_are_the_spectrograms_and_their_difference():
    result = made_up()
    figure = clip_figure(result)
    np.testing.assert_array_equal(picture(figure, "before"), result.clean.T)
    np.testing.assert_array_equal(picture(figure, "after"), result.attacked.T)
    np.testing.assert_array_equal(picture(figure, "difference (std)"), result.perturbation.T)


def test_a_played_attack_shows_its_noise_to_mask_ratio_at_the_bands_of_the_spectrogram():
    ratio = np.full((200, 3), 0.1)
    ratio[:, 1] = 10.0  # from 1000 to 5000 Hz
    result = made_up(unit="log10", noise_to_mask=ratio)
    drawn_map = picture(clip_figure(result), "noise-to-mask ratio (dB)")
    is_middle = [1000 <= band < 5000 for band in result.band_hz]
    np.testing.assert_allclose(drawn_map.T, np.tile(np.where(is_middle, 10.0, -10.0), (200, 1)))
    assert result.nmr_db == pytest.approx(10)
    assert "noise-to-mask ratio of the change" in words(result)
    assert "after, in 16 bits" in drawn(axes_of(clip_figure(result), "emotions"))


def test_before_and_after_have_one_scale_and_the_difference_is_centred():
    figure = clip_figure(made_up())
    scales = [axes_of(figure, name).images[0].get_clim() for name in ("before", "after", "difference (std)")]
    assert scales[0] == scales[1] == (0, 0.5)
    assert scales[2] == pytest.approx((-0.1, 0.1))


def test_frequencies_stand_at_their_bands():
    axes = axes_of(clip_figure(made_up()), "before")
    ticks = dict(zip((label.get_text() for label in axes.get_yticklabels()), axes.get_yticks(), strict=True))
    assert ticks["1000"] == pytest.approx(148 * math.log(1000 / 32) / math.log(10777 / 32), abs=0.05)
    assert list(ticks) == ["100", "200", "500", "1000", "2000", "5000", "10000"]


def test_shares_stand_beside_the_difference():
    result = made_up()
    figure = clip_figure(result)
    bars = [patch.get_height() for patch in axes_of(figure, "% per second").patches]
    assert bars == pytest.approx([100 * share for share in result.second_shares])
    assert bars[3] == pytest.approx(100)
    outline = axes_of(figure, "% per band").collections[0].get_paths()[0].vertices
    assert outline[:, 0].max() == pytest.approx(100)
    assert outline[outline[:, 0] == outline[:, 0].max(), 1].mean() == pytest.approx(50)


def drawn(axes):
    """Label -> values along x of every series of marks."""
    return {str(line.get_label()): list(line.get_xdata()) for line in axes.lines}


def test_marks_are_the_predictions_and_lines_the_annotations():
    axes = axes_of(clip_figure(made_up()), "emotions")
    expected = states(EMOTIONS)
    assert drawn(axes) == {STATE_NAMES[state]: list(expected[state].values()) for state in STATE_NAMES}
    changes, annotations = (part.get_segments() for part in axes.collections)
    assert [[start[0], end[0]] for start, end in changes] == [
        [expected["before"][name], expected["after"][name]] for name in EMOTIONS
    ]
    assert [segment[0][0] for segment in annotations] == list(expected["annotation"].values())
    assert [label.get_text() for label in axes.get_yticklabels()] == list(EMOTIONS)


def test_every_clip_has_the_same_axis_unless_a_value_leaves_the_scale():
    quiet, loud = states(EMOTIONS), states(EMOTIONS)
    quiet["after"]["tension"] = 0.01
    assert limits_of(made_up(emotions=quiet)) == limits_of(made_up()) == pytest.approx((-0.05, 1.05))
    loud["after"]["tension"] = 1.3
    assert limits_of(made_up(emotions=loud)) == pytest.approx((-0.05, 1.55))


def test_the_axis_is_the_rating_scale_of_the_data():
    assert limits_of(made_up(), (-1.0, 1.0)) == pytest.approx((-1.1, 1.1))


def limits_of(resynthesis, *scale):
    return axes_of(clip_figure(resynthesis, *scale), "emotions").get_xlim()


def test_a_system_without_bottleneck_has_no_panel_of_concepts():
    titles = {axes.get_title() for axes in clip_figure(made_up()).get_axes()}
    assert "emotions" in titles
    assert "concepts" not in titles


def test_free_units_have_marks_and_no_annotations():
    figure = clip_figure(made_up(concepts=states(("unit_1", "unit_2", "unit_3"), annotated=False)))
    axes = axes_of(figure, "concepts")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["unit 1", "unit 2", "unit 3"]
    assert len(drawn(axes)) == 3
    assert len(axes.collections) == 1


def test_the_title_says_who_and_what_under_which_budget():
    assert title(made_up()) == "clip 055, A2E-6-1a2b3c4d under standard-1 (APGD, linf 0.1)"
    attack = made_up().attack | {"attack": "ReleasedAttack", "epsilon": None, "norm": "none"}
    assert title(made_up(attack=attack)).endswith("(ReleasedAttack, no budget)")


def test_the_sentence_says_what_survives_and_how_loud_it_is():
    assert sentence(made_up()) == (
        "44 % of the attack's effect on the emotions survives as sound. What is played: signal-to-noise ratio "
        "21.6 dB, largest noise-to-mask ratio −10.0 dB, perceptual score 4.50 of 5 (5 is inaudible)."
    )
    assert sentence(made_up(perceptual=None)).endswith("largest noise-to-mask ratio −10.0 dB.")
    assert "survives in 16 bits." in sentence(made_up(unit="log10"))


def test_the_sentence_of_an_attack_without_effect():
    assert sentence(made_up(survival=None)).startswith(
        "The attack does not move the emotions. What is played: signal"
    )
    assert sentence(made_up(snr_db=math.inf)).endswith("; in 16 bits there is nothing of it to hear.")
    nothing = np.zeros((313, BANDS), np.float32)
    assert sentence(made_up(perturbation=nothing)) == "The attack changed nothing."


def test_the_words_say_what_a_picture_shows():
    result = made_up()
    result.emotions["after"]["tension"] = result.emotions["before"]["tension"] - 0.3
    message = words(result)
    for part in (
        "Log spectrograms of clip 055",
        "second 4 of 10 holds the largest part, 100 %",
        "tension moves most, from 0.35 to 0.05.",
        "signal-to-noise ratio 21.6 dB,",
    ):
        assert part in message


def test_numbers_below_zero_have_a_true_minus():
    assert percent(-0.25) == "−25 %"
    assert decibels(-1.25) == "−1.2 dB"
    assert (percent(-0.001), decibels(-0.01)) == ("0 %", "0.0 dB")


def test_the_ratio_of_no_change_is_a_dash():
    assert decibels(math.inf) == decibels(-math.inf) == "–"


def test_silence_and_no_change_can_be_drawn_and_saved(tmp_path):
    nothing = np.zeros((313, BANDS), np.float32)
    result = made_up(clean=nothing, attacked=nothing, perturbation=nothing, survival=None, snr_db=math.inf)
    written = save_figure(clip_figure(result), tmp_path / "one clip")
    assert list(written) == ["one clip.png", "one clip.pdf"]
    assert written["one clip.png"].stat().st_size > 10_000
