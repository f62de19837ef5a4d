"""One step along the gradient (Goodfellow et al., "Explaining and Harnessing Adversarial Examples", 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.registry import ATTACKS
from tenuto.attacks.search import Search


@ATTACKS.register("FGSM")
@dataclass(frozen=True, kw_only=True, repr=False)
class FGSM(BoundedAttack):
    """One step of size epsilon: along the sign of the gradient for `Linf` and `Amplitude`, else along the
    gradient."""

    needs_epsilon = True
    iterations: ClassVar[int] = 1

    def search(self, search: Search) -> None:
        rows = search.unfinished()
        if not len(rows):
            return
        delta = search.first(rows, scattered=False)
        _, gradient = search.gradient(delta, rows)
        ahead = delta + self.budget.epsilon * search.budget.take(rows).steepest(gradient)
        search.values(search.allowed(ahead, rows), rows)
        search.tick(rows)
