"""All tables: as CSV in full digits, and as text cells with a caption, printed as Markdown and LaTeX.

``show_<table>`` turns numbers into text cells, ``caption_<table>`` says what they are, `write` writes the files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tenuto.analysis.curve_summary import INTERVAL_LEVEL
from tenuto.analysis.curves import Curves
from tenuto.analysis.words import NOTHING, attacked_pair, long_unit, number
from tenuto.errors import printable
from tenuto.files import write_csv, write_text
from tenuto.store.budgets import Norm
from tenuto.store.natural import GRADED_PROTOCOL

GROUP = "group"
"""A column of this name groups lines: LaTeX draws a rule where it changes, and it is not printed itself."""

PAPER_PREFIX = "paper_"
"""What the columns of the paper's own values begin with."""

_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\|*_`<>[]&~$"} | {"\n": " ", "\r": " "})
_MARKDOWN_CAPTION = str.maketrans({mark: f"\\{mark}" for mark in "<[`"})
"""Captions are sentences of Tenuto that name protocols and units of the rows."""

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "|": r"\textbar{}",
    "<": "$<$",
    ">": "$>$",
    "\n": " ",
    "\r": " ",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


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


def show_table1(table: pd.DataFrame) -> pd.DataFrame:
    """`smc2025.table1` as text cells, two decimals; the paper's values where the table has them."""
    shown = table[[GROUP, "system"]].rename(columns={"system": "System"})
    shown["Seeds"] = [NOTHING if pd.isna(seeds) else str(seeds) for seeds in table["seeds"]]
    for prefix, heading in (("", ""), (PAPER_PREFIX, " (paper)")):
        if f"{prefix}mae_mean" not in table:
            continue
        for name, title in (("correlation", "Avg. corr."), ("mae", "MAE")):
            cells = zip(table[f"{prefix}{name}_mean"], table[f"{prefix}{name}_std"], strict=True)
            shown[title + heading] = [
                mean_deviation(mean, deviation, bool(prefix)) for mean, deviation in cells
            ]
    return shown


def has_paper(table: pd.DataFrame) -> bool:
    """Whether a table has the paper's own values."""
    return any(str(name).startswith(PAPER_PREFIX) for name in table.columns)


def caption_table1(rows: pd.DataFrame, paper: bool = True) -> str:
    """The caption of Table 1.

    Args:
        rows: Those of the test clips.
        paper: Whether the table has the paper's values.
    """
    caption = (
        f"Average correlation and MAE on {rows['clip'].nunique()} clean test clips (not attacked), "
        "mean ± standard deviation over seeds."
    )
    if not paper:
        return caption
    return (
        f"{caption} (paper): values of the SMC 2025 paper, on the Soundtracks data; "
        "(orig.): the ISMIR 2019 work as quoted there."
    )


def show_significance(table: pd.DataFrame) -> pd.DataFrame:
    """`smc2025.significance` as text cells: t with nine decimals, p with four digits."""
    shown = {
        GROUP: table["unit"],
        "Pair": table["comparison"],
        "Unit": table["unit"],
        "df": table["degrees_of_freedom"].map(str),
        "t": [number(t, ".9f") for t in table["t"]],
        "p": probabilities(table["p"]),
    }
    if f"{PAPER_PREFIX}t" in table:
        shown["t (paper)"] = [number(t, ".9f") for t in table[f"{PAPER_PREFIX}t"]]
        shown["p (paper)"] = [number(p, ".3e") for p in table[f"{PAPER_PREFIX}p"]]
    return pd.DataFrame(shown, dtype=str)


def caption_significance(rows: pd.DataFrame, paper: bool = True) -> str:
    """The caption of the t-tests; ``rows`` are those of the test clips."""
    caption = (
        f"Paired t-tests of the MAE per clip after the attack; attacked predictions {attacked_pair(rows)}. "
        "Unit clip x seed, as published: clips and seeds are pooled although clips of one seed "
        "share a model. Unit seed: each pair is a mean over clips."
    )
    return f"{caption} (paper): the SMC 2025 paper, on the Soundtracks data." if paper else caption


def numbers(values: pd.Series[float], pattern: str = "z.4f") -> list[str]:
    """Each number by a format pattern, a dash for NaN."""
    return [number(value, pattern) for value in values]


