"""The published protocols: their members, the passes they take, and the models they are defined for."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest
import torch

from tenuto.attacks import (
    SNR,
    AttackResult,
    BoundedAttack,
    Budget,
    Described,
    Linf,
    Masked,
    ReleasedAttack,
    Square,
    climb,
    protocol,
)
from tenuto.errors import ConfigError
from tests.attacks.conftest import Bottleneck, Counting


def test_the_released_protocol_has_the_settings_of_the_study():
    (attack,) = protocol("paper-2025-released").attacks
    assert isinstance(attack, ReleasedAttack)
    assert dataclasses.asdict(attack) == {
        "measure": "corr",
        "optimizer": "Adam",
        "step_size": 0.002,
        "iterations": 1000,
        "alpha": None,
        "sign": True,
    }


def test_the_described_protocol_is_the_released_attack_within_a_thousandth():
    assert protocol("paper-2025-described").attacks == (Described(budget=Linf(0.001), iterations=1000),)


def climbs(emotions: int, name: str = "standard-1") -> list[list[BoundedAttack]]:
    """The members of a protocol, each with its budgets."""
    result = protocol(name).members(emotions)
    return [[attack for attack in climb if isinstance(attack, BoundedAttack)] for climb in result]


def test_members_climb_the_epsilons():
    for member in climbs(3):
        assert [attack.budget for attack in member] == [Linf(e) for e in (0.01, 0.02, 0.05, 0.1, 0.2)]


def test_members_of_a_model_with_three_emotions():
    titles = [(climb[0].title, climb[0].objective.title()) for climb in climbs(3)]
    assert titles == [
        ("APGD", "squared error"),
        ("APGD", "absolute error"),
        ("APGD", "correlation"),
        *[("APGD", f"emotion {emotion} {way}") for emotion in range(3) for way in ("up", "down")],
        ("Square", "absolute error"),
        ("Noise uniform", "absolute error"),
        ("Noise gaussian", "absolute error"),
        ("Noise sign", "absolute error"),
    ]


def test_a_climb_changes_nothing_but_the_budget():
    (square,) = [climb for climb in climbs(3) if climb[0].title == "Square"]
    assert [dataclasses.replace(attack, budget=Linf(0.1)) for attack in square] == [
        Square(budget=Linf(0.1), objective=square[0].objective, queries=80)
    ] * 5


def test_iterations_add_up_over_members_and_budgets():
    three = sum(attack.iterations for climb in climbs(3) for attack in climb)
    assert protocol("standard-1").iterations(3) == three == 5 * (30 + 2 * 20 + 6 * 6 + 80 + 3 * 8)
    assert protocol("paper-2025-released").iterations(8) == 1000


@pytest.fixture(scope="module", params=["standard-1", "standard-2"])
def climbed(request):
    """A protocol, its members on one tiny clip with 8 emotions, and the model, which counted."""
    model = Counting(Bottleneck(entries=20, concepts=5, emotions=8, seed=4, skip=0.5))
    generator = torch.Generator().manual_seed(41)
    inputs = torch.randn(1, 1, 5, 4, generator=generator, dtype=torch.float64).clamp_min(-0.9)
    labels = torch.rand(1, 8, generator=generator, dtype=torch.float64)
    results: list[list[tuple[BoundedAttack, AttackResult]]] = []
    for member in climbs(8, request.param):
        start, row = None, []
        for attack in member:
            result = attack(model, inputs, labels, start=start, valid_range=(-0.943, math.inf))
            start = result.perturbation
            row.append((attack, result))
        results.append(row)
    return request.param, results, model


def test_a_standard_takes_the_stated_passes_a_clip(climbed):
    name, results, model = climbed
    forwards = sum(int(result.forward_passes) for row in results for _, result in row)
    gradients = sum(int(result.gradient_passes) for row in results for _, result in row)
    counts = {"standard-1": (1687, 830), "standard-2": (2482, 1600)}
    assert (forwards, gradients) == (model.forwards, model.gradients) == counts[name]


def test_thorough_1_spends_five_times_the_passes_on_every_member_of_standard_1():
    spent = [
        {
            (attack.title, attack.objective): attack.iterations
            for attack in protocol(name).attacks
            if attack.norm == "linf" and attack.title != "DDN"
        }
        for name in ("standard-1", "thorough-1")
    ]
    assert {member: 5 * count for member, count in spent[0].items()} == spent[1]


def test_the_page_states_these_counts():
    page = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text("utf-8")
    for gradient, forward in ((830, 1687), (1600, 2482)):
        assert re.search(rf"{gradient} gradient\s+passes\s+and\s+{forward}\s+forward\s+passes", page)


def test_a_larger_budget_is_never_weaker_and_stronger_for_every_ascent(climbed):
    for row in climbed[1]:
        losses = [float(result.loss) for _, result in row]
        assert losses == sorted(losses)
        assert row[0][0].title != "APGD" or len(set(losses)) == 5


@pytest.mark.parametrize(("name", "most"), [("standard-1", 11), ("sound-1", 14)])
def test_a_protocol_is_defined_for_as_many_emotions_as_its_passes_allow(name, most):
    assert protocol(name).members(most)
    with pytest.raises(ConfigError, match=f"defined for up to {most} emotions, the model has {most + 1}"):
        protocol(name).members(most + 1)


@pytest.mark.parametrize("count", [1, 2])
def test_the_standard_leaves_out_the_correlation_across_fewer_than_three_emotions(count):
    standard = protocol("standard-1")
    titles = {climb[0].objective.title() for climb in climbs(count)}
    assert "absolute error" in titles
    assert "correlation" not in titles
    (sentence,) = standard.omissions(count)
    assert sentence.startswith("standard-1 leaves out APGD on correlation. The model has")
    assert standard.omissions(3) == ()


@pytest.mark.parametrize("name", ["paper-2025-released", "paper-2025-described"])
def test_the_protocols_of_the_study_need_three_emotions_or_another_measure(name):
    with pytest.raises(ConfigError, match=rf"Protocol {name}: The model has 2 outputs.*use measure='mse'"):
        protocol(name).members(2)
    assert protocol(name, measure="mse").members(2)


@pytest.fixture(scope="module")
def heard():
    """Passes of sound-1 on one short waveform with 8 emotions: as attacks report them, and as the model counted."""
    model = Counting(Bottleneck(entries=1024, concepts=5, emotions=8, seed=4, skip=0.5))
    generator = torch.Generator().manual_seed(43)
    waveform = 0.1 * torch.randn(1, 1024, generator=generator, dtype=torch.float64)
    labels = torch.rand(1, 8, generator=generator, dtype=torch.float64)
    outcome: dict[Budget, list[AttackResult]] = {}
    for member in protocol("sound-1").members(8):
        for attack, result in climb(member, model, waveform, labels, valid_range=(-1.0, 1.0)):
            outcome.setdefault(attack.budget, []).append(result)
    return model, waveform, outcome


def test_sound_1_takes_at_most_2000_passes_of_either_kind_a_clip(heard):
    model, _, outcome = heard
    results = [result for row in outcome.values() for result in row]
    forwards = sum(int(result.forward_passes) for result in results)
    gradients = sum(int(result.gradient_passes) for result in results)
    assert (forwards, gradients) == (model.forwards, model.gradients) == (1354, 664)
    page = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text("utf-8")
    assert re.search(r"664 gradient\s+passes\s+and\s+1354\s+forward\s+passes", page)


def test_sound_1_keeps_its_budgets(heard):
    _, waveform, outcome = heard
    assert list(outcome) == [*(SNR(db) for db in (60, 50, 40, 30, 20)), *(Masked(db) for db in (-6, 0, 6))]
    for budget, row in outcome.items():
        around = budget.around(waveform, "a")
        assert all(float(around.size(result.perturbation)) <= budget.epsilon * 1.012 for result in row)
        assert all(float(result.adversarial.abs().max()) <= 1 for result in row)
