"""The synthetic corpus before it is written: what is drawn, composed and played."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tenuto.data.midlevel import CONCEPTS
from tenuto.data.soundtracks import EMOTIONS
from tenuto.data.synthesis_controls import (
    CHARACTER_LOADINGS,
    CONTROLS,
    EMOTION_WEIGHTS,
    Controls,
    concepts,
    draw,
    draw_album,
    draw_clip,
    emotions,
)
from tenuto.data.synthesis_score import MAJOR_SCALE, MINOR_SCALE, Layer, compose, spread
from tenuto.data.synthesis_sound import CORPUS_RATE, PEAK, play, render, wavetable

MIDDLE = Controls(*[0.5] * len(CONTROLS))
PLAIN = dataclasses.replace(
    MIDDLE, rhythmic_complexity=0.0, rhythmic_stability=1.0, dissonance=0.0, tonal_stability=1.0
)
ALBUM = dataclasses.replace(draw_album(0, 0), figure="block")


def layers(**changed: float) -> tuple[Layer, ...]:
    controls = dataclasses.replace(PLAIN, **changed)
    return compose(controls, ALBUM, 15.0, np.random.default_rng(0))


def in_scale(layer: Layer, scale: np.ndarray) -> np.ndarray:
    return np.isin((layer.pitch - 60 - ALBUM.tonic) % 12, scale)


def test_a_small_corpus_is_the_beginning_of_a_large_one():
    assert draw(80, 4)[:5] == draw(5, 4)


def test_another_seed_draws_another_corpus():
    assert draw_clip(1, 0).emotions != draw_clip(1, 1).emotions


def test_every_control_covers_its_range_evenly():
    values = np.array([clip.controls.vector() for clip in draw(960, 0)])
    np.testing.assert_allclose(values.mean(axis=0), 0.5, atol=0.06)
    np.testing.assert_allclose(values.std(axis=0), math.sqrt(1 / 12), atol=0.03)


def test_no_emotion_is_constant_and_no_clip_has_eight_equal_ratings():
    ratings = np.array([clip.emotions for clip in draw(360, 0)])
    assert ratings.std(axis=0).min() > 1.0
    assert ratings.std(axis=1).min() > 0.1
    assert ratings.min() >= 1
    assert ratings.max() <= 9


def test_360_clips_fill_48_albums_of_several_clips():
    _, sizes = np.unique([clip.album.name for clip in draw(360, 0)], return_counts=True)
    assert len(sizes) == 48
    assert sizes.min() >= 2
    assert sizes.max() == 8


def test_clip_of_one_album_are_more_alike_than_others():
    clips = draw(512, 0)
    values = np.array([clip.controls.vector() for clip in clips])
    albums = np.array([clip.album.number for clip in clips])
    within = np.array([values[albums == album].var(axis=0) for album in np.unique(albums)]).mean(axis=0)
    assert (within.mean() * 8 / 7) < 0.95 * values.var(axis=0).mean()


def test_middle_controls_give_the_logistic_of_the_bias():
    expected = [1 + 8 / (1 + math.exp(-EMOTION_WEIGHTS[emotion][0])) for emotion in EMOTIONS]
    np.testing.assert_allclose(emotions(MIDDLE), expected)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_the_page_states_the_formula_that_is_used(emotion):
    page = (Path(__file__).parents[2] / "docs" / "synthetic.md").read_text("utf-8")
    cells = next(line for line in page.splitlines() if line.startswith(f"| {emotion} |")).split("|")[2:-1]
    bias, weights = EMOTION_WEIGHTS[emotion]
    assert [float(cell.strip() or 0) for cell in cells] == [
        bias,
        *(weights.get(name, 0) for name in CONTROLS),
    ]


@pytest.mark.parametrize("control", CONTROLS)
def test_the_page_states_the_loadings_that_are_used(control):
    page = (Path(__file__).parents[2] / "docs" / "synthetic.md").read_text("utf-8")
    table = page.split("## How controls go together")[1]
    row = next(line for line in table.splitlines() if line.startswith(f"| {control.replace('_', ' ')} |"))
    assert tuple(float(cell) for cell in row.split("|")[2:-1]) == CHARACTER_LOADINGS[control]


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(EMOTIONS), st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 1))
def test_a_rating_moves_with_the_sign_of_the_weight(emotion, seed, low, high):
    base = Controls(*np.random.default_rng(seed).random(len(CONTROLS)))
    row = EMOTIONS.index(emotion)
    for name, weight in EMOTION_WEIGHTS[emotion][1].items():
        first, second = (
            emotions(dataclasses.replace(base, **{name: value}))[row] for value in sorted([low, high])
        )
        assert (second - first) * weight >= 0


def test_concepts_are_the_controls_on_the_scale_from_1_to_10():
    controls = dataclasses.replace(MIDDLE, articulation=0.0, modality=1.0)
    expected = dict.fromkeys(CONCEPTS, 5.5) | {"articulation": 1.0, "modality": 10.0}
    np.testing.assert_allclose(concepts(controls), [expected[name] for name in CONCEPTS])


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.integers(0, 200), st.integers(0, 2**31))
def test_spread_deals_out_its_share(share, count, seed):
    mask = spread(share, count, np.random.default_rng(seed))
    assert mask.shape == (count,)
    assert abs(mask.sum() - share * count) <= 1


@pytest.mark.parametrize(("modality", "scale"), [(0.0, MAJOR_SCALE), (1.0, MINOR_SCALE)])
def test_modality_chooses_the_scale(modality, scale):
    for layer in layers(modality=modality)[:3]:
        assert in_scale(layer, scale).all()


def test_a_stable_key_holds_every_note_and_an_unstable_one_loses_many():
    melody, chords, *_ = layers(modality=0.0, tonal_stability=0.0)
    assert in_scale(melody, MAJOR_SCALE).mean() < 0.8
    assert in_scale(chords, MAJOR_SCALE).mean() < 0.8


def test_melodiousness_is_the_share_of_steps():
    def steps(melodiousness: float) -> float:
        intervals = np.abs(np.diff(layers(melodiousness=melodiousness, modality=0.0, tempo=1.0)[0].pitch))
        return float((intervals <= 2).mean())

    assert steps(0.0) == 0.0
    assert steps(1.0) == 1.0
    assert steps(0.5) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("articulation", "gate"), [(0.0, 1.08), (0.5, 0.615), (1.0, 0.15)])
def test_articulation_is_the_length_of_notes_in_their_gaps(articulation, gate):
    bass = layers(articulation=articulation)[2]
    np.testing.assert_allclose(bass.duration[:-1], gate * np.diff(bass.onset), rtol=1e-9)


def test_a_stable_rhythm_has_equal_beats_at_the_tempo():
    for tempo, bpm in ((0.0, 54.0), (1.0, 54.0 * 2**1.55)):
        np.testing.assert_allclose(np.diff(layers(tempo=tempo)[2].onset), 60 / bpm)


def test_an_unstable_rhythm_wavers():
    gaps = np.diff(np.sort(layers(rhythmic_stability=0.0)[2].onset))
    assert gaps.std() > 0.2 * gaps.mean()


def test_complexity_moves_notes_off_the_beat():
    def off_beat(complexity: float) -> float:
        beat = 60 / (54.0 * 2 ** (1.55 * 0.5))
        place = layers(rhythmic_complexity=complexity)[0].onset / beat % 1
        return float((np.abs(place - np.round(place * 2) / 2) > 0.1).mean())

    assert off_beat(0.0) == 0.0
    assert off_beat(0.5) < off_beat(1.0)
    assert off_beat(1.0) > 0.3


def test_dissonance_adds_semitone_clusters():
    def clusters(dissonance: float) -> float:
        chords = layers(dissonance=dissonance)[1]
        frames = [np.sort(chords.pitch[chords.onset == onset]) for onset in np.unique(chords.onset)]
        return float(np.mean([(np.diff(frame) < 1.6).any() for frame in frames]))

    assert clusters(0.0) == 0.0
    assert clusters(0.6) > 0.6


def test_drums_play_in_loud_clips_only():
    assert len(layers(loudness=0.2)) == 4
    assert [layer.instrument for layer in layers(loudness=0.9)[4:]] == ["kick", "snare", "hat"]


def test_register_moves_the_melody_by_about_two_octaves():
    low, high = (float(layers(register=register)[0].pitch.mean()) for register in (0.0, 1.0))
    assert 20 < high - low < 32


def test_a_wavetable_of_one_harmonic_is_a_sine():
    period = wavetable(1, 1.0, 1.0)
    np.testing.assert_allclose(period, np.sin(2 * np.pi * np.arange(8192) / 8192), atol=1e-6)


def test_a_note_sounds_at_its_pitch():
    mix = np.zeros(CORPUS_RATE, np.float32)
    one = np.ones(1)
    play(mix, Layer("organ", 0 * one, one, 69 * one, one), PLAIN, np.random.default_rng(0))
    assert np.abs(np.fft.rfft(mix)).argmax() == 440


def test_rendering_is_a_pure_function_of_clip_and_seed():
    clip = draw_clip(7, 0)
    np.testing.assert_array_equal(render(clip, 0, 2.0), render(clip, 0, 2.0))
    assert not np.array_equal(render(clip, 0, 2.0), render(clip, 1, 2.0))


@pytest.mark.parametrize("number", range(1, 9))
def test_a_waveform_is_finite_audible_and_unclipped(number):
    wave = render(draw_clip(number, 0), 0, 1.0)
    assert wave.shape == (CORPUS_RATE,)
    assert wave.dtype == np.float32
    assert np.abs(wave).max() == pytest.approx(PEAK, abs=1e-6)
    assert np.sqrt(np.square(wave).mean()) > 0.005


def test_loudness_survives_scaling_to_the_peak():
    clip = draw_clip(1, 0)

    def level(loudness: float) -> float:
        played = dataclasses.replace(clip, controls=dataclasses.replace(clip.controls, loudness=loudness))
        return float(np.sqrt(np.square(render(played, 0, 6.0)).mean()))

    assert 4 * level(0.0) < 2 * level(0.5) < level(1.0) * 1.6


def test_brightness_raises_the_spectrum():
    clip = draw_clip(1, 0)

    def centroid(brightness: float) -> float:
        played = dataclasses.replace(clip, controls=dataclasses.replace(PLAIN, brightness=brightness))
        spectrum = np.abs(np.fft.rfft(render(played, 0, 3.0)))
        return float((spectrum * np.arange(len(spectrum))).sum() / spectrum.sum() / 3.0)

    assert centroid(1.0) > 1.3 * centroid(0.0)


def _pooled(number: int) -> np.ndarray:
    """Mean, deviation and onset strength of every band of the log spectrogram, shape (447,)."""
    import soxr
    import torch

    from tenuto.audio import LogSpectrogram

    wave = soxr.resample(render(draw_clip(number, 0), 0, 4.0), CORPUS_RATE, 22_050)
    bands = LogSpectrogram()(torch.from_numpy(wave / np.abs(wave).max())).numpy()
    onsets = np.maximum(np.diff(bands, axis=0), 0)
    return np.concatenate([bands.mean(axis=0), bands.std(axis=0), onsets.mean(axis=0)])


def _predict(features: np.ndarray, expected: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Ridge regression, each fifth of the groups predicted from the others."""
    predicted = np.zeros_like(expected)
    kernel = features @ features.T / features.shape[1]
    for fold in range(5):
        test = groups % 5 == fold
        centre = expected[~test].mean(axis=0)
        inner = kernel[np.ix_(~test, ~test)] + 0.3 * np.eye((~test).sum())
        predicted[test] = (
            kernel[np.ix_(test, ~test)] @ np.linalg.solve(inner, expected[~test] - centre) + centre
        )
    return predicted


@pytest.fixture(scope="module")
def correlations() -> dict[str, float]:
    """Correlation of every emotion and concept with its prediction from simple features, on unseen albums."""
    clips = draw(128, 0)
    features = np.array([_pooled(clip.number) for clip in clips])
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    expected = np.array([clip.emotions + clip.concepts for clip in clips])
    predicted = _predict(features, expected, np.array([clip.album.number for clip in clips]))
    values = [np.corrcoef(*pair)[0, 1] for pair in zip(expected.T, predicted.T, strict=True)]
    return dict(zip(EMOTIONS + CONCEPTS, values, strict=True))


def test_emotions_can_be_learnt_from_the_spectrogram(correlations):
    assert np.mean([correlations[name] for name in EMOTIONS]) >= 0.7
    assert min(correlations[name] for name in EMOTIONS) >= 0.5


def test_every_concept_leaves_a_trace_in_the_spectrogram(correlations):
    assert np.mean([correlations[name] for name in CONCEPTS]) >= 0.4
    assert min(correlations[name] for name in CONCEPTS) >= 0.15
