"""`load_audio` against golden PCM, and every way a recording can be bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tenuto.audio import SAMPLE_RATE, load_audio
from tenuto.audio.loading import FULL_SCALE, quantise, resample
from tenuto.audio.mpeg import missing_bytes
from tenuto.errors import AudioError, FileError
from tests.conftest import GOLDEN

CASES = ("noise", "short", "silence_edges", "sine")


def tone(seconds: float, rate: int, frequency: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("case", CASES)
def test_quantise_equals_golden_pcm(case):
    golden = np.load(GOLDEN / "frontend" / f"case_{case}.npz")
    assert np.array_equal(quantise(golden["raw"] / FULL_SCALE, case), golden["pcm"])


@pytest.mark.parametrize("clip", ["001", "026", "057", "146", "310"])
def test_real_mp3_has_the_golden_length_and_samples(shared, clip):
    golden = np.load(shared / "golden" / "frontend" / f"{clip}.npz")["pcm"]
    waveform = load_audio(shared / "soundtracks" / "Set1" / f"{clip}.mp3")
    assert waveform.dtype == np.float32
    assert len(waveform) == len(golden)
    assert np.corrcoef(waveform, golden)[0, 1] > 0.9999


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_any_rate_and_type_gives_the_same_tone(tmp_path, rate, kind):
    path = tmp_path / f"tone.{kind}"
    soundfile.write(path, np.stack([tone(1.0, rate), tone(1.0, rate)], axis=1), rate)
    waveform = load_audio(path)
    assert abs(len(waveform) - SAMPLE_RATE) < 0.1 * SAMPLE_RATE
    assert np.abs(waveform).max() == pytest.approx(1, abs=1e-4)
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    assert np.argmax(spectrum) * SAMPLE_RATE / len(waveform) == pytest.approx(440, abs=2)


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "two.wav"
    left = tone(0.5, SAMPLE_RATE)
    soundfile.write(path, np.stack([left, np.zeros_like(left), np.zeros_like(left)], axis=1), SAMPLE_RATE)
    alone = tmp_path / "one.wav"
    soundfile.write(alone, left / 3, SAMPLE_RATE)
    assert np.abs(load_audio(path) - load_audio(alone)).max() < 1e-3


def test_resampling_keeps_a_constant_in_the_middle():
    assert resample(np.full(44100, 0.25), 44100)[5000:-5000] == pytest.approx(0.25, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, st.integers(1, 200), elements=st.floats(-1, 1, width=32)))
def test_quantised_audio_has_full_peak_and_sounding_ends(waveform):
    if not np.rint(waveform * FULL_SCALE).any():
        with pytest.raises(AudioError, match="silent"):
            quantise(waveform, "it")
        return
    samples = quantise(waveform, "it")
    assert np.abs(samples.astype(int)).max() in (FULL_SCALE, FULL_SCALE - 1)
    assert samples[0] != 0
    assert samples[-1] != 0


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match=r"gone\.mp3"):
        load_audio(tmp_path / "gone.mp3")


@pytest.mark.parametrize("content", [b"", b"no audio at all" * 100, b"ID3" + bytes(200)])
def test_undecodable_file_is_refused(tmp_path, content):
    path = tmp_path / "bad.mp3"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"bad\.mp3"):
        load_audio(path)


def test_silent_file_is_refused(tmp_path):
    path = tmp_path / "silent.wav"
    soundfile.write(path, np.zeros(1000), SAMPLE_RATE)
    with pytest.raises(AudioError, match="silent"):
        load_audio(path)


def test_nan_is_refused(tmp_path):
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.array([0.1, np.nan, 0.2]), SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN"):
        load_audio(path)


def test_cut_mp3_is_refused_and_the_whole_one_is_not(tmp_path):
    path = tmp_path / "song.mp3"
    soundfile.write(path, tone(3.0, 44100), 44100)
    content = path.read_bytes()
    assert missing_bytes(content) == 0
    for kept in (len(content) // 2, len(content) - 1, len(content) * 9 // 10):
        path.write_bytes(content[:kept])
        assert missing_bytes(content[:kept]) > 0
        with pytest.raises(AudioError, match="cut off"):
            load_audio(path)


def test_every_real_mp3_is_whole(shared):
    paths = sorted((shared / "soundtracks" / "Set1").glob("*.mp3"))
    assert len(paths) == 360
    assert [path.name for path in paths if missing_bytes(path.read_bytes())] == []


def test_real_mp3_cut_inside_a_frame_is_refused(shared, tmp_path):
    content = (shared / "soundtracks" / "Set1" / "001.mp3").read_bytes()
    path = tmp_path / "001.mp3"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="cut off"):
        load_audio(path)


def test_cut_flac_is_refused(tmp_path):
    path = tmp_path / "song.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 44100), 44100)
    path.write_bytes(path.read_bytes()[:-30_000])
    with pytest.raises(AudioError, match=r"song\.flac"):
        load_audio(path)


def test_cut_wav_is_refused(tmp_path):
    path = tmp_path / "song.wav"
    soundfile.write(path, tone(1.0, 44100), 44100)
    path.write_bytes(path.read_bytes()[:-30_000])
    with pytest.raises(AudioError, match="about 30000 bytes are missing"):
        load_audio(path)


def test_a_folder_is_no_recording(tmp_path: Path):
    with pytest.raises(FileError, match="cannot read"):
        load_audio(tmp_path)
