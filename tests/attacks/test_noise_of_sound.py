"""Noise of a given spectrum: white, pink, and in proportion to the masking threshold."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch

from tenuto.attacks import SNR, Amplitude, Axes, Linf, Masked, Noise, OneEmotion, from_dict
from tenuto.audio.masking import band_powers, ear, noise_to_mask, noise_to_mask_db
from tenuto.errors import AttackError
from tests.attacks.conftest import Linear, random

SAMPLES, RATE = 22_050, 22_050
TIME = torch.arange(SAMPLES, dtype=torch.float64) / RATE
WAVES = 0.1 * torch.stack(
    [torch.sin(2 * math.pi * pitch * TIME) * (1 + torch.sin(6 * TIME)) for pitch in (440, 1100)]
)
WEIGHTS = random(1, SAMPLES, seed=0)


def noise(kind, budget):
    attack = Noise(budget, objective=OneEmotion(0), kind=kind, draws=2)
    return attack(Linear(WEIGHTS), WAVES, torch.zeros(2, 1, dtype=torch.float64)).perturbation


def octaves(delta):
    """Power in the octaves from 50 to 6400 Hz, in dB, averaged over the clips."""
    power = torch.fft.rfft(delta).abs().square().mean(dim=0)
    return [
        10 * math.log10(float(power[low : 2 * low].sum())) for low in (50, 100, 200, 400, 800, 1600, 3200)
    ]


def steps(levels):
    return [after - before for before, after in itertools.pairwise(levels)]


@pytest.mark.parametrize(("kind", "step"), [("white", 10 * math.log10(2)), ("pink", 0.0)])
def test_power_from_octave_to_octave(kind, step):
    assert steps(octaves(noise(kind, SNR(20)))) == pytest.approx([step] * 6, abs=1.2)


def test_pink_noise_has_no_power_below_hearing():
    spectrum = torch.fft.rfft(noise("pink", SNR(20))).abs()
    assert spectrum[:, :20].max() < 1e-9 * spectrum[:, 20:].max()


def test_the_sample_rate_is_that_of_the_axes():
    """Also of a budget that was read from JSON or made with another size."""
    made = Noise(SNR(20).of(0.1), objective=OneEmotion(0), kind="pink", draws=1)
    attack = from_dict(json.loads(json.dumps(made.to_dict())))
    labels = torch.zeros(2, 1, dtype=torch.float64)
    spectrum = torch.fft.rfft(attack(Linear(WEIGHTS), WAVES, labels, axes=Axes(RATE / 10)).perturbation).abs()
    assert spectrum[:, 200:210].any()
    assert spectrum[:, :200].max() < 1e-9 * spectrum[:, 200:].max()


def test_masked_noise_is_in_proportion_to_the_threshold():
    """Bands differ by 50 dB; their noise-to-mask ratios by a few, but for chance and overlapping frames."""
    delta = noise("masked", SNR(20))
    ratios = 10 * noise_to_mask(delta, WAVES)[:, 2:-2].log10()
    powers = 10 * band_powers(delta, ear())[:, 2:-2].log10()
    assert powers.mean(dim=(0, 1)).std() > 8
    assert ratios.mean(dim=(0, 1)).std() < 2
    assert ratios.std() < 4


@pytest.mark.parametrize("kind", ["white", "pink", "masked"])
def test_every_draw_has_the_size_of_the_budget(kind):
    assert SNR(30).around(WAVES, "ab").size(noise(kind, SNR(30))).tolist() == pytest.approx([10**-1.5] * 2)
    assert noise(kind, Amplitude(0.01)).abs().amax(dim=1).tolist() == pytest.approx([0.01] * 2)
    assert noise_to_mask_db(noise(kind, Masked(-6)), WAVES).tolist() == pytest.approx([-6] * 2, abs=0.01)


def test_masked_noise_is_louder_than_white_at_the_same_noise_to_mask_ratio():
    loud, soft = (noise(kind, Masked(0)).square().mean().sqrt() for kind in ("masked", "white"))
    assert loud > 5 * soft


@pytest.mark.parametrize("kind", ["white", "pink", "masked"])
def test_spectrograms_have_no_such_noise(kind):
    with pytest.raises(AttackError, match=rf"Noise of kind '{kind}' is for waveforms \(n, samples\), but"):
        Noise(kind=kind, budget=Linf(0.1))(torch.nn.Flatten(), torch.rand(1, 1, 4, 3), torch.rand(1, 12))
