"""What may happen to sound between the attacker and the model, and the objective averaged over it.

Expectation over transformations (Athalye et al., "Synthesizing Robust Adversarial Examples", 2018): every step follows
the mean gradient over several random changes of the attacked waveform, so the perturbation does not rely on any of
them. Without transformations, the mean over draws serves models that are random themselves.
"""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenuto.attacks.axes import Axes, transform_size
from tenuto.attacks.chance import generator_of
from tenuto.attacks.checks import check_settings_of, is_number, number, whole
from tenuto.attacks.registry import SETTINGS, TRANSFORMATIONS
from tenuto.errors import AttackError, ConfigError

View = Callable[[Tensor], Tensor]
"""From waveforms (n, samples) to what becomes of them, with a gradient."""

Drawn = NDArray[np.floating[Any]]

LOW_PASS_ORDER = 8
"""Of the Butterworth low-pass: 48 dB per octave above the cut-off frequency."""

SILENCE = 1e-20
"""Power below which a waveform counts as silent, so that its noise has a gradient."""


class Transformation(abc.ABC):
    """A random change of waveforms that has a gradient. What is random is drawn apart from what is done with it."""

    needs_rate: ClassVar[bool] = True
    """Whether it depends on the sample rate."""

    def __post_init__(self) -> None:
        check_settings_of(self)

    @abc.abstractmethod
    def draw(self, generator: np.random.Generator, samples: int, rate: float) -> Drawn:
        """Draw what is random for one waveform of so many samples, (p,)."""

    @abc.abstractmethod
    def apply(self, waveforms: Tensor, drawn: Tensor, rate: float) -> Tensor:
        """Change waveforms (n, samples) by what was drawn for each, (n, p)."""


def _range(least: float, most: float) -> dict[str, Any]:
    """Metadata of a setting that must be two numbers from ``least`` to ``most``, the lower one first."""
    return {"check": functools.partial(_require_range, least=least, most=most)}


def _require_range(name: str, value: Any, least: float, most: float) -> None:
    pair = value if isinstance(value, tuple) else ()
    if len(pair) != 2 or not all(is_number(one) for one in pair) or not least <= pair[0] <= pair[1] <= most:
        raise ConfigError(
            f"{name} must be two numbers from {least:g} to {most:g}, the lower one first, got {value!r}."
        )


@TRANSFORMATIONS.register("gain")
@dataclass(frozen=True)
class Gain(Transformation):
    """Louder or quieter.

    Args:
        decibels: Largest change, either way.
    """

    decibels: float = field(default=6.0, metadata=number(0, 120))
    needs_rate: ClassVar[bool] = False

    def draw(self, generator: np.random.Generator, samples: int, rate: float) -> Drawn:
        return np.array([10 ** (generator.uniform(-self.decibels, self.decibels) / 20)])

    def apply(self, waveforms: Tensor, drawn: Tensor, rate: float) -> Tensor:
        return waveforms * drawn


@TRANSFORMATIONS.register("shift")
@dataclass(frozen=True)
class Shift(Transformation):
    """Earlier or later by whole samples; what leaves at one end enters at the other.

    Args:
        seconds: Largest shift, either way.
    """

    seconds: float = field(default=0.05, metadata=number(0, 3600))

    def draw(self, generator: np.random.Generator, samples: int, rate: float) -> Drawn:
        most = round(self.seconds * rate)
        return np.array([float(generator.integers(-most, most + 1))])

    def apply(self, waveforms: Tensor, drawn: Tensor, rate: float) -> Tensor:
        shifts = drawn[:, 0].long().tolist()
        return torch.stack([row.roll(shift) for row, shift in zip(waveforms, shifts, strict=True)])


@TRANSFORMATIONS.register("noise")
@dataclass(frozen=True)
class AddedNoise(Transformation):
    """White Gaussian noise.

    Args:
        decibels: Lowest and highest signal-to-noise ratio; both powers are means over the excerpt.
    """

    decibels: tuple[float, float] = field(default=(20.0, 50.0), metadata=_range(-120, 120))
    needs_rate: ClassVar[bool] = False

    def draw(self, generator: np.random.Generator, samples: int, rate: float) -> Drawn:
        level = 10 ** (-generator.uniform(*self.decibels) / 20)
        return np.float32(level) * generator.standard_normal(samples, dtype=np.float32)

    def apply(self, waveforms: Tensor, drawn: Tensor, rate: float) -> Tensor:
        power = waveforms.square().mean(dim=1, keepdim=True)
        return waveforms + drawn * power.clamp_min(SILENCE).sqrt()


