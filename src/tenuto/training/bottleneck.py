"""Sequential and independent bottlenecks: concepts are trained first, then the emotions are fitted on them.

P. W. Koh et al., "Concept Bottleneck Models", ICML 2020. The layer from concepts to emotions is linear, so its fit is
a least-squares problem with a solution in closed form, here in float64.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from tenuto.config import RunConfig
from tenuto.data.batches import Batch
from tenuto.errors import ConfigError
from tenuto.models.backbone import BackboneNetwork
from tenuto.models.heads import BottleneckHead
from tenuto.models.recogniser import predict
from tenuto.models.systems import NETWORKS, Network

Values = NDArray[np.float64]

NARROW = 0.05
"""Width of a network that is built to see its layers."""


def check_bottleneck(config: RunConfig) -> None:
    """Refuse, before training, a network whose layer from concepts to emotions is not known. Raises `ConfigError`."""
    network = config.model.network
    if config.train.bottleneck is None:
        return
    if not _has_linear_bottleneck(NETWORKS[network]):
        raise ConfigError(
            f"bottleneck {config.train.bottleneck} fits the linear layer from concepts to emotions, which is not known "
            f"of the network {network}. Leave it out or choose a2m2e."
        )


def _has_linear_bottleneck(kind: type[Network]) -> bool:
    """Whether networks of this kind have the layers of the study behind their features."""
    if not issubclass(kind, BackboneNetwork):
        return False
    with torch.random.fork_rng(devices=[]):
        return isinstance(kind(2, 2, NARROW).head, BottleneckHead)


def fit_emotions(network: Network, clips: Batch, bottleneck: str, batch_size: int) -> None:
    """Fit the layer from concepts to emotions by least squares, in place.

    Args:
        network: Its concepts are trained.
        clips: The fixed excerpts of the training clips, with concepts.
        bottleneck: ``sequential``: on the concepts that the network predicts; ``independent``: on the true ones.
        batch_size: Clips predicted together.
    """
    assert isinstance(network, BackboneNetwork)
    assert isinstance(network.head, BottleneckHead)
    predicted = bottleneck == "sequential"
    concepts = predict(network, clips.inputs, batch_size).concepts if predicted else clips.concepts
    assert concepts is not None
    weight, bias = least_squares(concepts.cpu().numpy(), clips.labels.cpu().numpy())
    layer = network.head.emotions
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))


def least_squares(inputs: ArrayLike, outputs: ArrayLike) -> tuple[Values, Values]:
    """The affine map with the smallest sum of squared errors, and the smallest weights where there are several.

    Args:
        inputs: (n, inputs).
        outputs: (n, outputs).

    Returns:
        Weight (outputs, inputs) and bias (outputs,).

    Example:
        >>> weight, bias = least_squares([[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]])
        >>> weight.round(6).tolist(), bias.round(6).tolist()
        ([[2.0]], [1.0])
    """
    x, y = np.asarray(inputs, np.float64), np.asarray(outputs, np.float64)
    solution = np.linalg.lstsq(x - x.mean(axis=0), y - y.mean(axis=0), rcond=None)[0]
    return solution.T, y.mean(axis=0) - x.mean(axis=0) @ solution
