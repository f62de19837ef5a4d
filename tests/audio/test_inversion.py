"""Log spectrograms back to sound: what must come out is known in advance."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import torch

from tenuto.audio import SAMPLE_RATE, LogSpectrogram
from tenuto.audio.inversion import band_centres, encode, invert, reach, render, snr_db, to_16_bit
from tenuto.audio.spectrogram import FRAME_SIZE, filterbank, frame_count, frame_starts
from tenuto.errors import AudioError, ConfigError

SECONDS = 2
FADED = 390
"""Samples at the start of a recording over which a change is faded in."""

FILTERS = filterbank()


def heard(waveform):
    return LogSpectrogram()(torch.from_numpy(np.asarray(waveform, np.float64))).numpy()


@pytest.fixture(scope="module")
def noise():
    return (0.1 * np.random.default_rng(0).normal(size=SECONDS * SAMPLE_RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def chord():
    time = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    tones = [np.sin(2 * np.pi * pitch * time) for pitch in (300.0, 1000.0, 3300.0)]
    return (0.2 * np.sum(tones, axis=0)).astype(np.float32)


def magnitudes(seed, frames=3):
    return np.random.default_rng(seed).gamma(0.5, size=(frames, FRAME_SIZE // 2))


def test_frames_begin_where_the_front_end_begins_them():
    assert frame_starts(0, 5).tolist() == [0, 704, 1408, 2113, 2817]
    assert frame_starts(313, 1).tolist() == [220500]  # 313 frames at 31.3 per second are 10 s


def test_frames_reach_into_the_future_and_no_further_than_the_recording():
    assert reach(2, 3, 100_000) == slice(1408, 2817 + 2048)
    assert reach(2, 3, 3000) == slice(1408, 3000)


def test_centres_are_where_the_filters_peak():
    centres = band_centres()
    assert centres.shape == (149,)
    assert (np.diff(centres) > 0).all()
    assert np.abs(centres / 1000 - 1).min() < 0.02
    assert centres[[0, -1]] == pytest.approx([32.3, 10777], rel=0.01)


def test_the_own_spectrogram_renders_the_recording(noise):
    result = render(noise, heard(noise).astype(np.float32))
    assert result.waveform.dtype == np.float32
    assert result.waveform.shape == noise.shape
    assert snr_db(noise, result.waveform) > 60
    assert result.residual < 1e-5


@pytest.mark.parametrize("gain", [0.25, 2.0])
def test_a_gain_is_recovered_behind_the_first_samples(chord, gain):
    # Not wholly: some of what the sudden end of the chord excites lies in bins that no filter sees.
    result = render(chord, heard(gain * chord))
    assert snr_db(gain * chord[FADED:], result.waveform[FADED:]) > 40


def test_a_tone_is_halved_and_the_others_stay(chord):
    spectrogram = heard(chord)
    loud = np.abs(np.log2(band_centres() / 1000)) < 0.5
    spectrogram[:, loud] = np.log10(1 + (10 ** spectrogram[:, loud] - 1) / 2)
    result = render(chord, spectrogram).waveform[4096:-4096]
    time, window = np.arange(len(result)) / SAMPLE_RATE, np.hanning(len(result))
    tones = np.exp(-2j * np.pi * np.array([[300.0], [1000.0], [3300.0]]) * time)
    levels = 2 * np.abs((tones * window * result).sum(axis=1)) / window.sum()
    assert levels == pytest.approx([0.2, 0.1, 0.2], rel=0.01)


def test_frames_in_the_middle_change_only_the_samples_they_see(noise):
    changed = heard(noise)[20:30] + 0.2
    result = render(noise, changed, first=20).waveform
    seen = reach(20, 10, len(noise))
    different = np.flatnonzero(result != noise)
    assert seen.start <= different[0] < different[-1] < seen.stop
    assert len(different) > 0.99 * (seen.stop - seen.start)


def test_frames_belong_to_their_place_in_the_recording(noise):
    whole, part = heard(noise), heard(2 * noise)[20:30]
    whole[20:30] = part
    np.testing.assert_array_equal(render(noise, part, 20).waveform, render(noise, whole).waveform)


def test_the_beginning_of_a_recording_does_not_click(noise):
    signs = np.random.default_rng(1).choice([-1, 1], size=heard(noise).shape)
    result = render(noise, np.maximum(heard(noise) + 0.2 * signs, 0)).waveform
    change = np.abs(result - noise)
    assert change[:500].max() < 3 * change[5000:-5000].max()


def test_silence_stays_silent():
    result = render(np.zeros(10_000, np.float32), np.zeros((frame_count(10_000), 149)))
    assert np.abs(result.waveform).max() < 1e-9


def test_sound_can_be_put_into_silence():
    expected = np.zeros((40, 149))
    expected[:, 70] = 1.0
    result = render(np.zeros(40 * 705, np.float32), expected)
    assert result.residual < 1e-4
    assert heard(result.waveform)[5:-5, 70].mean() > 0.3
    assert heard(result.waveform)[5:-5, :60].max() < 0.1


def test_below_silence_is_silence_and_remains_as_residual(noise):
    frames = frame_count(len(noise))
    below, silent = render(noise, np.full((frames, 149), -0.5)), render(noise, np.zeros((frames, 149)))
    np.testing.assert_array_equal(below.waveform, silent.waveform)
    assert below.residual == pytest.approx(0.5, rel=1e-3)
    assert silent.residual < 1e-4


def test_bins_have_the_wanted_bands():
    expected = np.log10(1 + magnitudes(1) @ FILTERS)
    result, residual, iterations = invert(magnitudes(2), expected)
    assert (result >= 0).all()
    assert residual < 1e-5
    assert 1 < iterations < 200
    np.testing.assert_allclose(np.log10(1 + result @ FILTERS), expected, atol=1e-3)


def test_bins_that_no_filter_sees_stay():
    start = magnitudes(2)
    result, _, _ = invert(start, np.log10(1 + magnitudes(1) @ FILTERS))
    blind = FILTERS.sum(axis=1) == 0
    assert blind.sum() == 4
    np.testing.assert_array_equal(result[:, blind], start[:, blind])


def test_what_fits_already_is_left_alone():
    start = magnitudes(3)
    result, _, iterations = invert(start, np.log10(1 + start @ FILTERS))
    assert iterations == 0
    np.testing.assert_array_equal(result, np.maximum(start, 1e-9))


def test_the_change_is_an_equaliser_straight_between_the_centres():
    # The nearest solution in relative entropy is m0 * exp(filters @ multipliers): its log gain has no other shape.
    start = magnitudes(4)
    result, _, _ = invert(start, np.log10(1 + magnitudes(5) @ FILTERS))
    gain = np.log(result / np.maximum(start, 1e-9)).T
    multipliers = np.linalg.lstsq(FILTERS, gain, rcond=None)[0]
    np.testing.assert_allclose(FILTERS @ multipliers, gain, atol=1e-8)


def test_both_sounds_get_the_gain_of_the_louder():
    (first, second), gain = to_16_bit(np.array([0.5, -0.5], np.float32), np.array([2.0, 0.0], np.float32))
    assert gain == 0.5
    assert first.tolist() == [8192, -8192]
    assert second.tolist() == [32767, 0]


def test_sounds_that_fit_are_not_scaled():
    (only,), gain = to_16_bit(np.array([1.0, -1.0, 0.25], np.float32))
    assert gain == 1
    assert only.tolist() == [32767, -32767, 8192]


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_lossless_files_hold_the_samples(kind):
    samples = np.array([0, 1, -2, 32767, -32767], np.int16)
    decoded, rate = soundfile.read(io.BytesIO(encode(samples, kind)), dtype="int16")
    assert rate == SAMPLE_RATE
    assert decoded.tolist() == samples.tolist()


def test_ten_seconds_of_flac_are_hardly_larger_than_their_samples_even_of_noise():
    samples = np.random.default_rng(0).integers(-32767, 32768, 10 * SAMPLE_RATE).astype(np.int16)
    assert len(encode(samples, "flac")) < 1.02 * samples.nbytes


def test_another_kind_of_file_is_refused():
    with pytest.raises(ConfigError, match=r"'mp3'\. Valid: wav, flac"):
        encode(np.zeros(3, np.int16), "mp3")


def test_a_tenth_of_the_amplitude_is_20_db():
    assert snr_db([1.0, -1.0], [1.1, -0.9]) == pytest.approx(20)


def test_no_change_is_infinitely_good_and_noise_on_silence_infinitely_bad():
    assert snr_db([1.0], [1.0]) == np.inf
    assert snr_db([0.0], [1.0]) == -np.inf


@pytest.mark.parametrize("shapes", [((2, 5000), (3, 149)), ((5000,), (3, 148)), ((5000,), (149,))])
def test_wrong_shapes_are_refused(shapes):
    with pytest.raises(AudioError, match=r"\(samples,\) and the spectrogram \(frames, 149\)"):
        render(np.zeros(shapes[0]), np.zeros(shapes[1]))


@pytest.mark.parametrize(("frames", "first"), [(9, 0), (2, 7), (2, -1), (0, 0)])
def test_frames_outside_the_recording_are_refused(frames, first):
    with pytest.raises(AudioError, match="are not in a waveform of 8 frames"):
        render(np.zeros(5000), np.zeros((frames, 149)), first)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(AudioError, match="NaN or infinite"):
        render(np.zeros(5000), np.full((8, 149), np.nan))
