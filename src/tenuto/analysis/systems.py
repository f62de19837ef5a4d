"""Which rows count, which systems there are, and the numbers of every run: what all analyses begin with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tenuto import metrics
from tenuto.config import SYSTEMS
from tenuto.errors import DataError
from tenuto.store.rows import values_of

FEWEST_SEEDS = 3
"""Below this a test with seeds as the unit says nothing."""

NUMBERS = {"db": "db", "norm": "stored_l2", "iterations": "iterations"}
"""Released name -> column of the rows, for numbers that are summarised over clips."""

TEST_IDENTITY = ["protocol", "attack", "objective", "norm", "epsilon"]


def selection(rows: pd.DataFrame) -> pd.DataFrame:
    """The test clips, insisting on one attack and on one run per system and seed.

    Raises:
        DataError: No test clips, several attacks side by side, or two runs of one system and seed.
    """
    chosen = rows[rows["split"] == "test"]
    if chosen.empty:
        raise DataError("the rows hold no test clips; attack the test split first.")
    attacks = chosen[TEST_IDENTITY].drop_duplicates()
    if len(attacks) > 1:
        listed = "; ".join(
            " ".join(str(value) for value in attack) for attack in attacks.itertuples(index=False)
        )
        raise DataError(f"the rows hold {len(attacks)} attacks ({listed}); select the rows of one.")
    named = chosen[["system", "seed", "run"]].drop_duplicates()
    twice = named[named.duplicated(["system", "seed"])]
    if not twice.empty:
        system, seed = twice.iloc[0]["system"], twice.iloc[0]["seed"]
        runs = named[(named["system"] == system) & (named["seed"] == seed)]["run"]
        raise DataError(
            f"{system} with seed {seed} has {len(runs)} runs ({', '.join(runs)}); keep one of them."
        )
    return chosen


def ordered_systems(rows: pd.DataFrame) -> list[str]:
    """Systems there are rows of: the study's five in its order, then others by name."""
    there = set(rows["system"])
    return [name for name in SYSTEMS if name in there] + sorted(there - SYSTEMS.keys())


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
            for name, column in NUMBERS.items():
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
