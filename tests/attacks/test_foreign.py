"""Attacks of the user and of other packages, under the promises of Tenuto's own."""

from __future__ import annotations

import importlib
import random
import warnings

import numpy as np
import pytest
import torch

import tenuto
from tenuto.attacks import (
    APGD,
    L2,
    SNR,
    AbsoluteError,
    Foreign,
    Linf,
    Objective,
    OneEmotion,
    from_dict,
    from_foolbox,
    from_torchattacks,
)
from tenuto.errors import AttackError, ConfigError
from tenuto.models.heads import Prediction
from tests.attacks.conftest import Counting, Linear
from tests.attacks.test_minimal import DUAL, INPUTS, LABELS, MODEL

UP = OneEmotion(0)
NAMES = ["a", "b", "c", "d"]


def step(model, inputs, labels):
    points = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(points).sum(), points)
    return inputs + model.budget.epsilon * gradient.sign()


def test_a_function_is_measured_counted_and_stands_in_rows_next_to_ours():
    model = Counting(MODEL)
    result = Foreign(Linf(0.1), call=step, objective=UP)(model, INPUTS, LABELS)
    assert result.loss.tolist() == pytest.approx([0.1 * DUAL[Linf]] * 4)
    assert (int(result.forward_passes.sum()), int(result.gradient_passes.sum())) == (
        model.forwards,
        model.gradients,
    )
    both = [
        tenuto.rows(attack(MODEL, INPUTS, LABELS), attack=attack, labels=LABELS)
        for attack in (Foreign(Linf(0.1), call=step, objective=UP), APGD(Linf(0.1), objective=UP))
    ]
    assert [rows["attack"].iloc[0] for rows in both] == ["step", "APGD"]
    assert list(both[0]) == list(both[1])


class FirstConcept(Objective):
    def __call__(self, outputs, situation):
        return outputs.concepts[:, 0]

    def title(self, emotions=None):
        return "first concept"


def test_gradients_of_an_objective_that_sees_concepts_alone_are_counted():
    def concepts(inputs):
        return Prediction(MODEL(inputs), inputs.flatten(1))

    def climb(model, inputs, labels):
        points = inputs.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model.objective(points).sum(), points)
        return inputs + model.budget.epsilon * gradient.sign()

    result = Foreign(Linf(0.1), call=climb, objective=FirstConcept())(concepts, INPUTS, LABELS)
    assert result.gradient_passes.tolist() == [1] * 4


def test_what_is_returned_is_evaluated_by_tenuto_whatever_the_function_saw():
    def liar(model, inputs, labels):
        model(inputs + 1000)
        return inputs - model.budget.epsilon

    worse = Foreign(Linf(0.1), call=liar, objective=UP)(Linear(torch.ones(1, 20).double()), INPUTS, LABELS)
    assert not worse.perturbation.any()


@pytest.mark.parametrize("budget", [Linf(0.1), L2(0.1)], ids=repr)
def test_a_perturbation_beyond_the_budget_is_refused_with_clips_and_sizes(budget):
    def far(model, inputs, labels):
        return inputs + (0.3 if inputs[0, 0, 0, 0] > 0 else 0.0)

    sizes = budget.size(torch.full((1, 20), 0.3))
    bad = [name for name, one in zip(NAMES, INPUTS, strict=True) if one[0, 0, 0] > 0]
    shown = ", ".join(f"{name}: {float(sizes):.6g}" for name in bad)
    with pytest.raises(AttackError, match="far returned perturbations larger than its budget") as error:
        Foreign(budget, call=far)(MODEL, INPUTS, LABELS, names=NAMES)
    assert f"(size by clip: {shown})" in str(error.value)


def test_rounding_of_the_sum_is_no_excess():
    """Near 500 numbers of float32 are 3e-5 apart, 3 % of the budget."""
    inputs = (500 + INPUTS).float()
    model = Linear(torch.ones(1, 20))
    result = Foreign(Linf(1e-3), call=step, objective=UP)(model, inputs, LABELS.float())
    assert 0.9e-3 < float(Linf(1).size(result.perturbation).max()) <= 1e-3 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            lambda x: x * float("nan"),
            r"returned perturbations larger than its budget Linf\(epsilon=0.1\) \(size by clip: a: nan",
        ),
        (lambda x: x[0], r"returned \(1, 5, 4\) for clip a: it must return .* of shape \(1, 1, 5, 4\)"),
        (lambda x: None, "returned NoneType for clip a: it must return"),
        (lambda x: x.undefined, r"failed on clip a \(AttributeError: 'Tensor' object has no attribute"),
    ],
)
def test_what_a_function_may_not_return(returned, message):
    with pytest.raises(AttackError, match=f"^mine {message}"):
        Foreign(Linf(0.1), call=lambda model, x, y: returned(x), name="mine")(
            MODEL, INPUTS, LABELS, names=NAMES
        )


