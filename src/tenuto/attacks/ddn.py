"""Decoupled direction and norm (Rony et al., "Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial
Attacks and Defenses", 2019, algorithm 1): every perturbation lies on a sphere whose radius follows from success."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from tenuto.attacks.budgets import per_example
from tenuto.attacks.checks import LARGEST_NUMBER, SMALLEST_STEP, number, whole
from tenuto.attacks.minimal import GoalSeeker, Hunt
from tenuto.attacks.registry import ATTACKS
from tenuto.attacks.search import Search

LAST_STEP = 0.01
"""Length of the last step, as a share of the radius; the first is 1 (section 3 of the paper)."""


@ATTACKS.register("DDN")
@dataclass(frozen=True, kw_only=True, repr=False)
class DDN(GoalSeeker):
    """The least norm at which an example's objective reaches ``goal``, or the largest objective inside the budget.

    The direction follows the gradient alone. The radius shrinks by ``gamma`` where the goal is reached and grows by
    ``gamma`` where it is not, up to the budget. Without a goal the radius is the budget from the first step on, which
    makes the attack a member of protocols next to `APGD`.

    In L2 this is the algorithm of the paper, with steps relative to the radius, which has no unit. In other norms the
    step is the steepest one of that norm, and is projected before it is scaled to the sphere. ``converged`` says which
    examples reach the goal; the others keep the strongest perturbation. A start is the first direction.

    Args:
        budget: The largest perturbation worth looking at; its norm is the one that is made small.
        goal: Value of the objective to reach, in its units (the mean absolute error, say); None for the largest.
        steps: Gradient steps.
        gamma: Relative change of the radius in a step.
        first: Radius of the first step, as a share of the budget; for attacks with a goal.
        bisections: Evaluations that shorten the result along its ray, which the paper does not have; for attacks with a
            goal.

    Raises:
        ConfigError: A setting out of range, `Unbounded`, or a ``stop_at`` of its own.
    """

    goal: float | None = field(default=None, metadata=number(-LARGEST_NUMBER))
    steps: int = field(default=60, metadata=whole(0))
    gamma: float = field(default=0.05, metadata=number(SMALLEST_STEP, 0.5))
    first: float = field(default=0.1, metadata=number(SMALLEST_STEP, 1))
    bisections: int = field(default=10, metadata=whole(0))

    @property
    def iterations(self) -> int:
        return self.steps if self.goal is None else self.steps + self.bisections

    def search(self, search: Search) -> None:
        rows = search.all_rows[search.value < self._goal()]
        if not len(rows):
            return
        hunt = _SphereHunt(search, rows, search.budget.take(rows), self._goal())
        hunt.gamma = self.gamma
        delta = search.first(rows, scattered=False)
        radius = torch.full_like(hunt.budget.size(delta), self.budget.epsilon)
        if self.goal is not None:
            radius *= self.first
            if search.has_start:
                radius = torch.maximum(radius, hunt.budget.size(delta))
            else:
                delta = search.allowed(delta, rows, radius)
        hunt.begin(delta, radius)
        hunt.run(self.steps, 0 if self.goal is None else self.bisections)


class _SphereHunt(Hunt):
    """A hunt on spheres around the inputs."""

    gamma: float

    def _step(self, progress: float) -> None:
        values, gradient = self.search.gradient(self.delta, self.rows)
        is_met = self._note(values, self.delta)
        before = self.radius
        self.radius = torch.where(is_met, before * (1 - self.gamma), before * (1 + self.gamma))
        self.radius = self.radius.clamp_max(self.budget.epsilon)
        length = LAST_STEP + (1 - LAST_STEP) * (1 + math.cos(math.pi * progress)) / 2
        ahead = self.delta + length * per_example(before, gradient) * self.budget.steepest(gradient)
        ahead = self.budget.project(ahead, before)
        size = self.budget.size(ahead).to(before)
        onto = torch.where(size > 0, self.radius / size, torch.ones_like(size))
        self.delta = self.inside(ahead * per_example(onto, ahead))
