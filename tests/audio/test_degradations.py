"""Degradations do what their numbers say: each is measured on a signal for which the answer is known."""

import numpy as np
import pytest
from scipy import signal

from tenuto.audio import degradations
from tenuto.audio.degradations import NOISES, OCTAVES, SPEECH_DB, SPEECH_HERTZ

RATES = (22050, 16000, 44100)


def drawn():
    return np.random.default_rng(5)


def tone(hertz, rate, seconds=3.0):
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def decibels(after, before):
    """The change of power, away from the ends."""
    inner = slice(len(before) // 4, -len(before) // 4)
    return 10 * np.log10(np.square(after[inner]).mean() / np.square(before[inner]).mean())


def frequency(waveform, rate):
    """The frequency of a tone from the slope of its phase."""
    inner = signal.hilbert(waveform)[len(waveform) // 4 : -len(waveform) // 4]
    return np.angle(inner[1:] * inner[:-1].conj()).mean() * rate / (2 * np.pi)


def clicks(rate, times, seconds):
    train = np.zeros(round(seconds * rate))
    train[np.rint(np.asarray(times) * rate).astype(int)] = 1
    return train


def onsets(waveform, rate):
    """Times of the clicks of a train, in seconds: the centre of each burst."""
    energy = np.convolve(np.square(waveform), np.hanning(rate // 20), "same")
    peaks, _ = signal.find_peaks(energy, height=energy.max() / 4, distance=rate // 4)
    return peaks / rate


def test_gain_is_exact():
    waveform = drawn().standard_normal(1000)
    np.testing.assert_allclose(degradations.gain(waveform, -6.0), waveform * 10**-0.3, rtol=1e-12)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("hertz", [2000, 4000, 6000])
def test_a_low_pass_has_its_cut_off_frequency(rate, hertz):
    """-3 dB at the frequency, 48 dB per octave above it, nothing an octave below."""
    for octaves, expected in ((-1, 0.0), (0, -3.01), (0.3, -14.6)):
        if hertz * 2**octaves < 0.48 * rate:
            before = tone(hertz * 2**octaves, rate)
            change = decibels(degradations.low_pass(before, rate, hertz), before)
            assert change == pytest.approx(expected, abs=0.1)


def test_a_low_pass_has_no_delay():
    rate = 22050
    click = clicks(rate, [0.5], 1.0)
    response = degradations.low_pass(click, rate, 2000)
    assert int(response.argmax()) == int(click.argmax())
    before, after = response[rate // 2 - 200 : rate // 2], response[rate // 2 + 200 : rate // 2 : -1]
    np.testing.assert_allclose(before, after, atol=1e-12)


@pytest.mark.parametrize("rate", RATES)
def test_an_equaliser_has_its_gain_in_every_octave(rate):
    gains = np.array([4, -4, -9, 9, 2, -2, 12, -12.0])
    for hertz, expected in zip(OCTAVES, gains, strict=True):
        if hertz < 0.48 * rate:
            before = tone(hertz, rate)
            change = decibels(degradations.equalise(before, rate, gains), before)
            assert change == pytest.approx(expected, abs=0.1)
    before = tone(np.sqrt(500 * 1000), rate)
    between = decibels(degradations.equalise(before, rate, gains), before)
    assert between == pytest.approx((9 + 2) / 2, abs=0.1)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.5])
def test_a_room_has_its_reverberation_time(rate, seconds):
    """From the decay from -5 to -35 dB by Schroeder's backward integration (ISO 3382)."""
    click = clicks(rate, [0.0], 1.1 * seconds)
    response = degradations.reverberate(click, degradations.room_response(seconds, rate, drawn()))
    tail = response[1:]
    decay = 10 * np.log10(np.cumsum(np.square(tail)[::-1])[::-1] / np.square(tail).sum() + 1e-30)
    part = np.flatnonzero((decay < -5) & (decay > -35))
    slope = np.polyfit(part / rate, decay[part], 1)[0]
    assert -60 / slope == pytest.approx(seconds, rel=0.06)


def test_a_room_has_the_diffuse_field_of_its_volume():
    """At the critical distance the direct and the diffuse sound are equally strong: 1.0 m at 0.65 s in 200 m3."""
    response = degradations.room_response(0.057**2 * 200, 22050, drawn())
    assert response[0] == 1
    assert np.square(response[1:]).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("ratio", [40.0, 10.0])
def test_noise_has_its_ratio(kind, ratio):
    waveform = 0.2 * tone(440, 22050)
    noise = NOISES[kind](len(waveform), 22050, drawn())
    power = np.square(waveform).mean()
    added = degradations.add_noise(waveform, noise, ratio, power) - waveform
    tolerance = 0.1 if kind == "white" else 1e-6
    assert 10 * np.log10(power / np.square(added).mean()) == pytest.approx(ratio, abs=tolerance)


def third_octaves(noise, rate, centres):
    """Levels in dB, from the periodogram."""
    power = np.square(np.abs(np.fft.rfft(noise)))
    frequencies = np.fft.rfftfreq(len(noise), 1 / rate)
    sums = [
        power[(frequencies >= c / 2 ** (1 / 6)) & (frequencies < c * 2 ** (1 / 6))].sum() for c in centres
    ]
    return 10 * np.log10(sums)


@pytest.mark.parametrize("rate", RATES)
def test_noises_have_their_spectra(rate):
    """Levels of third octaves: white rises by 1 dB from each to the next, pink is flat, a crowd is like speech."""
    centres = np.array([c for c in SPEECH_HERTZ if 100 <= c < 0.4 * rate], float)
    speech = np.array(SPEECH_DB)[[SPEECH_HERTZ.index(int(c)) for c in centres]]
    expected = {"white": 10 * np.log10(centres), "pink": np.zeros(len(centres)), "crowd": speech}
    for kind, level in expected.items():
        noise = NOISES[kind](30 * rate, rate, drawn())
        difference = third_octaves(noise, rate, centres) - level
        tolerance = 1.5 if kind == "crowd" else 0.8
        assert np.abs(difference - difference.mean()).max() < tolerance, kind


def test_a_crowd_has_the_rhythm_of_syllables():
    """The envelope of the octave at 1 kHz: for a crowd it varies most near 4 Hz, and more than that of pink noise."""
    rate, share = 22050, {}
    band = signal.butter(4, [707, 1414], "bandpass", fs=rate, output="sos")
    for kind in ("pink", "crowd"):
        noise = NOISES[kind](60 * rate, rate, drawn())
        envelope = signal.decimate(np.abs(signal.hilbert(signal.sosfilt(band, noise))), 441 // 9, ftype="fir")
        spectrum, step = np.abs(np.fft.rfft(envelope / envelope.mean() - 1)) ** 2, rate / 49 / len(envelope)
        hertz = np.arange(len(spectrum)) * step
        share[kind] = spectrum[(hertz > 2) & (hertz < 8)].sum() / len(envelope) ** 2
        if kind == "crowd":
            octaves = [
                spectrum[(hertz > c / 1.41) & (hertz < c * 1.41)].sum() for c in (0.5, 1, 2, 4, 8, 16, 32)
            ]
            assert int(np.argmax(octaves)) == 3
    assert share["crowd"] > 3 * share["pink"]


@pytest.mark.parametrize("kind", NOISES)
def test_noise_follows_its_generator(kind):
    first, again = (NOISES[kind](5001, 22050, np.random.default_rng(9)) for _ in range(2))
    other = NOISES[kind](5001, 22050, np.random.default_rng(10))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (5001,)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.1


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("factor", [1.06, 0.99, 0.94])
def test_pitch_is_changed_and_nothing_else(rate, factor):
    before = tone(440, rate)
    after = degradations.change_pitch(before, rate, factor)
    assert after.shape == before.shape
    assert frequency(after, rate) == pytest.approx(440 * factor, rel=1e-4)
    assert decibels(after, before) == pytest.approx(0, abs=0.05)
    times = [1.0, 1.5, 2.0, 2.5]
    moved = onsets(degradations.change_pitch(clicks(rate, times, 3.5), rate, factor), rate)
    np.testing.assert_allclose(moved, times, atol=0.012)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("factor", [1.1, 1.02, 0.9])
def test_tempo_is_changed_and_nothing_else(rate, factor):
    before = tone(440, rate)
    after = degradations.change_tempo(before, rate, factor, len(before) / 2)
    assert after.shape == before.shape
    assert frequency(after, rate) == pytest.approx(440, rel=1e-4)
    assert decibels(after, before) == pytest.approx(0, abs=0.05)


def test_pitch_and_tempo_lower_the_level_of_noise_by_up_to_1_db():
    """At the strengths of natural-2, as docs/curves.md says."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * 22050)
    changed = [degradations.change_pitch(noise, 22050, factor) for factor in (1.06, 1.01, 0.99, 0.94)]
    changed += [
        degradations.change_tempo(noise, 22050, factor, len(noise) / 2) for factor in (1.1, 1.02, 0.9)
    ]
    for after in changed:
        assert -1 < decibels(after[15000:-15000], noise[15000:-15000]) < 0


@pytest.mark.parametrize("factor", [1.1, 1.02, 0.9])
@pytest.mark.parametrize("centre", [3.0, 2.0])
def test_the_centre_keeps_its_place_and_clicks_come_faster(factor, centre):
    rate, times = 22050, np.arange(1.0, 5.5, 0.5)
    after = degradations.change_tempo(clicks(rate, times, 6.0), rate, factor, centre * rate)
    expected = centre + (times - centre) / factor
    np.testing.assert_allclose(onsets(after, rate), expected, atol=0.012)


@pytest.mark.parametrize("rate", RATES)
def test_a_factor_of_one_returns_the_waveform(rate):
    waveform = drawn().standard_normal(2 * rate)
    for same in (
        degradations.change_tempo(waveform, rate, 1.0, 1234.5),
        degradations.change_pitch(waveform, rate, 1.0),
    ):
        np.testing.assert_allclose(same, waveform, atol=1e-5)


def test_after_a_faster_waveform_there_is_silence():
    rate = 22050
    after = degradations.change_tempo(tone(440, rate), rate, 1.5, 0)
    assert np.abs(after[round(2.1 * rate) :]).max() == 0
    assert np.abs(after[: round(1.9 * rate)]).max() > 0.9


@pytest.mark.parametrize("samples", [1, 100, 3000])
def test_silence_and_short_waveforms_stay_finite(samples):
    waveform, rate = np.zeros(samples, np.float32), 22050
    changed = [
        degradations.low_pass(waveform, rate, 2000),
        degradations.equalise(waveform, rate, np.full(8, 3.0)),
        degradations.reverberate(waveform, degradations.room_response(0.3, rate, drawn())),
        degradations.change_pitch(waveform, rate, 1.03),
        degradations.change_tempo(waveform, rate, 0.9, samples / 2),
    ]
    for one in changed:
        assert one.shape == (samples,)
        assert not one.any()