def probabilities(values: pd.Series[float]) -> list[str]:
    """Each p-value with four decimals, or with four digits below 0.001."""
    return [number(p, ".3e" if p < 1e-3 else ".4f") for p in values]


def show_curves(curves: Curves) -> pd.DataFrame:
    """`Curves.summary` as text cells."""
    lines = []
    axis, corruption = curves.axis, curves.corruption.set_index("system")
    for line in curves.summary.to_dict("records"):
        largest = axis.short(float(line["largest_epsilon"]))
        cells = {
            "System": str(line["system"]),
            "Seeds": str(line["seeds"]),
            "Clean MAE": number(line["clean_mae"], ".3f"),
            f"MAE at {largest}": number(line["largest_mae"], ".3f"),
            "Doubles at": _size(axis, line["doubling"]) + _sizes(axis, line, largest),
            "Mean excess": number(line["mean_excess"], "z.3f") + _range(line, "mean_excess"),
        }
        if len(curves.natural):
            has_natural = isinstance(line["natural_change"], str)
            cells["Natural"] = f"{line['natural']:.3f} ({line['natural_change']})" if has_natural else NOTHING
            cells["Exceeds natural at"] = _size(axis, line["beyond"]) if has_natural else NOTHING
        if len(corruption):
            has_error = line["system"] in corruption.index
            own = corruption.loc[line["system"]].to_dict() if has_error else {}
            error = own and number(own["corruption_error"], ".3f") + _range(own, "corruption_error")
            cells["Corruption error"] = error or NOTHING
        lines.append(cells)
    return pd.DataFrame(lines, dtype=str)


CAPTION_CORRUPTION = (
    f"Corruption error: MAE under {GRADED_PROTOCOL}, the mean over its kinds of change and their five strengths; "
    f"increase: over the clean error. In brackets: {INTERVAL_LEVEL:.0%} bootstrap intervals."
)


def show_corruption(errors: pd.DataFrame) -> pd.DataFrame:
    """`tenuto.analysis.natural.corruption` as text cells."""
    lines = errors.to_dict("records")
    shown = {"System": errors["system"], "Clean MAE": numbers(errors["clean_mae"], ".3f")}
    for heading, name in (("Corruption error", "corruption_error"), ("Increase", "increase")):
        shown[heading] = [f"{line[name]:z.3f}{_range(line, name)}" for line in lines]
    return pd.DataFrame(shown, dtype=str)


def _size(axis: Norm, value: float) -> str:
    """A size in the unit of its axis; one that no budget reaches is infinite."""
    if not np.isfinite(value):
        return "any size" if value == axis.value(0.0) else "not reached"
    return f"{value:z.1f} dB" if axis.in_db else f"{value:.3f}"


def _sizes(axis: Norm, line: Mapping[Hashable, Any], largest: str) -> str:
    """The interval of ``doubling``; an end that no budget reaches is beyond the largest budget."""
    ends = (line["doubling_low"], line["doubling_high"])
    if np.isnan(ends).any():
        return ""
    beyond = f"{'<' if axis.falls else '>'} {largest}"
    shown = (beyond if np.isinf(end) else _size(axis, end) for end in ends)
    return f" ({' to '.join(shown)})".replace(" dB", "")


def _range(line: Mapping[Hashable, Any], name: str) -> str:
    """`` (low to high)``, nothing without an interval."""
    ends = (line[f"{name}_low"], line[f"{name}_high"])
    return "" if np.isnan(ends).any() else f" ({ends[0]:z.3f} to {ends[1]:z.3f})"


