"""Ten-second excerpts of spectrograms: first frames, cutting, normalisation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tenuto.data.cache import Spectrogram

EXCERPT_FRAMES = 313
"""Frames of an excerpt: 10 s at 31.3 per second."""

PAPER_SEED = 42


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

    generator = torch.Generator().manual_seed(PAPER_SEED)
    rooms = [max(count, EXCERPT_FRAMES) - EXCERPT_FRAMES + 1 for count in frames]
    return [int(torch.randint(0, room, (1,), generator=generator)) for room in rooms]


def fresh_starts(frames: Sequence[int], seed: int, epoch: int) -> list[int]:
    """First frames for one epoch; a pure function of seed and epoch, so that a resumed run gets the same ones."""
    generator = np.random.default_rng((seed, epoch))
    return [int(generator.integers(0, max(count, EXCERPT_FRAMES) - EXCERPT_FRAMES + 1)) for count in frames]


def cut(spectrogram: Spectrogram, start: int) -> Spectrogram:
    """Frames ``start`` to ``start + 313``, shape (313, 149); a shorter clip continues with its own beginning."""
    if len(spectrogram) < EXCERPT_FRAMES:
        repeats = math.ceil(EXCERPT_FRAMES / len(spectrogram))
        spectrogram = np.tile(spectrogram, (repeats, 1))
    return spectrogram[start : start + EXCERPT_FRAMES]


def excerpts(
    spectrograms: Sequence[Spectrogram], starts: Sequence[int], normalisation: Normalisation
) -> NDArray[np.float32]:
    """Normalised excerpts as a network takes them, shape (clips, 1, 313, 149)."""
    cuts = [normalisation(cut(clip, start)) for clip, start in zip(spectrograms, starts, strict=True)]
    return np.stack(cuts)[:, None]
