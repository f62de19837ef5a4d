"""Localised perturbations: zero where promised, as strong as they can be elsewhere, and impossible regions refused."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from tenuto.attacks import (
    APGD,
    FGSM,
    L2,
    PGD,
    SNR,
    Amplitude,
    Axes,
    BoundedAttack,
    Described,
    Imperceptible,
    Linf,
    Masked,
    Minimal,
    Noise,
    OneEmotion,
    Region,
    Square,
    Transfer,
    Unbounded,
    from_dict,
    protocol,
)
from tenuto.attacks.parsing import single
from tenuto.errors import AttackError, ConfigError
from tests.attacks.conftest import Linear, random

UP = OneEmotion(0)


FRAMES, CENTRES = 20, (100.0, 200.0, 400.0, 800.0, 1600.0)
SPECTROGRAM = Axes(10.0, CENTRES)
PART = Region(seconds=(0.5, 1.2), bands=(150, 900))
INSIDE = (slice(5, 12), slice(1, 4))
EXCERPTS, LABELS = random(3, 1, FRAMES, len(CENTRES), seed=1), torch.zeros(3, 3, dtype=torch.float64)
WEIGHTS = random(3, FRAMES * len(CENTRES), seed=2)

RATE, SAMPLES = 1000.0, 2000
WAVEFORM = Axes(RATE)
SOUND = (0.2 * random(3, SAMPLES, seed=3)).clamp(-0.9, 0.9)
SOUND_WEIGHTS = random(3, SAMPLES, seed=4) / 4
SECONDS = Region(seconds=(0.5, 1.2))
BOTH = Region(seconds=(0.5, 1.2), bands=(50, 200))
WINDOW = slice(500, 1200)


def families(budget, region, weights):
    """Every family that takes a budget."""
    settings = {"objective": UP, "region": region}
    yield FGSM(budget, **settings)
    yield PGD(budget, **settings, steps=10)
    yield APGD(budget, **settings, steps=15)
    yield PGD(budget, **settings, steps=5, momentum=0.5, restarts=2, scattered=True)
    yield Minimal(budget, **settings, goal=1e-3, steps=15)
    for kind in ("uniform", "gaussian", "sign", *(("white", "pink") if budget.needs_sound else ())):
        yield Noise(budget, **settings, kind=kind)
    yield Transfer(budget, **settings, source=Linear(weights), steps=5)
    yield Square(budget, **settings, queries=60)
    yield Described(budget, region=region, iterations=30, measure="mse")


CASES = [
    *((attack, EXCERPTS) for budget in (Linf(0.1), L2(0.5)) for attack in families(budget, PART, WEIGHTS)),
    (PGD(Unbounded(), objective=UP, step_size=0.1, region=PART), EXCERPTS),
    *(
        (attack, SOUND)
        for budget in (Amplitude(0.01), SNR(30))
        for region in (SECONDS, BOTH)
        for attack in families(budget, region, SOUND_WEIGHTS)
    ),
]


@pytest.mark.parametrize(
    ("attack", "inputs"), CASES, ids=lambda case: "" if isinstance(case, torch.Tensor) else repr(case)
)
def test_a_perturbation_is_zero_outside_its_region(attack, inputs):
    axes, weights = (WAVEFORM, SOUND_WEIGHTS) if inputs is SOUND else (SPECTROGRAM, WEIGHTS)
    labels = Linear(weights)(inputs).detach() + 0.31 if isinstance(attack, Described) else LABELS
    result = attack(Linear(weights), inputs, labels, axes=axes, valid_range=(-1, 5))
    outside = result.perturbation.clone()
    outside[..., WINDOW] = 0 if inputs is SOUND else outside[..., WINDOW]
    if inputs is not SOUND:
        outside[..., INSIDE[0], INSIDE[1]] = 0
    assert not outside.any()
    assert result.perturbation.flatten(1).any(dim=1).sum() >= 2  # noise may help no example
    attack.budget.around(inputs, "abc").check(result.perturbation, "abc")


MUSIC = random(3, 12_000, seed=7).cumsum(dim=1)
MUSIC = 0.3 * MUSIC / MUSIC.abs().amax(dim=1, keepdim=True)
MUSIC_WEIGHTS = random(3, 12_000, seed=8) / 4


MASKED = Masked(6, sample_rate=8000)


@pytest.mark.parametrize("region", [SECONDS, Region(seconds=(0.5, 1.2), bands=(300, 1500))], ids=repr)
@pytest.mark.parametrize(
    "attack",
    [
        PGD(MASKED, steps=3),
        Noise(MASKED, kind="masked", draws=2),
        Noise(MASKED, kind="pink", draws=2),
        Imperceptible(MASKED, goal=0.01, steps=3, quiet_steps=2, bisections=1),
    ],
    ids=lambda attack: attack.title,
)
def test_a_masked_perturbation_is_zero_outside_its_region(attack, region):
    attack = dataclasses.replace(attack, objective=UP, region=region)
    result = attack(Linear(MUSIC_WEIGHTS), MUSIC, LABELS, axes=Axes(8000.0), valid_range=(-1, 1))
    budget = MASKED.around(MUSIC, "abc")
    budget.check(result.perturbation, "abc")
    assert (
        isinstance(attack, Imperceptible)
        or float(budget.size(result.perturbation).max()) > 0.5 * MASKED.epsilon
    )
    assert result.perturbation.any()
    result.perturbation[:, 4000:9600] = 0
    assert not result.perturbation.any()


def test_seconds_and_bands_may_be_limited_alone():
    for region, inside in (
        (Region(seconds=(0.5, 1.2)), (INSIDE[0], slice(None))),
        (Region(bands=(150, 900)), (slice(None), INSIDE[1])),
    ):
        delta = FGSM(Linf(0.1), objective=UP, region=region)(
            Linear(WEIGHTS), EXCERPTS, LABELS, axes=SPECTROGRAM
        ).perturbation
        assert (delta[..., inside[0], inside[1]].abs() == 0.1).all()
        assert int((delta != 0).sum()) == delta[..., inside[0], inside[1]].numel()


@pytest.mark.parametrize("family", [FGSM, PGD, APGD])
def test_a_linear_model_is_attacked_optimally_inside(family):
    own = WEIGHTS[0].view(FRAMES, -1)[INSIDE]
    for budget, best in ((Linf(0.1), 0.1 * own.abs().sum()), (L2(0.5), 0.5 * own.norm())):
        attack = family(budget, objective=UP, region=PART)
        loss = attack(Linear(WEIGHTS), EXCERPTS, LABELS, axes=SPECTROGRAM).loss
        assert loss.tolist() == pytest.approx([float(best)] * 3)


def test_a_linear_model_of_waveforms_is_attacked_optimally_inside_the_fades():
    attack = APGD(Linf(0.01), objective=UP, region=SECONDS)
    result = attack(Linear(SOUND_WEIGHTS), SOUND, LABELS, axes=WAVEFORM)
    middle = slice(510, 1190)
    best = 0.01 * SOUND_WEIGHTS[0, middle].abs().sum()
    assert (result.loss >= float(best)).all()
    assert (result.perturbation[:, middle].abs() == 0.01).all()
    edge = result.perturbation[:, [500, 1199]].abs()
    assert 0 < float(edge.max()) < 0.001  # no click


def test_square_spends_no_query_outside():
    own = WEIGHTS[0].view(FRAMES, -1)[INSIDE]
    for budget, best in ((Linf(0.1), 0.1 * own.abs().sum()), (L2(0.5), 0.5 * own.norm())):
        attack = Square(budget, objective=UP, queries=100, region=PART)
        loss = attack(Linear(WEIGHTS), EXCERPTS, LABELS, axes=SPECTROGRAM).loss
        assert loss.min() > 0.5 * float(best)


# The filter


def leakage(delta, low=50, high=200):
    power = np.abs(np.fft.rfft(delta.numpy())) ** 2
    power[:, 1:-1] *= 2
    hertz = np.fft.rfftfreq(SAMPLES, 1 / RATE)
    outside = (hertz < low) | (hertz > high)
    return 10 * np.log10(power[:, outside].sum(axis=1) / power.sum(axis=1))


@pytest.mark.parametrize("attack", [APGD(L2(0.2), region=BOTH), PGD(Linf(0.01), region=BOTH)], ids=repr)
def test_what_leaks_out_of_the_bands_is_little_and_stated(attack):
    attack = dataclasses.replace(attack, objective=UP)
    result = attack(Linear(SOUND_WEIGHTS), SOUND, LABELS, axes=WAVEFORM)
    stated = result.extra_columns()["leakage_db"]
    assert stated.tolist() == pytest.approx(leakage(result.perturbation).tolist(), abs=1e-6)
    assert stated.max() < -22


def test_an_excerpt_that_is_filtered_as_a_whole_hardly_leaks():
    attack = APGD(L2(0.2), objective=UP, region=Region(bands=(50, 200)))
    result = attack(Linear(SOUND_WEIGHTS), SOUND, LABELS, axes=WAVEFORM)
    assert result.columns["leakage_db"].max() < -25
    inside = np.fft.rfft(SOUND_WEIGHTS[0].numpy())
    hertz = np.fft.rfftfreq(SAMPLES, 1 / RATE)
    inside[(hertz < 50) | (hertz > 200)] = 0
    best = 0.2 * np.linalg.norm(np.fft.irfft(inside))
    assert result.loss.min() > 0.97 * best


def test_a_spectrogram_and_seconds_leak_nothing():
    for region, inputs, weights, axes in (
        (PART, EXCERPTS, WEIGHTS, SPECTROGRAM),
        (SECONDS, SOUND, SOUND_WEIGHTS, WAVEFORM),
    ):
        result = FGSM(Linf(0.1), objective=UP, region=region)(Linear(weights), inputs, LABELS, axes=axes)
        assert result.extra_columns() == {}


@pytest.mark.parametrize("budget", [Linf(0.01), L2(0.2)], ids=repr)
def test_noise_in_a_band_fills_the_budget(budget):
    result = Noise(budget, objective=UP, region=BOTH)(Linear(SOUND_WEIGHTS), SOUND, LABELS, axes=WAVEFORM)
    assert (budget.size(result.perturbation) > 0.8 * budget.epsilon).all()


def test_a_start_inside_the_region_is_not_lost():
    first = APGD(L2(0.2), objective=UP, region=BOTH)(Linear(SOUND_WEIGHTS), SOUND, LABELS, axes=WAVEFORM)
    second = Noise(L2(0.2), objective=UP, region=BOTH, draws=1)(
        Linear(SOUND_WEIGHTS), SOUND, LABELS, axes=WAVEFORM, start=first.perturbation
    )
    assert torch.equal(second.perturbation, first.perturbation)


def test_a_start_outside_the_region_is_brought_in():
    start = torch.full_like(SOUND, 0.005) * SOUND_WEIGHTS[0].sign()
    attack = Noise(Linf(0.01), objective=UP, region=SECONDS, draws=1)
    result = attack(Linear(SOUND_WEIGHTS), SOUND, LABELS, axes=WAVEFORM, start=start)
    assert result.perturbation[:, 600:1100].any()
    assert not result.perturbation[:, :500].any()


def test_examples_are_attacked_alike_in_any_batch():
    attack = APGD(Linf(0.01), objective=UP, region=BOTH, restarts=2, steps=10)
    whole = attack(Linear(SOUND_WEIGHTS), SOUND, LABELS, axes=WAVEFORM)
    alone = attack(Linear(SOUND_WEIGHTS), SOUND[1:2], LABELS[1:2], axes=WAVEFORM)
    assert torch.allclose(whole.perturbation[1:2], alone.perturbation, atol=1e-9)
    parts = attack(Linear(SOUND_WEIGHTS), SOUND, LABELS, axes=WAVEFORM, batch_size=2)
    assert torch.allclose(parts.columns["leakage_db"], whole.columns["leakage_db"], atol=1e-6)


@pytest.mark.parametrize("region", [None, BOTH, Region(bands=(300, 1500))], ids=repr)
def test_masked_examples_are_attacked_alike_in_any_batch(region):
    """Those inside the budget are not shaped or scaled again with those that a filter or the range brought outside."""
    attack = APGD(MASKED, objective=UP, region=region, steps=4)
    settings: dict[str, Any] = {"axes": Axes(8000.0), "valid_range": (-0.3, 0.3)}
    whole = attack(Linear(MUSIC_WEIGHTS), MUSIC, LABELS, **settings)
    alone = [
        attack(Linear(MUSIC_WEIGHTS), MUSIC[row : row + 1], LABELS[row : row + 1], **settings).perturbation
        for row in range(3)
    ]
    assert torch.allclose(whole.perturbation, torch.cat(alone), rtol=0, atol=1e-9)


class Careless(BoundedAttack):
    """Evaluates a perturbation of all entries."""

    iterations = 1

    def search(self, search):
        search.values(torch.full_like(search.inputs, 0.01), search.all_rows)


def test_an_attack_that_leaves_its_region_raises():
    weights = WEIGHTS.abs()
    with pytest.raises(AttackError, match="clips b, c is not zero outside its region"):
        Careless(Linf(0.1), objective=UP, region=PART)(
            Linear(weights), EXCERPTS[:2], LABELS[:2], axes=SPECTROGRAM, names="bc"
        )


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "Region needs seconds, bands or both"),
        ({"seconds": (4, 2)}, r"seconds must be two numbers .*the lower one first.*got \(4, 2\)"),
        ({"seconds": (2, 2)}, "seconds must be two numbers"),
        ({"seconds": (-1, 2)}, "seconds must be two numbers of at least 0"),
        ({"bands": (200, math.nan)}, "bands must be two numbers"),
        ({"bands": (200, math.inf)}, "bands must be two numbers"),
        ({"bands": 200}, "bands must be two numbers"),
        ({"bands": "20"}, "bands must be two numbers"),
        ({"seconds": (1, 2, 3)}, "seconds must be two numbers"),
    ],
)
def test_other_regions_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Region(**settings)


@pytest.mark.parametrize(
    ("region", "axes", "message"),
    [
        (
            Region(seconds=(2, 4)),
            SPECTROGRAM,
            r"2 to 4 are not in the excerpt, which has 2.00 s. Choose .*0 to 2\.",
        ),
        (Region(seconds=(1, 2.5)), WAVEFORM, "1 to 2.5 are not in the excerpt"),
        (
            Region(seconds=(0.01, 0.02)),
            SPECTROGRAM,
            "0.01 to 0.02 contain no step of the input, which has 10 a",
        ),
        (
            Region(bands=(220, 380)),
            SPECTROGRAM,
            "contain the centre of no band; .*100 to 1600 Hz.* 200 and 400 Hz",
        ),
        (Region(bands=(3000, 4000)), SPECTROGRAM, "contain the centre of no band; .*nearest ones 1600 Hz"),
        (Region(bands=(500, 900)), WAVEFORM, "500 to 900 Hz are not in the sound, .* up to 500 Hz"),
        (Region(bands=(100.1, 100.2)), WAVEFORM, "too close together"),
    ],
)
def test_impossible_regions_are_refused_in_one_sentence(region, axes, message):
    inputs = SOUND if axes is WAVEFORM else EXCERPTS
    with pytest.raises(ConfigError, match=message):
        FGSM(Linf(0.1), region=region)(Linear(WEIGHTS), inputs, LABELS, axes=axes)


@pytest.mark.parametrize(
    ("axes", "inputs", "message"),
    [
        (None, SOUND, "it is not known what the axes of the inputs mean: leave it out"),
        (WAVEFORM, EXCERPTS, "axes without bands belong to waveforms"),
        (SPECTROGRAM, SOUND, "axes names 5 bands"),
        (Axes(10.0, CENTRES[:3]), EXCERPTS, "axes names 3 bands"),
    ],
)
def test_axes_must_be_those_of_the_inputs(axes, inputs, message):
    with pytest.raises(AttackError, match=message):
        FGSM(Linf(0.1), region=PART)(Linear(WEIGHTS), inputs, LABELS, axes=axes)


@pytest.mark.parametrize("bands", [(100.0, 200.0, 300.0, 250.0, 50.0), (100.0, math.nan)])
def test_bands_must_rise(bands):
    with pytest.raises(ConfigError, match=r"bands must be rising centre frequencies in Hz, got \(100.0, "):
        Axes(10.0, bands)


def test_a_region_is_a_region():
    with pytest.raises(ConfigError, match="region must be a Region"):
        FGSM(Linf(0.1), region=(2, 4))  # type: ignore[arg-type]


# As a setting


def test_a_region_is_rebuilt_from_json():
    attack = APGD(Linf(0.1), region=Region(seconds=(2, 4)))
    assert from_dict(json.loads(json.dumps(attack.to_dict()))) == attack
    assert attack.to_dict()["region"] == {"type": "Region", "seconds": [2, 4], "bands": None}


def test_a_protocol_with_a_region_is_described_and_has_a_short_name():
    localised = protocol("paper-2025-described", region=Region(seconds=(2, 4.5), bands=(200, 2000)))
    assert str(localised) == "paper-2025-described+region=2-4.5s,200-2000Hz"
    described = json.loads(json.dumps(localised.to_dict()))
    assert described["changes"]["region"] == {"type": "Region", "seconds": [2, 4.5], "bands": [200, 2000]}
    assert from_dict(described["attacks"][0]) == localised.attacks[0]


def test_an_attack_without_a_region_is_described_and_named_as_before():
    assert "region" not in APGD(Linf(0.1)).to_dict()
    assert single(APGD(Linf(0.1), objective=UP)).name == "APGD-b2841a8e"
    assert single(APGD(Linf(0.1), objective=UP, region=PART)).name != "APGD-b2841a8e"
