"""Training whose updates are the steps of the attack (Shafahi et al., "Adversarial Training for Free!", 2019)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tenuto.data.batches import Batch
from tenuto.training.robust.base import METHODS, Attacking
from tenuto.training.update import Trainee


@METHODS.register("free")
@dataclass(kw_only=True)
class FreeTraining(Attacking):
    """Every batch is used several times. One backward pass gives an update of the weights and a step of the attack.

    The perturbation of a batch begins with that of the batch before it, in an epoch's first batch with zero. The
    gradient is that of the network in training mode, with dropout and the statistics of the batch.

    Args:
        replays: Updates on the same batch. An epoch takes as many times as long; the paper divides the epochs by it.
        step_size: By default the budget.
    """

    replays: int = 4
    _delta: Tensor | None = field(default=None, init=False)

    def update(self, trainee: Trainee, batch: Batch) -> Tensor:
        ball = self.ball(trainee, batch)
        delta = torch.zeros_like(batch.inputs) if self._delta is None else ball.inside(self._delta)
        total = torch.zeros((), device=batch.inputs.device)
        for _ in range(self.replays):
            leaf = delta.detach().requires_grad_()
            total += trainee.learn(batch.inputs + leaf, batch)
            assert leaf.grad is not None
            delta = ball.stepped(delta, leaf.grad, self.step_size or self.budget.epsilon)
        self._delta = delta
        return total / self.replays
