"""Tables of a comparison of systems, as text cells with captions and as files, and its figure."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pandas as pd

from tenuto.analysis.comparison import QUANTITIES, Comparison
from tenuto.analysis.words import number
from tenuto.errors import counted
from tenuto.reporting.figures.style import save_figure
from tenuto.reporting.figures.tradeoff import tradeoff
from tenuto.reporting.tables import GROUP, Columns, ResultTable, probability, text_cells


def _deviation(variance: float) -> str:
    """A variance as a standard deviation, in the unit of the errors."""
    return f"{math.sqrt(variance):.3f}"


COMPARISON_COLUMNS: Columns = {
    GROUP: ("quantity", ""),
    "System": ("system", ""),
    "Pair": ("pair", ""),
    "Error": ("error", ""),
    "Seeds": ("seeds", ""),
    "Mean": ("mean", "z.4f"),
    "Difference": ("difference", "z.4f"),
    "low": ("low", "z.4f"),
    "high": ("high", "z.4f"),
    "Clean A": ("clean_first", "z.3f"),
    "Clean B": ("clean_second", "z.3f"),
    "Matched A": ("adjusted_first", "z.3f"),
    "Matched B": ("adjusted_second", "z.3f"),
    "Diff.": ("difference", "z.3f"),
    "low (short)": ("low", "z.3f"),
    "high (short)": ("high", "z.3f"),
    "t": ("t", "z.2f"),
    "z": ("z", "z.2f"),
    "p (Holm)": ("p_holm", probability),
    "g": ("g_z", "z.2f"),
    "Detectable": ("detectable", "z.4f"),
    "n": ("pooled_n", ""),
    "Pooled t": ("pooled_t", "z.2f"),
    "Pooled p": ("pooled_p", probability),
    "Seed": ("variance_seed", _deviation),
    "Clip": ("variance_clip", _deviation),
    "Both": ("variance_system_clip", _deviation),
    "Rest": ("variance_residual", _deviation),
}
"""All columns as text cells. ``low`` and ``high`` are the ends of intervals, with their percentiles as headings."""

PAIR = (GROUP, "Pair", "Error")
COMPARISON_TABLES = {
    "systems": (GROUP, "System", "Error", "Seeds", "Mean", "low", "high"),
    "pairs": (*PAIR, "Seeds", "Difference", "low", "high", "t", "p (Holm)", "g", "Detectable"),
    "pooled": (*PAIR, "n", "Pooled t", "Pooled p"),
    "mixed": (*PAIR, "Diff.", "low (short)", "high (short)", "z", "p (Holm)", "Seed", "Clip", "Both", "Rest"),
    "matched": (
        *(*PAIR, "Clean A", "Clean B", "Matched A", "Matched B"),
        *("Diff.", "low (short)", "high (short)", "t", "p (Holm)"),
    ),
}
"""The tables in their order, each with its columns."""


def comparison_tables(comparison: Comparison) -> dict[str, ResultTable]:
    """The tables of a comparison, captions without the sentence on the unit.

    ``systems``, ``pairs`` with seeds as the unit, ``pooled`` with clip and seed as the unit (its numbers are those of
    ``pairs``), ``mixed`` and ``matched``.
    """
    tail = 50 * (1 - comparison.settings.level)
    ends = {"low": f"{tail:.4g} %", "high": f"{100 - tail:.4g} %"}
    captions = _captions(comparison)
    tables = {}
    for name, headings in COMPARISON_TABLES.items():
        numbers = getattr(comparison, "pairs" if name == "pooled" else name)
        with_errors = numbers.assign(error=numbers["quantity"].map(QUANTITIES))
        if "Pair" in headings:
            with_errors["pair"] = numbers["first"] + ":" + numbers["second"]
        cells = text_cells(with_errors, {heading: COMPARISON_COLUMNS[heading] for heading in headings})
        cells = cells.rename(columns=lambda heading: ends.get(heading.removesuffix(" (short)"), heading))
        tables[name] = ResultTable(cells, captions[name], numbers)
    return tables


def _captions(comparison: Comparison) -> dict[str, str]:
    settings = comparison.settings
    bootstrap = (
        "Intervals: two-way bootstrap, seeds and clips resampled independently "
        f"({counted(settings.draws, 'draw')}, seed {settings.seed})."
    )
    tests, fits = (tested_pairs(table) for table in (comparison.pairs, comparison.mixed))
    counts = sorted(set(comparison.pairs["pooled_n"].dropna()))
    pooled = f"{' or '.join(map(str, counts))} pairs" if counts else "pairs"
    return {
        "systems": f"Mean error of each system. {bootstrap}",
        "pairs": (
            f"Difference of mean errors: A:B is A minus B, positive where the error of A is larger. {bootstrap} "
            "t, p, g and detectable: paired test with the seed as the unit (the mean over the clips of a run). "
            f"p by Holm over {tests} of one kind of error. g: standardised mean difference with Hedges' correction. "
            "Detectable: the smallest true difference that this test finds with power 0.8 at level 0.05."
        ),
        "pooled": (
            f"The paired t-test of the SMC 2025 paper. It counts {pooled} of clip and seed as "
            "independent although the clips of one seed share a network (pseudo-replication)."
        ),
        "mixed": (
            "Linear mixed model of each pair (REML), A:B is A minus B: system fixed; seed (nested in system), "
            f"clip (crossed) and system x clip (both) random. Interval and p by Wald. "
            f"p by Holm over {fits} of one kind of error. "
            "Seed, clip, both, rest: standard deviations of the random effects and of the residual."
        ),
        "matched": _caption_matched(comparison),
    }


def _caption_matched(comparison: Comparison) -> str:
    runs, fitted = comparison.runs, comparison.matched.dropna(subset="slope")
    caption = (
        "Error after the attack at matched clean error, A:B is A minus B. Clean: mean clean errors. Matched: mean "
        "errors after the attack, adjusted to the same clean error by an analysis of covariance with runs as the unit"
    )
    if fitted.empty:
        return f"{caption}."
    line = fitted.iloc[0]
    slope, error = number(line["slope"], "z.2f"), number(line["slope_error"], ".2f")
    return (
        f"{caption}. {len(runs)} runs of {runs['system'].nunique()} systems leave "
        f"{counted(line['degrees_of_freedom'], 'degree')} of freedom; common slope {slope} (standard error "
        f"{error}); clean error {line['clean_matched']:.4f}. Interval and p by t. p by Holm over the planned pairs."
    )


def tested_pairs(table: pd.DataFrame) -> str:
    """For how many tests of one kind of error p is adjusted: the planned pairs that could be tested."""
    count = max(table.groupby("quantity")["p"].count(), default=0)
    return counted(count, "tested pair") if count else "the planned pairs"


def write_comparison(comparison: Comparison, out: str | Path) -> dict[str, Path]:
    """Write the tables ``stats_systems``, ``stats_pairs``, ``stats_mixed`` and ``stats_matched``, and a figure.

    Tables are CSV in full digits, Markdown and LaTeX; ``stats_pooled`` has the pooled tests of ``stats_pairs.csv`` as
    Markdown and LaTeX. The figure is ``stats_tradeoff`` as PNG and PDF. Returns file name -> path.
    """
    paths: dict[str, Path] = {}
    for name, table in comparison_tables(comparison).items():
        captioned = dataclasses.replace(table, caption=f"{table.caption} {comparison.unit}")
        kinds = ("md", "tex") if name == "pooled" else ("csv", "md", "tex")
        paths |= captioned.write(Path(out) / f"stats_{name}", kinds)
    return paths | save_figure(tradeoff(comparison), Path(out) / "stats_tradeoff")
