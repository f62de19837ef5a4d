"""One contract over every attack with a budget: progress, counts, refusals, printing, precision."""

from __future__ import annotations

import math
import pickle
from typing import NamedTuple

import pytest
import torch

import tenuto.attacks
from tenuto.attacks import (
    APGD,
    FGSM,
    PGD,
    Described,
    Linf,
    Minimal,
    Noise,
    Square,
    Target,
    Transfer,
    Unbounded,
)
from tenuto.errors import AttackError, ConfigError
from tests.attacks.conftest import Counting
from tests.contracts.attack_families import (
    EPSILON,
    FAMILIES,
    MODEL,
    SIBLING,
    Excerpts,
    identity,
    norms,
    pairs,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("size", [2, 3])
@pairs()
def test_progress_adds_up(family, norm, size, inputs, labels):
    attack = family.make(norm(EPSILON[norm]))
    done: list[int] = []
    attack(MODEL, inputs, labels, batch_size=size, progress=done.append)
    assert sum(done) == 3 * attack.iterations


@pytest.mark.parametrize("goal", [-1.0, 0.6, 1.1])
@pairs(lambda family: family.stops)
def test_progress_adds_up_where_examples_finish_early(family, norm, goal, inputs, labels):
    attack = family.make(norm(EPSILON[norm]), stop_at=goal)
    done: list[int] = []
    found = attack(MODEL, inputs, labels, progress=done.append)
    assert sum(done) == 3 * attack.iterations
    assert (found.iterations <= attack.iterations).all()


@pairs(lambda family: family.stops)
def test_what_reaches_the_goal_by_itself_is_left_alone(family, norm, inputs, labels):
    found = family.make(norm(EPSILON[norm]), stop_at=-1.0)(MODEL, inputs, labels)
    assert identity(found)
    assert found.converged.all()


@pairs(lambda family: family.stops)
def test_converged_is_what_reached_the_goal(family, norm, inputs, labels):
    reached = family.make(norm(EPSILON[norm]))(MODEL, inputs, labels).loss
    goal = float(reached.median())
    found = family.make(norm(EPSILON[norm]), stop_at=goal)(MODEL, inputs, labels)
    assert torch.equal(found.converged, found.loss >= goal)


@pairs()
def test_passes_are_counted(family, norm, inputs, labels):
    attack = family.make(norm(EPSILON[norm]))
    for row in range(3):
        model = Counting(MODEL)
        found = attack(model, inputs[row : row + 1], labels[row : row + 1])
        assert found.forward_passes.tolist() == [model.forwards]
        assert found.gradient_passes.tolist() == [model.gradients]


@pairs(lambda family: family.stops)
def test_passes_are_counted_where_examples_finish_early(family, norm, inputs, labels):
    model = Counting(MODEL)
    found = family.make(norm(EPSILON[norm]), stop_at=1.1)(model, inputs, labels)
    assert int(found.forward_passes.sum()) == model.forwards
    assert int(found.gradient_passes.sum()) == model.gradients


def test_an_empty_range_is_refused(inputs, labels):
    with pytest.raises(ConfigError, match=r"valid_range is \(1.0, 0.0\), wanted \(lowest, highest\)"):
        FGSM(budget=Linf(0.1))(MODEL, inputs, labels, valid_range=(1.0, 0.0))


def test_a_start_of_another_shape_is_refused(inputs, labels):
    with pytest.raises(AttackError, match=r"start has shape \(2, 1, 4, 3\), the inputs \(3, 1, 4, 3\)"):
        FGSM(budget=Linf(0.1))(MODEL, inputs, labels, start=inputs[:2])


class Answer(NamedTuple):
    emotions: torch.Tensor
    concepts: torch.Tensor


def silent(values, place):
    """NaN from ``place`` of the output for the second example, in every batch that holds it."""
    found = MODEL(values)
    parts = {"emotions": found.emotions.clone(), "concepts": found.concepts.clone()}
    parts[place][values.flatten(1)[:, 0] < -5] = math.nan
    return Answer(**parts)


@pytest.mark.parametrize("place", ["emotions", "concepts"])
@pairs()
def test_a_prediction_that_is_not_finite_is_refused_by_name(family, norm, place, inputs, labels):
    inputs[1, 0, 0, 0] = -9.0
    with pytest.raises(AttackError, match="prediction for clip 007 is not finite: check the checkpoint"):
        family.make(norm(EPSILON[norm]))(
            lambda values: silent(values, place), inputs, labels, names=["006", "007", "008"]
        )


@pairs(lambda family: family.kind not in (Transfer, Described))
def test_a_prediction_that_breaks_in_the_search_is_refused_by_name(family, norm, inputs, labels):
    clean = inputs[2].clone()

    def brittle(values):
        moved = (values.detach() - clean).flatten(1).abs().amax(dim=1)
        return MODEL(values).emotions.masked_fill(((moved > 0) & (moved < 1))[:, None], math.nan)

    with pytest.raises(AttackError, match="prediction at a perturbed input for clip c is not finite"):
        family.make(norm(EPSILON[norm]))(brittle, inputs, labels, names="abc")


@pairs(lambda family: family.kind in (FGSM, PGD, APGD, Minimal))
def test_a_gradient_that_is_not_finite_is_refused_by_name(family, norm, inputs, labels):
    def jagged(values):
        # sqrt has an infinite slope at 0, and 0 * infinity is NaN.
        return MODEL(values).emotions + (0 * values.flatten(1)[:, :1]).sqrt()

    with pytest.raises(AttackError, match="gradient for clips 0, 1, 2 is not finite"):
        family.make(norm(EPSILON[norm]))(jagged, inputs, labels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_inputs_too_coarse_for_a_budget_are_refused(dtype, inputs, labels):
    with pytest.raises(AttackError, match=r"too coarse for a budget: take .float\(\)"):
        FGSM(budget=Linf(0.1))(MODEL, inputs.to(dtype), labels)


@pairs(lambda family: family.kind is not Transfer)
def test_it_can_be_sent_to_another_process(family, norm):
    made = family.make(norm(0.25), seed=3)
    assert pickle.loads(pickle.dumps(made)) == made


def evaluated(text):
    return eval(text, {name: getattr(tenuto.attacks, name) for name in tenuto.attacks.__all__})


@pairs(lambda family: family.kind is not Transfer)
def test_it_prints_as_the_call_that_made_it(family, norm):
    made = family.make(norm(0.25), seed=3)
    assert evaluated(repr(made)) == made


def test_it_prints_no_defaults():
    assert repr(APGD(budget=Linf(0.1))) == "APGD(budget=Linf(epsilon=0.1))"


def test_objectives_print_within_their_attack():
    made = PGD(budget=Unbounded(), objective=Target((None, 0.5)), step_size=0.1)
    assert evaluated(repr(made)) == made


def test_a_transfer_prints_without_its_source():
    attack = Transfer(budget=Linf(0.1), source=SIBLING, name="A2E-21")
    assert repr(attack) == "Transfer(budget=Linf(epsilon=0.1), name='A2E-21')"


class Watched(Excerpts):
    """Remembers in which precision it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.lower: list[bool] = []

    def forward(self, excerpts):
        self.lower.append(torch.is_autocast_enabled("cpu"))
        return super().forward(excerpts)


@pairs()
def test_a_search_in_bfloat16_ends_in_float32(family, norm, excerpts):
    model, plain = Watched(), Excerpts()
    plain.load_state_dict(model.state_dict())
    settings = {"source": plain} if family.kind is Transfer else {}
    found = family.make(norm(EPSILON[norm]), precision="bfloat16", **settings)(model, *excerpts)
    assert not model.lower[0]  # the clean prediction
    assert all(model.lower[1:-1])
    assert not model.lower[-1]  # what is returned
    with torch.no_grad():
        assert torch.equal(found.adversarial_prediction, plain(excerpts[0] + found.perturbation))
    assert found.adversarial_prediction.dtype == found.perturbation.dtype == torch.float32


def test_without_a_budget_steps_alone_limit_the_perturbation(inputs, labels):
    found = PGD(budget=Unbounded(), steps=5, step_size=0.5)(MODEL, inputs, labels)
    assert norms(found.perturbation, Linf).max() > 1
    assert found.loss.min() > 0


@pytest.mark.parametrize(
    "kind", [FGSM, APGD, Noise, Minimal, Transfer, Square], ids=lambda kind: kind.__name__
)
def test_families_whose_steps_follow_epsilon_want_one(kind):
    settings = {"goal": 1.0} if kind is Minimal else {"source": MODEL} if kind is Transfer else {}
    with pytest.raises(ConfigError, match=r"Linf\(...\)"):
        kind(budget=Unbounded(), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0.1}, r"budget is 0.1, wanted a Budget"),
        ({"objective": "error"}, r"objective is 'error', wanted a Objective"),
        ({"seed": -1}, "seed is -1, wanted a whole number from 0 on"),
        ({"stop_at": math.nan}, "stop_at is nan, wanted None or a number"),
        ({"precision": "float16"}, "precision is 'float16', wanted 'float32' or 'bfloat16'"),
    ],
)
def test_settings_that_all_share_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        FGSM(**{"budget": Linf(0.1), **settings})


@pytest.mark.parametrize("family", [FAMILIES["Minimal"], FAMILIES["Described"]], ids=["Minimal", "Described"])
def test_families_with_an_end_of_their_own_take_no_stop_at(family):
    with pytest.raises(ConfigError, match="stop_at is not for"):
        family.make(Linf(0.1), stop_at=1.0)
