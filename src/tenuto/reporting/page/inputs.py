"""What a report is made from: everything in a study's folder that needs no model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.analysis import comparison, curves, smc2025
from tenuto.analysis.curve_summary import without_constant
from tenuto.analysis.natural import of_same_weights
from tenuto.analysis.systems import budget_title, recorded_constant, remarks_on_runs, selection
from tenuto.config import DataConfig
from tenuto.data.excerpts import SPECTROGRAM_UNIT
from tenuto.errors import ConfigError, DataError, FileError, TenutoError
from tenuto.evaluation.audit.findings import Finding
from tenuto.evaluation.audit.sources import source_name
from tenuto.files import read_csv, read_json
from tenuto.reporting.figures.explanation import DRAWN_COLUMNS
from tenuto.store.budgets import has_budget, norm_of
from tenuto.store.natural import GRADED_PROTOCOL
from tenuto.store.rows import (
    NATURAL_PROTOCOL,
    at_budget,
    budgets_of,
    in_unit,
    unit_of,
    units_of,
)
from tenuto.store.run import RunFolder, is_natural
from tenuto.store.study import StudyFolder, joined_rows

if TYPE_CHECKING:
    from tenuto.evaluation.resynthesised_clip import Resynthesis

Weights = Mapping[str, Mapping[str, float]]
"""Emotion -> concept -> weight of the linear layer between them."""


@dataclass(frozen=True)
class PageInputs:
    """What a report is made from.

    Attributes:
        name: Of the study's folder.
        data: What its runs were trained on; None where that is not recorded.
        rows: Test clips under one attack and budget, one row per run and clip.
        protocols: Protocol -> all its rows of test clips; natural changes are not among them.
        comparison: Of the systems in ``rows``.
        curves: Of a protocol with several budgets, or the sentence that says why there are none.
        natural: Rows of natural changes, natural-1 and natural-2; None without them.
        interventions: Run -> what `tenuto intervene` wrote of this attack and these weights.
        findings: Of an audit of ``rows``.
        gains: Run -> `tenuto.evaluation.linear_head.head_gain`.
        resyntheses: Of the clips of one run.
        weights: From the concepts to the emotions of that run; None without a linear layer between them.
        others: The same of rows in other units or norms, which are not compared with these.
        remarks: Name of a section -> what could not be shown in it and why, a sentence each; ``runs``: runs that
            could not be read.
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
    resyntheses: Sequence[Resynthesis] = ()
    weights: Weights | None = None
    others: tuple[PageInputs, ...] = ()
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def remarks_on(self, section: str) -> tuple[str, ...]:
        """What could not be shown in a section and why."""
        return self.remarks.get(section, ())

    @property
    def protocol(self) -> str:
        """Whose rows are shown."""
        return str(self.rows["protocol"].iloc[0])

    @property
    def unit(self) -> str:
        """What epsilon is measured in."""
        return unit_of(self.rows)

    @property
    def source(self) -> str:
        """What findings of an audit call these rows."""
        return source_name(self.protocol, "test", self.unit)

    @property
    def pair(self) -> tuple[str, str] | None:
        """The system without concepts and the one with them that are compared; None where one is missing."""
        present = set(self.rows["system"])
        return next((pair for pair in smc2025.COMPARISONS if set(pair) <= present), None)

    @property
    def norm(self) -> str:
        """The norm of the budget."""
        return str(self.rows["norm"].iloc[0])

    @property
    def epsilon(self) -> float | None:
        """The budget; None for attacks without one."""
        epsilon = float(self.rows["epsilon"].iloc[0])
        return epsilon if np.isfinite(epsilon) else None

    @property
    def attack(self) -> str:
        """Protocol and budget: ``standard-1, linf 0.1``; and the unit where it is not that of the log spectrogram."""
        title = f"{self.protocol}, {budget_title(self.norm, self.rows['epsilon'].iloc[0])}"
        has_no_unit = self.unit == SPECTROGRAM_UNIT or norm_of(self.norm).in_db
        return title if has_no_unit else f"{title} in {self.unit}"


