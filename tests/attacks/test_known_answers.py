"""Where the optimum is known: linear models in closed form, bottlenecks by their meaning, a planted mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tenuto.attacks import (
    APGD,
    FGSM,
    L2,
    PGD,
    SNR,
    Amplitude,
    ConceptsMove,
    EmotionsMove,
    Linf,
    Noise,
    OneEmotion,
    Square,
    SquaredError,
    Target,
    Transfer,
)
from tests.attacks.conftest import Bottleneck, Linear, random

WEIGHTS = random(3, 20, seed=11)
MODEL = Linear(WEIGHTS)
INPUTS = random(4, 1, 5, 4, seed=12)
WAVEFORMS = INPUTS.flatten(1)
LABELS = torch.rand(4, 3, generator=torch.Generator().manual_seed(13), dtype=torch.float64)
CLEAN = MODEL(INPUTS).detach()
EPSILON = 0.05
BUDGETS = (Linf(EPSILON), L2(EPSILON))

ASCENTS = {
    "FGSM": lambda **rest: FGSM(**rest),
    "PGD": lambda **rest: PGD(steps=40, momentum=0.3, restarts=2, **rest),
    "APGD": lambda **rest: APGD(steps=30, **rest),
    "Transfer from itself": lambda **rest: Transfer(source=MODEL, steps=30, **rest),
}
STEPWISE = {name: make for name, make in ASCENTS.items() if name != "FGSM"}


def reach(budget, row=0):
    """How far a linear output can move: epsilon times the dual norm of its weights."""
    dual = 1 if isinstance(budget, Linf) else 2
    return budget.epsilon * float(WEIGHTS[row].norm(p=dual))


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
@pytest.mark.parametrize("make", ASCENTS.values(), ids=ASCENTS)
def test_one_emotion_moves_as_far_as_it_can(make, budget, up):
    result = make(budget=budget, objective=OneEmotion(1, up))(MODEL, INPUTS, LABELS)
    assert result.loss.tolist() == pytest.approx([reach(budget, 1)] * 4, rel=1e-9)
    moved = (result.adversarial_prediction - result.clean_prediction)[:, 1]
    assert moved.tolist() == pytest.approx([reach(budget, 1) * (1 if up else -1)] * 4, rel=1e-9)


@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
@pytest.mark.parametrize("make", ASCENTS.values(), ids=ASCENTS)
def test_the_squared_error_of_one_output_grows_as_far_as_it_can(make, budget):
    model = Linear(WEIGHTS[:1])
    attack = make(budget=budget)
    if isinstance(attack, Transfer):
        attack = Transfer(budget=budget, source=model, steps=30)
    result = attack(model, INPUTS, LABELS[:, :1])
    expected = ((CLEAN[:, 0] - LABELS[:, 0]).abs() + reach(budget)).square()
    assert result.loss.tolist() == pytest.approx(expected.tolist(), rel=1e-9)


@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
@pytest.mark.parametrize("make", ASCENTS.values(), ids=ASCENTS)
def test_a_target_out_of_reach_is_approached_as_far_as_possible(make, budget):
    aim = float(CLEAN[:, 2].max()) + 2 * reach(budget, 2)
    result = make(budget=budget, objective=Target((None, None, aim)))(MODEL, INPUTS, LABELS)
    left = aim - CLEAN[:, 2] - reach(budget, 2)
    assert result.loss.tolist() == pytest.approx((-left.square()).tolist(), rel=1e-9)


@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
def test_a_target_within_reach_is_reached(budget):
    clean = CLEAN[:1]
    aim = float(clean[0, 2]) + 0.6 * reach(budget, 2)
    attack = APGD(budget=budget, objective=Target((None, None, aim)), steps=60)
    result = attack(MODEL, INPUTS[:1], LABELS[:1])
    assert float(result.adversarial_prediction[0, 2]) == pytest.approx(aim, abs=0.002 * reach(budget, 2))


def sound_reach(budget, row=0):
    """The same for budgets of waveforms, each example's own."""
    if isinstance(budget, Amplitude):
        return torch.full((4,), reach(budget, row), dtype=torch.float64)
    return budget.epsilon * WAVEFORMS.norm(dim=1) * WEIGHTS[row].norm(p=2)


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("budget", [SNR(40), SNR(6.5), Amplitude(EPSILON)], ids=repr)
@pytest.mark.parametrize("make", ASCENTS.values(), ids=ASCENTS)
def test_a_waveform_moves_one_emotion_as_far_as_its_budget_allows(make, budget, up):
    result = make(budget=budget, objective=OneEmotion(1, up))(MODEL, WAVEFORMS, LABELS)
    assert result.loss.tolist() == pytest.approx(sound_reach(budget, 1).tolist(), rel=1e-9)
    direction = WEIGHTS[1].sign() if isinstance(budget, Amplitude) else WEIGHTS[1] / WEIGHTS[1].norm()
    cosine = torch.nn.functional.cosine_similarity(result.perturbation, direction.expand(4, -1))
    assert cosine.tolist() == pytest.approx([1.0 if up else -1.0] * 4, abs=1e-9)


