"""What all analyses share: selection of rows, order of systems, metrics of runs, one tie rule, one constant baseline.

Two systems are **tied** under a measure when their means over seeds differ by no more than the standard error of that
difference, SE = sd(d) / sqrt(n), with d the differences where both have the same n seeds (deviation with n - 1). Seeds
are the unit, since the clips of one seed share a network and are not independent. Systems with different seeds are
taken to scatter alike, SE = sd sqrt(1 / n1 + 1 / n2) with sd pooled over both (n1 + n2 - 2 degrees of freedom).
Differences up to `RESOLUTION` are always ties; with one seed each this is the only criterion: the scatter is unknown.

The **constant baseline** always predicts the mean label of the training clips. Rows alone do not hold these labels: the
baseline is then not known, and nothing else (such as the mean of the test labels) replaces it.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tenuto import metrics
from tenuto.config import SYSTEMS, DataConfig
from tenuto.data.base import DATASETS
from tenuto.errors import DataError, FileError, counted
from tenuto.store.budgets import norm_of, norm_order, which_budget
from tenuto.store.rows import budgets_of, scale_of, unit_of, units_of, values_of, worst_case
from tenuto.store.run import RunFolder

FEWEST_SEEDS = 3
"""With fewer seeds there is no test with seeds as the unit."""

RESOLUTION = 0.001
"""Smallest difference that counts, in rating units (or of a correlation): ratings have a hundredth of ten points."""

Pair = tuple[str, str]

STUDY_SCALE = (0.0, 1.0)
"""Range of the labels of the study's data sets: ratings on a ten-point scale, divided by ten."""

STUDY_DATA = ("soundtracks", "midlevel", "synthetic")
"""Data sets with the study's rating scale."""

PAPER_DATA = ("soundtracks", "midlevel")
"""Data sets of the SMC 2025 paper: its values are shown with results on them only."""

RELEASED_NUMBERS = {"db": "db", "norm": "stored_l2", "iterations": "iterations"}
"""Released name -> column of the rows, for numbers that are summarised over clips."""

TEST_IDENTITY = ["protocol", "attack", "objective", "norm", "epsilon"]


