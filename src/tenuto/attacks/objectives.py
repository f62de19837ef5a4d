"""Objectives: every objective is a number per example that an attack increases.

An objective gets the model's outputs at the perturbed and at the clean input, and the label. ``keep`` weighs what
should not change: the mean squared change of the outputs that are not the aim is subtracted with that weight.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tenuto.attacks.calling import Outputs
from tenuto.attacks.checks import FLAG, SMALLEST_STEP, check_settings_of, is_number, number, whole
from tenuto.attacks.registry import OBJECTIVES
from tenuto.errors import AttackError, ConfigError, counted

Against = Literal["label", "clean"]

LEAST_CORRELATED = 3
"""Emotions from which on Pearson's r across them can be anything but -1, 0 or 1."""


def correlation_refusal(emotions: int, instead: str) -> str | None:
    """Why Pearson's r across so few emotions cannot be attacked; None from three on.

    Args:
        emotions: How many emotions the model has.
        instead: What to use in place of the correlation.
    """
    if emotions >= LEAST_CORRELATED:
        return None
    return (
        f"The model has {counted(emotions, 'output')}, and a correlation across fewer than {LEAST_CORRELATED} "
        f"outputs is always -1 or 1 and has no gradient: use {instead}."
    )


@dataclass(frozen=True, eq=False)
class Situation:
    """What is known about n examples before the attack: labels (n, emotions), and the clean outputs."""

    labels: Tensor
    clean: Outputs

    def take(self, rows: Tensor) -> Situation:
        """Select some of the examples."""
        return Situation(self.labels[rows], self.clean.take(rows))


class Objective(abc.ABC):
    """A number per example, (n,), that an attack increases.

    Attributes:
        uses_label: Whether it compares predictions with labels; None where the objective does not say.
    """

    uses_label: ClassVar[bool | None] = None

    def __post_init__(self) -> None:
        check_settings_of(self)

    @abc.abstractmethod
    def __call__(self, outputs: Outputs, situation: Situation) -> Tensor:
        """The value of every example, (n,), differentiable in ``outputs``. Raises `AttackError` if undefined."""

    @abc.abstractmethod
    def title(self, emotions: Sequence[str] | None = None) -> str:
        """The value of the column ``objective`` of the rows."""

    def full_title(self, emotions: Sequence[str] | None, concepts: Sequence[str]) -> str:
        """The title of a model with these concepts; usually `title`."""
        return self.title(emotions)

    @property
    def flat_at_clean(self) -> bool:
        """Whether the gradient is 0 at the clean input, so that an attack must start elsewhere."""
        return False

    def each(self, emotions: int) -> tuple[Objective, ...]:
        """The objectives to attack with in a model with this number of emotions; usually this one alone."""
        return (self,)

    def refusal(self, emotions: int) -> str | None:
        """Why it cannot be used on a model with so many emotions; None where it can."""
        return None


@dataclass(frozen=True)
class Distance(Objective):
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
            raise ConfigError(f"against must be 'label' or 'clean', got {self.against!r}.")
        if self.scale is not None and not _is_range(self.scale):
            raise ConfigError(f"scale must be None or (lowest, highest), got {self.scale!r}.")
        check_settings_of(self)

    @property
    def uses_label(self) -> bool | None:  # type: ignore[override]
        return self.against == "label"

    def __call__(self, outputs: Outputs, situation: Situation) -> Tensor:
        emotions = outputs.emotions
        reference = situation.labels if self.against == "label" else situation.clean.emotions
        if self.scale is not None:
            emotions, reference = emotions.clamp(*self.scale), reference.clamp(*self.scale)
        return self._distance(emotions, reference)

    def title(self, emotions: Sequence[str] | None = None) -> str:
        parts = [self.word]
        parts += ["from clean"] if self.against == "clean" else []
        parts += ["clipped"] if self.scale is not None else []
        return " ".join(parts)

    @property
    def flat_at_clean(self) -> bool:
        return self.against == "clean"

    @abc.abstractmethod
    def _distance(self, emotions: Tensor, reference: Tensor) -> Tensor: ...


def _is_range(value: object) -> bool:
    is_pair = isinstance(value, tuple) and len(value) == 2 and all(map(is_number, value))
    return is_pair and value[0] < value[1]  # type: ignore[index]


