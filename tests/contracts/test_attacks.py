"""One contract over every attack with a budget: what it may return."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import tenuto.attacks
from tenuto.attacks import (
    APGD,
    FGSM,
    L2,
    PGD,
    BoundedAttack,
    Described,
    Linf,
    Minimal,
    Noise,
    OneEmotion,
    Transfer,
)
from tenuto.errors import AttackError
from tests.attacks.conftest import Linear
from tests.contracts.attack_families import (
    EPSILON,
    FAMILIES,
    MODEL,
    Excerpts,
    identity,
    norms,
    pairs,
    same,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_attack_with_a_budget_is_under_contract():
    public = [getattr(tenuto.attacks, name) for name in tenuto.attacks.__all__]
    known = {kind for kind in public if isinstance(kind, type) and issubclass(kind, BoundedAttack)}
    assert {family.kind for family in FAMILIES.values()} == known - {BoundedAttack}


@pytest.mark.parametrize("epsilon", [0.1, 7.3], ids=str)
@pairs()
def test_full_excerpts_in_float32_stay_within_the_budget(family, norm, epsilon, excerpts):
    settings = {"source": Excerpts()} if family.kind is Transfer else {}
    found = family.make(norm(epsilon), **settings)(Excerpts(), *excerpts)
    assert found.perturbation.dtype == torch.float32
    assert (norms(found.perturbation, norm) <= epsilon * (1 + 1e-6)).all()


@pairs()
def test_it_uses_its_budget(family, norm, inputs, labels):
    found = family.make(norm(EPSILON[norm]))(MODEL, inputs, labels)
    sizes = norms(found.perturbation, norm)
    assert (sizes <= EPSILON[norm] * (1 + 1e-12)).all()
    assert sizes.max() > EPSILON[norm] / 4


class Outside(FGSM):
    """Ends where it may not."""

    def _search(self, search):
        search.settle(torch.full_like(search.inputs, 2 * self.budget.epsilon), search.everything)


@pytest.mark.parametrize("budget", [Linf(0.1), L2(0.1)], ids=repr)
def test_an_attack_that_leaves_its_budget_raises(budget, inputs):
    # What raises the output most lies outside, so nothing but the measurement can refuse it.
    model = Linear(torch.ones(4, 12, dtype=torch.float64))
    with pytest.raises(AttackError, match=r"clips a, b, c has size .* the budget is"):
        Outside(budget=budget, objective=OneEmotion(0))(model, inputs, torch.zeros(3, 4), names="abc")


@pairs()
def test_prediction_and_perturbation_belong_together(family, norm, inputs, labels):
    found = family.make(norm(EPSILON[norm]))(MODEL, inputs, labels)
    with torch.no_grad():
        assert torch.equal(found.adversarial_prediction, MODEL(inputs + found.perturbation).emotions)
        assert torch.equal(found.clean_prediction, MODEL(inputs).emotions)


@pairs()
def test_without_room_nothing_changes(family, norm, inputs, labels):
    assert identity(family.make(norm(0.0))(MODEL, inputs, labels))


@pairs(lambda family: family.length is not None)
def test_without_steps_nothing_changes(family, norm, inputs, labels):
    attack = family.make(norm(0.3), **{family.length: 0})
    assert identity(attack(MODEL, inputs, labels))


def restless() -> nn.Module:
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
        "wanted": [weight.requires_grad for weight in model.parameters()],
        "gradients": [None if w.grad is None else w.grad.tolist() for w in model.parameters()],
        "state": {name: value.tolist() for name, value in copy.deepcopy(model.state_dict()).items()},
    }


@pairs()
def test_the_model_is_left_as_it_was_found(family, norm, inputs, labels):
    model = restless()
    before = snapshot(model)
    family.make(norm(EPSILON[norm]))(model, inputs, labels)
    assert snapshot(model) == before


@pairs()
def test_the_model_is_left_as_it_was_found_after_an_error(family, norm, inputs, labels):
    def interrupt(done):
        raise KeyboardInterrupt

    model = restless()
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        family.make(norm(EPSILON[norm]))(model, inputs, labels, progress=interrupt)
    assert snapshot(model) == before


@pairs()
def test_the_callers_tensors_are_left_alone(family, norm, inputs, labels):
    before = inputs.clone(), labels.clone()
    family.make(norm(EPSILON[norm]))(MODEL, inputs, labels)
    assert torch.equal(inputs, before[0])
    assert torch.equal(labels, before[1])


@pairs()
def test_the_same_seed_gives_the_same_result(family, norm, inputs, labels):
    attack = family.make(norm(EPSILON[norm]), seed=7)
    first = attack(MODEL, inputs, labels)
    torch.manual_seed(99)  # the caller's own source of chance plays no part
    assert same(first, attack(MODEL, inputs, labels))


@pairs(lambda family: family.draws)
def test_another_seed_draws_otherwise(family, norm, inputs, labels):
    # Short searches, whose outcome is what was drawn; an ascent ends at the same corner from anywhere.
    kept = {"steps": 1, "step_size": 0.01} if family.kind is PGD else {}
    kept = {"steps": 1, "restarts": 2} if family.kind is APGD else kept
    objective = tenuto.attacks.SquaredError(against="clean")
    first, second = (
        family.make(norm(EPSILON[norm]), objective=objective, seed=seed, **kept)(MODEL, inputs, labels)
        for seed in (0, 1)
    )
    assert not torch.equal(first.perturbation, second.perturbation)


@pytest.mark.parametrize("size", [1, 2])
@pairs()
def test_the_batch_size_changes_no_bit(family, norm, size, inputs, labels):
    attack = family.make(norm(EPSILON[norm]))
    assert same(attack(MODEL, inputs, labels), attack(MODEL, inputs, labels, batch_size=size))


@pairs(lambda family: family.stops)
def test_the_batch_size_changes_no_bit_where_examples_finish_early(family, norm, inputs, labels):
    # Between what the examples can reach, so that some finish and some do not.
    reached = family.make(norm(EPSILON[norm]))(MODEL, inputs, labels).loss
    attack = family.make(norm(EPSILON[norm]), stop_at=float(reached.median()))
    whole = attack(MODEL, inputs, labels)
    assert set(whole.converged.tolist()) == {False, True}
    assert same(whole, attack(MODEL, inputs, labels, batch_size=1))


@pairs()
def test_the_order_of_the_examples_changes_no_bit(family, norm, inputs, labels):
    attack, order = family.make(norm(EPSILON[norm])), torch.tensor([2, 0, 1])
    found, turned = attack(MODEL, inputs, labels), attack(MODEL, inputs[order], labels[order])
    assert all(torch.equal(value[order], vars(turned)[name]) for name, value in vars(found).items())


@pairs()
def test_inputs_may_have_any_range(family, norm, inputs, labels):
    def far(values):
        return MODEL((values - 500) / 100)

    own: dict[Any, dict[str, Any]] = {Transfer: {"source": far}, Described: {"step_size": 5.0}}
    found = family.make(norm(100 * EPSILON[norm]), **own.get(family.kind, {}))(
        far, 100 * inputs + 500, labels
    )
    assert (norms(found.perturbation, norm) <= 100 * EPSILON[norm] * (1 + 1e-12)).all()
    assert found.perturbation.any()


@pairs()
def test_the_valid_range_is_respected(family, norm, inputs, labels):
    # Sixteenths, so that lowest - input is exact.
    inside = ((inputs * 16).round() / 16).clamp(-0.5, 1.0)
    attack = family.make(norm(4 * EPSILON[norm]))
    reached = inside + attack(MODEL, inside, labels, valid_range=(-0.5, 1.0)).perturbation
    assert (reached != inside).any()
    assert reached.min() >= -0.5
    assert reached.max() <= 1.0


@pairs()
def test_inputs_outside_the_valid_range_move_no_further(family, norm, inputs, labels):
    attack = family.make(norm(EPSILON[norm]))
    delta = attack(MODEL, inputs, labels, valid_range=(-0.1, 0.1)).perturbation
    assert (delta[inputs < -0.1] >= 0).all()
    assert (delta[inputs > 0.1] <= 0).all()
    assert delta.any()


def objective_at(attack, delta, inputs, labels):
    """The objective at a perturbation, computed anew."""
    outputs, clean = (tenuto.attacks.Outputs(*MODEL(x)) for x in (inputs + delta, inputs))
    return attack.objective(outputs, tenuto.attacks.Situation(labels, clean)).detach()


@pairs()
def test_the_loss_is_the_objective_and_never_below_that_of_no_attack(family, norm, inputs, labels):
    attack = family.make(norm(EPSILON[norm]))
    found = attack(MODEL, inputs, labels)
    assert torch.equal(found.loss, objective_at(attack, found.perturbation, inputs, labels))
    assert (found.loss >= objective_at(attack, torch.zeros_like(inputs), inputs, labels)).all()


def test_what_serves_the_objective_less_than_nothing_is_not_returned(inputs, labels):
    class Backwards(FGSM):
        def _search(self, search):
            search.settle(-0.1 * torch.ones_like(search.inputs), search.everything)

    def model(values):
        return values.flatten(1)[:, :4]

    found = Backwards(budget=Linf(0.1), objective=OneEmotion(0))(model, inputs, labels)
    assert identity(found)


@pairs(lambda family: family.starts and family.kind is not Minimal)
def test_the_result_is_never_worse_than_the_start(family, norm, inputs, labels):
    begin = APGD(budget=norm(EPSILON[norm]), steps=40)(MODEL, inputs, labels)
    found = family.make(norm(EPSILON[norm]))(MODEL, inputs, labels, start=begin.perturbation)
    assert (found.loss >= begin.loss).all()


def test_a_start_outside_the_budget_is_brought_into_it(inputs, labels):
    start = torch.full_like(inputs, 5.0)
    found = Noise(budget=Linf(0.1), draws=1)(MODEL, inputs, labels, start=start)
    assert norms(found.perturbation, Linf).max() <= 0.1
