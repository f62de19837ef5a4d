"""Attacks that average over transformations, and over the draws of a random model."""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from tenuto.attacks import (
    APGD,
    DDN,
    FGSM,
    L2,
    PGD,
    SNR,
    AddedNoise,
    Amplitude,
    Axes,
    Gain,
    Linf,
    LowPass,
    Minimal,
    Noise,
    Region,
    Room,
    Shift,
    Square,
    Transfer,
    Transformation,
    Transformations,
)
from tenuto.attacks.search import FRESH, FRESH_DRAWS
from tenuto.attacks.transformations import Views
from tenuto.errors import AttackError, RandomModelWarning
from tests.attacks.conftest import Counting, Linear, random
from tests.attacks.test_transformations import AXES, LABELS, QUICK_ROOM, SAMPLES, SOUND, UP, tone


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


LOUD = torch.ones(SAMPLES, dtype=torch.float64)
RATED = 0.2 * LOUD.expand(12, -1) / SAMPLES + 0.3 * random(12, SAMPLES, seed=8) @ (
    torch.eye(SAMPLES) - LOUD[:, None] * LOUD / SAMPLES
).to(torch.float64)
"""Twelve clips whose sum is 0.2."""


@pytest.mark.parametrize("kind", [FGSM, PGD], ids=["FGSM", "PGD"])
def test_luck_with_its_draws_keeps_no_weaker_perturbation(kind):
    """Under gains alone the optimum is that without any; they scale the clean prediction more than the attack."""
    attack = kind(Linf(1e-4), objective=UP, transformations=Transformations((Gain(6),), draws=4))
    result = attack(lambda x: x.sum(dim=1, keepdim=True), RATED, torch.zeros(12, 1).double(), axes=AXES)
    assert result.perturbation.sum(dim=1).tolist() == pytest.approx([1e-4 * SAMPLES] * 12)


@pytest.mark.parametrize("kind", [Minimal, DDN], ids=["Minimal", "DDN"])
def test_a_goal_is_reached_on_the_draws_that_decide(kind):
    attack = kind(
        Linf(0.01), objective=UP, goal=0.4, transformations=Transformations((Gain(3),), draws=4), steps=30
    )
    result = attack(lambda x: x.sum(dim=1, keepdim=True), RATED, torch.zeros(12, 1).double(), axes=AXES)
    assert result.converged.all()
    size = result.perturbation.abs().amax(dim=1)
    gain = (0.2 + 0.4) / (0.2 + SAMPLES * size)  # the mean gain of each clip's draws: the goal is a rise
    assert ((gain > 10 ** (-3 / 20)) & (gain < 10 ** (3 / 20))).all()
    assert float(gain.mean()) == pytest.approx(1.0, abs=0.1)
    assert float(result.columns["fresh_loss"].mean()) == pytest.approx(0.4, abs=0.05)


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
        ((Room(),), SOUND, Axes(31.3, tuple(range(149))), "axes names 149 bands"),
    ],
)
def test_other_inputs_are_refused(parts, inputs, axes, message):
    with pytest.raises(AttackError, match=message):
        FGSM(Linf(0.1), transformations=Transformations(parts))(TwoTones(), inputs, LABELS, axes=axes)


def test_a_gain_needs_no_sample_rate():
    FGSM(Linf(0.1), transformations=Transformations((Gain(), AddedNoise())))(TwoTones(), SOUND, LABELS)