@OBJECTIVES.register("squared-error")
class SquaredError(Distance):
    """Mean squared error over the emotions of an example; what the SMC 2025 study ascends."""

    word = "squared error"

    def _distance(self, emotions: Tensor, reference: Tensor) -> Tensor:
        return (emotions - reference).square().mean(dim=1)


@OBJECTIVES.register("absolute-error")
class AbsoluteError(Distance):
    """Mean absolute error over the emotions of an example."""

    word = "absolute error"

    def _distance(self, emotions: Tensor, reference: Tensor) -> Tensor:
        return (emotions - reference).abs().mean(dim=1)


@OBJECTIVES.register("huber")
@dataclass(frozen=True)
class Huber(Distance):
    """Mean Huber loss (Huber 1964): squared up to ``delta``, linear beyond, so that no single emotion dominates.

    Args:
        against: ``label`` or ``clean``.
        scale: None, or the rating scale to clip to.
        delta: Where the square ends, in rating units.
    """

    delta: float = field(default=0.1, metadata=number(SMALLEST_STEP))
    word = "huber"

    def _distance(self, emotions: Tensor, reference: Tensor) -> Tensor:
        loss = torch.nn.functional.huber_loss(emotions, reference, reduction="none", delta=self.delta)
        return loss.mean(dim=1)


@OBJECTIVES.register("correlation")
class Correlation(Distance):
    """Minus Pearson's r across the emotions of an example, three at least; a constant prediction has r = 0."""

    word = "correlation"

    def _distance(self, emotions: Tensor, reference: Tensor) -> Tensor:
        if reason := self.refusal(emotions.shape[1]):
            raise AttackError(reason)
        first = emotions - emotions.mean(dim=1, keepdim=True)
        second = reference - reference.mean(dim=1, keepdim=True)
        scale = (first.square().sum(dim=1) * second.square().sum(dim=1)).clamp_min(1e-24).sqrt()
        # Where the scale overflows, r would be 0; 0 * infinity is NaN, which an attack refuses.
        return -(first * second).sum(dim=1) / scale + 0 * scale

    def refusal(self, emotions: int) -> str | None:
        return correlation_refusal(emotions, "AbsoluteError or SquaredError")


@OBJECTIVES.register("target")
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
    uses_label: ClassVar[bool] = False

    def __post_init__(self) -> None:
        aims = (
            [value for value in self.profile if value is not None] if isinstance(self.profile, tuple) else []
        )
        if not aims or not all(map(is_number, aims)):
            raise ConfigError(
                f"profile must be a tuple with a number or None per emotion, at least one number, got {self.profile!r}."
            )

    def __call__(self, outputs: Outputs, situation: Situation) -> Tensor:
        if len(self.profile) != outputs.emotions.shape[1]:
            raise AttackError(
                f"The profile has {counted(len(self.profile), 'value')} and the model "
                f"{counted(outputs.emotions.shape[1], 'emotion')}: give one each, None where any value will do."
            )
        aims = [place for place, value in enumerate(self.profile) if value is not None]
        profile = outputs.emotions.new_tensor([self.profile[place] for place in aims])
        return -(outputs.emotions[:, aims] - profile).square().mean(dim=1)

    def title(self, emotions: Sequence[str] | None = None) -> str:
        names = emotions or [f"emotion {place}" for place in range(len(self.profile))]
        aims = [
            f"{name} {value:g}" for name, value in zip(names, self.profile, strict=True) if value is not None
        ]
        return f"target {' '.join(aims)}"


@dataclass(frozen=True)
class OneOutput(Objective):
    """One output up or down: what `OneEmotion` and `OneConcept` have in common."""

    index: int = field(metadata=whole(0))
    up: bool = field(default=True, metadata=FLAG)
    keep: float = field(default=0.0, metadata=number(0))
    uses_label: ClassVar[bool] = False


@OBJECTIVES.register("one-emotion")
@dataclass(frozen=True)
class OneEmotion(OneOutput):
    """One emotion up or down, in rating units; the others may be held.

    Args:
        index: Which emotion, counted from 0.
        up: Whether to raise it.
        keep: Weight of the mean squared change of the other emotions; with 0 they are free.

    Raises:
        ConfigError: A negative index or weight.
    """

    def __call__(self, outputs: Outputs, situation: Situation) -> Tensor:
        count = outputs.emotions.shape[1]
        if self.index >= count:
            raise AttackError(f"There is no emotion {self.index}: the model has {count}, counted from 0.")
        change = outputs.emotions - situation.clean.emotions
        aim = change[:, self.index] if self.up else -change[:, self.index]
        if not self.keep or count == 1:
            return aim
        others = torch.cat([change[:, : self.index], change[:, self.index + 1 :]], dim=1)
        return aim - self.keep * others.square().mean(dim=1)

    def title(self, emotions: Sequence[str] | None = None) -> str:
        name = emotions[self.index] if emotions else f"emotion {self.index}"
        return f"{name} {'up' if self.up else 'down'}{' alone' if self.keep else ''}"