def gather(
    study: str | Path,
    protocol: str | None = None,
    epsilon: float | None = None,
    draws: int = curves.CURVE_RESAMPLES,
    unit: str | None = None,
    *,
    db: float | None = None,
    norm: str | None = None,
) -> PageInputs:
    """Read a study's folder; findings, gains and clips need more than rows and are added by `dataclasses.replace`.

    Rows in other units or norms are never compared with the shown ones: they are in `PageInputs.others`, those of other
    protocols and norms at the middle one of their budgets.

    Args:
        study: A study, or the folder of its runs.
        protocol: Whose rows the tables show; by default the one form of the released protocol that all runs share.
        epsilon: The budget, where the protocol has several.
        draws: Bootstrap resamplings of every interval.
        unit: The unit of epsilon or its beginning; by default that of most runs, and the others as `PageInputs.others`.
        db: The budget in dB, see `tenuto.store.rows.at_budget`.
        norm: The norm, where several have this budget.

    Raises:
        ConfigError: A protocol of natural variation.
        FileError: No rows of that protocol, or several forms and none chosen.
        DataError: No such budget, several and none chosen, or rows that contradict each other.
    """
    if protocol is not None and is_natural(protocol):
        raise ConfigError(
            f"protocol {protocol} is natural variation, not an attack. Name the protocol of an attack: its report has "
            "both."
        )
    damaged: list[TenutoError] = []
    folder = StudyFolder(study)
    runs = folder.runs(damaged.append)
    tables = _tables(runs, damaged.append)
    variations = [tables.pop(name) for name in (NATURAL_PROTOCOL, GRADED_PROTOCOL) if name in tables]
    if protocol in tables:
        rows = tables[protocol]
    else:  # says which protocols there are, where it is none of them
        rows = folder.rows(protocol, damaged=None if protocol else lambda error: None)
    shown_unit, *more_units = _units(in_unit(rows, unit))
    natural, strangers = None, list[str]()
    if variations:
        natural, strangers = of_same_weights(pd.concat(variations, ignore_index=True), rows)
    make = functools.partial(_inputs, folder.name, runs, tables, natural, draws)
    inputs = make(at_budget(in_unit(rows, shown_unit), epsilon, db=db, norm=norm), shown_unit)
    others: list[PageInputs] = []
    remarks: list[str] = []
    for other in more_units:
        try:
            others.append(make(at_budget(in_unit(rows, other), epsilon, db=db, norm=norm), other))
        except DataError as error:
            remarks.append(f"Rows with epsilon in {other}: {error}")
    for attacked, other in () if unit else _further(tables, inputs, {shown_unit, *more_units}):
        try:
            others.append(make(attacked, other))
        except DataError as error:
            remarks.append(f"Rows of {attacked['protocol'].iloc[0]}: {error}")
    about = {"natural": strangers, "units": remarks, "runs": dict.fromkeys(map(str, damaged))}
    return dataclasses.replace(
        inputs,
        others=tuple(others),
        remarks={**inputs.remarks, **{section: tuple(sentences) for section, sentences in about.items()}},
    )


def _inputs(
    name: str,
    runs: Sequence[RunFolder],
    protocols: Mapping[str, pd.DataFrame],
    natural: pd.DataFrame | None,
    draws: int,
    chosen: pd.DataFrame,
    unit: str,
) -> PageInputs:
    """What a page shows of rows of one budget. Raises `DataError` for rows that contradict each other."""
    rows = selection(chosen).reset_index(drop=True)
    interventions, left_out = _interventions(runs, rows)
    protocol = str(rows["protocol"].iloc[0])
    return PageInputs(
        name=name,
        data=_data(runs, str(rows["run"].iloc[0])),
        rows=rows,
        protocols=protocols,
        comparison=comparison.compare(rows, comparison.Settings(pairs=_planned(rows), draws=draws)),
        curves=_curves(_in_unit(protocols, unit), protocol, natural, draws, runs),
        natural=natural,
        interventions=interventions,
        remarks={
            "clean": remarks_on_runs([run for run in runs if run.name in set(rows["run"])]),
            "concepts": left_out,
        },
    )


def _further(
    protocols: Mapping[str, pd.DataFrame], inputs: PageInputs, units: Collection[str]
) -> Iterator[tuple[pd.DataFrame, str]]:
    """Rows that are not shown yet, with their unit: of the other norms of the shown protocol, and of one protocol in
    every unit that it has no rows in (several budgets first, then most runs); each at the middle one of its budgets."""
    for norm, epsilon in _middle_budgets(in_unit(protocols[inputs.protocol], inputs.unit)):
        if norm != inputs.norm:
            yield at_budget(in_unit(protocols[inputs.protocol], inputs.unit), epsilon, norm=norm), inputs.unit
    for unit in sorted({str(unit) for rows in protocols.values() for unit in units_of(rows)} - set(units)):
        tables = _in_unit(protocols, unit)
        name = curves.with_budgets(tables) or max(tables, key=lambda name: tables[name]["run"].nunique())
        budgets = _middle_budgets(tables[name])
        for norm, epsilon in budgets:
            yield at_budget(tables[name], epsilon, norm=norm), unit
        if not budgets:
            yield at_budget(tables[name]), unit


