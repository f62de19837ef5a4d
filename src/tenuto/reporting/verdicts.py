"""The findings of an audit as tables and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tenuto.analysis import words
from tenuto.evaluation.audit.findings import Finding, count_verdicts
from tenuto.files import write_json
from tenuto.reporting import tables

if TYPE_CHECKING:
    from tenuto.evaluation.audit.remedies import Rerun

CAPTION = (
    "PASS, WARN and FAIL follow from value and threshold, as the page of each check says. NOT RECORDED: the source "
    "does not hold what the check needs."
)


def table(findings: Sequence[Finding]) -> pd.DataFrame:
    """One line per finding: ``source check verdict value threshold sentence page``."""
    return pd.DataFrame([finding.as_json() for finding in findings])


def shown(findings: Sequence[Finding]) -> pd.DataFrame:
    """The findings as text cells, with the question of each check."""
    shown = {
        tables.GROUP: [finding.source for finding in findings],
        "Check": [finding.check for finding in findings],
        "Verdict": [str(finding.verdict) for finding in findings],
        "Value": [number(finding.value) for finding in findings],
        "Threshold": [number(finding.threshold) for finding in findings],
        "Question": [finding.question for finding in findings],
        "Result": [finding.sentence for finding in findings],
    }
    return pd.DataFrame(shown, dtype=str)


def number(value: float | None) -> str:
    """Three digits, a dash where there is no number."""
    return words.NOTHING if value is None else f"{value:.3g}"


def summary(findings: Sequence[Finding]) -> str:
    """``3 FAIL, 2 WARN, 8 PASS, 10 NOT RECORDED``, most severe first."""
    return ", ".join(f"{count} {verdict}" for verdict, count in count_verdicts(findings).items())


def remedies(reruns: Sequence[Rerun]) -> pd.DataFrame:
    """One line per rerun: ``source run remedy checks audited attack before after best change``."""
    lines = [{**one.as_json(), "checks": ", ".join(one.checks), "change": one.change} for one in reruns]
    columns = ("source", "run", "remedy", "checks", "audited", "attack", "before", "after", "best", "change")
    return pd.DataFrame(lines, columns=list(columns))


def as_json(findings: Sequence[Finding], reruns: Sequence[Rerun] = ()) -> dict[str, Any]:
    """Counts of the verdicts, all findings and what remedies found, for programs."""
    counts = {str(verdict): count for verdict, count in count_verdicts(findings).items()}
    content: dict[str, Any] = {"verdicts": counts, "findings": [finding.as_json() for finding in findings]}
    return content | ({"reruns": [one.as_json() for one in reruns]} if reruns else {})


def write(findings: Sequence[Finding], out: str | Path, reruns: Sequence[Rerun] = ()) -> dict[str, Path]:
    """``audit.json``, and the table as ``audit.csv``, ``audit.md``, ``audit.tex``. File name -> path."""
    out = Path(out)
    written = {"audit.json": write_json(out / "audit.json", as_json(findings, reruns))}
    several = len({finding.source for finding in findings}) > 1
    cells = shown(findings)
    if several:
        cells.insert(1, "Rows", cells[tables.GROUP])
    return written | tables.write(out / "audit", table(findings), cells, CAPTION)