@pytest.mark.parametrize("budget", [SNR(40), Amplitude(EPSILON)], ids=repr)
def test_the_error_on_a_waveform_grows_as_far_as_its_budget_allows(budget):
    model = Linear(WEIGHTS[:1])
    result = APGD(budget, steps=30)(model, WAVEFORMS, LABELS[:, :1])
    expected = ((CLEAN[:, 0] - LABELS[:, 0]).abs() + sound_reach(budget)).square()
    assert result.loss.tolist() == pytest.approx(expected.tolist(), rel=1e-9)


@pytest.mark.parametrize("budget", [SNR(10), Amplitude(EPSILON)], ids=repr)
@pytest.mark.parametrize("kind", ["uniform", "gaussian", "sign"])
def test_noise_on_a_waveform_stays_below_the_optimum(kind, budget):
    attack = Noise(budget, objective=OneEmotion(0), kind=kind, draws=20)
    share = attack(MODEL, WAVEFORMS, LABELS).loss / sound_reach(budget)
    assert share.min() > 0
    assert share.max() < 0.9


@pytest.mark.parametrize("inputs", [INPUTS, WAVEFORMS], ids=["plane", "waveform"])
@pytest.mark.parametrize(
    ("budget", "queries", "least"), [(Linf(EPSILON), 200, 0.9), (L2(EPSILON), 600, 0.7)], ids=repr
)
def test_square_comes_near_the_optimum(budget, queries, least, inputs):
    attack = Square(budget, objective=OneEmotion(0), queries=queries)
    share = attack(MODEL, inputs, LABELS).loss / reach(budget)
    assert share.min() > least
    assert share.max() <= 1 + 1e-9


def test_square_comes_near_the_optimum_of_an_snr():
    attack = Square(SNR(20), objective=OneEmotion(0), queries=200)
    share = attack(MODEL, WAVEFORMS, LABELS).loss / sound_reach(SNR(20))
    assert share.min() > 0.7
    assert share.max() <= 1 + 1e-9


@pytest.mark.parametrize("kind", ["uniform", "gaussian", "sign"])
@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
def test_noise_stays_below_the_optimum(kind, budget):
    attack = Noise(budget=budget, objective=OneEmotion(0), kind=kind, draws=20)
    share = attack(MODEL, INPUTS, LABELS).loss / reach(budget)
    assert share.min() > 0
    assert share.max() < 0.9


def test_more_draws_are_never_weaker():
    few, many = (Noise(budget=Linf(EPSILON), draws=draws)(MODEL, INPUTS, LABELS).loss for draws in (3, 30))
    assert (many >= few).all()
    assert (many > few).any()


@pytest.mark.parametrize("against", ["clean", "label"])
@pytest.mark.parametrize("make", STEPWISE.values(), ids=STEPWISE)
def test_starting_beside_the_flat_point_the_distance_from_clean_grows_as_far_as_it_can(make, against):
    # From the clean output either side is as good: every output moves up or down by its reach.
    budget = Linf(EPSILON)
    model = Linear(WEIGHTS[:1])
    attack = make(budget=budget, objective=SquaredError(against=against))
    if isinstance(attack, Transfer):
        attack = Transfer(budget=budget, objective=attack.objective, source=model, steps=30)
    result = attack(model, INPUTS, model(INPUTS))
    assert result.loss.tolist() == pytest.approx([reach(budget) ** 2] * 4, rel=1e-9)


