"""What sums a curve up: where the error doubles, its mean excess, and where the attack exceeds natural changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tenuto.analysis import natural as baseline, statistics
from tenuto.analysis.curve_shape import Values, area, crossing, mean_excess
from tenuto.analysis.systems import recorded_constant
from tenuto.store.budgets import Norm
from tenuto.store.run import RunFolder

SUMMARY_QUANTITIES = ("error", "moved")
INTERVAL_LEVEL = 0.95
"""Of all intervals."""

SUMMARY = (
    *("system", "seeds", "clips", "clean_mae", "largest_epsilon", "largest_mae"),
    *("doubling", "doubling_low", "doubling_high", "area"),
    *("mean_excess", "mean_excess_low", "mean_excess_high", "resampled"),
    *("natural", "natural_change", "beyond"),
)


def summary_line(
    system: str,
    axis: Norm,
    epsilons: Sequence[float],
    heights: dict[str, dict[str, Values]],
    changes: pd.DataFrame,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """A line of `tenuto.analysis.curves.Curves.summary`.

    Args:
        system: Name of the system.
        axis: How sizes are shown.
        epsilons: (steps,), 0 first.
        heights: Quantity -> system -> (seeds, clips, steps).
        changes: See `tenuto.analysis.natural.summary`.
        draws: Bootstrap resamplings.
        seed: Of the bootstrap.
    """
    errors, movements = (heights[quantity][system] for quantity in SUMMARY_QUANTITIES)
    mean = errors.mean(axis=(0, 1))
    excess = statistics.crossed_interval(
        mean_excess(epsilons, errors, axis.in_db), draws, seed, INTERVAL_LEVEL
    )
    lines = np.stack(
        [statistics.bootstrap_means(table, draws, seed) for table in np.moveaxis(errors, -1, 0)], axis=-1
    )
    doubled = _doubled(epsilons, lines, axis)
    # Draws in which the error never doubles are infinite, so the ends must be draws, not points between two.
    ends = np.quantile(doubled, [(1 - INTERVAL_LEVEL) / 2, (1 + INTERVAL_LEVEL) / 2], method="inverted_cdf")
    line = {
        "system": system,
        "seeds": errors.shape[0],
        "clips": errors.shape[1],
        "clean_mae": float(mean[0]),
        "largest_epsilon": epsilons[-1],
        "largest_mae": float(mean[-1]),
        "doubling": axis.value(float(_doubled(epsilons, mean, axis))),
        "area": float(area(epsilons, mean, axis.in_db)),
        "mean_excess": excess.mean,
        "mean_excess_low": excess.low,
        "mean_excess_high": excess.high,
        "resampled": excess.resampled,
    }
    if excess.resampled != "nothing":
        low, high = sorted(axis.value(float(end)) for end in ends)
        line |= {"doubling_low": low, "doubling_high": high}
    return line | _beyond(system, axis, epsilons, movements.mean(axis=(0, 1)), changes)


def _doubled(epsilons: Sequence[float], errors: Values, axis: Norm) -> Values:
    """Where errors (..., steps) are twice the first one; infinite where that is 0 or they never are."""
    clean = errors[..., 0]
    return np.where(clean > 0, crossing(epsilons, errors, 2 * clean, axis.in_db), np.inf)


def _beyond(
    system: str, axis: Norm, epsilons: Sequence[float], movements: Values, changes: pd.DataFrame
) -> dict[str, Any]:
    """The natural change that moves a system most, and the size from which on the attack moves it further."""
    own = baseline.natural_means(changes)
    own = own[own["system"] == system]
    if own.empty:
        return {}
    most = own.sort_values("moved").iloc[-1]
    exceeds = movements.max() > most["moved"]  # a model that nothing moves is not moved further by an attack
    reach = float(crossing(epsilons, movements, float(most["moved"]), axis.in_db)) if exceeds else math.inf
    return {
        "natural": float(most["moved"]),
        "natural_change": str(most["change"]),
        "beyond": axis.value(reach),
    }


def without_constant(runs: Sequence[RunFolder]) -> tuple[str, ...]:
    """A sentence on runs that do not record the MAE of the constant baseline, such as adopted ones; or none."""
    names = ", ".join(run.name for run in runs if recorded_constant([run]) is None)
    return (f"No constant baseline of {names}: `tenuto evaluate RUN` measures it.",) if names else ()