def selection(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of test clips, of one attack and of one run per system and seed.

    Raises:
        DataError: No test clips, several units of epsilon, several attacks, or two runs of one system and seed.
    """
    chosen = rows[rows["split"] == "test"]
    if chosen.empty:
        raise DataError("the rows hold no test clips; attack the test split first.")
    unit_of(chosen)
    attacks = chosen[TEST_IDENTITY].drop_duplicates()
    if len(attacks) > 1:
        raise DataError(_several(attacks, chosen))
    if reason := same_seed(chosen):
        raise DataError(reason)
    return chosen


def _several(attacks: pd.DataFrame, rows: pd.DataFrame) -> str:
    """One sentence on rows of several attacks, with the first three of them and how to choose one."""
    budgets = budgets_of(rows)
    if len(budgets) > 1:
        return which_budget(budgets)
    if odd := _odd_runs(rows):
        return odd
    first = ["/".join(str(value) for value in attack) for attack in attacks.head(3).itertuples(index=False)]
    more = f" and {len(attacks) - 3} more" if len(attacks) > 3 else ""
    return f"the rows hold {len(attacks)} attacks ({', '.join(first)}{more}); select the rows of one."


def _odd_runs(rows: pd.DataFrame) -> str | None:
    """One sentence on the runs that were attacked differently from most; None where all have the same attacks."""
    texts = pd.Series(["/".join(map(str, row)) for row in rows[TEST_IDENTITY].to_numpy()], rows.index)
    attacks = texts.groupby(rows["run"], sort=False).agg(lambda own: ", ".join(sorted(set(own))))
    usual, *rest = Counter(attacks).most_common()
    if not rest:
        return None
    odd = ", ".join(f"{run} ({own})" for run, own in attacks[attacks != usual[0]].head(3).items())
    others = f"{counted(usual[1], 'other run')} ({usual[0]})"
    return (
        f"{odd}: attacked differently from {others}. Attack again with the same settings, or keep the runs apart, in "
        "folders of their own."
    )


def label_scale(data: DataConfig | None) -> tuple[float, float] | None:
    """Lowest and highest label of a data set by a run's configuration; None where it is not known."""
    if data is None:
        return None
    if data.folder is not None:
        low, high = data.folder.scale
        return low / high, 1.0
    if data.dataset in STUDY_DATA:
        return STUDY_SCALE
    return DATASETS[data.dataset].label_scale if data.dataset in DATASETS else None


def rating_scale(rows: pd.DataFrame, data: DataConfig | None = None) -> tuple[float, float] | None:
    """Lowest and highest possible label: as the rows record it, else that of their data set; None where unknown."""
    return scale_of(rows) or label_scale(data)


def same_seed(rows: pd.DataFrame) -> str | None:
    """A sentence on the first system that has two runs with one seed; None where none has."""
    run_names = rows[["system", "seed", "run"]].drop_duplicates()
    twice = run_names[run_names.duplicated(["system", "seed"])]
    if twice.empty:
        return None
    system, seed = twice.iloc[0]["system"], twice.iloc[0]["seed"]
    runs = run_names[(run_names["system"] == system) & (run_names["seed"] == seed)]["run"]
    return f"{system} with seed {seed} has {len(runs)} runs ({', '.join(runs)}); keep one of them."


def is_paper_data(data: DataConfig | None) -> bool:
    """Whether a run was trained on a data set of the SMC 2025 paper."""
    return data is not None and data.dataset in PAPER_DATA


def budget_title(norm: object, epsilon: object) -> str:
    """``linf 0.1``, ``40 dB SNR``, or ``without a budget``."""
    size = float(str(epsilon))
    return norm_of(str(norm)).label(size) if np.isfinite(size) else "without a budget"


def at_budgets(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Title and rows of every budget, with each clip's worst case there; smallest budget first, norm by norm of each
    unit."""
    chosen = worst_case(rows)
    units = units_of(chosen)
    several = units.nunique() > 1
    groups = dict(iter(chosen.groupby([units, "norm", "epsilon"], dropna=False, sort=True)))
    for unit, norm, epsilon in sorted(groups, key=lambda key: (key[0], norm_order(str(key[1])))):
        title = budget_title(norm, epsilon) + (f" ({unit})" if several else "")
        yield title, groups[unit, norm, epsilon]


def ordered_systems(rows: pd.DataFrame) -> list[str]:
    """Systems of the rows: the study's five in its order, then others by name."""
    present = set(rows["system"])
    return [name for name in SYSTEMS if name in present] + sorted(present - SYSTEMS.keys())


def run_metrics(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per run: metrics before and after the attack; means, medians, deviations (n) over clips.

    Columns are those of the released analysis: ``folder`` (the run), ``system``, ``seed``, then ``clean_``
    and ``adversarial_`` ``corr_avg r2 rmse mse mae``, then ``_mean _median _std`` of ``db``, ``norm`` (L2
    norm of the stored perturbation; NaN where an attack stores none) and ``iterations``.
    """
    chosen = selection(rows)
    lines = []
    for system in ordered_systems(chosen):
        for seed, run in chosen[chosen["system"] == system].groupby("seed"):
            line: dict[str, Any] = {"folder": run["run"].iloc[0], "system": system, "seed": seed}
            for kind in ("clean", "adversarial"):
                line |= _errors(run, kind)
            for name, column in RELEASED_NUMBERS.items():
                values = run[column].astype(float) if column in run else pd.Series([np.nan])
                line |= {f"{name}_mean": values.mean(), f"{name}_median": values.median()}
                line[f"{name}_std"] = values.std(ddof=0)
            lines.append(line)
    return pd.DataFrame(lines)


def _errors(run: pd.DataFrame, kind: str) -> dict[str, float]:
    label, prediction = values_of(run, "label"), values_of(run, kind)
    return {
        f"{kind}_corr_avg": float(metrics.pearson(label, prediction).mean()),
        f"{kind}_r2": float(metrics.r2(label, prediction).mean()),
        f"{kind}_rmse": metrics.rmse(label, prediction),
        f"{kind}_mse": metrics.mse(label, prediction),
        f"{kind}_mae": metrics.mae(label, prediction),
    }


def errors_per_clip(
    rows: pd.DataFrame, low: float = -np.inf, high: float = np.inf, measure: Callable[[Any], Any] = np.abs
) -> pd.DataFrame:
    """``system seed clip attacked clean``: mean over emotions of a clip's error after and before the attack.

    Args:
        rows: Robustness rows.
        low: Predictions are clipped to [low, high].
        high: See ``low``.
        measure: From differences between prediction and label to errors, absolute ones by default.
    """
    chosen = selection(rows)
    label = values_of(chosen, "label")
    table = chosen[["system", "seed", "clip"]].copy()
    for quantity, kind in (("attacked", "adversarial"), ("clean", "clean")):
        table[quantity] = measure(np.clip(values_of(chosen, kind), low, high) - label).mean(axis=1)
    return table


def mean_change(rows: pd.DataFrame, names: Sequence[str]) -> float:
    """Mean absolute change of the predictions of some emotions or concepts, over rows and these."""
    return float(np.abs(values_of(rows, "adversarial", names) - values_of(rows, "clean", names)).mean())


def seed_values(table: pd.DataFrame, column: str) -> dict[str, dict[int, float]]:
    """System -> seed -> value of a column of `run_metrics`, systems in order."""
    return {
        system: {int(line["seed"]): float(line[column]) for line in own.to_dict("records")}
        for system, own in ((name, table[table["system"] == name]) for name in ordered_systems(table))
    }


def standard_error(first: Mapping[int, float], second: Mapping[int, float]) -> float:
    """Standard error of the difference of two systems' means over seeds (formula: see the module).

    Args:
        first: Seed -> value of one system.
        second: The same of the other system.

    Returns:
        The standard error; 0 where each system has one seed, so nothing is known about the scatter.
    """
    groups, scale = [list(first.values()), list(second.values())], 1 / len(first) + 1 / len(second)
    if first.keys() == second.keys():
        groups, scale = [[first[seed] - second[seed] for seed in first]], 1 / len(first)
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(np.var(group)) * len(group) for group in groups)
    return math.sqrt(squares / freedom * scale) if freedom else 0.0


@dataclass(frozen=True)
class Ranking:
    """Systems ordered by one measure; less is better.

    Attributes:
        values: System -> seed -> value. Systems whose mean is not finite are not ranked.
    """

    values: Mapping[str, Mapping[int, float]]

    @cached_property
    def means(self) -> dict[str, float]:
        """System -> mean over its seeds, best first."""
        means = {name: float(np.mean(list(seeds.values()))) for name, seeds in self.values.items()}
        return dict(
            sorted((item for item in means.items() if math.isfinite(item[1])), key=lambda item: item[1])
        )

    @property
    def systems(self) -> list[str]:
        """Ranked systems, best first."""
        return list(self.means)

    def difference(self, first: str, second: str) -> float:
        """Mean of the first minus mean of the second."""
        return self.means[first] - self.means[second]

    def is_tie(self, first: str, second: str) -> bool:
        """Whether the difference of two means is no larger than its standard error, or than `RESOLUTION`."""
        least = max(standard_error(self.values[first], self.values[second]), RESOLUTION)
        return abs(self.difference(first, second)) <= least

    def compare(self, first: str, second: str) -> int:
        """-1 where the first is better, 1 where the second is, 0 for a tie."""
        return 0 if self.is_tie(first, second) else int(np.sign(self.difference(first, second)))

    def __str__(self) -> str:
        """``A2M2E, A2E = A2B2E``: best first, ties of neighbours joined by an equals sign."""
        if not self.means:
            return ""
        names = self.systems
        joints = [" = " if self.is_tie(*pair) else ", " for pair in itertools.pairwise(names)]
        return names[0] + "".join(joint + name for joint, name in zip(joints, names[1:], strict=True))


def reversals(first: Ranking, second: Ranking, ties: bool = False) -> list[Pair]:
    """Pairs of systems that two rankings order in opposite ways, better by the first ranking first.

    Args:
        first: A ranking.
        second: Another ranking.
        ties: Whether pairs count that are tied in one of the rankings.
    """
    both = sorted(first.means.keys() & second.means.keys())
    pairs = [
        pair if first.difference(*pair) < 0 else (pair[1], pair[0])
        for pair in itertools.combinations(both, 2)
        if first.difference(*pair) * second.difference(*pair) < 0
    ]
    return pairs if ties else [pair for pair in pairs if not (first.is_tie(*pair) or second.is_tie(*pair))]


def constant_error(labels: ArrayLike, training_mean: ArrayLike) -> float:
    """MAE of the constant baseline: always predict the mean label of the training clips.

    Args:
        labels: Labels of the clips on which it is judged, shape (clips, emotions).
        training_mean: Mean training label, shape (emotions,) or (clips, emotions).
    """
    return float(np.abs(np.asarray(labels, np.float64) - np.asarray(training_mean, np.float64)).mean())


def recorded_constant(runs: Sequence[RunFolder]) -> float | None:
    """MAE of the constant baseline on the test clips, mean over runs, as `tenuto evaluate` recorded it.

    None unless every run records it.
    """
    try:
        recorded = [float(run.read_metrics()["mean_predictor"]["mae"]["overall"]) for run in runs]
    except (FileError, LookupError, TypeError, ValueError):
        return None
    return float(np.mean(recorded)) if recorded else None


def _worse_outputs(report: Mapping[str, Any]) -> tuple[bool, list[str]] | None:
    """Whether the RMSE on test clips is larger than the constant's: overall, and for which outputs. None: unknown."""
    try:
        model, constant = report["test"]["rmse"], report["mean_predictor"]["rmse"]
        worse = [name for name in model if float(model[name]) > float(constant[name])]
        float(model["overall"]), float(constant["overall"]), float(report["test"]["r2"]["overall"])
    except (LookupError, TypeError, ValueError):
        return None
    return "overall" in worse, [name for name in worse if name != "overall"]


def worse_than_constant(report: Mapping[str, Any]) -> str | None:
    """A sentence about outputs that are predicted worse on the test clips than by the constant baseline; else None.

    Args:
        report: Content of ``metrics.json``. Compared is the RMSE; the overall R2 is given too.
    """
    is_worse, outputs = _worse_outputs(report) or (False, [])
    if not is_worse and not outputs:
        return None
    model, constant, r2 = (report["test"]["rmse"], report["mean_predictor"]["rmse"], report["test"]["r2"])
    others = len(model) - 1 - len(outputs)
    which = f" ({', '.join(outputs)})" if outputs and others else ""
    what = "worse" if is_worse else f"on {len(outputs)} of {len(model) - 1} outputs worse"
    return (
        f"{report.get('run', 'the model')}: {what} on test clips than always predicting the mean training label"
        f"{which}: RMSE {model['overall']:.4f}, the constant {constant['overall']:.4f}; R2 {r2['overall']:.2f}."
    )


def in_rater_units(report: Mapping[str, Any]) -> str | None:
    """A sentence with the error on test clips in units of the raters' disagreement; None where it is not recorded.

    Args:
        report: Content of ``metrics.json``.
    """
    try:
        error = float(report["test"]["rmse_in_rater_sd"]["overall"])
        constant = float(report["mean_predictor"]["rmse_in_rater_sd"]["overall"])
    except (LookupError, TypeError, ValueError):
        return None
    return (
        f"{report.get('run', 'the model')}: the RMSE on test clips is {error:.2f} times the raters' standard "
        f"deviation; that of always predicting the mean training label {constant:.2f} times."
    )


def remarks_on_runs(runs: Sequence[RunFolder]) -> tuple[str, ...]:
    """Remarks on the clean predictions of evaluated runs: which systems are worse than a constant, in one sentence,
    and `in_rater_units` of every run."""
    reports = []
    for run in runs:
        with contextlib.suppress(FileError):
            reports.append(run.read_metrics())
    return tuple(filter(None, [_worse_systems(reports), *map(in_rater_units, reports)]))


def _worse_systems(reports: Sequence[Mapping[str, Any]]) -> str | None:
    overall: dict[str, int] = {}
    partly: dict[str, set[str]] = {}
    for report in reports:
        is_worse, outputs = _worse_outputs(report) or (False, [])
        system = str(report.get("system", report.get("run", "the model")))
        if is_worse:
            overall[system] = overall.get(system, 0) + 1
        elif outputs:
            partly.setdefault(system, set()).update(outputs)
    parts = [f"{system} ({counted(count, 'run')})" for system, count in overall.items()]
    parts += [f"{system} on {', '.join(sorted(outputs))}" for system, outputs in partly.items()]
    if not parts:
        return None
    return f"Worse than always predicting the mean training label (RMSE on test clips): {'; '.join(parts)}."
