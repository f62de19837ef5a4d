"""How near every attack comes to the best of all attacks, and what a protocol misses.

The measure is that of Cinà et al., "AttackBench: Evaluating Gradient-based Attacks for Adversarial Examples" (2025),
section 3, for errors in place of success rates. With E_a(epsilon) the mean absolute error over clips under attack a,
E* that of the largest error of every clip over all attacks, and E_0 the clean error,

    optimality(a) = area of E_a - E_0  /  area of E* - E_0

over the axis of the budget: 1 for an attack that nothing beats, 0 for one that finds nothing. A perturbation inside a
smaller budget is inside a larger one, so a clip's error at a budget is the largest at this budget or a smaller one.
Protocols are compared at the budgets that all of them have in a norm: none is judged where it was not run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tenuto.analysis.curve_shape import Values, mean_excess
from tenuto.analysis.emotion_curves import DIRECTIONS
from tenuto.display import Displayed, Element
from tenuto.errors import DataError
from tenuto.store.budgets import norm_of, norm_order
from tenuto.store.rows import emotion_names, require_columns, row_errors, unit_of

ATTACK_TABLE = (
    "run",
    "norm",
    "protocol",
    "attack",
    "objective",
    "clips",
    "forward_passes",
    "gradient_passes",
)
BUDGET_TABLE = ("run", "norm", "epsilon", "protocol", "clips", "clean_mae", "mae", "best_mae", "more")
EACH, ALL = "each emotion", "all"

SAME_ERROR = 1e-6
"""Relative difference of two errors that are counted as one."""

SMALLEST = 1e-6
"""Mean excess of the best attack below which nothing was found, so that there is nothing to compare with."""


@dataclass(frozen=True, repr=False)
class Optimality(Displayed):
    """The result of `compare_attacks`.

    Attributes:
        attacks: A line per run, norm, protocol, attack and objective, and a line ``all`` per protocol: passes per clip
            over all budgets, ``optimality`` (NaN where no attack found anything, and for an attack that was not run at
            every budget), and ``best``, the share of clips and of its budgets at which no attack found more.
        budgets: A line per run, norm, epsilon and protocol: the mean absolute error of its worst case (``mae``), of the
            best of all protocols (``best_mae``), and ``more``, what the latter exceeds the former by, relatively.
        remarks: What was left out, a sentence each.
    """

    attacks: pd.DataFrame
    budgets: pd.DataFrame
    remarks: tuple[str, ...] = ()

    def _elements(self) -> list[Element]:
        return [self.attacks, self.budgets, *self.remarks]


def compare_attacks(rows: pd.DataFrame) -> Optimality:
    """Compare every attack, and every protocol, with the best of all attacks in the rows.

    Args:
        rows: Rows of one protocol or several of the same runs and clips; only test clips and rows with a budget count.
            Of several protocols only the runs, norms and budgets of all of them are compared.

    Raises:
        DataError: A column is missing, no row has a budget, several units, protocols without a common run or budget, or
            an attack that was not run on all clips.
    """
    require_columns(rows)
    limited = rows[rows["epsilon"].notna() & (rows["split"] == "test")]
    if limited.empty:
        raise DataError("no row of a test clip has an epsilon, so there is no curve. Attack with budgets.")
    unit_of(limited)
    single = {f"{emotion} {direction}" for emotion in emotion_names(limited) for direction in DIRECTIONS}
    with_names = limited.assign(
        objective=limited["objective"].where(~limited["objective"].isin(single), EACH),
        error=row_errors(limited),
        clean_error=row_errors(limited, "clean"),
    )
    attacks: list[dict[str, Any]] = []
    budgets: list[dict[str, Any]] = []
    remarks: list[str] = []
    groups = sorted(
        with_names.groupby(["run", "norm"], sort=False), key=lambda group: norm_order(str(group[0][1]))
    )
    protocols = dict.fromkeys(with_names["protocol"])
    for (run, norm), own in groups:
        about = {"run": run, "norm": norm}
        if lacking := [name for name in protocols if name not in set(own["protocol"])]:
            remarks.append(f"{run}: left out in {norm}, no rows of {', '.join(lacking)}.")
            continue
        common = _at_common_budgets(own)
        if dropped := sorted(set(own["epsilon"]) - set(common["epsilon"])):
            sizes = ", ".join(norm_of(str(norm)).label(epsilon) for epsilon in dropped)
            remarks.append(f"{run}: {sizes} left out, budgets that not every protocol has.")
        field = _Field(common)
        attacks += [about | line for line in field.attacks()]
        budgets += [about | line for line in field.budgets()]
    if not attacks:
        raise DataError(f"no run has rows of all of {', '.join(protocols)} in one norm, so none is compared.")
    return Optimality(
        pd.DataFrame(attacks, columns=[*ATTACK_TABLE, "optimality", "best"]),
        pd.DataFrame(budgets, columns=list(BUDGET_TABLE)),
        tuple(remarks),
    )


def _at_common_budgets(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of one run and norm at the budgets that all protocols have. Raises `DataError` where there is none."""
    own = [set(epsilons) for _, epsilons in rows.groupby("protocol")["epsilon"]]
    common = set.intersection(*own)
    if not common:
        names = ", ".join(map(str, rows["protocol"].unique()))
        raise DataError(
            f"{rows['run'].iloc[0]}: {names} have no common budget in {rows['norm'].iloc[0]}, so there is nothing to "
            "compare. Compare protocols with the same budgets."
        )
    return rows[rows["epsilon"].isin(common)]


