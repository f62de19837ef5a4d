"""A waveform through mp3: same length, same places, close at a high bit rate."""

from __future__ import annotations

import numpy as np
import pytest

from tenuto.audio.mp3 import coded

RATE = 22050
TIME = np.arange(2 * RATE) / RATE
CHORD = 0.2 * np.sin(2 * np.pi * np.outer((220.0, 554.4, 1318.5), TIME)).sum(axis=0)


@pytest.mark.parametrize("rate", [RATE, 44100])
def test_a_coded_waveform_keeps_its_length_and_places(rate):
    again = coded(CHORD, rate, 320)
    assert again.shape == CHORD.shape
    assert again.dtype == np.float32
    middle = slice(2000, -2000)
    error = np.square(again[middle] - CHORD[middle]).mean() / np.square(CHORD[middle]).mean()
    assert 10 * np.log10(error) < -30


def test_a_lower_bit_rate_is_coarser():
    noise = 0.2 * np.random.default_rng(1).standard_normal(2 * RATE)
    errors = [np.square(coded(noise, RATE, kilobits) - noise).mean() for kilobits in (256, 48)]
    assert errors[0] < 0.5 * errors[1]


def test_peaks_above_full_scale_are_clipped():
    assert np.abs(coded(5 * CHORD, RATE, 320)).max() <= 1
