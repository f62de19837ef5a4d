"""What all methods of robust training share: their registry, their settings, and the attack on a batch."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tenuto.attacks import SNR, Amplitude, Budget, Linf
from tenuto.attacks.checks import listed
from tenuto.config import RobustConfig
from tenuto.data.batches import Batch
from tenuto.data.cache import Prepared
from tenuto.data.excerpts import EXCERPT_FRAMES
from tenuto.data.splits import Split
from tenuto.errors import ConfigError
from tenuto.models.heads import Prediction
from tenuto.registry import Registry
from tenuto.training.update import Trainee

DEFAULT_EPSILON = 0.05
"""Default budget, in standard deviations of the log spectrogram: the middle of those of `standard-1`."""


@dataclass(kw_only=True)
class Method(abc.ABC):
    """A way to make updates robust. A subclass is a dataclass in its own file; every epoch has a new instance.

    Its fields are settings of `RobustConfig`. Random numbers come from torch's global generator, which the seed and the
    number of the epoch decide.

    Args:
        domain: ``waveform`` where batches hold waveforms (clips, 221 843); None for normalised excerpts
            (clips, 1, 313, 149).
    """

    domain: Literal["waveform"] | None = None

    @abc.abstractmethod
    def update(self, trainee: Trainee, batch: Batch) -> Tensor:
        """Make the updates of one batch, and return the mean of their losses."""


METHODS: Registry[type[Method]] = Registry("training method", "tenuto.training_methods", type)
"""All methods by name."""


def build(config: RobustConfig) -> Method:
    """Build the method of robust training that a configuration describes.

    Raises:
        ConfigError: An unknown method, one with a field that is no setting of `RobustConfig`, a setting that it does
            not have, or settings that exclude each other.
    """
    kind = METHODS[config.method]
    own = [field.name for field in dataclasses.fields(kind) if field.init]
    if foreign := [name for name in own if name not in RobustConfig.model_fields]:
        raise ConfigError(
            f"{config.method}: its field `{foreign[0]}` is no setting of robust training. Rename it to one of "
            f"{', '.join(RobustConfig.model_fields)}, or give it `init=False`."
        )
    settings = config.model_dump(exclude={"method"}, exclude_none=True)
    for name in settings:
        if name not in own:
            raise ConfigError(
                f"{config.method} has no setting `{name}`. Its settings: {', '.join(f'`{each}`' for each in own)}."
            )
    return kind(**settings)


def check(config: RobustConfig | None, prepared: Prepared, split: Split) -> None:
    """Refuse, before training, a method that does not exist or training clips that it cannot perturb.

    Raises:
        ConfigError: As `build`, or a clip that is too short for the front end of an excerpt; the latter is found only
            where spectrograms are computed.
    """
    if config is None or build(config).domain is None or not prepared.spectrograms:
        return
    frames = np.array([len(prepared.spectrograms[place]) for place in prepared.places(split.train)])
    short = frames < EXCERPT_FRAMES
    if short.any():
        raise ConfigError(
            f"train.robust: {listed(split.train, short)} {'have' if short.sum() > 1 else 'has'} less than "
            f"{EXCERPT_FRAMES} frames (10 s), which training on waveforms needs. Leave short clips out, or train on "
            "spectrograms."
        )


def complete_settings(config: RobustConfig) -> RobustConfig:
    """The same with the defaults of the method, which are part of the signature of a run. Raises as `build`."""
    method = build(config)
    settings: dict[str, Any] = {
        field.name: getattr(method, field.name) for field in dataclasses.fields(method) if field.init
    }
    return RobustConfig(method=config.method, **settings)


@dataclass(kw_only=True)
class Attacking(Method):
    """Base of the methods that attack the clips of a batch.

    Args:
        epsilon: Largest change of an entry; in waveforms the largest change of a sample, of full scale 1.
        db: Signal-to-noise ratio of the perturbation of a waveform, in dB, in place of epsilon.
        step_size: Size of a step in the unit of the budget; by default a multiple of the budget.
    """

    epsilon: float | None = None
    db: float | None = None
    step_size: float | None = None

    def __post_init__(self) -> None:
        if self.epsilon is not None and self.db is not None:
            raise ConfigError("`epsilon` and `db` are two budgets. Leave one of them out.")
        if self.db is not None:
            self.domain = "waveform"
        elif self.epsilon is None and self.domain == "waveform":
            raise ConfigError("Waveforms need a budget: give `db=40`, or `epsilon=0.001` for the amplitude.")
        elif self.epsilon is None:
            self.epsilon = DEFAULT_EPSILON

    @property
    def budget(self) -> Budget:
        """How large a perturbation may be."""
        if self.db is not None:
            return SNR(self.db)
        assert self.epsilon is not None
        return Linf(self.epsilon) if self.domain is None else Amplitude(self.epsilon)

    def update_on_attacked(self, trainee: Trainee, batch: Batch, steps: int, step_size: float) -> Tensor:
        """Attack the clips of a batch from a random start, and make one update on them."""
        ball = self.ball(trainee, batch)
        delta = ball.ascend(
            ball.scattered(), lambda attacked: trainee.loss(attacked, batch), steps, step_size
        )
        return trainee.learn(batch.inputs + delta, batch)

    def ball(self, trainee: Trainee, batch: Batch) -> Ball:
        """The allowed perturbations of a batch. Raises `AttackError` for a silent clip under a budget in dB."""
        return Ball(self.budget.around(batch.inputs, batch.clips), batch.inputs, trainee)


@dataclass
class Ball:
    """The allowed perturbations of the inputs of one batch.

    Attributes:
        budget: Around the inputs.
        inputs: (clips, ...).
        trainee: What is attacked, in evaluation mode.
    """

    budget: Budget
    inputs: Tensor
    trainee: Trainee

    def scattered(self) -> Tensor:
        """Random perturbations of the budget."""
        return self.inside(self.budget.scattered(2 * torch.rand_like(self.inputs) - 1))

    def inside(self, delta: Tensor) -> Tensor:
        """The nearest allowed perturbations: in the budget, with values that an input can have."""
        delta = self.budget.project(delta)
        if self.trainee.valid_range is None:
            return delta
        low, high = self.trainee.valid_range
        return self.budget.fit(delta, (low - self.inputs).clamp(max=0), (high - self.inputs).clamp(min=0))

    def stepped(self, delta: Tensor, gradient: Tensor, step_size: float) -> Tensor:
        """A step from ``delta`` along the gradient, inside."""
        return self.inside(delta + step_size * self.budget.steepest(gradient))

    def ascend(
        self, delta: Tensor, goal: Callable[[Prediction], Tensor], steps: int, step_size: float
    ) -> Tensor:
        """The perturbations after so many steps from ``delta`` that increase ``goal``, a sum or mean over clips."""
        frozen = self.trainee.frozen()
        for _ in range(steps):
            delta = delta.detach().requires_grad_()
            with self.trainee.computing():
                (gradient,) = torch.autograd.grad(goal(frozen(self.inputs + delta)), delta)
            delta = self.stepped(delta.detach(), gradient, step_size)
        return delta.detach()
