"""How large a perturbation may be: a norm and a number, in the units of the inputs or in dB.

For normalised log spectrograms an epsilon of 0.1 is a tenth of the standard deviation of the training spectrograms.
`SNR` and `Amplitude` are budgets of waveforms, whose full scale is 1. Every norm is taken over one whole example.
"""

from __future__ import annotations

import abc
import copy
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from tenuto.attacks.axes import Axes
from tenuto.attacks.checks import SMALLEST_STEP, listed, require_number
from tenuto.attacks.registry import BUDGETS
from tenuto.audio import SAMPLE_RATE
from tenuto.errors import AttackError

TOLERANCE = 1e-6
"""Relative excess over epsilon that rounding may cause."""


class Budget(abc.ABC):
    """A ball around each input. Perturbations have shape (n, ...), sizes and epsilons (n,).

    A budget whose ball depends on the input, such as a signal-to-noise ratio, implements `around` and `take`; its
    other methods belong to the inputs that `around` was called with. Every size grows with the strength of the
    perturbation and is proportional to it.
    """

    norm: ClassVar[str]
    """The value of the column ``norm`` of the rows."""
    needs_sound: ClassVar[bool] = False
    """Whether it is defined for waveforms (n, samples) only."""
    clipping_shrinks: ClassVar[bool] = True
    """Whether moving single entries towards 0 never increases the size."""
    sample_rate: int = SAMPLE_RATE
    """Of the waveforms, in Hz; masking and the spectra of noise depend on it."""
    epsilon: float
    """Size of the budget, infinite where there is none."""

    def around(self, inputs: Tensor, names: Sequence[str]) -> Self:
        """The budget around these inputs (n, ...); ``names`` are n names for messages.

        Raises:
            AttackError: An input that has no such budget, such as silence under a signal-to-noise ratio.
        """
        return self

    def take(self, rows: Tensor) -> Self:
        """The budget around some of the inputs that `around` was called with; ``rows`` are their positions, (r,)."""
        return self

    def at_sample_rate(self, sample_rate: int) -> Self:
        """The budget for waveforms of this sample rate, in Hz."""
        return self._with(sample_rate=sample_rate)

    def _with(self, **values: object) -> Self:
        """A copy with other values of attributes."""
        budget = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(budget, name, value)
        return budget

    def at_rate_of(self, axes: Axes | None) -> Self:
        """The budget for waveforms with these axes; itself where they are not known, or those of a spectrogram.

        Raises:
            AttackError: The sample rate is a setting of the budget, and another one.
        """
        return self if axes is None or axes.bands is not None else self.at_sample_rate(round(axes.rate))

    @abc.abstractmethod
    def size(self, delta: Tensor) -> Tensor:
        """Norm of every perturbation, (n,) float64 on the device of ``delta``."""

    @abc.abstractmethod
    def project(self, delta: Tensor, epsilon: Tensor | None = None) -> Tensor:
        """The nearest perturbations inside the budget, or inside a ball of each example's own ``epsilon``."""

    def bounds(self, size: Tensor, epsilon: Tensor | None) -> Tensor:
        """The largest size allowed of every perturbation, (n,) like ``size``."""
        return torch.full_like(size, self.epsilon) if epsilon is None else epsilon.to(size)

    def fit(self, delta: Tensor, low: Tensor, high: Tensor, epsilon: Tensor | None = None) -> Tensor:
        """Bring every entry of a projection between ``low`` <= 0 and ``high`` >= 0, shape (n, ...), towards 0."""
        return delta.clamp(low, high)

    @abc.abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """The perturbations of norm 1 along which the objective rises fastest; 0 where the gradient is 0."""

    @abc.abstractmethod
    def scattered(self, uniform: Tensor) -> Tensor:
        """Random points of the budget, from independent uniform numbers in -1 to 1, shape (n, ...)."""

    def check(self, delta: Tensor, names: Sequence[str]) -> None:
        """Raise `AttackError` where a perturbation is not finite or larger than the budget, by name."""
        sizes = self.size(delta).cpu().numpy()
        bad = np.asarray(~(sizes <= self.epsilon * (1 + TOLERANCE)))
        if bad.any():
            raise AttackError(
                f"The perturbation of {listed(names, bad)} has size {sizes[bad].max():.6g} but the budget is "
                f"{self!r}. This is a bug in the attack: report it with the attack's settings."
            )

    def of(self, epsilon: float) -> Self:
        """The same norm with another epsilon."""
        return dataclasses.replace(self, epsilon=epsilon)  # type: ignore[type-var]

    def label(self) -> str:
        """The size for people, such as ``0.05``."""
        return f"{self.epsilon:g}"


