"""`tenuto report`."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from tenuto import results
from tenuto.evaluation.audit.findings import judged
from tenuto.files import write_json
from tenuto.reporting import report_inside, verdicts
from tests.reporting.made_up_report import PROTOCOL, plain, stored


@pytest.fixture(scope="module")
def study(tenuto, run, corpus, cache, tmp_path_factory):
    """A study of one run, attacked."""
    folder = tmp_path_factory.mktemp("study")
    own = shutil.copytree(run, folder / "runs" / run.name)
    tenuto("attack", own, "--root", corpus, "--cache", cache, "--iterations", 3, "--step-size", 0.05)
    return folder


@pytest.fixture(scope="module")
def made(tenuto, study, corpus, cache, tmp_path_factory):
    """The report with two clips, and what was said."""
    path = tmp_path_factory.mktemp("made") / "report.html"
    data = ("--root", corpus, "--cache", cache)
    return path, tenuto("report", study, "--out", path, "--clips", 2, *data, "--json")


def test_json_says_what_was_written(made):
    path, outcome = made
    said = json.loads(outcome.stdout)
    assert outcome.exit_code == 0
    assert said["report"] == str(path)
    assert said["bytes"] == path.stat().st_size < 15e6
    assert len(said["answer"]) == 3
    assert set(said["sections"]) >= {"clean", "attacked", "audit", "concepts", "gain", "gallery", "runs"}
    assert [lack.split(":")[0] for lack in said["lacks"]] == ["Error over the size of the attack"]


def test_the_clips_reach_from_the_most_moved_to_the_least(made, study):
    rows = results.read_rows(next(study.rglob("attacks/*.csv")))
    chosen = report_inside.clips_to_show(rows, 2)
    page = made[0].read_text("utf-8")
    assert [page.index(f"<h3>Clip {clip}</h3>") for clip in chosen] == sorted(
        page.index(f"<h3>Clip {clip}</h3>") for clip in chosen
    )
    assert page.count("<audio") == 6


def test_the_reason_of_a_change_is_told_by_concepts(made):
    assert "→" in made[0].read_text("utf-8").split("<h3>Clip")[1].split("<ul")[0]


def test_the_same_study_gives_the_same_report(tenuto, study, corpus, cache, made, tmp_path):
    path = tmp_path / "again.html"
    tenuto("report", study, "--out", path, "--clips", 2, "--root", corpus, "--cache", cache)
    assert path.read_bytes() == made[0].read_bytes()


def test_without_data_the_gallery_is_left_out_and_said(tenuto, study, tmp_path):
    outcome = tenuto("report", study, "--out", tmp_path / "report.html")
    assert outcome.exit_code == 0
    assert "Not in the report: Gallery" in outcome.stderr
    assert outcome.stdout.count("\n- ") + outcome.stdout.startswith("- ") == 3
    assert f"{tmp_path / 'report.html'} (" in outcome.stdout


def test_findings_can_come_from_an_audit_made_before(tenuto, tmp_path):
    folder = stored(tmp_path / "study", plain((6,)))
    finding = judged("longer-search", 0.5, 0.1, "more steps find more.", fail=True)
    path = write_json(tmp_path / "audit.json", verdicts.as_json([given(finding, PROTOCOL)]))
    outcome = tenuto("report", folder, "--audit", path, "--out", tmp_path / "report.html", "--json")
    assert "fails 1 check (longer-search)" in json.loads(outcome.stdout)["answer"][2]


def given(finding, source):
    """The finding as one of this source."""
    return dataclasses.replace(finding, source=source)


def test_an_audit_of_other_rows_is_refused(refused, tmp_path):
    folder = stored(tmp_path / "study", plain((6,)))
    finding = given(judged("budget", 0.0, 0.0, "it binds."), "standard-1")
    path = write_json(tmp_path / "audit.json", verdicts.as_json([finding]))
    assert f"{path}: no findings on {PROTOCOL}" in refused("report", folder, "--audit", path)


def test_a_folder_without_rows_is_refused(refused, tmp_path):
    assert "no rows of an attack below it" in refused("report", tmp_path, "--out", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
