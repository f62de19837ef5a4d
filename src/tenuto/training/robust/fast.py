"""Training on clips attacked in one step (Wong, Rice, Kolter, "Fast is better than free", 2020)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tenuto.data.batches import Batch
from tenuto.training.robust.base import METHODS, Attacking
from tenuto.training.update import Trainee


@METHODS.register("fast")
@dataclass(kw_only=True)
class FastTraining(Attacking):
    """Every update on attacked clips alone. The attack is one step from a random start; without that start, networks
    learn to resist one step and nothing else.

    Args:
        step_size: By default 1.25 * budget.
    """

    def update(self, trainee: Trainee, batch: Batch) -> Tensor:
        return self.update_on_attacked(trainee, batch, 1, self.step_size or 1.25 * self.budget.epsilon)
