"""Training on the loss and the change of the prediction (Zhang et al., "Theoretically Principled Trade-off between
Robustness and Accuracy", 2019)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from tenuto.data.batches import Batch
from tenuto.models.heads import Prediction
from tenuto.training.robust.base import METHODS, Attacking
from tenuto.training.update import Trainee

START = 0.02
"""Size of the random first perturbation as a share of the budget: at 0 the change has no gradient."""


@METHODS.register("trades")
@dataclass(kw_only=True)
class TradesTraining(Attacking):
    """Every update on loss(f(x), y) + weight * loss(f(x + d), f(x)), where the attack d climbs the second term.

    The paper's divergence of two distributions becomes the loss of the run with the clean prediction in place of the
    labels. Both predictions of an update drop the same channels, so that only the attack tells them apart.

    Args:
        steps: Gradient steps of the attack.
        step_size: By default 2.5 * budget / steps.
        weight: Of the change of the prediction; 0 is plain training.
    """

    steps: int = 5
    weight: float = 6.0

    def update(self, trainee: Trainee, batch: Batch) -> Tensor:
        if self.weight == 0:  # attacked clips would still enter the statistics of the batch
            return trainee.learn(batch.inputs, batch)
        ball = self.ball(trainee, batch)
        with torch.no_grad(), trainee.computing():
            clean = trainee.frozen()(batch.inputs)
        start = START * ball.scattered()
        step_size = self.step_size or 2.5 * self.budget.epsilon / self.steps
        delta = ball.ascend(
            start, lambda attacked: _change(trainee, attacked, clean, batch), self.steps, step_size
        )
        place = batch.inputs.device

        def loss() -> Tensor:
            with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
                clean = trainee.predict(batch.inputs)
            attacked = trainee.predict(batch.inputs + delta)
            return trainee.loss(clean, batch) + self.weight * _change(trainee, attacked, clean, batch)

        return trainee.step(loss)


def _change(trainee: Trainee, attacked: Prediction, clean: Prediction, batch: Batch) -> Tensor:
    """The loss of the run with the clean prediction in place of the labels."""
    concepts = None if batch.concepts is None else clean.concepts
    return trainee.loss(attacked, dataclasses.replace(batch, labels=clean.emotions, concepts=concepts))
