"""How each family searches: step rules, schedules, draws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from tenuto.attacks import APGD, FGSM, L2, PGD, Linf, Noise, OneEmotion, Square, Transfer, Unbounded
from tenuto.attacks.apgd import checkpoints
from tenuto.errors import ConfigError
from tests.attacks.conftest import Counting, Linear, random

UP = OneEmotion(0)


class Asked(nn.Module):
    """A function of single numbers that remembers where it was asked."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.at: list[list[float]] = []

    def forward(self, inputs):
        self.at.append(inputs.detach().flatten().tolist())
        return self.function(inputs.flatten(1))


def visited(attack, function, inputs=((0.0,),)):
    """Where an attack looks, without the clean input it begins with and the result it asks about again."""
    model = Asked(function)
    values = torch.tensor(inputs, dtype=torch.float64)
    attack(model, values, torch.zeros(len(values), 1, dtype=torch.float64))
    return model.at[1:-1]


# APGD


def test_checkpoints_of_a_hundred_steps_are_those_of_the_paper():
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)


def test_checkpoints_stretch_with_the_steps():
    assert checkpoints(1000)[:3] == (220, 410, 570)
    assert checkpoints(0) == (0,)


def test_the_step_is_halved_and_the_ascent_goes_back_to_its_best():
    """-|x - 0.3| from 0, budget 1: every point by hand, from section 3 of the paper.

    Checkpoints of 10 steps: 3 5 6 7 8 9 10. Step 2 at first, halved after 3 (2 of 3 steps rose), 5, 6, 7 and 9; after
    8 the only step had risen. Every halving returns to the best so far: 0.375 after 3, 5, 6, 7, then 0.28125.
    """
    peak = APGD(budget=Linf(1.0), objective=UP, steps=10)
    points = visited(peak, lambda x: -(x - 0.3).abs())
    expected = [0, 1, -0.25, 0.375, -0.375, 0.1875, 0, 0.1875, 0.28125, 0.3515625, 0.328125]
    assert np.ravel(points).tolist() == expected


@pytest.mark.filterwarnings("ignore::tenuto.errors.RandomModelWarning")
def test_a_best_that_has_not_risen_since_the_last_checkpoint_halves_the_step_as_well():
    """Condition 2 of the paper, with scripted values and slopes that change sign at every step.

    Checkpoints of 20 steps: 5 9 ... All steps rise up to 5. Then one falls and three rise, enough for condition 1, but
    stay below the best. So step 10 is one of size 1 down from where step 5 was, 0.40625.
    """
    values = iter([0, 0, 1, 2, 3, 4, 5, 1, 2, 3, 4, *[0] * 12])
    slopes = itertools.cycle([-1, 1])  # the first is that of the clean evaluation
    points = visited(
        APGD(budget=Linf(1.0), objective=UP, steps=20),
        lambda x: next(values) + next(slopes) * (x - x.detach()),
    )
    assert points[5] == [0.40625]
    assert points[10] == [0.40625 - 0.75]


def test_the_first_step_is_twice_epsilon():
    points = visited(APGD(budget=L2(0.5), objective=UP, steps=1), lambda x: x[:, :1], [[0.0, 0.0]])
    assert points == [[0.0, 0.0], [0.5, 0.0]]


TURN = torch.linalg.qr(random(12, 12, seed=1))[0] * torch.logspace(0, 1.5, 12, dtype=torch.float64)


def valley(inputs):
    """A peak of height 0 at 0, a thousand times as curved in one direction as in another."""
    return -(inputs.flatten(1) @ TURN).square().sum(dim=1, keepdim=True)


@pytest.mark.parametrize("budget", [Linf(1.0), L2(2.0)], ids=repr)
def test_apgd_beats_steps_of_one_size_where_directions_differ_much(budget):
    inputs, labels = 0.3 * random(16, 12, seed=2), torch.zeros(16, 1, dtype=torch.float64)
    ascents = [kind(budget=budget, objective=UP, steps=100) for kind in (APGD, PGD)]
    ours, fixed = (-attack(valley, inputs, labels).adversarial_prediction.mean() for attack in ascents)
    assert ours < 0.7 * fixed
    assert ours < -0.02 * valley(inputs).mean()


