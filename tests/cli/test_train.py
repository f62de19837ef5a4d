"""`tenuto train` and `tenuto evaluate`."""

import errno
import json
import os
import shutil

import pandas as pd
import pytest
import yaml

from tenuto.api.training import run_config as configure
from tenuto.files import read_safetensors, write_safetensors
from tests.cli.conftest import TINY

REAL_FSYNC = os.fsync


@pytest.fixture
def train(tenuto, data, tmp_path):
    """A function that trains a tiny run and returns what was said and the run's configuration."""

    def call(*arguments):
        where = (*data, "--runs", tmp_path / "runs")
        outcome = tenuto("train", *where, *TINY, *arguments)
        assert outcome.exit_code == 0, outcome.output
        folder = tmp_path / "runs" / outcome.stdout.strip().rsplit("/", 1)[1]
        return outcome, folder, yaml.safe_load((folder / "config.yaml").read_text())

    return call


def strict(text):
    """Parsed as a program would that knows no NaN."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_stdout_is_the_folder_alone_and_the_epochs_are_remarks(trained, run):
    assert trained.stdout == f"{run}\n"
    assert run.name.startswith("A2M2E-21-")
    assert "A2M2E, seed 21, 30 clips of midlevel" in trained.stderr
    assert "epoch   1  loss " in trained.stderr
    assert "best epoch 1 of 1" in trained.stderr


@pytest.mark.parametrize(
    ("system", "network", "weight", "adversarial"),
    [("A2E", "a2e", 1.0, False), ("A2B2E", "a2m2e", 1.0, False), ("aA2B2E", "a2m2e", 1.0, True)],
)
def test_a_system_stands_for_its_settings(train, system, network, weight, adversarial):
    _, folder, config = train("--system", system, "--seed", 6)
    assert folder.name.startswith(f"{system}-6-")
    assert config["model"]["network"] == network
    assert config["train"]["task_loss_weight"] == weight
    assert ("adversarial" in config["train"]) is adversarial


def test_any_network_weight_and_training_can_be_combined(train):
    _, folder, config = train(
        *("--data", "midlevel", "--network", "a2m2e", "--task-loss-weight", 0.3),
        *("--learning-rate", 0.001, "--seed", 3, "--adversarial"),
    )
    assert folder.name.startswith("aa2m2e_w0.3-3-")
    assert config["train"]["task_loss_weight"] == 0.3
    assert config["train"]["learning_rate"] == 0.001
    assert config["train"]["adversarial"]["every"] == 5


def test_a_sequential_bottleneck_of_a_known_system(train):
    result, folder, config = train("--data", "midlevel", "--system", "A2M2E", "--bottleneck", "sequential")
    assert folder.name.startswith("A2M2E_sequential-0-")
    assert (config["train"]["bottleneck"], config["train"]["task_loss_weight"]) == ("sequential", 0)
    assert "validation r" in result.stderr


def test_robust_training_by_options(train):
    _, folder, config = train("--system", "A2E", "--robust", "pgd", "--steps", 1, "--average", 0.9)
    assert folder.name.startswith("A2E_pgd-0-")
    assert config["train"]["average"] == 0.9
    assert config["train"]["robust"] == {"method": "pgd", "epsilon": 0.05, "steps": 1}


def test_single_options_change_the_method_of_a_preset(train):
    _, folder, config = train("--preset", "robust-free", "--replays", 1, "--epsilon", 0.01)
    assert folder.name.startswith("A2E_free-0-")
    assert config["train"]["robust"] == {"method": "free", "epsilon": 0.01, "replays": 1}


def test_single_options_win_over_system_and_preset(train):
    _, folder, config = train(
        *("--preset", "paper-2025", "--system", "aA2B2E", "--no-adversarial", "--learning-rate", 0.01)
    )
    assert folder.name.startswith("A2B2E-")
    assert config["train"]["learning_rate"] == 0.01
    assert config["data"]["excerpts"] == "fixed"
    assert config["data"]["normalisation"] == "all"


def test_a_score_without_concept_ratings_is_said(train):
    outcome, _, _ = train("--preset", "paper-2025", "--system", "A2B2E")
    assert "the score of this bottleneck model is its emotion part alone" in outcome.stderr


def test_the_user_can_bring_columns_of_their_own(own_run):
    config = yaml.safe_load((own_run / "config.yaml").read_text())
    assert config["data"]["folder"]["emotions"] == ["arousal", "joy"]
    assert config["data"]["folder"]["scale"] == [1.0, 7.0]


def test_splits_can_be_chosen(train):
    _, folder, _ = train("--split", "random", "--split-seed", 1)
    _, other, _ = train("--split", "random", "--split-seed", 2)
    assert (folder / "split.csv").read_text() != (other / "split.csv").read_text()


def test_environment_variables_name_data_runs_and_cache(tenuto, corpus, tmp_path):
    outcome = tenuto(
        *("train", *TINY),
        TENUTO_DATA=str(corpus),
        TENUTO_RUNS=str(tmp_path / "runs"),
        TENUTO_CACHE=str(tmp_path / "cache"),
    )
    assert outcome.stdout.startswith(str(tmp_path / "runs"))
    assert len(list((tmp_path / "cache").iterdir())) == 30


def test_an_unknown_key_of_a_preset_names_the_nearest(refused, corpus, tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text("train:\n  learning_rat: 0.1\n")
    message = refused("train", "--root", corpus, "--preset", preset)
    assert f"{preset}: unknown key train.learning_rat. Did you mean learning_rate?" in message


@pytest.mark.parametrize("place", ["missing", "empty"])
def test_a_folder_without_the_data_is_named(refused, tmp_path, place):
    root = tmp_path / "data"
    if place == "empty":
        root.mkdir()
    assert f"error: {root}" in refused("train", "--root", root)


def test_a_full_disk_stops_training_and_the_same_command_finishes(
    train, tenuto, refused, data, tmp_path, monkeypatch
):
    written = []

    def fsync(handle):
        written.append(handle)
        if len(written) > 7:  # after the first of three epochs, within the second
            raise OSError(errno.ENOSPC, "No space left on device")
        REAL_FSYNC(handle)

    settings = (*TINY, "--seed", 9, "--epochs", 3)
    where = (*data, "--runs")
    monkeypatch.setattr(os, "fsync", fsync)
    assert "the disk is full" in refused("train", *where, tmp_path / "full", *settings)
    monkeypatch.setattr(os, "fsync", REAL_FSYNC)
    finished = tenuto("train", *where, tmp_path / "full", *settings)
    assert "epoch   1 " not in finished.stderr
    undisturbed = tenuto("train", *where, tmp_path / "free", *settings)
    folder, expected = (outcome.stdout.strip() for outcome in (finished, undisturbed))
    pd.testing.assert_frame_equal(
        pd.read_csv(f"{folder}/history.csv"), pd.read_csv(f"{expected}/history.csv")
    )


def test_evaluate_prints_a_table_for_every_part(tenuto, run, data):
    shown = tenuto("evaluate", run, *data).stdout
    parts = [f"{part}{kind}" for kind in ("", " concepts") for part in ("train", "validation", "test")]
    assert [line for line in shown.splitlines() if line.startswith("A2M2E")] == [
        f"{run.name}, {part}" for part in parts
    ]
    assert shown.count("│ tender ") == 3
    assert shown.count("│ melodiousness ") == 3


def test_evaluate_fits_80_columns(tenuto, run, data):
    shown = tenuto("evaluate", run, *data, COLUMNS="80").stdout
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_evaluate_for_programs_is_strict_json_alone_on_stdout(tenuto, run, data):
    outcome = tenuto("evaluate", run, *data, "--json")
    report = strict(outcome.stdout)
    assert report["run"] == run.name
    assert set(report["test"]) == {"r2", "correlation", "rmse", "mse", "mae"}
    assert report["test"]["rmse"]["overall"] == pytest.approx(report["test"]["mse"]["overall"] ** 0.5)
    assert report["mean_predictor"]["correlation"]["overall"] is None  # a constant has no correlation
    assert outcome.stderr == ""


def test_evaluate_on_other_data_is_refused(refused, run, corpus, cache, tmp_path):
    root = shutil.copytree(corpus, tmp_path / "other")
    table = root / "mean_ratings_set1.csv"
    lines = table.read_text(encoding="utf-8-sig").splitlines()
    lines[1] = "001,1,1,1,1,1,1,1,9,HAPPY"
    table.write_text("\n".join(lines) + "\n")
    message = refused("evaluate", run, "--root", root, "--cache", cache)
    assert "Use the data the run was trained on" in message


@pytest.mark.parametrize("command", ["evaluate", "attack"])
def test_a_checkpoint_of_other_emotions_is_refused(
    refused, run, own_run, own_folder, cache, tmp_path, command
):
    mixed = shutil.copytree(own_run, tmp_path / "mixed")
    arrays, metadata = read_safetensors(run / "checkpoint.safetensors")
    command_line = (command, mixed, "--root", own_folder, "--cache", cache)
    write_safetensors(mixed / "checkpoint.safetensors", arrays, metadata)
    assert "holds the weights of data." in refused(*command_line)
    about = json.loads(metadata["tenuto"])
    del about["settings"]  # as in a checkpoint of an earlier version
    write_safetensors(mixed / "checkpoint.safetensors", arrays, {"tenuto": json.dumps(about)})
    message = refused(*command_line)
    assert "predicts valence, energy" in message
    assert "folder rates arousal, joy" in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((None, None), False), (("A2E", None), False), (("aA2E", None), True), ((None, True), True)],
)
def test_a_study_s_preset_trains_adversarially_only_what_is_named_so(arguments, expected):
    system, adversarial = arguments
    result = configure(system, "demo", {}, adversarial)
    assert (result.train.adversarial is not None) is expected
