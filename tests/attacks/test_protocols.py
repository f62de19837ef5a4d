"""Protocols: their fixed settings, their printed form, and how a reduced run shows."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import re
from pathlib import Path

import pytest
import torch

from tenuto.attacks import (
    APGD,
    FGSM,
    L2,
    PROTOCOLS,
    SNR,
    Amplitude,
    AttackResult,
    BoundedAttack,
    Budget,
    Described,
    EachEmotion,
    Linf,
    Masked,
    Noise,
    OneEmotion,
    Protocol,
    ReleasedAttack,
    Square,
    climb,
    from_dict,
    protocol,
)
from tenuto.attacks.parsing import single
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


def test_every_protocol_is_known_by_its_own_name():
    assert {name: known.name for name, known in PROTOCOLS.items()} == {name: name for name in PROTOCOLS}


def test_a_change_reaches_the_attack_and_the_label():
    changed = protocol("paper-2025-released", iterations=100, measure="mse")
    assert changed.attacks == (ReleasedAttack(iterations=100, measure="mse"),)
    assert str(changed) == "paper-2025-released+iterations=100+measure=mse"
    assert str(protocol("paper-2025-released")) == "paper-2025-released"


@pytest.mark.parametrize(
    ("changes", "printed"),
    [
        ({}, "protocol('paper-2025-released')"),
        ({"iterations": 100}, "protocol('paper-2025-released', iterations=100)"),
        ({"sign": False, "alpha": 5.0}, "protocol('paper-2025-released', alpha=5.0, sign=False)"),
    ],
)
def test_it_prints_as_the_call_that_made_it(changes, printed):
    assert repr(protocol("paper-2025-released", **changes)) == printed


def test_the_published_value_is_no_change():
    assert protocol("paper-2025-released", iterations=1000) == protocol("paper-2025-released")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("paper-2025", {}, r"Unknown protocol 'paper-2025'. Did you mean paper-2025-released\?"),
        ("paper-2025-released", {"iteration": 100}, r"no setting 'iteration'. Did you mean iterations\?"),
        ("paper-2025-released", {"iterations": 0}, "iterations must be a whole number of at least 1, got 0"),
        ("standard-1", {"steps": 10}, "standard-1 has no parameters: leave out steps"),
        ("standard-1", {"queries": 10, "draws": 1}, "standard-1 has no parameters: leave out queries, draws"),
        ("standard-1", {"precision": "bfloat16", "steps": 3}, "has no parameters: leave out steps"),
    ],
)
def test_other_names_and_settings_are_refused(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        protocol(name, **settings)


def test_the_described_protocol_is_the_released_attack_within_a_thousandth():
    assert protocol("paper-2025-described").attacks == (Described(budget=Linf(0.001), iterations=1000),)


def test_a_protocol_without_a_ladder_runs_its_attacks_as_they_are():
    assert protocol("paper-2025-released").members(3) == ((ReleasedAttack(),),)
    assert protocol("paper-2025-described").members(3) == ((Described(),),)


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


def test_every_budget_is_kept(climbed):
    for row in climbed[1]:
        for attack, result in row:
            assert float(result.perturbation.abs().max()) <= attack.budget.epsilon * (1 + 1e-12)


def test_each_emotion_moves_its_way(climbed):
    seen = 0
    for row in climbed[1]:
        attack, result = row[-1]
        if isinstance(attack.objective, OneEmotion):
            change = (result.adversarial_prediction - result.clean_prediction)[0, attack.objective.index]
            assert change > 0 if attack.objective.up else change < 0
            seen += 1
    assert seen == 16


def test_every_protocol_can_be_sent_to_another_process():
    for made in (*PROTOCOLS.values(), protocol("paper-2025-released", iterations=100)):
        assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(("name", "most"), [("standard-1", 11), ("sound-1", 14)])
def test_a_protocol_is_defined_for_as_many_emotions_as_its_passes_allow(name, most):
    assert protocol(name).members(most)
    with pytest.raises(ConfigError, match=f"defined for up to {most} emotions, the model has {most + 1}"):
        protocol(name).members(most + 1)


def test_a_member_climbs_from_what_it_found():
    weights = torch.linspace(-1, 1, 12).reshape(3, 4)
    attacks = tuple(APGD(budget=Linf(epsilon), steps=1) for epsilon in (0.1, 0.2))
    inputs, labels = torch.zeros(2, 1, 2, 2), torch.full((2, 3), 0.3)
    results = list(
        climb(attacks, lambda x: x.flatten(1) @ weights.T, inputs, labels, valid_range=(-0.15, 9.0))
    )
    assert [attack for attack, _ in results] == list(attacks)
    assert (results[1][1].loss >= results[0][1].loss).all()
    assert results[1][1].perturbation.min() >= -0.15


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


def test_precision_is_the_one_setting_of_a_protocol_with_budgets():
    quick = protocol("standard-1", precision="bfloat16")
    assert str(quick) == "standard-1+precision=bfloat16"
    assert repr(quick) == "protocol('standard-1', precision='bfloat16')"
    assert {attack.precision for attack in quick.attacks if isinstance(attack, BoundedAttack)} == {"bfloat16"}
    assert protocol("standard-1", precision="float32") == protocol("standard-1")


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


def test_masking_is_that_of_the_sample_rate():
    sound = protocol("sound-1")
    assert sound.at_sample_rate(22050) == sound
    other = sound.at_sample_rate(16000)
    assert str(other) == "sound-1"
    rates = {
        attack.budget.sample_rate
        for member in other.members(3)
        for attack in member
        if isinstance(attack.budget, Masked)
    }
    assert rates == {16000}


def test_pink_noise_begins_at_20_hz_of_the_sample_rate():
    waveform = 0.1 * torch.randn(1, 4096, generator=torch.Generator().manual_seed(1))
    levels = []
    for rate in (22050, 44100):
        one = single(Noise(SNR(20), kind="pink", objective=OneEmotion(0), draws=1)).at_sample_rate(rate)
        ((attack,),) = one.members(1)
        delta = attack(
            lambda x: x.abs().sum(dim=1, keepdim=True) * 1e3, waveform, torch.zeros(1, 1)
        ).perturbation
        power = torch.fft.rfft(delta.double()).abs().square()[0]
        levels.append(float(power[2] / power.sum()))  # 10.8 Hz and 21.5 Hz
    assert levels[0] < 1e-9 < 1e-3 < levels[1]


TWO_NORMS = Protocol(
    name="loud-1",
    version=1,
    description="Two norms.",
    attacks=(APGD(SNR(20), steps=2), APGD(Amplitude(0.1), steps=2), FGSM(L2(0.3))),
    budgets=(SNR(40), SNR(20), Amplitude(0.01)),
    silence=True,
)


def test_an_attack_climbs_the_budgets_of_its_own_norm():
    assert [[attack.budget for attack in member] for member in TWO_NORMS.members(3)] == [
        [SNR(40), SNR(20)],
        [Amplitude(0.01)],
        [L2(0.3)],
    ]
    assert TWO_NORMS.norms == ("snr", "amplitude")
    assert TWO_NORMS.epsilons == (0.01, 0.1, 0.01)


def test_budgets_of_one_norm_must_rise():
    with pytest.raises(
        ConfigError, match=r"budgets of protocol loud-1 must rise in strength, got 20 dB SNR, 40 dB SNR"
    ):
        dataclasses.replace(TWO_NORMS, budgets=(SNR(20), SNR(40)))


def test_worst_cases_of_several_norms_are_by_budget():
    waveforms = INPUTS.flatten(1)
    outcome = TWO_NORMS(model, waveforms, LABELS, valid_range=(-3.0, 3.0))
    assert list(outcome.worst) == [SNR(40), SNR(20), Amplitude(0.01), L2(0.3)]
    quiet, loud = (outcome.worst[SNR(db)] for db in (40, 20))
    assert (quiet.error <= loud.error + 1e-6).all()
    ratio = (quiet.adversarial - waveforms).double().norm(dim=1) / waveforms.double().norm(dim=1)
    assert ratio.tolist() == pytest.approx([0.01] * 3, rel=1e-5)
    assert "SNR(db=40)" in repr(outcome)


def test_budgets_of_waveforms_set_the_domain():
    assert TWO_NORMS.domain == protocol("sound-1").domain == "waveform"
    assert protocol("standard-1").domain is None
    assert TWO_NORMS.in_domain("waveform") is TWO_NORMS
    with pytest.raises(ConfigError, match=r"SNR\(db=40\) is for waveforms: leave out the domain spectrogram"):
        TWO_NORMS.in_domain("spectrogram")
    with pytest.raises(ConfigError, match="domain must be waveform or spectrogram, got 'sound'"):
        TWO_NORMS.in_domain("sound")


def test_another_domain_shows_in_the_name():
    standard = protocol("standard-1")
    assert standard.in_domain("spectrogram") is standard
    moved = standard.in_domain("waveform")
    assert str(moved) == "standard-1+domain=waveform"
    assert moved.domain == "waveform"
    assert moved.attacks == standard.attacks
    assert moved.in_domain("spectrogram") == standard


def test_the_description_of_standard_1_is_that_of_earlier_versions():
    assert list(protocol("standard-1").to_dict()) == [
        *("name", "version", "description", "attacks", "changes", "epsilons", "silence", "most_emotions")
    ]
    described = json.loads(json.dumps(TWO_NORMS.to_dict()))
    assert described["domain"] == "waveform"
    assert described["budgets"][:2] == [{"type": "snr", "db": 40}, {"type": "snr", "db": 20}]


INPUTS = torch.randn(3, 1, 4, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.rand(3, 3, generator=torch.Generator().manual_seed(2))


def model(inputs):
    return torch.sigmoid(inputs.flatten(1)[:, :3] + inputs.flatten(1)[:, 3:6])


def test_a_protocol_is_one_call():
    done: list[int] = []
    attacks = (APGD(Linf(0.1), objective=EachEmotion(), steps=3), Noise(Linf(0.1), kind="sign", draws=2))
    small = Protocol("small-1", 1, "Two families.", attacks, budgets=(Linf(0.05), Linf(0.1)), silence=True)
    outcome = small(model, INPUTS, LABELS, valid_range=(-2.0, math.inf), progress=done.append)
    assert sum(done) == 3 * small.iterations(3)
    assert list(outcome.worst) == [0.05, 0.1]
    errors: dict[float, list[torch.Tensor]] = {}
    for member in small.members(3):
        for attack, result in climb(member, model, INPUTS, LABELS, valid_range=(-2.0, math.inf)):
            error = (result.adversarial_prediction - LABELS).abs().mean(dim=1)
            errors.setdefault(attack.epsilon, []).append(error)
    for epsilon, case in outcome.worst.items():
        assert torch.equal(case.error, torch.stack(errors[epsilon]).amax(dim=0))
        torch.testing.assert_close(model(case.adversarial), case.adversarial_prediction)
        assert torch.equal((case.adversarial_prediction - LABELS).abs().mean(dim=1), case.error)
        assert (case.adversarial - INPUTS).abs().max() <= epsilon * (1 + 1e-5)
        assert all("epsilon=" in attack for attack in case.attacks)
    assert torch.equal(outcome.clean_error, (model(INPUTS) - LABELS).abs().mean(dim=1))
    assert len(repr(outcome).splitlines()) == 2 + 2


def test_a_protocol_on_one_output_takes_flat_labels_and_says_what_it_leaves_out():
    outcome = protocol("standard-1")(lambda x: model(x)[:, 0], INPUTS, LABELS[:, 0])
    assert outcome.worst[0.2].adversarial_prediction.shape == (3, 1)
    assert "leaves out APGD on correlation" in repr(outcome)


def test_the_worst_case_of_an_attack_without_a_budget():
    outcome = protocol("paper-2025-released", iterations=5)(model, INPUTS, LABELS)
    assert list(outcome.worst) == [math.inf]


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_a_protocol_is_described_by_plain_values(name):
    described = json.loads(json.dumps(protocol(name).to_dict()))
    assert described["name"] == name
    assert tuple(from_dict(attack) for attack in described["attacks"]) == protocol(name).attacks
