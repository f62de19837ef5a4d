"""The attack of the SMC 2025 study as its settings describe it: the released attack, kept inside its budget."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from tenuto.attacks.base import AttackJob
from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import Budget, Linf
from tenuto.attacks.objectives import Correlation, Objective, SquaredError
from tenuto.attacks.registry import ATTACKS
from tenuto.attacks.search import Search
from tenuto.attacks.smc2025.released import ClipStates, ReleasedAttack
from tenuto.errors import AttackError, ConfigError

STUDY_BUDGET = Linf(0.001)
"""The budget in the settings of the study: 0.001 standard deviations of the normalised log spectrogram."""

MEASURE_OBJECTIVES: dict[str, Objective] = {"corr": Correlation(), "mse": SquaredError()}
"""Quantity that the thresholds of a measure are defined on, as an objective."""


@ATTACKS.register("Described")
@dataclass(frozen=True, kw_only=True, repr=False)
class Described(BoundedAttack):
    """`ReleasedAttack`, clipped to its budget after every step, with the prediction at the stored perturbation.

    Settings are those of `ReleasedAttack`; the objective follows from the measure. As there, it begins at zero: a
    start is refused.

    Args:
        budget: Entries within 0.001 in the study's settings.
    """

    has_goal: ClassVar[bool] = True
    budget: Budget = field(default=STUDY_BUDGET, kw_only=False)
    objective: Objective = field(init=False, repr=False)
    measure: str = "corr"
    optimizer: str = "Adam"
    step_size: float = 0.002
    iterations: int = 1000
    alpha: float | None = None
    sign: bool = True

    def __post_init__(self) -> None:
        released = self._released(None)  # which checks the settings
        object.__setattr__(self, "objective", MEASURE_OBJECTIVES[released.measure])
        super().__post_init__()
        if self.transformations is not None:
            raise ConfigError(
                "Described averages over nothing, as the study's attack: leave transformations out."
            )
        if self.stop_at is not None:
            raise ConfigError("Described has no stop_at, it stops at its last threshold: leave stop_at out.")

    def refusal(self, emotions: int) -> str | None:
        return ReleasedAttack(measure=self.measure).refusal(emotions)

    def _released(self, search: Search | None) -> ReleasedAttack:
        names = [setting.name for setting in dataclasses.fields(ReleasedAttack)]
        return _Clipped(**{name: getattr(self, name) for name in names}, search=search)

    def search(self, search: Search) -> None:
        if search.has_start:
            raise AttackError("Described begins at zero, as the study's attack does: leave start out.")
        task, attack = search.task, self._released(search)
        result = attack._attack(AttackJob(search.evaluate, task.examples, None, task.progress, task.recorder))
        search.charge(result)
        search.settle(result.stored_perturbation, search.all_rows)


@dataclass(frozen=True, kw_only=True, repr=False)
class _Clipped(ReleasedAttack):
    """The released attack, brought into the budget of a search after every update."""

    search: Search | None

    @property
    def objective(self) -> Objective:  # type: ignore[override]
        return MEASURE_OBJECTIVES[self.measure]

    def _update(self, clip_states: ClipStates, gradient: Tensor) -> None:
        super()._update(clip_states, gradient)
        rows = torch.from_numpy(clip_states.rows).to(clip_states.delta.device)
        assert self.search is not None
        clip_states.delta = self.search.allowed(clip_states.delta, rows)

    def _size(self, delta: Tensor, rows: Tensor) -> Tensor:
        assert self.search is not None
        return self.search.budget.take(rows).size(delta)
