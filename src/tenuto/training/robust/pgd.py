"""Training on attacked clips (Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", 2018)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tenuto.data.batches import Batch
from tenuto.training.robust.base import METHODS, Attacking
from tenuto.training.update import Trainee


@METHODS.register("pgd")
@dataclass(kw_only=True)
class PGDTraining(Attacking):
    """Every update on attacked clips alone. The attack climbs the loss of the run from a random start.

    Args:
        steps: Gradient steps of the attack.
        step_size: By default 2.5 * budget / steps.
    """

    steps: int = 5

    def update(self, trainee: Trainee, batch: Batch) -> Tensor:
        step_size = self.step_size or 2.5 * self.budget.epsilon / self.steps
        return self.update_on_attacked(trainee, batch, self.steps, step_size)
