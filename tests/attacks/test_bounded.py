"""What surrounds a search: chance that belongs to the example, batches that shrink, and their counts."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from tenuto.attacks import APGD, FGSM, L2, PGD, Linf, Noise, OneEmotion, Square, SquaredError
from tenuto.attacks.base import Examples
from tenuto.attacks.calling import Evaluator, Outputs
from tenuto.attacks.search import Search, Task, room
from tenuto.errors import AttackError, ConfigError
from tests.attacks.conftest import Linear, random

WEIGHTS = random(2, 12, seed=1)
MODEL = Linear(WEIGHTS)
INPUTS = random(5, 1, 4, 3, seed=2)
LABELS = torch.rand(5, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
ALL = torch.arange(5)


def task(**changes):
    settings = {
        "evaluate": Evaluator(MODEL),
        "examples": Examples.checked(INPUTS, LABELS, None),
        "objective": SquaredError(),
        "budget": Linf(0.1),
        "valid_range": None,
        "room": None,
        "precision": "float32",
        "seed": 0,
        "stop_at": math.inf,
        "progress": lambda done: None,
    }
    return Task(**{**settings, **changes})


class Seen(nn.Module):
    """Remembers the sizes of the batches it was given."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model = model
        self.sizes: list[int] = []

    def forward(self, inputs):
        self.sizes.append(len(inputs))
        return self.model(inputs)


def test_no_batch_is_larger_than_asked_for():
    model = Seen(MODEL)
    APGD(budget=Linf(0.1), steps=4, restarts=2)(model, INPUTS, LABELS, batch_size=2)
    assert set(model.sizes) == {1, 2}


def test_six_examples_are_attacked_together_by_default():
    model = Seen(MODEL)
    FGSM(budget=Linf(0.1))(model, INPUTS.repeat(2, 1, 1, 1)[:7], LABELS.repeat(2, 1)[:7])
    assert set(model.sizes) == {6, 1}


@pytest.mark.parametrize(
    "attack",
    [
        APGD(budget=Linf(0.1), steps=30),
        PGD(budget=Linf(0.1), steps=30),
        Square(budget=Linf(0.1), queries=30),
        Noise(budget=Linf(0.1), draws=30),
    ],
    ids=lambda attack: attack.title,
)
def test_examples_that_reach_the_goal_leave_the_batch(attack):
    goal = float(attack(MODEL, INPUTS, LABELS).loss.median()) * 0.99
    model = Seen(MODEL)
    result = dataclasses.replace(attack, stop_at=goal)(model, INPUTS, LABELS)
    assert min(model.sizes) < 5
    assert sum(model.sizes) == int(result.forward_passes.sum())
    assert result.iterations[result.converged].min() < attack.iterations
    assert (result.iterations[~result.converged] == attack.iterations).all()


def test_an_example_draws_the_same_wherever_it_stands():
    drawn = Search(task()).uniform(ALL)
    turned = Search(task(examples=Examples.checked(INPUTS.flip(0), LABELS, None))).uniform(ALL)
    assert torch.equal(drawn.flip(0), turned)


def test_examples_draw_differently():
    drawn = Search(task()).uniform(ALL)
    assert len({tuple(row) for row in drawn.flatten(1).tolist()}) == 5


def test_an_example_draws_on_whoever_else_draws():
    search, other = Search(task()), Search(task())
    for _ in range(3):
        whole = search.uniform(ALL)
    other.uniform(ALL)
    other.uniform(torch.tensor([1, 3]))
    assert torch.equal(other.uniform(torch.tensor([3])), whole[3:4])


def test_draws_fill_minus_one_to_one():
    drawn = torch.stack([Search(task(seed=seed)).uniform(ALL) for seed in range(100)])
    assert drawn.min() >= -1
    assert drawn.max() <= 1
    assert abs(float(drawn.mean())) < 3 / (3 * len(drawn.flatten())) ** 0.5
    assert float(drawn.square().mean()) == pytest.approx(1 / 3, abs=0.02)


def test_a_given_start_comes_before_a_random_one():
    start = torch.full_like(INPUTS, 0.05)
    examples = Examples.checked(INPUTS, LABELS, start=start)
    search = Search(task(objective=SquaredError(against="clean"), examples=examples))
    assert torch.equal(search.first(ALL, scattered=False), start)


