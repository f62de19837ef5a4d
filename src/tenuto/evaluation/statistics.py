"""Tests of a difference between two systems, NumPy and SciPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tenuto.errors import DataError


@dataclass(frozen=True)
class PairedTest:
    """Student's t-test of paired differences, two-sided.

    Attributes:
        t: The statistic; positive where the first of the pair is larger on average.
        degrees_of_freedom: Pairs minus one.
        p: Probability of so large a \\|t\\| were the mean difference zero.
        n: Number of pairs.
    """

    t: float
    degrees_of_freedom: int
    p: float
    n: int


def paired_t_test(a: ArrayLike, b: ArrayLike) -> PairedTest:
    """Do the pairs of ``a`` and ``b`` differ on average?

    Args:
        a: Shape (n,).
        b: Shape (n,), in the same order of pairs.

    Raises:
        DataError: Other shapes, fewer than two pairs, values not finite, or differences that are all the same
            (t is then undefined).
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(f"values {first.shape} and {second.shape}: wanted two of one shape (pairs,).")
    if len(first) < 2:
        raise DataError(f"{len(first)} pairs: a paired test wants at least two; add clips or seeds.")
    difference = first - second
    if not np.isfinite(difference).all():
        raise DataError("a pair holds NaN or an infinite value; leave that pair out.")
    if np.ptp(difference) == 0:
        raise DataError("all pairs differ by the same amount: t is undefined. Compare the means instead.")
    from scipy import stats

    found = stats.ttest_rel(first, second)
    return PairedTest(float(found.statistic), len(first) - 1, float(found.pvalue), len(first))
