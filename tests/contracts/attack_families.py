"""Every attack, as the contract over them makes it, and what the contract measures."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tenuto.attacks import (
    APGD,
    DDN,
    FGSM,
    L2,
    PGD,
    SNR,
    Amplitude,
    Attack,
    BoundedAttack,
    Budget,
    Described,
    Foreign,
    Imperceptible,
    Linf,
    Masked,
    Minimal,
    Noise,
    ReleasedAttack,
    Square,
    Transfer,
    Unbounded,
)
from tenuto.audio.masking import noise_to_mask_db
from tests.attacks.conftest import Bottleneck

MODEL = Bottleneck(entries=12, concepts=3, emotions=4, seed=1, skip=0.2)
SIBLING = Bottleneck(entries=12, concepts=3, emotions=4, seed=1, skip=0.3)
SOUND_BUDGETS: tuple[Budget, ...] = (Amplitude(0.125), SNR(19), Masked(6))
BUDGETS: tuple[Budget, ...] = (Linf(0.125), L2(0.375), *SOUND_BUDGETS)


def shake(model, inputs, labels):
    """A step along the gradient at a random point, as a user would write it."""
    points = (inputs + 0.1 * model.budget.epsilon * torch.randn_like(inputs)).requires_grad_()
    (gradient,) = torch.autograd.grad(model.objective(points).sum(), points)
    return inputs + model.budget.project(0.9 * model.budget.epsilon * model.budget.steepest(gradient))


@dataclass(frozen=True, eq=False)
class Family:
    """How an attack is made, and what it supports."""

    kind: type[Attack]
    settings: dict[str, Any]
    length: str | None = None
    """The setting that says how long it searches."""
    budgets: tuple[Budget, ...] = BUDGETS
    draws: bool = False
    stops: bool = True
    starts: bool = True

    @property
    def is_bounded(self) -> bool:
        return issubclass(self.kind, BoundedAttack)

    def make(self, budget: Budget, **changes: Any) -> Any:
        own = {"budget": budget, **changes} if self.is_bounded else {}
        return self.kind(**{**self.settings, **own})


FAMILIES = {
    "FGSM": Family(FGSM, {}),
    "PGD": Family(PGD, {"steps": 6, "momentum": 0.5, "restarts": 2}, "steps", draws=True),
    "PGD scattered": Family(PGD, {"steps": 4, "scattered": True}, "steps", draws=True),
    "APGD": Family(APGD, {"steps": 8, "restarts": 2}, "steps", draws=True),
    "Noise uniform": Family(Noise, {"kind": "uniform", "draws": 5}, "draws", draws=True),
    "Noise gaussian": Family(Noise, {"kind": "gaussian", "draws": 5}, "draws", draws=True),
    "Noise sign": Family(Noise, {"kind": "sign", "draws": 5}, "draws", draws=True),
    **{
        f"Noise {kind}": Family(Noise, {"kind": kind, "draws": 5}, "draws", budgets=SOUND_BUDGETS, draws=True)
        for kind in ("white", "pink", "masked")
    },
    "Square": Family(Square, {"queries": 12}, "queries", budgets=BUDGETS[:-1], draws=True),
    "Minimal": Family(Minimal, {"goal": 1.05, "steps": 8, "bisections": 3}, stops=False),
    "DDN": Family(DDN, {"steps": 8}, "steps", stops=False),
    "DDN to a goal": Family(
        DDN,
        {"goal": 1.05, "steps": 8, "first": 0.5, "bisections": 3},
        budgets=(L2(0.375),),
        stops=False,
        starts=False,
    ),
    "Imperceptible": Family(
        Imperceptible,
        {"goal": 1.05, "steps": 6, "quiet_steps": 6, "bisections": 3},
        budgets=SOUND_BUDGETS,
        stops=False,
    ),
    "Transfer": Family(Transfer, {"source": SIBLING, "steps": 6}, "steps"),
    "Foreign": Family(Foreign, {"call": shake}, draws=True),
    "Described": Family(
        Described, {"measure": "mse", "iterations": 8, "step_size": 0.05}, stops=False, starts=False
    ),
    "Released": Family(
        ReleasedAttack,
        {"measure": "mse", "iterations": 8, "step_size": 0.05},
        budgets=(Unbounded(),),
        stops=False,
        starts=False,
    ),
}


def pairs(applies: Callable[[Family], bool] = lambda family: True) -> Any:
    """Parametrize a test by the families that a property applies to, and their budgets."""
    cases = [
        pytest.param(family, budget, id=f"{name}-{budget.norm}")
        for name, family in FAMILIES.items()
        for budget in family.budgets
        if applies(family)
    ]
    return pytest.mark.parametrize(("family", "budget"), cases)


def families(applies: Callable[[Family], bool] = lambda family: True) -> Any:
    """The same with one budget for each family, in turn, so that every budget meets several families.

    For properties that the search or the budget may break alone, but not only together.
    """
    chosen = [(name, family) for name, family in FAMILIES.items() if applies(family)]
    cases = [
        pytest.param(family, budget, id=f"{name}-{budget.norm}")
        for place, (name, family) in enumerate(chosen)
        for budget in [family.budgets[place % len(family.budgets)]]
    ]
    return pytest.mark.parametrize(("family", "budget"), cases)


def bounded(family: Family) -> bool:
    return family.is_bounded


def examples(budget):
    """Three inputs, as samples for a budget of waveforms, and their labels."""
    inputs = torch.randn(3, 1, 4, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    labels = torch.rand(3, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return shaped(inputs, budget), labels


@functools.cache
def attacked(family: Family, budget: Budget) -> Any:
    """What a family finds for MODEL on `examples`; every test that compares it with another call shares it."""
    return family.make(budget)(MODEL, *examples(budget))


def norms(perturbation, norm, inputs):
    """Measured in NumPy, in doubles."""
    flat, clean = (values.double().numpy().reshape(len(values), -1) for values in (perturbation, inputs))
    if norm == "masked":
        perturbation, inputs = perturbation.double(), inputs.double()
        return 10 ** (noise_to_mask_db(perturbation, inputs).numpy() / 20)
    if norm == "snr":
        return np.linalg.norm(flat, axis=1) / np.linalg.norm(clean, axis=1)
    return np.linalg.norm(flat, axis=1) if norm == "l2" else np.abs(flat).max(axis=1)


def shaped(values, budget):
    """The values as samples (n, samples) for a budget of waveforms."""
    return values.flatten(1) if budget is not None and budget.needs_sound else values


def tensors(result):
    """Every tensor of a result, by name."""
    columns = {name: value for name, value in vars(result).items() if isinstance(value, torch.Tensor)}
    return {**columns, **result.columns}


def same(one, other):
    others = tensors(other)
    return all(torch.equal(value, others[name]) for name, value in tensors(one).items())


def identity(result):
    return (
        not result.perturbation.any()
        and torch.equal(result.adversarial_prediction, result.clean_prediction)
        and not result.iterations.any()
        and not result.gradient_passes.any()
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