def test_random_draws_belong_to_the_example_and_leave_the_callers_alone():
    def chance(model, inputs, labels):
        drawn = torch.rand(1) * np.random.rand() * random.random()  # noqa: NPY002
        return inputs + drawn * model.budget.epsilon * MODEL.weights.sign().view(1, 1, 5, 4)

    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    attack = Foreign(Linf(0.1), call=chance, objective=UP)
    whole = attack(MODEL, INPUTS, LABELS).perturbation
    assert len(set(whole.flatten(1).amax(dim=1).tolist())) == 4
    assert torch.equal(attack(MODEL, INPUTS[2:3], LABELS[2:3]).perturbation, whole[2:3])
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert torch.equal(states[0], after[0])
    assert states[1:] == after[1:]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"call": "mine"}, r"call must be a function \(model, inputs, labels\), got 'mine'"),
        ({"call": lambda model, x, y: x}, "has no name: give name"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        Foreign(Linf(0.1), **settings)


def test_its_description_has_all_but_the_function():
    attack = Foreign(Linf(0.1), call=step, seed=3)
    description = attack.to_dict()
    assert "call" not in description
    assert from_dict(description, call=step) == attack
    with pytest.raises(ConfigError, match=r"Foreign cannot be built: .* 'call'"):
        from_dict(description)


# What a function changes


class Dropping(torch.nn.Module):
    """A linear model, of which dropout leaves half in training mode, and which counts its passes in a buffer."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(20, 1).double()
        self.dropout = torch.nn.Dropout(0.5)
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs):
        return self.layer(self.dropout(inputs.flatten(1)))


def to_training(network):
    network.train()


def to_no_gradients(network):
    torch.set_grad_enabled(False)


def to_doubles(network):
    torch.set_default_dtype(torch.float64)


def to_another_count(network):
    network.passes += 1


def to_a_new_count(network):
    network.passes = network.passes + 1


def to_nan(network):
    network.layer.weight.data.fill_(float("nan"))


def to_smaller(network):
    network.layer.weight.data.mul_(0.5)


def to_another_layer(network):
    network.layer.weight = torch.nn.Parameter(0.5 * network.layer.weight.detach())


def changing(network, change):
    """An attack that raises the prediction, and changes something before it returns."""

    def call(model, inputs, labels):
        points = step(model, inputs, labels)
        change(network)
        return points

    return Foreign(Linf(0.1), call=call, objective=UP)


@pytest.fixture
def settings_of_torch():
    yield
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("settings_of_torch")
@pytest.mark.parametrize(
    "change", [to_training, to_no_gradients, to_doubles, to_another_count, to_a_new_count]
)
def test_what_a_function_leaves_behind_is_gone_after_every_call(change):
    torch.manual_seed(0)
    network = Dropping().eval()
    result = changing(network, change)(network, INPUTS, LABELS)
    with torch.no_grad():
        assert torch.equal(network(result.adversarial), result.adversarial_prediction)
    assert (result.loss > 0).all()
    assert not network.training
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() is torch.float32
    assert network.passes == 0


@pytest.mark.parametrize("change", [to_smaller, to_nan, to_another_layer])
def test_a_function_that_changes_weights_is_refused(change):
    network = Dropping().eval()
    before = network.layer.weight.detach().clone()
    with pytest.raises(AttackError, match=r"^call changed the weights of the model on clip 0: change a copy"):
        changing(network, change)(network, INPUTS, LABELS)
    assert torch.equal(network.layer.weight, before)


@pytest.mark.usefixtures("settings_of_torch")
def test_a_function_that_fails_leaves_nothing_behind_either():
    network = Dropping().eval()
    before = network.layer.weight.detach().clone()

    def failing(network):
        to_smaller(network)
        to_doubles(network)
        raise ValueError("as planted")

    with pytest.raises(AttackError, match="as planted"):
        changing(network, failing)(network, INPUTS, LABELS)
    assert torch.equal(network.layer.weight, before)
    assert torch.get_default_dtype() is torch.float32


# Traces


def wandering(model, inputs, labels):
    """Evaluates half the budget, all of it, and beyond it, and returns a tenth of it."""
    ahead = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model.objective(ahead).sum(), ahead)
    way = model.budget.epsilon * gradient.sign()
    model(torch.cat([inputs + 0.5 * way, inputs + way]))
    model(inputs + 3 * way)
    return inputs + 0.1 * way


def test_a_trace_has_the_points_of_a_function_that_it_may_return():
    result = Foreign(Linf(0.1), call=wandering, objective=UP)(MODEL, INPUTS, LABELS, trace=True)
    assert (result.trace.step[-1] == 4).all()
    gain = result.trace.best[-1] - result.trace.loss[0]
    assert gain.tolist() == pytest.approx([0.1 * DUAL[Linf]] * 4)
    for clip, points in result.trace.frame().groupby("clip"):
        assert points["size"].tolist() == pytest.approx([0, 0, 0.05, 0.1, 0.01]), clip


def test_a_trace_has_no_point_outside_of_the_valid_range():
    # All entries are below the range, so that they may rise and not fall; these steps do both.
    result = Foreign(Linf(0.1), call=wandering, objective=UP)(
        MODEL, INPUTS, LABELS, valid_range=(100.0, 200.0), trace=True
    )
    assert (result.trace.step[-1] == 2).all()


def test_a_trace_takes_points_inside_of_torch_func():
    def climb(model, inputs, labels):
        gradient = torch.func.grad(lambda points: model.objective(points).sum())(inputs)
        return inputs + model.budget.epsilon * gradient.sign()

    result = Foreign(Linf(0.1), call=climb, objective=UP)(MODEL, INPUTS, LABELS, trace=True)
    assert (result.trace.step[-1] == 2).all()
    assert (result.trace.best[-1] - result.trace.loss[0]).tolist() == pytest.approx([0.1 * DUAL[Linf]] * 4)


# Other packages


def package(name):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(name)
    except ImportError:
        pytest.skip(f"{name} is not installed (pip install {name})")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_bounded_attack_of_foolbox_raises_the_objective():
    foolbox = package("foolbox")
    call = from_foolbox(foolbox.attacks.LinfPGD(steps=10, rel_stepsize=0.2, random_start=False))
    result = Foreign(Linf(0.1), call=call, objective=UP)(MODEL, INPUTS, LABELS)
    assert result.loss.tolist() == pytest.approx([0.1 * DUAL[Linf]] * 4, rel=1e-6)
    assert result.gradient_passes.tolist() == [10] * 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_minimal_attack_of_foolbox_stops_where_the_goal_is_reached():
    foolbox = package("foolbox")
    call = from_foolbox(foolbox.attacks.DDNAttack(init_epsilon=0.5, steps=100))
    goal = float(MODEL(INPUTS).detach().abs().max()) + 1
    attack = Foreign(L2(5.0), call=call, objective=AbsoluteError(), stop_at=goal)
    result = attack(MODEL, INPUTS, LABELS)
    least = (goal - MODEL(INPUTS).detach().abs()[:, 0]) / DUAL[L2]
    assert result.converged.all()
    assert L2(1).size(result.perturbation).tolist() == pytest.approx(least.tolist(), rel=0.05)


def test_an_attack_of_torchattacks_is_scaled_to_its_range():
    torchattacks = package("torchattacks")

    def make(model, eps):
        return torchattacks.PGD(model, eps=eps, alpha=eps, steps=5, random_start=False)

    attack = Foreign(Linf(0.1), call=from_torchattacks(make, "torchattacks PGD"), objective=UP)
    result = attack(MODEL, INPUTS, LABELS, valid_range=(-3.0, float("inf")))
    assert result.loss.tolist() == pytest.approx([0.1 * DUAL[Linf]] * 4, rel=1e-5)
    assert result.gradient_passes.tolist() == [5] * 4


def test_other_packages_have_no_budgets_of_waveforms():
    attack = Foreign(SNR(20), call=from_torchattacks(lambda model, eps: None, "none"))
    with pytest.raises(AttackError, match=r"have the budgets Linf\(...\) and L2\(...\), got SNR\(db=20\)"):
        attack(MODEL, INPUTS.flatten(1), LABELS)