@TRANSFORMATIONS.register("low-pass")
@dataclass(frozen=True)
class LowPass(Transformation):
    """The magnitude of a Butterworth filter of order 8, without delay.

    Args:
        hertz: Lowest and highest cut-off frequency (-3 dB), drawn on a logarithmic scale.
    """

    hertz: tuple[float, float] = field(default=(4_000.0, 16_000.0), metadata=_range(1, 1e6))

    def draw(self, generator: np.random.Generator, samples: int, rate: float) -> Drawn:
        low, high = (math.log(one) for one in self.hertz)
        return np.array([math.exp(generator.uniform(low, high))])

    def apply(self, waveforms: Tensor, drawn: Tensor, rate: float) -> Tensor:
        size = transform_size(waveforms.shape[1] + 4096)  # room for what the filter rings before and after
        hertz = torch.arange(size // 2 + 1, device=waveforms.device, dtype=torch.float64) * (rate / size)
        response = 1 / torch.sqrt(1 + (hertz / drawn.double()) ** (2 * LOW_PASS_ORDER))
        spectrum = torch.fft.rfft(waveforms, n=size) * response.to(waveforms)
        filtered: Tensor = torch.fft.irfft(spectrum, n=size)[:, : waveforms.shape[1]]
        return filtered


@TRANSFORMATIONS.register("room")
@dataclass(frozen=True)
class Room(Transformation):
    """A synthetic room: the direct sound, and noise that decays exponentially (Moorer 1979, Comput. Music J. 3).

    Every draw is another room. Its response has the energy 1, so that the level of white sound stays.

    Args:
        seconds: Shortest and longest reverberation time T60, the time in which the tail decays by 60 dB.
        decibels: Lowest and highest energy of the direct sound relative to that of the tail.
    """

    seconds: tuple[float, float] = field(default=(0.2, 0.8), metadata=_range(0.01, 30))
    decibels: tuple[float, float] = field(default=(0.0, 12.0), metadata=_range(-60, 60))

    def draw(self, generator: np.random.Generator, samples: int, rate: float) -> Drawn:
        """The response of a room, as long as the longest reverberation time."""
        seconds, ratio = generator.uniform(*self.seconds), generator.uniform(*self.decibels)
        time = np.arange(1, round(self.seconds[1] * rate) + 1) / rate
        tail = generator.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
        tail *= 10 ** (-ratio / 20) / np.linalg.norm(tail)
        response = np.concatenate([[1.0], tail])
        return np.asarray(response / np.linalg.norm(response))

    def apply(self, waveforms: Tensor, drawn: Tensor, rate: float) -> Tensor:
        samples = waveforms.shape[1]
        size = transform_size(samples + drawn.shape[1])
        spectrum = torch.fft.rfft(waveforms, n=size) * torch.fft.rfft(drawn, n=size)
        reverberant: Tensor = torch.fft.irfft(spectrum, n=size)[:, :samples]
        return reverberant


@TRANSFORMATIONS.register("mp3")
@dataclass(frozen=True)
class Mp3(Transformation):
    """Coded as mp3 and decoded again; the gradient is that of the identity (straight through).

    The encoder lowers the level by some 0.5 dB, which files of recordings do not keep: they are scaled to their peak
    when they are read.

    Args:
        kilobits: Bit rates to choose from, kb/s.
    """

    kilobits: tuple[int, ...] = (64, 96, 128, 192)

    def __post_init__(self) -> None:
        rates = self.kilobits if isinstance(self.kilobits, tuple) else ()
        if not rates or not all(isinstance(rate, int) and 32 <= rate <= 320 for rate in rates):
            raise ConfigError(
                f"kilobits must be a tuple of bit rates from 32 to 320 kb/s, whole numbers, got {self.kilobits!r}."
            )

    def draw(self, generator: np.random.Generator, samples: int, rate: float) -> Drawn:
        return np.array([float(generator.choice(self.kilobits))])

    def apply(self, waveforms: Tensor, drawn: Tensor, rate: float) -> Tensor:
        from tenuto.audio.mp3 import coded  # needs soundfile, which no other part of the attacks does

        rows = waveforms.detach().cpu().numpy()
        kilobits = drawn[:, 0].long().tolist()
        decoded = np.stack([coded(row, round(rate), one) for row, one in zip(rows, kilobits, strict=True)])
        return torch.from_numpy(decoded).to(waveforms) + (waveforms - waveforms.detach())


@SETTINGS.register("Transformations")
@dataclass(frozen=True)
class Transformations:
    """What an attack averages its objective over, as a setting of any attack with a budget.

    Args:
        parts: What happens to the attacked waveforms, one after the other; nothing for a model that is random itself.
        draws: Random draws per evaluation; every one is a pass of the model.
        seed: Seed of the draws.

    Raises:
        ConfigError: Parts that are no transformations, or a setting out of range.

    Example:
        >>> Transformations((Gain(), Shift()), draws=4)
        Transformations(parts=(Gain(decibels=6.0), Shift(seconds=0.05)), draws=4, seed=0)
    """

    parts: tuple[Transformation, ...] = ()
    draws: int = field(default=8, metadata=whole(1))
    seed: int = field(default=0, metadata=whole(0))

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "parts", tuple(self.parts) if isinstance(self.parts, Sequence) else self.parts
        )
        if not isinstance(self.parts, tuple) or not all(
            isinstance(one, Transformation) for one in self.parts
        ):
            raise ConfigError(f"parts must be transformations such as (Gain(), Room()), got {self.parts!r}.")
        check_settings_of(self)

    @classmethod
    def named(cls, words: str, draws: int | None = None) -> Transformations:
        """Transformations with their default settings, by their names, such as ``gain,room,mp3``.

        Raises:
            ConfigError: An unknown name.
        """
        names = [word.strip() for word in words.split(",") if word.strip()]
        return cls(
            tuple(TRANSFORMATIONS[name]() for name in names), **({} if draws is None else {"draws": draws})
        )

    def check(self, inputs: Tensor, axes: Axes | None) -> None:
        """Raise `AttackError` for inputs (n, ...) that these transformations cannot change."""
        if not self.parts:
            return
        listing = ", ".join(repr(part) for part in self.parts)
        if inputs.ndim != 2:
            raise AttackError(
                f"{listing} change waveforms (n, samples), but the inputs have shape {tuple(inputs.shape)}: attack the "
                "waveforms, or leave the transformations out."
            )
        if axes is None and any(part.needs_rate for part in self.parts):
            raise AttackError(f"{listing} depend on the sample rate: give axes, such as Axes(22050).")
        if axes is not None:
            axes.check(inputs)


