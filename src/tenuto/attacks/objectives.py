"""What an attacker pushes, as values: every objective is a number per example that an attack raises.

An objective sees what the model says of the perturbed input, what it says of the clean one, and the label. It
picks its part: emotions always, concepts where it speaks of them. ``keep`` weighs what shall stay: the mean squared
change of the outputs that are not the aim is subtracted with that weight.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from tenuto.attacks.base import is_number
from tenuto.errors import AttackError, ConfigError

Against = Literal["label", "clean"]


class Outputs(NamedTuple):
    """What a model says of n examples: emotions (n, emotions) and, with a bottleneck, concepts (n, concepts)."""

    emotions: Tensor
    concepts: Tensor | None


@dataclass(frozen=True, eq=False)
class Situation:
    """What is known of n examples before they are attacked: labels (n, emotions), and the clean outputs."""

    labels: Tensor
    clean: Outputs

    def take(self, rows: Tensor) -> Situation:
        """The same of some of the examples."""
        concepts = self.clean.concepts
        clean = Outputs(self.clean.emotions[rows], None if concepts is None else concepts[rows])
        return Situation(self.labels[rows], clean)


class Objective(abc.ABC):
    """A number per example, (n,), that an attack raises."""

    @abc.abstractmethod
    def __call__(self, found: Outputs, situation: Situation) -> Tensor:
        """The value of every example, (n,), differentiable in ``found``. Raises `AttackError` if undefined."""

    @abc.abstractmethod
    def title(self, emotions: Sequence[str] | None = None) -> str:
        """What the column ``objective`` of the rows says."""

    @property
    def flat_at_clean(self) -> bool:
        """Whether the gradient is 0 at the clean input, so that an attack must start beside it."""
        return False

    def each(self, emotions: int) -> tuple[Objective, ...]:
        """The objectives this one stands for, in a model with so many emotions: itself, as a rule."""
        return (self,)


@dataclass(frozen=True)
class _Apart(Objective):
    """A distance of the emotions from the label, or from the model's own clean prediction.

    Args:
        against: ``label`` or ``clean``.
        scale: None for raw predictions, or (lowest, highest) of the rating scale, to which predictions are
            clipped before they are compared.

    Raises:
        ConfigError: Anything else.
    """

    against: Against = "label"
    scale: tuple[float, float] | None = None
    word: ClassVar[str]

    def __post_init__(self) -> None:
        if self.against not in ("label", "clean"):
            raise ConfigError(f"against is {self.against!r}, wanted 'label' or 'clean'.")
        if self.scale is not None and not (
            len(self.scale) == 2 and all(map(is_number, self.scale)) and self.scale[0] < self.scale[1]
        ):
            raise ConfigError(f"scale is {self.scale!r}, wanted None or (lowest, highest).")

    def __call__(self, found: Outputs, situation: Situation) -> Tensor:
        emotions, wanted = found.emotions, self._reference(situation)
        if self.scale is not None:
            emotions, wanted = emotions.clamp(*self.scale), wanted.clamp(*self.scale)
        return self._distance(emotions, wanted)

    def title(self, emotions: Sequence[str] | None = None) -> str:
        parts = [self.word]
        parts += ["from clean"] if self.against == "clean" else []
        parts += ["clipped"] if self.scale is not None else []
        return " ".join(parts)

    @property
    def flat_at_clean(self) -> bool:
        return self.against == "clean"

    def _reference(self, situation: Situation) -> Tensor:
        return situation.labels if self.against == "label" else situation.clean.emotions

    @abc.abstractmethod
    def _distance(self, emotions: Tensor, wanted: Tensor) -> Tensor: ...


class SquaredError(_Apart):
    """Mean squared error over the emotions of an example; what the SMC 2025 study ascends."""

    word = "squared error"

    def _distance(self, emotions: Tensor, wanted: Tensor) -> Tensor:
        return (emotions - wanted).square().mean(dim=1)


class AbsoluteError(_Apart):
    """Mean absolute error over the emotions of an example."""

    word = "absolute error"

    def _distance(self, emotions: Tensor, wanted: Tensor) -> Tensor:
        return (emotions - wanted).abs().mean(dim=1)


@dataclass(frozen=True)
class Huber(_Apart):
    """Mean Huber loss (Huber 1964): squared up to ``delta``, linear beyond, so no single emotion rules.

    Args:
        against: ``label`` or ``clean``.
        scale: None, or the rating scale to clip to.
        delta: Where the square ends, in rating units.
    """

    delta: float = 0.1
    word = "huber"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_number(self.delta) and self.delta > 0):
            raise ConfigError(f"delta is {self.delta!r}, wanted a number above 0.")

    def _distance(self, emotions: Tensor, wanted: Tensor) -> Tensor:
        loss = torch.nn.functional.huber_loss(emotions, wanted, reduction="none", delta=self.delta)
        return loss.mean(dim=1)


class Correlation(_Apart):
    """Minus Pearson's r across the emotions of an example; the constant prediction has r = 0."""

    word = "correlation"

    def _distance(self, emotions: Tensor, wanted: Tensor) -> Tensor:
        first = emotions - emotions.mean(dim=1, keepdim=True)
        second = wanted - wanted.mean(dim=1, keepdim=True)
        scale = (first.square().sum(dim=1) * second.square().sum(dim=1)).clamp_min(1e-24).sqrt()
        return -(first * second).sum(dim=1) / scale


