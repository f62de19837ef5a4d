"""The last stage of a study: metrics, tables and figures from what its runs left on disk, and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tenuto import results
from tenuto.attacks import Protocol
from tenuto.evaluation.robustness import rows_path
from tenuto.files import read_json, write_csv
from tenuto.reporting import paper

METRICS = ("run", "system", "seed", "test_correlation", "test_mae", "mean_predictor_mae")


def analyse(folder: Path, runs: Sequence[str], protocols: Sequence[Protocol]) -> None:
    """Write ``metrics.csv``, and below ``paper/`` the tables and figures of every protocol.

    Those of the first protocol lie in ``paper/`` itself, those of every other one in ``paper/<protocol>/``. Of several
    attacks the worst of each clip counts. A protocol of several budgets leaves one ``metrics.csv`` with a line per run
    and budget, since the paper's tables know one budget.

    Args:
        folder: The study's folder.
        runs: Folder names of finished runs, in the order of the plan; others are left out.
        protocols: What all of them were attacked with.
    """
    write_csv(folder / "metrics.csv", pd.DataFrame([_clean_metrics(folder, run) for run in runs]))
    for number, protocol in enumerate(protocols):
        # Sorted as files are, so that the order of a plan changes no digit of a sum.
        tables = [results.read_rows(rows_path(folder / "runs" / run, protocol)) for run in sorted(runs)]
        rows = results.validate(pd.concat(tables, ignore_index=True), str(protocol))
        out = folder / "paper"
        _write(rows, out if number == 0 else out / str(protocol))


def _clean_metrics(folder: Path, run: str) -> dict[str, Any]:
    """One line of ``metrics.csv``."""
    report = read_json(folder / "runs" / run / "metrics.json")
    values = (
        report["run"],
        report["system"],
        report["seed"],
        report["test"]["correlation"]["overall"],
        report["test"]["mae"]["overall"],
        report["mean_predictor"]["mae"]["overall"],
    )
    return dict(zip(METRICS, values, strict=True))


def _write(rows: pd.DataFrame, out: Path) -> None:
    rows = results.worst_case(rows)
    budgets = [budget for _, budget in rows.groupby(["norm", "epsilon"], dropna=False)]
    if len(budgets) == 1:
        paper.write_all(rows, out)
        return
    lines = []
    for budget in budgets:
        line = paper.run_metrics(budget)
        for place, name in enumerate(("norm", "epsilon")):
            line.insert(place, name, budget[name].iloc[0])
        lines.append(line)
    write_csv(out / "metrics.csv", pd.concat(lines, ignore_index=True))