class Views:
    """Random views of n examples; each example has random numbers of its own.

    Args:
        transformations: What happens to the examples.
        inputs: (n, ...), whose content chooses the random numbers.
        axes: What their axes mean.
        stream: Number of the series of views; different ones are independent.
    """

    def __init__(
        self, transformations: Transformations, inputs: Tensor, axes: Axes | None, stream: int
    ) -> None:
        self.transformations, self.inputs = transformations, inputs
        self.rate = 0.0 if axes is None else axes.rate
        self._generators = [generator_of(example, transformations.seed, stream) for example in inputs]

    def draw(self, rows: Tensor, count: int | None = None) -> Iterator[View]:
        """``count`` views (by default as many as the transformations have draws) of some examples, (r,)."""
        generators = [self._generators[row] for row in rows.tolist()]
        parts, samples = self.transformations.parts, self.inputs.shape[-1]
        for _ in range(self.transformations.draws if count is None else count):
            draws = [[part.draw(one, samples, self.rate) for part in parts] for one in generators]
            values = [torch.from_numpy(np.stack(each)).to(self.inputs) for each in zip(*draws, strict=True)]
            yield functools.partial(self._view, values)

    def _view(self, values: Sequence[Tensor], waveforms: Tensor) -> Tensor:
        """Waveforms (n, samples) changed by what was drawn for each part."""
        for part, its_own in zip(self.transformations.parts, values, strict=True):
            waveforms = part.apply(waveforms, its_own, self.rate)
        return waveforms
