"""Objectives: their values, their gradients, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch

from tenuto import metrics
from tenuto.attacks import (
    APGD,
    AbsoluteError,
    ConceptsMove,
    Correlation,
    EachEmotion,
    EmotionsMove,
    Huber,
    Linf,
    Objective,
    OneConcept,
    OneEmotion,
    Outputs,
    Situation,
    SquaredError,
    Target,
)
from tenuto.errors import AttackError, ConfigError

FOUND = torch.tensor([[0.5, 0.2, 1.4], [0.1, 0.9, 0.3]], dtype=torch.float64)
LABELS = torch.tensor([[0.1, 0.4, 0.9], [0.6, 0.4, 0.2]], dtype=torch.float64)
CLEAN = torch.tensor([[0.4, 0.4, 1.0], [0.5, 0.5, 0.5]], dtype=torch.float64)
CONCEPTS = torch.tensor([[0.2, 0.3], [0.7, 0.1]], dtype=torch.float64)
CLEAN_CONCEPTS = torch.tensor([[0.0, 0.1], [0.7, 0.5]], dtype=torch.float64)
SITUATION = Situation(LABELS, Outputs(CLEAN, CLEAN_CONCEPTS))


def value(objective, emotions=FOUND, concepts=CONCEPTS, situation=SITUATION):
    return objective(Outputs(emotions, concepts), situation).tolist()


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (SquaredError(), [(0.16 + 0.04 + 0.25) / 3, (0.25 + 0.25 + 0.01) / 3]),
        (SquaredError(against="clean"), [(0.01 + 0.04 + 0.16) / 3, (0.16 + 0.16 + 0.04) / 3]),
        (SquaredError(scale=(0.0, 1.0)), [(0.16 + 0.04 + 0.01) / 3, (0.25 + 0.25 + 0.01) / 3]),
        (AbsoluteError(), [(0.4 + 0.2 + 0.5) / 3, (0.5 + 0.5 + 0.1) / 3]),
        (AbsoluteError(against="clean", scale=(0.0, 1.0)), [(0.1 + 0.2 + 0.0) / 3, (0.4 + 0.4 + 0.2) / 3]),
        # delta (|e| - delta / 2) beyond delta, e squared / 2 within
        (Huber(delta=0.3), [(0.3 * 0.25 + 0.02 + 0.3 * 0.35) / 3, (2 * 0.3 * 0.35 + 0.005) / 3]),
        (Target((None, 0.0, 1.0)), [-(0.04 + 0.16) / 2, -(0.81 + 0.49) / 2]),
        (OneEmotion(2), [0.4, -0.2]),
        (OneEmotion(2, up=False), [-0.4, 0.2]),
        (OneEmotion(2, keep=10.0), [0.4 - 10 * (0.01 + 0.04) / 2, -0.2 - 10 * (0.16 + 0.16) / 2]),
        (ConceptsMove(keep=2.0), [0.04**0.5 - 2 * 0.07, 0.08**0.5 - 2 * 0.12]),
        (EmotionsMove(keep=2.0), [0.07**0.5 - 2 * 0.04, 0.12**0.5 - 2 * 0.08]),
        (OneConcept(1, keep=2.0), [0.2 - 2 * 0.07, -0.4 - 2 * 0.12]),
        (OneConcept(1, up=False, keep=0), [-0.2, 0.4]),
    ],
    ids=repr,
)
def test_known_values(objective, expected):
    assert value(objective) == pytest.approx(expected)


def test_one_concept_moves_by_the_whole_budget_while_the_emotion_that_depends_on_it_stays():
    def model(inputs):  # the emotion is the sum of two concepts: the second can compensate the first
        concepts = inputs.flatten(1)
        return Outputs(concepts.sum(dim=1, keepdim=True), concepts)

    result = APGD(Linf(0.1), objective=OneConcept(0))(model, torch.zeros(1, 1, 1, 2), torch.zeros(1, 1))
    assert result.adversarial_concepts is not None
    assert result.adversarial_concepts.tolist() == [pytest.approx([0.1, -0.1])]
    assert result.adversarial_prediction.abs().max() < 1e-6


def test_correlation_is_minus_pearsons_r():
    assert value(Correlation()) == pytest.approx(-metrics.pearson(LABELS.numpy().T, FOUND.numpy().T))


@pytest.mark.parametrize("constant", ["emotions", "labels"])
def test_a_constant_has_no_correlation(constant):
    flat = torch.full_like(FOUND, 0.5)
    if constant == "emotions":
        assert value(Correlation(), emotions=flat) == [0.0, 0.0]
    else:
        assert value(Correlation(), situation=Situation(flat, SITUATION.clean)) == [0.0, 0.0]


@pytest.mark.parametrize(
    "objective",
    [
        SquaredError(),
        SquaredError(scale=(0.0, 1.0)),
        AbsoluteError(),
        Correlation(),
        Correlation(against="clean"),
        Huber(),
        Huber(delta=0.3, against="clean"),
        Target((None, 0.25, 1.0)),
        OneEmotion(1, up=False, keep=3.0),
        ConceptsMove(),
        EmotionsMove(),
        OneConcept(0),
    ],
    ids=repr,
)
def test_the_gradient_is_that_of_finite_differences(objective):
    situation = Situation(LABELS, Outputs(CLEAN + 0.03, CLEAN_CONCEPTS + 0.03))  # beside every kink

    def function(emotions, concepts):
        return objective(Outputs(emotions, concepts), situation)

    points = (FOUND.clone().requires_grad_(), CONCEPTS.clone().requires_grad_())
    assert torch.autograd.gradcheck(function, points)


def test_beyond_the_scale_there_is_nothing_to_gain():
    emotions = FOUND.clone().requires_grad_()
    SquaredError(scale=(0.0, 1.0))(Outputs(emotions, None), SITUATION).sum().backward()
    assert emotions.grad[0, 2] == 0
    assert (emotions.grad[:, :2] != 0).all()


@pytest.mark.parametrize(
    ("objective", "flat"),
    [
        (SquaredError(), False),
        (SquaredError(against="clean"), True),
        (Correlation(against="clean"), True),
        (ConceptsMove(), True),
        (EmotionsMove(), True),
        (OneEmotion(0), False),
        (Target((0.5,)), False),
    ],
    ids=repr,
)
def test_which_objectives_have_no_gradient_at_the_clean_input(objective, flat):
    assert objective.flat_at_clean == flat


def test_each_emotion_stands_for_every_emotion_up_and_down():
    assert EachEmotion(keep=2.0).each(2) == (
        OneEmotion(0, True, 2.0),
        OneEmotion(0, False, 2.0),
        OneEmotion(1, True, 2.0),
        OneEmotion(1, False, 2.0),
    )


def test_each_emotion_cannot_be_attacked_itself():
    with pytest.raises(AttackError, match="consists of several objectives"):
        value(EachEmotion())


@pytest.mark.parametrize(
    ("objective", "title"),
    [
        (SquaredError(), "squared error"),
        (AbsoluteError(against="clean"), "absolute error from clean"),
        (Huber(scale=(0.1, 0.9)), "huber clipped"),
        (Correlation(against="clean", scale=(0.1, 0.9)), "correlation from clean clipped"),
        (Target((None, 0.8, 0.1)), "target happy 0.8 sad 0.1"),
        (OneEmotion(1), "happy up"),
        (OneEmotion(2, up=False, keep=1.0), "sad down alone"),
        (EachEmotion(), "each emotion up and down"),
        (ConceptsMove(), "concepts move emotions stay"),
        (EmotionsMove(), "emotions move concepts stay"),
    ],
    ids=repr,
)
def test_titles(objective, title):
    assert objective.title(("fear", "happy", "sad")) == title


def test_emotions_without_names_are_numbered():
    assert OneEmotion(2).title() == "emotion 2 up"
    assert Target((None, 0.5)).title() == "target emotion 1 0.5"


@pytest.mark.parametrize("objective", [ConceptsMove(), EmotionsMove()], ids=repr)
def test_a_model_without_concepts_is_refused(objective):
    with pytest.raises(AttackError, match="attack a model with a bottleneck"):
        value(objective, concepts=None)


def test_an_emotion_the_model_does_not_have_is_refused():
    with pytest.raises(AttackError, match="There is no emotion 3: the model has 3"):
        value(OneEmotion(3))


def test_a_profile_of_another_length_is_refused():
    with pytest.raises(AttackError, match="profile has 2 values and the model 3 emotions"):
        value(Target((0.5, 0.5)))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (SquaredError, {"against": "labels"}, "against must be 'label' or 'clean', got 'labels'"),
        (SquaredError, {"scale": (1.0, 0.0)}, r"scale must be None or \(lowest, highest\), got \(1.0, 0.0\)"),
        (Huber, {"delta": 0.0}, "delta must be a number from 1e-30"),
        (Target, {"profile": (None, None)}, "a tuple with a number or None per emotion, at least one number"),
        (Target, {"profile": (0.5, math.nan)}, "a number or None per emotion"),
        (OneEmotion, {"index": -1}, "index must be a whole number of at least 0, got -1"),
        (SquaredError, {"scale": "ab"}, "scale must be None or"),
        (Target, {"profile": 0.5}, "a tuple with a number or None per emotion"),
        (OneEmotion, {"index": 0, "up": "no"}, "up must be true or false, got 'no'"),
        (OneEmotion, {"index": 0, "keep": -1.0}, "keep must be a number from 0 to"),
        (EachEmotion, {"keep": -1.0}, "keep must be a number from 0 to"),
        (ConceptsMove, {"keep": math.inf}, "keep must be a number from 0 to"),
        (EmotionsMove, {"keep": -1.0}, "keep must be a number from 0 to"),
    ],
)
def test_settings_are_checked(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        kind(**settings)


@pytest.mark.parametrize(
    ("objective", "uses_label"),
    [
        (SquaredError(), True),
        (Huber(against="clean"), False),
        (Correlation(), True),
        *[
            (one, False)
            for one in (Target((0.5,)), OneEmotion(0), EachEmotion(), ConceptsMove(), EmotionsMove())
        ],
    ],
    ids=repr,
)
def test_which_objectives_compare_with_labels(objective, uses_label):
    assert objective.uses_label is uses_label


def test_an_objective_that_does_not_say_whether_it_uses_labels():
    class Own(Objective):
        def __call__(self, outputs, situation):
            return outputs.emotions[:, 0]

        def title(self, emotions=None):
            return "squared error"

    assert APGD(Linf(0.1), objective=Own()).uses_label is None


@pytest.mark.parametrize("count", [1, 2])
def test_a_correlation_across_fewer_than_three_emotions_is_refused(count):
    situation = Situation(LABELS[:, :count], Outputs(CLEAN[:, :count], None))
    with pytest.raises(AttackError, match=f"has {count} output.*use AbsoluteError or SquaredError"):
        value(Correlation(), emotions=FOUND[:, :count], situation=situation)
