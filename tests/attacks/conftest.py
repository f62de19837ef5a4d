"""The golden cases of the released attack: made-up numbers that the reference implementation produced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from tenuto.attacks import ReleasedAttack, ReleasedResult

FOLDER = Path(__file__).parents[1] / "golden" / "attack"
TOLERANCES = {"best_delta": 1e-6, "last_prediction": 1e-5, "norm": 1e-6}
FIELDS = ("best_delta", "last_prediction", "norm", "iterations", "converged", "threshold")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Case:
    """One call of the reference, and what it returned."""

    name: str
    model: Callable[[torch.Tensor], torch.Tensor]
    inputs: torch.Tensor
    targets: torch.Tensor
    settings: dict[str, object]
    expected: dict[str, np.ndarray]

    def attack(self, kind: type[ReleasedAttack] = ReleasedAttack, **changes: object) -> ReleasedAttack:
        return kind(**{**self.settings, **changes})  # type: ignore[arg-type]

    def run(
        self, kind: type[ReleasedAttack] = ReleasedAttack, batch_size: int | None = None
    ) -> ReleasedResult:
        return self.attack(kind)(self.model, self.inputs, self.targets, batch_size=batch_size)

    def differences(self, result: ReleasedResult) -> set[str]:
        """The golden fields that a result misses."""
        found = {
            "best_delta": result.stored_perturbation,
            "last_prediction": result.last_prediction,
            "norm": result.stored_l2,
            "iterations": result.iterations,
            "converged": result.converged,
            "threshold": result.threshold,
        }
        return {
            name for name, wanted in self.expected.items() if not _equal(name, found[name].numpy(), wanted)
        }


def _equal(name: str, found: np.ndarray, wanted: np.ndarray) -> bool:
    if name in TOLERANCES:
        return found.shape == wanted.shape and float(np.abs(found - wanted).max()) <= TOLERANCES[name]
    return np.array_equal(found, wanted)


def tanh_network(weights: Mapping[str, np.ndarray]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The golden network: h = tanh(x W1' + b1), out = h W2' + b2."""
    w1, b1, w2, b2 = (torch.from_numpy(weights[key]) for key in ("W1", "b1", "W2", "b2"))
    return lambda x: torch.tanh(x.flatten(1) @ w1.T + b1) @ w2.T + b2


def _case(name: str, arrays: Mapping[str, np.ndarray]) -> Case:
    words = name.split("_")
    measure, optimizer, iterations = words[-3:]
    prefix = f"{words[0]}_" if words[0] in ("zero", "two") else ""
    network = tanh_network(arrays)
    return Case(
        name=name,
        # The two outputs are the first, and the second times -1.
        model=(lambda x: network(x)[:, :2] * torch.tensor([1.0, -1.0])) if prefix == "two_" else network,
        inputs=torch.from_numpy(arrays[f"{prefix}x"]),
        targets=torch.from_numpy(arrays[f"{prefix}y"]),
        settings={
            "measure": measure,
            "optimizer": optimizer,
            "iterations": int(iterations),
            "step_size": 0.002 if optimizer == "Adam" else 0.01,
            "alpha": 5.0 if "alpha5" in words else None,
        },
        expected={key: arrays[f"{name}_{key}"] for key in FIELDS if f"{name}_{key}" in arrays},
    )


@pytest.fixture(scope="session")
def golden_arrays() -> dict[str, dict[str, np.ndarray]]:
    """Both golden files, read whole."""
    content = {}
    for name in ("reference_attack", "reference_attack_rules"):
        with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as stream:
            content[name] = {key: stream[key] for key in stream.files}
    return content


@pytest.fixture(scope="session")
def golden(golden_arrays) -> dict[str, Case]:
    """Every golden case by its name."""
    return {
        name: _case(name, arrays)
        for arrays in golden_arrays.values()
        for name in (key.removesuffix("_best_delta") for key in arrays if key.endswith("_best_delta"))
    }
