"""Protocols: their fixed settings, their printed form, and how a reduced run shows."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle

import pytest
import torch

from tenuto.attacks import (
    APGD,
    FGSM,
    L2,
    PROTOCOLS,
    SNR,
    Amplitude,
    BoundedAttack,
    Described,
    EachEmotion,
    Linf,
    Masked,
    Noise,
    OneEmotion,
    Protocol,
    ReleasedAttack,
    climb,
    from_dict,
    protocol,
)
from tenuto.attacks.parsing import single
from tenuto.errors import ConfigError


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
        ("standard-1", {"steps": 10}, "standard-1 has no parameters: leave out `steps`"),
        (
            "standard-1",
            {"queries": 10, "draws": 1},
            "standard-1 has no parameters: leave out `queries`, `draws`",
        ),
        ("standard-1", {"precision": "bfloat16", "steps": 3}, "has no parameters: leave out `steps`"),
    ],
)
def test_other_names_and_settings_are_refused(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        protocol(name, **settings)


def test_a_protocol_without_a_ladder_runs_its_attacks_as_they_are():
    assert protocol("paper-2025-released").members(3) == ((ReleasedAttack(),),)
    assert protocol("paper-2025-described").members(3) == ((Described(),),)


def test_every_protocol_can_be_sent_to_another_process():
    for made in (*PROTOCOLS.values(), protocol("paper-2025-released", iterations=100)):
        assert pickle.loads(pickle.dumps(made)) == made


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


def test_precision_is_the_one_setting_of_a_protocol_with_budgets():
    quick = protocol("standard-1", precision="bfloat16")
    assert str(quick) == "standard-1+precision=bfloat16"
    assert repr(quick) == "protocol('standard-1', precision='bfloat16')"
    assert {attack.precision for attack in quick.attacks if isinstance(attack, BoundedAttack)} == {"bfloat16"}
    assert protocol("standard-1", precision="float32") == protocol("standard-1")


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


@pytest.mark.parametrize("budgets", [(), (Linf(0.1),)], ids=repr)
def test_worst_cases_of_attacks_of_another_norm_are_their_own(budgets):
    """An L2 norm of 0.1 spreads over twelve entries, of which each moves much less than 0.1."""
    attacks = (FGSM(Linf(0.1)), FGSM(L2(0.1)))
    outcome = Protocol("own-1", 1, "Two norms.", attacks, budgets=budgets)(model, INPUTS, LABELS)
    assert list(outcome.worst) == [Linf(0.1), L2(0.1)]
    assert (outcome.worst[L2(0.1)].error < outcome.worst[Linf(0.1)].error).all()


def test_budgets_of_waveforms_set_the_domain():
    assert TWO_NORMS.domain == protocol("sound-1").domain == "waveform"
    assert protocol("standard-1").domain is None
    assert TWO_NORMS.in_domain("waveform") is TWO_NORMS
    with pytest.raises(ConfigError, match=r"SNR\(db=40\) is for waveforms: leave out `inputs=spectrogram`"):
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
