"""Tables and figures as files: those of the SMC 2025 paper, and of curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tenuto.analysis.curves import Curves
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
from tenuto.reporting import figures, tables


def write_table1(
    rows: pd.DataFrame, out: Path, paper_data: bool = False, remarks: Sequence[str] = ()
) -> dict[str, Path]:
    """``table1.csv`` (full digits), ``.md`` and ``.tex`` (as printed); remarks follow the caption."""
    table = table1(rows, paper_data)
    caption = tables.caption_table1(selection(rows), tables.has_paper(table))
    return tables.write(out / "table1", table, tables.show_table1(table), " ".join([caption, *remarks]))


def write_significance(rows: pd.DataFrame, out: Path, paper_data: bool = False) -> dict[str, Path]:
    """``significance.csv`` (full digits), ``.md`` and ``.tex``."""
    table = significance(rows, paper_data)
    caption = tables.caption_significance(selection(rows), tables.has_paper(table))
    return tables.write(out / "significance", table, tables.show_significance(table), caption)


def write_figure3(rows: pd.DataFrame, out: Path) -> dict[str, Path]:
    """``figure3.png`` and ``.pdf``."""
    return figures.save_figure(figures.smc2025.figure3(difference(rows)), out / "figure3")


def write_figure4(
    rows: pd.DataFrame, out: Path, seed: int | None = None, emotions: Sequence[str] | None = None
) -> dict[str, Path]:
    """``figure4.png`` and ``.pdf``. Raises `ConfigError` for a seed or emotion without rows."""
    chosen = selection(rows)
    used = figure4_seed(chosen, seed)
    named = figure4_emotions(chosen) if emotions is None else check_emotions(chosen, emotions)
    figure = figures.smc2025.figure4(chosen, used, named, figure4_systems(chosen, used))
    return figures.save_figure(figure, out / "figure4")


def write_all(
    rows: pd.DataFrame,
    out: str | Path,
    seed: int | None = None,
    emotions: Sequence[str] | None = None,
    paper_data: bool = False,
    remarks: Sequence[str] = (),
) -> dict[str, Path]:
    """Every table and figure of the study.

    Args:
        rows: Rows of one attack; only test clips count.
        out: Folder for the files.
        seed: Whose predictions Figure 4 shows; by default 21, or the smallest there is.
        emotions: What Figure 4 shows; by default tension and tender, or the first two a data set has.
        paper_data: Whether the rows are of the paper's data; its values are then added.
        remarks: Sentences about the clean predictions, which follow the caption of Table 1.

    Returns:
        File name -> path: ``metrics.csv``; ``table1`` and ``significance`` as CSV, Markdown, LaTeX; both
        figures as PNG and PDF.

    Raises:
        DataError: See `selection`.
        ConfigError: A seed or an emotion without rows.
    """
    out = Path(out)
    written = write_figure4(rows, out, seed, emotions)  # first: it checks seed and emotions
    written |= {"metrics.csv": write_csv(out / "metrics.csv", run_metrics(rows))}
    written |= write_table1(rows, out, paper_data, remarks) | write_significance(rows, out, paper_data)
    written |= write_figure3(rows, out)
    return dict(sorted(written.items()))


def write_curves(curves: Curves, out: str | Path) -> dict[str, Path]:
    """Write the tables and figures of curves.

    Returns:
        File name -> path: ``curve.csv`` (runs), ``bands.csv`` (systems), ``emotions.csv``, ``natural.csv``,
        ``corruption.csv``; ``summary`` as CSV, Markdown and LaTeX; ``curve`` and ``emotions`` as PNG and PDF. Of a
        protocol with several norms each has its own files, such as ``curve-snr.png``; natural changes and the
        corruption error are the same for all.
    """
    written: dict[str, Path] = {}
    for one in curves.by_norm:
        written |= _write_curves(one, Path(out), f"-{one.axis.file_name}" if curves.others else "")
    for name, table in (("natural.csv", curves.natural), ("corruption.csv", curves.corruption)):
        if len(table):
            written[name] = write_csv(Path(out) / name, table)
    return dict(sorted(written.items()))


def _write_curves(curves: Curves, out: Path, ending: str) -> dict[str, Path]:
    """The files of one norm, with this ending of their names."""
    shown, caption = tables.show_curves(curves), tables.caption_curves(curves)
    written = tables.write(out / f"summary{ending}", curves.summary, shown, caption)
    parts = {"curve": curves.runs, "bands": curves.bands, "emotions": curves.emotions}
    for name, table in parts.items():
        if len(table):
            path = write_csv(out / f"{name}{ending}.csv", table)
            written[path.name] = path
    written |= figures.save_figure(figures.curves.curve_figure(curves), out / f"curve{ending}")
    if len(curves.emotions):
        written |= figures.save_figure(figures.curves.emotion_figure(curves), out / f"emotions{ending}")
    return written
