"""The networks of the study, built by name, and the systems (network + loss + training mode) made of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tenuto.config import SYSTEMS
from tenuto.errors import CheckpointError, ConfigError, did_you_mean
from tenuto.models.backbone import Backbone, fold_batch_norm, initialise
from tenuto.models.heads import BottleneckHead, DirectHead, Prediction


class Network(nn.Module):
    """Backbone and head.

    Shape:
        - input: (clips, 1, 313, 149), normalised
        - output: `Prediction`
    """

    def __init__(self, network: str, emotions: int = 8, concepts: int = 7, width: float = 1.0) -> None:
        super().__init__()
        if network not in ("a2e", "a2m2e"):
            raise ConfigError(f"network {network!r} is unknown. {did_you_mean(network, ('a2e', 'a2m2e'))}")
        self.network = network
        self.backbone = Backbone(width)
        features = self.backbone.features
        self.head: nn.Module = (
            DirectHead(features, emotions)
            if network == "a2e"
            else BottleneckHead(features, concepts, emotions)
        )
        initialise(self)

    def forward(self, excerpts: Tensor) -> Prediction:
        """Predict emotions (and concepts) of normalised excerpts."""
        prediction: Prediction = self.head(self.backbone(excerpts))
        return prediction


def build(system: str, emotions: int = 8, concepts: int = 7, width: float = 1.0) -> Network:
    """A freshly initialised network.

    Args:
        system: A system (A2E, A2B2E, A2M2E, aA2E, aA2B2E) or a network (a2e, a2m2e).
        emotions: Number of emotions.
        concepts: Number of units of the bottleneck, where the network has one.
        width: Factor on the backbone's channels.

    >>> sum(p.numel() for p in build("A2E").parameters())
    3937864
    """
    if system not in SYSTEMS and system not in ("a2e", "a2m2e"):
        raise ConfigError(f"system {system!r} is unknown. {did_you_mean(system, SYSTEMS)}")
    network = SYSTEMS[system].network if system in SYSTEMS else system
    return Network(network, emotions, concepts, width)


def for_attack(network: Network) -> Network:
    """A frozen copy for inference: batch norm folded, channels last, no weight gradients.

    It predicts what the network predicts in evaluation mode up to rounding, in roughly half the time per gradient.
    """
    folded = copy.deepcopy(network).eval().requires_grad_(False)
    folded.backbone.stages = fold_batch_norm(folded.backbone.stages)
    return folded


def load_reference_state(path: Any) -> Network:
    """The network of a released-style ``.pt`` file, read without running anything that is in it.

    Raises:
        CheckpointError: Not a state dictionary of one of the two networks.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file.") from error
    except Exception as error:  # a foreign file can make the restricted unpickler fail in any way
        raise CheckpointError(
            f"{path}: not a plain file of weights ({_first_line(error)}). It was not executed."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(
            f"{path}: holds no dictionary of tensors. Wanted a released-style state dictionary."
        )
    return from_reference_state(state, str(path))


def from_reference_state(state: Mapping[str, Tensor], name: str) -> Network:
    """Our network with the tensors of the released naming. Raises `CheckpointError` naming what does not fit."""
    renamed = {_our_name(key): value for key, value in state.items()}
    bottleneck = "head.concepts.weight" in renamed
    try:
        emotions = len(renamed["head.emotions.bias"])
        concepts = len(renamed["head.concepts.bias"]) if bottleneck else 7
        width = len(renamed["backbone.stages.0.0.bias"]) / 64
        network = Network("a2m2e" if bottleneck else "a2e", emotions, concepts, width)
        network.load_state_dict(renamed)
    except (KeyError, RuntimeError, ConfigError) as error:
        raise CheckpointError(
            f"{name}: its tensors are not those of a released A2E or A2M2E network ({_first_line(error)})."
        ) from error
    return network


_HEADS = {"fc": "head.emotions", "fc_ml": "head.concepts", "fc_ml2emo": "head.emotions"}
_STAGES = {f"conv{name}": place for place, name in enumerate(("1", "2", "3", "4", "5", "6", "7", "7b", "11"))}


def _our_name(key: str) -> str:
    """``preconcept_model.conv3.1.weight`` is our ``backbone.stages.2.1.weight``."""
    parts = key.split(".")
    if parts[0] == "preconcept_model" and len(parts) > 2 and parts[1] in _STAGES:
        return ".".join(("backbone", "stages", str(_STAGES[parts[1]]), *parts[2:]))
    return ".".join((_HEADS.get(parts[0], parts[0]), *parts[1:]))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:160].rstrip(".")