class _Field:
    """All attacks on one run in one norm."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows
        self.in_db = norm_of(str(rows["norm"].iloc[0])).in_db
        self.epsilons = [0.0, *sorted(rows["epsilon"].unique())]
        self.clean = rows.groupby("clip")["clean_error"].first()
        self.best = self._errors(rows)

    def _errors(self, rows: pd.DataFrame) -> Values:
        """Largest error of every clip at every budget or a smaller one, (clips, 1 + budgets); the clean one first."""
        largest = rows.pivot_table(index="clip", columns="epsilon", values="error", aggfunc="max")
        absent = sorted(set(self.clean.index) - set(largest.index))
        if absent:
            what = " ".join(str(rows[name].iloc[0]) for name in ("protocol", "attack", "objective"))
            raise DataError(
                f"{rows['run'].iloc[0]}: {what} was not run on clip {absent[0]} ({len(absent)} in all), other "
                "attacks were. Compare attacks on the same clips."
            )
        table = largest.reindex(index=self.clean.index, columns=self.epsilons)
        table[0.0] = self.clean
        values = np.where(np.isnan(table.to_numpy(np.float64)), -np.inf, table.to_numpy(np.float64))
        return np.maximum.accumulate(values, axis=1)

    def _excess(self, errors: Values) -> float:
        return float(mean_excess(self.epsilons, errors.mean(axis=0), self.in_db))

    def attacks(self) -> Iterator[dict[str, Any]]:
        """Lines of `Optimality.attacks`."""
        for protocol, members in self.rows.groupby("protocol", sort=False):
            yield self._line(str(protocol), ALL, ALL, members)
            for (attack, objective), own in members.groupby(["attack", "objective"], sort=False):
                yield self._line(str(protocol), str(attack), str(objective), own)

    def _line(self, protocol: str, attack: str, objective: str, rows: pd.DataFrame) -> dict[str, Any]:
        errors, excess = self._errors(rows), self._excess(self.best)
        was_run = np.isin(self.epsilons[1:], rows["epsilon"])
        is_best = (errors[:, 1:] >= self.best[:, 1:] * (1 - SAME_ERROR))[:, was_run]
        is_judged = was_run.all() and excess > SMALLEST
        passes = {name: rows[name].sum() / len(self.clean) for name in ("forward_passes", "gradient_passes")}
        return {
            **{"protocol": protocol, "attack": attack, "objective": objective, "clips": len(self.clean)},
            **passes,
            "optimality": self._excess(errors) / excess if is_judged else np.nan,
            "best": float(is_best.mean()),
        }

    def budgets(self) -> Iterator[dict[str, Any]]:
        """Lines of `Optimality.budgets`."""
        protocols = {name: self._errors(own) for name, own in self.rows.groupby("protocol", sort=False)}
        for place, epsilon in enumerate(self.epsilons[1:], start=1):
            best = float(self.best[:, place].mean())
            for protocol, errors in protocols.items():
                mae = float(errors[:, place].mean())
                yield {
                    **{"epsilon": epsilon, "protocol": protocol, "clips": len(self.clean)},
                    **{"clean_mae": float(self.clean.mean()), "mae": mae, "best_mae": best},
                    "more": best / mae - 1 if mae > 0 else 0.0 if best == 0 else np.inf,
                }
