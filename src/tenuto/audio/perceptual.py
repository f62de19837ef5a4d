"""How different two sounds are to a listener: the score of Zimtohrli, where the extra ``perceptual`` is installed.

Zimtohrli (Alakuijala et al., "Zimtohrli: An Efficient Psychoacoustic Audio Similarity Metric", 2025, arXiv 2509.26133)
compares two sounds through a model of the ear and maps their distance to a mean opinion score (MOS).
"""

from __future__ import annotations

import importlib.util
import math

import numpy as np
from numpy.typing import NDArray

from tenuto.audio.loading import resample
from tenuto.errors import AudioError, ConfigError

RATE = 48_000
"""Samples per second that Zimtohrli takes."""

LEAST_SECONDS = 0.5
"""Shorter sounds have no score: the score averages over many windows of 71 ms, and Zimtohrli 0.2.1 ends the Python
process for sounds below 0.1 s."""

INSTALL_ZIMTOHRLI = (
    'The perceptual score needs the package zimtohrli. Install it: pip install "tenuto[perceptual]".'
)


def is_installed() -> bool:
    """Whether the extra ``perceptual`` is installed."""
    return importlib.util.find_spec("zimtohrli") is not None


def opinion_score(before: NDArray[np.floating], after: NDArray[np.floating], rate: int) -> float:
    """The mean opinion score of a change of a sound: **higher is better**, 5 is inaudible, 1 is very annoying.

    The sounds are compared at the level they have; full scale is 78 dB SPL. About 0.5 s for 10 s of sound.

    Args:
        before: The reference, (samples,), full scale 1.
        after: The changed sound, (samples,).
        rate: Samples per second of both.

    Returns:
        1 to 5; NaN for sounds shorter than `LEAST_SECONDS`.

    Raises:
        AudioError: Different lengths, several axes, or samples that are not finite.
        ConfigError: Zimtohrli is not installed.
    """
    if not is_installed():
        raise ConfigError(INSTALL_ZIMTOHRLI)
    import zimtohrli

    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if before.ndim != 1 or before.shape != after.shape:
        raise AudioError(
            f"sounds of shapes {before.shape} and {after.shape} have no perceptual score. Give two sounds of shape "
            "(samples,) and the same length."
        )
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise AudioError("a sound with NaN or infinity has no perceptual score. Repair its samples.")
    if len(before) < LEAST_SECONDS * rate:
        return math.nan
    distance = zimtohrli.Pyohrli().distance(*(resample(sound, rate, RATE) for sound in (before, after)))
    return float(zimtohrli.mos_from_zimtohrli(distance))
