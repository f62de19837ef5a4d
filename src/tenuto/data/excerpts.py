"""Excerpts of recordings: first frames of the ten-second excerpts of the study, windows, cutting, normalisation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tenuto.data.cache import Spectrogram

EXCERPT_FRAMES = 313
"""Frames of an excerpt: 10 s at 31.3 per second."""

SPECTROGRAM_UNIT = "standard deviations of the log spectrogram"
"""What perturbations of a normalised log spectrogram are measured in."""

WAVEFORM_UNIT = "samples (full scale 1)"
"""What perturbations of a waveform are measured in."""

PAPER_EXCERPT_SEED = 42


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """Mean and deviation that turn log magnitudes into units of one standard deviation."""

    mean: float
    deviation: float

    def __call__(self, spectrogram: Spectrogram) -> Spectrogram:
        """The spectrogram in normalised units, float32."""
        return (spectrogram - np.float32(self.mean)) / np.float32(self.deviation)


PAPER_NORMALISATION = Normalisation(0.395230, 0.418999)
"""Values of the study, measured on the 360 clips of Soundtracks."""


def measure(spectrograms: Sequence[Spectrogram]) -> Normalisation:
    """Mean of clip means, and root of the mean of the clips' mean squared deviations from it.

    Every clip has the same weight, whatever its length. The study measures over all clips, test clips included.
    """
    mean = math.fsum(float(clip.mean(dtype=np.float64)) for clip in spectrograms) / len(spectrograms)
    squares = math.fsum(float(np.square(clip - mean, dtype=np.float64).mean()) for clip in spectrograms)
    return Normalisation(mean, math.sqrt(squares / len(spectrograms)))


def fixed_starts(frames: Sequence[int]) -> list[int]:
    """First frame of each clip's only excerpt, as drawn in the study.

    Torch is seeded with 42, then one start per clip is drawn in file order. Clips shorter than an excerpt start at 0.
    """
    import torch

    generator = torch.Generator().manual_seed(PAPER_EXCERPT_SEED)
    rooms = [max(count, EXCERPT_FRAMES) - EXCERPT_FRAMES + 1 for count in frames]
    return [int(torch.randint(0, room, (1,), generator=generator)) for room in rooms]


def fresh_starts(frames: Sequence[int], seed: int, epoch: int) -> list[int]:
    """First frames for one epoch; a pure function of seed and epoch, so that a resumed run gets the same ones."""
    generator = np.random.default_rng((seed, epoch))
    return [int(generator.integers(0, max(count, EXCERPT_FRAMES) - EXCERPT_FRAMES + 1)) for count in frames]


def cut(steps: Spectrogram, start: int, window: int = EXCERPT_FRAMES) -> Spectrogram:
    """Steps ``start`` to ``start + window`` of frames (frames, 149) or samples (samples,).

    A shorter clip continues with its own beginning.
    """
    if len(steps) < window:
        repeats = math.ceil(window / len(steps))
        steps = np.tile(steps, (repeats, *[1] * (steps.ndim - 1)))
    return steps[start : start + window]


def window_starts(steps: int, window: int = EXCERPT_FRAMES) -> list[int]:
    """First steps of the fewest windows that cover a recording of ``steps`` steps, evenly spaced.

    >>> window_starts(700)
    [0, 193, 387]
    """
    last = max(0, steps - window)
    count = math.ceil(last / window) + 1
    return [int(start) for start in np.linspace(0, last, count)]
