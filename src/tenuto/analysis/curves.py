"""Error over the size of the perturbation, from rows of a protocol with budgets.

A clip's worst case at an epsilon is its largest mean absolute error over the protocol's attacks; epsilon 0 is the
clean clip. The mean change of the predictions is reported too, for comparison with natural changes. Intervals resample
seeds and clips (`statistics.crossed_interval`), or only one of them where the other has a single value.

A protocol with several norms has a curve for each: sizes of two norms are never compared. Sizes in a summary are in the
unit of the axis (`tenuto.store.budgets`), which is dB for a signal-to-noise ratio.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tenuto.analysis import comparison, curve_summary, natural as baseline
from tenuto.analysis.curve_shape import Values
from tenuto.analysis.curve_summary import INTERVAL_LEVEL, SUMMARY, SUMMARY_QUANTITIES, summary_line
from tenuto.analysis.emotion_curves import emotion_curves
from tenuto.analysis.statistics import crossed_interval
from tenuto.analysis.systems import ordered_systems, recorded_constant, run_metrics
from tenuto.display import Displayed, Element
from tenuto.errors import DataError, TenutoError
from tenuto.store.budgets import Norm, listed, norm_of
from tenuto.store.natural import GRADED_PROTOCOL
from tenuto.store.rows import (
    NATURAL_PROTOCOL,
    budgets_of,
    in_norm,
    in_unit,
    require_columns,
    unit_of,
    units_of,
    validate_rows,
    values_of,
    worst_case,
)
from tenuto.store.study import StudyFolder, read_natural, read_study

DEFAULT_PROTOCOL = "standard-1"
CURVE_RESAMPLES = 10_000

CURVE = ("run", "system", "seed", "epsilon", "mae", "correlation", "moved", "clean_mae", "clean_correlation")
BAND_COLUMNS = ("system", "quantity", "epsilon", "mean", "low", "high", "resampled")


@dataclass(frozen=True, repr=False)
class Curves(Displayed):
    """The result of `measure`.

    Attributes:
        protocol: Whose rows these are.
        norm: The norm of epsilon, such as ``linf`` or ``snr``.
        unit: What epsilon is measured in.
        runs: One line per run and epsilon, columns `CURVE`. Where the axis is in dB, a column ``db`` follows every
            column ``epsilon``.
        bands: One line per system, quantity and epsilon, columns `BAND_COLUMNS`: the mean absolute error (``error``)
            and the mean absolute change of a prediction (``moved``), each a mean over seeds and clips with its
            interval.
        summary: One line per system, columns `SUMMARY`. ``doubling`` and ``beyond`` are in the unit of the axis, and
            infinite where they are not reached; areas are over the drawn axis.
        emotions: One line per run, emotion, direction and epsilon, columns `EMOTION_COLUMNS`; empty where the protocol
            does not push single emotions.
        natural: One line per run and natural change, see `tenuto.analysis.natural.summary`; empty without them.
        corruption: One line per system that natural-2 was measured of, see `tenuto.analysis.natural.corruption`; empty
            without it.
        natural_emotions: Emotion -> its mean absolute change under the natural change that moves it most.
        mean_mae: MAE of the constant baseline (see `systems`) on test clips; NaN where it is not recorded.
        remarks: What is missing, a sentence each.
        others: The curves of the other norms of the protocol.
    """

    protocol: str
    norm: str
    unit: str
    runs: pd.DataFrame
    bands: pd.DataFrame
    summary: pd.DataFrame
    emotions: pd.DataFrame
    natural: pd.DataFrame
    corruption: pd.DataFrame
    natural_emotions: dict[str, float]
    mean_mae: float
    remarks: tuple[str, ...]
    others: tuple[Curves, ...] = ()

    @property
    def axis(self) -> Norm:
        """How sizes of the norm are shown."""
        return norm_of(self.norm)

    @property
    def by_norm(self) -> tuple[Curves, ...]:
        """The curves of every norm of the protocol, these first."""
        return (self, *self.others)

    def _elements(self) -> list[Element]:
        remarks = dict.fromkeys(remark for one in self.by_norm for remark in one.remarks)
        return [*(part for one in self.by_norm for part in (one.axis.title, one.summary)), *remarks]


def from_folders(
    folders: Sequence[str | Path],
    protocol: str | None = None,
    draws: int = CURVE_RESAMPLES,
    seed: int = 0,
    unit: str | None = None,
    norm: str | None = None,
) -> Curves:
    """`measure` of the runs below some folders (runs or studies), with their natural changes where there are any.

    Args:
        folders: Folders of runs or studies.
        protocol: A protocol with several budgets; default: `default_protocol`.
        draws: Bootstrap resamplings of every interval.
        seed: Of the bootstrap.
        unit: The unit of epsilon, or its beginning, where the rows have several; others are left out.
        norm: See `measure`.

    Raises:
        FileError: A folder without rows of that protocol.
        DataError: The same run twice, or see `ladder`.
    """
    protocol = protocol or default_protocol(folders)
    attacked_runs = {folder: StudyFolder(folder).protocols(damaged=_ignore) for folder in folders}
    tables = [read_study(folder, protocol) for folder in folders]
    rows = validate_rows(pd.concat(tables, ignore_index=True), ", ".join(map(str, folders)))
    rows = in_unit(rows, unit)
    natural = [
        table
        for folder in folders
        for variation in (NATURAL_PROTOCOL, GRADED_PROTOCOL)
        if (table := read_natural(folder, variation)) is not None
    ]
    names = set(rows["run"])
    attacked = [run for own in attacked_runs.values() for run in own.get(protocol, []) if run.name in names]
    curves = measure(
        rows,
        pd.concat(natural, ignore_index=True) if natural else None,
        draws,
        seed,
        recorded_constant(attacked),
        norm,
    )
    in_words = "" if unit is None else f" in {curves.unit}"
    runs = {run.name for own in attacked_runs.values() for having in own.values() for run in having}
    runs |= {str(run) for table in natural for run in table["run"]}
    remarks = curves.remarks + curve_summary.without_constant(attacked)
    if without := sorted(runs - names):
        remarks = (f"No rows of {protocol}{in_words} of {', '.join(without)}: left out.", *remarks)
    return dataclasses.replace(curves, remarks=remarks)


def default_protocol(folders: Sequence[str | Path]) -> str:
    """The protocol with several budgets that most runs below some folders have; standard-1 where none has one."""
    attacked_runs = {folder: StudyFolder(folder).protocols(damaged=_ignore) for folder in folders}
    return with_budgets(_rows_by_protocol(attacked_runs)) or DEFAULT_PROTOCOL


def units(folders: Sequence[str | Path], protocol: str) -> list[str]:
    """Units of epsilon in the rows of a protocol of the runs below some folders, by name. Raises `FileError`."""
    return sorted({str(unit) for folder in folders for unit in set(units_of(read_study(folder, protocol)))})


def _ignore(error: TenutoError) -> None:
    """`read_study` has named it."""


def _rows_by_protocol(protocols: Mapping[str | Path, Iterable[str]]) -> dict[str, pd.DataFrame]:
    """Protocol -> its rows in all folders, from folder -> its protocols."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for folder, names in protocols.items():
        for name in names:
            tables.setdefault(name, []).append(read_study(folder, name))
    return {protocol: pd.concat(own, ignore_index=True) for protocol, own in tables.items()}


