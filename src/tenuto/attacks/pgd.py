"""Projected gradient ascent (Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", 2018)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import Unbounded, per_example
from tenuto.attacks.checks import FLAG, SMALLEST_STEP, number, whole
from tenuto.attacks.registry import ATTACKS
from tenuto.attacks.search import Search
from tenuto.errors import ConfigError


@ATTACKS.register("PGD")
@dataclass(frozen=True, kw_only=True, repr=False)
class PGD(BoundedAttack):
    """Steps of one size, each followed by a projection into the budget.

    Args:
        steps: Gradient steps from each start.
        step_size: Size of a step in the budget's norm; 2.5 * epsilon / steps by default.
        momentum: Weight of earlier gradients, each scaled to mean absolute value 1 (Dong et al., "Boosting Adversarial
            Attacks with Momentum", 2018, equation 6); 0 is off.
        restarts: Starts; the first at zero (or at the given start), the others at random points of the budget.
        scattered: Start at a random point the first time too, unless a start is given.

    Raises:
        ConfigError: A setting out of range; `Unbounded` without a step size.
    """

    steps: int = field(default=40, metadata=whole(0))
    step_size: float | None = field(default=None, metadata=number(SMALLEST_STEP))
    momentum: float = field(default=0.0, metadata=number(0, 1))
    restarts: int = field(default=1, metadata=whole(1))
    scattered: bool = field(default=False, metadata=FLAG)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_size is None and isinstance(self.budget, Unbounded):
            raise ConfigError("Without a budget PGD has no step size of its own: give step_size.")

    @property
    def iterations(self) -> int:
        return self.steps * self.restarts

    def search(self, search: Search) -> None:
        for restart in range(self.restarts):
            rows = search.unfinished()
            if len(rows):
                self._ascend(search, rows, restart > 0 or (self.scattered and not search.has_start))

    def _ascend(self, search: Search, rows: Tensor, scattered: bool) -> None:
        size = self.step_size or 2.5 * self.budget.epsilon / max(self.steps, 1)
        delta = search.first(rows, scattered)
        velocity = torch.zeros_like(delta)
        for _ in range(self.steps):
            if not len(rows):
                return
            _, gradient = search.gradient(delta, rows)
            if self.momentum:
                velocity = self.momentum * velocity + _scaled(gradient)
                gradient = velocity
            ahead = delta + size * search.budget.take(rows).steepest(gradient)
            delta = search.allowed(ahead, rows)
            on = search.tick(rows)
            rows, delta, velocity = rows[on], delta[on], velocity[on]
        if len(rows):
            search.values(delta, rows)


def _scaled(gradient: Tensor) -> Tensor:
    """Every example's gradient divided by its mean absolute entry, 0 where it is 0."""
    size = per_example(gradient.abs().flatten(1).mean(dim=1), gradient)
    return torch.where(size > 0, gradient / size, torch.zeros_like(gradient))
