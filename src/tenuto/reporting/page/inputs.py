"""What a report is made from: everything a study left on disk that rows can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.analysis import comparison, curves, smc2025
from tenuto.analysis.systems import budget_title, selection
from tenuto.config import DataConfig, RunConfig, parse_yaml
from tenuto.errors import DataError, FileError
from tenuto.evaluation.audit.findings import Finding
from tenuto.files import read_csv, read_json, read_text
from tenuto.reporting.figures import explanation as panels
from tenuto.store import released_logs
from tenuto.store.rows import NATURAL, at_budget

if TYPE_CHECKING:
    from tenuto.evaluation.resynthesis import Witness

Weights = Mapping[str, Mapping[str, float]]
"""Emotion -> concept -> weight of the linear layer between them."""


@dataclass(frozen=True)
class Material:
    """What a report is made from.

    Attributes:
        name: Of the study's folder.
        data: What its runs were trained on; None where nobody recorded it.
        rows: Test clips under one attack and budget, one row per run and clip.
        protocols: Protocol -> all its rows of test clips; natural changes are not among them.
        comparison: Of the systems in ``rows``.
        curves: Of a protocol with several budgets, or the sentence that says why there are none.
        natural: Rows of natural changes; None without them.
        interventions: Run -> what `tenuto intervene` wrote of this attack and these weights.
        findings: Of an audit of ``rows``.
        gains: Run -> `tenuto.evaluation.explanation.head_gain`.
        witnesses: Of the clips of one run.
        weights: From the concepts to the emotions of that run; None without a bottleneck.
        remarks: Name of a section -> what could not be shown in it and why, a sentence each.
    """

    name: str
    data: DataConfig | None
    rows: pd.DataFrame
    protocols: Mapping[str, pd.DataFrame]
    comparison: comparison.Comparison
    curves: curves.Curves | str
    natural: pd.DataFrame | None
    interventions: Mapping[str, pd.DataFrame]
    findings: Sequence[Finding] = ()
    gains: Mapping[str, Mapping[str, Any]] | None = None
    witnesses: Sequence[Witness] = ()
    weights: Weights | None = None
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def protocol(self) -> str:
        """Whose rows are shown."""
        return str(self.rows["protocol"].iloc[0])

    @property
    def attack(self) -> str:
        """Protocol and budget: ``standard-1, linf 0.1``."""
        return f"{self.protocol}, {budget_title(self.rows['norm'].iloc[0], self.rows['epsilon'].iloc[0])}"


def gather(
    study: str | Path, protocol: str | None = None, epsilon: float | None = None, draws: int = curves.DRAWS
) -> Material:
    """Read a study's folder; findings, gains and clips need more than rows and are added by `dataclasses.replace`.

    Args:
        study: A study, or the folder of its runs.
        protocol: Whose rows the tables show; by default the one form of the released protocol that all runs share.
        epsilon: The budget, where the protocol has several.
        draws: Bootstrap resamplings of every interval.

    Raises:
        FileError: No rows of that protocol, or several forms and none chosen.
        DataError: No such budget, several and none chosen, or rows that contradict each other.
    """
    folder = Path(study)
    rows = selection(at_budget(released_logs.read_study(folder, protocol), epsilon))
    there = released_logs.protocols(folder)
    others = sorted(name for name in there if name != NATURAL)
    first = str(rows["run"].iloc[0])
    interventions, passed_over = _interventions(folder, rows)
    return Material(
        name=folder.resolve().name,
        data=_data(folder, first),
        rows=rows.reset_index(drop=True),
        protocols={name: released_logs.read_study(folder, name) for name in others},
        comparison=comparison.compare(rows, comparison.Settings(pairs=_planned(rows), draws=draws)),
        curves=_curves(folder, there, draws),
        natural=released_logs.read_study(folder, NATURAL) if NATURAL in there else None,
        interventions=interventions,
        remarks={"concepts": passed_over},
    )


def _planned(rows: pd.DataFrame) -> list[comparison.Pair] | None:
    """The study's two comparisons as far as their systems are there; all pairs where neither is."""
    named = set(rows["system"])
    return [pair for pair in smc2025.COMPARISONS if set(pair) <= named] or None


def _curves(folder: Path, there: Mapping[str, set[str]], draws: int) -> curves.Curves | str:
    """Curves of the form of standard-1 that most runs have, or why there are none."""
    forms = sorted(
        (name for name in there if name.startswith(curves.PROTOCOL)), key=lambda name: -len(there[name])
    )
    if not forms:
        return (
            f"Error over the size of the attack: no run has rows of {curves.PROTOCOL}; "
            f"`tenuto attack RUN --protocol {curves.PROTOCOL}` makes them."
        )
    try:
        return curves.from_folders([folder], forms[0], draws)
    except DataError as error:
        return f"Error over the size of the attack: {error}"


def _data(folder: Path, run: str) -> DataConfig | None:
    """What a run was trained on, by its configuration; None where that is not there."""
    found = next((path for path in sorted(folder.rglob("config.yaml")) if path.parent.name == run), None)
    if found is None:
        return None
    return RunConfig.parse(parse_yaml(read_text(found), str(found)), str(found)).data


def _interventions(folder: Path, rows: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    """What `tenuto intervene` wrote of these runs under this attack, and a sentence for each run it is no use of."""
    found, remarks = {}, []
    for path in sorted(folder.rglob("interventions/intervention.csv")):
        text = ("run", "system", "protocol", "attack", "norm", "inputs", "target", "concept", "checkpoint")
        table = read_csv(path, columns=panels.NEEDED, text=text)
        run = str(table["run"].iloc[0])
        own = rows[rows["run"] == run]
        if own.empty:
            continue
        chosen = table[(table["inputs"] == "clean") | _same_attack(table, own.iloc[0])]
        if weights_of(own) and weights_of(table) != weights_of(own):
            remarks.append(
                f"{run}: concepts were corrected in other weights than were attacked, or nobody recorded in which; "
                "`tenuto intervene RUN --root DATA` makes the corrections anew."
            )
        elif (chosen["inputs"] == "clean").all():
            remarks.append(
                f"{run}: no concepts were corrected under this attack; `tenuto intervene RUN --root DATA` does so."
            )
        else:
            found[run] = chosen.reset_index(drop=True)
    return found, tuple(remarks)


def _same_attack(table: pd.DataFrame, row: pd.Series[Any]) -> NDArray[np.bool_]:
    """Which corrections are of the protocol and budget of a row?"""
    named = (table["protocol"] == row["protocol"]) & (table["norm"] == row["norm"])
    sizes = table["epsilon"].to_numpy(np.float64), float(row["epsilon"])
    return np.asarray(named & np.isclose(*sizes, rtol=1e-9, atol=0, equal_nan=True))


def weights_of(rows: pd.DataFrame) -> set[str]:
    """SHA-256 of the checkpoints that rows say they were made with; empty where they do not say it."""
    return set(rows["checkpoint"].dropna()) if "checkpoint" in rows else set()


def read_findings(path: str | Path) -> list[Finding]:
    """Findings that `tenuto audit --out` left in ``audit.json``. Raises `FileError` for anything else."""
    content = read_json(path)
    lines = content.get("findings", []) if isinstance(content, dict) else []
    found = [Finding.from_json(line, path) for line in lines]
    if not found:
        raise FileError(f"{path}: holds no findings; `tenuto audit --out DIR` writes DIR/audit.json.")
    return found
