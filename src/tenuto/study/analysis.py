"""The last stage of a study: metrics, tables and figures from what its runs left on disk, and from nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.analysis.systems import run_metrics
from tenuto.attacks import PROTOCOLS, Protocol
from tenuto.evaluation.robustness import rows_path
from tenuto.files import naming, read_json, write_csv
from tenuto.reporting import paper
from tenuto.store.rows import read_rows, validate_rows, worst_case

MADE = (
    "metrics.csv",
    *(f"{name}.{suffix}" for name in ("table1", "significance") for suffix in ("csv", "md", "tex")),
    *(f"{name}.{suffix}" for name in ("figure3", "figure4") for suffix in ("png", "pdf")),
)
"""Every file that may be made of a protocol's rows."""

METRICS = ("run", "system", "seed", "test_correlation", "test_mae", "mean_predictor_mae")


def analyse(folder: Path, runs: Sequence[str], protocols: Sequence[Protocol]) -> list[str]:
    """Write ``metrics.csv``, and below ``paper/`` the tables and figures of every protocol.

    Those of the first protocol lie in ``paper/`` itself, those of every other one in ``paper/<protocol>/``. Of several
    attacks the worst of each clip counts. A protocol of several budgets leaves one ``metrics.csv`` with a line per run
    and budget, since the paper's tables know one budget. What was made of other protocols before is removed.

    Args:
        folder: The study's folder.
        runs: Folder names of finished runs, in the order of the plan; others are left out.
        protocols: What all of them were attacked with.

    Returns:
        The files below ``folder`` that were made.
    """
    made = [write_csv(folder / "metrics.csv", pd.DataFrame([_clean_metrics(folder, run) for run in runs]))]
    for number, protocol in enumerate(protocols):
        # Sorted as files are, so that the order of a plan changes no digit of a sum.
        tables = [read_rows(rows_path(folder / "runs" / run, protocol)) for run in sorted(runs)]
        rows = validate_rows(pd.concat(tables, ignore_index=True), str(protocol))
        out = folder / "paper"
        made += _write(rows, out if number == 0 else out / str(protocol))
    _clear(folder / "paper", made)
    return [path.relative_to(folder).as_posix() for path in made]


def _clear(top: Path, made: Collection[Path]) -> None:
    """Remove the analysis's own files that it no longer makes; a folder called as a protocol goes when empty."""
    below = [place for place in top.iterdir() if place.name.partition("+")[0] in PROTOCOLS]
    for path in (place / name for place in (top, *below) for name in MADE):
        if path not in made and path.is_file():
            with naming(path, "remove"):
                path.unlink()
    for place in below:
        with contextlib.suppress(OSError):
            place.rmdir()


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


def _write(rows: pd.DataFrame, out: Path) -> list[Path]:
    """Tables and figures of one protocol; the files."""
    rows = worst_case(rows)
    budgets = [budget for _, budget in rows.groupby(["norm", "epsilon"], dropna=False)]
    if len(budgets) == 1:
        return list(paper.write_all(rows, out).values())
    lines = []
    for budget in budgets:
        line = run_metrics(budget)
        for place, name in enumerate(("norm", "epsilon")):
            line.insert(place, name, budget[name].iloc[0])
        lines.append(line)
    return [write_csv(out / "metrics.csv", pd.concat(lines, ignore_index=True))]
