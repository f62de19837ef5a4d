"""Fingerprints of sound, which recognise a recording after coding, a change of level, and trimming.

After J. Haitsma and T. Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002: 32 bits per frame, each the
sign of a difference, in time, of the difference of two neighbouring bands between 300 Hz and 2 kHz. Here they are
computed from the log spectrogram, at 31.3 frames per second, over windows of 12 frames (0.38 s).
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
from numpy.typing import NDArray

from tenuto.audio.loading import SAMPLE_RATE
from tenuto.audio.spectrogram import FRAME_SIZE, filterbank

FINGERPRINT_VERSION = 1
"""Raised whenever the bits of a recording change."""

BITS = 32
RANGE_HZ = (300.0, 2000.0)
WINDOW, LAG = 12, 6
"""Frames that are averaged, and frames from one average to the one it is compared with."""
STILL = 1e-3
"""A frame in which no band difference changes by this much, in log10 units, gets no bits: 0."""

Fingerprint = NDArray[np.uint32]


def fingerprint(spectrogram: NDArray[np.float32]) -> Fingerprint:
    """The bits of a log spectrogram (frames, 149), shape (frames - 17,); empty for a shorter one.

    A frame of steady or no sound is 0.
    """
    bands = np.asarray(spectrogram, np.float64) @ _pooling()
    if len(bands) < WINDOW + LAG:
        return np.empty(0, np.uint32)
    sums = np.cumsum(np.vstack([np.zeros(BITS + 1), bands]), axis=0)
    means = (sums[WINDOW:] - sums[:-WINDOW]) / WINDOW
    slopes = means[:, :-1] - means[:, 1:]
    changes = slopes[LAG:] - slopes[:-LAG]
    is_moving = np.abs(changes).max(axis=1, keepdims=True) >= STILL
    bits: Fingerprint = np.packbits((changes > 0) & is_moving, axis=1).view("<u4")[:, 0].astype(np.uint32)
    return bits


@functools.cache
def _pooling() -> NDArray[np.float64]:
    """Weights (149, 33) that average the bands of a spectrogram to 33, equally spaced in pitch."""
    filters = filterbank()
    centres = np.arange(len(filters)) @ filters * SAMPLE_RATE / FRAME_SIZE
    edges = np.geomspace(*RANGE_HZ, BITS + 2)
    weights = np.zeros((len(centres), BITS + 1))
    for band, (low, high) in enumerate(itertools.pairwise(edges)):
        members = np.flatnonzero((centres >= low) & (centres < high))
        if not len(members):
            members = np.abs(centres - np.sqrt(low * high)).argmin(keepdims=True)
        weights[members, band] = 1 / len(members)
    return weights
