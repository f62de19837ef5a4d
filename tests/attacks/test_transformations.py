"""Expectation over transformations: each is differentiable and what it says, and attacks average over them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from tenuto.attacks import (
    APGD,
    FGSM,
    TRANSFORMATIONS,
    AddedNoise,
    Axes,
    Described,
    Gain,
    Linf,
    LowPass,
    Mp3,
    OneEmotion,
    Room,
    Shift,
    Transformations,
    from_dict,
)
from tenuto.attacks.chance import generator_of
from tenuto.attacks.transformations import Views
from tenuto.audio.mp3 import coded
from tenuto.errors import ConfigError
from tests.attacks.conftest import random

UP = OneEmotion(0)
RATE, SAMPLES = 1000.0, 400
AXES = Axes(RATE)


SOUND = 0.2 * random(3, SAMPLES, seed=1)
LABELS = torch.zeros(3, 2, dtype=torch.float64)
ALL = torch.arange(3)
TIME = torch.arange(SAMPLES, dtype=torch.float64) / RATE
QUICK_ROOM = Room(seconds=(0.05, 0.1))
DIFFERENTIABLE = [Gain(12.0), Shift(0.05), AddedNoise((0.0, 10.0)), LowPass((50.0, 200.0)), QUICK_ROOM]


def tone(hertz):
    """A tone of norm 1."""
    return torch.sin(2 * math.pi * hertz * TIME) * math.sqrt(2 / SAMPLES)


def views(*parts, count=1, seed=0, inputs=SOUND):
    made = Views(Transformations(parts, draws=count, seed=seed), inputs, AXES, 0)
    return list(made.draw(torch.arange(len(inputs))))


# Each transformation


@pytest.mark.parametrize("part", DIFFERENTIABLE, ids=repr)
def test_its_gradient_is_right(part):
    (view,) = views(part, inputs=SOUND[:2, :60])
    assert torch.autograd.gradcheck(view, SOUND[:2, :60].clone().requires_grad_())


@pytest.mark.parametrize("part", [*DIFFERENTIABLE, Mp3()], ids=repr)
def test_it_is_random_and_keeps_the_shape_and_type(part):
    for sound in (SOUND, SOUND.float()):
        inputs = sound if not isinstance(part, Mp3) else sound.repeat(1, 5)
        rate = Axes(RATE) if not isinstance(part, Mp3) else Axes(22050)
        made = Views(Transformations((part,), draws=8), inputs, rate, 0)
        results = [view(inputs) for view in made.draw(torch.arange(3))]
        assert all(result.shape == inputs.shape and result.dtype == inputs.dtype for result in results)
        assert any(not torch.equal(result, results[0]) for result in results)


def test_a_gain_is_uniform_in_decibels():
    gains = [20 * torch.log10(view(SOUND) / SOUND)[:, 0] for view in views(Gain(6.0), count=300)]
    drawn = torch.stack(gains)
    assert -6 <= float(drawn.min()) < -5.8
    assert 5.8 < float(drawn.max()) <= 6
    assert abs(float(drawn.mean())) < 0.4


def test_a_shift_moves_whole_samples_around():
    shifts = set()
    for view in views(Shift(0.003), count=60):
        shifted = view(SOUND)
        for row in range(3):
            matches = [by for by in range(-3, 4) if torch.equal(SOUND[row].roll(by), shifted[row])]
            assert len(matches) == 1
            shifts.update(matches)
    assert shifts == set(range(-3, 4))


def test_noise_has_its_signal_to_noise_ratio():
    long = 0.2 * random(2, 20_000, seed=2)
    for view in views(AddedNoise((15.0, 15.0)), count=3, inputs=long):
        noise = view(long) - long
        ratio = 10 * torch.log10(long.square().mean(dim=1) / noise.square().mean(dim=1))
        assert ratio.tolist() == pytest.approx([15, 15], abs=0.1)


def test_silence_stays_silent_and_has_a_gradient():
    silence = torch.zeros(1, SAMPLES, dtype=torch.float64, requires_grad=True)
    (view,) = views(AddedNoise(), inputs=silence)
    result = view(silence)
    assert float(result.detach().abs().max()) < 1e-9
    (gradient,) = torch.autograd.grad(result.sum(), silence)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("hertz", "gain"), [(20, 1.0), (100, math.sqrt(0.5)), (250, 10 ** (-48 * 1.32 / 20))]
)
def test_a_low_pass_is_that_of_butterworth(hertz, gain):
    long = torch.sin(2 * math.pi * hertz * torch.arange(8000) / RATE).double()[None]
    (view,) = views(LowPass((100.0, 100.0)), inputs=long)
    middle = slice(1000, 7000)
    measured = view(long)[0, middle].norm() / long[0, middle].norm()
    assert float(measured) == pytest.approx(gain, abs=0.01)


def test_a_room_has_energy_1_and_decays_by_60_db():
    room = Room(seconds=(0.5, 0.5), decibels=(3.0, 3.0))
    responses = [
        torch.from_numpy(room.draw(np.random.default_rng(seed), SAMPLES, 8000.0)) for seed in range(20)
    ]
    assert not torch.equal(responses[0], responses[1])
    power = torch.stack(responses).square()
    assert power.sum(dim=1).tolist() == pytest.approx([1.0] * 20)
    direct = power[:, 0] / power[:, 1:].sum(dim=1)
    assert (10 * torch.log10(direct)).tolist() == pytest.approx([3.0] * 20)
    early, late = power[:, 1:401].mean(), power[:, 3601:].mean()
    assert float(10 * torch.log10(early / late)) == pytest.approx(60 * 0.45 / 0.5, abs=1)


def test_a_room_convolves():
    view = views(QUICK_ROOM)[0]
    response = view(torch.nn.functional.one_hot(torch.zeros(3, dtype=torch.long), SAMPLES).double())
    expected = [np.convolve(row, room)[:SAMPLES] for row, room in zip(SOUND, response, strict=True)]
    assert np.allclose(view(SOUND), np.stack(expected))


def test_mp3_goes_straight_through():
    sound = 0.2 * random(2, 5000, seed=3)
    (view,) = Views(Transformations((Mp3((64,)),), draws=1), sound, Axes(22050), 0).draw(torch.arange(2))
    point = sound.clone().requires_grad_()
    result = view(point)
    expected = np.stack([coded(row, 22050, 64) for row in sound.numpy()])
    assert np.array_equal(result.detach().numpy(), expected)
    weights = random(2, 5000, seed=4)
    (gradient,) = torch.autograd.grad((result * weights).sum(), point)
    assert torch.equal(gradient, weights)


def test_fresh_draws_are_others_than_those_of_the_search():
    drawn = [
        torch.stack(
            [view(SOUND) for view in Views(Transformations((Gain(),)), SOUND, AXES, stream).draw(ALL)]
        )
        for stream in range(3)
    ]
    assert not torch.isclose(drawn[0], drawn[1]).any()
    assert not torch.isclose(drawn[1], drawn[2]).any()


def test_an_example_draws_the_same_whichever_others_are_left():
    first, second = (Views(Transformations((Gain(),)), SOUND, AXES, 0) for _ in range(2))
    whole = [list(first.draw(ALL)), list(first.draw(ALL))]
    list(second.draw(ALL))
    own = list(second.draw(torch.tensor([2])))
    assert torch.equal(own[-1](SOUND[2:]), whole[1][-1](SOUND)[2:])


# Settings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Transformations((Gain,)), "parts must be transformations"),  # type: ignore[arg-type]
        (lambda: Transformations(Gain()), "parts must be transformations"),  # type: ignore[arg-type]
        (lambda: Transformations("gain"), "parts must be transformations"),  # type: ignore[arg-type]
        (lambda: Transformations(draws=0), "draws must be a whole number of at least 1"),
        (lambda: Transformations(seed=-1), "seed must be a whole number"),
        (lambda: Gain(-1), "decibels must be a number from 0"),
        (lambda: Shift(math.nan), "seconds must be a number from 0"),
        (lambda: AddedNoise((30, 20)), "decibels must be two numbers from -120 to 120, the lower one first"),
        (lambda: LowPass((0, 20)), "hertz must be two numbers from 1"),
        (lambda: LowPass(4000), "hertz must be two numbers"),  # type: ignore[arg-type]
        (lambda: Room(seconds=(0, 1)), "seconds must be two numbers from 0.01"),
        (lambda: Room(decibels=(0, math.inf)), "decibels must be two numbers"),
        (lambda: Mp3(()), "kilobits must be a tuple of bit rates"),
        (
            lambda: Mp3((64.5,)),  # type: ignore[arg-type]
            "kilobits must be a tuple of bit rates from 32 to 320 kb/s, whole numbers, got",
        ),
        (lambda: Mp3((500,)), "kilobits must be a tuple of bit rates from 32 to 320"),
        (lambda: FGSM(Linf(0.1), transformations=(Gain(),)), "transformations must be Transformations"),  # type: ignore[arg-type]
        (lambda: Described(transformations=Transformations()), "leave transformations out"),
        (lambda: Transformations.named("gain,rom"), r"Unknown transformation 'rom'\. Did you mean room\?"),
    ],
)
def test_other_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_transformations_are_made_by_name():
    named = Transformations.named("gain, shift,noise,low-pass,room,mp3", draws=4)
    assert named == Transformations((Gain(), Shift(), AddedNoise(), LowPass(), Room(), Mp3()), draws=4)
    assert set(TRANSFORMATIONS) == {"gain", "shift", "noise", "low-pass", "room", "mp3"}


def test_transformations_are_rebuilt_from_json():
    attack = APGD(Linf(0.1), transformations=Transformations((Room(seconds=(0.1, 0.3)), Mp3((64,))), draws=3))
    assert from_dict(json.loads(json.dumps(attack.to_dict()))) == attack
    assert attack.to_dict()["transformations"]["parts"][1] == {"type": "mp3", "kilobits": [64]}
    assert "transformations" not in APGD(Linf(0.1)).to_dict()


def test_random_numbers_belong_to_the_content():
    drawn = [generator_of(example, 0).random() for example in (SOUND[0], SOUND[0].clone(), SOUND[1])]
    assert drawn[0] == drawn[1] != drawn[2]