def with_budgets(protocols: Mapping[str, pd.DataFrame]) -> str | None:
    """Of protocols with their rows the one to draw: several budgets, most runs, the first by name; else None."""
    several = [name for name, rows in protocols.items() if len(budgets_of(rows)) > 1]
    return min(several, key=lambda name: (-protocols[name]["run"].nunique(), name), default=None)


def _limited(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of test clips that have a budget. Raises `DataError` for several protocols, or where there are none."""
    if (protocols := rows["protocol"].unique()).size > 1:
        raise DataError(
            f"the rows hold {len(protocols)} protocols ({', '.join(protocols)}); choose one of them."
        )
    limited = rows[rows["epsilon"].notna() & (rows["split"] == "test")].reset_index(drop=True)
    if limited.empty:
        raise DataError(
            f"{', '.join(protocols)}: no row of a test clip has an epsilon, so there is no curve to draw; attack the "
            f"test clips with a protocol of several budgets, such as {DEFAULT_PROTOCOL}."
        )
    return limited


def ladder(rows: pd.DataFrame) -> dict[float, pd.DataFrame]:
    """Epsilon -> the worst row of every test clip of every run there, rising.

    Raises:
        DataError: Several protocols, units or norms, none with budgets, no test clips, two runs of one system and
            seed, or runs with other epsilons or clips than the first.
    """
    limited = _limited(rows)
    unit_of(limited)
    if len(norms := dict.fromkeys(limited["norm"])) > 1:
        raise DataError(f"the rows hold {len(norms)} norms ({', '.join(norms)}); choose one with `norm`.")
    _same_epsilons(limited)
    worst = worst_case(limited)
    steps = {epsilon: worst[worst["epsilon"] == epsilon] for epsilon in sorted(set(worst["epsilon"]))}
    for group in steps.values():
        comparison.clip_errors(group)  # insists on one run per system and seed, and the same clips
    return steps


def _same_epsilons(rows: pd.DataFrame) -> None:
    """Raise `DataError` unless every run has the budgets of the first."""
    budgets = {str(run): budgets_of(own) for run, own in rows.groupby("run", sort=False)}
    first, first_budgets = next(iter(budgets.items()))
    for run, own_budgets in budgets.items():
        if own_budgets != first_budgets:
            raise DataError(
                f"{run} was attacked at {listed(own_budgets)} and {first} at {listed(first_budgets)}: curves compare "
                "only runs with the same budgets; leave one of them out."
            )


def curve(rows: pd.DataFrame) -> pd.DataFrame:
    """Worst case over epsilon of every run, columns `CURVE`; epsilon 0 is the clean clip. Raises as `ladder`."""
    return _curve(ladder(rows))


def _curve(steps: dict[float, pd.DataFrame]) -> pd.DataFrame:
    parts: list[pd.DataFrame] = []
    for epsilon, group in steps.items():
        measured = run_metrics(group).rename(columns={"folder": "run", "clean_corr_avg": "clean_correlation"})
        movement = _movement(group).groupby(group["run"]).mean()
        attacked = measured.assign(epsilon=epsilon, moved=measured["run"].map(movement))
        if not parts:
            clean = {"mae": measured["clean_mae"], "correlation": measured["clean_correlation"]}
            parts.append(measured.assign(epsilon=0.0, moved=0.0, **clean))
        parts.append(
            attacked.assign(mae=attacked["adversarial_mae"], correlation=attacked["adversarial_corr_avg"])
        )
    table = pd.concat(parts, ignore_index=True)[list(CURVE)]
    order = table["system"].map({name: place for place, name in enumerate(ordered_systems(table))})
    ranked = table.assign(order=order).sort_values(["order", "seed", "epsilon"], ignore_index=True)
    return ranked.drop(columns="order")


def _movement(group: pd.DataFrame) -> pd.Series[float]:
    """Mean absolute change of the predictions of every row."""
    change = np.abs(values_of(group, "adversarial") - values_of(group, "clean"))
    return pd.Series(change.mean(axis=1), index=group.index)


def measure(
    rows: pd.DataFrame,
    natural: pd.DataFrame | None = None,
    draws: int = CURVE_RESAMPLES,
    seed: int = 0,
    constant: float | None = None,
    norm: str | None = None,
) -> Curves:
    """Compute the curves of runs and systems, their summary, and the natural changes to compare them with.

    Args:
        rows: Rows of one protocol with budgets; only test clips count.
        natural: Rows of natural-1, natural-2 or both; runs and clips that `rows` lacks are left out.
        draws: Bootstrap resamplings of every interval.
        seed: Of the bootstrap.
        constant: MAE of the constant baseline, where it is known.
        norm: Which norm, where the protocol has several; by default all, the first with the others in `Curves.others`.

    Raises:
        DataError: See `ladder`; or no rows of that norm.
    """
    require_columns(rows)
    chosen = in_norm(rows, norm)
    norms = dict.fromkeys(name for name, _ in budgets_of(_limited(chosen)))
    natural = rows.iloc[:0] if natural is None else natural
    require_columns(natural, "rows of natural variation")
    natural = natural[(natural["split"] == "test") & natural["run"].isin(chosen["run"])]
    natural, strangers = baseline.of_same_weights(natural, chosen)
    natural, unattacked = baseline.of_same_clips(natural, chosen)
    is_graded = natural["protocol"] == GRADED_PROTOCOL
    corruption, reason = _corruption(natural[is_graded], draws, seed)
    first, *others = (
        dataclasses.replace(
            _measured(in_norm(chosen, name), natural[~is_graded], draws, seed),
            corruption=corruption,
            mean_mae=math.nan if constant is None else constant,
        )
        for name in norms
    )
    return dataclasses.replace(
        first, remarks=(*first.remarks, *strangers, *unattacked, *reason), others=tuple(others)
    )


def _corruption(graded: pd.DataFrame, draws: int, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """The corruption error of every system, and a sentence where it cannot be computed."""
    nothing = pd.DataFrame(columns=list(baseline.CORRUPTION))
    if graded.empty:
        return nothing, []
    try:
        return baseline.corruption(graded, draws, seed), []
    except DataError as error:
        return nothing, [f"No corruption error: {error}"]


def _measured(rows: pd.DataFrame, natural: pd.DataFrame, draws: int, seed: int) -> Curves:
    """The curves of one norm, without the values that all norms share."""
    steps = ladder(rows)
    axis = norm_of(str(next(iter(steps.values()))["norm"].iloc[0]))
    runs = _curve(steps)
    changes = baseline.summary(natural)
    epsilons = [0.0, *steps]
    heights = _matrices(steps)
    bands = [
        {
            "system": system,
            "quantity": quantity,
            "epsilon": epsilon,
            **vars(crossed_interval(table, draws, seed, INTERVAL_LEVEL)),
        }
        for quantity, systems in heights.items()
        for system, values in systems.items()
        for epsilon, table in zip(epsilons, np.moveaxis(values, -1, 0), strict=True)
    ]
    summed = [
        summary_line(system, axis, epsilons, heights, changes, draws, seed)
        for system in ordered_systems(runs)
    ]
    return Curves(
        protocol=str(rows["protocol"].iloc[0]),
        norm=axis.name,
        unit=unit_of(next(iter(steps.values()))),
        runs=_with_db(runs, axis),
        bands=_with_db(pd.DataFrame(bands, columns=list(BAND_COLUMNS)), axis),
        summary=_with_db(pd.DataFrame(summed, columns=list(SUMMARY)), axis, "largest_"),
        emotions=_with_db(emotion_curves(rows), axis),
        natural=changes,
        corruption=pd.DataFrame(columns=list(baseline.CORRUPTION)),
        natural_emotions=baseline.emotion_changes(natural),
        mean_mae=math.nan,
        remarks=tuple(_remarks(runs, axis, changes, epsilons)),
    )


def _with_db(table: pd.DataFrame, axis: Norm, prefix: str = "") -> pd.DataFrame:
    """The table with a column of dB after that of epsilon, where the axis is in dB; infinite for a clean clip."""
    if not axis.in_db:
        return table
    place = table.columns.get_loc(f"{prefix}epsilon")
    assert isinstance(place, int)
    with_db = table.copy()
    with_db.insert(place + 1, f"{prefix}db", table[f"{prefix}epsilon"].astype(float).map(axis.value))
    return with_db


def _matrices(steps: dict[float, pd.DataFrame]) -> dict[str, dict[str, Values]]:
    """Quantity -> system -> (seeds, clips, 1 + epsilons), both in order; epsilon 0 first."""
    tables = [comparison.clip_errors(group).assign(moved=_movement(group)) for group in steps.values()]
    tables.insert(0, tables[0].assign(attacked=tables[0]["clean"], moved=0.0))
    return {
        quantity: {
            system: np.stack([comparison.matrix(table, system, column) for table in tables], axis=-1)
            for system in ordered_systems(tables[0])
        }
        for quantity, column in zip(SUMMARY_QUANTITIES, ("attacked", "moved"), strict=True)
    }


def _remarks(runs: pd.DataFrame, axis: Norm, changes: pd.DataFrame, epsilons: Sequence[float]) -> list[str]:
    """What is missing, a sentence each."""
    sentences = []
    names = list(dict.fromkeys(runs["run"]))
    changed_runs = set(changes["run"]) if len(changes) else set()
    if without := [run for run in names if run not in changed_runs]:
        sentences.append(f"No natural-1 changes of {', '.join(without)}: `tenuto natural RUN` measures them.")
    sentences += baseline.lacking(changes)
    if len(epsilons) == 2:
        size = f"budget ({axis.label(epsilons[1])})" if axis.in_db else f"epsilon ({epsilons[1]:g})"
        sentences.append(f"One {size}: the curve is a straight line from the clean error.")
    seeds = runs.groupby("system", sort=False)["seed"].nunique()
    if alone := [str(system) for system, count in seeds.items() if count == 1]:
        sentences.append(f"One seed only, so intervals resample clips alone: {', '.join(alone)}.")
    return sentences
