"""The smallest perturbation that reaches a goal."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tenuto.attacks import APGD, L2, SNR, AbsoluteError, Linf, Minimal, OneEmotion
from tenuto.errors import ConfigError
from tests.attacks.conftest import Bottleneck, Linear, random

WEIGHTS = random(1, 20, seed=21)
MODEL = Linear(WEIGHTS)
INPUTS = random(4, 1, 5, 4, seed=22)
LABELS = torch.zeros(4, 1, dtype=torch.float64)
DUAL = {Linf: float(WEIGHTS.norm(p=1)), L2: float(WEIGHTS.norm(p=2))}
NORMS = pytest.mark.parametrize("norm", [Linf, L2], ids=lambda norm: norm.norm)


@NORMS
@pytest.mark.parametrize("share", [0.9, 0.3, 0.01])
def test_on_a_linear_model_it_meets_the_closed_form(norm, share):
    """One output rises by at most epsilon times the dual norm of its weights, so goal / dual norm is the least."""
    goal = 1.5
    least = goal / DUAL[norm]
    attack = Minimal(budget=norm(least / share), objective=OneEmotion(0), goal=goal)
    result = attack(MODEL, INPUTS, LABELS)
    sizes = norm(1).size(result.perturbation) / least
    assert result.converged.all()
    assert sizes.min() >= 1 - 1e-9
    assert sizes.max() <= 1.002


@NORMS
def test_an_error_has_a_smallest_perturbation_of_each_example(norm):
    goal = 4.0
    error = MODEL(INPUTS).detach().abs()[:, 0]
    least = (goal - error).clamp_min(0) / DUAL[norm]
    result = Minimal(budget=norm(3.0), objective=AbsoluteError(), goal=goal)(MODEL, INPUTS, LABELS)
    assert (least > 0).any()
    assert norm(1).size(result.perturbation).tolist() == pytest.approx(least.tolist(), rel=0.002)


def test_the_highest_snr_that_reaches_an_error_meets_the_closed_form():
    waveforms, goal = INPUTS.flatten(1), 4.0
    error = MODEL(waveforms).detach().abs()[:, 0]
    least = (goal - error).clamp_min(0) / DUAL[L2] / waveforms.norm(dim=1)
    result = Minimal(SNR(-10), objective=AbsoluteError(), goal=goal)(MODEL, waveforms, LABELS)
    assert (least > 0).any()
    sizes = result.perturbation.norm(dim=1) / waveforms.norm(dim=1)
    assert sizes.tolist() == pytest.approx(least.tolist(), rel=0.002)


@NORMS
def test_no_smaller_budget_reaches_the_goal_of_a_network(norm):
    model = Bottleneck(entries=20, concepts=4, emotions=3, seed=2, skip=1.0)
    labels = torch.zeros(4, 3, dtype=torch.float64)
    result = Minimal(budget=norm(4.0), objective=AbsoluteError(), goal=2.5)(model, INPUTS, labels)
    sizes = norm(1).size(result.perturbation)
    assert sizes.min() > 0
    assert result.converged.all()
    assert (result.loss >= 2.5).all()
    for row in range(4):
        # Of one ascent: restarts may find another peak.
        smaller = APGD(budget=norm(0.98 * float(sizes[row])), objective=AbsoluteError(), steps=100)
        assert float(smaller(model, INPUTS[row : row + 1], labels[:1]).loss) < 2.5


@NORMS
def test_what_cannot_reach_the_goal_keeps_the_strongest(norm):
    attack = Minimal(budget=norm(0.1), objective=OneEmotion(0), goal=1e3)
    result = attack(MODEL, INPUTS, LABELS)
    assert not result.converged.any()
    assert result.loss.tolist() == pytest.approx([0.1 * DUAL[norm]] * 4, rel=1e-6)


def test_what_reaches_the_goal_by_itself_is_not_moved():
    goal = float(MODEL(INPUTS).detach().abs().min()) / 2
    result = Minimal(budget=Linf(1.0), objective=AbsoluteError(), goal=goal)(MODEL, INPUTS, LABELS)
    assert result.converged.all()
    assert not result.perturbation.any()
    assert not result.iterations.any()


@NORMS
def test_a_start_that_reaches_the_goal_is_never_lengthened(norm):
    goal = 1.5
    optimum = norm(1.0).steepest(WEIGHTS.view(1, 1, 5, 4)) * goal / DUAL[norm] * (1 + 1e-5)
    # A single step finds nothing better.
    attack = Minimal(budget=norm(1.0), objective=OneEmotion(0), goal=goal, steps=1, bisections=0)
    result = attack(MODEL, INPUTS, LABELS, start=optimum.expand_as(INPUTS))
    assert result.converged.all()
    assert (norm(1).size(result.perturbation) <= norm(1).size(optimum) * (1 + 1e-12)).all()


def test_bisection_shortens_along_the_ray():
    far = 0.5 * WEIGHTS.sign().view(1, 1, 5, 4).expand_as(INPUTS)
    attack = Minimal(budget=Linf(0.5), objective=OneEmotion(0), goal=1.5, steps=0, bisections=20)
    result = attack(MODEL, INPUTS, LABELS, start=far)
    assert Linf(1).size(result.perturbation).tolist() == pytest.approx([1.5 / DUAL[Linf]] * 4, rel=1e-4)


def test_a_search_in_bfloat16_ends_in_float32():
    """The error of three digits that reaches the goal is no longer one that misses it when it is judged."""
    generator = torch.Generator().manual_seed(2)
    weights = [
        torch.randn(*shape, generator=generator) / math.sqrt(shape[1]) for shape in ((64, 500), (3, 64))
    ]
    inputs = 0.1 * torch.randn(12, 500, generator=generator)

    def model(points):
        return (points @ weights[0].T).relu() @ weights[1].T

    with torch.no_grad():
        labels = model(inputs)
    settings: dict[str, Any] = {"goal": 0.02, "objective": AbsoluteError(against="label"), "steps": 20}
    sizes = []
    for precision in ("float32", "bfloat16"):
        result = Minimal(SNR(0), precision=precision, **settings)(model, inputs, labels - 0.01)
        assert result.converged.all()
        sizes.append(SNR(0).around(inputs, "abcdefghijkl").size(result.perturbation))
    assert sizes[1].tolist() == pytest.approx(sizes[0].tolist(), rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"goal": math.nan}, "goal must be a number from"),
        ({"steps": -1}, "steps must be a whole"),
        ({"bisections": -1}, "bisections must be a whole"),
        ({"first": 0.0}, "first must be a number from 1e-30 to 1, got 0.0"),
        ({"first": 1.5}, "first must be a number from 1e-30 to 1, got 1.5"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        Minimal(**{"budget": Linf(0.1), "goal": 1.0, **settings})
