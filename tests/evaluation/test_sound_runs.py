"""A run of a network of log spectrograms, attacked on the samples of its clips."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tenuto.data import prepare
from tenuto.data.inputs import FramedWaveformInputs
from tenuto.errors import AudioError
from tenuto.evaluation.runs import Sibling, open_run
from tenuto.models.recogniser import predict
from tenuto.training.loop import train
from tests import corpora, small_runs

UNIT = "samples (full scale 1)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    prepared = prepare(corpora.soundtracks(root / "data", 30, seconds=12.0), root / "cache", workers=1)
    return open_run(train(small_runs.settings("A2B2E", epochs=1), prepared, root / "runs"), prepared)


def test_a_run_in_sound_has_the_same_clips_and_predictions(run):
    sound = run.in_sound()
    assert sound.recogniser.inputs == FramedWaveformInputs()
    assert (sound.name, sound.folder, sound.material.split) == (run.name, run.folder, run.material.split)
    for part in ("validation", "test"):
        own, other = run.part(part), sound.part(part)
        assert other.clips == own.clips
        assert torch.equal(other.labels, own.labels)
        before, after = (
            predict(one.recogniser.network, one.part(part).inputs).emotions for one in (run, sound)
        )
        torch.testing.assert_close(after, before, atol=1e-3, rtol=0)


def test_rows_name_the_inputs_they_were_attacked_in(run):
    assert run.in_unit(run.recogniser.inputs.unit) is run
    sound = run.in_unit(UNIT)
    assert sound.recogniser.inputs.unit == UNIT
    assert sound.in_unit(UNIT) is sound


def test_a_sibling_takes_the_samples_of_a_run_in_sound(run):
    other = small_runs.normalisation(run.recogniser.inputs)
    other = dataclasses.replace(other, deviation=2 * other.deviation)
    inputs = dataclasses.replace(run.recogniser.inputs, normalisation=other)
    sibling = dataclasses.replace(run.recogniser, inputs=inputs)
    samples = run.in_sound().part("test").inputs
    ours = predict(Sibling(run.in_sound(), sibling), samples).emotions
    torch.testing.assert_close(ours, predict(sibling.in_sound().network, samples).emotions)


def test_a_clip_too_short_is_named(tmp_path):
    prepared = prepare(corpora.soundtracks(tmp_path / "data", 30), tmp_path / "cache", workers=1)
    run = open_run(train(small_runs.settings("A2E", epochs=1), prepared, tmp_path / "runs"), prepared)
    with pytest.raises(AudioError, match=r"^clip \d{3}: has 0\.\d+ s without silence at its ends, an attack"):
        run.in_sound().part("test")


def test_waveforms_need_no_cache_that_can_be_written(run, monkeypatch):
    prepared = run.material.prepared
    expected = prepared.waveform(0, 11_025)
    blocked = prepared.folder / "blocked"
    blocked.write_text("a file, so that no folder of this name can be made")
    again = dataclasses.replace(prepared, folder=blocked).waveform(0, 11_025)
    assert np.array_equal(again, expected)