def per_example(values: Tensor, like: Tensor) -> Tensor:
    """Values (n,) in a shape in which they multiply or choose the rows of ``like`` (n, ...)."""
    return values.view(-1, *([1] * (like.ndim - 1)))


@BUDGETS.register("linf")
@dataclass(frozen=True)
class Linf(Budget):
    """No entry changes by more than epsilon.

    Raises:
        ConfigError: An epsilon below 0 or above 1e18.
    """

    epsilon: float
    norm: ClassVar[str] = "linf"

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", require_number("epsilon", self.epsilon, 0))

    def size(self, delta: Tensor) -> Tensor:
        return delta.detach().abs().flatten(1).amax(dim=1).double()

    def project(self, delta: Tensor, epsilon: Tensor | None = None) -> Tensor:
        if epsilon is None:
            return delta.clamp(-self.epsilon, self.epsilon)
        bound = per_example(epsilon.to(delta), delta)
        return torch.maximum(torch.minimum(delta, bound), -bound)

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def scattered(self, uniform: Tensor) -> Tensor:
        return uniform * self.epsilon


@BUDGETS.register("amplitude")
@dataclass(frozen=True)
class Amplitude(Linf):
    """No sample of a waveform changes by more than epsilon, of full scale 1.

    Raises:
        ConfigError: An epsilon below 0 or above 1e18.
    """

    norm: ClassVar[str] = "amplitude"
    needs_sound: ClassVar[bool] = True

    def label(self) -> str:
        return f"amplitude {self.epsilon:g}"


def euclidean(values: Tensor) -> Tensor:
    """Euclidean norm over all entries of every example, (n,) float64."""
    return values.detach().double().flatten(1).square().sum(dim=1).sqrt()


class Euclidean(Budget):
    """A budget whose size is the Euclidean norm over all entries, in a unit of each example's own."""

    @abc.abstractmethod
    def unit(self, like: Tensor) -> Tensor:
        """Euclidean norm of a perturbation of size 1 of every example, (n,) float64 on the device of ``like``."""

    def size(self, delta: Tensor) -> Tensor:
        return euclidean(delta) / self.unit(delta)

    def project(self, delta: Tensor, epsilon: Tensor | None = None) -> Tensor:
        size = self.size(delta)
        bound = self.bounds(size, epsilon)
        factor = torch.where(size > bound, bound / size, torch.ones_like(size))
        return delta * per_example(factor.to(delta), delta)

    def steepest(self, gradient: Tensor) -> Tensor:
        length = euclidean(gradient)
        length = torch.where(length > 0, length, torch.ones_like(length))
        # In doubles: one over the length of a vanishing gradient is no float32.
        direction = gradient.double() / per_example(length, gradient)
        return (direction * per_example(self.unit(gradient), gradient)).to(gradient)

    def scattered(self, uniform: Tensor) -> Tensor:
        """On the sphere: in many dimensions nearly all of the ball's volume is close to it."""
        return self.steepest(uniform) * self.epsilon


@BUDGETS.register("l2")
@dataclass(frozen=True)
class L2(Euclidean):
    """The Euclidean norm over all entries of an example is at most epsilon.

    Raises:
        ConfigError: An epsilon below 0 or above 1e18.
    """

    epsilon: float
    norm: ClassVar[str] = "l2"

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", require_number("epsilon", self.epsilon, 0))

    def unit(self, like: Tensor) -> Tensor:
        return torch.ones(len(like), dtype=torch.float64, device=like.device)


