"""The seven descriptors: closed forms, contrasts a listener would name, and the known concepts of generated music."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tenuto.audio import SAMPLE_RATE, descriptors as audio_descriptors
from tenuto.audio.descriptors import (
    ANCHORS,
    DESCRIPTORS,
    FAST_HOP,
    clear_steps,
    decay_rate,
    descriptors,
    event_density,
    interval_likeness,
    key_adherence,
    listen,
    measure,
    minor_over_major,
    roughness,
)
from tenuto.audio.loading import FULL_SCALE, full_scale, resample
from tenuto.data.midlevel import CONCEPTS
from tenuto.data.synthesis_controls import draw
from tenuto.data.synthesis_sound import CORPUS_RATE as RENDERED_RATE, render
from tenuto.errors import AudioError
from tenuto.metrics import spearman

MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11, 12)


def tone(pitch, seconds=0.4, harmonics=4, gate=1.0):
    """A note of a few harmonics; it sounds for the share ``gate`` of its time."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    wave = sum(0.6**h * np.sin(2 * np.pi * frequency * (h + 1) * time) for h in range(harmonics))
    ramp = np.minimum(time, np.maximum(gate * seconds - time, 0)) / 0.01
    return (0.2 * wave * ramp.clip(0, 1)).astype(np.float32)


def line(pitches, **how):
    return np.concatenate([tone(pitch, **how) for pitch in pitches])


def chords(roots, third, **how):
    return np.concatenate([sum(tone(root + step, **how) for step in (0, third, 7)) for root in roots])


def sine(frequency, seconds=4.0):
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)


def clicks(frames):
    """Short bursts that begin at the given fast frames."""
    wave = np.zeros((max(frames) + 60) * FAST_HOP, np.float32)
    burst = np.random.default_rng(0).standard_normal(600) * np.exp(-np.arange(600) / 150)
    for frame in frames:
        wave[frame * FAST_HOP : frame * FAST_HOP + 600] += burst
    return wave


def noise(seconds):
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def test_names_are_the_concepts_marked_as_signal():
    assert tuple(f"signal:{name}" for name in CONCEPTS) == DESCRIPTORS
    assert all(low < high for low, high in ANCHORS.values())


def test_anchors_become_a_tenth_and_nine_tenths(monkeypatch):
    for place, expected in ((0, 0.1), (1, 0.9)):
        monkeypatch.setattr(audio_descriptors, "measure", lambda _: np.array(list(ANCHORS.values())).T[place])  # noqa: B023
        assert descriptors(noise(1)) == pytest.approx(np.full(7, expected))


def test_two_sines_have_the_roughness_of_the_formula():
    lower, distance = 440.0, 60.0
    scaled = distance * 0.24 / (0.0207 * lower + 18.96)
    expected = (np.exp(-3.5 * scaled) - np.exp(-5.75 * scaled)) / 2  # one pair over two equal amplitudes
    both = sine(lower) + sine(lower + distance)
    assert roughness(listen(both)) == pytest.approx(expected, rel=0.03)


def test_a_semitone_cluster_is_rougher_than_octaves():
    cluster = sum(tone(60 + step, 3) for step in range(4))
    octaves = sum(tone(48 + 12 * step, 3) for step in range(4))
    assert roughness(listen(cluster)) > 3 * roughness(listen(octaves))


@pytest.mark.parametrize("rate", [10.0, 20.0])
def test_a_dying_tone_falls_at_its_own_rate(rate):
    time = np.arange(round(40 / rate * SAMPLE_RATE)) / SAMPLE_RATE
    dying = np.sin(2 * np.pi * 440 * time) * 10 ** (-rate * time / 20)
    assert 2 ** decay_rate(listen(dying)) == pytest.approx(rate, rel=0.02)


def test_staccato_is_more_articulated_than_legato():
    staccato, legato = (descriptors(line([60, 62, 64, 65] * 5, gate=gate))[1] for gate in (0.25, 1.0))
    assert staccato > legato + 0.2


