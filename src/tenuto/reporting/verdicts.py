"""The findings of an audit as tables and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tenuto.evaluation.audit.findings import Finding, count_verdicts
from tenuto.files import write_json
from tenuto.reporting.tables import GROUP, Columns, ResultTable, text_cells

if TYPE_CHECKING:
    from tenuto.evaluation.audit.remedies import Rerun

CAPTION = (
    "PASS, WARN and FAIL follow from value and threshold, as the page of each check says. NOT RECORDED: the source "
    "does not hold what the check needs."
)
FINDING_NUMBERS = ("source", "check", "verdict", "value", "threshold", "sentence", "page")
FINDING_COLUMNS: Columns = {
    GROUP: ("source", ""),
    "Check": ("check", ""),
    "Verdict": ("verdict", ""),
    "Value": ("value", ".3g"),
    "Threshold": ("threshold", ".3g"),
    "Question": ("question", ""),
    "Result": ("sentence", ""),
}
"""The findings in full digits, and as text cells."""

RERUN_COLUMNS = (
    "source",
    "run",
    "remedy",
    "checks",
    "audited",
    "attack",
    "before",
    "after",
    "best",
    "change",
)


def audit_table(findings: Sequence[Finding]) -> ResultTable:
    """One line per finding; the cells have the question of its check too."""
    numbers = pd.DataFrame([finding.as_json() for finding in findings], columns=list(FINDING_NUMBERS))
    with_names = numbers.assign(
        # Unlike JSON, cells show a value that is infinite.
        value=pd.Series([finding.value for finding in findings], dtype=float),
        question=[finding.question for finding in findings],
    )
    return ResultTable(text_cells(with_names, FINDING_COLUMNS), CAPTION, numbers)


def summary(findings: Sequence[Finding]) -> str:
    """``3 FAIL, 2 WARN, 8 PASS, 10 NOT RECORDED``, most severe first."""
    return ", ".join(f"{count} {verdict}" for verdict, count in count_verdicts(findings).items())


def remedies(reruns: Sequence[Rerun]) -> pd.DataFrame:
    """One line per rerun, columns `RERUN_COLUMNS`."""
    lines = [{**one.as_json(), "checks": ", ".join(one.checks), "change": one.change} for one in reruns]
    return pd.DataFrame(lines, columns=list(RERUN_COLUMNS))


def as_json(findings: Sequence[Finding], reruns: Sequence[Rerun] = ()) -> dict[str, Any]:
    """Counts of the verdicts, all findings and what remedies found, for programs."""
    counts = {str(verdict): count for verdict, count in count_verdicts(findings).items()}
    content: dict[str, Any] = {"verdicts": counts, "findings": [finding.as_json() for finding in findings]}
    return content | ({"reruns": [one.as_json() for one in reruns]} if reruns else {})


def write(findings: Sequence[Finding], out: str | Path, reruns: Sequence[Rerun] = ()) -> dict[str, Path]:
    """``audit.json``, and the table as ``audit.csv``, ``audit.md``, ``audit.tex``. File name -> path."""
    out, table = Path(out), audit_table(findings)
    paths = {"audit.json": write_json(out / "audit.json", as_json(findings, reruns))}
    if table.cells[GROUP].nunique() > 1:
        table.cells.insert(1, "Rows", table.cells[GROUP])
    return paths | table.write(out / "audit")
