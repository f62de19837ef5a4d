"""The other side of a certificate: an attack on the smoothed model itself.

The smoothed model is a median over noise, which has no useful gradient. The attack follows the gradient of the error of
the mean prediction over a few noisy inputs (expectation over transformations, Athalye et al. 2018). The noise is the
same at every step, as in Salman et al. 2019 (arXiv 1906.04584), so that steps can be compared. The result is judged by
the median over fresh noise, as the certificate is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tenuto.attacks import APGD, L2, AbsoluteError
from tenuto.attacks.calling import Evaluator
from tenuto.evaluation.certificates import (
    Smoothing,
    Values,
    bounds,
    noise_generator,
    noisy_predictions,
    standard_noise,
)

ATTACKED_DRAWS = 8
"""Noisy inputs whose mean prediction is attacked."""

INTERVAL_RISK = 1e-4
"""Probability with which the interval of an attacked prediction is wrong, all outputs and both sides at once: next to
that of a certificate it does not count."""


class _MeanOverNoise(nn.Module):
    """A model's mean prediction over fixed noise (draws, ...), for one input at a time."""

    def __init__(self, model: Callable[[Tensor], Any], like: Tensor, noise: Tensor):
        super().__init__()
        self.model, self.evaluate = model, Evaluator(model)
        self.like, self.noise = like.expand(len(noise), -1), noise

    def forward(self, inputs: Tensor) -> Tensor:
        return self.evaluate(inputs + self.noise, self.like).emotions.mean(dim=0, keepdim=True)


def attack_smoothed(
    model: Callable[[Tensor], Any],
    example: Tensor,
    target: Tensor,
    radius: float,
    smoothing: Smoothing,
    steps: int,
) -> Tensor:
    """A perturbation (1, ...) with an L2 norm up to the radius that moves the smoothed prediction off the target.

    It depends on the seed, sigma and the content of the input, not on other inputs.

    Args:
        model: The model without noise, as for an attack.
        example: The input, (1, ...).
        target: (1, outputs), the label, or the smoothed prediction where there is none.
        radius: L2 size of the perturbation.
        smoothing: The noise.
        steps: Gradient steps of APGD.

    Raises:
        AttackError: The model has no gradient.
    """
    if radius == 0:
        return torch.zeros_like(example)
    generator = noise_generator(example, dataclasses.replace(smoothing, seed=smoothing.seed + 1))
    noise = smoothing.sigma * standard_noise(example, ATTACKED_DRAWS, generator)
    attack = APGD(L2(radius), objective=AbsoluteError(), steps=steps, precision=smoothing.precision)
    return attack(_MeanOverNoise(model, target, noise), example, target).perturbation


def attacked_predictions(
    model: Callable[[Tensor], Any],
    example: Tensor,
    target: Tensor,
    radius: float,
    smoothing: Smoothing,
    steps: int,
    batch_size: int | None = None,
) -> Values:
    """Predictions (draws, outputs) under fresh noise around an input that was attacked, see `attack_smoothed`."""
    delta = attack_smoothed(model, example, target, radius, smoothing, steps)
    return noisy_predictions(model, example + delta, target, smoothing, batch_size)


def interval(predictions: Values) -> tuple[Values, Values]:
    """An interval of the true median of predictions under noise (draws, outputs), each end (outputs,)."""
    return bounds(predictions, 0.0, INTERVAL_RISK / (2 * predictions.shape[1]))
