"""The smallest perturbation that reaches a given value of the objective.

The idea is that of FMN (Pintor et al., "Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints", 2021,
algorithm 1): every example has a radius of its own, which shrinks while the goal is met and grows while it is not. The
last steps shorten the best perturbation along its own ray, which needs no gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import Budget, per_example
from tenuto.attacks.checks import LARGEST_NUMBER, SMALLEST_STEP, number, whole
from tenuto.attacks.registry import ATTACKS
from tenuto.attacks.search import Search
from tenuto.errors import ConfigError

FIRST_CHANGE, LAST_CHANGE = 0.5, 0.001
"""Relative change of the radius in the first and last step."""

LONGEST = 1.05
"""How far beyond the best of a search in bfloat16 the last steps look for the goal, in float32."""

LONGEST_AVERAGED = 2.0
"""The same for a search with transformations, on the draws that decide."""


class GoalSeeker(BoundedAttack):
    """An attack that ends at a goal; subclasses have these settings. Without a goal it seeks the largest value."""

    needs_epsilon = True
    goal: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stop_at is not None:
            raise ConfigError(
                f"{type(self).__name__} has no stop_at, it stops at its goal: leave stop_at out, or give goal."
            )

    def _goal(self) -> float:
        return math.inf if self.goal is None else self.goal


@ATTACKS.register("Minimal")
@dataclass(frozen=True, kw_only=True, repr=False)
class Minimal(GoalSeeker):
    """The least norm at which an example's objective reaches ``goal``.

    ``converged`` says which examples reach it; the others keep the strongest perturbation. A start
    is taken as a first guess: where it reaches the goal, the result is no larger.

    Args:
        budget: The largest perturbation worth looking at; its norm is the one that is made small. Under `SNR` this
            gives the highest signal-to-noise ratio at which the goal is reached.
        goal: Value of the objective to reach, in its units (the mean absolute error, say).
        steps: Gradient steps.
        first: Radius of the first step, as a share of the budget.
        bisections: Evaluations that shorten the result along its ray.

    Raises:
        ConfigError: A setting out of range, `Unbounded`, or a ``stop_at`` of its own.
    """

    goal: float = field(metadata=number(-LARGEST_NUMBER))
    steps: int = field(default=60, metadata=whole(0))
    first: float = field(default=0.1, metadata=number(SMALLEST_STEP, 1))
    bisections: int = field(default=10, metadata=whole(0))

    @property
    def iterations(self) -> int:
        return self.steps + self.bisections

    def search(self, search: Search) -> None:
        rows = search.all_rows[search.value < self.goal]
        if not len(rows):
            return
        hunt = Hunt(search, rows, search.budget.take(rows), self.goal)
        hunt.begin(search.first(rows, scattered=False), self.first * hunt.budget.epsilon)
        hunt.run(self.steps, self.bisections)


class Hunt:
    """The search for the least size of the r examples whose clean input does not reach the goal.

    Args:
        search: The search that counts and remembers.
        rows: Positions of the examples, (r,).
        budget: What measures the size that is made small, around these examples.
        goal: Value of the objective to reach.
    """

    def __init__(self, search: Search, rows: Tensor, budget: Budget, goal: float) -> None:
        self.search, self.rows, self.budget, self.goal = search, rows, budget, goal

    def begin(self, delta: Tensor, radius: float | Tensor) -> None:
        """Begin at perturbations (r, ...) with a first step of size ``radius``, one for all or (r,)."""
        self.delta, self.best = delta, torch.zeros_like(delta)
        self.radius = torch.as_tensor(radius).expand(len(delta)).to(delta)
        self.least = torch.full_like(self.radius, math.inf)

    def inside(self, ahead: Tensor) -> Tensor:
        """Bring perturbations into the radius of each example, and into whatever else is allowed."""
        return self.search.allowed(ahead, self.rows, self.radius)

    def run(self, steps: int, bisections: int) -> None:
        """Search, and return the smallest perturbations that reached the goal, where one did."""
        for step in range(steps):
            self._step(step / max(steps - 1, 1))
            self.search.tick(self.rows)
        self._note(self.search.values(self.delta, self.rows), self.delta)
        longest = 1.0
        if self.search.precision != "float32":
            # What reached the goal in few digits may miss it in float32, in which the result is judged.
            self.search.precision, longest = "float32", LONGEST
        if bisections and self.search.task.transformations is not None:
            # What reached the goal on the draws of one step may miss it on others.
            self.search.is_judging, longest = True, LONGEST_AVERAGED
            self.best = torch.where(per_example(torch.isfinite(self.least), self.best), self.best, self.delta)
        if longest > 1:
            self.least = torch.full_like(self.least, math.inf)
        self._shorten(bisections, longest)
        is_reached = torch.isfinite(self.least)
        self.search.settle(self.best[is_reached], self.rows[is_reached])

    def _step(self, progress: float) -> None:
        """One gradient step inside each example's radius; ``done`` runs from 0 to 1."""
        values, gradient = self.search.gradient(self.delta, self.rows)
        is_met = self._note(values, self.delta)
        decay = (1 + math.cos(math.pi * progress)) / 2
        change = LAST_CHANGE + (FIRST_CHANGE - LAST_CHANGE) * decay
        size = self.budget.size(self.delta).to(self.radius)
        shrunk = torch.minimum(size, self.radius) * (1 - change)
        self.radius = torch.where(is_met, shrunk, self.radius * (1 + change))
        self.radius = torch.minimum(self.radius, self.least).clamp_max(self.budget.epsilon)
        stride = (0.01 + 0.99 * decay) * per_example(self.radius, self.delta)
        ahead = self.delta + stride * self.budget.steepest(gradient)
        self.delta = self.inside(ahead)

    def _note(self, values: Tensor, delta: Tensor) -> Tensor:
        """Remember the smallest perturbations that reach the goal; returns which of these do."""
        is_met = values >= aim(self.goal)
        size = self.budget.size(delta).to(self.least)
        smaller = is_met & (size < self.least)
        self.least = torch.where(smaller, size, self.least)
        self.best = torch.where(per_example(smaller, delta), delta, self.best)
        return is_met

    def _shorten(self, bisections: int, longest: float) -> None:
        """Bisect along the ray from zero through the best, up to ``longest`` times as far."""
        whole = self.best
        low, high = torch.zeros_like(self.least), torch.full_like(self.least, longest)
        for _ in range(bisections):
            middle = (low + high) / 2
            shorter = whole * per_example(middle, whole)
            if longest > 1:
                shorter = self.search.allowed(shorter, self.rows)
            is_met = self._note(self.search.values(shorter, self.rows), shorter)
            low, high = torch.where(is_met, low, middle), torch.where(is_met, middle, high)
            self.search.tick(self.rows)


def aim(goal: float) -> float:
    """The goal and what rounding may take from it when the result is evaluated once more."""
    return goal + 1e-6 * max(abs(goal), 1.0)