@dataclass(frozen=True)
class Target(Objective):
    """Reach a given profile: minus the mean squared distance to it.

    Args:
        profile: One value per emotion, None for emotions that may go anywhere: ``(None, ..., 0.8, 0.1, None)``
            makes a sad clip happy.

    Raises:
        ConfigError: No value given, or one that is not finite.
    """

    profile: tuple[float | None, ...]

    def __post_init__(self) -> None:
        given = [value for value in self.profile if value is not None]
        if not given or not all(map(is_number, given)):
            raise ConfigError(
                f"profile is {self.profile!r}, wanted a number or None per emotion, one at least."
            )

    def __call__(self, found: Outputs, situation: Situation) -> Tensor:
        if len(self.profile) != found.emotions.shape[1]:
            raise AttackError(
                f"The profile has {len(self.profile)} values and the model {found.emotions.shape[1]} emotions: "
                "give one each, None where any value will do."
            )
        aims = [place for place, value in enumerate(self.profile) if value is not None]
        wanted = found.emotions.new_tensor([self.profile[place] for place in aims])
        return -(found.emotions[:, aims] - wanted).square().mean(dim=1)

    def title(self, emotions: Sequence[str] | None = None) -> str:
        names = emotions or [f"emotion {place}" for place in range(len(self.profile))]
        aims = [
            f"{name} {value:g}" for name, value in zip(names, self.profile, strict=True) if value is not None
        ]
        return f"target {' '.join(aims)}"


def _require_keep(keep: float) -> None:
    if not (is_number(keep) and keep >= 0):
        raise ConfigError(f"keep is {keep!r}, wanted a number from 0 on.")


@dataclass(frozen=True)
class OneEmotion(Objective):
    """One emotion up or down, in rating units, while the others stay.

    Args:
        index: Which emotion, counted from 0.
        up: Whether it shall rise.
        keep: Weight of the mean squared change of the other emotions; 0 lets them go.

    Raises:
        ConfigError: A negative index or weight.
    """

    index: int
    up: bool = True
    keep: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.index, int) or self.index < 0:
            raise ConfigError(f"index is {self.index!r}, wanted the place of an emotion, counted from 0.")
        _require_keep(self.keep)

    def __call__(self, found: Outputs, situation: Situation) -> Tensor:
        count = found.emotions.shape[1]
        if self.index >= count:
            raise AttackError(f"There is no emotion {self.index}: the model has {count}, counted from 0.")
        change = found.emotions - situation.clean.emotions
        aim = change[:, self.index] if self.up else -change[:, self.index]
        if not self.keep or count == 1:
            return aim
        others = torch.cat([change[:, : self.index], change[:, self.index + 1 :]], dim=1)
        return aim - self.keep * others.square().mean(dim=1)

    def title(self, emotions: Sequence[str] | None = None) -> str:
        name = emotions[self.index] if emotions else f"emotion {self.index}"
        return f"{name} {'up' if self.up else 'down'}{' alone' if self.keep else ''}"


@dataclass(frozen=True)
class EachEmotion(Objective):
    """Stands in a protocol for `OneEmotion` of every emotion the model has, up and down."""

    keep: float = 0.0

    def __post_init__(self) -> None:
        _require_keep(self.keep)

    def __call__(self, found: Outputs, situation: Situation) -> Tensor:
        raise AttackError("EachEmotion stands for several objectives: attack with each of `.each(emotions)`.")

    def title(self, emotions: Sequence[str] | None = None) -> str:
        return "each emotion up and down"

    def each(self, emotions: int) -> tuple[Objective, ...]:
        return tuple(OneEmotion(index, up, self.keep) for index in range(emotions) for up in (True, False))


@dataclass(frozen=True)
class ConceptsMove(Objective):
    """Concepts move away from what they were while emotions stay.

    Args:
        keep: Weight of the mean squared change of the emotions.
    """

    keep: float = 10.0

    def __post_init__(self) -> None:
        _require_keep(self.keep)

    def __call__(self, found: Outputs, situation: Situation) -> Tensor:
        return _concept_change(found, situation) - self.keep * _emotion_change(found, situation)

    def title(self, emotions: Sequence[str] | None = None) -> str:
        return "concepts move emotions stay"

    @property
    def flat_at_clean(self) -> bool:
        return True


@dataclass(frozen=True)
class EmotionsMove(Objective):
    """Emotions move away from what they were while concepts stay.

    Args:
        keep: Weight of the mean squared change of the concepts.
    """

    keep: float = 10.0

    def __post_init__(self) -> None:
        _require_keep(self.keep)

    def __call__(self, found: Outputs, situation: Situation) -> Tensor:
        return _emotion_change(found, situation) - self.keep * _concept_change(found, situation)

    def title(self, emotions: Sequence[str] | None = None) -> str:
        return "emotions move concepts stay"

    @property
    def flat_at_clean(self) -> bool:
        return True


def _emotion_change(found: Outputs, situation: Situation) -> Tensor:
    return (found.emotions - situation.clean.emotions).square().mean(dim=1)


def _concept_change(found: Outputs, situation: Situation) -> Tensor:
    if found.concepts is None or situation.clean.concepts is None:
        raise AttackError(
            "This objective speaks of concepts and the model has none: attack one with a bottleneck."
        )
    return (found.concepts - situation.clean.concepts).square().mean(dim=1)
