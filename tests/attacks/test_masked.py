"""The budget of the noise-to-mask ratio: projections, directions, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

from tenuto.attacks import APGD, FGSM, PGD, Axes, Masked, OneEmotion, Square, from_dict
from tenuto.audio.masking import ear, noise_to_mask, noise_to_mask_db, spectrum, threshold
from tenuto.errors import AttackError, ConfigError
from tests.attacks.conftest import Linear

SAMPLES = 9000


def music(seed, count=2):
    """Chords of decaying partials over soft noise, (count, samples), peak 0.5."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(SAMPLES) / 22_050
    chords = []
    for _ in range(count):
        notes = 110 * 2 ** (torch.randint(0, 24, (3,), generator=generator) / 12)
        partials = [
            torch.sin(2 * math.pi * number * note * time) / number for note in notes for number in range(1, 9)
        ]
        strokes = torch.exp(-4 * (time % 0.2))
        chords.append(strokes * torch.stack(partials).sum(dim=0))
    waves = torch.stack(chords) + 0.01 * torch.randn(count, SAMPLES, generator=generator)
    return 0.5 * waves / waves.abs().amax(dim=1, keepdim=True)


def noise(seed, count=2):
    return torch.randn(count, SAMPLES, generator=torch.Generator().manual_seed(seed))


WAVES = music(1)
NAMES = ("a", "b")
AROUND = Masked(0).around(WAVES, NAMES)


def level(delta, waves=WAVES):
    return noise_to_mask_db(delta.double(), waves.double())


@pytest.mark.parametrize(
    "delta",
    [
        pytest.param(noise(2), id="white noise"),
        pytest.param(1e-3 * noise(2), id="soft noise"),
        pytest.param(WAVES, id="the music"),
        pytest.param(torch.ones_like(WAVES), id="constant"),
        pytest.param(torch.eye(SAMPLES)[[0, 4000]], id="click"),
        pytest.param(noise(3).sign(), id="signs"),
        pytest.param(AROUND.steepest(noise(4)) * 30, id="far beyond the threshold everywhere"),
    ],
)
@pytest.mark.parametrize("db", [-20, 0, 6])
def test_a_projection_meets_the_budget_and_not_less(delta, db):
    result = Masked(db).around(WAVES, NAMES).project(delta)
    assert (level(result) <= db + 1e-4).all()
    assert (level(result) >= min(db - 0.5, float(level(delta).min()) - 1e-4)).all()


def test_a_projection_leaves_alone_what_is_inside():
    inside = AROUND.project(noise(2)) / 2
    assert torch.equal(AROUND.project(inside), inside)


def test_a_projection_uses_most_of_every_band():
    """One factor for the whole clip, which brings the worst band to the threshold, leaves 13 dB more unused."""
    ratios = noise_to_mask(AROUND.project(3 * AROUND.steepest(noise(2))), WAVES)
    scaled = 3 * AROUND.steepest(noise(2))
    scaled = scaled * (1 / AROUND.size(scaled))[:, None]
    median, one_factor = (10 * value.median().log10() for value in (ratios, noise_to_mask(scaled, WAVES)))
    assert median > -1
    assert one_factor < -6


def test_every_example_may_have_a_radius_of_its_own():
    radius = torch.tensor([0.1, 0.0])
    result = AROUND.project(noise(2), radius)
    assert float(AROUND.size(result)[0]) == pytest.approx(0.1, rel=0.05)
    assert not result[1].any()


def test_the_size_is_the_square_root_of_the_largest_ratio_of_powers():
    delta = 1e-3 * noise(2)
    expected = noise_to_mask(delta, WAVES).flatten(1).amax(dim=1).sqrt()
    assert torch.equal(AROUND.size(delta), expected)
    assert AROUND.take(torch.tensor([1])).size(delta[1:]).tolist() == expected[1:].tolist()
    assert Masked(6).epsilon == pytest.approx(10**0.3)


@pytest.mark.parametrize("factor", [1.0, 1e-30])
def test_the_steepest_direction_follows_the_gradient_in_every_band(factor):
    """A bound: <g, d> is the sum over frames of <v g, w d>, where w is the window and v w + (v w shifted) = 1, and in
    every band that is at most the product of the norms."""
    gradient, model = noise(5).double(), ear()
    square = model.window.square()
    dual = dataclasses.replace(model, window=model.window / (square + square.roll(512)))
    bands = (spectrum(gradient, dual).abs().square() @ model.bands).sqrt()
    bound = (bands * (threshold(WAVES) / 10**9.6).sqrt()).sum(dim=(1, 2))

    def slope(direction):
        return (AROUND.project(direction) * gradient).sum(dim=1) / bound

    steepest = slope(AROUND.steepest(factor * noise(5)))
    assert (steepest > 0.7).all()
    assert (steepest < 1).all()
    for other in (noise(5), noise(5).sign()):
        assert (steepest > slope(other)).all()