def _middle_budgets(rows: pd.DataFrame) -> list[tuple[str, float]]:
    """The middle budget of every norm, of an even number the larger one."""
    budgets = budgets_of(rows)
    by_norm = {norm: [epsilon for name, epsilon in budgets if name == norm] for norm, _ in budgets}
    return [(norm, epsilons[len(epsilons) // 2]) for norm, epsilons in by_norm.items()]


def _units(rows: pd.DataFrame) -> list[str]:
    """Units of epsilon, that of most runs first."""
    runs = rows.groupby(units_of(rows))["run"].nunique()
    return sorted(map(str, runs.index), key=lambda unit: (-runs[unit], unit != SPECTROGRAM_UNIT, unit))


def _in_unit(protocols: Mapping[str, pd.DataFrame], unit: str) -> dict[str, pd.DataFrame]:
    """The rows of every protocol that has some in this unit."""
    return {name: in_unit(rows, unit) for name, rows in protocols.items() if unit in set(units_of(rows))}


def _tables(runs: Sequence[RunFolder], damaged: Callable[[TenutoError], object]) -> dict[str, pd.DataFrame]:
    """Protocol -> rows of the test clips of all runs, natural changes among them."""
    tables: dict[str, list[tuple[RunFolder, pd.DataFrame]]] = {}
    for run in runs:
        natural = [name for name in (NATURAL_PROTOCOL, GRADED_PROTOCOL) if run.has_natural(protocol=name)]
        for protocol in [*run.protocols(), *natural]:
            try:
                tables.setdefault(protocol, []).append((run, run.read_rows(protocol)))
            except TenutoError as error:
                damaged(error)
    return {name: joined_rows(parts, name, damaged) for name, parts in sorted(tables.items()) if parts}


def _planned(rows: pd.DataFrame) -> list[tuple[str, str]] | None:
    """The paper's two comparisons as far as there are rows of their systems; all pairs where there are none."""
    systems = set(rows["system"])
    return [pair for pair in smc2025.COMPARISONS if set(pair) <= systems] or None


def _curves(
    protocols: Mapping[str, pd.DataFrame],
    unit: str,
    natural: pd.DataFrame | None,
    draws: int,
    folders: Sequence[RunFolder],
) -> curves.Curves | str:
    """Curves of the shown protocol if it has several budgets, else of the one that most runs share, or why not."""
    name = unit if len(budgets_of(protocols[unit])) > 1 else curves.with_budgets(protocols)
    if name is None:
        return (
            "Error by size of the attack: no run was attacked with several budgets. Run `tenuto attack RUN --protocol "
            f"{curves.DEFAULT_PROTOCOL}`."
        )
    attacked = set(protocols[name]["run"])
    measuring = [run for run in folders if run.name in attacked]
    try:
        measured = curves.measure(protocols[name], natural, draws, constant=recorded_constant(measuring))
    except DataError as error:
        return f"Error by size of the attack: {error}"
    runs = {str(run) for rows in protocols.values() for run in rows["run"]}
    remarks = measured.remarks + without_constant(measuring)
    if missing_runs := sorted(runs - attacked):
        remarks = (f"No rows of {name} of {', '.join(missing_runs)}: left out.", *remarks)
    return dataclasses.replace(measured, remarks=remarks)


def _data(runs: Sequence[RunFolder], name: str) -> DataConfig | None:
    """What a run was trained on, by its configuration; None where it has none."""
    return next((run.read_config().data for run in runs if run.name == name and run.config.is_file()), None)


def _interventions(
    runs: Sequence[RunFolder], rows: pd.DataFrame
) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    """What `tenuto intervene` wrote of these runs under this attack, and a sentence for each run that is left out."""
    tables, remarks = {}, []
    text = ("run", "system", "protocol", "attack", "norm", "inputs", "target", "concept", "checkpoint")
    for path in (run.intervention_rows for run in runs if run.intervention_rows.is_file()):
        table = read_csv(
            path,
            columns=DRAWN_COLUMNS,
            text=text,
            integers=("k",),
            numbers=("epsilon", "mae", "mean_mae", "lowest_mae", "highest_mae"),
            optional=("epsilon",),
        )
        run = str(table["run"].iloc[0])
        own = rows[rows["run"] == run]
        if own.empty:
            continue
        chosen = table[(table["inputs"] == "clean") | _same_attack(table, own.iloc[0])]
        command = "Run `tenuto intervene RUN --root DATA` again."
        if weights_of(own) and weights_of(table) != weights_of(own):
            remarks.append(
                f"{run}: concepts were corrected in other or unknown weights than were attacked. {command}"
            )
        elif (chosen["inputs"] == "clean").all():
            remarks.append(f"{run}: no concepts were corrected under this attack. {command}")
        else:
            tables[run] = chosen.reset_index(drop=True)
    return tables, tuple(remarks)


def _same_attack(table: pd.DataFrame, row: pd.Series[Any]) -> NDArray[np.bool_]:
    """Which corrections have the protocol and budget of a row."""
    is_protocol = (table["protocol"] == row["protocol"]).to_numpy()
    return np.asarray(is_protocol & has_budget(table, row["norm"], float(row["epsilon"])))


def weights_of(rows: pd.DataFrame) -> set[str]:
    """SHA-256 of the checkpoints that rows were made with; empty where that is not recorded."""
    return set(rows["checkpoint"].dropna()) if "checkpoint" in rows else set()


def read_findings(path: str | Path) -> list[Finding]:
    """Findings that `tenuto audit --out` wrote to ``audit.json``. Raises `FileError` for anything else."""
    content = read_json(path)
    lines = content.get("findings", []) if isinstance(content, dict) else []
    findings = [Finding.from_json(line, path) for line in lines] if isinstance(lines, list) else []
    if not findings:
        raise FileError(f"{path}: contains no findings; `tenuto audit --out DIR` writes DIR/audit.json.")
    return findings
