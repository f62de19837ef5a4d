"""A moving average of the weights of a network in training (Izmailov et al. 2018, arXiv 1803.05407)."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tenuto.models.systems import Network

WARM_UP = 9
"""The decay of update n is at most n / (n + 9), so that the average soon forgets the random first weights."""


class Average(nn.Module):
    """Moving average of weights: mean = d mean + (1 - d) weights after update n, with d = min(decay, n / (n + 9)).

    Means of the batch statistics of other weights are not the statistics of the mean weights: variances would be too
    large. So the averaged network measures its own, on the inputs of every update, without dropout.

    Args:
        network: The network in training, before its first update.
        decay: 0 to 1; 0.99 averages over some 100 updates.
    """

    updates: Tensor

    def __init__(self, network: Network, decay: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self.register_buffer("updates", torch.zeros(()))

    @torch.no_grad()
    def update(self, network: Network, inputs: Iterable[Tensor]) -> None:
        """Take in the weights after an update of ``network`` that was made on ``inputs``, each (clips, 1, 313, 149)."""
        self.updates += 1
        decay = (self.updates / (self.updates + WARM_UP)).clamp(max=self.decay)
        new = 1 - decay
        for mean, value in zip(self.network.parameters(), network.parameters(), strict=True):
            # Reading a number makes the host wait for a GPU; only weights of another type need it.
            mean.lerp_(value, new if mean.dtype == new.dtype else float(new))
        norms = [part for part in self.network.modules() if isinstance(part, _BatchNorm)]
        for own, other in zip(self.network.modules(), network.modules(), strict=True):
            if own not in norms:  # whatever else a network keeps
                for average, now in zip(
                    own.buffers(recurse=False), other.buffers(recurse=False), strict=True
                ):
                    average.copy_(now)
        for norm in norms:
            norm.train()
        for batch in inputs if norms else ():
            self.network(batch)
        self.network.eval()
