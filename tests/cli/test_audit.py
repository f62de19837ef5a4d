"""`tenuto audit`."""

import json
import shutil

import pytest

from tenuto.config import to_yaml
from tenuto.evaluation.audit import CHECKS
from tenuto.store.rows import read_rows, write_rows
from tests import small_runs
from tests.evaluation.audit.planted import bounded


@pytest.fixture
def sound(tmp_path):
    """Rows in which nothing is wrong."""
    rows = bounded(attacked=0.2, objective="squared error from clean")
    return write_rows(tmp_path / "rows.csv", rows)


@pytest.fixture
def outside(tmp_path):
    """Rows whose norms are larger than their budget."""
    return write_rows(tmp_path / "outside.csv", bounded(linf=0.2))


def test_without_a_failure_the_exit_code_is_zero(tenuto, sound):
    outcome = tenuto("audit", sound)
    assert outcome.exit_code == 0, outcome.output
    assert "Audit of planted-1" in outcome.stdout
    assert "0 FAIL" in outcome.stdout


def test_a_failure_ends_with_one_and_says_what_failed(tenuto, outside):
    outcome = tenuto("audit", outside)
    assert outcome.exit_code == 1
    assert "FAIL" in outcome.stdout
    assert "5 of 5 recorded norms lie outside the stated budget" in outcome.stdout


def test_what_cannot_be_shown_is_listed_with_its_reason(tenuto, sound):
    message = tenuto("audit", sound).stdout
    assert (
        "NOT RECORDED  gradients, finite-differences, repeatable, unstable-predictions, silent-success, "
        in message
    )


def test_json_is_one_object_with_every_check(tenuto, outside):
    outcome = tenuto("audit", outside, "--json")
    assert outcome.exit_code == 1
    content = json.loads(outcome.stdout)
    assert len(content["findings"]) == sum(content["verdicts"].values()) == len(CHECKS)
    assert content["findings"][0] == {
        "source": "planted-1",
        "check": "budget",
        "verdict": "FAIL",
        "value": pytest.approx(1.0),
        "threshold": 1e-6,
        "sentence": content["findings"][0]["sentence"],
        "page": "docs/audit/budget.md",
    }


def test_out_gets_the_findings_as_files(tenuto, sound, tmp_path):
    outcome = tenuto("audit", sound, "--out", tmp_path / "audit")
    assert outcome.exit_code == 0
    assert {path.name for path in (tmp_path / "audit").iterdir()} == {
        *("audit.json", "audit.csv", "audit.md", "audit.tex")
    }


@pytest.fixture(scope="module")
def examined(tenuto, run, corpus, cache, few_steps, tmp_path_factory):
    """What is said of the tiny run, asked with its data on one clip."""
    copy = shutil.copytree(
        run, tmp_path_factory.mktemp("audit") / run.name, ignore=shutil.ignore_patterns("attacks")
    )
    data = ("--root", corpus, "--cache", cache)
    tenuto("attack", copy, *data, "--iterations", 2)
    return tenuto("audit", copy, *data, "--clips", 1, "--rerun", "--json"), copy


def test_a_run_with_its_data_is_asked(examined):
    outcome, _ = examined
    assert outcome.exit_code == 1  # two iterations do not converge
    values = {finding["check"]: finding["verdict"] for finding in json.loads(outcome.stdout)["findings"]}
    for check in ("repeatable", "finite-differences", "saved-prediction", "saved-norm", "provenance"):
        assert values[check] == "PASS", check
    assert values["convergence"] == values["albums"] == "FAIL"
    assert values["budget"] == "WARN"


def test_the_remedies_of_failed_checks_are_carried_out_and_saved(examined):
    outcome, folder = examined
    reruns = {one["remedy"]: one for one in json.loads(outcome.stdout)["reruns"]}
    assert {"more steps", "restarts"} <= set(reruns)
    assert "convergence" in reruns["more steps"]["checks"]
    assert "a stand-in: the rows record no attack" in reruns["more steps"]["audited"]
    path = folder / "audit" / "paper-2025-released+iterations=2.csv"
    rows = read_rows(path)
    assert set(rows["protocol"]) == {"audit-rerun"}
    assert rows["settings"].str.contains("restarts=2").any()
    assert json.loads(path.with_suffix(".json").read_text())["reruns"] == list(reruns.values())


def test_bare_rows_take_data_and_split(tenuto, sound, corpus, tmp_path):
    lines = ["clip,split,position", *(f"{clip},train,{clip}" for clip in range(6, 12))]
    (tmp_path / "split.csv").write_text("\n".join(lines) + "\n")
    rows = read_rows(sound)
    rows["clip"] = [f"{clip:03d}" for clip in range(1, 6)]
    write_rows(sound, rows)
    outcome = tenuto(
        *(
            "audit",
            sound,
            "--data",
            "soundtracks",
            "--root",
            corpus,
            "--split",
            tmp_path / "split.csv",
            "--json",
        )
    )
    values = {finding["check"]: finding for finding in json.loads(outcome.stdout)["findings"]}
    assert values["albums"]["value"] == 1.0
    assert values["albums"]["sentence"].startswith("5 of 5 attacked clips")


def test_a_root_from_the_environment_is_no_question_about_bare_rows(tenuto, sound):
    outcome = tenuto("audit", sound, TENUTO_DATA="anywhere")
    assert outcome.exit_code == 0, outcome.output


@pytest.fixture
def attacked(tmp_path):
    """A function that makes a run of a system, of which there are rows and a configuration."""

    def make(system="A2E", seed=6, **data):
        settings = small_runs.settings(system, data=data, seed=seed)
        folder = tmp_path / "runs" / f"{system}-{seed}"
        (folder / "attacks").mkdir(parents=True)
        (folder / "config.yaml").write_text(to_yaml(settings))
        (folder / "split.csv").write_text("clip,split,position\n000,test,0\n001,train,1\n")
        write_rows(folder / "attacks" / "planted-1.csv", bounded(system, seed))
        return folder

    return make


def test_runs_of_several_concepts_are_refused(refused, attacked, tmp_path):
    runs = attacked(), attacked(seed=7, concepts="signal")
    assert "other files, columns or concepts" in refused("audit", *runs, "--root", tmp_path)