@pytest.mark.parametrize("factor", [1e-20, 1e-22, 1e-24])
def test_a_gradient_that_vanishes_in_a_part_of_the_clip_has_a_direction(factor):
    gradient = noise(5).float()
    gradient[:, gradient.shape[1] // 2 :] *= factor
    steepest = Masked(0).around(WAVES.float(), "ab").steepest(gradient)
    assert torch.isfinite(steepest).all()
    assert (level(Masked(0).around(WAVES, "ab").project(steepest.double())) > -3).all()


def test_no_gradient_no_direction():
    assert not AROUND.steepest(torch.zeros_like(WAVES)).any()


def test_an_ascent_on_a_linear_model_gains_on_single_steps():
    weights = noise(6, 1).double() / 100
    model, labels = Linear(weights), torch.zeros(2, 1, dtype=torch.float64)
    attacks = [kind(Masked(0), objective=OneEmotion(0)) for kind in (FGSM, PGD, APGD)]
    once, equal, adaptive = (attack(model, WAVES.double(), labels).loss for attack in attacks)
    assert (adaptive > 1.03 * once).all()
    assert (adaptive > 0.98 * equal).all()


def test_a_random_point_fills_the_budget():
    uniform = torch.rand(2, SAMPLES, generator=torch.Generator().manual_seed(0)) * 2 - 1
    point = Masked(-3).around(WAVES, NAMES).scattered(uniform)
    assert (level(point) <= -3 + 1e-4).all()
    assert 10 * noise_to_mask(point, WAVES).median().log10() > -5


def test_the_valid_range_costs_little():
    """Sixty samples of full scale. Clipping them makes clicks, for which one factor would leave a fifth of the gain."""
    loud = (3 * WAVES).clamp(-1, 1)
    model, labels = Linear(noise(6, 1).double()), torch.zeros(2, 1, dtype=torch.float64)
    free, limited = (
        FGSM(Masked(0), objective=OneEmotion(0))(model, loud.double(), labels, valid_range=valid_range)
        for valid_range in (None, (-1.0, 1.0))
    )
    assert free.adversarial.abs().max() > 1.001
    assert limited.adversarial.abs().max() <= 1
    assert (limited.loss > 0.5 * free.loss).all()


def test_what_is_above_the_budget_is_refused_by_name():
    delta = AROUND.project(noise(2))
    AROUND.check(delta * 10**0.004, NAMES)  # 0.08 dB
    delta[1] *= 10**0.006
    with pytest.raises(
        AttackError, match=r"clip b has a noise-to-mask ratio of 0\.1\d dB but the budget is Masked\(db=0\)"
    ):
        AROUND.check(delta, NAMES)
    delta[0, 3] = math.nan
    with pytest.raises(AttackError, match="clips a, b"):
        AROUND.check(delta, NAMES)


def test_a_silent_waveform_masks_nothing():
    silent = WAVES * torch.tensor([[1.0], [0.0]])
    with pytest.raises(AttackError, match="The waveform of clip b is silent and masks nothing: leave it out"):
        FGSM(Masked(0))(torch.nn.Linear(SAMPLES, 2), silent, torch.rand(2, 2), names=NAMES)


def test_it_needs_to_know_the_waveforms():
    with pytest.raises(AttackError, match=r"Masked\(db=0\) depends on the waveforms: call around"):
        Masked(0).size(WAVES)


def test_axes_of_another_sample_rate_are_refused():
    model, labels = Linear(noise(6, 1)), torch.zeros(2, 1)
    with pytest.raises(AttackError, match=r"for 22050 Hz, but the axes say 16000 Hz: .*_rate=16000\)"):
        FGSM(Masked(0))(model, WAVES, labels, axes=Axes(16_000))
    assert FGSM(Masked(0, sample_rate=16_000))(model, WAVES, labels, axes=Axes(16_000)).perturbation.any()


def test_square_refuses_it():
    with pytest.raises(ConfigError, match="norms linf, l2, snr and amplitude, not of masked"):
        Square(Masked(0))


def test_it_prints_and_survives_json():
    assert repr(Masked(0.0)) == "Masked(db=0)"
    assert repr(Masked(-6, sample_rate=16_000)) == "Masked(db=-6, sample_rate=16000)"
    assert Masked(6).label() == "noise-to-mask 6 dB"
    assert Masked(0) == AROUND
    assert Masked(0).of(Masked(-6).epsilon) == Masked(-6)
    for budget in (Masked(-6), Masked(0, sample_rate=16_000)):
        assert from_dict(json.loads(json.dumps(FGSM(budget).to_dict()))) == FGSM(budget)


@pytest.mark.parametrize("rate", [0, 999, 22_050.0, True])
def test_a_sample_rate_is_a_whole_number(rate):
    with pytest.raises(ConfigError, match="sample_rate must be a whole number of at least 1000"):
        Masked(0, sample_rate=rate)
