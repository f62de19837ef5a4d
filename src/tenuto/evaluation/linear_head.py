"""The linear layers behind the features of a network: emotions from concepts, and how strongly changes pass through."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from tenuto.attacks.calling import as_doubles
from tenuto.errors import CheckpointError
from tenuto.models.backbone import with_linear_head
from tenuto.models.heads import BottleneckHead
from tenuto.models.systems import Network

Values = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Head:
    """The linear layers behind the features, in float64.

    Attributes:
        to_concepts: Weight (concepts, features) and bias (concepts,); None without a bottleneck.
        to_emotions: Weight (emotions, concepts or features) and bias (emotions,).
    """

    to_concepts: tuple[Values, Values] | None
    to_emotions: tuple[Values, Values]

    def concepts(self, features: ArrayLike) -> Values:
        """Concepts (..., concepts) of features (..., features). Raises `CheckpointError` without a bottleneck."""
        if self.to_concepts is None:
            raise CheckpointError(
                "the network has no bottleneck, so it has no concepts; choose an A2M2E run."
            )
        return _affine(self.to_concepts, features)

    def emotions(self, below: ArrayLike) -> Values:
        """Emotions (..., emotions) of concepts (..., concepts), or of features where there is no bottleneck."""
        return _affine(self.to_emotions, below)

    def __call__(self, features: ArrayLike) -> Values:
        """Emotions (..., emotions) of features (..., features)."""
        return self.emotions(features if self.to_concepts is None else self.concepts(features))

    @property
    def composed(self) -> Values:
        """All linear layers as one weight, (emotions, features)."""
        weight = self.to_emotions[0]
        return weight if self.to_concepts is None else weight @ self.to_concepts[0]


def linear_head(network: Network) -> Head:
    """The head of a network as plain arrays. Raises `ConfigError` for a network without a linear head."""
    head: Any = with_linear_head(network).head
    below = _layer(head.concepts) if isinstance(head, BottleneckHead) else None
    return Head(below, _layer(head.emotions))


def head_gain(network: Network) -> dict[str, Any]:
    """Measure how strongly the head can pass on a change of the features: singular values of its weights.

    The largest one of the composed weight bounds how far emotions move per unit of Euclidean change of the features. A
    small change under attack is no evidence of robustness where the gain is small too.

    Returns:
        ``singular_values``: lists, largest first, by layer: ``composed`` (features to emotions, as many as the head
        has ranks) and, with a bottleneck, ``concepts`` and ``emotions``; ``largest``: that of ``composed``;
        ``rank``: number of feature directions to which the head can respond; ``features``: number of features.
    """
    head = linear_head(network)
    rank = min(*head.composed.shape, len(head.to_emotions[0][0]))
    layers = {"composed": head.composed}
    if head.to_concepts is not None:
        layers |= {"concepts": head.to_concepts[0], "emotions": head.to_emotions[0]}
    values = {name: np.linalg.svd(weight, compute_uv=False).tolist() for name, weight in layers.items()}
    values["composed"] = values["composed"][:rank]
    return {
        "largest": values["composed"][0],
        "rank": rank,
        "features": head.composed.shape[1],
        "singular_values": values,
    }


def _affine(layer: tuple[Values, Values], values: ArrayLike) -> Values:
    weight, bias = layer
    return np.asarray(np.asarray(values, np.float64) @ weight.T + bias)


def _layer(layer: nn.Linear) -> tuple[Values, Values]:
    return as_doubles(layer.weight), as_doubles(layer.bias)
