"""The masking threshold against values from the formulas of the standard, computed one masker and line at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.plain_masking import BANDS, LINES, SIZE, bands_db, centre, threshold_db
from tenuto.audio import load_audio, masking
from tenuto.audio.masking import ear, noise_to_mask, noise_to_mask_db, threshold
from tenuto.errors import AudioError

STEADY = 20
"""A frame far from both ends."""


def decibels(power):
    return 10 * np.log10(np.asarray(power))


def sine(line, amplitude, samples=22_050):
    time = torch.arange(samples, dtype=torch.float64)
    return amplitude * torch.sin(2 * math.pi * line * time / SIZE)


# Known answers. A sine of amplitude 0.1 has 96 - 20 = 76 dB SPL.


def test_the_threshold_of_a_tone_of_1_khz():
    line = 46  # 990.5 Hz
    assert decibels(threshold(sine(line, 0.1))[STEADY]) == pytest.approx(bands_db([(line, 76)]), abs=1e-3)


def test_the_threshold_of_two_tones_belongs_to_their_lines():
    """Tones of 990.5 and 4306 Hz. One that took the Bark of lines 0 and 1, their places in the list, would be below
    the threshold in quiet at both."""
    tones = [(46, 76.0), (200, 66.0)]
    wave = sine(46, 0.1) + sine(200, 0.1 * 10**-0.5)
    result = decibels(threshold(wave)[STEADY])
    assert result == pytest.approx(bands_db(tones), abs=1e-3)
    misplaced = bands_db([(place, level) for place, (_, level) in enumerate(tones)])
    assert np.abs(result - misplaced).max() > 20


def test_the_threshold_of_a_click_is_that_of_noise():
    """A click at the centre of a frame has the same power in every line; none is a tone."""
    wave = torch.zeros(22_050, dtype=torch.float64)
    wave[STEADY * 512], wave[2 * STEADY * 512] = 0.5, -0.5  # without an offset
    line_power = 4 * 10**9.6 / SIZE**2 * (0.5 * math.sqrt(8 / 3)) ** 2
    noises = []
    for band in BANDS:
        lines = band[band > 0]
        power = sum(line_power / (2 if line == LINES[-1] else 1) for line in lines)
        noises.append((centre(band), 10 * math.log10(power)))
    assert decibels(threshold(wave)[STEADY]) == pytest.approx(bands_db(noises=noises), abs=1e-3)


def test_of_two_tones_within_half_a_bark_the_weaker_masks_nothing():
    wave = sine(200, 0.1) + sine(210, 0.05)
    assert decibels(threshold(wave)[STEADY]) == pytest.approx(bands_db([(200, 76)]), abs=1e-3)


def test_of_two_tones_further_apart_both_mask():
    level = 76 - 20 * math.log10(2)
    wave = sine(200, 0.1) + sine(230, 0.05)
    tones = [(200, 76), (230, level)]
    assert decibels(threshold(wave)[STEADY]) == pytest.approx(bands_db(tones), abs=1e-3)


def test_silence_has_the_threshold_in_quiet():
    result = decibels(threshold(torch.zeros(22_050)))
    assert result == pytest.approx(np.tile(bands_db(), (len(result), 1)), abs=1e-3)


def test_tones_that_begin_or_end_abruptly_mask_more_in_the_first_and_last_frame():
    """What docs/sound.md says: of a chord by some 40 dB, of noise by nothing."""
    time = torch.arange(60 * 512, dtype=torch.float64) / 22_050
    chord = sum(torch.cos(2 * math.pi * hertz * time) for hertz in (220, 277, 330, 440, 660)) / 6
    assert isinstance(chord, torch.Tensor)
    noise = 0.1 * torch.randn(len(time), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for whole, low, high in ((chord, 35, 50), (noise, -6, 3)):
        excerpt = threshold(whole[20 * 512 : 40 * 512])
        more = decibels(excerpt / threshold(whole)[20 : 20 + len(excerpt)])
        assert low < more[0].max() < high
        assert np.abs(more[1:-2]).max() < 0.2  # the mean that is removed is that of the excerpt


@pytest.mark.parametrize("offset", [0.01, 0.1, -0.3])
def test_an_offset_masks_nothing(offset):
    tone = sine(93, 0.5)
    assert torch.allclose(threshold(tone + offset), threshold(tone), rtol=1e-3)


def test_a_tone_below_the_threshold_in_quiet_masks_nothing():
    assert decibels(threshold(sine(46, 2e-5))[STEADY]) == pytest.approx(bands_db(), abs=1e-3)


def test_music_has_the_threshold_of_the_model_written_out(shared):
    wave = load_audio(shared / "soundtracks" / "Set1" / "001.mp3")[:25_000].astype(np.float64)
    expected = threshold_db(wave)
    assert np.ptp(expected, axis=0).min() > 3
    assert decibels(threshold(torch.from_numpy(wave))) == pytest.approx(expected, abs=1e-3)


# Powers and ratios


def test_a_sine_of_full_scale_has_96_db():
    power = masking.band_powers(sine(46, 1.0), ear())[STEADY]
    assert float(decibels(power.sum())) == pytest.approx(96, abs=1e-9)


def test_the_power_of_noise_is_its_mean_square():
    noise = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    power = masking.band_powers(noise, ear())[1:-1].sum(dim=1).mean()
    assert float(power) == pytest.approx(2 * 10**9.6 * float(noise.square().mean()), rel=0.01)


def test_the_noise_to_mask_ratio_of_a_tone():
    ratios = decibels(noise_to_mask(sine(46, 1e-3), sine(46, 0.1))[STEADY])
    band = next(number for number, lines in enumerate(BANDS) if 46 in lines)
    assert ratios[band] == pytest.approx(36 - bands_db([(46, 76)])[band], abs=0.01)
    assert max(np.delete(ratios, band)) < -100


def test_twice_the_perturbation_is_6_db_more():
    wave, delta = torch.randn(2, 30_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    once, twice = noise_to_mask_db(delta, wave), noise_to_mask_db(2 * delta, wave)
    assert float(twice - once) == pytest.approx(20 * math.log10(2))
    assert float(noise_to_mask_db(0 * delta, wave)) == -math.inf


def test_every_clip_of_a_batch_has_its_own_threshold():
    waves = torch.randn(3, 9000, generator=torch.Generator().manual_seed(2)) * torch.tensor(
        [[0.5], [0.01], [0.0]]
    )
    together = threshold(waves)
    assert all(torch.equal(together[row], threshold(wave)) for row, wave in enumerate(waves))
    assert together.shape == (3, 19, 23)


@pytest.mark.parametrize("samples", [1, 511, 512, 513, 5000])
def test_frames_give_back_the_waveform(samples):
    wave = torch.randn(2, samples, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    frames = masking.spectrum(wave, ear())
    assert frames.shape[1] == math.ceil(samples / 512) + 1
    assert torch.allclose(masking.resynthesise(frames, samples, ear()), wave, atol=1e-12)


@pytest.mark.parametrize(("rate", "size", "bands"), [(8000, 512, 18), (16_000, 1024, 22), (44_100, 2048, 25)])
def test_other_sample_rates_keep_the_length_of_a_frame(rate, size, bands):
    assert ear(rate).size == size
    assert threshold(torch.zeros(rate), rate).shape[1] == bands


@pytest.mark.parametrize(("rate", "tolerance"), [(1000, 0.1), (4000, 0.1), (96_000, 4)])
def test_the_lowest_and_highest_sample_rates_have_a_threshold(rate, tolerance):
    """Without a warning. At 1, 4 and 8 kHz lines are equally far apart."""

    def of_a_tone(rate):
        time = torch.arange(2 * rate, dtype=torch.float64) / rate
        return decibels(threshold(0.5 * torch.sin(2 * math.pi * 250 * time), rate)[STEADY])

    assert of_a_tone(rate)[2:4] == pytest.approx(of_a_tone(8000)[2:4], abs=tolerance)


def test_the_same_tone_has_the_same_threshold_at_another_rate():
    time = torch.arange(44_100, dtype=torch.float64)
    tone = 0.1 * torch.sin(2 * math.pi * 46 * time / 2048)
    result = decibels(threshold(tone, 44_100)[STEADY])
    assert result[:22] == pytest.approx(bands_db([(46, 76)])[:22], abs=1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(value):
    wave = torch.zeros(2000)
    bad = wave.clone()
    bad[7] = value
    with pytest.raises(AudioError, match="NaN or infinity"):
        threshold(bad)
    with pytest.raises(AudioError, match="NaN or infinity"):
        noise_to_mask(bad, wave)


def test_nothing_has_no_threshold():
    with pytest.raises(AudioError, match="no samples"):
        threshold(torch.zeros(0))


def test_shapes_that_differ_are_refused():
    with pytest.raises(AudioError, match=r"shape \(5,\) and the waveform \(6,\)"):
        noise_to_mask(torch.zeros(5), torch.zeros(6))
