"""Perturbations of a part of the music: some seconds, some frequencies, and zero elsewhere.

In a spectrogram every entry outside is exactly zero. A waveform cannot be limited in time and in frequency at once:
samples outside the seconds are exactly zero, and what remains outside the frequencies is measured afterwards.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tenuto.attacks.axes import Axes, transform_size
from tenuto.attacks.budgets import euclidean
from tenuto.attacks.checks import is_number, listed
from tenuto.attacks.registry import SETTINGS
from tenuto.errors import AttackError, ConfigError

FADE_SECONDS = 0.01
"""Length of the fades at both ends of the seconds in a waveform; a quarter of the seconds where these are shorter."""

KEPT = 0.1
"""Relative L2 change by the filter and the fades up to which a perturbation counts as shaped by them already."""

Interval = tuple[float, float]


@SETTINGS.register("Region")
@dataclass(frozen=True)
class Region:
    """Where a perturbation may differ from zero.

    A frame of a spectrogram belongs to the seconds if it begins in them (31.3 frames per second; a frame covers 93 ms),
    a band to the frequencies if its centre is one of them.

    Args:
        seconds: From and to, counted from the beginning of the excerpt; None for the whole excerpt.
        bands: Lowest and highest frequency, Hz; None for all frequencies.

    Raises:
        ConfigError: Neither is given, or one of them is no rising pair of numbers of at least 0.
    """

    seconds: Interval | None = None
    bands: Interval | None = None

    def __post_init__(self) -> None:
        if self.seconds is None and self.bands is None:
            raise ConfigError("Region needs seconds, bands or both, such as Region(seconds=(2, 4)).")
        for name in ("seconds", "bands"):
            value = getattr(self, name)
            if value is None:
                continue
            pair = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
            if len(pair) != 2 or not all(is_number(one) for one in pair) or not 0 <= pair[0] < pair[1]:
                raise ConfigError(
                    f"{name} must be two numbers of at least 0, the lower one first, such as (2, 4), got {value!r}."
                )
            object.__setattr__(self, name, pair)

    def __str__(self) -> str:
        """A short form for file names: ``2-4s,200-2000Hz``."""
        parts = ((self.seconds, "s"), (self.bands, "Hz"))
        return ",".join(f"{pair[0]:g}-{pair[1]:g}{unit}" for pair, unit in parts if pair is not None)

    def of(self, inputs: Tensor, axes: Axes | None) -> Area:
        """The entries of inputs (n, ...) that belong to the region.

        Raises:
            AttackError: It is not known what the axes mean, or they are not those of the inputs.
            ConfigError: Seconds that are not in the excerpt, or frequencies without a band.
        """
        if axes is None:
            raise AttackError(
                f"{self!r} is in seconds or Hz, but it is not known what the axes of the inputs mean: leave it out, "
                "or call the attack with axes, such as Axes(22050) for waveforms."
            )
        axes.check(inputs)
        return WaveformArea(self, inputs, axes) if axes.bands is None else SpectrogramArea(self, inputs, axes)

    def steps(self, length: int, rate: float) -> slice:
        """The samples or frames, of ``length`` in the excerpt, that begin in the seconds."""
        if self.seconds is None:
            return slice(0, length)
        begin, end = (math.ceil(second * rate - 1e-9) for second in self.seconds)
        if end > length or begin >= length:
            raise ConfigError(
                f"seconds {_text(self.seconds)} are not in the excerpt, which has {length / rate:.2f} s. Choose "
                f"seconds from 0 to {math.floor(100 * length / rate) / 100:g}."
            )
        if begin >= end:
            raise ConfigError(
                f"seconds {_text(self.seconds)} contain no step of the input, which has {rate:g} a second. Choose "
                "seconds that are farther apart."
            )
        return slice(begin, end)


def _text(pair: Interval) -> str:
    return f"{pair[0]:g} to {pair[1]:g}"


class Area(abc.ABC):
    """The entries of inputs that belong to a region.

    Attributes:
        mask: Which entries of an example may differ from zero.
        box: The smallest rectangle of the last two axes around them; waveforms have one row.
        has_filter: Whether a filter limits the frequencies.
    """

    mask: Tensor
    box: tuple[slice, slice]
    has_filter: bool = False

    @abc.abstractmethod
    def shaped(self, delta: Tensor) -> Tensor:
        """The perturbation (n, ...) without what is outside. It is linear, and never increases the L2 norm."""

    def pulled(self, gradient: Tensor) -> Tensor:
        """The gradient with respect to a perturbation that is shaped afterwards."""
        return self.shaped(gradient)

    def outside(self, delta: Tensor) -> Tensor:
        """The largest entry where a perturbation must be exactly zero, (n,)."""
        largest: Tensor = delta.detach().masked_fill(self.mask, 0).abs().flatten(1).amax(dim=1)
        return largest

    def leakage_db(self, delta: Tensor) -> Tensor | None:
        """Power outside the frequencies relative to the whole, (n,) float64 on the CPU; None where it is exactly 0."""
        return None

    def contains(self, delta: Tensor) -> Tensor:
        """Which perturbations (n, ...) are zero where they must be, and nearly the same when they are shaped, (n,)."""
        change = euclidean(self.shaped(delta) - delta)
        return (self.outside(delta) == 0) & (change <= KEPT * euclidean(delta))

    def check(self, delta: Tensor, names: Sequence[str]) -> None:
        """Raise `AttackError` where a perturbation is not zero outside."""
        bad = (self.outside(delta) != 0).cpu().numpy()
        if bad.any():
            raise AttackError(
                f"The perturbation of {listed(names, bad)} is not zero outside its region. This is a bug in the "
                "attack: pass what it evaluates through search.allowed."
            )


class SpectrogramArea(Area):
    """Frames x bands of a spectrogram."""

    def __init__(self, region: Region, inputs: Tensor, axes: Axes) -> None:
        centres = np.asarray(axes.bands)
        frames, columns = region.steps(inputs.shape[-2], axes.rate), slice(0, len(centres))
        if region.bands is not None:
            low, high = region.bands
            inside = np.flatnonzero((centres >= low) & (centres <= high))
            if not len(inside):
                raise ConfigError(
                    f"bands {_text(region.bands)} Hz contain the centre of no band; centres are {centres[0]:.0f} to "
                    f"{centres[-1]:.0f} Hz, the nearest ones {_nearest(centres, region.bands)} Hz. Choose a wider "
                    "range."
                )
            columns = slice(int(inside[0]), int(inside[-1]) + 1)
        self.box = frames, columns
        self.mask = torch.zeros(inputs.shape[-2:], dtype=torch.bool, device=inputs.device)
        self.mask[self.box] = True

    def shaped(self, delta: Tensor) -> Tensor:
        return torch.where(self.mask, delta, torch.zeros_like(delta))


def _nearest(centres: np.ndarray, bands: Interval) -> str:
    below, above = centres[centres < bands[0]], centres[centres > bands[1]]
    return " and ".join(f"{one:.0f}" for one in (*below[-1:], *above[:1]))


class WaveformArea(Area):
    """Some seconds of a waveform, with short fades inside them, and the frequencies that a filter passes.

    The filter has no phase: it is a mask of the discrete Fourier transform. The fades come after it, so that samples
    outside the seconds are exactly zero.
    """

    def __init__(self, region: Region, inputs: Tensor, axes: Axes) -> None:
        self.length, self.rate, self.bands = inputs.shape[-1], axes.rate, region.bands
        part = region.steps(self.length, axes.rate)
        self.box, self.has_filter = (slice(0, 1), part), region.bands is not None
        self.window = torch.zeros(self.length, dtype=torch.float64, device=inputs.device)
        # Without seconds too: what the filter rings beyond the excerpt is cut.
        self.window[part] = _faded(part.stop - part.start, axes.rate).to(inputs.device)
        self.mask = self.window > 0
        if self.bands is not None and self.bands[0] >= self.rate / 2:
            raise ConfigError(
                f"bands {_text(self.bands)} Hz are not in the sound, which has frequencies up to {self.rate / 2:g} Hz. "
                "Choose lower ones."
            )
        self.padded = transform_size(self.length)
        if self.bands is not None and not self._passed(self.padded).any():
            raise ConfigError(
                f"bands {_text(self.bands)} Hz are too close together for an excerpt of {self.length / self.rate:.2f} "
                "s. Choose a wider range."
            )

    def _passed(self, length: int) -> Tensor:
        """Which frequencies of a transform of so many samples are inside, (length // 2 + 1,)."""
        assert self.bands is not None
        hertz = torch.arange(length // 2 + 1, device=self.window.device) * (self.rate / length)
        return (hertz >= self.bands[0]) & (hertz <= self.bands[1])

    def _filtered(self, delta: Tensor) -> Tensor:
        if self.bands is None:
            return delta
        spectrum = torch.fft.rfft(delta, n=self.padded) * self._passed(self.padded)
        filtered: Tensor = torch.fft.irfft(spectrum, n=self.padded)[..., : self.length]
        return filtered

    def shaped(self, delta: Tensor) -> Tensor:
        # Cut first: the filter would spread what is outside into the seconds.
        return self._filtered(delta * self.mask) * self.window.to(delta)

    def pulled(self, gradient: Tensor) -> Tensor:
        """As `shaped`: a sign step would raise even the faintest ringing of the filter outside the seconds."""
        return self.shaped(gradient * self.window.to(gradient))

    def leakage_db(self, delta: Tensor) -> Tensor | None:
        if self.bands is None:
            return None
        power = torch.fft.rfft(delta.detach().cpu().double()).abs().square()
        # The first and, for an even length, the last value stand for one frequency, the others for two.
        power[:, 1 : (self.length + 1) // 2] *= 2
        whole, inside = power.sum(dim=1), power[:, self._passed(self.length).cpu()].sum(dim=1)
        # Nothing leaks from no perturbation, of which the quotient is NaN.
        return 10 * torch.log10(((whole - inside) / whole).clamp_min(1e-30))


def _faded(length: int, rate: float) -> Tensor:
    """A window (length,) of ones with the two halves of a Hann window at its ends; no value is 0."""
    fade = max(min(round(FADE_SECONDS * rate), length // 4), 1)
    rise = torch.sin(torch.pi / 2 * (torch.arange(fade, dtype=torch.float64) + 0.5) / fade).square()
    window = torch.ones(length, dtype=torch.float64)
    window[:fade] = rise
    window[length - fade :] = rise.flip(0)
    return window