def test_a_scattered_attack_begins_at_the_start_it_is_given():
    optimum = 0.1 * WEIGHTS[0].sign().view(1, 1, 4, 3).expand_as(INPUTS)
    attack = PGD(budget=Linf(0.1), objective=OneEmotion(0), steps=1, step_size=1e-9, scattered=True)
    result = attack(MODEL, INPUTS, LABELS, start=optimum)
    assert result.loss.tolist() == pytest.approx([0.1 * float(WEIGHTS[0].norm(p=1))] * 5)


def test_the_best_of_every_example_is_remembered():
    search = Search(task(objective=OneEmotion(0)))
    one, other = torch.zeros_like(INPUTS), torch.zeros_like(INPUTS)
    one[0, 0, 0, 0] = other[1, 0, 0, 0] = 0.1 * float(WEIGHTS[0, 0].sign())
    search.values(one, ALL)
    search.values(other, ALL)
    assert torch.equal(search.delta, one + other)


def test_the_room_ends_where_the_valid_range_does():
    result = room(torch.tensor([-0.5, 0.25, 2.0]), (0.0, 1.0))
    assert result is not None
    assert [end.tolist() for end in result] == [[0.0, -0.25, -2.0], [1.5, 0.75, 0.0]]


def test_a_model_without_a_gradient_can_be_searched():
    result = Square(budget=Linf(0.1), queries=5)(lambda inputs: MODEL(inputs).detach(), INPUTS, LABELS)
    assert result.perturbation.any()


def test_a_clip_of_a_later_batch_is_refused_by_its_own_name():
    def broken(inputs):
        return MODEL(inputs).masked_fill(
            (inputs.detach() == INPUTS[4]).flatten(1).all(dim=1)[:, None], math.nan
        )

    with pytest.raises(AttackError, match="prediction for clip e is not finite"):
        FGSM(budget=Linf(0.1))(broken, INPUTS, LABELS, names="abcde", batch_size=3)


class Bottleneck(torch.nn.Module):
    """Concepts are the first two inputs, emotions their sum and difference."""

    def forward(self, inputs):
        concepts = inputs.flatten(1)[:, :2]
        return Outputs(torch.stack([concepts.sum(1), concepts[:, 0] - concepts[:, 1]], dim=1), concepts)


def test_concepts_belong_to_the_same_inputs():
    inputs, labels = torch.rand(3, 1, 2, 2), torch.zeros(3, 2)
    result = APGD(budget=Linf(0.1), steps=3)(Bottleneck(), inputs, labels, batch_size=2)
    assert result.clean_concepts is not None
    assert result.adversarial_concepts is not None
    assert torch.equal(result.clean_concepts, inputs.flatten(1)[:, :2])
    assert torch.equal(result.adversarial_concepts, (inputs + result.perturbation).flatten(1)[:, :2])


def test_a_model_without_a_bottleneck_has_no_concepts():
    result = FGSM(budget=Linf(0.1))(lambda x: x.flatten(1), torch.rand(2, 1, 1, 3), torch.zeros(2, 3))
    assert result.clean_concepts is None
    assert result.adversarial_concepts is None


def test_a_caller_s_autocast_does_not_reach_the_returned_prediction():
    torch.manual_seed(0)
    model, inputs, labels = torch.nn.Linear(40, 3), torch.randn(4, 40), torch.rand(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        result = FGSM(budget=Linf(0.1))(model, inputs, labels)
    with torch.no_grad():
        assert torch.equal(result.adversarial_prediction, model(inputs + result.perturbation))


@pytest.mark.parametrize("budget", [Linf(1e-3), L2(1e-3)])
def test_inputs_that_round_the_perturbation_away_are_refused(budget):
    model, labels = Linear(WEIGHTS.float()), LABELS.float()
    inputs = INPUTS.float()
    inputs[3] += 1e4
    with pytest.raises(AttackError, match=r"inputs of clip 3 are so large that torch.float32 rounds away"):
        PGD(budget, steps=2)(model, inputs, labels)
    PGD(budget, steps=2)(Linear(WEIGHTS), inputs.double(), LABELS)
    PGD(budget.of(1.0), steps=2)(model, inputs, labels)


def test_a_setting_with_another_default_keeps_its_check():
    @dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
    class Longer(PGD):
        steps: int = 100

    assert Longer(Linf(0.1)).steps == 100
    with pytest.raises(ConfigError, match="steps must be a whole number of at least 0"):
        Longer(Linf(0.1), steps=-1)
