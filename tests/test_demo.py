"""`tenuto demo`, as README says it runs, with one seed of its two, two systems of its five, and fewer clips."""

from __future__ import annotations

import shlex

import pandas as pd
import pytest
from typer.testing import CliRunner

import tenuto
from tenuto.cli.app import app
from tenuto.cli.predict import PREDICTING_MODEL
from tenuto.config import preset_study
from tenuto.store import location
from tests import short


def run(folder, factory):
    demo = preset_study("demo")
    systems = {name: demo.systems[name] for name in ("A2E", "A2M2E")}  # which the paper compares
    corpus = demo.corpus.model_copy(update={"clips": 80})
    smaller = demo.model_copy(update={"seeds": (6,), "systems": systems, "corpus": corpus})
    with pytest.MonkeyPatch.context() as patch, short.rendered_once(factory):
        patch.setattr("tenuto.config.preset_study", lambda name: smaller)
        patch.setattr("os.cpu_count", lambda: 1)  # workers are tested with the engines
        return CliRunner().invoke(app, ["demo", "--out", str(folder)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def demo(tmp_path_factory, few_steps):
    folder = tmp_path_factory.mktemp("demo") / "demo"
    return folder, run(folder, tmp_path_factory)


def test_demo_ends_well(demo):
    _, finished = demo
    assert finished.exit_code == 0, finished.output


def test_every_run_learns(demo):
    table = pd.read_csv(demo[0] / "metrics.csv")
    assert len(table) == 2
    assert table["test_correlation"].min() >= 0.4
    assert (table["test_mae"] < table["mean_predictor_mae"]).all()


def test_the_paper_is_made(demo):
    paper = demo[0] / "paper"
    for name in ("table1.csv", "table1.md", "table1.tex", "significance.csv", "metrics.csv"):
        assert (paper / name).stat().st_size > 100
    for name in ("figure3", "figure4"):
        assert (paper / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (paper / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_the_screen_says_what_was_reduced_found_and_spent(demo):
    shown = demo[1].stdout
    for part in ("Reduced for the demo: 80 generated clips", "10 attack iterations in adversarial training"):
        assert part in shown
    assert "Findings" in shown
    for stage in ("corpus", "spectrograms", "training", "attack", "paper"):
        assert f"{stage} " in shown.rsplit("Time:", 1)[1]


def test_it_ends_with_a_report(demo):
    folder, finished = demo
    page = (folder / "report.html").read_bytes()
    assert page.startswith(b"<!DOCTYPE html>")
    assert len(page) < 15e6
    assert page.count(b"<audio") == 3 * 3  # before, after and their difference of three clips
    assert str(folder / "report.html") in finished.stdout


@pytest.mark.usefixtures("undrawn")
def test_the_three_commands_at_the_end_run(demo, tmp_path, monkeypatch):
    folder, finished = demo
    small = next(folder.glob("runs/A2E-*"))  # in place of the pretrained model at full width
    tenuto.export(small, "hub-folder", tmp_path / PREDICTING_MODEL)
    monkeypatch.setattr(location, "PRETRAINED", tmp_path)
    lines = finished.stdout.split("Try next", 1)[1].splitlines()
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("tenuto ")]
    assert [words[0] for words in commands] == ["show", "attack", "audit"]
    for words in commands:
        outcome = CliRunner().invoke(app, words)
        # 1 is a check that fails: so short an attack may be too weak
        assert outcome.exit_code in ((0, 1) if words[0] == "audit" else (0,)), outcome.output
        assert any((folder / {"show": "shown", "attack": "attacked", "audit": "audit"}[words[0]]).iterdir())


def test_a_second_call_reuses_everything_and_gives_the_same_tables(demo, tmp_path_factory, monkeypatch):
    folder, _ = demo
    monkeypatch.setattr("tenuto.reporting.figures.style.svg", lambda *given, **options: "")  # of the report
    before = {path: path.read_bytes() for path in (folder / "paper").iterdir()}
    runs = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/checkpoint.safetensors")}
    assert run(folder, tmp_path_factory).exit_code == 0
    assert {path: path.read_bytes() for path in (folder / "paper").iterdir()} == before
    assert {path: path.stat().st_mtime_ns for path in runs} == runs
