"""The golden cases of the released attack, which the reference implementation produced, and small models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

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


def random(*shape: int, seed: int) -> Tensor:
    """Normally distributed numbers in float64, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Prediction(NamedTuple):
    """What a model with a bottleneck returns."""

    emotions: Tensor
    concepts: Tensor


def rowwise(values: Tensor, weights: Tensor) -> Tensor:
    """values @ weights.T, each row summed on its own: BLAS would round a batch of one differently."""
    return (values[:, None, :] * weights).sum(dim=-1)


class Bottleneck(nn.Module):
    """Concepts are a tanh of the entries; emotions are linear in the concepts and, where asked, in the entries."""

    def __init__(self, entries: int, concepts: int, emotions: int, seed: int = 0, skip: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def drawn(rows: int, columns: int) -> nn.Parameter:
            values = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
            return nn.Parameter(values / columns**0.5)

        self.first, self.second = drawn(concepts, entries), drawn(emotions, concepts)
        self.past = drawn(emotions, entries)
        self.skip = skip

    def forward(self, inputs: Tensor) -> Prediction:
        flat = inputs.flatten(1)
        concepts = torch.tanh(rowwise(flat, self.first))
        emotions = rowwise(concepts, self.second)
        return Prediction(emotions + self.skip * rowwise(flat, self.past), concepts)


class Linear(nn.Module):
    """One output per row of weights, and no more; every optimum has a closed form."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, inputs: Tensor) -> Tensor:
        return rowwise(inputs.flatten(1), self.weights)


class Counting(nn.Module):
    """A model that counts, in examples, how often it is asked and how often a gradient goes through it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.forwards = self.gradients = 0

    def forward(self, inputs: Tensor) -> object:
        self.forwards += len(inputs)
        output = self.model(inputs)
        emotions = output if isinstance(output, Tensor) else output.emotions
        if emotions.requires_grad:
            emotions.register_hook(self._count)
        return output

    def _count(self, gradient: Tensor) -> None:
        self.gradients += len(gradient)


@dataclass(frozen=True, eq=False)
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
        class Unrefused(kind):  # type: ignore[misc, valid-type]
            """The reference has a case of two outputs, which users are refused."""

            def refusal(self, emotions: int) -> str | None:
                return None

        return self.attack(Unrefused)(self.model, self.inputs, self.targets, batch_size=batch_size)

    def differences(self, result: ReleasedResult) -> set[str]:
        """The golden fields that a result misses."""
        values = {
            "best_delta": result.stored_perturbation,
            "last_prediction": result.last_prediction,
            "norm": result.stored_l2,
            "iterations": result.iterations,
            "converged": result.converged,
            "threshold": result.threshold,
        }
        return {
            name
            for name, expectation in self.expected.items()
            if not _equal(name, values[name].numpy(), expectation)
        }


def _equal(name: str, result: np.ndarray, expected: np.ndarray) -> bool:
    if name in TOLERANCES:
        return result.shape == expected.shape and float(np.abs(result - expected).max()) <= TOLERANCES[name]
    return np.array_equal(result, expected)


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