def test_restarts_find_the_higher_peak():
    # From 0 the slope leads to the low peak at -0.5; the high one lies at 0.7, with a basin from 0.25 on.
    def peaks(x):
        return torch.maximum(1 - 4 * (x + 0.5).abs(), 3 - 10 * (x - 0.7).abs())

    values, labels = torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    once, often = (
        PGD(budget=Linf(1.0), objective=UP, steps=30, step_size=0.05, restarts=restarts)(
            peaks, values, labels
        )
        for restarts in (1, 8)
    )
    assert float(once.adversarial_prediction) < 1.01
    assert float(often.adversarial_prediction) > 2.5


# FGSM and PGD


def test_fgsm_takes_one_step_of_size_epsilon():
    points = visited(FGSM(budget=Linf(0.25), objective=UP), lambda x: x[:, :1] - 3 * x[:, 1:], [[0.0, 0.0]])
    assert points == [[0.0, 0.0], [0.25, -0.25]]


def test_pgd_takes_equal_steps_and_stays_within_the_budget():
    attack = PGD(budget=Linf(1.0), objective=UP, steps=4, step_size=0.375)
    assert np.ravel(visited(attack, lambda x: x)).tolist() == [0, 0.375, 0.75, 1.0, 1.0]


def test_pgd_steps_by_two_and_a_half_epsilon_over_the_steps():
    attack = PGD(budget=Linf(1.0), objective=UP, steps=10)
    assert np.ravel(visited(attack, lambda x: x))[:3].tolist() == [0, 0.25, 0.5]


def test_momentum_adds_scaled_gradients():
    # Slope 8 below 1 and -2 beyond: scaled, +1 and -1. With weight 0.5 the third velocity is 0.5 + 0.25 - 1 < 0.
    attack = PGD(budget=Unbounded(), objective=UP, steps=3, step_size=0.75, momentum=0.5)
    points = np.ravel(visited(attack, lambda x: torch.where(x < 1, 8 * x, 10 - 2 * x)))
    assert points.tolist() == [0, 0.75, 1.5, 0.75]


def test_full_momentum_carries_over_a_small_dip():
    # Scaled gradients +1, +1, -1: their sum is still 1.
    attack = PGD(budget=Unbounded(), objective=UP, steps=3, step_size=0.75, momentum=1.0)
    points = np.ravel(visited(attack, lambda x: torch.where(x < 1, 8 * x, 10 - 2 * x)))
    assert points.tolist() == [0, 0.75, 1.5, 2.25]


def test_a_later_start_is_random_and_the_first_is_not():
    first, *_, second, _ = np.ravel(
        visited(PGD(budget=Linf(1.0), objective=UP, steps=1, restarts=2), lambda x: x)
    )
    assert first == 0
    assert 0 < abs(second) < 1


# Noise

INPUTS = random(2, 1, 30, 20, seed=1)
LABELS = torch.zeros(2, 1, dtype=torch.float64)
WEIGHTS = random(1, 600, seed=2)


def noise(kind, budget=None):
    attack = Noise(budget=budget or Linf(0.5), objective=UP, kind=kind, draws=4)
    return attack(Linear(WEIGHTS), INPUTS, LABELS).perturbation


def test_sign_noise_takes_both_ends():
    delta = noise("sign")
    assert set(delta.flatten().tolist()) == {-0.5, 0.5}
    assert abs(float(delta.mean())) < 0.05


def test_uniform_noise_fills_the_budget_evenly():
    delta = noise("uniform")
    assert float(delta.square().mean()) == pytest.approx(0.25 / 3, rel=0.1)
    assert 0.49 < float(delta.abs().max()) <= 0.5


