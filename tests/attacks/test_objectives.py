"""Objectives: their values, their gradients, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch

from tenuto import metrics
from tenuto.attacks import (
    AbsoluteError,
    ConceptsMove,
    Correlation,
    EachEmotion,
    EmotionsMove,
    Huber,
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
    ("objective", "wanted"),
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
        (ConceptsMove(keep=2.0), [0.04 - 2 * 0.07, 0.08 - 2 * 0.12]),
        (EmotionsMove(keep=2.0), [0.07 - 2 * 0.04, 0.12 - 2 * 0.08]),
    ],
    ids=repr,
)
def test_known_values(objective, wanted):
    assert value(objective) == pytest.approx(wanted)


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


def test_other_objectives_stand_for_themselves():
    assert SquaredError().each(8) == (SquaredError(),)


def test_each_emotion_cannot_be_attacked_itself():
    with pytest.raises(AttackError, match="stands for several objectives"):
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
    with pytest.raises(AttackError, match="attack one with a bottleneck"):
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
        (SquaredError, {"against": "labels"}, "against is 'labels', wanted 'label' or 'clean'"),
        (SquaredError, {"scale": (1.0, 0.0)}, r"scale is \(1.0, 0.0\), wanted None or"),
        (Huber, {"delta": 0.0}, "delta is 0.0, wanted a number above 0"),
        (Target, {"profile": (None, None)}, "wanted a number or None per emotion, one at least"),
        (Target, {"profile": (0.5, math.nan)}, "wanted a number or None per emotion"),
        (OneEmotion, {"index": -1}, "index is -1, wanted the place of an emotion"),
        (OneEmotion, {"index": 0, "keep": -1.0}, "keep is -1.0, wanted a number from 0 on"),
        (EachEmotion, {"keep": -1.0}, "keep is -1.0, wanted a number from 0 on"),
        (ConceptsMove, {"keep": math.inf}, "keep is inf, wanted a number from 0 on"),
        (EmotionsMove, {"keep": -1.0}, "keep is -1.0, wanted a number from 0 on"),
    ],
)
def test_settings_are_checked(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        kind(**settings)
