"""A universal perturbation of a run: its rows, its files, and which folders it refuses."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import soundfile

from tenuto.attacks import Linf, OneEmotion
from tenuto.attacks.universal import Universal
from tenuto.data.excerpts import EXCERPT_FRAMES
from tenuto.data.inputs import FeatureInputs, WaveformInputs
from tenuto.errors import ConfigError, FileError
from tenuto.evaluation.runs import open_run
from tenuto.evaluation.universal import UniversalResult, default_name, default_shifts, universal
from tenuto.files import read_safetensors
from tenuto.models.recogniser import predict
from tenuto.store.rows import read_rows, values_of
from tenuto.training.loop import train
from tests.small_runs import settings

FIT = Universal(Linf(0.1), objective=OneEmotion(0, True), epochs=1)
SHIFTS = (0.0, 2.5)


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    return open_run(train(settings("A2M2E", epochs=1), prepared, tmp_path_factory.mktemp("runs")), prepared)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("universal")


@pytest.fixture(scope="module")
def result(run, folder):
    return universal(run, FIT, folder, shifts=SHIFTS)


def test_every_clip_has_a_row_for_every_placement(run, result):
    rows = result.rows
    assert set(rows["attack"]) == {"Universal", "Universal +2.5 s", "Noise shared"}
    assert (
        rows.groupby("attack")["clip"].apply(list).map(sorted) == [sorted(run.part("test").clips)] * 3
    ).all()
    assert set(rows["norm"]) == {"linf"}
    assert rows["linf"].max() <= 0.1 * (1 + 1e-6)


def test_predictions_are_those_of_the_shifted_perturbation(run, result, folder):
    shape = read_safetensors(folder / "perturbation.safetensors")[0]["shape"]
    test = run.part("test")
    shift = round(2.5 * run.recogniser.inputs.steps_per_second)
    low, _ = run.recogniser.inputs.valid_range
    moved = np.maximum(test.inputs[:, 0].numpy() + np.roll(shape, shift, axis=0), low)
    moved = np.where(test.inputs[:, 0].numpy() < low, np.maximum(moved, test.inputs[:, 0].numpy()), moved)
    expected = predict(run.recogniser.network, test.inputs.new_tensor(moved)[:, None]).emotions
    rows = result.rows[result.rows["attack"] == "Universal +2.5 s"]
    np.testing.assert_allclose(values_of(rows, "adversarial"), expected, atol=1e-5)


def test_files_are_read_again(run, result, folder):
    again = universal(
        run, FIT, folder, shifts=SHIFTS, progress=lambda done: pytest.fail("it was fitted again")
    )
    pd.testing.assert_frame_equal(again.rows, result.rows)
    assert np.array_equal(again.shape, result.shape)
    assert result.shape.shape == (EXCERPT_FRAMES, 149)
    assert read_rows(folder / "rows.csv")["protocol"].unique() == [
        default_name(FIT, run.recogniser.inputs.unit, "test", SHIFTS)
    ]


def test_a_folder_with_other_settings_is_refused(run, result, folder):
    with pytest.raises(ConfigError, match="with other settings"):
        universal(run, Universal(Linf(0.2)), folder, shifts=SHIFTS)


def test_an_interrupted_result_is_made_again(run, result, folder, tmp_path):
    first = universal(run, FIT, tmp_path, shifts=SHIFTS)
    (tmp_path / "rows.csv").unlink()
    again = universal(run, FIT, tmp_path, shifts=SHIFTS)
    assert np.array_equal(again.shape, first.shape)
    assert (tmp_path / "rows.csv").read_bytes() == (folder / "rows.csv").read_bytes()


def test_the_table_compares_placements_with_noise(result):
    assert list(result.table.index) == ["Universal", "Universal +2.5 s", "Noise shared"]
    assert result.table["clips"].unique() == [3]
    loss = result.rows.groupby("attack")["loss"].mean()
    assert loss["Universal"] > max(0, loss["Noise shared"])


def test_a_waveform_is_scaled_to_full_scale(result):
    shape = np.array([0.0, 1e-3, -2e-3], np.float32)
    sound = UniversalResult("run", FIT, result.rows, shape, shape, 22050)
    samples, rate = soundfile.read(io.BytesIO(sound.sound()), dtype="int16")
    assert rate == 22050
    assert sound.gain == pytest.approx(500)
    assert samples.tolist() == [0, 16384, -32767]


def test_a_spectrogram_has_no_sound(result):
    with pytest.raises(ConfigError, match="not of a waveform"):
        result.sound()


def test_a_model_without_gradients_is_refused(run, monkeypatch):
    monkeypatch.setattr(run.recogniser.network, "has_gradient", False)
    with pytest.raises(ConfigError, match="has no gradient"):
        universal(run, FIT)


def test_default_shifts_are_shorter_than_the_input(run):
    assert default_shifts(run.recogniser.inputs) == (0.0, 2.5, 5.0, 7.5)
    assert default_shifts(WaveformInputs(16_000, 3.0)) == (0.0, 2.5)
    assert default_shifts(WaveformInputs(16_000, 0.5)) == (0.0,)
    assert default_shifts(FeatureInputs(16_000, 10.0, "module:function", np.asarray)) == (0.0,)


@pytest.mark.parametrize("shifts", [(), (10.5,), (-1.0,), (float("nan"),), (0.0, 0.0)])
def test_shifts_outside_the_perturbation_are_refused(run, shifts):
    with pytest.raises(ConfigError, match="shifts must be"):
        universal(run, FIT, shifts=shifts)


def test_a_folder_that_cannot_be_written_is_refused_before_the_fit(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the place of a folder")
    monkeypatch.delattr(Universal, "fit")
    with pytest.raises(FileError, match="file/one: cannot write: a part of its path is a file"):
        universal(run, FIT, tmp_path / "file" / "one")
