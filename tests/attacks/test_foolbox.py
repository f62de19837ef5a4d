"""FGSM and PGD take the steps that foolbox takes, given the same loss. (foolbox itself knows classes only.)"""

from __future__ import annotations

import importlib
import warnings

import pytest
import torch
from torch import nn

from tenuto.attacks import FGSM, L2, PGD, BoundedAttack, Linf
from tests.attacks.conftest import Bottleneck, random

try:
    with warnings.catch_warnings():
        # foolbox imports a SciPy function by its old path.
        warnings.filterwarnings("ignore", message=".*scipy.ndimage.filters", category=DeprecationWarning)
        foolbox = importlib.import_module("foolbox")
        eagerpy = importlib.import_module("eagerpy")
except ImportError:
    pytest.skip("foolbox is not installed (pip install foolbox==3.3.4)", allow_module_level=True)

INPUTS = random(3, 1, 5, 4, seed=31)
LABELS = torch.rand(3, 4, generator=torch.Generator().manual_seed(32), dtype=torch.float64)
NETWORK = Bottleneck(entries=20, concepts=4, emotions=4, seed=3)


class Emotions(nn.Module):
    """What foolbox takes: a module that returns one tensor."""

    def forward(self, inputs):
        return NETWORK(inputs).emotions


def perturbation(attack, epsilon):
    """foolbox's perturbation, with the squared error in place of its cross-entropy."""

    def get_loss_fn(model, labels):
        return lambda inputs: (model(inputs) - eagerpy.astensor(LABELS)).square().mean(axis=1).sum()

    attack.get_loss_fn = get_loss_fn
    model = foolbox.PyTorchModel(Emotions().eval(), bounds=(-100, 100), device="cpu")
    classes = foolbox.criteria.Misclassification(torch.zeros(3, dtype=torch.int64))
    return attack.run(model, INPUTS, classes, epsilon=epsilon) - INPUTS


def agree(ours: BoundedAttack, theirs) -> None:
    result = ours(NETWORK, INPUTS, LABELS)
    # Ours returns its best point and theirs the last; where every step rises they are one.
    torch.testing.assert_close(
        result.perturbation, perturbation(theirs, ours.budget.epsilon), rtol=1e-9, atol=1e-12
    )
    assert result.perturbation.any()


@pytest.mark.parametrize("epsilon", [0.01, 0.1])
@pytest.mark.parametrize("norm", [Linf, L2], ids=lambda norm: norm.norm)
def test_fgsm_is_that_of_foolbox(norm, epsilon):
    kind = {Linf: "LinfFastGradientAttack", L2: "L2FastGradientAttack"}[norm]
    agree(FGSM(budget=norm(epsilon)), getattr(foolbox.attacks, kind)())


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("epsilon", [0.05, 1.0], ids=["the budget binds", "it does not"])
@pytest.mark.parametrize("norm", [Linf, L2], ids=lambda norm: norm.norm)
def test_pgd_is_that_of_foolbox(norm, epsilon, steps):
    kind = {Linf: "LinfProjectedGradientDescentAttack", L2: "L2ProjectedGradientDescentAttack"}[norm]
    theirs = getattr(foolbox.attacks, kind)(abs_stepsize=0.02, steps=steps, random_start=False)
    agree(PGD(budget=norm(epsilon), steps=steps, step_size=0.02), theirs)
