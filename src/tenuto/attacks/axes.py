"""What the axes of inputs mean, for attacks that speak of seconds and Hz."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from torch import Tensor

from tenuto.attacks.checks import SMALLEST_STEP, require_number
from tenuto.errors import AttackError, ConfigError, counted, one_line


@dataclass(frozen=True)
class Axes:
    """What the axes of inputs mean: waveforms (n, samples), or spectrograms (n, ..., frames, bands).

    Args:
        rate: Samples or frames per second.
        bands: Centre frequency of every band, Hz, rising; None for waveforms.

    Raises:
        ConfigError: A rate that is no positive number, or bands that do not rise.
    """

    rate: float
    bands: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        require_number("rate", self.rate, SMALLEST_STEP)
        if self.bands is not None and not all(low < high for low, high in itertools.pairwise(self.bands)):
            raise ConfigError(f"bands must be rising centre frequencies in Hz, got {one_line(self.bands)}.")

    def check(self, inputs: Tensor) -> None:
        """Raise `AttackError` where these are not the axes of inputs (n, ...)."""
        shape = tuple(inputs.shape)
        if self.bands is None and inputs.ndim != 2:
            raise AttackError(
                f"The inputs have shape {shape}, but axes without bands belong to waveforms (n, samples): give the "
                "bands of a spectrogram."
            )
        if self.bands is not None and (inputs.ndim < 3 or shape[-1] != len(self.bands)):
            raise AttackError(
                f"The inputs have shape {shape}, but axes names {counted(len(self.bands), 'band')}: the last two "
                "axes must be frames and these bands."
            )


def transform_size(samples: int) -> int:
    """The next power of two: Fourier transforms of other lengths can be several times slower."""
    return 1 << (samples - 1).bit_length()
