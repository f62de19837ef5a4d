"""The tables and figures of the SMC 2025 paper, and their files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tenuto.analysis import smc2025
from tenuto.analysis.systems import run_metrics, selection
from tenuto.analysis.words import NOTHING, attacked_pair, number
from tenuto.errors import counted
from tenuto.files import write_csv
from tenuto.reporting.figures.smc2025 import figure3, figure4
from tenuto.reporting.figures.style import save_figure
from tenuto.reporting.tables import GROUP, Columns, ResultTable, probability, text_cells

SIGNIFICANCE: Columns = {
    GROUP: ("unit", ""),
    "Pair": ("comparison", ""),
    "Unit": ("unit", ""),
    "df": ("degrees_of_freedom", ""),
    "t": ("t", ".9f"),
    "p": ("p", probability),
}
"""The t-tests as text cells."""

PRINTED_SIGNIFICANCE: Columns = {"t (paper)": ("paper_t", ".9f"), "p (paper)": ("paper_p", ".3e")}
"""The values that the paper prints, where the rows are of its data."""


def table1(rows: pd.DataFrame, paper_data: bool = False, remarks: Sequence[str] = ()) -> ResultTable:
    """Table 1: correlation and MAE on clean test clips, with the paper's values where the data are the paper's.

    Args:
        rows: Rows of one attack; only test clips count.
        paper_data: Whether the rows are of the paper's data.
        remarks: Sentences that follow the caption.
    """
    numbers = smc2025.table1(rows, paper_data)
    cells = text_cells(numbers, {GROUP: ("group", ""), "System": ("system", ""), "Seeds": ("seeds", "")})
    for prefix, heading in (("", ""), ("paper_", " (paper)"))[: 1 + paper_data]:
        for name, title in (("correlation", "Avg. corr."), ("mae", "MAE")):
            values = zip(numbers[f"{prefix}{name}_mean"], numbers[f"{prefix}{name}_std"], strict=True)
            cells[title + heading] = [
                mean_deviation(mean, deviation, bool(prefix)) for mean, deviation in values
            ]
    clips = counted(selection(rows)["clip"].nunique(), "clean test clip")
    caption = f"Average correlation and MAE on {clips} (not attacked), mean ± standard deviation over seeds."
    if paper_data:
        caption += (
            " (paper): values of the SMC 2025 paper, on the Soundtracks data; (orig.): the ISMIR 2019 work as quoted "
            "there."
        )
    return ResultTable(cells, " ".join([caption, *remarks]), numbers)


def mean_deviation(mean: float, deviation: float, alone: bool = False) -> str:
    """``0.73 ± 0.02``, with a dash for a missing value; ``alone``: only the mean where the deviation is missing.

    >>> mean_deviation(0.7324, 0.0154), mean_deviation(0.7324, math.nan), mean_deviation(0.7324, math.nan, True)
    ('0.73 ± 0.02', '0.73 ± –', '0.73')
    """
    if math.isnan(mean):
        return NOTHING
    if math.isnan(deviation) and alone:
        return f"{mean:z.2f}"
    return f"{mean:z.2f} ± {number(deviation, '.2f')}"


def significance(rows: pd.DataFrame, paper_data: bool = False) -> ResultTable:
    """The paired t-tests: t with nine decimals, p with four digits. Parameters as `table1`."""
    numbers = smc2025.significance(rows, paper_data)
    caption = (
        f"Paired t-tests of the MAE per clip after the attack; attacked predictions {attacked_pair(selection(rows))}. "
        "Unit clip x seed, as published: clips and seeds are pooled although clips of one seed "
        "share a model. Unit seed: each pair is a mean over clips."
    )
    if paper_data:
        caption += " (paper): the SMC 2025 paper, on the Soundtracks data."
    columns = SIGNIFICANCE | (PRINTED_SIGNIFICANCE if paper_data else {})
    return ResultTable(text_cells(numbers, columns), caption, numbers)


def write_paper(
    rows: pd.DataFrame,
    out: str | Path,
    part: str = "all",
    seed: int | None = None,
    emotions: Sequence[str] | None = None,
    paper_data: bool = False,
    remarks: Sequence[str] = (),
) -> dict[str, Path]:
    """Every table and figure of the study, or one of them.

    Args:
        rows: Rows of one attack; only test clips count.
        out: Folder for the files.
        part: ``table1``, ``significance``, ``figure3``, ``figure4`` or ``all``.
        seed: Whose predictions Figure 4 shows; by default 21, or the smallest there is.
        emotions: What Figure 4 shows; by default tension and tender, or the first two a data set has.
        paper_data: Whether the rows are of the paper's data; its values are then added.
        remarks: Sentences about the clean predictions, which follow the caption of Table 1.

    Returns:
        File name -> path: ``metrics.csv`` (of all); ``table1`` and ``significance`` as CSV, Markdown, LaTeX; both
        figures as PNG and PDF.

    Raises:
        DataError: See `selection`.
        ConfigError: A seed or an emotion without rows.
    """
    out = Path(out)
    makers = {
        "figure4": lambda: _write_figure4(rows, out, seed, emotions),  # first: it checks seed and emotions
        "metrics": lambda: {"metrics.csv": write_csv(out / "metrics.csv", run_metrics(rows))},
        "table1": lambda: table1(rows, paper_data, remarks).write(out / "table1"),
        "significance": lambda: significance(rows, paper_data).write(out / "significance"),
        "figure3": lambda: save_figure(figure3(smc2025.difference(rows)), out / "figure3"),
    }
    chosen = list(makers) if part == "all" else [part]
    return dict(sorted((name, path) for key in chosen for name, path in makers[key]().items()))


def _write_figure4(
    rows: pd.DataFrame, out: Path, seed: int | None, emotions: Sequence[str] | None
) -> dict[str, Path]:
    chosen = selection(rows)
    seed_used = smc2025.figure4_seed(chosen, seed)
    names = smc2025.figure4_emotions(chosen) if emotions is None else smc2025.check_emotions(chosen, emotions)
    figure = figure4(chosen, seed_used, names, smc2025.figure4_systems(chosen, seed_used))
    return save_figure(figure, out / "figure4")
