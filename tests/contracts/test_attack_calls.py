"""One contract over every attack: progress, counts, refusals, printing, precision."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import pytest
import torch

import tenuto.attacks
from tenuto.attacks import (
    APGD,
    FGSM,
    PGD,
    Attack,
    Described,
    Foreign,
    Linf,
    Minimal,
    Noise,
    Objective,
    Square,
    Target,
    Transfer,
    Unbounded,
    from_dict,
)
from tenuto.errors import AttackError, ConfigError
from tests.attacks.conftest import Counting
from tests.contracts.attack_families import (
    FAMILIES,
    MODEL,
    SIBLING,
    Excerpts,
    bounded,
    families,
    identity,
    norms,
    pairs,
    shake,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("size", [2, 3])
@families()
def test_progress_adds_up(family, budget, size, inputs, labels):
    attack = family.make(budget)
    done: list[int] = []
    attack(MODEL, inputs, labels, batch_size=size, progress=done.append)
    assert sum(done) == 3 * attack.iterations


@families()
def test_passes_are_counted(family, budget, inputs, labels):
    attack = family.make(budget)
    for row in range(3):
        model = Counting(MODEL)
        result = attack(model, inputs[row : row + 1], labels[row : row + 1])
        assert result.forward_passes.tolist() == [model.forwards]
        assert result.gradient_passes.tolist() == [model.gradients]


@pytest.mark.parametrize("goal", [-1.0, 0.6, 1.1])
@families(lambda family: family.stops)
def test_progress_and_passes_add_up_where_examples_finish_early(family, budget, goal, inputs, labels):
    attack, model = family.make(budget, stop_at=goal), Counting(MODEL)
    done: list[int] = []
    result = attack(model, inputs, labels, progress=done.append)
    assert sum(done) == 3 * attack.iterations
    assert (result.iterations <= attack.iterations).all()
    assert int(result.forward_passes.sum()) == model.forwards
    assert int(result.gradient_passes.sum()) == model.gradients
    if goal < 0:  # which every clean input reaches
        assert identity(result)
        assert result.converged.all()


@families()
def test_an_objective_that_overflows_is_refused_by_name(family, budget, inputs, labels):
    labels = labels.float()
    labels[1] = 3e30  # finite, and its square is not
    what = "objective" if family.is_bounded else "squared error"
    with pytest.raises(AttackError, match=f"The {what} for clip 007 is not finite"):
        family.make(budget)(
            lambda x: MODEL(x.double()).emotions.float(), inputs.float(), labels, names=["006", "007", "008"]
        )


def test_an_overflowing_correlation_is_no_correlation_of_zero(inputs, labels):
    attack = FGSM(Linf(0.1), objective=tenuto.attacks.Correlation())
    with pytest.raises(AttackError, match="The objective for clips 0, 1, 2 is not finite"):
        attack(lambda x: MODEL(x.double()).emotions.float() * 1e20, inputs.float(), labels.float() * 1e15)


def test_an_objective_must_return_one_value_per_example(inputs, labels):
    class Whole(Objective):
        def __call__(self, outputs, situation):
            return outputs.emotions.sum()

        def title(self, emotions=None):
            return "whole"

    with pytest.raises(AttackError, match=r"returned shape \(\). It must return one value per example"):
        FGSM(Linf(0.1), objective=Whole())(MODEL, inputs, labels)


def test_unusable_arguments_are_refused(inputs, labels):
    attack = FGSM(Linf(0.1))
    with pytest.raises(ConfigError, match=r"valid_range must be \(lowest, highest\), got \(1.0, 0.0\)"):
        attack(MODEL, inputs, labels, valid_range=(1.0, 0.0))
    ranges: tuple[Any, ...] = (
        (0.0, 0.0),
        (0.0, math.nan),
        (None, 1.0),
        1.0,
        (inputs, inputs + 1),
        ("low", "high"),
    )
    for unusable in ranges:
        with pytest.raises(ConfigError, match=r"valid_range must be \(lowest, highest\), got .*-inf or inf"):
            attack(MODEL, inputs, labels, valid_range=unusable)
    with pytest.raises(
        AttackError, match=r"start has shape \(2, 1, 4, 3\), but the inputs have \(3, 1, 4, 3\)"
    ):
        attack(MODEL, inputs, labels, start=inputs[:2])
    with pytest.raises(AttackError, match=r"perturbations of start must be .* got a ndarray"):
        attack(MODEL, inputs, labels, start=inputs.numpy())
    with pytest.raises(AttackError, match="perturbations of start of clips 0, 1, 2 contain NaN"):
        attack(MODEL, inputs, labels, start=inputs * math.nan)
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(AttackError, match=r"too coarse for a budget: convert with .float\(\)"):
            attack(MODEL, inputs.to(dtype), labels)


@pytest.mark.parametrize("count", [1, 2])
@families()
def test_two_outputs_have_no_correlation(family, budget, count, inputs, labels):
    own = {Described: {"measure": "corr"}}.get(family.kind, {"objective": tenuto.attacks.Correlation()})
    attack = family.make(budget, **own) if family.is_bounded else family.kind()
    with pytest.raises(
        AttackError, match=r"fewer than 3 outputs is always -1 or 1.*: use (Abs|measure='mse')"
    ):
        attack(lambda x: MODEL(x).emotions[:, :count], inputs, labels[:, :count])


@families(lambda family: family.kind is not Transfer)
def test_it_can_be_sent_to_another_process(family, budget):
    made = family.make(budget, seed=3)
    assert pickle.loads(pickle.dumps(made)) == made


def evaluated(text):
    return eval(text, {name: getattr(tenuto.attacks, name) for name in tenuto.attacks.__all__})


@pairs(lambda family: family.kind not in (Transfer, Foreign))
def test_it_prints_as_the_call_that_made_it(family, budget):
    made = family.make(budget, seed=3)
    assert evaluated(repr(made)) == made


@pairs()
def test_it_is_rebuilt_from_json(family, budget):
    made = family.make(budget, seed=3)
    models: dict[type[Attack], dict[str, Any]] = {Transfer: {"source": SIBLING}, Foreign: {"call": shake}}
    parts = models.get(family.kind, {})
    assert from_dict(json.loads(json.dumps(made.to_dict())), **parts) == made


@families()
def test_rows_are_formed_from_attributes(family, budget):
    made: Attack = family.make(budget)
    assert (made.norm, made.epsilon) == (budget.norm, budget.epsilon)
    assert made.title
    assert made.objective_title(("a", "b", "c", "d"))
    assert made.uses_label is True
    access = {Noise: "black-box", Square: "black-box", Transfer: "transfer", Foreign: "foreign"}
    assert made.access == access.get(family.kind, "gradient")


@families()
def test_results_print_in_one_line(family, budget, inputs, labels):
    printed = repr(family.make(budget)(MODEL, inputs, labels))
    assert "(3 examples, mean loss" in printed
    assert len(printed) < 200


def test_other_prints():
    assert repr(APGD(Linf(0.1))) == "APGD(budget=Linf(epsilon=0.1))"
    made = PGD(Unbounded(), objective=Target((None, 0.5)), step_size=0.1)
    assert evaluated(repr(made)) == made
    attack = Transfer(Linf(0.1), source=SIBLING, name="A2E-21")
    assert repr(attack) == "Transfer(budget=Linf(epsilon=0.1), name='A2E-21')"


class Watched(Excerpts):
    """Remembers in which precision it was evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.lower: list[bool] = []

    def forward(self, excerpts):
        self.lower.append(torch.is_autocast_enabled("cpu"))
        return super().forward(excerpts)