def test_events_are_counted():
    per_second = SAMPLE_RATE / FAST_HOP / 22
    sound = listen(clicks([20 + 22 * number for number in range(40)]))
    assert event_density(sound) == pytest.approx(np.log2(40 / sound.seconds + 0.25))
    assert 40 / sound.seconds == pytest.approx(per_second, rel=0.1)


def test_an_even_pulse_has_equal_intervals():
    assert interval_likeness(listen(clicks([20 + 22 * number for number in range(30)]))) == pytest.approx(0)


def test_a_jittered_pulse_is_less_stable():
    jitter = np.random.default_rng(1).integers(-9, 10, 30)
    even, uneven = (
        interval_likeness(listen(clicks([20 + 30 * n + k * jitter[n] for n in range(30)]))) for k in (0, 1)
    )
    assert even > uneven + 2


def test_too_few_onsets_have_no_pulse():
    assert descriptors(line([60], seconds=4))[3] == pytest.approx(0.1)


def test_a_scale_keeps_its_key_and_all_semitones_keep_none():
    scale = line([60 + step for step in MAJOR_SCALE] * 2)
    twelve = line([60 + 5 * step % 12 for step in range(12)])
    assert key_adherence(listen(scale)) > key_adherence(listen(twelve)) + 0.2


def test_music_that_stays_in_its_key_is_tonally_more_stable_than_music_that_leaves_it():
    stays, leaves = chords((60, 65, 67, 60), 4, seconds=1), chords((60, 66, 68, 61), 4, seconds=1)
    assert key_adherence(listen(stays)) > key_adherence(listen(leaves)) + 0.2


@pytest.mark.parametrize("tonic", [55, 60, 66])
def test_major_triads_are_major_and_minor_triads_minor_in_any_key(tonic):
    roots = (tonic, tonic + 5, tonic + 7, tonic)
    assert minor_over_major(listen(chords(roots, 4, seconds=1))) < -0.03
    assert minor_over_major(listen(chords(roots, 3, seconds=1))) > 0.03


def test_steps_are_more_melodious_than_leaps():
    stepwise = line([60 + step for step in MAJOR_SCALE + MAJOR_SCALE[::-1]])
    leaping = line([60, 71, 62, 74, 64, 72, 61, 70] * 2)
    assert clear_steps(listen(stepwise)) > clear_steps(listen(leaping)) + 1


@pytest.mark.parametrize("seconds", [0.01, 0.5, 1.0, 3.3, 10.0])
def test_noise_and_silence_of_any_length_give_seven_numbers_in_range(seconds):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for wave in (noise(seconds), 0 * noise(seconds)):
            values = descriptors(wave)
            assert values.shape == (7,)
            assert values.dtype == np.float64
            assert np.isfinite(values).all()
            assert values.min() >= 0
            assert values.max() <= 1


def test_level_changes_nothing():
    music = chords((60, 65, 67, 60), 3, gate=0.6)
    np.testing.assert_allclose(measure(music), measure(0.03 * music), rtol=1e-4, atol=1e-4)


def test_the_same_waveform_gives_the_same_values():
    music = line([60, 64, 67, 72] * 3)
    assert np.array_equal(descriptors(music), descriptors(music.copy()))


@pytest.mark.parametrize("waveform", [np.zeros(0), np.ones((2, 5000)), np.float64(1), np.full(5000, np.nan)])
def test_what_is_no_waveform_is_refused(waveform):
    with pytest.raises(
        AudioError, match=r"^the waveform (has shape \(.*\); it must be \(samples,\)|contains NaN)"
    ):
        descriptors(waveform)


def test_descriptors_rank_generated_music_by_its_known_concepts():
    """A seed on which nothing was tuned; `docs/concepts.md` has the numbers on 360 clips."""
    clips = draw(20, 5)
    result = []
    for clip in clips:
        wave = resample(render(clip, 5, 8.0), RENDERED_RATE)
        result.append(descriptors((full_scale(wave, "clip") / FULL_SCALE).astype(np.float32)))
    rho = spearman(np.array([clip.concepts for clip in clips]), np.array(result))
    assert (rho > 0).all(), rho
    assert np.sum(rho >= 0.5) >= 5, rho