def drift(result):
    """Root mean squared change of the emotions, per example."""
    return (result.adversarial_prediction - result.clean_prediction).square().mean(dim=1).sqrt()


def shift(model, result):
    """Root mean squared change of the concepts, per example."""
    moved = model(INPUTS + result.perturbation).concepts - model(INPUTS).concepts
    return moved.detach().square().mean(dim=1).sqrt()


def test_one_emotion_alone_leaves_the_others_where_they_were():
    alone, free = (
        APGD(budget=Linf(EPSILON), objective=OneEmotion(0, keep=keep), steps=100)(MODEL, INPUTS, LABELS)
        for keep in (30.0, 0.0)
    )
    change = alone.adversarial_prediction - alone.clean_prediction
    assert change[:, 0].min() > 0.8 * reach(Linf(EPSILON))
    assert change[:, 1:].abs().max() < 0.02
    assert (free.adversarial_prediction - free.clean_prediction)[:, 1:].abs().max() > 0.4


def test_concepts_move_while_emotions_stay():
    # Six concepts and two emotions: four directions of the concepts that the emotions do not see.
    model = Bottleneck(entries=20, concepts=6, emotions=2, seed=1)
    still, free = (
        APGD(budget=Linf(0.3), objective=ConceptsMove(keep=keep), steps=100)(model, INPUTS, LABELS[:, :2])
        for keep in (100.0, 0.0)
    )
    assert shift(model, still).min() > 0.2
    assert drift(still).max() < 0.03
    assert drift(free).max() > 0.3


def test_emotions_move_while_concepts_stay():
    # The skip past the bottleneck is what lets them.
    model = Bottleneck(entries=20, concepts=3, emotions=2, seed=1, skip=1.0)
    still, free = (
        APGD(budget=Linf(0.3), objective=EmotionsMove(keep=keep), steps=100)(model, INPUTS, LABELS[:, :2])
        for keep in (30.0, 0.0)
    )
    assert drift(still).min() > 1
    assert shift(model, still).max() < 0.06
    assert shift(model, free).max() > 0.3


@pytest.mark.parametrize("objective", [ConceptsMove(), EmotionsMove()], ids=repr)
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_small_movements_are_found_where_every_direction_moves_both(objective, epsilon):
    """A head without a hidden direction: squared, what moves would gain less than what should stay costs."""
    model = Bottleneck(entries=20, concepts=3, emotions=4, seed=2)
    result = APGD(budget=Linf(epsilon), objective=objective, steps=100)(
        model, INPUTS, LABELS[:, :1].expand(-1, 4)
    )
    moved, stayed = shift(model, result), drift(result)
    if objective.moving == "emotions":
        moved, stayed = stayed, moved
    assert moved.min() > 0.002
    assert stayed.max() < 0.03


class Steps(torch.nn.Module):
    """The linear model read off a coarse scale: its gradient is 0 everywhere, or useless."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.model = Linear(WEIGHTS)

    def forward(self, inputs):
        if self.kind == "quantised":
            return (self.model(inputs) * 20).round() / 20
        # Steep ripples whose slope at any entry says nothing about where the output goes.
        return self.model(inputs + 1e-3 * torch.sin(1e5 * inputs))


@pytest.mark.parametrize("kind", ["quantised", "shattered"])
def test_a_model_that_hides_its_gradient_is_seen_through(kind):
    budget, objective = Linf(EPSILON), OneEmotion(0)
    settings: dict[str, Any] = {"budget": budget, "objective": objective}
    ascent = APGD(steps=30, **settings)(Steps(kind), INPUTS, LABELS).loss
    search = Square(queries=300, **settings)(Steps(kind), INPUTS, LABELS).loss
    assert (search > 1.2 * ascent).all()
    assert search.min() > 0.7 * reach(budget)
