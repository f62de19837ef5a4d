"""How much of an attack survives in files: known answers of a network that measures one tone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tenuto.audio.loading import load_and_describe
from tenuto.data.inputs import FramedWaveformInputs, WaveformInputs
from tenuto.evaluation.survival import CODERS, put_back, surviving_shares
from tenuto.models.heads import Prediction
from tenuto.models.systems import Network

RATE, SECONDS, START = 16_000, 1.0, 8000
INPUTS = WaveformInputs(RATE, SECONDS)


def tone(hertz, amplitude, samples=RATE):
    values = amplitude * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE)
    return values.astype(np.float32)


class Level(Network):
    """How much of a sound, a tone of 2 kHz by default, is in a window."""

    def __init__(self, sound):
        super().__init__(1, 0, 1.0)
        self.sound = torch.from_numpy(sound)

    def forward(self, waveforms):
        return Prediction((waveforms @ self.sound)[:, None] / self.sound.square().sum(), None)


@pytest.fixture
def recording():
    """Three seconds of a chord with peak 1."""
    chord = tone(300, 0.6, 3 * RATE) + tone(1250, 0.4, 3 * RATE)
    return (chord / np.abs(chord).max()).astype(np.float32)


def shares(recording, perturbation, start=START, sound=None):
    network = Level(tone(2000, 1.0) if sound is None else sound)
    return surviving_shares(network, INPUTS, recording, start, perturbation)


def test_a_loud_change_survives_in_both_files(recording):
    # The recording is read with peak 1 again, and this tone adds to its peak.
    loud = shares(recording, tone(2000, -0.05))
    assert loud["survives_16_bit"] == pytest.approx(1, abs=0.1)
    assert loud["survives_mp3"] == pytest.approx(1, abs=0.15)


def test_a_change_below_a_step_of_16_bits_is_rounded_away_from_silence(recording):
    """In the middle of a silence, where no other sound carries it over a step."""
    recording[START : START + RATE] = 0
    faint = shares(recording, tone(2000, 0.4 / 32767))
    assert faint["survives_16_bit"] == 0


def test_a_change_that_mp3_leaves_out_does_not_survive(recording):
    """Faint noise beside a loud chord: 16 bits keep it, mp3 does not."""
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    faint = shares(recording, 3e-4 * noise, sound=noise)
    assert faint["survives_16_bit"] == pytest.approx(1, abs=0.02)
    assert faint["survives_mp3"] < 0.97


def test_without_an_effect_there_is_no_share(recording):
    assert all(np.isnan(share) for share in shares(recording, np.zeros(RATE, np.float32)).values())


def test_silence_that_is_cut_off_keeps_the_excerpt_in_place(recording):
    """An attack that silences the beginning of a recording shortens the file that is read."""
    perturbation = tone(2000, 0.05)
    perturbation[:500] = -recording[:500]
    assert shares(recording, perturbation, start=0)["survives_16_bit"] == pytest.approx(1, abs=0.1)


def test_an_excerpt_is_put_back_where_it_was_cut(recording):
    excerpt = INPUTS.cut(recording, START) + 0.1
    whole = put_back(recording, START, excerpt)
    assert np.array_equal(np.flatnonzero(whole != recording), np.arange(START, START + RATE))
    assert np.array_equal(INPUTS.cut(whole, START), excerpt)


def test_a_repeated_recording_is_replaced_by_what_the_network_sees(recording):
    short = recording[: RATE // 2]
    assert np.array_equal(put_back(short, 0, INPUTS.cut(short, 0)), np.tile(short, 2))


def test_what_is_before_an_excerpt_stays_in_a_recording_shorter_than_its_window():
    """The last frames of a window end up to 93 ms behind a recording, whose excerpt may begin at frame 1 or 2."""
    inputs = FramedWaveformInputs()
    recording = tone(300, 1.0, inputs.window - 500)
    start = inputs.start(2, len(recording))
    excerpt = inputs.cut(recording, start)
    whole = put_back(recording, start, excerpt)
    assert np.array_equal(whole[: len(recording)], recording)
    assert np.array_equal(inputs.cut(whole, start), excerpt)


def test_silence_behind_a_recording_becomes_part_of_it():
    inputs = FramedWaveformInputs()
    recording = np.ones(230_000, np.float32)
    whole = put_back(recording, 10_000, inputs.cut(recording, 10_000) + np.float32(0.5))
    assert len(whole) == 10_000 + inputs.window
    assert set(whole[230_000:]) == {0.5}


@pytest.mark.parametrize("name", list(CODERS))
def test_files_are_those_that_are_read(name, recording, tmp_path):
    kind, coder = CODERS[name]
    path = tmp_path / f"recording.{kind}"
    path.write_bytes(coder((recording * 32767).astype(np.int16), RATE))
    again, description = load_and_describe(path, RATE)
    again = np.pad(again, (description.silent_samples, 0))
    assert len(again) == pytest.approx(len(recording), abs=50)
    assert np.abs(again[1000:40_000] - recording[1000:40_000]).max() < 0.02
