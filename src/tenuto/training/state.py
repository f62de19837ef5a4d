"""The state of a run in training, and the file from which it resumes."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tenuto.config import RunConfig
from tenuto.devices import Precision
from tenuto.errors import FileError
from tenuto.files import read_safetensors, write_safetensors
from tenuto.models.systems import Network
from tenuto.store.result_rows import array
from tenuto.store.run import check_readable, is_file
from tenuto.training.averaging import Average

STATE_FIELDS = ("epoch", "best_epoch", "best_score", "history")
"""Fields of `State` that are saved as JSON, apart from the tensors."""


@dataclasses.dataclass
class State:
    """The state of a run after an epoch."""

    network: Network
    optimizer: torch.optim.Adam
    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    precision: Precision = "float32"
    average: Average | None = None

    @property
    def evaluated(self) -> Network:
        """The network that is scored and saved: the one with averaged weights where weights are averaged."""
        return self.network if self.average is None else self.average.network

    def is_done(self, config: RunConfig) -> bool:
        """True after the last epoch, or the last of ``patience`` epochs in a row without improvement."""
        return self.epoch >= config.train.epochs or self.epoch - self.best_epoch >= config.train.patience


def save(path: Path, state: State) -> None:
    arrays = {f"network.{name}": array(tensor) for name, tensor in state.network.state_dict().items()}
    for number, moments in state.optimizer.state_dict()["state"].items():
        arrays |= {f"adam.{number}.{name}": array(tensor) for name, tensor in moments.items()}
    if state.average is not None:
        arrays |= {f"average.{name}": array(tensor) for name, tensor in state.average.state_dict().items()}
    progress = {name: getattr(state, name) for name in STATE_FIELDS}
    write_safetensors(path, arrays, {"state": json.dumps(progress)})


def resume(path: Path, state: State) -> bool:
    """Continue from the state on disk. False if there is none or it is damaged: ``state`` must then be made again."""
    if not is_file(path):
        return False
    check_readable(path)
    try:
        arrays, metadata = read_safetensors(path)
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "adam": {}, "average": {}}
        for key, array in arrays.items():
            part, _, name = key.partition(".")
            parts[part][name] = torch.from_numpy(array)
        state.network.load_state_dict(parts["network"])
        if state.average is not None:
            state.average.load_state_dict(parts["average"])
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in parts["adam"].items():
            number, _, name = key.partition(".")
            moments.setdefault(int(number), {})[name] = tensor
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        progress = json.loads(metadata["state"])
        for name in STATE_FIELDS:
            setattr(state, name, progress[name])
    except (FileError, KeyError, TypeError, ValueError, AttributeError, RuntimeError):
        return False
    return True
