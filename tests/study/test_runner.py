"""A whole study in miniature: what it leaves, and that interruptions and processes change nothing."""

from __future__ import annotations

import shutil

import pytest

from tenuto.config import StudyConfig, parse_yaml
from tenuto.data import synthesis
from tenuto.errors import DataError
from tenuto.evaluation import robustness
from tenuto.files import read_csv, read_json
from tenuto.study.plan import runs
from tenuto.study.runner import METRICS, run_study
from tests import corpora

TINY = StudyConfig.parse(
    {
        "systems": ["A2M2E", "aA2E"],
        "seeds": [21],
        "corpus": {"clips": 16, "seconds": 11},
        "run": {
            "data": {"dataset": "synthetic"},
            "model": {"width": 0.0625},
            "train": {"epochs": 2, "batch_size": 4, "threads": 1},
        },
        "adversarial": {"every": 2, "iterations": 2},
        "attack": {"settings": {"iterations": 2}},
    },
    "a test",
)


class InterruptionError(Exception):
    """Stands for anything that ends a process between two runs."""


@pytest.fixture(scope="module")
def said():
    """What the first call of the study reports, line by line."""
    lines: list[str] = []
    return lines


@pytest.fixture(scope="module")
def study(tmp_path_factory, said):
    folder = tmp_path_factory.mktemp("study")
    said.append(run_study(TINY, folder, report=said.append))
    return folder


def begun(study, folder):
    """A folder in which corpus and spectrograms are there, but no run."""
    for name in ("corpus", "cache"):
        shutil.copytree(study / name, folder / name)
    return folder


def tables(folder):
    """Every table, row and history below a study's folder."""
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for suffix in ("csv", "md", "tex")
        for path in folder.rglob(f"*.{suffix}")
        if "corpus" not in path.parts
    }
    assert {"metrics.csv", "paper/table1.csv", "paper/significance.csv", "paper/metrics.csv"} <= set(found)
    return found


def refuse(*arguments, **keywords):
    raise AssertionError("done again")


def test_a_study_leaves_its_settings_runs_tables_and_figures(study):
    assert StudyConfig.parse(parse_yaml((study / "study.yaml").read_text(), "it"), "it") == TINY
    assert {path.name for path in study.iterdir()} == {
        "study.yaml",
        "corpus",
        "cache",
        "runs",
        "metrics.csv",
        "paper",
    }
    folders = sorted(path.name.rsplit("-", 1)[0] for path in (study / "runs").iterdir())
    assert folders == ["A2M2E-21", "aA2E-21"]
    figures = {path.name for path in (study / "paper").glob("figure*")}
    assert figures == {"figure3.png", "figure3.pdf", "figure4.png", "figure4.pdf"}


def test_metrics_are_one_row_per_run_in_the_order_of_the_plan(study):
    table = read_csv(study / "metrics.csv")
    assert tuple(table) == METRICS
    assert table["system"].tolist() == [run.system for run in runs(TINY)] == ["A2M2E", "aA2E"]
    for row in table.to_dict("records"):
        report = read_json(study / "runs" / row["run"] / "metrics.json")
        assert row["seed"] == report["seed"] == 21
        assert row["test_correlation"] == report["test"]["correlation"]["overall"]
        assert row["test_mae"] == report["test"]["mae"]["overall"]
        assert row["mean_predictor_mae"] == report["mean_predictor"]["mae"]["overall"]


def test_every_run_is_attacked_with_the_study_s_protocol(study):
    for run in (study / "runs").iterdir():
        rows = read_csv(run / "attacks" / "paper-2025-released+iterations=2.csv")
        assert len(rows) == 2
        assert set(rows["iterations"]) == {2}


def test_every_step_is_reported_and_timed(study, said):
    *lines, seconds = said
    assert lines[0] == "16 clips of synthetic are ready"
    assert [line.split(":")[0] for line in lines[1:]] == ["A2M2E, seed 21", "aA2E, seed 21"]
    assert list(seconds) == ["corpus", "spectrograms", "training", "attack", "paper"]
    assert all(spent >= 0 for spent in seconds.values())
    assert seconds["training"] > 0


def test_a_finished_study_is_not_done_again(study, monkeypatch):
    before = tables(study)
    monkeypatch.setattr(synthesis, "render", refuse)
    monkeypatch.setattr("tenuto.training.loop._epoch", refuse)
    monkeypatch.setattr("tenuto.attacks.ReleasedAttack.__call__", refuse)
    run_study(TINY, study, report=lambda line: None)
    assert tables(study) == before


def test_an_interrupted_study_ends_with_the_tables_of_an_undisturbed_one(study, tmp_path):
    folder = begun(study, tmp_path / "study")

    def report(line):
        if line.startswith("A2M2E"):
            raise InterruptionError

    with pytest.raises(InterruptionError):
        run_study(TINY, folder, report=report)
    assert [path.name[:5] for path in (folder / "runs").iterdir()] == ["A2M2E"]
    checkpoint = next((folder / "runs").glob("A2M2E-*")) / "checkpoint.safetensors"
    written = checkpoint.stat().st_mtime_ns
    run_study(TINY, folder, report=lambda line: None)
    assert tables(folder) == tables(study)
    assert checkpoint.stat().st_mtime_ns == written  # the first run was not trained again


def test_several_processes_give_the_same_tables(study, tmp_path):
    folder = begun(study, tmp_path / "study")
    lines: list[str] = []
    run_study(TINY, folder, workers=2, report=lines.append)
    assert len(lines) == 3
    assert tables(folder) == tables(study)


def test_a_run_that_fails_ends_the_study_and_keeps_what_is_done(study, tmp_path, monkeypatch):
    folder = begun(study, tmp_path / "study")
    attack = robustness.attack

    def fails_second(run, protocol):
        if run.config.system == "aA2E":
            raise DataError("the second run fails")
        return attack(run, protocol)

    monkeypatch.setattr(robustness, "attack", fails_second)
    with pytest.raises(DataError, match="the second run fails"):
        run_study(TINY, folder, report=lambda line: None)
    assert not (folder / "metrics.csv").exists()
    done = next((folder / "runs").glob("A2M2E-*"))
    assert (done / "attacks" / "paper-2025-released+iterations=2.csv").is_file()


def test_a_study_of_recordings_reads_them_where_they_are(tmp_path):
    corpora.midlevel(tmp_path / "music", 20)
    content = TINY.model_dump(mode="json") | {"corpus": None, "systems": ["A2B2E"]}
    content["run"]["data"]["dataset"] = "midlevel"
    study = StudyConfig.parse(content, "a test")
    run_study(study, tmp_path / "study", root=tmp_path / "music", report=lambda line: None)
    assert not (tmp_path / "study" / "corpus").exists()
    assert read_csv(tmp_path / "study" / "metrics.csv")["system"].tolist() == ["A2B2E"]