@OBJECTIVES.register("each-emotion")
@dataclass(frozen=True)
class EachEmotion(Objective):
    """In a protocol: `OneEmotion` of every emotion the model has, up and down."""

    keep: float = field(default=0.0, metadata=number(0))
    uses_label: ClassVar[bool] = False

    def __call__(self, outputs: Outputs, situation: Situation) -> Tensor:
        raise AttackError(
            "EachEmotion consists of several objectives: attack with each of `.each(emotions)`."
        )

    def title(self, emotions: Sequence[str] | None = None) -> str:
        return "each emotion up and down"

    def each(self, emotions: int) -> tuple[Objective, ...]:
        return tuple(OneEmotion(index, up, self.keep) for index in range(emotions) for up in (True, False))


@dataclass(frozen=True)
class Movement(Objective):
    """Emotions or concepts move away from what they were while the others stay.

    The gain is the root mean square of the change of those that move. Were it the mean square, both terms would be
    quadratic, and a network in which no direction gains, such as many A2M2E, could not be attacked at any budget.

    Args:
        keep: Weight of the mean squared change of those that stay; where they move in proportion, moving by m moves
            them by sqrt(m / (2 keep)), if the budget allows it.

    Raises:
        ConfigError: A negative weight.
    """

    keep: float = field(default=100.0, metadata=number(0))
    uses_label: ClassVar[bool] = False
    flat_at_clean: ClassVar[bool] = True
    moving: ClassVar[str]
    staying: ClassVar[str]

    def __call__(self, outputs: Outputs, situation: Situation) -> Tensor:
        movement, stayed = (
            torch.sub(*_both(getattr(outputs, name), getattr(situation.clean, name)))
            for name in (self.moving, self.staying)
        )
        # The norm's gradient at 0 is 0, that of the square root is not finite.
        gain: Tensor = torch.linalg.vector_norm(movement, dim=1) / math.sqrt(movement.shape[1])
        return gain - self.keep * stayed.square().mean(dim=1)

    def title(self, emotions: Sequence[str] | None = None) -> str:
        return f"{self.moving} move {self.staying} stay"


@OBJECTIVES.register("concepts-move")
class ConceptsMove(Movement):
    """Concepts move away from what they were while emotions stay."""

    moving, staying = "concepts", "emotions"


@OBJECTIVES.register("emotions-move")
class EmotionsMove(Movement):
    """Emotions move away from what they were while concepts stay."""

    moving, staying = "emotions", "concepts"


@OBJECTIVES.register("one-concept")
@dataclass(frozen=True)
class OneConcept(OneOutput):
    """One concept up or down, in its own units, while the emotions stay.

    Args:
        index: Which concept, counted from 0.
        up: Whether to raise it.
        keep: Weight of the mean squared change of the emotions; with 0 they are free.

    Raises:
        ConfigError: A negative index or weight.
    """

    keep: float = field(default=10.0, metadata=number(0))

    def __call__(self, outputs: Outputs, situation: Situation) -> Tensor:
        stayed = (outputs.emotions - situation.clean.emotions).square().mean(dim=1)
        after, before = _both(outputs.concepts, situation.clean.concepts)
        if self.index >= (count := after.shape[1]):
            raise AttackError(f"There is no concept {self.index}: the model has {count}, counted from 0.")
        change = (after - before)[:, self.index]
        return (change if self.up else -change) - self.keep * stayed

    def title(self, emotions: Sequence[str] | None = None) -> str:
        return self.full_title(emotions, ())

    def full_title(self, emotions: Sequence[str] | None, concepts: Sequence[str]) -> str:
        name = concepts[self.index] if concepts else self.index
        return f"concept {name} {'up' if self.up else 'down'}{' emotions stay' if self.keep else ''}"


def _both(after: Tensor | None, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """Outputs after and before. Raises `AttackError` where the model has none."""
    if after is None or before is None:
        raise AttackError(
            "This objective is about concepts, but the model has none: attack a model with a bottleneck."
        )
    return after, before
