"""From features to emotions, directly or through a linear bottleneck of concepts."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Prediction(NamedTuple):
    """The prediction of a network for a batch: emotions (clips, emotions) and concepts (clips, concepts) or None."""

    emotions: Tensor
    concepts: Tensor | None = None


class DirectHead(nn.Module):
    """One linear layer, features to emotions (A2E)."""

    def __init__(self, features: int, emotions: int) -> None:
        super().__init__()
        self.emotions = nn.Linear(features, emotions)

    def forward(self, features: Tensor) -> Prediction:
        """Emotions, no concepts."""
        return Prediction(self.emotions(features), None)


class BottleneckHead(nn.Module):
    """Two linear layers without an activation between: features to concepts, concepts to emotions (A2B2E, A2M2E)."""

    def __init__(self, features: int, concepts: int, emotions: int) -> None:
        super().__init__()
        self.concepts = nn.Linear(features, concepts)
        self.emotions = nn.Linear(concepts, emotions)

    def forward(self, features: Tensor) -> Prediction:
        """Emotions and the concepts they were computed from."""
        concepts = self.concepts(features)
        return Prediction(self.emotions(concepts), concepts)
