"""The released attack with its budget in force."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch

from tenuto.attacks import L2, Correlation, Described, Linf, ReleasedAttack, SquaredError, Unbounded
from tenuto.errors import AttackError, ConfigError

CASES = (
    "corr_Adam_50",
    "corr_SGD_50",
    "mse_Adam_50",
    "mse_SGD_50",
    "alpha5_corr_Adam_50",
    "zero_corr_Adam_50",
    "zero_alpha5_corr_Adam_200",
)
ALL = pytest.mark.parametrize("name", CASES)


@functools.cache
def released(case):
    return case.run()


@functools.cache
def described(case, budget, **changes):
    attack = Described(budget=budget, **{**case.settings, **changes})
    return attack(case.model, case.inputs, case.targets, batch_size=len(case.inputs))


def test_its_settings_are_those_of_the_study():
    settings = dataclasses.asdict(ReleasedAttack())
    attack = Described()
    assert {name: getattr(attack, name) for name in settings} == settings
    assert attack.budget == Linf(0.001)


@ALL
@pytest.mark.parametrize("budget", [Linf(1e3), L2(1e4)], ids=repr)
def test_where_the_budget_never_binds_it_is_the_released_attack(golden, name, budget):
    case = golden[name]
    result, expected = described(case, budget), released(case)
    assert torch.equal(result.perturbation, expected.stored_perturbation)
    assert torch.equal(result.iterations, expected.iterations)
    assert torch.equal(result.converged, expected.converged)


def test_without_a_budget_it_is_the_released_attack(golden):
    case = golden["corr_Adam_50"]
    assert torch.equal(described(case, Unbounded()).perturbation, released(case).stored_perturbation)


def test_some_of_these_cases_converge_and_some_do_not(golden):
    assert {bool(flag) for name in CASES for flag in released(golden[name]).converged} == {False, True}


@ALL
@pytest.mark.parametrize("budget", [Linf(0.001), L2(0.01)], ids=repr)
def test_the_budget_binds(golden, name, budget):
    result = described(golden[name], budget)
    assert (budget.size(result.perturbation) <= budget.epsilon * (1 + 1e-6)).all()


def test_the_released_attack_leaves_that_budget(golden):
    assert Linf(1).size(released(golden["corr_Adam_50"]).stored_perturbation).max() > 0.001


@ALL
def test_the_prediction_is_that_of_the_stored_perturbation(golden, name):
    case = golden[name]
    result = described(case, Linf(0.001))
    assert torch.equal(result.adversarial_prediction, case.model(case.inputs + result.perturbation))


def test_it_is_clipped_after_every_step(golden):
    """With step 0.01 and budget 0.004, no point that is asked about lies further than 0.004 from its input."""
    case, asked = golden["corr_SGD_50"], []

    def watched(inputs):
        asked.append(float((inputs - case.inputs).detach().abs().max()))
        return case.model(inputs)

    Described(budget=Linf(0.004), **case.settings)(watched, case.inputs, case.targets)
    assert max(asked) == pytest.approx(0.004, rel=1e-4)
    assert len(asked) == 50 + 2


@pytest.mark.parametrize(("measure", "objective"), [("corr", Correlation()), ("mse", SquaredError())])
def test_the_objective_follows_from_the_measure(measure, objective):
    assert Described(measure=measure).objective == objective


@pytest.mark.parametrize("name", ["corr_Adam_50", "corr_SGD_50", "mse_Adam_50"])
def test_alpha_holds_within_the_budget_too(golden, name):
    case = golden[name]
    expected = case.attack(alpha=5.0)(case.model, case.inputs, case.targets)
    assert torch.equal(described(case, Linf(1e3), alpha=5.0).perturbation, expected.stored_perturbation)
    assert Linf(1).size(described(case, Linf(0.001), alpha=5.0).perturbation).max() <= 0.001 * (1 + 1e-6)


def test_without_the_sign_the_gradient_itself_is_fed(golden):
    case = golden["mse_SGD_50"]
    expected = case.attack(sign=False)(case.model, case.inputs, case.targets)
    result = described(case, Linf(1e3), sign=False)
    assert torch.equal(result.perturbation, expected.stored_perturbation)


def test_a_constant_label_is_refused_by_name(golden):
    case = golden["corr_Adam_10"]
    targets = case.targets.clone()
    targets[2] = 0.5
    with pytest.raises(AttackError, match="clip c"):
        Described()(case.model, case.inputs, targets, names="abcdef")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"measure": "cor"}, r"Unknown measure 'cor'. Did you mean corr\?"),
        ({"iterations": 0}, "iterations must be a whole number of at least 1, got 0"),
        ({"step_size": -1.0}, "step_size must be a number"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        Described(**settings)
