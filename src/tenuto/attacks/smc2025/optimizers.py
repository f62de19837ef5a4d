"""The two optimisers of the released attack, on a batch of perturbations."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor


class SGD:
    """Plain gradient descent on a batch of perturbations: no momentum and no state."""

    def __init__(self, step_size: float) -> None:
        self.step_size = step_size

    def step(self, delta: Tensor, gradient: Tensor) -> None:
        """Move ``delta`` in place against ``gradient``, both (n, ...)."""
        delta.add_(gradient, alpha=-self.step_size)

    def keep(self, rows: Tensor) -> None:
        """Keep the state of these rows only."""


class Adam(SGD):
    """Adam (Kingma & Ba 2015, algorithm 1) on a batch of perturbations, with torch's defaults and arithmetic.

    All clips of a batch start together, so one count of steps serves all; the two moments are per entry.
    """

    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    epsilon: ClassVar[float] = 1e-8

    def __init__(self, step_size: float) -> None:
        super().__init__(step_size)
        self.steps = 0
        self.mean: Tensor | None = None
        self.square: Tensor | None = None

    def step(self, delta: Tensor, gradient: Tensor) -> None:
        """Move ``delta`` in place against ``gradient``, both (n, ...)."""
        if self.mean is None or self.square is None:
            self.mean, self.square = torch.zeros_like(delta), torch.zeros_like(delta)
        self.steps += 1
        first, second = self.betas
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        scale = self.square.sqrt().div_(math.sqrt(1 - second**self.steps)).add_(self.epsilon)
        delta.addcdiv_(self.mean, scale, value=-self.step_size / (1 - first**self.steps))

    def keep(self, rows: Tensor) -> None:
        """Keep the moments of these rows only."""
        if self.mean is not None and self.square is not None:
            self.mean, self.square = self.mean[rows], self.square[rows]


OPTIMIZERS: dict[str, type[SGD]] = {"Adam": Adam, "SGD": SGD}
