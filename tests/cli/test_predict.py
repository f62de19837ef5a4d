"""`tenuto predict` and `tenuto import-reference`."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

from tenuto.models.systems import build
from tenuto.store.run import RunFolder
from tests import corpora
from tests.models.golden import released_state

EMOTIONS = ["valence", "energy", "tension", "anger", "fear", "happy", "sad", "tender"]


@pytest.fixture
def songs(tmp_path):
    """Three recordings of different lengths and types, one with brackets in its name."""
    paths = [tmp_path / "one.mp3", tmp_path / "two [live] :smile:.flac", tmp_path / "three.ogg"]
    for number, path in enumerate(paths, 1):
        corpora.write_audio(path, number, seconds=number)
    return paths


def damaged(kind, folder):
    """A recording that cannot be used, and why."""
    path = folder / f"bad.{'mp3' if kind == 'cut' else 'wav'}"
    if kind == "undecodable":
        path.write_bytes(b"this is no audio" * 100)
        return path, "cannot be decoded"
    if kind == "cut":
        corpora.write_audio(path, 1, seconds=3)
        path.write_bytes(path.read_bytes()[:-100])
        return path, "cut off"
    wave = np.zeros(22050) if kind == "silent" else np.full(22050, np.nan)
    soundfile.write(path, wave, 22050, subtype="FLOAT")
    return path, kind


def test_the_text_names_every_file_emotion_and_concept(tenuto, run, songs):
    outcome = tenuto("predict", run, *songs)
    assert outcome.exit_code == 0
    assert [line for line in outcome.stdout.splitlines() if line.startswith("/")] == [str(s) for s in songs]
    assert all(outcome.stdout.count(f"│ {word} ") == 3 for word in (*EMOTIONS, "melodiousness"))


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_recording_that_holds_next_to_nothing_gets_a_warning(tenuto, run, tmp_path, options):
    path = tmp_path / "click.wav"
    soundfile.write(path, np.eye(1, 5 * 22050, 9)[0], 22050)
    outcome = tenuto("predict", run, path, *options)
    assert outcome.exit_code == 0
    assert outcome.stderr.startswith(f"warning: {path}: only 0.05 s of its 5.00 s")
    assert "Warning" not in outcome.stdout


def test_json_alone_stands_on_stdout(tenuto, run, songs):
    outcome = tenuto("predict", run, *songs, "--json")
    result = json.loads(outcome.stdout)
    assert list(result) == [str(song) for song in songs]
    assert list(result[str(songs[0])]["emotions"]) == EMOTIONS
    assert len(result[str(songs[0])]["concepts"]) == 7
    assert outcome.stderr == ""


def test_a_model_of_other_emotions_speaks_of_those(tenuto, own_run, songs):
    result = json.loads(tenuto("predict", own_run, songs[0], "--json").stdout)[str(songs[0])]
    assert list(result["emotions"]) == ["arousal", "joy"]
    assert list(result["concepts"]) == ["roughness"]


def test_nothing_but_the_checkpoint_is_needed(tenuto, run, songs, tmp_path):
    alone = shutil.copy(RunFolder(run).checkpoint, tmp_path / "model.safetensors")
    message = tenuto("predict", run, songs[0], "--json").stdout
    assert tenuto("predict", alone, songs[0], "--json").stdout == message


@pytest.mark.parametrize("kind", ["undecodable", "cut", "silent", "NaN"])
def test_a_bad_recording_is_named_in_one_sentence(refused, run, tmp_path, kind):
    path, reason = damaged(kind, tmp_path)
    sentence = refused("predict", run, path)
    assert sentence.startswith(f"error: {path}: ")
    assert reason in sentence


def test_a_bad_recording_does_not_take_the_earlier_ones_along(tenuto, run, songs, tmp_path):
    outcome = tenuto("predict", run, songs[0], tmp_path / "gone.mp3")
    assert outcome.exit_code == 2
    assert outcome.stdout.startswith(f"{songs[0]}\n")
    assert str(tmp_path / "gone.mp3") in outcome.stderr


def test_what_is_odd_about_a_recording_is_a_line_on_stderr(tenuto, run, tmp_path):
    tone = 0.5 * np.sin(np.arange(12 * 22050) / 10)
    soundfile.write(tmp_path / "antiphase.wav", np.stack([tone, -0.9 * tone], axis=1), 22050)
    outcome = tenuto("predict", run, tmp_path / "antiphase.wav", "--json")
    assert outcome.exit_code == 0
    json.loads(outcome.stdout)
    assert all(line.startswith("warning: ") for line in outcome.stderr.splitlines())


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A file of weights under the released names, small."""
    path = tmp_path_factory.mktemp("released") / "best_model.pt"
    torch.save(released_state(build("A2M2E", width=0.125)), path)
    return path


def test_an_imported_run_can_be_evaluated(tenuto, released, corpus, cache, tmp_path):
    made = tenuto(
        "import-reference", released, "--system", "A2M2E", "--seed", 21, TENUTO_RUNS=str(tmp_path)
    ).stdout.strip()
    outcome = tenuto("evaluate", made, "--root", corpus, "--cache", cache, "--json")
    assert len(json.loads(outcome.stdout)["test"]["mae"]) == 9


def test_another_system_or_file_is_refused(refused, released, songs, tmp_path):
    command = ("--seed", 21, "--runs", tmp_path / "runs")
    assert "Name its system" in refused("import-reference", released, "--system", "A2E", *command)
    assert "Did you mean A2M2E?" in refused("import-reference", released, "--system", "A2MME", *command)
    sentence = refused("import-reference", songs[0], "--system", "A2E", *command)
    assert sentence.endswith(
        f"{songs[0]}: not a plain file of weights, and not executed. Give a state dictionary that torch.save wrote."
    )
    assert not (tmp_path / "runs").exists()
