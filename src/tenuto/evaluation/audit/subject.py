"""A model and the clips on which an audit examines it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tenuto.analysis.systems import RESOLUTION, constant_error
from tenuto.attacks import AttackResult, Axes, Budget, Evaluator, Linf
from tenuto.attacks.calling import as_doubles
from tenuto.errors import RandomModelWarning
from tenuto.evaluation.audit.sources import Values

Progress = Callable[[int], None]

EPSILON = 0.1
"""Budget of the model checks, L-infinity, in standard deviations of the inputs: the middle budget of standard-1 on a
log scale."""


MODEL_BUDGET = Linf(EPSILON)


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model and the clips it is examined on.

    Attributes:
        model: Callable from inputs to emotions or to an object that has them.
        inputs: (clips, 1, frames, bands).
        labels: (clips, emotions).
        constant: (emotions,), the mean training label.
        sibling: A model trained in the same way, or None.
        valid_range: What an input can be.
        axes: What the axes of the inputs mean.
        has_gradient: Whether predictions have a gradient with respect to the inputs.
        budget: Of the attacks on it.
        clips: Names of the clips; none for their places.
    """

    model: Any
    inputs: Tensor
    labels: Tensor
    constant: Tensor
    sibling: Any = None
    valid_range: tuple[float, float] | None = None
    axes: Axes | None = None
    has_gradient: bool = True
    budget: Budget = MODEL_BUDGET
    clips: tuple[str, ...] = ()

    @property
    def line(self) -> float:
        """Error of the constant baseline on these clips, see `tenuto.analysis.systems`."""
        return max(constant_error(as_doubles(self.labels), as_doubles(self.constant)), RESOLUTION)

    def errors(self, attack: Any, progress: Progress, start: Tensor | None = None) -> Values:
        """Mean absolute error of every clip under an attack, (clips,), from a perturbation or from nothing."""
        return self.error_of(self.attacked(attack, progress, start))

    def error_of(self, result: AttackResult) -> Values:
        """Mean absolute error of every clip in a result, (clips,)."""
        return as_doubles((result.adversarial_prediction - self.labels).abs().mean(dim=1))

    def attacked(
        self, attack: Any, progress: Progress, start: Tensor | None = None, trace: bool = False
    ) -> AttackResult:
        """The result of an attack on all clips, from a perturbation or from nothing."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RandomModelWarning)  # a finding of its own, see `repeatable`
            options = {"trace": True} if trace else {}
            result: AttackResult = attack(
                self.model, self.inputs, self.labels, start=start, **options, **self.call(progress)
            )
        return result

    def call(self, progress: Progress) -> dict[str, Any]:
        """What all attacks here are called with."""
        arguments = {"valid_range": self.valid_range, "axes": self.axes, "progress": progress}
        return {**arguments, "batch_size": len(self.inputs)}


def predict(model: Any, inputs: Tensor, labels: Tensor) -> Tensor:
    """The model's emotions at a copy of the inputs. A random model is reported by `repeatable`, not by a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomModelWarning)
        return Evaluator(model)(inputs, labels).emotions


def mean_errors(model: Any, inputs: Tensor, labels: Tensor) -> Tensor:
    """Mean absolute error of every input, (n,)."""
    with torch.no_grad():
        return (predict(model, inputs, labels) - labels).abs().mean(dim=1)
