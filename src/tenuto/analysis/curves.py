"""Error over the size of the perturbation, from rows of a protocol with budgets.

A clip's worst case at an epsilon is its largest mean absolute error over the protocol's attacks; epsilon 0 is the
clean clip. The mean change of the predictions is reported too, for comparison with natural changes. Intervals resample
seeds and clips (`statistics.crossed_interval`), or only one of them where the other has a single value.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tenuto.analysis import comparison, natural as baseline, statistics
from tenuto.analysis.curve_shape import Values, area, crossing, mean_excess
from tenuto.analysis.systems import ordered_systems, recorded_constant, run_metrics
from tenuto.errors import DataError, TenutoError
from tenuto.store.rows import (
    emotion_names,
    in_unit,
    mark_worst,
    unit_of,
    units_of,
    validate_rows,
    values_of,
    worst_case,
)
from tenuto.store.study import StudyFolder, read_natural, read_study

PROTOCOL = "standard-1"
DIRECTIONS = {"up": 1.0, "down": -1.0}
QUANTITIES = ("error", "moved")
DRAWS, LEVEL = 10_000, 0.95

CURVE = ("run", "system", "seed", "epsilon", "mae", "correlation", "moved", "clean_mae", "clean_correlation")
BANDS = ("system", "quantity", "epsilon", "mean", "low", "high", "resampled")
SUMMARY = (
    *("system", "seeds", "clips", "clean_mae", "largest_epsilon", "largest_mae"),
    *("doubling", "doubling_low", "doubling_high", "area"),
    *("mean_excess", "mean_excess_low", "mean_excess_high", "resampled"),
    *("natural", "natural_change", "beyond"),
)
EMOTIONS = ("run", "system", "seed", "emotion", "direction", "epsilon", "change")


@dataclass(frozen=True)
class Curves:
    """The result of `measure`.

    Attributes:
        protocol: Whose rows these are.
        norm: The norm of epsilon: ``linf`` or ``l2``.
        unit: What epsilon is measured in.
        runs: One line per run and epsilon, columns `CURVE`.
        bands: One line per system, quantity and epsilon, columns `BANDS`: the mean absolute error (``error``) and the
            mean absolute change of a prediction (``moved``), each a mean over seeds and clips with its interval.
        summary: One line per system, columns `SUMMARY`.
        emotions: One line per run, emotion, direction and epsilon, columns `EMOTIONS`; empty where the protocol does
            not push single emotions.
        natural: One line per run and natural change, see `tenuto.analysis.natural.summary`; empty without them.
        natural_emotions: Emotion -> its mean absolute change under the natural change that moves it most.
        mean_mae: MAE of the constant baseline (see `systems`) on test clips; NaN where it is not recorded.
        remarks: What is missing, a sentence each.
    """

    protocol: str
    norm: str
    unit: str
    runs: pd.DataFrame
    bands: pd.DataFrame
    summary: pd.DataFrame
    emotions: pd.DataFrame
    natural: pd.DataFrame
    natural_emotions: dict[str, float]
    mean_mae: float
    remarks: tuple[str, ...]

    def _repr_html_(self) -> str:
        return self.summary.to_html(index=False)


def from_folders(
    folders: Sequence[str | Path],
    protocol: str | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    unit: str | None = None,
) -> Curves:
    """`measure` of the runs below some folders (runs or studies), with their natural changes where there are any.

    Args:
        folders: Folders of runs or studies.
        protocol: A protocol with several budgets; by default `with_budgets` chooses.
        draws: Bootstrap resamplings of every interval.
        seed: Of the bootstrap.
        unit: The unit of epsilon, or its beginning, where the rows have several; others are left out.

    Raises:
        FileError: A folder without rows of that protocol.
        DataError: The same run twice, or see `ladder`.
    """
    if protocol is None:
        having = [name for folder in folders for name in StudyFolder(folder).protocols(damaged=_ignore)]
        attacked = {name: _rows_of(folders, name) for name in dict.fromkeys(having)}
        protocol = with_budgets(attacked) or PROTOCOL
    tables = [read_study(folder, protocol) for folder in folders]
    rows = validate_rows(pd.concat(tables, ignore_index=True), ", ".join(map(str, folders)))
    rows = in_unit(rows, unit)
    natural = [table for folder in folders if (table := read_natural(folder)) is not None]
    names = set(rows["run"])
    attacked_runs = [StudyFolder(folder).protocols(damaged=_ignore) for folder in folders]
    curves = measure(
        rows,
        pd.concat(natural, ignore_index=True) if natural else None,
        draws,
        seed,
        recorded_constant(
            [run for own in attacked_runs for run in own.get(protocol, []) if run.name in names]
        ),
    )
    in_words = "" if unit is None else f" in {curves.unit}"
    runs = {run.name for own in attacked_runs for having in own.values() for run in having}
    runs |= {str(run) for table in natural for run in table["run"]}
    if without := sorted(runs - names):
        left = f"No rows of {protocol}{in_words} of {', '.join(without)}: left out."
        return dataclasses.replace(curves, remarks=(left, *curves.remarks))
    return curves


def units(folders: Sequence[str | Path], protocol: str) -> list[str]:
    """Units of epsilon in the rows of a protocol of the runs below some folders, by name. Raises `FileError`."""
    return sorted({str(unit) for folder in folders for unit in set(units_of(read_study(folder, protocol)))})


def _ignore(error: TenutoError) -> None:
    """`read_study` has named it."""


def _rows_of(folders: Sequence[str | Path], protocol: str) -> pd.DataFrame:
    """Rows of a protocol of every run below the folders that has them."""
    having = [folder for folder in folders if protocol in StudyFolder(folder).protocols(damaged=_ignore)]
    return pd.concat([read_study(folder, protocol) for folder in having], ignore_index=True)


def with_budgets(protocols: Mapping[str, pd.DataFrame]) -> str | None:
    """Of protocols with their rows the one to draw: several budgets, most runs, the first by name; else None."""
    several = [name for name, rows in protocols.items() if rows["epsilon"].dropna().nunique() > 1]
    return min(several, key=lambda name: (-protocols[name]["run"].nunique(), name), default=None)


def ladder(rows: pd.DataFrame) -> dict[float, pd.DataFrame]:
    """Epsilon -> the worst row of every test clip of every run there, rising.

    Raises:
        DataError: Several protocols, units or norms, none with budgets, no test clips, two runs of one system and
            seed, or runs with other epsilons or clips than the first.
    """
    if (named := rows["protocol"].unique()).size > 1:
        raise DataError(f"the rows hold {len(named)} protocols ({', '.join(named)}); choose one of them.")
    limited = rows[rows["epsilon"].notna() & (rows["split"] == "test")].reset_index(drop=True)
    if limited.empty:
        raise DataError(
            f"{', '.join(named)}: no row of a test clip has an epsilon, so there is no curve to draw; attack the "
            f"test clips with a protocol of several budgets, such as {PROTOCOL}."
        )
    unit_of(limited)
    _same_epsilons(limited)
    worst = worst_case(mark_worst(limited))
    steps = {epsilon: worst[worst["epsilon"] == epsilon] for epsilon in sorted(set(worst["epsilon"]))}
    for group in steps.values():
        comparison.clip_errors(group)  # insists on one norm, one run per system and seed, and the same clips
    return steps


def _same_epsilons(rows: pd.DataFrame) -> None:
    """Raise `DataError` unless every run has the epsilons of the first."""
    steps = {str(run): sorted(set(own["epsilon"])) for run, own in rows.groupby("run", sort=False)}
    first, first_epsilons = next(iter(steps.items()))
    for run, epsilons in steps.items():
        if epsilons != first_epsilons:
            shown = [", ".join(f"{value:g}" for value in values) for values in (epsilons, first_epsilons)]
            raise DataError(
                f"{run} was attacked at epsilon {shown[0]} and {first} at {shown[1]}: curves compare only runs with "
                "the same budgets; leave one of them out."
            )


def curve(rows: pd.DataFrame) -> pd.DataFrame:
    """Worst case over epsilon of every run, columns `CURVE`; epsilon 0 is the clean clip. Raises as `ladder`."""
    return _curve(ladder(rows))


def _curve(steps: dict[float, pd.DataFrame]) -> pd.DataFrame:
    parts: list[pd.DataFrame] = []
    for epsilon, group in steps.items():
        measured = run_metrics(group).rename(columns={"folder": "run", "clean_corr_avg": "clean_correlation"})
        moved = _moved(group).groupby(group["run"]).mean()
        attacked = measured.assign(epsilon=epsilon, moved=measured["run"].map(moved))
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


def _moved(group: pd.DataFrame) -> pd.Series[float]:
    """Mean absolute change of the predictions of every row."""
    change = np.abs(values_of(group, "adversarial") - values_of(group, "clean"))
    return pd.Series(change.mean(axis=1), index=group.index)


def measure(
    rows: pd.DataFrame,
    natural: pd.DataFrame | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    constant: float | None = None,
) -> Curves:
    """Compute the curves of runs and systems, their summary, and the natural changes to compare them with.

    Args:
        rows: Rows of one protocol with budgets; only test clips count.
        natural: Rows of `tenuto.evaluation.natural.natural`; runs that `rows` lacks are left out.
        draws: Bootstrap resamplings of every interval.
        seed: Of the bootstrap.
        constant: MAE of the constant baseline, where it is known.

    Raises:
        DataError: See `ladder`.
    """
    steps = ladder(rows)
    runs = _curve(steps)
    natural_rows = natural if natural is not None else rows.iloc[:0]
    natural_rows = natural_rows[natural_rows["run"].isin(runs["run"]) & (natural_rows["split"] == "test")]
    changes = baseline.summary(natural_rows)
    epsilons = [0.0, *steps]
    heights = {quantity: _matrices(steps, quantity) for quantity in QUANTITIES}
    bands = [
        {"system": system, "quantity": quantity, "epsilon": epsilon, **vars(_interval(table, draws, seed))}
        for quantity, systems in heights.items()
        for system, values in systems.items()
        for epsilon, table in zip(epsilons, np.moveaxis(values, -1, 0), strict=True)
    ]
    summed = [_summed(system, epsilons, heights, changes, draws, seed) for system in ordered_systems(runs)]
    return Curves(
        protocol=str(rows["protocol"].iloc[0]),
        norm=str(next(iter(steps.values()))["norm"].iloc[0]),
        unit=unit_of(next(iter(steps.values()))),
        runs=runs,
        bands=pd.DataFrame(bands, columns=list(BANDS)),
        summary=pd.DataFrame(summed, columns=list(SUMMARY)),
        emotions=emotion_curves(rows),
        natural=changes,
        natural_emotions=_natural_emotions(natural_rows),
        mean_mae=math.nan if constant is None else constant,
        remarks=tuple(_remarks(runs, changes, epsilons)),
    )


def _matrices(steps: dict[float, pd.DataFrame], quantity: str) -> dict[str, Values]:
    """System -> (seeds, clips, 1 + epsilons), both in order; epsilon 0 first."""
    layers: dict[str, list[Values]] = {}
    for place, group in enumerate(steps.values()):
        errors = comparison.clip_errors(group)
        errors["moved"] = _moved(group)
        for system in ordered_systems(errors):
            own = errors[errors["system"] == system]
            sides = {
                name: own.pivot(index="seed", columns="clip", values=name)
                for name in ("clean", "attacked", "moved")
            }
            values = sides["attacked" if quantity == "error" else "moved"].to_numpy(np.float64)
            if place == 0:
                clean = sides["clean"].to_numpy(np.float64)
                layers[system] = [clean if quantity == "error" else np.zeros_like(clean)]
            layers[system].append(values)
    return {system: np.stack(layer, axis=-1) for system, layer in layers.items()}


def _interval(table: Values, draws: int, seed: int) -> statistics.Interval:
    return statistics.crossed_interval(table, draws, seed, LEVEL)


def _summed(
    system: str,
    epsilons: Sequence[float],
    heights: dict[str, dict[str, Values]],
    changes: pd.DataFrame,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """A line of `Curves.summary`."""
    errors, moved = (heights[quantity][system] for quantity in QUANTITIES)
    mean = errors.mean(axis=(0, 1))
    excess = _interval(mean_excess(epsilons, errors), draws, seed)
    drawn = np.stack(
        [statistics.bootstrap_means(table, draws, seed) for table in np.moveaxis(errors, -1, 0)], axis=-1
    )
    doubled = crossing(epsilons, drawn, 2 * drawn[:, 0])
    # Draws in which the error never doubles are infinite, so the ends must be draws, not points between two.
    ends = np.quantile(doubled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    line = {
        "system": system,
        "seeds": errors.shape[0],
        "clips": errors.shape[1],
        "clean_mae": float(mean[0]),
        "largest_epsilon": epsilons[-1],
        "largest_mae": float(mean[-1]),
        "doubling": float(crossing(epsilons, mean, 2 * mean[0])),
        "area": float(area(epsilons, mean)),
        "mean_excess": excess.mean,
        "mean_excess_low": excess.low,
        "mean_excess_high": excess.high,
        "resampled": excess.resampled,
    }
    if excess.resampled != "nothing":
        line |= {"doubling_low": float(ends[0]), "doubling_high": float(ends[1])}
    return line | _beyond(system, epsilons, moved.mean(axis=(0, 1)), changes)


def _beyond(system: str, epsilons: Sequence[float], moved: Values, changes: pd.DataFrame) -> dict[str, Any]:
    """The natural change that moves a system most, and the epsilon from which on the attack moves it further."""
    own = natural_means(changes)
    own = own[own["system"] == system]
    if own.empty:
        return {}
    most = own.sort_values("moved").iloc[-1]
    reach = crossing(epsilons, moved, float(most["moved"]))
    return {"natural": float(most["moved"]), "natural_change": str(most["change"]), "beyond": float(reach)}


def natural_means(changes: pd.DataFrame) -> pd.DataFrame:
    """Natural changes of a system, means over its runs: ``system change moved mae``; what no clip has is left out."""
    if changes.empty:
        return pd.DataFrame(columns=["system", "change", "moved", "mae"])
    made = changes[changes["clips"] > 0]
    return made.groupby(["system", "change"], sort=False)[["moved", "mae"]].mean().reset_index()


def _natural_emotions(rows: pd.DataFrame) -> dict[str, float]:
    """Emotion -> mean absolute change, over clips and then runs, under the change where that is largest."""
    if rows.empty:
        return {}
    change = np.abs(values_of(rows, "adversarial") - values_of(rows, "clean"))
    table = pd.DataFrame(change, index=rows.index, columns=list(emotion_names(rows)))
    each = table.groupby([rows["run"], rows["objective"]]).mean()
    return {str(emotion): float(most) for emotion, most in each.groupby("objective").mean().max().items()}


def emotion_curves(rows: pd.DataFrame) -> pd.DataFrame:
    """How far each emotion was pushed by the attacks that push it alone, in rating units, columns `EMOTIONS`.

    The change is the attacked minus the clean prediction of that emotion, the farthest of a clip's attempts, averaged
    over the test clips; downward changes are negative. Other emotions may move along.
    """
    parts: list[pd.DataFrame] = []
    keys = ["run", "system", "seed", "emotion", "direction", "epsilon"]
    pushed = rows[rows["epsilon"].notna() & (rows["split"] == "test")]
    for emotion in emotion_names(rows):
        for direction, sign in DIRECTIONS.items():
            own = pushed[pushed["objective"] == f"{emotion} {direction}"]
            if own.empty:
                continue
            change = sign * (own[f"adversarial_{emotion}"] - own[f"clean_{emotion}"])
            named = own.assign(emotion=emotion, direction=direction, change=change)
            farthest = named.groupby([*keys, "clip"], sort=False)["change"].max()
            means = sign * farthest.groupby(keys, sort=False).mean()
            pushes = means.reset_index()
            still = pushes.drop_duplicates(keys[:-1]).assign(epsilon=0.0, change=0.0)
            parts.append(pd.concat([still, pushes]).sort_values(["system", "seed", "epsilon"]))
    if not parts:
        return pd.DataFrame(columns=list(EMOTIONS))
    return pd.concat(parts, ignore_index=True)[list(EMOTIONS)]


def _remarks(runs: pd.DataFrame, changes: pd.DataFrame, epsilons: Sequence[float]) -> list[str]:
    """What is missing, a sentence each."""
    sentences = []
    names = list(dict.fromkeys(runs["run"]))
    changed_runs = set(changes["run"]) if len(changes) else set()
    if without := [run for run in names if run not in changed_runs]:
        sentences.append(f"No natural changes of {', '.join(without)}: `tenuto natural RUN` measures them.")
    if len(epsilons) == 2:
        sentences.append(f"One epsilon ({epsilons[1]:g}): the curve is a straight line from the clean error.")
    seeds = runs.groupby("system", sort=False)["seed"].nunique()
    if alone := [str(system) for system, count in seeds.items() if count == 1]:
        sentences.append(f"One seed only, so intervals resample clips alone: {', '.join(alone)}.")
    return sentences
