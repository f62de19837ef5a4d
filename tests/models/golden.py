"""Weights under the released names: those of the golden networks, and of networks of the tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

CLIPS = ("001", "026", "057")


STAGES = ("1", "2", "3", "4", "5", "6", "7", "7b", "11")


def released_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights of an A2M2E network under the released names."""
    state = {}
    for key, value in network.state_dict().items():
        if key.startswith("backbone.stages."):
            _, _, place, *rest = key.split(".")
            key = ".".join(("preconcept_model", f"conv{STAGES[int(place)]}", *rest))
        state[key.replace("head.concepts", "fc_ml").replace("head.emotions", "fc_ml2emo")] = value
    return state


def reference_state(shared: Path, name: str) -> dict[str, torch.Tensor]:
    """State dictionary in the released naming, drawn from a fresh RandomState(0), as REFERENCE section 11 says."""
    random = np.random.RandomState(0)
    state = {}
    for key, shape in json.loads((shared / "golden" / "models" / f"state_dict_{name}.json").read_text()):
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
            continue
        draw = random.standard_normal(shape)
        if key.endswith("running_var"):
            draw = 1 + 0.1 * np.abs(draw)
        elif key.endswith(("running_mean", "bias")):
            draw = 0.05 * draw
        elif draw.ndim == 1:
            draw = 1 + 0.1 * draw
        else:
            draw = draw * np.sqrt(2 / draw[0].size)
        state[key] = torch.from_numpy(np.asarray(draw, np.float32))
    return state


def reference_inputs(shared: Path) -> torch.Tensor:
    """(3, 1, 313, 149): first 313 frames of three clips, normalised as the golden outputs were."""
    clips = [np.load(shared / "golden" / "frontend" / f"{clip}.npz")["spectrogram"][:313] for clip in CLIPS]
    return torch.from_numpy((np.stack(clips)[:, None] - 0.35) / 0.4)
