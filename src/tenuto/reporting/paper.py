"""The SMC 2025 study's tables and figures as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tenuto.analysis.smc2025 import (
    check_emotions,
    difference,
    figure4_emotions,
    figure4_seed,
    figure4_systems,
    significance,
    table1,
)
from tenuto.analysis.systems import run_metrics, selection
from tenuto.files import write_csv
from tenuto.reporting import tables
from tenuto.reporting.figures import smc2025 as figures


def write_table1(rows: pd.DataFrame, out: Path) -> dict[str, Path]:
    """``table1.csv`` (full digits), ``.md`` and ``.tex`` (as printed)."""
    table = table1(rows)
    return tables.write(
        out / "table1", table, tables.show_table1(table), tables.caption_table1(selection(rows))
    )


def write_significance(rows: pd.DataFrame, out: Path) -> dict[str, Path]:
    """``significance.csv`` (full digits), ``.md`` and ``.tex``."""
    table = significance(rows)
    caption = tables.caption_significance(selection(rows))
    return tables.write(out / "significance", table, tables.show_significance(table), caption)


def write_figure3(rows: pd.DataFrame, out: Path) -> dict[str, Path]:
    """``figure3.png`` and ``.pdf``."""
    return figures.save(figures.figure3(difference(rows)), out / "figure3")


def write_figure4(
    rows: pd.DataFrame, out: Path, seed: int | None = None, emotions: Sequence[str] | None = None
) -> dict[str, Path]:
    """``figure4.png`` and ``.pdf``. Raises `ConfigError` for a seed or emotion without rows."""
    chosen = selection(rows)
    used = figure4_seed(chosen, seed)
    named = figure4_emotions(chosen) if emotions is None else check_emotions(chosen, emotions)
    return figures.save(figures.figure4(chosen, used, named, figure4_systems(chosen, used)), out / "figure4")


def write_all(
    rows: pd.DataFrame, out: str | Path, seed: int | None = None, emotions: Sequence[str] | None = None
) -> dict[str, Path]:
    """Every table and figure of the study.

    Args:
        rows: Rows of one attack; only test clips count.
        out: Folder for the files.
        seed: Whose predictions Figure 4 shows; by default 21, or the smallest there is.
        emotions: What Figure 4 shows; by default tension and tender, or the first two a data set has.

    Returns:
        File name -> path: ``metrics.csv``; ``table1`` and ``significance`` as CSV, Markdown, LaTeX; both
        figures as PNG and PDF.

    Raises:
        DataError: See `selection`.
        ConfigError: A seed or an emotion without rows.
    """
    out = Path(out)
    written = write_figure4(rows, out, seed, emotions)  # first, since it checks the wishes
    written |= {"metrics.csv": write_csv(out / "metrics.csv", run_metrics(rows))}
    written |= write_table1(rows, out) | write_significance(rows, out) | write_figure3(rows, out)
    return dict(sorted(written.items()))
