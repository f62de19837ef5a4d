"""Training on noise (Cohen, Rosenfeld, Kolter, "Certified Adversarial Robustness via Randomized Smoothing", 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tenuto.data.batches import Batch
from tenuto.errors import ConfigError
from tenuto.training.robust.base import METHODS, Method
from tenuto.training.update import Trainee


@METHODS.register("noise")
@dataclass(kw_only=True)
class GaussianNoise(Method):
    """Every update on clips plus fresh Gaussian noise, which is what a certificate adds to them.

    Args:
        sigma: Standard deviation of the noise; for a certificate, that of its smoothing. In waveforms, of full scale 1.
    """

    sigma: float | None = None

    def __post_init__(self) -> None:
        if self.sigma is None and self.domain == "waveform":
            raise ConfigError("Noise in waveforms has no usual level: give `sigma=0.01`, of full scale 1.")
        self.sigma = 0.25 if self.sigma is None else self.sigma

    def update(self, trainee: Trainee, batch: Batch) -> Tensor:
        assert self.sigma is not None
        return trainee.learn(batch.inputs + self.sigma * torch.randn_like(batch.inputs), batch)
