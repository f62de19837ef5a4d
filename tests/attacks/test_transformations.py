"""Expectation over transformations: each is differentiable and what it says, and attacks average over them."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from tenuto.attacks import (
    APGD,
    FGSM,
    L2,
    PGD,
    SNR,
    TRANSFORMATIONS,
    AddedNoise,
    Amplitude,
    Axes,
    Described,
    Gain,
    Linf,
    LowPass,
    Minimal,
    Mp3,
    Noise,
    OneEmotion,
    Region,
    Room,
    Shift,
    Square,
    Transfer,
    Transformation,
    Transformations,
    from_dict,
)
from tenuto.attacks.chance import generator_of
from tenuto.attacks.search import FRESH, FRESH_DRAWS
from tenuto.attacks.transformations import Views
from tenuto.audio.mp3 import coded
from tenuto.errors import AttackError, ConfigError, RandomModelWarning
from tests.attacks.conftest import Counting, Linear

UP = OneEmotion(0)
RATE, SAMPLES = 1000.0, 400
AXES = Axes(RATE)


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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
    (result * weights).sum().backward()
    assert torch.equal(point.grad, weights)


# Averaging


class TwoTones(nn.Module):
    """One output: three times a tone of 300 Hz, and a tone of 40 Hz."""

    def forward(self, inputs):
        return torch.stack([inputs @ (3 * tone(300) + tone(40)), inputs @ tone(40)], dim=1)


def gain_of(result, model, *parts):
    """By how much a perturbation raises the first output on fresh draws, on average, (n,)."""
    made = Views(Transformations(parts), SOUND, AXES, FRESH).draw(torch.arange(3), FRESH_DRAWS)
    with torch.no_grad():
        rises = [(model(view(result.adversarial)) - model(view(SOUND)))[:, 0] for view in made]
    return torch.stack(rises).mean(dim=0)


def test_the_average_beats_the_plain_attack_on_fresh_draws():
    """A low-pass removes the strong tone: the plain attack spends nine tenths of its power there, in vain."""
    part = LowPass((80.0, 120.0))
    plain = PGD(L2(0.5), objective=UP, steps=20)(TwoTones(), SOUND, LABELS)
    attack = PGD(L2(0.5), objective=UP, steps=20, transformations=Transformations((part,), draws=4))
    averaged = attack(TwoTones(), SOUND, LABELS, axes=AXES)
    assert gain_of(plain, TwoTones(), part).tolist() == pytest.approx([0.5 / math.sqrt(10)] * 3, rel=0.1)
    assert gain_of(averaged, TwoTones(), part).tolist() == pytest.approx([0.5] * 3, rel=0.05)
    stated = averaged.columns["fresh_loss"] - averaged.columns["fresh_clean_loss"]
    assert stated.tolist() == pytest.approx(gain_of(averaged, TwoTones(), part).tolist())
    # Without a transformation the plain attack is stronger, and the result is that of the model itself.
    assert (plain.loss > averaged.loss).all()
    assert torch.allclose(averaged.adversarial_prediction, TwoTones()(averaged.adversarial))
    rise = averaged.adversarial_prediction - averaged.clean_prediction
    assert averaged.loss.tolist() == pytest.approx(rise[:, 0].tolist())


def test_the_average_relies_on_nothing_that_a_shift_undoes():
    """Two clicks of opposite sign average out over shifts; a slow wave does not."""

    def model(inputs):
        clicks = 10 * (inputs[:, 200] - inputs[:, 201])
        return torch.stack([clicks + inputs[:, 150:250].sum(dim=1), inputs[:, 0]], dim=1)

    plain = PGD(L2(0.5), objective=UP)(model, SOUND, LABELS)
    attack = PGD(L2(0.5), objective=UP, transformations=Transformations((Shift(0.02),), draws=16))
    averaged = attack(model, SOUND, LABELS, axes=AXES)
    assert (gain_of(averaged, model, Shift(0.02)) > 1.5 * gain_of(plain, model, Shift(0.02))).all()


def test_the_columns_are_means_over_fresh_draws():
    gain = Transformations((Gain(6.0),), draws=2)
    attack = PGD(Linf(0.01), steps=3, transformations=gain)
    weights = random(2, SAMPLES, seed=5)
    result = attack(Linear(weights), SOUND, LABELS, axes=AXES)
    made = Views(gain, SOUND, AXES, FRESH).draw(torch.arange(3), FRESH_DRAWS)
    gains = torch.stack([(view(SOUND) / SOUND)[:, :1] for view in made])
    clean, attacked = (gains * Linear(weights)(x) for x in (SOUND, result.adversarial))
    expected = {
        "fresh_loss": attacked.square().mean(dim=(0, 2)),
        "fresh_clean_loss": clean.square().mean(dim=(0, 2)),
        "fresh_error": attacked.abs().mean(dim=(0, 2)),
        "fresh_clean_error": clean.abs().mean(dim=(0, 2)),
        "fresh_moved": (attacked - clean).abs().mean(dim=(0, 2)),
    }
    columns = result.extra_columns()
    assert set(columns) == set(expected)
    for name, values in expected.items():
        assert columns[name].tolist() == pytest.approx(values.tolist()), name
        assert columns[name].dtype == torch.float64


def test_passes_are_counted_honestly():
    model = Counting(Linear(random(2, SAMPLES, seed=5)))
    result = APGD(Linf(0.01), steps=6, transformations=Transformations((Gain(),), draws=5))(
        model, SOUND, LABELS, axes=AXES
    )
    plain = APGD(Linf(0.01), steps=6)(Linear(random(2, SAMPLES, seed=5)), SOUND, LABELS)
    assert model.forwards == int(result.forward_passes.sum())
    assert model.gradients == int(result.gradient_passes.sum())
    assert result.gradient_passes.tolist() == (5 * plain.gradient_passes).tolist()
    # All but the two evaluations in full precision five times; then the clean input, the decision and fresh draws.
    assert (
        result.forward_passes.tolist()
        == (5 * (plain.forward_passes - 2) + 2 + 5 + 10 + 2 * FRESH_DRAWS).tolist()
    )
    assert result.iterations.tolist() == plain.iterations.tolist()


FAMILIES = [
    FGSM(Linf(0.01)),
    PGD(Linf(0.01), steps=5, restarts=2),
    APGD(L2(0.2), steps=5),
    Minimal(L2(0.5), goal=0.1, steps=5, bisections=2),
    PGD(SNR(20), steps=5),
    FGSM(Amplitude(0.01)),
    Square(SNR(20), queries=20),
    Square(Linf(0.01), queries=20),
    Noise(Linf(0.01)),
    Transfer(Linf(0.01), source=Linear(random(2, SAMPLES, seed=6)), steps=5),
]


@pytest.mark.parametrize("plain", FAMILIES, ids=repr)
def test_every_family_gives_an_example_the_same_alone_and_in_a_batch(plain):
    parts = (Gain(), Shift(0.01), AddedNoise(), LowPass((100.0, 400.0)), QUICK_ROOM)
    attack = dataclasses.replace(plain, transformations=Transformations(parts, draws=2))
    model = Linear(random(2, SAMPLES, seed=5))
    whole = attack(model, SOUND, LABELS, axes=AXES)
    alone = attack(model, SOUND[1:2], LABELS[1:2], axes=AXES)
    assert torch.allclose(whole.perturbation[1:2], alone.perturbation, atol=1e-9)
    for name, values in whole.columns.items():
        assert torch.allclose(values[1:2], alone.columns[name])
    size = attack.budget.around(SOUND, "abc").size(whole.perturbation)
    assert (size <= attack.epsilon * (1 + 1e-6)).all()


def test_the_seed_of_the_draws_is_their_own():
    model, parts = Linear(random(2, SAMPLES, seed=5)), (AddedNoise((0.0, 0.0)),)
    results = [
        APGD(L2(0.2), steps=5, seed=seed, transformations=Transformations(parts, draws=2, seed=own))(
            model, SOUND, LABELS
        )
        for seed, own in ((0, 0), (1, 0), (0, 1))
    ]
    losses = [result.columns["fresh_loss"] for result in results]
    assert torch.equal(results[0].perturbation, results[1].perturbation)
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


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


def test_a_perturbation_that_does_not_help_under_transformations_is_not_returned():
    class Backfires(nn.Module):
        """Rises with quiet sound changes, and falls with them where the sound is loud, as every draw is."""

        def forward(self, inputs):
            own = inputs @ tone(40)
            return torch.where(inputs.norm(dim=1) > 6, -own, own)[:, None]

    labels = torch.zeros(3, 1, dtype=torch.float64)
    louder = Transformations((Gain(0.0), _Louder()), draws=2)
    start = 0.1 * tone(40).expand(3, -1)
    attack = Noise(L2(0.1), objective=UP, draws=1, transformations=louder)
    result = attack(Backfires(), SOUND, labels, start=start)
    without = Noise(L2(0.1), objective=UP, draws=1)(Backfires(), SOUND, labels, start=start)
    assert torch.allclose(without.perturbation, start)
    assert not torch.allclose(result.perturbation, start)
    assert (result.columns["fresh_loss"] >= result.columns["fresh_clean_loss"] - 1e-12).all()


class _Louder(Transformation):
    needs_rate = False

    def draw(self, generator, samples, rate):
        return np.array([10.0])

    def apply(self, waveforms, drawn, rate):
        return waveforms * drawn


def test_a_region_and_transformations_go_together():
    attack = PGD(
        Linf(0.01),
        region=Region(seconds=(0.1, 0.2)),
        transformations=Transformations((Shift(0.01),), draws=2),
    )
    result = attack(Linear(random(2, SAMPLES, seed=5)), SOUND, LABELS, axes=AXES)
    assert result.perturbation[:, 100:200].any()
    assert not result.perturbation[:, :100].any()
    assert not result.perturbation[:, 200:].any()


# Random models


class Noisy(nn.Module):
    """The sum of the inputs, each weighted by chance: its sign is right in 69 of 100 evaluations."""

    def forward(self, inputs):
        return (inputs * (0.5 + torch.randn_like(inputs))).sum(dim=1, keepdim=True)


def test_averaging_finds_the_gradient_of_a_random_model():
    torch.manual_seed(0)
    inputs, labels = torch.zeros(2, 200), torch.zeros(2, 1)
    with pytest.warns(RandomModelWarning, match=r"Transformations\(draws=8\)"):
        once = FGSM(Linf(0.1), objective=UP)(Noisy(), inputs, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        averaged = FGSM(Linf(0.1), objective=UP, transformations=Transformations(draws=32))(
            Noisy(), inputs, labels
        )
    right = [(result.perturbation > 0).double().mean() for result in (once, averaged)]
    assert right[0] < 0.8
    assert right[1] > 0.97


def test_without_parts_any_inputs_will_do():
    attack = FGSM(Linf(0.1), transformations=Transformations(draws=2))
    spectrograms = SOUND.view(3, 1, 20, 20)
    result = attack(Linear(random(2, SAMPLES, seed=5)), spectrograms, LABELS)
    plain = FGSM(Linf(0.1))(Linear(random(2, SAMPLES, seed=5)), spectrograms, LABELS)
    assert torch.allclose(result.perturbation, plain.perturbation)
    assert result.columns["fresh_loss"].tolist() == pytest.approx(result.loss.tolist())


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


@pytest.mark.parametrize(
    ("parts", "inputs", "axes", "message"),
    [
        (
            (Gain(),),
            SOUND.view(3, 1, 20, 20),
            AXES,
            r"change waveforms \(n, samples\), but the inputs have shape",
        ),
        ((Gain(), Room()), SOUND, None, "depend on the sample rate: give axes"),
        ((Room(),), SOUND, Axes(31.3, (100.0,) * 149), "axes names 149 bands"),
    ],
)
def test_other_inputs_are_refused(parts, inputs, axes, message):
    with pytest.raises(AttackError, match=message):
        FGSM(Linf(0.1), transformations=Transformations(parts))(TwoTones(), inputs, LABELS, axes=axes)


def test_a_gain_needs_no_sample_rate():
    FGSM(Linf(0.1), transformations=Transformations((Gain(), AddedNoise())))(TwoTones(), SOUND, LABELS)


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
