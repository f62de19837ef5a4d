"""Systems at matched clean error: an analysis of covariance with runs as the unit.

A system that errs more on clean clips may err more after the attack for this reason alone, and robust training often
costs clean accuracy. Here the errors after the attack are compared as if all runs had the same clean error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tenuto.analysis.statistics import Values
from tenuto.analysis.systems import Pair
from tenuto.errors import DataError, counted
from tenuto.metrics import ROUNDING

FEWEST_DEGREES = 2
"""With fewer residual degrees of freedom nothing is fitted."""

MATCHED_COLUMNS = (
    *("quantity", "first", "second", "seeds_first", "seeds_second", "clean_first", "clean_second"),
    *("clean_matched", "adjusted_first", "adjusted_second", "difference", "low", "high"),
    *("t", "degrees_of_freedom", "p", "p_holm", "slope", "slope_error", "p_slopes", "note"),
)
APART = "the ranges of clean errors do not overlap"
EXACT = "the model leaves no residual"
ALPHA = 0.05
"""With a smaller ``p_slopes`` a remark says that slopes differ."""


@dataclass(frozen=True)
class MatchedDifference:
    """Two systems at the same clean error; without residual interval, t, both p and ``slope_error`` are NaN.

    Attributes:
        clean_matched: Mean clean error of all runs, at which the adjusted means are taken.
        adjusted_first: Error of the first system after the attack at that clean error.
        adjusted_second: That of the second.
        difference: First minus second; the same at every clean error.
        low: Lower end of its interval, by t.
        high: Upper end.
        t: The difference over its standard error.
        degrees_of_freedom: Runs minus systems minus one.
        p: Two-sided.
        slope: Change of the error after the attack per unit of clean error, one for all systems.
        slope_error: Standard error of the slope.
        p_slopes: Of the F-test of one slope against a slope per system; NaN where there are too few runs for it.
    """

    clean_matched: float
    adjusted_first: float
    adjusted_second: float
    difference: float
    low: float
    high: float
    t: float
    degrees_of_freedom: int
    p: float
    slope: float
    slope_error: float
    p_slopes: float


@np.errstate(divide="ignore", invalid="ignore")  # without residual, t and F are not defined
def matched_differences(
    systems: Sequence[str],
    clean: ArrayLike,
    attacked: ArrayLike,
    pairs: Sequence[Pair],
    level: float = 0.95,
) -> list[MatchedDifference]:
    """Differences of systems by attacked = system + slope (clean - mean clean) + residual, ordinary least squares.

    One model for all runs: it estimates the slope from runs of the same system, and the residual variance from all
    of them (Maxwell and Delaney 2004, *Designing Experiments and Analyzing Data*, chapter 9).

    Args:
        systems: System of each run, length n.
        clean: Shape (n,): its error on clean clips.
        attacked: Shape (n,): its error after the attack.
        pairs: First and second system of each difference.
        level: Of the intervals.

    Raises:
        DataError: Fewer than two residual degrees of freedom, or no variation of clean errors within systems.
    """
    x, y = np.asarray(clean, np.float64), np.asarray(attacked, np.float64)
    names, indicators, varies = _groups(systems, x)
    from statsmodels.regression.linear_model import OLS

    # All indicators and no intercept: the first coefficients are the adjusted means.
    centred = (x - x.mean())[:, None]
    model = OLS(y, np.hstack([indicators, centred])).fit()
    several = OLS(y, np.hstack([indicators, indicators[:, varies] * centred])).fit()
    has_slopes_test = 0 < several.df_resid < model.df_resid
    differences = []
    for pair in pairs:
        contrast = np.array([float(name == pair[0]) - float(name == pair[1]) for name in names] + [0.0])
        test = model.t_test(contrast)
        low, high = test.conf_int(1 - level)[0]
        differences.append(
            MatchedDifference(
                clean_matched=float(x.mean()),
                adjusted_first=float(model.params[names.index(pair[0])]),
                adjusted_second=float(model.params[names.index(pair[1])]),
                difference=float(contrast @ model.params),
                low=float(low),
                high=float(high),
                t=float(np.squeeze(test.tvalue)),
                degrees_of_freedom=int(model.df_resid),
                p=float(test.pvalue),
                slope=float(model.params[-1]),
                slope_error=float(model.bse[-1]),
                p_slopes=float(several.compare_f_test(model)[1]) if has_slopes_test else math.nan,
            )
        )
    if math.sqrt(model.mse_resid) > ROUNDING * np.abs(y).max():
        return differences
    nan = math.nan
    return [
        replace(difference, low=nan, high=nan, t=nan, p=nan, slope_error=nan, p_slopes=nan)
        for difference in differences
    ]


def _groups(systems: Sequence[str], clean: Values) -> tuple[list[str], Values, NDArray[np.bool_]]:
    """Names of systems, an indicator column for each, and whether its clean errors vary beyond rounding."""
    names, codes = np.unique(systems, return_inverse=True)
    if len(clean) - len(names) - 1 < FEWEST_DEGREES:
        raise DataError(
            f"{counted(len(clean), 'run')} of {counted(len(names), 'system')} leave fewer than {FEWEST_DEGREES} "
            "degrees of freedom"
        )
    spreads = np.array([np.ptp(clean[codes == code]) for code in range(len(names))])
    varies = spreads > ROUNDING * np.abs(clean).max()
    if not varies.any():
        raise DataError("clean errors do not vary within systems")
    return names.tolist(), np.eye(len(names))[codes], varies


def matched_lines(runs: pd.DataFrame, pairs: Sequence[Pair], level: float) -> list[dict[str, Any]]:
    """Lines of `Comparison.matched` with columns of `MATCHED_COLUMNS`, without p by Holm.

    Args:
        runs: ``system clean attacked``, one line per run.
        pairs: Planned comparisons.
        level: Of the intervals.
    """
    clean = {str(system): own for system, own in runs.groupby("system")["clean"]}
    lines: list[dict[str, Any]] = [
        {
            "quantity": "attacked",
            **{"first": first, "second": second},
            **{"seeds_first": len(clean[first]), "seeds_second": len(clean[second])},
            **{"clean_first": clean[first].mean(), "clean_second": clean[second].mean()},
        }
        for first, second in pairs
    ]
    try:
        differences = matched_differences(list(runs["system"]), runs["clean"], runs["attacked"], pairs, level)
    except DataError as error:
        return [line | {"note": str(error)} for line in lines]
    return [
        line | vars(difference) | {"note": _note(difference, *(clean[name] for name in pair))}
        for line, difference, pair in zip(lines, differences, pairs, strict=True)
    ]


def _note(difference: MatchedDifference, first: pd.Series[float], second: pd.Series[float]) -> str:
    if math.isnan(difference.p):
        return EXACT
    is_apart = max(first.min(), second.min()) > min(first.max(), second.max())
    return APART if is_apart else ""


def remarks(matched: pd.DataFrame) -> list[str]:
    """A sentence for each note of `Comparison.matched`, with its pairs, and one where slopes differ."""
    sentences = [
        f"The comparison at matched clean error assumes one slope, but slopes of systems differ (F-test, p = {p:.2g})."
        for p in matched["p_slopes"][:1]
        if p < ALPHA
    ]
    for note, own in matched[matched["note"] != ""].groupby("note", sort=False):
        verb = "extrapolates" if note == APART else "has no test"
        pairs = ", ".join(own["first"] + ":" + own["second"])
        sentences.append(f"The comparison at matched clean error {verb} because {note}: {pairs}.")
    return sentences
