"""The convolutional backbone: log spectrogram excerpt to one feature vector.

S. Chowdhury, A. Vall, V. Haunschmid, G. Widmer, "Towards Explainable Music Emotion Recognition: The Route via
Mid-level Features", ISMIR 2019, table 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tenuto.errors import ConfigError
from tenuto.models.heads import Prediction
from tenuto.models.systems import Network

LAYERS: tuple[tuple[int, int, int, bool], ...] = (
    (64, 5, 2, False),
    (64, 3, 1, True),
    (128, 3, 1, False),
    (128, 3, 1, True),
    (256, 3, 1, False),
    (256, 3, 1, False),
    (384, 3, 1, False),
    (512, 3, 1, False),
    (256, 1, 1, False),
)
"""Channels, kernel, stride, and whether max-pooling and channel dropout follow."""

DROPOUT = 0.3


class Backbone(nn.Module):
    """Nine convolutions, each with batch norm and ReLU, then the mean over time and frequency.

    Args:
        width: Factor on the number of channels; 1.0 is the published network.

    Shape:
        - input: (clips, 1, frames, bands)
        - output: (clips, features), 256 features at width 1
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        if not 0 < width <= 4:
            raise ConfigError(f"width must be above 0 and at most 4, got {width:g}.")
        stages: list[nn.Module] = []
        previous = 1
        for channels, kernel, stride, pooled in LAYERS:
            channels = max(4, round(channels * width))
            stages.append(_stage(previous, channels, kernel, stride, pooled))
            previous = channels
        self.stages = nn.Sequential(*stages)
        self.features = previous

    def forward(self, excerpts: Tensor) -> Tensor:
        """Features (clips, features). A plain mean, unlike adaptive pooling, has a deterministic gradient."""
        features: Tensor = self.stages(excerpts).mean(dim=(2, 3))
        return features


class BackboneNetwork(Network):
    """A network of the study: the backbone and a head that a subclass attaches.

    Attributes:
        backbone: Excerpts to features.
        head: Features to `Prediction`.
    """

    head: nn.Module

    def __init__(self, emotions: int, concepts: int, width: float) -> None:
        super().__init__(emotions, concepts, width)
        self.backbone = Backbone(width)

    def attach(self, head: nn.Module) -> None:
        """Set the head and initialise all weights."""
        self.head = head
        initialise(self)

    def forward(self, excerpts: Tensor) -> Prediction:
        """Predict emotions (and concepts) of normalised excerpts."""
        prediction: Prediction = self.head(self.backbone(excerpts))
        return prediction

    def simplify(self) -> None:
        """Fold batch norm into the convolutions; a gradient takes about half the time."""
        self.backbone.stages = fold_batch_norm(self.backbone.stages)


def with_linear_head(network: Network) -> BackboneNetwork:
    """Return a network of the study, whose head is linear. Raises `ConfigError` for another, or an adopted one."""
    if not isinstance(network, BackboneNetwork):
        raise ConfigError(
            "the linear layers behind the features of this model are not known, so its head cannot be analysed nor its "
            "concepts corrected. Use a run of a2e or a2m2e on its own data."
        )
    return network


def _stage(inputs: int, outputs: int, kernel: int, stride: int, pooled: bool) -> nn.Sequential:
    padding = kernel // 2
    stage = nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
    if pooled:
        stage.append(nn.MaxPool2d(2))
        stage.append(nn.Dropout2d(DROPOUT))
    return stage


def initialise(module: nn.Module) -> None:
    """Kaiming-normal (fan in, ReLU) weights, zero linear bias, unit batch-norm scale, in place."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
        if isinstance(part, nn.Linear):
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)


def fold_batch_norm(stages: nn.Sequential) -> nn.Sequential:
    """The same stages for inference: batch norm folded into the convolutions, dropout left out, weights frozen."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    folded = []
    for stage in stages:
        parts: list[Any] = list(stage.eval().children())
        convolution, norm, *rest = parts
        # Pooling and ReLU commute; pooled first, ReLU and its gradient pass over a quarter of the values.
        layers = [part for kind in (nn.MaxPool2d, nn.ReLU) for part in rest if isinstance(part, kind)]
        folded.append(nn.Sequential(fuse_conv_bn_eval(convolution, norm), *layers))
    frozen = nn.Sequential(*folded).requires_grad_(False)
    frozen.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return frozen
