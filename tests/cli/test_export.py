"""`tenuto export`, and commands without a run of the user's: pretrained models and recordings."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml

import tenuto as library
from tenuto.api import exporting
from tenuto.api.model_card import model_card
from tenuto.api.training import run_config
from tenuto.attacks import APGD, Linf, OneEmotion
from tenuto.errors import CheckpointError, ConfigError
from tenuto.store import location
from tenuto.store.exported import ModelFolder
from tenuto.store.rows import read_rows
from tenuto.store.run import RunFolder
from tests import corpora
from tests.small_runs import InterruptionError, interrupt

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    path = tmp_path_factory.mktemp("songs") / "one [live].mp3"
    corpora.write_audio(path, 3, seconds=25)
    return path


@pytest.fixture(scope="module")
def exported(tenuto, run, data, tmp_path_factory):
    """The run as a model folder, in half precision."""
    folder = tmp_path_factory.mktemp("exported") / "small"
    outcome = tenuto(
        "export", run, "--to", "hub-folder", "--out", folder, "--half", "--licence", "mit", *data
    )
    assert outcome.stdout == f"{folder}\n"
    return ModelFolder(folder)


@pytest.fixture
def package(exported, tmp_path, monkeypatch):
    """An installation whose two pretrained models are that folder."""
    for name in ("a2e-soundtracks", "a2m2e-soundtracks"):
        shutil.copytree(exported.path, tmp_path / "pretrained" / name)
    monkeypatch.setattr(location, "PRETRAINED", tmp_path / "pretrained")
    return tmp_path / "pretrained"


def emotions(model, song):
    return np.array(list(model.predict(song).emotions.values()))


# Model folders


def test_a_model_folder_predicts_what_the_run_predicts(exported, run, song):
    own, half = library.load(run), library.load(exported.path)
    np.testing.assert_allclose(emotions(half, song), emotions(own, song), atol=5e-3)
    assert all(value.dtype != torch.float16 for value in half.network.state_dict().values())
    assert (half.emotions, half.concepts, half.scale) == (own.emotions, own.concepts, own.scale)
    assert exported.weights.stat().st_size < 0.75 * RunFolder(run).checkpoint.stat().st_size


def test_without_half_precision_the_weights_are_the_same(tenuto, run, song, tmp_path):
    outcome = tenuto("export", run, "--to", "hub-folder", "--out", tmp_path / "whole")
    assert "No metrics in the model card" in outcome.stderr
    assert np.array_equal(emotions(library.load(tmp_path / "whole"), song), emotions(library.load(run), song))
    card = ModelFolder(tmp_path / "whole").card.read_text()
    assert "Not measured" in card
    assert "Weights: not decided" in card


def test_the_card_has_front_matter_metrics_and_a_command(exported, run):
    _, front, text = exported.card.read_text().split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "mit"
    assert re.search(r"on the \d+ test clips", text)
    lines = re.findall(r"^\| \w+ \|( -?\d+\.\d{3} \|){3}$", text, re.MULTILINE)
    assert len(lines) == 9  # overall and eight emotions
    assert "It must not be used for" in text
    assert "tenuto train --preset run.yaml" in text
    assert run_config(preset=str(exported.settings)) == RunFolder(run).read_config()


@pytest.mark.parametrize("versions", [{"torch": "<b>"}, None, [], "2"])
def test_names_in_a_checkpoint_are_no_markup_of_the_card(run, versions):
    about: dict[str, Any] = {
        "network": "a2e",
        "width": 1.0,
        "emotions": ["<img src=x>", "[joy](javascript:x)\x1b[2J"],
        "concepts": [],
        "fingerprint": "`<b>`" + "0" * 60,
        "versions": versions,
    }
    card = model_card("model", RunFolder(run).read_config(), about, None)
    assert not re.search(r"(?<!\\)(<(img|b)|\[joy\])", card)
    assert "\x1b" not in card
    assert ("Versions: not recorded." in card) == (not isinstance(versions, dict))


def test_the_configuration_identifies_the_weights(exported):
    content = json.loads(exported.config.read_text())
    assert (content["model_type"], content["precision"]) == ("tenuto", "float16")
    assert exported.checked_weights() == exported.weights


def test_a_damaged_folder_is_refused(exported, refused, song, tmp_path):
    folder = ModelFolder(shutil.copytree(exported.path, tmp_path / "damaged"))
    content = bytearray(folder.weights.read_bytes())
    content[-1] ^= 1
    folder.weights.write_bytes(content)
    assert f"{folder.weights}: is damaged (SHA-256" in refused("predict", folder.path, song)
    folder.config.write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: not JSON"):
        library.load(folder.path)
    folder.config.write_text("{}")
    with pytest.raises(CheckpointError, match="its format is None"):
        library.load(folder.path)
    shutil.copy(exported.config, folder.config)
    folder.weights.unlink()
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: .* The model is damaged: export or install"
    ):
        library.load(folder.path)


def test_a_folder_with_other_files_is_left_alone(refused, run, tmp_path):
    """Also the model of another library, whose files have the same names."""
    for name in ("README.md", "model.safetensors", "config.json"):
        (tmp_path / name).write_text("{}")
        assert "contains other files" in refused("export", run, "--to", "hub-folder", "--out", tmp_path)
        assert (tmp_path / name).read_text() == "{}"


def test_an_interrupted_export_is_completed(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "write_json", interrupt)
        with pytest.raises(InterruptionError):
            library.export(run, "hub-folder", tmp_path / "model")
    library.export(run, "hub-folder", tmp_path / "model")
    assert library.load(tmp_path / "model").system == "A2M2E"


def test_weights_too_large_for_half_precision_are_refused(run, refused, tmp_path):
    from tenuto.files import read_safetensors, write_safetensors

    copied = RunFolder(shutil.copytree(run, tmp_path / run.name))
    arrays, metadata = read_safetensors(copied.checkpoint)
    name = next(name for name, array in arrays.items() if array.ndim > 1)
    arrays[name] = np.full_like(arrays[name], 1e6)
    about = {**json.loads(metadata["tenuto"]), "checksum": None}
    write_safetensors(copied.checkpoint, arrays, {"tenuto": json.dumps(about)})
    sentence = refused("export", copied.path, "--to", "hub-folder", "--out", tmp_path / "half", "--half")
    assert "too large for half precision" in sentence


def test_other_parameters_are_refused(refused, run, exported, tmp_path):
    out = ("--out", tmp_path / "out")
    assert "is an exported model" in refused("export", exported.path, "--to", "hub-folder", *out)
    with pytest.raises(ConfigError, match="Did you mean onnx"):
        library.export(run, "onx", tmp_path / "out")


# Pretrained models


def test_a_file_is_made_of_a_pretrained_model(tenuto, package, song, tmp_path):
    path = tmp_path / "model.pt"
    assert tenuto("export", "a2e-soundtracks", "--to", "torchscript", "--out", path).exit_code == 0
    waveform = np.random.default_rng(0).uniform(-1, 1, 220_500).astype(np.float32)
    model = library.load("a2e-soundtracks")
    right = list(model.predict(waveform).emotions.values())
    np.testing.assert_allclose(
        torch.jit.load(path)(torch.from_numpy(waveform)[None])[0][0].detach(), right, atol=1e-5
    )


def test_predict_and_explain_need_no_run(tenuto, package, song):
    outcome = tenuto("predict", song)
    assert outcome.stderr == "a2e-soundtracks: the pretrained model\n"
    assert outcome.stdout == tenuto("predict", package / "a2e-soundtracks", song).stdout
    explained = tenuto("explain", song)
    assert "percent of the 24 training clips" in explained.stdout
    assert "a2m2e-soundtracks: the pretrained model" in explained.stderr
    assert set(json.loads(tenuto("predict", song, song, "--json").stdout)) == {str(song)}


def test_a_pretrained_model_that_is_damaged_is_refused(refused, package, song):
    (package / "a2e-soundtracks" / "model.safetensors").write_bytes(b"")
    sentence = refused("predict", song)
    assert "is damaged" in sentence
    assert "install the model again" in sentence


def test_commands_that_need_a_run_say_so(refused, package, corpus, song):
    assert "is a pretrained model, not a run" in refused("evaluate", "a2e-soundtracks", "--root", corpus)
    assert "is a pretrained model, not a run" in refused("attack", "a2e-soundtracks", "--root", corpus)
    assert "is a recording, not a run" in refused("natural", song)
    assert "Name a recording after it" in refused("predict", "a2e-soundtracks")
    assert "one recording at a time" in refused("explain", song, song)
    assert "Did you mean a2e-soundtracks" in refused("predict", "a2e-soundtrack", song)


def test_an_installation_without_models_says_so(refused, song, tmp_path, monkeypatch):
    monkeypatch.setattr(location, "PRETRAINED", tmp_path)
    assert "not part of this installation" in refused("predict", song)


# Attacks on a recording

OWN = ("--objective", "happy+", "--epsilon", 0.05, "--setting", "steps=3")


def test_an_attack_on_a_recording_shows_before_and_after(tenuto, package, song, tmp_path):
    outcome = tenuto("attack", "a2e-soundtracks", song, *OWN, "--out", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.stderr
    line = next(line for line in outcome.stdout.splitlines() if line.startswith("│ happy"))
    before, after, change = (float(cell) for cell in line.split("│")[2:5])
    assert after - before == pytest.approx(change, abs=2e-3)
    assert change > 0
    name = song.stem
    endings = (".csv", ".safetensors", ".png", ".pdf", "-before.wav", "-after.wav", "-difference.wav")
    names = {f"{name}-attack{ending}" for ending in endings}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    rows = read_rows(tmp_path / "out" / f"{name}-attack.csv")
    assert list(rows["label_happy"]) == list(rows["clean_happy"])
    assert rows["run"].iloc[0] == "a2e-soundtracks"
    sounds = [
        soundfile.read(tmp_path / "out" / f"{name}-attack-{which}.wav")[0] for which in ("before", "after")
    ]
    assert len(sounds[0]) == len(sounds[1]) == 220_500


def test_the_excerpt_is_in_the_middle_or_where_it_is_said_to_be(package, song):
    attack = APGD(Linf(0.05), objective=OneEmotion(0), steps=1)
    middle = library.attack_recording("a2e-soundtracks", song, attack)
    assert middle.start_seconds == pytest.approx(7.5, abs=0.1)
    model = library.load("a2e-soundtracks")
    for seconds, begin in ((2.0, 2.0), (24.0, 15.0)):
        moved = library.attack_recording(model, song, attack, start=seconds)
        assert moved.start_seconds == pytest.approx(begin, abs=0.1)
    with pytest.raises(ConfigError, match="start must be a second of"):
        library.attack_recording(model, song, attack, start=26)


def test_errors_are_measured_from_the_clean_prediction(package, song):
    result = library.attack_recording("a2e-soundtracks", song, epsilon=0.05, steps=3)
    assert result.row["objective"] == "squared error from clean"
    assert result.table.loc[list(result.recogniser.emotions), "change"].abs().max() > 0
    both = library.attack_recording("a2e-soundtracks", song, objective="each-emotion", epsilon=0.05, steps=1)
    assert len(both.rows) == 2 * len(both.recogniser.emotions)
    changes = pd.concat([abs(both.rows[f"adversarial_{name}"] - both.rows[f"clean_{name}"])
                         for name in both.recogniser.emotions], axis=1).mean(axis=1)  # fmt: skip
    assert both.row.name == changes.argmax()


@pytest.mark.usefixtures("drawn")
def test_a_notebook_shows_and_plays_it(package, song):
    html = library.attack_recording("a2e-soundtracks", song, epsilon=0.05, steps=1)._repr_html_()
    assert html.count("<audio") == 3


def test_attacks_that_need_ratings_are_refused(refused, package, song):
    with pytest.raises(ConfigError, match="ratings, which a recording does not have"):
        library.attack_recording("a2e-soundtracks", song, APGD(Linf(0.05)))
    with pytest.raises(ConfigError, match=r"Described on .* compares predictions with ratings"):
        library.attack_recording("a2e-soundtracks", song, "Described", epsilon=0.001)
    with pytest.raises(ConfigError, match=r"epsilon: belong to an attack by its name"):
        library.attack_recording("a2e-soundtracks", song, APGD(Linf(0.05)), epsilon=0.1)
    recording = ("attack", "a2e-soundtracks", song)
    assert "--protocol: only for attacks on the clips of a run" in refused(
        *recording, "--protocol", "standard-1"
    )
    assert "--step-size, --root: only" in refused(*recording, "--root", ".", "--step-size", 1)
    assert "norm linf needs an epsilon" in refused(*recording)
    assert "Did you mean happy" in refused(*recording, "--epsilon", 0.1, "--objective", "hapy+")


def test_options_of_a_recording_need_one(refused, run):
    assert "--out: only for an attack on a recording" in refused("attack", run, "--out", "x")