LARGEST_DB = 200.0
"""Largest level of a budget in dB. It is an amplitude of 1e-10, far below what float32 adds to a waveform."""


@dataclass(frozen=True)
class Decibels(Budget):
    """A budget of waveforms, in dB relative to something of each waveform, which `around` has to set.

    Epsilon is the ratio of amplitudes 10 ** (sign * db / 20), which grows with its strength.

    Raises:
        ConfigError: A level that is not a number from -200 to 200.
    """

    db: float
    epsilon: float = field(init=False, repr=False, compare=False)
    needs_sound: ClassVar[bool] = True
    sign: ClassVar[int]
    """1 where a larger level allows more, -1 where it allows less."""
    _references: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    """What a perturbation of every waveform is compared with, (n, ...)."""

    def __post_init__(self) -> None:
        db = require_number("db", self.db, -LARGEST_DB, LARGEST_DB)
        # So that 40 and 40.0 print the same.
        object.__setattr__(self, "db", int(db) if float(db).is_integer() else db)
        object.__setattr__(self, "epsilon", 10 ** (self.sign * self.db / 20))

    def of(self, epsilon: float) -> Self:
        """The same norm with another epsilon, which must be positive."""
        require_number("epsilon", epsilon, SMALLEST_STEP)
        return dataclasses.replace(self, db=round(self.sign * 20 * math.log10(epsilon), 9))

    def take(self, rows: Tensor) -> Self:
        return self._with(_references=self._known_references()[rows])

    def _known_references(self) -> Tensor:
        if self._references is None:
            raise AttackError(f"{self!r} depends on the waveforms: call around(waveforms, names) first.")
        return self._references


@BUDGETS.register("snr")
@dataclass(frozen=True)
class SNR(Decibels, Euclidean):
    """The signal-to-noise ratio is at least ``db``: 20 log10(norm of the waveform / norm of the perturbation).

    Both norms are Euclidean, over all samples of the excerpt; epsilon is the second over the first.

    Args:
        db: Signal-to-noise ratio in dB; 40 is an epsilon of 0.01.

    Raises:
        ConfigError: A level that is not a number from -200 to 200.
    """

    norm: ClassVar[str] = "snr"
    sign: ClassVar[int] = -1

    def around(self, inputs: Tensor, names: Sequence[str]) -> Self:
        lengths = euclidean(inputs)
        is_silent = ~(lengths > 0).cpu().numpy()
        if is_silent.any():
            raise AttackError(
                f"The waveform of {listed(names, is_silent)} is silent and has no signal-to-noise ratio: leave it out, "
                "or use Amplitude(...)."
            )
        return self._with(_references=lengths)

    def unit(self, like: Tensor) -> Tensor:
        return self._known_references()

    def label(self) -> str:
        return f"{self.db:g} dB SNR"


@BUDGETS.register("none")
@dataclass(frozen=True)
class Unbounded(Budget):
    """No limit, except that every entry is finite; steps are those of `Linf`."""

    norm: ClassVar[str] = "none"
    epsilon: ClassVar[float] = math.inf  # type: ignore[misc]

    def size(self, delta: Tensor) -> Tensor:
        return delta.detach().abs().flatten(1).amax(dim=1).double()

    def project(self, delta: Tensor, epsilon: Tensor | None = None) -> Tensor:
        return delta

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def scattered(self, uniform: Tensor) -> Tensor:
        return uniform

    def label(self) -> str:
        return "no budget"

    def check(self, delta: Tensor, names: Sequence[str]) -> None:
        bad = ~torch.isfinite(delta).flatten(1).all(dim=1).cpu().numpy()
        if bad.any():
            raise AttackError(f"The perturbation of {listed(names, bad)} is not finite: take smaller steps.")
