"""`tenuto report`."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from tenuto.errors import ConfigError
from tenuto.evaluation.audit.findings import NOT_EVALUATED, judge
from tenuto.files import write_csv, write_json, write_safetensors
from tenuto.reporting import verdicts
from tenuto.reporting.page.clips import clips_to_show
from tenuto.store.rows import mark_worst, read_rows, write_rows
from tenuto.store.run import RunFolder
from tests.reporting import made_up
from tests.reporting.made_up_report import PROTOCOL, plain, stored


@pytest.fixture(scope="module")
def study(attacked, tmp_path_factory):
    """A study of one run, attacked."""
    folder = tmp_path_factory.mktemp("study")
    shutil.copytree(attacked, folder / "runs" / attacked.name)
    return folder


@pytest.fixture(scope="module")
def made(tenuto, study, data, tmp_path_factory):
    """The report with two clips, and what was said."""
    path = tmp_path_factory.mktemp("made") / "report.html"
    return path, tenuto("report", study, "--out", path, "--clips", 2, *data, "--json")


def test_json_says_what_was_written(made):
    path, outcome = made
    summary = json.loads(outcome.stdout)
    assert outcome.exit_code == 0
    assert summary["report"] == str(path)
    assert summary["bytes"] == path.stat().st_size < 15e6
    assert len(summary["answer"]) == 3
    assert set(summary["sections"]) >= {"clean", "attacked", "audit", "concepts", "gain", "gallery", "runs"}
    assert [lack.split(":")[0] for lack in summary["missing"]] == ["Error by size of the attack"]


def test_rows_of_several_attacks_in_a_file_are_judged_by_their_worst_case(tenuto, tmp_path):
    # Without a column `worst` and with clips of another part, as a user puts rows together.
    rows = pd.concat([made_up.sound(), made_up.sound(split="validation")])
    file = write_csv(tmp_path / "mine.csv", rows)
    outcome = tenuto("report", file, "--db", 40, "--out", tmp_path / "report.html", "--json")
    assert outcome.exit_code == 0, outcome.output
    assert {"attacked", "audit", "curves"} <= set(json.loads(outcome.stdout)["sections"])
    assert "recognition: mine</h1>" in (tmp_path / "report.html").read_text("utf-8")
    assert set(tmp_path.iterdir()) == {file, tmp_path / "report.html"}


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"split": "validation"}, "no test clips"),
        ({"protocol": "mine/1"}, "'mine/1'"),
        ({"protocol": ".."}, "'..'"),
    ],
)
def test_rows_that_make_no_report_are_refused_with_their_file(refused, tmp_path, column, message):
    file = write_csv(tmp_path / "mine.csv", made_up.run(**column))
    sentence = refused("report", file)
    assert sentence.startswith(f"error: {file}: ")
    assert message in sentence


def test_checks_that_were_not_made_have_one_true_reason(made):
    page = html.unescape(made[0].read_text("utf-8"))
    page = re.sub("</?code>", "`", page)
    (message,) = re.findall(rf"NOT RECORDED, ([^<]*): {re.escape(NOT_EVALUATED)}", page)
    assert message.split(", ") == [
        *("iterative", "black-box", "transfer", "saved-prediction", "gradients"),
        *("finite-differences", "repeatable", "unstable-predictions", "silent-success"),
        *("incomplete-optimisation", "longer-search", "unbounded"),
    ]
    assert "name it with --root" not in page
    assert "(12 of them: the model was not evaluated;" in json.loads(made[1].stdout)["answer"][2]


def test_the_clips_reach_from_the_most_moved_to_the_least(made, study):
    rows = read_rows(next(study.rglob("attacks/*.csv")))
    chosen = clips_to_show(rows, 2)
    page = made[0].read_text("utf-8")
    assert [page.index(f"<h3>Clip {clip}</h3>") for clip in chosen] == sorted(
        page.index(f"<h3>Clip {clip}</h3>") for clip in chosen
    )
    assert page.count("<audio") == 6


def test_the_reason_of_a_change_is_told_by_concepts(made):
    assert "→" in made[0].read_text("utf-8").split("<h3>Clip")[1].split("<ul")[0]


def test_without_data_the_gallery_is_left_out_and_said(tenuto, study, tmp_path):
    outcome = tenuto("report", study, "--out", tmp_path / "report.html")
    assert outcome.exit_code == 0
    assert "Not in the report: Gallery" in outcome.stderr
    assert outcome.stdout.count("\n- ") + outcome.stdout.startswith("- ") == 3
    assert f"{tmp_path / 'report.html'} (" in outcome.stdout


@pytest.fixture
def own_study(study, tmp_path):
    """A copy of the study, to be changed; its run and its rows."""
    folder = shutil.copytree(study, tmp_path / "study")
    (path,) = folder.rglob("attacks/paper-2025-released*.csv")
    return folder, path.parent.parent, path


def lacks(tenuto, folder, *options):
    """What a report says it lacks, by section."""
    outcome = tenuto("report", folder, "--out", folder / "report.html", "--clips", 1, *options, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    return dict(sentence.split(": ", 1) for sentence in json.loads(outcome.stdout)["missing"])


def test_rows_of_an_older_kind_cost_the_gallery_alone(tenuto, own_study, data):
    folder, run, path = own_study
    rows = read_rows(path)
    write_csv(path, rows.drop(columns="settings"))
    result = lacks(tenuto, folder, *data)
    assert result["Gallery"].startswith(
        f"{run.name}: {path}: no column settings. Delete the file and attack the run again."
    )
    assert "Head gain" not in result


def test_concepts_without_a_linear_layer_behind_them_leave_the_gallery(tenuto, own_study, data, monkeypatch):
    def refuse(network):
        raise ConfigError("the linear layers of this model are not known.")

    monkeypatch.setattr("tenuto.api.reports.linear_head", refuse)
    assert "Gallery" not in lacks(tenuto, own_study[0], *data)


def test_a_run_that_was_trained_further_is_refused_and_left_out(tenuto, refused, own_study, tmp_path):
    folder, run, path = own_study
    write_csv(path, read_rows(path).assign(checkpoint="0" * 64))
    assert f"{path}: was made with other weights than those in" in refused(
        "report", folder, "--out", tmp_path
    )
    other = RunFolder(run.with_name("other"))
    write_rows(other.rows(path.stem), made_up.run(run="other", clips=2, protocol=path.stem))
    outcome = tenuto("report", folder, "--out", tmp_path / "report.html")
    assert outcome.exit_code == 0
    assert f"{path}: was made with other weights" in outcome.stderr
    assert "Not in the report: Run left out: " in outcome.stderr


def test_a_missing_perturbation_costs_the_gallery_alone(tenuto, own_study, data):
    folder, _, path = own_study
    write_safetensors(path.with_suffix(".safetensors"), {"other": np.zeros(1)}, {})
    result = lacks(tenuto, folder, *data)
    assert "no perturbation " in result["Gallery"]
    assert "Head gain" not in result


def test_a_damaged_checkpoint_costs_gallery_gain_and_audit(tenuto, own_study, data):
    folder, run, path = own_study
    (RunFolder(run).checkpoint).write_bytes(b"not a checkpoint")
    write_csv(path, read_rows(path).drop(columns="checkpoint"))
    result = lacks(tenuto, folder, *data)
    for section in ("Gallery", "Head gain", "Audit"):
        assert f"{RunFolder(run).checkpoint}: cut off or not a safetensors file" in result[section]


def test_the_reason_for_no_gallery_is_the_true_one(tenuto, own_study, corpus, cache, tmp_path):
    folder, _, path = own_study
    data = ("--root", corpus, "--cache", cache)
    assert lacks(tenuto, folder)["Gallery"] == "to play clips, name the data set with --root DATA."
    assert lacks(tenuto, folder, *data, "--clips", 0)["Gallery"] == "no clips were requested."
    path.with_suffix(".safetensors").unlink()
    message = lacks(tenuto, folder, *data)["Gallery"]
    assert (
        message == f"no run has saved perturbations of {path.stem} with its rows; `tenuto attack` saves them."
    )
    rows = stored(tmp_path / "rows", plain((6,)))
    assert lacks(tenuto, rows, *data)["Gallery"] == "the rows are in no run folder (config.yaml)."


def test_findings_can_come_from_an_audit_made_before(tenuto, tmp_path):
    folder = stored(tmp_path / "study", plain((6,)))
    finding = judge("longer-search", 0.5, 0.1, "more steps find more.", fail=True)
    path = found(tmp_path, finding, PROTOCOL)
    outcome = tenuto("report", folder, "--audit", path, "--out", tmp_path / "report.html", "--json")
    assert "fails 1 check (longer-search)" in json.loads(outcome.stdout)["answer"][2]


def found(folder, finding, source):
    """The file of an audit with one finding of this source."""
    content = verdicts.as_json([dataclasses.replace(finding, source=source)])
    return write_json(folder / "audit.json", content)


def test_an_audit_of_other_rows_is_refused(refused, tmp_path):
    folder = stored(tmp_path / "study", plain((6,)))
    path = found(tmp_path, judge("budget", 0.0, 0.0, "it binds."), "standard-1")
    assert f"{path}: no findings on {PROTOCOL}" in refused("report", folder, "--audit", path)


def test_an_audit_of_the_shown_rows_alone_leaves_other_rows_without_one(tenuto, tmp_path):
    folder = stored(tmp_path / "study", [*plain((6,)), mark_worst(made_up.sound())])
    path = found(tmp_path, judge("budget", 0.0, 0.0, "x."), PROTOCOL)
    out = ("--out", tmp_path / "report.html")
    content = json.loads(
        tenuto("report", folder, "--protocol", PROTOCOL, "--audit", path, *out, "--json").stdout
    )
    assert {"audit", "attacked-1", "attacked-2", "curves-1"} <= set(content["sections"])
    (reason,) = [one for one in content["missing"] if "sound-1: Audit" in one]
    assert "no findings on sound-1 on waveforms" in reason
