"""Weights in the format of the study's released code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tenuto.errors import CheckpointError, ConfigError, FileError
from tenuto.models.backbone import BackboneNetwork, with_linear_head
from tenuto.models.systems import CONCEPTS_WITHOUT_RATINGS, build
from tenuto.store.run import check_readable


def load_reference_state(path: str | Path) -> BackboneNetwork:
    """Read the network of a released ``.pt`` file; nothing in it is executed.

    Raises:
        CheckpointError: Not a state dictionary of one of the two networks.
    """
    try:
        check_readable(Path(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileError as error:
        raise CheckpointError(str(error)) from error
    except Exception as error:  # a foreign file can make the restricted unpickler fail in any way
        raise CheckpointError(
            f"{path}: not a plain file of weights, and not executed. Give a state dictionary that torch.save wrote."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds no dictionary of tensors. Use a released state dictionary.")
    return from_reference_state(state, str(path))


def from_reference_state(state: Mapping[str, Tensor], name: str) -> BackboneNetwork:
    """Convert a released state dictionary to our network. Raises `CheckpointError` if a tensor does not fit."""
    renamed = {_our_name(key): value for key, value in state.items()}
    bottleneck = "head.concepts.weight" in renamed
    try:
        emotions = len(renamed["head.emotions.bias"])
        concepts = len(renamed["head.concepts.bias"]) if bottleneck else CONCEPTS_WITHOUT_RATINGS
        width = len(renamed["backbone.stages.0.0.bias"]) / 64
        network = with_linear_head(build("a2m2e" if bottleneck else "a2e", emotions, concepts, width))
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