def test_gaussian_noise_has_half_of_epsilon_as_deviation_and_is_cut():
    delta = noise("gaussian")
    # Beyond two deviations lie 4.6 % of the normal distribution; cut there, its variance is 0.9205 of the whole.
    assert float((delta.abs() == 0.5).double().mean()) == pytest.approx(0.0455, abs=0.015)
    assert float(delta.square().mean()) == pytest.approx(0.9205 / 16, rel=0.1)


@pytest.mark.parametrize("kind", ["uniform", "gaussian", "sign"])
def test_noise_in_l2_has_the_norm_epsilon(kind):
    assert L2(1).size(noise(kind, L2(0.5))).tolist() == pytest.approx([0.5, 0.5])


# Transfer


def test_a_transfer_uses_no_gradient_of_the_model_and_counts_the_model_alone():
    model, source = Counting(Linear(WEIGHTS)), Counting(Linear(WEIGHTS))
    result = Transfer(budget=Linf(0.1), source=source, steps=5)(model, INPUTS, LABELS)
    assert (model.forwards, model.gradients) == (2 * 3, 0)
    assert source.gradients == 2 * 5
    assert result.forward_passes.tolist() == [3, 3]
    assert result.iterations.tolist() == [5, 5]


def test_a_transfer_finds_what_apgd_finds_on_the_source():
    source = Linear(WEIGHTS + 0.5)
    result = Transfer(budget=L2(0.1), source=source, steps=5)(Linear(WEIGHTS), INPUTS, LABELS)
    expected = APGD(budget=L2(0.1), steps=5)(source, INPUTS, LABELS)
    helped = result.perturbation.flatten(1).any(dim=1)
    assert helped.any()
    assert torch.equal(result.perturbation[helped], expected.perturbation[helped])


def test_a_transfer_from_the_opposite_changes_nothing():
    opposite = Transfer(budget=Linf(0.1), objective=UP, source=Linear(-WEIGHTS), steps=5)
    assert not opposite(Linear(WEIGHTS), INPUTS, LABELS).perturbation.any()


def test_the_source_is_left_as_it_was_found():
    source = nn.Sequential(nn.Flatten(), nn.Linear(600, 1, dtype=torch.float64), nn.Dropout(0.5))
    Transfer(budget=Linf(0.1), source=source, steps=2)(Linear(WEIGHTS), INPUTS, LABELS)
    assert source.training
    assert source[2].training
    assert all(weight.grad is None and weight.requires_grad for weight in source.parameters())


# Titles and settings


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (PGD, {"steps": -1}, "steps must be a whole number of at least 0, got -1"),
        (PGD, {"steps": 2.0}, "steps must be a whole number of at least 0, got 2.0"),
        (PGD, {"restarts": 0}, "restarts must be a whole number of at least 1, got 0"),
        (PGD, {"step_size": 0.0}, "step_size must be a number from 1e-30 to"),
        (PGD, {"step_size": 1e39}, "step_size must be a number from 1e-30 to .*, got 1e.39"),
        (PGD, {"scattered": "no"}, "scattered must be true or false, got 'no'"),
        (PGD, {"momentum": 1.5}, "momentum must be a number from 0 to 1, got 1.5"),
        (PGD, {"budget": Unbounded()}, "give step_size"),
        (APGD, {"steps": -1}, "steps must be"),
        (APGD, {"restarts": 0}, "restarts must be"),
        (Noise, {"draws": -1}, "draws must be"),
        (Noise, {"kind": "gauss"}, r"Unknown kind 'gauss'. Did you mean gaussian\?"),
        (
            Square,
            {"budget": Unbounded()},
            "Square takes budgets of the norms linf, l2, snr and amplitude, not of none",
        ),
        (Square, {"queries": -1}, "queries must be"),
        (Square, {"first_share": math.inf}, "first_share must be a number"),
        (Transfer, {"source": valley, "steps": -1}, "steps must be"),
    ],
)
def test_settings_are_checked(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        kind(**{"budget": Linf(0.1), **settings})
