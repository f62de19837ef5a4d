"""Numbers that describe one curve over epsilon: where it reaches a value, its area, its mean excess."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]


def crossing(epsilons: ArrayLike, values: ArrayLike, goal: ArrayLike) -> Values:
    """The smallest epsilon at which values, joined by straight lines, reach a goal.

    Args:
        epsilons: (steps,), rising.
        values: (..., steps).
        goal: (...).

    Returns:
        (...); infinite where the goal is not reached.

    >>> float(crossing([0.0, 0.1, 0.2], [1.0, 1.5, 2.5], 2.0).round(3))
    0.15
    """
    steps, heights = np.asarray(epsilons, np.float64), np.asarray(values, np.float64)
    level = np.asarray(goal, np.float64)[..., None]
    reached = heights >= level
    after = reached.argmax(axis=-1)[..., None]
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(heights, place, axis=-1) for place in (before, after))
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(after > before, (level - low) / rise, 0.0)
    crossed = steps[before] + share * (steps[after] - steps[before])
    return np.asarray(np.where(reached.any(axis=-1, keepdims=True), crossed, np.inf)[..., 0])


def area(epsilons: ArrayLike, values: ArrayLike) -> Values:
    """Area under a curve over epsilon, by the trapezoid rule on a linear axis.

    Args:
        epsilons: (steps,), from 0 on.
        values: (..., steps).

    Returns:
        (...), in the unit of the values times epsilon.

    >>> float(area([0.0, 0.1, 0.2], [1.0, 2.0, 3.0]))
    0.4
    """
    return np.asarray(np.trapezoid(np.asarray(values, np.float64), np.asarray(epsilons, np.float64), axis=-1))


def mean_excess(epsilons: ArrayLike, values: ArrayLike) -> Values:
    """Mean height of a curve above its first value: the area between the two over the largest epsilon.

    >>> float(mean_excess([0.0, 0.1, 0.2], [1.0, 2.0, 3.0]))
    1.0
    """
    heights = np.asarray(values, np.float64)
    return np.asarray(area(epsilons, heights - heights[..., :1]) / np.asarray(epsilons, np.float64)[-1])
