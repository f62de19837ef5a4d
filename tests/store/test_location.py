"""Which run is meant: folders, beginnings of names, and what is named in the place of a run."""

from __future__ import annotations

import pytest

from tenuto.config import to_yaml
from tenuto.errors import CheckpointError, ConfigError
from tenuto.store import location
from tenuto.store.location import complete, is_recording, locate_model, locate_run
from tests import small_runs

NAMES = ("A2E-6-1a2b3c4d", "A2E-61-5e6f7a8b", "A2M2E-6-1a2b3c4d", "A2M2E-6-99999999")


@pytest.fixture
def study(tmp_path):
    for name in NAMES:
        run = tmp_path / "demo" / "runs" / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(to_yaml(small_runs.settings()))
    (tmp_path / "demo" / "runs" / "A2E-7-notes").mkdir()
    return tmp_path / "demo"


@pytest.mark.parametrize("prefix", ["A2E-6", "A2E-6-", "A2E-6-1a2b", NAMES[0]])
def test_a_unique_prefix_is_a_run(study, prefix):
    assert locate_run(study / "runs" / prefix) == study / "runs" / NAMES[0]


def test_a_prefix_may_have_no_folder_in_front(study, monkeypatch):
    monkeypatch.chdir(study / "runs")
    assert str(locate_run("A2E-61")) == NAMES[1]


def test_several_runs_are_listed(study):
    with pytest.raises(ConfigError, match=r"2 runs .*A2M2E-6-1a2b3c4d, .*A2M2E-6-99999999\. Type more"):
        locate_run(study / "runs" / "A2M2E-6")
    with pytest.raises(ConfigError, match="4 runs"):
        complete(study / "runs" / "A2")


def test_a_folder_that_is_no_run_does_not_complete_a_name(study):
    with pytest.raises(ConfigError, match="no such run"):
        locate_run(study / "runs" / "A2E-7")


@pytest.mark.parametrize("locate", [locate_run, locate_model])
@pytest.mark.parametrize("below", ["", "runs"])
def test_a_study_is_said_to_be_one(study, locate, below):
    with pytest.raises(
        ConfigError, match=r"is a study with 4 runs, not a run.*A2E-6-1a2b3c4d.*tenuto report"
    ):
        locate(study / below)


@pytest.mark.parametrize("locate", [locate_run, locate_model])
def test_a_recording_is_said_to_be_one(tmp_path, locate):
    (tmp_path / "song.mp3").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"song.mp3: is a recording.*tenuto predict .*song.mp3"):
        locate(tmp_path / "song.mp3")
    with pytest.raises(ConfigError, match=r"gone.mp3: no such file"):
        locate(tmp_path / "gone.mp3")


def test_what_does_not_exist_is_compared_with_what_does(study):
    with pytest.raises(ConfigError, match="Did you mean A2E-61-5e6f7a8b"):
        locate_run(study / "runs" / "A2F-61-5e6f7a8b")
    with pytest.raises(CheckpointError, match="no such run, checkpoint or pretrained model"):
        locate_model("a2e-sondtracks")


def test_a_pretrained_model_is_found_by_name_and_is_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr(location, "PRETRAINED", tmp_path)
    (tmp_path / "own-model").mkdir()
    (tmp_path / "own-model" / "config.json").write_text("{}")
    assert locate_model("own-model") == tmp_path / "own-model"
    with pytest.raises(ConfigError, match=r"is a pretrained model, not a run.*tenuto predict own-model"):
        locate_run("own-model")
    with pytest.raises(CheckpointError, match="Did you mean own-model"):
        locate_model("own_model")


def test_recordings_are_told_from_models(tmp_path):
    for name in ("a.wav", "b.m4a", "checkpoint.safetensors"):
        (tmp_path / name).write_bytes(b"")
    recordings = [tmp_path / "a.wav", "gone.mp3", tmp_path / "b.m4a"]
    models = [tmp_path / "checkpoint.safetensors", tmp_path]
    assert [is_recording(place) for place in (*recordings, *models)] == [True] * 3 + [False] * 2


@pytest.mark.parametrize("name", ["m.pt", "m.PT2", "m.onnx"])
def test_the_file_of_a_model_from_elsewhere_is_to_be_adopted(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert not is_recording(tmp_path / name)
    for locate in (locate_run, locate_model):
        with pytest.raises(ConfigError, match=f"tenuto adopt .*{name}"):
            locate(tmp_path / name)


def test_a_folder_without_a_model_is_no_model(tmp_path):
    (tmp_path / "cache").mkdir()
    with pytest.raises(CheckpointError, match="cache: is a folder without a model"):
        locate_model(tmp_path / "cache")
