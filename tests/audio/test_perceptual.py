"""The perceptual score: which direction is better, and that nothing ends the process."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tenuto.audio import SAMPLE_RATE
from tenuto.audio.perceptual import is_installed, opinion_score
from tenuto.errors import AudioError, ConfigError

needs_zimtohrli = pytest.mark.skipif(
    not is_installed(), reason="zimtohrli is not installed: pip install 'tenuto[perceptual]'"
)


@pytest.fixture(scope="module")
def music():
    """Two seconds of three tones that decay."""
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    tones = sum(np.sin(2 * np.pi * pitch * time) / (1 + place) for place, pitch in enumerate((220, 440, 990)))
    return 0.3 * tones * np.exp(-time)


def noisy(sound, db):
    """The same with white noise at a signal-to-noise ratio."""
    noise = np.random.default_rng(0).normal(size=len(sound))
    return sound + noise * np.linalg.norm(sound) / np.linalg.norm(noise) * 10 ** (-db / 20)


@needs_zimtohrli
def test_equal_sounds_have_the_best_score_and_noise_lowers_it(music):
    scores = [opinion_score(music, noisy(music, db), SAMPLE_RATE) for db in (60, 40, 20, 0)]
    assert opinion_score(music, music.copy(), SAMPLE_RATE) == 5
    assert 5 > scores[0] > 4.8
    assert scores == sorted(scores, reverse=True)
    assert 1 <= scores[-1] < 3


@needs_zimtohrli
def test_the_score_belongs_to_the_seconds_not_to_the_number_of_samples(music):
    half = music[::2]
    at_own_rate = opinion_score(half, noisy(half, 30), SAMPLE_RATE // 2)
    assert at_own_rate != pytest.approx(opinion_score(half, noisy(half, 30), SAMPLE_RATE), abs=1e-3)


@needs_zimtohrli
@pytest.mark.parametrize("samples", [0, 1, 100, SAMPLE_RATE // 2 - 1])
def test_short_sounds_have_no_score(music, samples):
    assert math.isnan(opinion_score(music[:samples], music[:samples], SAMPLE_RATE))


@needs_zimtohrli
def test_silence_has_a_score():
    silence = np.zeros(SAMPLE_RATE)
    assert opinion_score(silence, silence, SAMPLE_RATE) == 5


@needs_zimtohrli
def test_bad_sounds_are_refused(music):
    with pytest.raises(AudioError, match="same length"):
        opinion_score(music, music[:-1], SAMPLE_RATE)
    with pytest.raises(AudioError, match="same length"):
        opinion_score(music[None], music[None], SAMPLE_RATE)
    with pytest.raises(AudioError, match="NaN or infinity"):
        opinion_score(music, np.where(np.arange(len(music)) == 7, np.nan, music), SAMPLE_RATE)


def test_without_the_extra_the_message_names_it(monkeypatch, music):
    monkeypatch.setattr("tenuto.audio.perceptual.is_installed", lambda: False)
    with pytest.raises(ConfigError, match=r"tenuto\[perceptual\]"):
        opinion_score(music, music, SAMPLE_RATE)
