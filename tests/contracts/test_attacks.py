"""One contract over every attack: what it may return, and that it leaves everything else alone."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tenuto.attacks
from tenuto.attacks import (
    ATTACKS,
    FGSM,
    L2,
    BoundedAttack,
    Described,
    Imperceptible,
    Linf,
    Minimal,
    Noise,
    OneEmotion,
    Transfer,
)
from tenuto.attacks.budgets import Decibels
from tenuto.errors import AttackError
from tests.attacks.conftest import Linear
from tests.contracts.attack_families import (
    FAMILIES,
    MODEL,
    Excerpts,
    attacked,
    bounded,
    examples,
    families,
    identity,
    norms,
    pairs,
    same,
    tensors,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_attack_is_registered_and_under_contract():
    public = [getattr(tenuto.attacks, name) for name in tenuto.attacks.__all__]
    attacks = {kind for kind in public if isinstance(kind, type) and issubclass(kind, tenuto.attacks.Attack)}
    abstract = {BoundedAttack, tenuto.attacks.Attack}
    assert {family.kind for family in FAMILIES.values()} == attacks - abstract == set(ATTACKS.values())


@families(bounded)
def test_full_excerpts_in_float32_stay_within_the_budget(family, budget, excerpts):
    epsilon = 7.3  # no float32, and large enough that rounding moves entries
    settings = {"source": Excerpts()} if family.kind is Transfer else {}
    result = family.make(budget.of(epsilon), **settings)(Excerpts(), *excerpts)
    assert result.perturbation.dtype == torch.float32
    assert (norms(result.perturbation, budget.norm, excerpts[0]) <= epsilon * (1 + 1e-6)).all()


@pairs(bounded)
def test_it_uses_its_budget(family, budget, inputs):
    sizes = norms(attacked(family, budget).perturbation, budget.norm, inputs)
    assert (sizes <= budget.epsilon * (1 + 1e-12)).all()
    assert sizes.max() > budget.epsilon / 4


class Outside(FGSM):
    """Ends where it may not."""

    def search(self, search):
        search.settle(torch.full_like(search.inputs, 2 * self.budget.epsilon), search.all_rows)


@pytest.mark.parametrize("budget", [Linf(0.1), L2(0.1)], ids=repr)
def test_an_attack_that_leaves_its_budget_raises(budget, inputs):
    # What raises the output most lies outside, so nothing but the measurement can refuse it.
    model = Linear(torch.ones(4, 12, dtype=torch.float64))
    with pytest.raises(AttackError, match=r"clips a, b, c has size .* the budget is"):
        Outside(budget, objective=OneEmotion(0))(model, inputs, torch.zeros(3, 4), names="abc")


@families()
def test_prediction_perturbation_and_adversarial_input_belong_together(family, budget, inputs):
    result = attacked(family, budget)
    assert torch.equal(result.adversarial, inputs + result.perturbation)
    with torch.no_grad():
        assert torch.equal(result.adversarial_prediction, MODEL(result.adversarial).emotions)
        assert torch.equal(result.clean_prediction, MODEL(inputs).emotions)


@pairs(bounded)
def test_without_a_budget_or_steps_nothing_changes(family, budget, inputs, labels):
    if not isinstance(budget, Decibels):  # of which no level is 0
        assert identity(family.make(budget.of(0.0))(MODEL, inputs, labels))
    if family.length is not None:
        assert identity(family.make(budget, **{family.length: 0})(MODEL, inputs, labels))


def mixed_model() -> nn.Module:
    """A network whose parts differ in mode, whose weights differ in what they collect, one with a gradient."""
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 4)
    ).double()
    model[2].eval()
    model[1].bias.requires_grad_(False)
    model[5].weight.grad = torch.full((4, 6), 0.25, dtype=torch.float64)
    return model


def snapshot(model):
    return {
        "modes": [module.training for module in model.modules()],
        "requires_grad": [weight.requires_grad for weight in model.parameters()],
        "gradients": [None if w.grad is None else w.grad.tolist() for w in model.parameters()],
        "state": {name: value.tolist() for name, value in copy.deepcopy(model.state_dict()).items()},
    }


@families()
def test_the_model_is_left_as_it_was_found_also_after_an_error(family, budget, inputs, labels):
    def interrupt(done):
        raise KeyboardInterrupt

    model = mixed_model()
    before = snapshot(model)
    family.make(budget)(model, inputs, labels)
    assert snapshot(model) == before
    with pytest.raises(KeyboardInterrupt):
        family.make(budget)(model, inputs, labels, progress=interrupt)
    assert snapshot(model) == before


@families()
def test_the_callers_tensors_and_random_state_are_left_alone(family, budget, inputs, labels):
    before, state = (inputs.clone(), labels.clone()), torch.get_rng_state()
    family.make(budget)(MODEL, inputs, labels)
    assert torch.equal(inputs, before[0])
    assert torch.equal(labels, before[1])
    assert torch.equal(torch.get_rng_state(), state)


@families()
def test_the_same_seed_gives_the_same_result(family, budget, inputs, labels):
    attack = family.make(budget, seed=7)
    first = attack(MODEL, inputs, labels)
    torch.manual_seed(99)
    assert same(first, attack(MODEL, inputs, labels))


@families(lambda family: family.draws)
def test_another_seed_draws_otherwise(family, budget, inputs, labels):
    # Short searches, whose outcome is what was drawn; an ascent ends at the same corner from anywhere.
    short: dict[str, dict[str, Any]] = {
        "PGD": {"steps": 1, "step_size": 0.01},
        "APGD": {"steps": 1, "restarts": 2},
    }
    settings = {
        "objective": tenuto.attacks.SquaredError(against="clean"),
        **short.get(family.kind.__name__, {}),
    }
    first, second = (family.make(budget, seed=seed, **settings)(MODEL, inputs, labels) for seed in (0, 1))
    assert not torch.equal(first.perturbation, second.perturbation)


@families()
def test_a_trace_changes_no_bit_and_holds_what_is_returned(family, budget, inputs, labels):
    result, traced = attacked(family, budget), family.make(budget)(MODEL, inputs, labels, trace=True)
    assert same(result, traced)
    trace = traced.trace
    assert (trace.step[-1] <= result.forward_passes.numpy()).all()
    sizes = norms(result.perturbation, budget.norm, inputs)
    for place in range(len(inputs)):
        is_returned = np.isclose(trace.loss[:, place], result.loss[place]) & np.isclose(
            trace.size[:, place], sizes[place], atol=1e-9
        )
        assert is_returned.any()
        assert trace.best[-1, place] == trace.loss[:, place].max()


@pairs()
def test_the_batch_size_changes_no_bit(family, budget, inputs, labels):
    parted = family.make(budget)(MODEL, inputs, labels, batch_size=2)  # two, and one alone
    assert same(attacked(family, budget), parted)


@families(lambda family: family.stops)
def test_examples_that_finish_early_change_no_bit_of_the_others(family, budget, inputs, labels):
    # Between what the examples can reach, so that some finish and some do not.
    attack = family.make(budget, stop_at=float(attacked(family, budget).loss.median()))
    result = attack(MODEL, inputs, labels)
    assert set(result.converged.tolist()) == {False, True}
    assert torch.equal(result.converged, result.loss >= attack.stop_at)
    assert same(result, attack(MODEL, inputs, labels, batch_size=1))


@families()
def test_the_order_of_the_examples_changes_no_bit(family, budget, inputs, labels):
    order = torch.tensor([2, 0, 1])
    others = tensors(family.make(budget)(MODEL, inputs[order], labels[order]))
    result = tensors(attacked(family, budget))
    assert all(torch.equal(value[order], others[name]) for name, value in result.items())


@families(bounded)
def test_inputs_may_have_any_range(family, budget, inputs, labels):
    def far(values):
        return MODEL((values - 500) / 100)

    own: dict[Any, dict[str, Any]] = {Transfer: {"source": far}, Described: {"step_size": 5.0}}
    large = budget.of(100 * budget.epsilon)
    result = family.make(large, **own.get(family.kind, {}))(far, 100 * inputs + 500, labels)
    assert (norms(result.perturbation, budget.norm, 100 * inputs + 500) <= large.epsilon * (1 + 1e-12)).all()
    assert result.perturbation.any()


@pairs(bounded)
def test_the_valid_range_is_respected(family, budget, inputs, labels):
    # Sixteenths, so that lowest - input is exact.
    inside = ((inputs * 16).round() / 16).clamp(-0.5, 1.0)
    attack = family.make(budget.of(4 * budget.epsilon))
    adversarial = attack(MODEL, inside, labels, valid_range=(-0.5, 1.0)).adversarial
    assert (adversarial != inside).any()
    assert adversarial.min() >= -0.5
    assert adversarial.max() <= 1.0


@families(bounded)
def test_inputs_outside_the_valid_range_move_no_further(family, budget, inputs, labels):
    delta = family.make(budget)(MODEL, inputs, labels, valid_range=(-0.1, 0.1)).perturbation
    assert (delta[inputs < -0.1] >= 0).all()
    assert (delta[inputs > 0.1] <= 0).all()
    assert delta.any()


def objective_at(attack, delta, inputs, labels):
    """The objective at a perturbation, computed independently."""
    outputs, clean = (tenuto.attacks.Outputs(*MODEL(x)) for x in (inputs + delta, inputs))
    return attack.objective(outputs, tenuto.attacks.Situation(labels, clean)).detach()


@families()
def test_the_loss_is_the_objective_and_never_below_that_of_no_attack(family, budget, inputs, labels):
    attack, result = family.make(budget), attacked(family, budget)
    assert torch.equal(result.loss, objective_at(attack, result.perturbation, inputs, labels))
    assert (result.loss >= objective_at(attack, torch.zeros_like(inputs), inputs, labels)).all()


def test_a_perturbation_that_lowers_the_objective_is_not_returned(inputs, labels):
    class Backwards(FGSM):
        def search(self, search):
            search.settle(-0.1 * torch.ones_like(search.inputs), search.all_rows)

    result = Backwards(Linf(0.1), objective=OneEmotion(0))(lambda x: x.flatten(1)[:, :4], inputs, labels)
    assert identity(result)
    assert torch.equal(result.adversarial, inputs)


@functools.cache
def climbed(budget):
    """What 40 steps of APGD reach."""
    return tenuto.attacks.APGD(budget, steps=40)(MODEL, *examples(budget))


@pairs(lambda family: family.starts and family.kind not in (Minimal, Imperceptible))
def test_the_result_is_never_worse_than_the_start(family, budget, inputs, labels):
    begin = climbed(budget)
    result = family.make(budget)(MODEL, inputs, labels, start=begin.perturbation)
    assert (result.loss >= begin.loss).all()


def test_a_start_outside_the_budget_is_brought_into_it(inputs, labels):
    start = torch.full_like(inputs, 5.0)
    result = Noise(Linf(0.1), draws=1)(MODEL, inputs, labels, start=start)
    assert norms(result.perturbation, "linf", inputs).max() <= 0.1
