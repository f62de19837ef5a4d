"""Random noise, the baseline of every attack with the same budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tenuto.attacks.base import Access, Examples, Range
from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.checks import whole
from tenuto.attacks.masked import Masked
from tenuto.attacks.registry import ATTACKS
from tenuto.attacks.search import Search
from tenuto.errors import AttackError, ConfigError, did_you_mean

DISTRIBUTIONS = ("uniform", "gaussian", "sign")
SPECTRA = ("white", "pink", "masked")
"""Kinds for waveforms, which differ in their spectrum."""

LOWEST_HZ = 20.0
"""Pink noise begins here; an octave further down would take the same power and not be heard."""


@ATTACKS.register("Noise")
@dataclass(frozen=True, kw_only=True, repr=False)
class Noise(BoundedAttack):
    """The best of several random draws.

    Args:
        kind: ``uniform`` in -epsilon to epsilon, ``gaussian`` with standard deviation epsilon / 2 (clipped to the
            budget), or ``sign``, -epsilon or epsilon. For `L2` and `SNR` every draw is scaled to size epsilon.
            For waveforms also normally distributed noise of a given spectrum, scaled to size epsilon: ``white``;
            ``pink``, with equal power in every octave from 20 Hz; or ``masked``, proportional to the masking threshold
            in every critical band of every frame.
        draws: How many.

    Raises:
        ConfigError: Another kind, a number of draws below 0, or `Unbounded`.
    """

    access: ClassVar[Access] = "black-box"
    needs_epsilon = True

    kind: Literal["uniform", "gaussian", "sign", "white", "pink", "masked"] = "uniform"
    draws: int = field(default=10, metadata=whole(0))

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = (*DISTRIBUTIONS, *SPECTRA)
        if self.kind not in kinds:
            raise ConfigError(f"Unknown kind {self.kind!r}. {did_you_mean(str(self.kind), kinds)}")

    @property
    def iterations(self) -> int:
        return self.draws

    @property
    def title(self) -> str:
        return f"Noise {self.kind}"

    def _check(self, examples: Examples, valid_range: Range | None) -> None:
        super()._check(examples, valid_range)
        if self.kind in SPECTRA and examples.inputs.ndim != 2:
            raise AttackError(
                f"Noise of kind {self.kind!r} is for waveforms (n, samples), but the inputs have shape "
                f"{tuple(examples.inputs.shape)}: attack the waveforms, or use {', '.join(DISTRIBUTIONS)}."
            )

    def search(self, search: Search) -> None:
        if search.has_start:
            search.values(search.first(search.all_rows, scattered=False), search.all_rows)
        masks = self._masks(search) if self.kind == "masked" else None
        for _ in range(self.draws):
            rows = search.unfinished()
            if not len(rows):
                return
            if self.kind in SPECTRA:
                noise = self._of_spectrum(search, rows, None if masks is None else masks.take(rows))
                search.values(search.filled(noise, rows), rows)
            else:
                search.values(search.scattered(self._draw(search, rows), rows), rows)
            search.tick(rows)

    def _draw(self, search: Search, rows: Tensor) -> Tensor:
        uniform = search.uniform(rows)
        if self.kind == "sign":
            return torch.where(uniform < 0, -torch.ones_like(uniform), torch.ones_like(uniform))
        return _normal(uniform) / 2 if self.kind == "gaussian" else uniform

    def _masks(self, search: Search) -> Masked:
        """The masking thresholds of the inputs."""
        if isinstance(search.budget, Masked):
            return search.budget
        masks = Masked(0, sample_rate=search.budget.sample_rate)
        return masks.around(search.inputs, search.task.examples.names)

    def _of_spectrum(self, search: Search, rows: Tensor, masks: Masked | None) -> Tensor:
        """Noise (r, samples) of any size."""
        normal = _normal(search.uniform(rows))
        if masks is not None:
            return masks.scattered(normal)
        if self.kind == "white":
            return normal
        spacing = 1 / search.budget.sample_rate
        hertz = torch.fft.rfftfreq(normal.shape[-1], spacing, device=normal.device, dtype=normal.dtype)
        gain = torch.where(hertz < LOWEST_HZ, 0, hertz.clamp_min(LOWEST_HZ) ** -0.5)
        noise: Tensor = torch.fft.irfft(torch.fft.rfft(normal) * gain, n=normal.shape[-1])
        return noise


def _normal(uniform: Tensor) -> Tensor:
    """Normally distributed numbers from uniform ones in -1 to 1."""
    # The inverse of the distribution function, whose ends are infinite.
    normal: Tensor = torch.special.ndtri((uniform.double() + 1) / 2)
    return normal.clamp(-6, 6).to(uniform)
