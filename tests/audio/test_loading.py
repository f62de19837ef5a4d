"""`load_audio` against golden PCM, and what it says of doubtful recordings."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from tenuto.audio import SAMPLE_RATE, load_and_describe, load_audio
from tenuto.audio.loading import FULL_SCALE, _trimmed, full_scale, resample
from tenuto.errors import AudioError, ConfigError
from tests.conftest import GOLDEN

CASES = ("noise", "short", "silence_edges", "sine")


def tone(seconds: float, rate: int, frequency: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("case", CASES)
def test_quantise_equals_golden_pcm(case):
    golden = np.load(GOLDEN / "frontend" / f"case_{case}.npz")
    assert np.array_equal(_trimmed(full_scale(golden["raw"] / FULL_SCALE, case)), golden["pcm"])


@pytest.mark.parametrize("clip", ["001", "026", "057", "146", "310"])
def test_real_mp3_has_the_golden_length_and_samples(shared, clip):
    golden = np.load(shared / "golden" / "frontend" / f"{clip}.npz")["pcm"]
    waveform = load_audio(shared / "soundtracks" / "Set1" / f"{clip}.mp3")
    assert waveform.dtype == np.float32
    assert len(waveform) == len(golden)
    assert np.corrcoef(waveform, golden)[0, 1] > 0.9999


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("kind", ["wav", "aiff", "flac", "ogg", "mp3"])
def test_any_rate_and_type_gives_the_same_tone(tmp_path, rate, kind):
    path = tmp_path / f"tone.{kind}"
    soundfile.write(path, np.stack([tone(1.0, rate), tone(1.0, rate)], axis=1), rate)
    waveform = load_audio(path)
    assert abs(len(waveform) - SAMPLE_RATE) < 0.1 * SAMPLE_RATE
    assert np.abs(waveform).max() == pytest.approx(1, abs=1e-4)
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    assert np.argmax(spectrum) * SAMPLE_RATE / len(waveform) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("rate", [0, -1])
def test_no_samples_per_second_are_refused(tmp_path, rate):
    with pytest.raises(ConfigError, match=f"rate must be at least 1 sample per second, got {rate}"):
        load_audio(tmp_path / "tone.wav", rate)


def test_a_few_samples_per_second_can_be_read(tmp_path):
    soundfile.write(tmp_path / "slow.wav", np.sin(np.arange(16_000) / 8000), 8000)
    assert abs(len(load_audio(tmp_path / "slow.wav", 8)) - 16) <= 1


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "two.wav"
    left = tone(0.5, SAMPLE_RATE)
    soundfile.write(path, np.stack([left, np.zeros_like(left), np.zeros_like(left)], axis=1), SAMPLE_RATE)
    alone = tmp_path / "one.wav"
    soundfile.write(alone, left / 3, SAMPLE_RATE)
    assert np.abs(load_audio(path) - load_audio(alone)).max() < 1e-3


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, st.integers(1, 200), elements=st.floats(-1, 1, width=32)))
def test_quantised_audio_has_full_peak_and_sounding_ends(waveform):
    if not np.rint(waveform * FULL_SCALE).any():
        with pytest.raises(AudioError, match="silent"):
            full_scale(waveform, "it")
        return
    samples = _trimmed(full_scale(waveform, "it"))
    assert np.abs(samples.astype(int)).max() in (FULL_SCALE, FULL_SCALE - 1)
    assert samples[0] != 0
    assert samples[-1] != 0


def test_blocks_give_the_waveform_of_the_whole(tmp_path, monkeypatch):
    path = tmp_path / "noise.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (50_000, 2)), 44100)
    whole = load_audio(path)
    monkeypatch.setattr("tenuto.audio.decoding.BLOCK_SAMPLES", 999)
    monkeypatch.setattr("tenuto.audio.loading.BLOCK_SAMPLES", 999)
    assert np.array_equal(load_audio(path), whole)
    samples, rate = soundfile.read(path, dtype="float32")
    expected = _trimmed(full_scale(resample(samples.sum(axis=1) / 2, rate), "whole")) / FULL_SCALE
    assert np.array_equal(whole, expected.astype(np.float32))


def test_floats_beyond_1_are_scaled_not_clipped(tmp_path):
    loud, plain = tmp_path / "loud.wav", tmp_path / "plain.wav"
    for path, factor in ((loud, 6.0), (plain, 1.0)):
        soundfile.write(path, factor * tone(0.5, SAMPLE_RATE), SAMPLE_RATE, subtype="FLOAT")
    assert np.abs(load_audio(loud) - load_audio(plain)).max() < 1e-3


CLICK = np.eye(1, 10 * SAMPLE_RATE, 5000)[0] * 0.9
"""One sample in 10 s of silence."""


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (np.stack([tone(1, SAMPLE_RATE), -0.9 * tone(1, SAMPLE_RATE)], axis=1), "its channels cancel"),
        (CLICK, "only 0.05 s of its 10.00 s"),
        (CLICK + np.random.default_rng(0).uniform(-1, 1, CLICK.size) / FULL_SCALE, "only 0.05 s of"),
        (tone(1, SAMPLE_RATE) / 3000, "its peak is at -75 dB"),
    ],
    ids=["antiphase", "click", "click in noise", "faint"],
)
def test_a_doubtful_recording_is_described(tmp_path, samples, sentence):
    path = tmp_path / "it.wav"
    soundfile.write(path, samples, SAMPLE_RATE)
    warned = load_and_describe(path)[1].warnings()
    assert len(warned) == 1
    assert warned[0].startswith(sentence)


def test_ordinary_recordings_are_described_without_a_warning(tmp_path):
    path = tmp_path / "it.wav"
    for samples in (tone(0.4, 44100), np.random.default_rng(0).uniform(-0.5, 0.5, (44100, 2))):
        soundfile.write(path, samples, 44100)
        description = load_and_describe(path)[1]
        assert description.warnings() == []
        assert (description.sample_rate, description.channels) == (44100, samples.ndim)
        assert description.seconds == len(samples) / 44100
    assert description.mono_db == pytest.approx(-3, abs=0.1)


def test_the_error_of_silence_says_that_channels_cancel(tmp_path):
    path = tmp_path / "it.wav"
    soundfile.write(path, np.stack([tone(1, SAMPLE_RATE), -tone(1, SAMPLE_RATE)], axis=1), SAMPLE_RATE)
    with pytest.raises(AudioError, match=r"silent.*channels cancel"):
        load_audio(path)
    for silence in (np.zeros(1000), 1e-6 * tone(1, SAMPLE_RATE)):
        soundfile.write(path, silence, SAMPLE_RATE, subtype="FLOAT")
        with pytest.raises(AudioError, match=r"silent.*trimming\. Leave"):
            load_audio(path)
