"""Rows and models with one planted defect each, and their sound counterparts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tenuto.attacks import (
    APGD,
    FGSM,
    PGD,
    Described,
    Linf,
    Noise,
    ReleasedAttack,
    Square,
    Transfer,
    Unbounded,
)
from tenuto.evaluation.audit import CHECKS, Data, Evidence
from tenuto.evaluation.audit.model_checks import Models
from tenuto.evaluation.audit.sources import Source
from tenuto.evaluation.audit.subject import Subject
from tests.reporting import made_up

BUDGET = Linf(0.1)
ATTACKS = {
    "APGD": APGD(BUDGET, steps=30),
    "FGSM": FGSM(BUDGET),
    "Square": Square(BUDGET),
    "Noise sign": Noise(BUDGET, kind="sign"),
    "Transfer from b": Transfer(BUDGET, name="b", source=torch.nn.Identity()),
    "Described": Described(),
    "ReleasedAttack": ReleasedAttack(),
    "PGD": PGD(Unbounded(), stop_at=0.4, step_size=0.05),
}
"""What the column ``attack`` says -> an attack whose text is in ``settings``."""


def finding(check, source, data=Data()):
    """The finding of one check."""
    return CHECKS[check].find(Evidence(source, data, Models().findings))


def bounded(system="A2E", seed=6, epsilon=0.1, attacked=0.5, attack="APGD", **columns):
    """One run inside a budget that every norm just reaches; its MAE is .125 clean and ``attacked`` after."""
    known = {
        "protocol": "planted-1",
        "attack": attack,
        "objective": "squared error",
        "norm": "linf",
        "epsilon": epsilon,
        "l2": 20 * epsilon,
        "linf": epsilon,
        "settings": repr(ATTACKS[attack]) if attack in ATTACKS else "unknown",
    }
    rows = made_up.run(system, seed, attacked=attacked, **(known | columns))
    return rows.drop(columns=["stored_l2", "threshold", "db"])


def source(*tables, kind="table", **more):
    """Rows of several runs or attacks as one source."""
    more.setdefault("attacks", tuple(ATTACKS.values()))
    return Source("planted-1", pd.concat(tables, ignore_index=True), kind, **more)


def logs(stated=0.001, **columns):
    """A released log of five clips, which records no norm of the last iterate."""
    rows = made_up.run("A2E", 6, **{"l2": np.nan, "linf": np.nan} | columns)
    return Source("logs", rows, "logs", stated={"A2E-6": stated})


SHAPE = (1, 5, 4)
CLIPS = 4


class Linear(nn.Module):
    """Two emotions that follow the input linearly, half a unit above every label."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(20, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.linspace(-0.1, 0.12, 40).reshape(2, 20))
            self.layer.bias.fill_(0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        emotions: Tensor = self.layer(self.seen(inputs).flatten(1))
        return emotions

    def seen(self, inputs: Tensor) -> Tensor:
        """What reaches the layer."""
        return inputs


class Masked(Linear):
    """Rounds its input, so that its gradient is zero everywhere."""

    def seen(self, inputs: Tensor) -> Tensor:
        return (inputs * 50).round() / 50


class Stochastic(Linear):
    """Adds new noise at every call."""

    def seen(self, inputs: Tensor) -> Tensor:
        return inputs + 0.01 * torch.randn_like(inputs)


class _Reversed(torch.autograd.Function):
    """The identity with a gradient of the wrong sign."""

    @staticmethod
    def forward(ctx, inputs):
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Surrogate(Linear):
    """Says another gradient than its own."""

    def seen(self, inputs: Tensor) -> Tensor:
        result: Tensor = _Reversed.apply(inputs)
        return result


class NotFinite(Linear):
    """A root at zero: the prediction is finite, its gradient is not."""

    def seen(self, inputs: Tensor) -> Tensor:
        return inputs + (inputs * 0).sqrt()


class Squashed(Linear):
    """Hardly leaves the labels, whatever it hears."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 0.05 + 0.01 * torch.tanh(super().forward(inputs) - 0.5)


class FarOff(Linear):
    """Three units above the labels, whatever it hears: its clean error is many times that of the constant."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 3 + 1e-3 * torch.tanh(super().forward(inputs))


class TwoSided(Linear):
    """A gentle slope one way, and behind a dip a steep one the other way: a single climb takes the gentle one."""

    def forward(self, inputs: Tensor) -> Tensor:
        place = inputs.flatten(1).mean(dim=1, keepdim=True)
        height = 0.5 + torch.maximum(0.1 * place, -5 * place - 0.0051)
        return height.expand(-1, 2)


def subject(model=None, sibling=None, inputs=None):
    """A model with four small inputs; saying the mean training label is .2 off."""
    made = torch.Generator().manual_seed(1)
    clips = 0.2 * torch.randn(CLIPS, *SHAPE, generator=made) if inputs is None else inputs
    labels = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, 0.1], [0.05, 0.05]])
    constant = torch.tensor([0.2375, 0.2375])
    return Subject(model or Linear(), clips, labels, constant, sibling)


def differences(seed_share, seeds=8, clips=12):
    """Errors of two systems (seeds, clips) that differ by .1 on average; ``seed_share`` of the spread is the seeds'."""
    random = np.random.default_rng(5)
    by_seed, rest = random.normal(size=(seeds, 1)), random.normal(size=(seeds, clips))
    return 0.1 + 0.1 * (np.sqrt(seed_share) * by_seed + np.sqrt(1 - seed_share) * rest)
