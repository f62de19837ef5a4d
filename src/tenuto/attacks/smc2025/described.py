"""The attack of the SMC 2025 study as its settings describe it: the released one with its budget in force."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import Budget, Linf
from tenuto.attacks.objectives import Correlation, Objective, SquaredError
from tenuto.attacks.search import Search
from tenuto.attacks.smc2025 import released
from tenuto.attacks.smc2025.released import ReleasedAttack
from tenuto.errors import AttackError, ConfigError

Within = Callable[[Tensor, Tensor], Tensor]
"""From perturbations and the rows they belong to, to perturbations that are allowed."""

BUDGET = Linf(0.001)
"""What the settings of the study promise: 0.001 in normalised units, about a thousandth of a deviation."""

OBJECTIVES: dict[str, Objective] = {"corr": Correlation(), "mse": SquaredError()}
"""What the thresholds of a measure speak of."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Described(BoundedAttack):
    """`ReleasedAttack`, clipped to its budget after every step, with the prediction at the stored perturbation.

    Settings are those of `ReleasedAttack`; the objective follows from the measure. As there, it begins at nothing:
    a start is refused.

    Args:
        budget: Entries within 0.001 in the study's settings.
    """

    budget: Budget = BUDGET
    objective: Objective = field(init=False, repr=False)
    measure: str = "corr"
    optimizer: str = "Adam"
    step_size: float = 0.002
    iterations: int = 1000
    alpha: float | None = None
    sign: bool = True

    def __post_init__(self) -> None:
        released = self._released(lambda delta, rows: delta)  # which checks the settings
        object.__setattr__(self, "objective", OBJECTIVES[released.measure])
        super().__post_init__()
        if self.stop_at is not None:
            raise ConfigError("stop_at is not for Described: its ladder of thresholds ends it.")

    def _released(self, within: Within) -> ReleasedAttack:
        names = [setting.name for setting in dataclasses.fields(ReleasedAttack)]
        return _Clipped(**{name: getattr(self, name) for name in names}, within=within)

    def _search(self, search: Search) -> None:
        if search.started:
            raise AttackError("Described begins at nothing, as the study's attack does: leave out start.")
        attack = self._released(search.allowed)
        found = attack.on_chunk(search.model, search.game.examples, search.game.progress)
        search.charge(found)
        search.settle(found.stored_perturbation, search.everything)


@dataclass(frozen=True, kw_only=True, repr=False)
class _Clipped(ReleasedAttack):
    """The released attack with ``within`` in force after every update."""

    within: Within

    def _update(self, search: released.Search, gradient: Tensor) -> None:
        super()._update(search, gradient)
        rows = torch.from_numpy(search.rows).to(search.delta.device)
        search.delta = self.within(search.delta, rows)
