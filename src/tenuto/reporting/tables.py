"""Tables as CSV (full digits), Markdown and LaTeX (as a paper prints them)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tenuto.analysis.words import NOTHING, attacked_pair, number
from tenuto.files import write_csv, write_text

GROUP = "group"
"""A column of this name groups lines: LaTeX draws a rule where it changes, and it is not printed itself."""

_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\|*_`<>[]"} | {"\n": " "})
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "<": "$<$",
    ">": "$>$",
    "\n": " ",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


def mean_deviation(mean: float, deviation: float, alone: bool = False) -> str:
    """``0.73 ± 0.02``, a dash for what is missing; ``alone``: without deviation the mean stands by itself.

    >>> mean_deviation(0.7324, 0.0154), mean_deviation(0.7324, math.nan), mean_deviation(0.7324, math.nan, True)
    ('0.73 ± 0.02', '0.73 ± –', '0.73')
    """
    if math.isnan(mean):
        return NOTHING
    if math.isnan(deviation) and alone:
        return f"{mean:.2f}"
    return f"{mean:.2f} ± {number(deviation, '.2f')}"


def show_table1(table: pd.DataFrame) -> pd.DataFrame:
    """`paper.table1` as text cells, two decimals; with the paper's values where the table has them."""
    shown = table[[GROUP, "system"]].rename(columns={"system": "System"})
    shown["Seeds"] = [NOTHING if pd.isna(seeds) else str(seeds) for seeds in table["seeds"]]
    has_paper = "print_mae_mean" in table
    for prefix, heading in (("", ""), ("print_", " (paper)"))[: 2 if has_paper else 1]:
        for name, title in (("correlation", "Avg. corr."), ("mae", "MAE")):
            cells = zip(table[f"{prefix}{name}_mean"], table[f"{prefix}{name}_std"], strict=True)
            shown[title + heading] = [
                mean_deviation(mean, deviation, bool(prefix)) for mean, deviation in cells
            ]
    return shown


def caption_table1(rows: pd.DataFrame, paper_data: bool = False) -> str:
    """What Table 1 shows, in words; ``rows`` are those of the test clips."""
    clips = rows["clip"].nunique()
    paper = " (paper): values of the SMC 2025 paper; (orig.): the ISMIR 2019 work as quoted there."
    return (
        f"Average correlation and MAE on {clips} clean test clips (not attacked), mean ± standard deviation over "
        f"seeds.{paper if paper_data else ''}"
    )


def show_significance(table: pd.DataFrame) -> pd.DataFrame:
    """`paper.significance` as text: t with nine decimals, p with four digits."""
    return pd.DataFrame(
        {
            GROUP: table["unit"],
            "Pair": table["comparison"],
            "Unit": table["unit"],
            "df": table["degrees_of_freedom"].map(str),
            "t": [number(t, ".9f") for t in table["t"]],
            "p": [number(p, ".3e" if p < 1e-3 else ".4f") for p in table["p"]],
            **_paper_tests(table),
        },
        dtype=str,
    )


def _paper_tests(table: pd.DataFrame) -> dict[str, list[str]]:
    """The paper's tests, where the table has them."""
    if "print_t" not in table:
        return {}
    return {
        "t (paper)": [number(t, ".9f") for t in table["print_t"]],
        "p (paper)": [number(p, ".3e") for p in table["print_p"]],
    }


def caption_significance(rows: pd.DataFrame, paper_data: bool = False) -> str:
    """What the t-tests compare, in words; ``rows`` are those of the test clips."""
    paper = " (paper): the SMC 2025 paper." if paper_data else ""
    return (
        f"Paired t-tests of the MAE per clip after the attack; attacked predictions {attacked_pair(rows)}. "
        "With clip x seed as the unit, as published, clips and seeds are pooled although clips of one seed "
        "share a model; with seed as the unit each pair is a mean over clips."
        f"{paper}"
    )


def markdown(shown: pd.DataFrame, caption: str) -> str:
    """A Markdown table with its caption below; text cells, first column to the left, others to the right."""
    printed = shown.drop(columns=GROUP, errors="ignore")
    lines = [list(printed.columns), ["---", *["---:"] * (printed.shape[1] - 1)]]
    lines += [[str(cell).translate(_MARKDOWN) for cell in line] for line in printed.itertuples(index=False)]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{body}\n\n{caption}\n"


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
    return f"{' & '.join(escape_latex(cell) for cell in cells)} \\\\"


def escape_latex(text: str) -> str:
    r"""Text that LaTeX prints as it stands.

    >>> escape_latex("a_b ± 5 %")
    'a\\_b $\\pm$ 5 \\%'
    """
    return re.sub(".", lambda match: _LATEX.get(match[0], match[0]), text, flags=re.DOTALL)


def write(stem: Path, table: pd.DataFrame, shown: pd.DataFrame, caption: str) -> dict[str, Path]:
    """Write ``<stem>.csv`` in full digits, ``.md`` and ``.tex`` as shown. File name -> path."""
    csv = write_csv(stem.with_name(f"{stem.name}.csv"), table)
    md = write_text(stem.with_name(f"{stem.name}.md"), markdown(shown, caption))
    tex = write_text(stem.with_name(f"{stem.name}.tex"), latex(shown, caption))
    return {path.name: path for path in (csv, md, tex)}
