"""Tables of results: as CSV in full digits, and as text cells with a caption, printed as Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.analysis.words import NOTHING
from tenuto.errors import printable
from tenuto.files import write_csv, write_text

GROUP = "group"
"""A column of this name groups lines: LaTeX draws a rule where it changes, and it is not printed itself."""

Format = str | Callable[[Any], str]
"""How a value is printed: a format pattern, empty for words and counts, or a function."""

Columns = dict[str, tuple[str, Format]]
"""Columns of text: the heading, the column of numbers below it, and how these are printed."""

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


@dataclass(frozen=True)
class ResultTable:
    """A table of results, for people and for programs.

    Attributes:
        cells: What people read: text cells, and a column `GROUP` where lines are grouped.
        caption: What the cells are.
        numbers: The same in full digits.
    """

    cells: pd.DataFrame
    caption: str
    numbers: pd.DataFrame

    def write(self, stem: Path, kinds: Sequence[str] = ("csv", "md", "tex")) -> dict[str, Path]:
        """Write ``<stem>.csv`` in full digits, ``.md`` and ``.tex``, or some of them. File name -> path."""
        writers: dict[str, Callable[[Path], Path]] = {
            "csv": lambda path: write_csv(path, self.numbers),
            "md": lambda path: write_text(path, markdown(self.cells, self.caption)),
            "tex": lambda path: write_text(path, latex(self.cells, self.caption)),
        }
        paths = [writers[kind](stem.with_name(f"{stem.name}.{kind}")) for kind in kinds]
        return {path.name: path for path in paths}


def text_cells(numbers: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Numbers as text cells, a column per heading."""
    cells = {
        heading: [text_cell(value, form) for value in numbers[name]]
        for heading, (name, form) in columns.items()
    }
    return pd.DataFrame(cells, dtype=str)


def text_cell(value: Any, form: Format) -> str:
    """A value as text, a dash where it is missing.

    >>> text_cell(0.25, ".3f"), text_cell(None, ".3f"), text_cell("A2E", "")
    ('0.250', '–', 'A2E')
    """
    if pd.isna(value):
        return NOTHING
    return format(value, form) if isinstance(form, str) else form(value)


def probability(p: float) -> str:
    """A p-value with four decimals, or with four digits below 0.001."""
    return format(p, ".3e" if p < 1e-3 else ".4f")


def markdown(cells: pd.DataFrame, caption: str) -> str:
    """A Markdown table with its caption below; text cells, first column to the left, others to the right."""
    printed = cells.drop(columns=GROUP, errors="ignore")
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


def latex(cells: pd.DataFrame, caption: str) -> str:
    """A LaTeX table (package booktabs) with its caption; a rule wherever the group changes."""
    printed = cells.drop(columns=GROUP, errors="ignore")
    groups = list(cells[GROUP]) if GROUP in cells else [""] * len(cells)
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
    text_shown = printable(text, exceptions="\n\r")
    return re.sub(".", lambda match: _LATEX.get(match[0], match[0]), text_shown, flags=re.DOTALL)