def caption_curves(curves: Curves) -> str:
    """The caption of the summary of curves."""
    resampled = sorted(set(curves.summary["resampled"]))
    sizes = sorted(set(curves.runs["epsilon"]))
    ends = [curves.axis.number(size) for size in (sizes[1], sizes[-1])]
    if curves.axis.in_db:
        title = curves.axis.title[0].lower() + curves.axis.title[1:]
        over = f"{title} from {ends[0]} to {ends[1]} dB"
        length = f"its mean over {ends[0]} to {ends[1]} dB" if len(sizes) > 2 else "there"
        doubles = (
            f"the {title} at which the error is twice the clean error, interpolated between budgets in dB, and below "
            "the smallest one in amplitude"
        )
        excess = f"how far the curve lies above the clean error, {length}"
        exceeds = f"{title} from which on"
    else:
        over = f"epsilon from 0 to {ends[1]} in {long_unit(curves.unit)}"
        doubles = "smallest epsilon with twice the clean error, interpolated between budgets"
        excess = f"area between the curve and the clean error, divided by {ends[1]}"
        exceeds = "epsilon from which on"
    caption = (
        f"Worst case over the attacks of {curves.protocol} for each of {int(curves.summary['clips'].iloc[0])} test "
        f"clips, {over}. Doubles at: {doubles}. Mean excess: {excess}. In brackets: {INTERVAL_LEVEL:.0%} bootstrap "
        f"intervals that resample {' or '.join(resampled)}."
    )
    if not np.isnan(curves.mean_mae):
        caption += f" Always predicting the mean training label has MAE {curves.mean_mae:.3f}."
    if len(curves.corruption):
        caption += f" Corruption error: mean MAE over the kinds and strengths of {GRADED_PROTOCOL}."
    if curves.natural.empty:
        return caption
    return (
        f"{caption} Natural: mean change of a prediction under the natural change that moves the system most. Exceeds "
        f"natural at: {exceeds} the attack moves predictions further."
    )


def markdown(shown: pd.DataFrame, caption: str) -> str:
    """A Markdown table with its caption below; text cells, first column to the left, others to the right."""
    printed = shown.drop(columns=GROUP, errors="ignore")
    lines = [list(map(escape_markdown, printed.columns)), ["---", *["---:"] * (printed.shape[1] - 1)]]
    lines += [[escape_markdown(str(cell)) for cell in line] for line in printed.itertuples(index=False)]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{body}\n\n{printable(caption).translate(_MARKDOWN_CAPTION)}\n"


def escape_markdown(text: str) -> str:
    r"""Text in which Markdown has nothing to interpret.

    >>> escape_markdown("a_b <c>")
    'a\\_b \\<c\\>'
    """
    return printable(text, exceptions="\n\r").translate(_MARKDOWN)


def latex(shown: pd.DataFrame, caption: str) -> str:
    """A LaTeX table (package booktabs) with its caption; a rule wherever the group changes."""
    printed = shown.drop(columns=GROUP, errors="ignore")
    groups = list(shown[GROUP]) if GROUP in shown else [""] * len(shown)
    lines = [_latex_line(list(printed.columns)), r"\midrule"]
    for position, line in enumerate(printed.itertuples(index=False)):
        if position and groups[position] != groups[position - 1]:
            lines.append(r"\midrule")
        lines.append(_latex_line([str(cell) for cell in line]))
    columns = "l" + "c" * (printed.shape[1] - 1)
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape_latex(caption)}}}",
            rf"  \begin{{tabular}}{{{columns}}}",
            *(f"    {line}" for line in [r"\toprule", *lines, r"\bottomrule"]),
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _latex_line(cells: Sequence[str]) -> str:
    r"""One line; a bracket or star at its beginning would belong to the ``\\`` or the rule above."""
    line = " & ".join(escape_latex(cell) for cell in cells)
    return f"{'{}' if line.startswith(('[', '*')) else ''}{line} \\\\"


def escape_latex(text: str) -> str:
    r"""Text in which LaTeX has nothing to interpret.

    >>> escape_latex("a_b ± 5 %")
    'a\\_b $\\pm$ 5 \\%'
    """
    shown = printable(text, exceptions="\n\r")
    return re.sub(".", lambda match: _LATEX.get(match[0], match[0]), shown, flags=re.DOTALL)


def write(stem: Path, table: pd.DataFrame | None, shown: pd.DataFrame, caption: str) -> dict[str, Path]:
    """Write ``<stem>.csv`` in full digits where there is a table, ``.md`` and ``.tex`` as shown. File name -> path."""
    written = [] if table is None else [write_csv(stem.with_name(f"{stem.name}.csv"), table)]
    written.append(write_text(stem.with_name(f"{stem.name}.md"), markdown(shown, caption)))
    written.append(write_text(stem.with_name(f"{stem.name}.tex"), latex(shown, caption)))
    return {path.name: path for path in written}
