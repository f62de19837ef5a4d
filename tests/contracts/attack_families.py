"""Every attack with a budget, as the contract over them makes it, and what the contract measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tenuto.attacks import (
    APGD,
    FGSM,
    L2,
    PGD,
    BoundedAttack,
    Budget,
    Described,
    Linf,
    Minimal,
    Noise,
    Square,
    Transfer,
)
from tests.attacks.conftest import Bottleneck

MODEL = Bottleneck(entries=12, concepts=3, emotions=4, seed=1, skip=0.2)
SIBLING = Bottleneck(entries=12, concepts=3, emotions=4, seed=1, skip=0.3)


@dataclass(frozen=True)
class Family:
    """How an attack is made, and what it knows."""

    kind: type[BoundedAttack]
    settings: dict[str, Any]
    length: str | None = None
    """The setting that says how long it searches."""
    norms: tuple[type[Linf] | type[L2], ...] = (Linf, L2)
    draws: bool = False
    stops: bool = True
    starts: bool = True

    def make(self, budget: Budget, **changes: Any) -> BoundedAttack:
        return self.kind(**{"budget": budget, **self.settings, **changes})


FAMILIES = {
    "FGSM": Family(FGSM, {}),
    "PGD": Family(PGD, {"steps": 6, "momentum": 0.5, "restarts": 2}, "steps", draws=True),
    "PGD scattered": Family(PGD, {"steps": 4, "scattered": True}, "steps", draws=True),
    "APGD": Family(APGD, {"steps": 8, "restarts": 2}, "steps", draws=True),
    "Noise uniform": Family(Noise, {"kind": "uniform", "draws": 5}, "draws", draws=True),
    "Noise gaussian": Family(Noise, {"kind": "gaussian", "draws": 5}, "draws", draws=True),
    "Noise sign": Family(Noise, {"kind": "sign", "draws": 5}, "draws", draws=True),
    "Square": Family(Square, {"queries": 12}, "queries", norms=(Linf,), draws=True),
    "Minimal": Family(Minimal, {"goal": 1.05, "steps": 8, "bisections": 3}, stops=False),
    "Transfer": Family(Transfer, {"source": SIBLING, "steps": 6}, "steps"),
    "Described": Family(
        Described, {"measure": "mse", "iterations": 8, "step_size": 0.05}, stops=False, starts=False
    ),
}
PAIRS = [(name, norm) for name, family in FAMILIES.items() for norm in family.norms]
EPSILON = {Linf: 0.125, L2: 0.375}


def pairs(wanted: Callable[[Family], bool] = lambda family: True) -> Any:
    chosen = [(FAMILIES[name], norm) for name, norm in PAIRS if wanted(FAMILIES[name])]
    ids = [f"{name}-{norm.norm}" for name, norm in PAIRS if wanted(FAMILIES[name])]
    return pytest.mark.parametrize(("family", "norm"), chosen, ids=ids)


def norms(perturbation, norm):
    """Measured in NumPy, in doubles."""
    flat = perturbation.double().numpy().reshape(len(perturbation), -1)
    return np.abs(flat).max(axis=1) if norm is Linf else np.linalg.norm(flat, axis=1)


def same(one, other):
    return all(torch.equal(value, vars(other)[name]) for name, value in vars(one).items())


def identity(found):
    return (
        not found.perturbation.any()
        and torch.equal(found.adversarial_prediction, found.clean_prediction)
        and not found.iterations.any()
        and not found.gradient_passes.any()
    )


class Excerpts(nn.Module):
    """Eight outputs of a full excerpt, in float32."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.layer = nn.Linear(313 * 149, 8)
        self.layer.weight.data = torch.randn(8, 313 * 149, generator=generator) / 200

    def forward(self, excerpts):
        return torch.sigmoid(self.layer(excerpts.flatten(1)))
