"""`tenuto study plan`, `run` and `status` as a user meets them."""

from __future__ import annotations

import dataclasses
import errno
import json
import signal
from pathlib import Path

import pytest
import yaml

from tenuto.api.datasets import prepare
from tenuto.api.studies import study_config
from tenuto.config import DataConfig, merge
from tenuto.errors import ConfigError
from tenuto.files import write_json, write_text
from tenuto.store.study import StudyFolder
from tenuto.study import journal
from tenuto.study.limit import request_stop
from tenuto.training import loop
from tests import corpora
from tests.study import small

SYSTEMS = ("A2M2E-21", "aA2E-21")


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return small.recordings(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return small.write_study(tmp_path_factory.mktemp("yaml") / "mine.yaml", small.TINY)


@pytest.fixture(scope="module")
def carried_out(tenuto, music, file, tmp_path_factory):
    """What `tenuto study run` said, and the folder it worked in."""
    folder = tmp_path_factory.mktemp("study") / "mine"
    return tenuto("study", "run", file, "--root", music, "--out", folder), folder


def as_json(outcome):
    assert outcome.exit_code == 0, outcome.output
    return json.loads(outcome.stdout)


def begun(folder, **stages):
    """The journal of a study whose runs stand at these stages."""
    runs = dict.fromkeys(stages, 40)
    write_json(
        journal.record_path(folder, journal.STUDY),
        dataclasses.asdict(journal.Record(journal.STUDY, "runs", notes={"runs": runs})),
    )
    for run, changes in stages.items():
        write_json(
            journal.record_path(folder, run),
            dataclasses.asdict(journal.Record(run)) | {"name": run} | changes,
        )
    return folder


def test_a_study_runs_from_one_command(carried_out):
    outcome, folder = carried_out
    assert outcome.exit_code == 0, outcome.output
    assert "2 of 2 runs are complete" in outcome.stdout
    assert "training" in outcome.stdout
    message = outcome.stderr.splitlines()
    assert "20 clips of midlevel are ready" in message
    assert [line.split(":")[0] for line in message if "clean test correlation" in line] == [
        "A2M2E, seed 21",
        "aA2E, seed 21",
    ]
    assert (folder / "paper" / "table1.csv").is_file()


def test_its_plan_then_says_that_all_is_done(tenuto, carried_out, music, file):
    _, folder = carried_out
    outcome = tenuto("study", "plan", file, "--root", music, "--out", folder)
    assert "8 of 8 stages are done. Nothing is left to do." in outcome.stdout
    content = as_json(tenuto("study", "plan", file, "--root", music, "--out", folder, "--json"))
    assert all(stage["done"] for stage in content["stages"])
    assert (content["seconds"], content["unmeasured"]) == (0, 0)


def test_its_status_lists_every_run(tenuto, carried_out):
    _, folder = carried_out
    content = as_json(tenuto("study", "status", folder, "--json"))
    assert content["study"]["stage"] == "done"
    assert [name.rpartition("-")[0] for name in content["runs"]] == list(SYSTEMS)
    assert {run["stage"] for run in content["runs"].values()} == {"done"}
    shown = tenuto("study", "status", folder).stdout
    assert "2 of 2" in shown
    assert "done: 2 done" in shown


def test_the_plan_of_what_is_not_begun_names_stages_runs_and_times(tenuto, music, file, tmp_path):
    content = as_json(tenuto("study", "plan", file, "--root", music, "--out", tmp_path / "new", "--json"))
    assert [stage["kind"] for stage in content["stages"]] == [
        "prepare",
        *(2 * ["train", "evaluate", "attack"]),
        "analyse",
    ]
    assert {stage["run"].rpartition("-")[0] for stage in content["stages"]} == {"", *SYSTEMS}
    assert {stage["seconds"] for stage in content["stages"]} == {None}
    assert (content["seconds"], content["unmeasured"]) == (0, 8)
    assert len(content["fingerprint"]) == 64
    shown = tenuto("study", "plan", file, "--root", music, "--out", tmp_path / "new").stdout
    assert "0 of 8 stages are done. The time for the rest is unknown until a run has finished." in shown
    assert shown.count("–") == 8
    assert "Smaller than the paper's: 0.0625 of the channels" in shown
    assert not (tmp_path / "new").exists()


def test_a_preset_can_be_planned_without_data(tenuto, tmp_path):
    content = as_json(tenuto("study", "plan", "paper-2025", "--out", tmp_path, "--json"))
    assert content["fingerprint"] is None
    assert sum(stage["kind"] == "train" for stage in content["stages"]) == 50
    assert sum(stage["kind"] == "attack" for stage in content["stages"]) == 150


def test_threads_and_data_are_laid_over_the_study(tenuto, music, file, tmp_path):
    def names(*options):
        content = as_json(
            tenuto("study", "plan", file, "--root", music, "--out", tmp_path, "--json", *options)
        )
        return [stage["run"] for stage in content["stages"] if stage["kind"] == "train"]

    assert names("--threads", 1, "--data", "midlevel") == names()
    assert not set(names("--threads", 2)) & set(names())


def test_a_failed_run_is_said_and_the_exit_code_is_one(tenuto, music, file, tmp_path, monkeypatch):
    def breaks(run):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("tenuto.evaluation.robustness.evaluate", breaks)
    outcome = tenuto("study", "run", file, "--root", music, "--out", tmp_path)
    assert outcome.exit_code == 1
    assert "0 of 2 runs are complete" in outcome.stdout
    assert outcome.stdout.count(": ZeroDivisionError: of all things") == 2
    assert tenuto("study", "status", tmp_path).exit_code == 1


def test_sigterm_ends_a_study_after_the_epoch_and_the_same_command_continues(
    tenuto, music, file, tmp_path, monkeypatch
):
    with monkeypatch.context() as patched:
        epoch = loop._epoch

        def terminated(*arguments):
            signal.raise_signal(signal.SIGTERM)
            return epoch(*arguments)

        patched.setattr(loop, "_epoch", terminated)
        outcome = tenuto("study", "run", file, "--root", music, "--out", tmp_path)
    assert outcome.exit_code == 3, outcome.output
    assert "0 of 2 runs are complete" in outcome.stdout
    assert "Stopped: 1 of 8 stages are done." in outcome.stdout
    assert "Run the same command again to continue." in outcome.stdout
    status = as_json(tenuto("study", "status", tmp_path, "--json"))
    assert [(run["stage"], run["epoch"]) for run in status["runs"].values()] == [
        ("stopped", 1),
        ("waiting", 0),
    ]
    assert tenuto("study", "run", file, "--root", music, "--out", tmp_path).exit_code == 0


def test_status_says_where_every_run_stands(tenuto, tmp_path):
    folder = begun(
        tmp_path,
        **{
            "A2E-6-0": {"stage": "done", "epoch": 40, "best_score": 0.5, "seconds": {"train": 300.0}},
            "A2E-21-0": {"stage": "train", "epoch": 7},
            "aA2E-6-0": {"stage": "failed", "error": "the disk is full"},
            "aA2E-21-0": {},
        },
    )
    outcome = tenuto("study", "status", folder)
    assert outcome.exit_code == 1
    for sentence in ("40 of 40", "0.5000", "5 min", "7 of 40", "failed: the disk is full"):
        assert sentence in outcome.stdout
    assert "stopped: 1 done, 1 failed, 1 stopped, 1 waiting" in outcome.stdout


def test_status_cuts_no_name_of_a_run_or_file(tenuto, tmp_path):
    folder = begun(tmp_path, **{"A2E-6-0": {"stage": "failed", "error": f"/{'x' * 80}: the disk is full"}})
    assert "…" not in tenuto("study", "status", folder, COLUMNS="80").stdout


def test_status_sees_who_is_at_work(tenuto, tmp_path):
    attack = "attack paper-2025-released"
    folder = begun(
        tmp_path,
        **{"A2E-6-0": {"stage": attack, "epoch": 40, "steps": 250, "steps_total": 1000}, "A2E-21-0": {}},
    )
    with journal.hold(folder, journal.STUDY, 0), journal.hold(folder, "A2E-6-0", 0):
        outcome = tenuto("study", "status", folder)
    assert outcome.exit_code == 0
    assert f"{attack} 25%" in outcome.stdout
    assert "runs: 1 running, 1 waiting" in outcome.stdout


@pytest.fixture
def lost(tmp_path):
    """A study one of whose runs failed while its record belonged to another process."""
    folder = begun(tmp_path, **{"A2E-6-0": {"stage": "train", "epoch": 7}, "A2E-21-0": {"stage": "done"}})
    entry = journal.Entry(folder, journal.STUDY)
    entry.record.notes["failed"] = {"A2E-6-0": "another process is at work on it"}
    entry.note(True, stage=journal.FAILED)
    return folder


def test_status_says_why_a_run_failed_that_another_process_has(tenuto, lost):
    with journal.hold(lost, "A2E-6-0", 0):
        outcome = tenuto("study", "status", lost)
        content = json.loads(tenuto("study", "status", lost, "--json").stdout)
    assert outcome.exit_code == 1
    assert "train: another process is at work on it" in outcome.stdout
    assert content["runs"]["A2E-6-0"]["error"] == "another process is at work on it"
    assert content["runs"]["A2E-21-0"]["error"] is None
    assert "stopped: another process is at work on it" in tenuto("study", "status", lost).stdout


def test_status_forgets_the_failure_of_a_run_that_another_process_has_finished(tenuto, lost):
    journal.Entry(lost, "A2E-6-0").note(True, stage=journal.DONE)
    outcome = tenuto("study", "status", lost)
    assert (outcome.exit_code, "another process" in outcome.stdout) == (0, False)


def test_recordings_named_in_the_environment_are_no_business_of_a_study_that_makes_its_own(tenuto, tmp_path):
    outcome = tenuto("study", "plan", "demo", "--out", tmp_path / "study", TENUTO_DATA=str(tmp_path))
    assert "0 of 33 stages are done" in outcome.stdout
    roots = []

    def note(study, folder, root, *arguments):
        roots.append(root)
        raise ConfigError("enough")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tenuto.study.engines.run_study", note)
        for name in ("demo", "paper-2025"):
            tenuto("study", "run", name, "--out", tmp_path / "study", TENUTO_DATA=str(tmp_path))
        tenuto("study", "run", "demo", "--root", "gone", "--out", tmp_path, TENUTO_DATA=str(tmp_path))
    assert roots == [None, tmp_path, Path("gone")]


def test_an_explicit_root_is_refused_with_the_environment_set_too(refused, tmp_path):
    options = ("--root", "gone", "--out", tmp_path / "study")
    assert "--root gone" in refused("study", "plan", "demo", *options, TENUTO_DATA=str(tmp_path))


def test_a_wrong_key_of_the_file_names_the_nearest(refused, tmp_path):
    file = write_text(tmp_path / "mine.yaml", "systems: [A2E]\nseeds: [1]\nprotocol: [standard-1]\n")
    assert "unknown key protocol. Did you mean protocols?" in refused("study", "plan", file, "--out", "x")


def test_a_setting_of_the_file_is_refused_by_its_key(refused, tmp_path):
    lines = "systems: [A2E]", "seeds: [1]", "protocols: [{protocol: standard-1, settings: {iterations: 5}}]"
    file = write_text(tmp_path / "mine.yaml", "\n".join(lines))
    sentence = refused("study", "plan", file, "--root", "music", "--out", tmp_path / "study")
    assert sentence.endswith("protocols: Protocol standard-1 has no parameters: leave out `iterations`.")


def test_data_that_cannot_serve_the_study_are_refused(refused, music, file, tmp_path):
    options = ("--data", "soundtracks", "--root", music, "--out", tmp_path / "study")
    assert "soundtracks has no concept ratings" in refused("study", "run", file, *options)
    assert not (tmp_path / "study").exists()


def test_a_call_that_is_refused_leaves_the_request_to_end_another(
    refused, music, file, tmp_path, monkeypatch
):
    monkeypatch.setattr("tenuto.study.engines.STUDY_PATIENCE", 0.0)
    request_stop(tmp_path)
    with journal.hold(tmp_path, journal.STUDY, 0):
        sentence = refused("study", "run", file, "--root", music, "--out", tmp_path)
    assert "is working on the study" in sentence
    assert StudyFolder(tmp_path).stop.is_file()


def test_a_file_in_the_place_of_the_study_s_folder_is_refused(refused, music, file):
    assert "a file, not a folder" in refused("study", "run", file, "--root", music, "--out", file)


def test_status_of_an_unfinished_study_without_locks_shows_the_last_stage(tenuto, tmp_path, monkeypatch):
    folder = begun(tmp_path, **{"A2E-6-0": {"stage": "train", "epoch": 7}})
    for name in (journal.STUDY, "A2E-6-0"):
        with journal.hold(folder, name, 0):
            pass

    def flock(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    outcome = tenuto("study", "status", folder)
    assert outcome.exit_code == 0, outcome.output
    assert "7 of 40" in outcome.stdout
    assert "runs: 1 running" in outcome.stdout


def test_status_of_a_folder_without_a_study(refused, tmp_path):
    assert "contains no study" in refused("study", "status", tmp_path)
    assert "contains no study" in refused("study", "status", tmp_path / "gone")
    run = tmp_path / "runs" / "A2E-6" / "attacks"
    run.mkdir(parents=True)
    (run / "standard-1.csv").touch()
    sentence = refused("study", "status", tmp_path)
    assert "has 1 run, but no journal" in sentence
    assert f"`tenuto report {tmp_path}`" in sentence
    for folder in (tmp_path, tmp_path / "without runs"):
        (folder / "journal").mkdir(parents=True)
        (folder / "journal" / "study.json").write_text("{")
        assert "has a damaged study.json in its journal" in refused("study", "status", folder)


def test_a_study_takes_the_settings_file_in_the_folder_of_recordings(tenuto, tmp_path):
    own = corpora.folder(tmp_path / "own", small.CLIPS)
    table = {"ratings": "table.csv", "id_column": "song", "emotions": ["arousal", "joy"], "scale": [1, 7]}
    (own.root / "tenuto.yaml").write_text(yaml.safe_dump({**table, "concepts": ["roughness"]}))
    study = tmp_path / "study.yaml"
    content = merge(small.CONTENT, {"run": {"data": {"split": "random"}}})
    content = merge(content, {"run": {"train": {"adversarial": {"measure": "mse"}}}})
    content["protocols"] = ["standard-1"]
    del content["run"]["data"]["dataset"]
    study.write_text(yaml.safe_dump(content))
    plan = as_json(tenuto("study", "plan", study, "--root", own.root, "--out", tmp_path / "out", "--json"))
    assert plan["fingerprint"] == prepare(own.root, cache=tmp_path / "cache").fingerprint
    config = study_config(str(study), own.root, {"train": {"epochs": 1}})
    assert config.run.data.dataset == "folder"
    assert config.run.data.folder.emotions == ("arousal", "joy")
    assert config.run.train.epochs == 1


def test_a_study_that_names_another_data_set_does_not_take_it(tmp_path):
    (tmp_path / "tenuto.yaml").write_text("emotions: [joy]")
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(small.CONTENT))
    assert study_config(str(study), tmp_path).run.data == DataConfig(dataset="midlevel")
