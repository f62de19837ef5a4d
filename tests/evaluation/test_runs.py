"""A run opens with the data it was trained on, and with no other."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from tenuto.attacks import protocol as named_protocol
from tenuto.data.batches import Material
from tenuto.data.excerpts import Normalisation
from tenuto.data.inputs import LogSpectrogramInputs
from tenuto.data.splits import Split, read_split, write_split
from tenuto.errors import CheckpointError, ConfigError, DataError
from tenuto.evaluation import robustness
from tenuto.evaluation.natural import natural
from tenuto.evaluation.runs import Sibling, open_run
from tenuto.files import read_safetensors, write_safetensors
from tenuto.models import build
from tenuto.models.checkpoint import import_run, load
from tenuto.store.rows import values_of
from tenuto.store.run import RunFolder
from tenuto.store.study import StudyFolder
from tenuto.training.loop import train
from tests import small_runs
from tests.conftest import GOLDEN
from tests.small_runs import settings


@pytest.fixture(scope="module")
def folder(prepared, tmp_path_factory):
    return train(settings("A2M2E", epochs=1), prepared, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of the run, to be changed."""
    place = tmp_path / folder.name
    place.mkdir()
    for name in ("config.yaml", "split.csv", "checkpoint.safetensors"):
        (place / name).write_bytes((folder / name).read_bytes())
    return place


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A run made of a file of the released kind."""
    place = tmp_path_factory.mktemp("imported")
    released = {
        key.replace("head.emotions", "fc").replace("backbone.stages.", "preconcept_model.conv"): value
        for key, value in build("A2E", width=0.0625).state_dict().items()
    }
    names = ("1", "2", "3", "4", "5", "6", "7", "7b", "11")
    for number, name in reversed(list(enumerate(names))):
        released = {k.replace(f".conv{number}.", f".conv@{name}."): v for k, v in released.items()}
    torch.save({key.replace("@", ""): value for key, value in released.items()}, place / "released.pt")
    return import_run(place / "released.pt", "A2E", 21, place / "runs")


def test_a_checkpoint_of_another_system_is_refused(copied, prepared):
    text = (copied / "config.yaml").read_text()
    assert "system: A2M2E" in text
    (copied / "config.yaml").write_text(text.replace("system: A2M2E", "system: A2B2E"))
    with pytest.raises(CheckpointError, match=r"checkpoint.*: holds the weights of A2M2E, .*describes A2B2E"):
        open_run(copied, prepared)


def test_a_training_that_has_not_ended_is_remarked(folder, copied, prepared):
    assert not open_run(folder, prepared).remarks
    (copied / "state.safetensors").touch()
    (remark,) = open_run(copied, prepared).remarks
    assert remark.startswith("its training has not ended.")


@pytest.mark.parametrize(
    ("written", "changed", "names"),
    [
        ("seed: 6", "seed: 21", "train.seed 6, .*train.seed 21"),
        ("width: 0.0", "width: 0.1", "model.width .*"),
    ],
)
def test_a_checkpoint_of_another_run_of_the_system_is_refused(copied, prepared, written, changed, names):
    text = (copied / "config.yaml").read_text()
    assert f" {written}" in text
    (copied / "config.yaml").write_text(text.replace(f" {written}", f" {changed}"))
    for opened in (lambda: open_run(copied, prepared), lambda: load(copied)):
        with pytest.raises(CheckpointError, match=f"checkpoint.*: holds the weights of {names}. Restore"):
            opened()


def test_a_checkpoint_that_records_no_settings_opens(copied, prepared):
    path = copied / "checkpoint.safetensors"
    arrays, metadata = read_safetensors(path)
    about = json.loads(metadata["tenuto"])
    del about["settings"]
    write_safetensors(path, arrays, {"tenuto": json.dumps(about)})
    assert open_run(copied, prepared).model.settings is None


def test_an_opened_run_is_what_was_trained(folder, prepared):
    run = open_run(folder, prepared)
    assert run.name == folder.name
    assert run.config == settings("A2M2E", epochs=1).resolved()
    assert run.recogniser.system == "A2M2E"
    assert run.recogniser.fingerprint == prepared.fingerprint
    expected = Material(prepared, run.config.data)
    for part in ("train", "validation", "test"):
        assert run.part(part).clips == expected.part(part).clips
        assert torch.equal(run.part(part).inputs, expected.part(part).inputs)


def test_a_path_may_be_text(folder, prepared):
    assert open_run(str(folder), prepared).folder == folder


def test_the_stored_split_is_used(copied, prepared):
    split = read_split(copied / "split.csv")
    write_split(copied / "split.csv", Split(split.test, split.validation, split.train[::-1]))
    run = open_run(copied, prepared)
    assert run.part("test").clips == split.train[::-1]
    assert run.part("train").clips == split.test


def test_without_a_stored_split_it_is_drawn_again(copied, folder, prepared):
    (copied / "split.csv").unlink()
    assert open_run(copied, prepared).part("test").clips == open_run(folder, prepared).part("test").clips


def test_a_split_with_an_unknown_clip_is_refused(copied, prepared):
    write_split(copied / "split.csv", Split(("001", "002"), ("003",), ("999",)))
    with pytest.raises(DataError, match="clip 999 is in the split but not in midlevel"):
        open_run(copied, prepared)


def test_the_stored_normalisation_is_used(copied, folder, prepared):
    path = copied / "checkpoint.safetensors"
    arrays, metadata = read_safetensors(path)
    about = json.loads(metadata["tenuto"])
    about["normalisation"] = {"mean": 0.0, "deviation": 1.0}
    write_safetensors(path, arrays, {"tenuto": json.dumps(about)})
    known = open_run(folder, prepared)
    result = small_runs.normalisation(known.recogniser.inputs)
    expected = known.part("test").inputs * result.deviation + result.mean
    assert torch.allclose(open_run(copied, prepared).part("test").inputs, expected, atol=1e-6)


def test_other_emotions_are_refused_by_name(folder, tmp_path):
    own = small_runs.own(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"predicts valence, energy, .*; folder rates arousal, joy\. Use"
    ):
        open_run(folder, own)


def test_other_data_are_refused(folder, prepared):
    changed = dataclasses.replace(prepared, fingerprint="0" * 64)
    before = prepared.fingerprint[:8]
    with pytest.raises(CheckpointError, match=f"was trained on data {before}, midlevel now is 00000000"):
        open_run(folder, changed)


def test_an_imported_run_takes_any_data_with_its_emotions(imported, prepared):
    run = open_run(imported, prepared)
    assert run.name.startswith("A2E-21-")
    assert run.config.train.drop_last_evaluated  # the settings of the study
    assert len(run.part("test")) == 3


def test_an_imported_run_refuses_other_emotions(imported, tmp_path):
    with pytest.raises(CheckpointError, match="folder rates arousal, joy"):
        open_run(imported, small_runs.own(tmp_path))


def test_any_other_folder_is_refused(prepared, tmp_path):
    with pytest.raises(ConfigError, match=r"not a run folder, it has no config\.yaml\. Name a folder"):
        open_run(tmp_path, prepared)


def test_a_run_that_has_not_saved_anything_yet_is_refused(copied, prepared):
    (copied / "checkpoint.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        open_run(copied, prepared)


def test_read_config_names_the_file_of_a_wrong_setting(copied):
    (copied / "config.yaml").write_text("trian: {}\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: unknown key trian\. Did you mean train"):
        RunFolder(copied).read_config()


def test_a_sibling_takes_the_inputs_of_the_run(folder, prepared):
    run = open_run(folder, prepared)
    other = dataclasses.replace(run.recogniser, inputs=LogSpectrogramInputs(Normalisation(0.1, 2.0)))
    inputs = run.part("test").inputs
    own = small_runs.normalisation(run.recogniser.inputs)
    spectrogram = inputs * own.deviation + own.mean
    with torch.no_grad():
        expected = other((spectrogram - 0.1) / 2.0).emotions
        result = Sibling(run, other)(inputs).emotions
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_a_sibling_of_other_emotions_is_refused(folder, prepared):
    run = open_run(folder, prepared)
    other = dataclasses.replace(run.recogniser, emotions=("joy",))
    with pytest.raises(CheckpointError, match="the sibling predicts joy"):
        Sibling(run, other)


# A run of version 0.1.0


@pytest.fixture
def earlier(tmp_path):
    return StudyFolder(shutil.copytree(GOLDEN / "earlier", tmp_path / "earlier"))


def test_a_run_of_an_earlier_version_opens(earlier, prepared):
    (files,) = earlier.runs()
    data = dataclasses.replace(prepared, fingerprint=load(files.path).fingerprint)
    run = open_run(files.path, data)
    assert files.is_trained()
    assert files.is_evaluated()
    assert files.has_natural()
    (protocol,) = files.protocols()
    rows = robustness.attack(run, named_protocol("paper-2025-released", iterations=2))
    assert rows.equals(earlier.rows(protocol))
    assert "uses_label" not in rows
    assert files.read_attacks(protocol) == {}
    with torch.no_grad():
        clean = run.recogniser(run.part("test").inputs)
    np.testing.assert_allclose(values_of(rows, "clean"), clean.emotions, atol=1e-3)
    assert natural(run)["objective"].nunique() > 1
