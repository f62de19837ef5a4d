"""Auto-PGD (Croce & Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free
Attacks", 2020, algorithm 1): ascent whose step size follows from progress, without parameters to tune."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import per_example
from tenuto.attacks.checks import whole
from tenuto.attacks.registry import ATTACKS
from tenuto.attacks.search import Search

MOMENTUM = 0.75
"""Weight of the new step, relative to the last one (alpha of the paper)."""

RAISING_SHARE = 0.75
"""Share of steps between two checkpoints that must raise the objective, or the step is halved (rho)."""


def checkpoints(steps: int) -> tuple[int, ...]:
    """Iterations after which the step size is judged (section 3.1 of the paper).

    >>> checkpoints(100)
    (22, 41, 57, 70, 80, 87, 93, 99)
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return tuple(dict.fromkeys(math.ceil(share * steps - 1e-9) for share in shares[1:] if share < 1))


@ATTACKS.register("APGD")
@dataclass(frozen=True, kw_only=True, repr=False)
class APGD(BoundedAttack):
    """Auto-PGD: step 2 * epsilon at first, halved where progress stalls, and then on from the best.

    Args:
        steps: Gradient steps from each start.
        restarts: Starts; the first at zero (or at the given start), the others at random points of the budget.

    Raises:
        ConfigError: A setting out of range, or `Unbounded`.
    """

    needs_epsilon = True
    steps: int = field(default=60, metadata=whole(0))
    restarts: int = field(default=1, metadata=whole(1))

    @property
    def iterations(self) -> int:
        return self.steps * self.restarts

    def search(self, search: Search) -> None:
        for restart in range(self.restarts):
            rows = search.unfinished()
            if len(rows):
                _Ascent(self, search, rows, scattered=restart > 0).run()


class _Ascent:
    """One start of all unfinished examples; every tensor has one entry per example still attacked."""

    def __init__(self, attack: APGD, search: Search, rows: Tensor, scattered: bool) -> None:
        self.attack, self.search, self.rows = attack, search, rows
        self.delta = search.first(rows, scattered)
        self.value, self.gradient = search.gradient(self.delta, rows)
        self.before = self.delta
        # The best of this start: algorithm 1 goes back to it, whatever the result of an earlier start.
        self.best, self.best_value, self.best_gradient = self.delta, self.value, self.gradient
        self.size = torch.full_like(self.value, 2 * attack.budget.epsilon)
        self.raised = torch.zeros_like(self.value)
        self.last_size, self.last_best = self.size, self.value

    def run(self) -> None:
        marks = checkpoints(self.attack.steps)
        for step in range(1, self.attack.steps + 1):
            candidate = self._next_point(first=step == 1)
            self.before, self.delta = self.delta, candidate
            self._look(last=step == self.attack.steps)
            if step in marks:
                begun = max((mark for mark in marks if mark < step), default=0)
                self._judge(step - begun)
            self._keep(self.search.tick(self.rows))
            if not len(self.rows):
                return

    def _next_point(self, first: bool) -> Tensor:
        """The next point: a step along the gradient, and, but for the first, a share of the last movement."""
        budget = self.search.budget.take(self.rows)
        stride = per_example(self.size, self.gradient) * budget.steepest(self.gradient)
        ahead = self.search.allowed(self.delta + stride, self.rows)
        if first:
            return ahead
        pushed = self.delta + MOMENTUM * (ahead - self.delta) + (1 - MOMENTUM) * (self.delta - self.before)
        return self.search.allowed(pushed, self.rows)

    def _look(self, last: bool) -> None:
        """Evaluate the present point; the last one needs no gradient."""
        if last:
            value = self.search.values(self.delta, self.rows)
        else:
            value, self.gradient = self.search.gradient(self.delta, self.rows)
        self.raised += (value > self.value).to(self.raised)
        better = value > self.best_value
        self.value = value
        self.best_value = torch.where(better, value, self.best_value)
        mask = per_example(better, self.delta)
        self.best = torch.where(mask, self.delta, self.best)
        self.best_gradient = torch.where(mask, self.gradient, self.best_gradient)

    def _judge(self, steps: int) -> None:
        """Halve the step and go back to the best where too few steps helped, or where halving did not last time."""
        idle = self.raised < RAISING_SHARE * steps
        stuck = (self.last_size == self.size) & (self.last_best == self.best_value)
        halve = idle | stuck
        self.last_size, self.last_best = self.size, self.best_value
        self.size = torch.where(halve, self.size / 2, self.size)
        back = per_example(halve, self.delta)
        self.delta = torch.where(back, self.best, self.delta)
        self.before = torch.where(back, self.best, self.before)
        self.gradient = torch.where(back, self.best_gradient, self.gradient)
        self.value = torch.where(halve, self.best_value, self.value)
        self.raised = torch.zeros_like(self.raised)

    def _keep(self, on: Tensor) -> None:
        if len(on) == len(self.rows):
            return
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[on])
