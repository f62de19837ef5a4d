"""How energetic a recording sounds: its loudness and its onsets."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tenuto.audio.spectrogram import FRAMES_PER_SECOND

ENERGY_VERSION = 1
"""Raised whenever the numbers of this file change."""


def loudness(waveform: NDArray[np.float32], peak_db: float) -> float:
    """Root-mean-square level of a recording as stored, in dB relative to full scale.

    Args:
        waveform: (samples,), peak 1, from `tenuto.audio.loading.load_and_describe`.
        peak_db: The peak of the recording before it was scaled, from the same call.
    """
    return peak_db + 10 * math.log10(float(np.square(waveform, dtype=np.float64).mean()))


def onset_rate(spectrogram: NDArray[np.float32]) -> float:
    """Onsets per second, weighted by their strength: the rise of the log spectrogram (frames, 149) in log10 units.

    Spectral flux (S. Boeck, F. Krebs, M. Schedl, "Evaluating the online capabilities of onset detection methods", ISMIR
    2012), averaged over bands and summed over a second. 0 for a single frame.
    """
    rises = np.maximum(np.diff(np.asarray(spectrogram, np.float64), axis=0), 0)
    return float(rises.mean() * FRAMES_PER_SECOND) if len(rises) else 0.0
