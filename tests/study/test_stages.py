"""Tables and figures of a study: which files each protocol leaves, and that none outlives it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tenuto.attacks import protocol
from tenuto.config import RunConfig, to_yaml
from tenuto.files import write_csv, write_json, write_text
from tenuto.reporting import paper
from tenuto.reporting.page import inputs
from tenuto.store.run import RunFolder
from tenuto.study import stages
from tenuto.study.stages import MADE, analyse
from tests.reporting import made_up

RUNS = ("A2E-6", "A2M2E-6")
RELEASED, CURVES = protocol("paper-2025-released"), protocol("standard-1")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two runs attacked without a budget, and with two budgets. The paper's tables and figures are empty files."""

    def write_paper(rows, out, remarks=(), **settings):
        write_text(tmp_path / "runs" / "remarks.txt", "\n".join(remarks))
        return {name: write_text(out / name, "") for name in MADE}

    monkeypatch.setattr(paper, "write_paper", write_paper)
    for run in RUNS:
        place, system = tmp_path / "runs" / run, run.partition("-")[0]
        score = {"correlation": {"overall": 0.5}, "mae": {"overall": 0.1}}
        report = {"run": run, "system": system, "seed": 6, "test": score, "mean_predictor": score}
        write_text(place / "config.yaml", to_yaml(RunConfig(system=system)))
        write_json(place / "metrics.json", report)
        write_csv(RunFolder(place).rows(RELEASED), made_up.run(system))
        bounded = [
            made_up.run(system, protocol="standard-1", norm="linf", epsilon=epsilon) for epsilon in (0.1, 0.2)
        ]
        write_csv(RunFolder(place).rows(CURVES), pd.concat(bounded, ignore_index=True))
    return tmp_path


def left(folder: Path) -> set[str]:
    """What lies below the study's folder apart from its runs."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if path.parts[0] != "runs"}


def test_what_was_made_is_said(folder):
    made = analyse(folder, RUNS, [RELEASED, CURVES])
    assert set(made) == left(folder)
    assert set(made) == {"metrics.csv", *(f"paper/{name}" for name in MADE), "paper/standard-1/metrics.csv"}


def test_a_first_protocol_of_several_budgets_leaves_no_table_of_the_one_before(folder):
    analyse(folder, RUNS, [RELEASED])
    analyse(folder, RUNS, [CURVES])
    assert left(folder) == {"metrics.csv", "paper/metrics.csv"}


def test_tables_of_a_protocol_that_is_gone_go_with_their_folder(folder):
    analyse(folder, RUNS, [CURVES, RELEASED])
    assert (folder / "paper" / "paper-2025-released" / "table1.csv").is_file()
    analyse(folder, RUNS, [CURVES])
    assert [path.name for path in (folder / "paper").iterdir()] == ["metrics.csv"]


def test_tables_of_a_protocol_that_is_not_registered_any_more_go_too(folder, monkeypatch):
    made = analyse(folder, RUNS, [CURVES, RELEASED])
    write_text(folder / "paper" / "mine" / "table1.csv", "my own")
    monkeypatch.setattr(stages, "PROTOCOLS", {})
    analyse(folder, RUNS, [CURVES], before=made)
    assert sorted(path.name for path in (folder / "paper").iterdir()) == ["metrics.csv", "mine"]


def test_what_the_analysis_did_not_make_stays(folder):
    analyse(folder, RUNS, [CURVES, RELEASED])
    own = {"paper/talk.md", "paper/mine/table1.csv", "paper/paper-2025-released/talk.md"}
    for name in own:
        write_text(folder / name, "my own")
    made = analyse(folder, RUNS, [CURVES])
    assert left(folder) == own | set(made)


def test_table_1_says_which_model_is_worse_than_a_constant(folder):
    place = RunFolder(folder / "runs" / "A2E-6")
    report = place.read_metrics()
    worse = {"rmse": {"overall": 0.5, "happy": 0.5}, "r2": {"overall": -2.3}}
    constant = {"rmse": {"overall": 0.2, "happy": 0.2}}
    changed = {"test": report["test"] | worse, "mean_predictor": report["mean_predictor"] | constant}
    write_json(place.metrics, report | changed)
    analyse(folder, RUNS, [RELEASED])
    remark = (folder / "runs" / "remarks.txt").read_text()
    assert remark.startswith(
        "Worse than always predicting the mean training label (RMSE on test clips): A2E (1 run)"
    )
    assert inputs.gather(folder, draws=100).remarks["clean"][0].endswith(remark.partition(": ")[2])