@families(bounded)
def test_a_search_in_bfloat16_ends_in_float32(family, budget, excerpts):
    model, plain = Watched(), Excerpts()
    plain.load_state_dict(model.state_dict())
    settings = {"source": plain} if family.kind is Transfer else {}
    result = family.make(budget, precision="bfloat16", **settings)(model, *excerpts)
    assert not model.lower[0]  # the clean prediction
    searched = model.lower[1:-1]
    assert searched[0]
    # The last part of a minimal search decides what reaches the goal, which is judged in float32.
    is_minimal = family.kind is Minimal or family is FAMILIES["DDN to a goal"]
    assert searched == sorted(searched, reverse=True) if is_minimal else all(searched)
    assert not model.lower[-1]  # what is returned
    with torch.no_grad():
        assert torch.equal(result.adversarial_prediction, plain(result.adversarial))
    assert result.adversarial_prediction.dtype == result.perturbation.dtype == torch.float32


def test_without_a_budget_steps_alone_limit_the_perturbation(inputs, labels):
    result = PGD(Unbounded(), steps=5, step_size=0.5)(MODEL, inputs, labels)
    assert norms(result.perturbation, "linf", inputs).max() > 1
    assert result.loss.min() > 0


@pytest.mark.parametrize(
    "kind", [FGSM, APGD, Noise, Minimal, Transfer, Square], ids=lambda kind: kind.__name__
)
def test_families_whose_steps_follow_epsilon_require_one(kind):
    settings = {"goal": 1.0} if kind is Minimal else {"source": MODEL} if kind is Transfer else {}
    with pytest.raises(ConfigError, match=r"limited budget|budgets of the norms"):
        kind(Unbounded(), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0.1}, r"budget must be a Budget such as Linf\(0.05\), got 0.1"),
        ({"objective": "error"}, r"objective must be an Objective such as AbsoluteError\(\), got 'error'"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"seed": 10**23}, "seed must be a whole number of at least 0 and at most 9"),
        ({"stop_at": math.nan}, "stop_at must be None or a number, got nan"),
        ({"precision": "float16"}, "precision must be 'float32' or 'bfloat16', got 'float16'"),
    ],
)
def test_settings_that_all_share_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        FGSM(**{"budget": Linf(0.1), **settings})


@pytest.mark.parametrize("family", [FAMILIES["Minimal"], FAMILIES["Described"]], ids=["Minimal", "Described"])
def test_families_with_an_end_of_their_own_take_no_stop_at(family):
    with pytest.raises(ConfigError, match="has no stop_at"):
        family.make(Linf(0.1), stop_at=1.0)


@pytest.mark.parametrize(
    "family", [FAMILIES["Described"], FAMILIES["Released"]], ids=["Described", "Released"]
)
def test_the_attacks_of_the_study_begin_at_zero(family, inputs, labels):
    with pytest.raises(AttackError, match="leave start out"):
        family.make(family.budgets[0])(MODEL, inputs, labels, start=torch.zeros_like(inputs))


def test_the_released_attack_has_no_valid_range(inputs, labels):
    with pytest.raises(AttackError, match="has no valid_range"):
        tenuto.attacks.ReleasedAttack()(MODEL, inputs, labels, valid_range=(0, 1))
