"""Decoupled direction and norm: its radius and direction by hand, and closed forms."""

from __future__ import annotations

import pytest
import torch

from tenuto.attacks import DDN, L2, AbsoluteError, Linf, OneEmotion
from tenuto.errors import ConfigError
from tests.attacks.test_families import visited
from tests.attacks.test_minimal import DUAL, INPUTS, LABELS, MODEL, NORMS

UP = OneEmotion(0)


def test_the_radius_and_the_direction_follow_the_paper_step_by_step():
    """A goal of 1.1 along x, with slopes (1, 0) below it and (0, 1) beyond, and a budget of 2.

    Steps of relative length 1, 0.505 and 0.01. From 0 the first radius 1 grows to 1.25 along x, where the goal is
    reached: it shrinks to 0.9375. There the direction (1.25, 0.505 * 1.25) is scaled to it. That misses the goal, so
    the last step is along x, on the sphere of radius 1.171875.
    """

    def turning(x):
        first, second = x[:, :1], x[:, 1:]
        return torch.where(first >= 1.1, 2 + second - second.detach(), first)

    points = visited(
        DDN(L2(2.0), objective=UP, goal=1.1, steps=3, gamma=0.25, first=0.5, bisections=0),
        turning,
        [[0.0, 0.0]],
    )
    tilted = torch.tensor([1.0, 0.505], dtype=torch.float64)
    tilted = 0.9375 * tilted / tilted.norm()
    last = tilted + torch.tensor([0.01 * 0.9375, 0.0], dtype=torch.float64)
    last = 1.171875 * last / last.norm()
    assert points[:2] == [[0, 0], [1.25, 0]]
    assert points[2] == pytest.approx(tilted.tolist())
    assert points[3] == pytest.approx(last.tolist())


@NORMS
def test_with_a_goal_it_meets_the_closed_form_of_a_linear_model(norm):
    least = 1.5 / DUAL[norm]
    result = DDN(norm(3 * least), objective=UP, goal=1.5)(MODEL, INPUTS, LABELS)
    sizes = norm(1).size(result.perturbation) / least
    assert result.converged.all()
    assert sizes.min() >= 1 - 1e-9
    assert sizes.max() <= 1.002


@NORMS
def test_without_a_goal_it_uses_the_whole_budget_and_reaches_the_optimum(norm):
    result = DDN(norm(0.1), objective=UP, steps=20)(MODEL, INPUTS, LABELS)
    assert result.loss.tolist() == pytest.approx([0.1 * DUAL[norm]] * 4)
    assert result.gradient_passes.tolist() == [20] * 4
    assert result.forward_passes.tolist() == [20 + 3] * 4


def test_a_start_that_reaches_the_goal_is_never_lengthened():
    start = (
        (1.6 / DUAL[L2] * MODEL.weights / MODEL.weights.norm()).detach().view(1, 1, 5, 4).expand_as(INPUTS)
    )
    attack = DDN(L2(2.0), objective=UP, goal=1.5 - 10, steps=1, bisections=0)
    assert not attack(MODEL, INPUTS, LABELS, start=start).perturbation.any()
    high = DDN(L2(2.0), objective=AbsoluteError(), goal=1.5, steps=1, bisections=0)
    result = high(MODEL, INPUTS, LABELS, start=start)
    assert (L2(1).size(result.perturbation) <= L2(1).size(start) * (1 + 1e-12)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": 0.6}, "gamma must be a number from 1e-30 to 0.5, got 0.6"),
        ({"steps": -1}, "steps must be a whole"),
        ({"first": 0.0}, "first must be a number from 1e-30 to 1, got 0.0"),
        ({"stop_at": 1.0}, "DDN has no stop_at"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        DDN(Linf(0.1), **settings)
