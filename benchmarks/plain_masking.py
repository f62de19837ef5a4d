"""The masking threshold of `tenuto.audio.masking`, one frame and masker at a time, with its formulas written out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Maskers = Sequence[tuple[int, float]]
"""Line of the spectrum and level in dB SPL of every masker."""

SIZE, HOP, RATE = 1024, 512, 22_050
EDGES_HZ = (
    *(0, 100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480, 1720, 2000, 2320, 2700, 3150, 3700, 4400),
    *(5300, 6400, 7700, 9500, 11_026),
)
LINES = np.arange(SIZE // 2 + 1)
HERTZ = np.maximum(LINES, 1) * RATE / SIZE
BARK = 13 * np.arctan(0.00076 * HERTZ) + 3.5 * np.arctan((HERTZ / 7500) ** 2)
QUIET_DB = (
    3.64 * (HERTZ / 1000) ** -0.8
    - 6.5 * np.exp(-0.6 * (HERTZ / 1000 - 3.3) ** 2)
    + 0.001 * (HERTZ / 1000) ** 4
)
BANDS = [
    LINES[(low <= LINES * RATE / SIZE) & (high > LINES * RATE / SIZE)] for low, high in pairwise(EDGES_HZ)
]
ENDS = {int(line) for band in BANDS for line in (band[0], band[-1])}
SPACING = [1] * 49 + [2] * 48 + [4] * 96 + [8] * 320
PROBES = [
    np.array([line for line in band if line and (line % SPACING[line] == 0 or line in ENDS)])
    for band in BANDS
]
"""The lines at which the threshold is computed: those of table D.1, and the ends of every band."""


def spread_db(level: float, distance: float) -> float:
    """Level of a masker at a distance in Bark."""
    if -3 <= distance < -1:
        return 17 * (distance + 1) - (0.4 * level + 6)
    if -1 <= distance < 0:
        return (0.4 * level + 6) * distance
    if 0 <= distance < 1:
        return -17 * distance
    return -(distance - 1) * (17 - 0.15 * level) - 17 if 1 <= distance < 8 else -math.inf


def masked_db(tones: Maskers, noises: Maskers, line: int) -> float:
    """The global threshold at a line."""
    power = 10 ** (QUIET_DB[line] / 10)
    for maskers, constant, slope in ((tones, 6.025, 0.275), (noises, 2.025, 0.175)):
        for place, level in maskers:
            own = level - constant - slope * BARK[place]
            power += 10 ** ((own + spread_db(level, BARK[line] - BARK[place])) / 10)
    return 10 * math.log10(power)


def bands_db(tones: Maskers = (), noises: Maskers = ()) -> list[float]:
    """The threshold of every band: the lowest of its lines."""
    return [min(masked_db(tones, noises, line) for line in band) for band in PROBES]


def centre(band: NDArray[np.int64]) -> int:
    """The line of a band's noise masker: the geometric mean of its lines."""
    return round(math.exp(np.log(band[band > 0]).mean()))


def maskers(power: Array) -> tuple[Maskers, Maskers]:
    """Tones and noises of the powers (lines,) of one frame."""
    peaks, taken = [], np.zeros(len(LINES), bool)
    for line in range(3, len(LINES) - 1):
        reach = 2 if line < 63 else 3 if line < 127 else 6 if line < 255 else 12
        away = np.abs(LINES - line)
        is_peak = power[line] > power[line - 1] and power[line] >= power[line + 1]
        if is_peak and power[line] >= 10**0.7 * power[(away >= 2) & (away <= reach)].max():
            peaks.append((line, 10 * math.log10(power[line - 1 : line + 2].sum())))
            taken |= away <= reach
    tones = [(line, level) for line, level in peaks if level >= QUIET_DB[line]]
    kept = [
        (line, level)
        for line, level in tones
        if not any(
            abs(BARK[other] - BARK[line]) < 0.5 and (strength, -other) > (level, -line)
            for other, strength in tones
        )
    ]
    noises = [
        (centre(band), 10 * math.log10(1e-30 + (power * ~taken)[band[band > 0]].sum())) for band in BANDS
    ]
    return kept, [(line, level) for line, level in noises if level >= QUIET_DB[line]]


def threshold_db(waveform: Array) -> Array:
    """The threshold (frames, bands) of a waveform (samples,), in dB SPL."""
    window = math.sqrt(8 / 3) * (0.5 - 0.5 * np.cos(2 * math.pi * np.arange(SIZE) / SIZE))
    blocks = math.ceil(len(waveform) / HOP)
    padded = np.pad(waveform - waveform.mean(), (HOP, (blocks + 1) * HOP - len(waveform)))
    rows = []
    for frame in range(blocks + 1):
        piece = padded[frame * HOP : frame * HOP + SIZE] * window
        power = 4 * 10**9.6 / SIZE**2 * np.abs(np.fft.rfft(piece)) ** 2
        power[[0, -1]] /= 2
        rows.append(bands_db(*maskers(power)))
    return np.array(rows)
