"""Numbers that describe one curve over epsilon: where it reaches a value, its area, its mean excess.

An axis is linear in epsilon, or linear in dB, 20 log10 of epsilon. An axis in dB cannot show epsilon 0, the clean clip,
so an area over it begins at the smallest budget.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]


def crossing(epsilons: ArrayLike, values: ArrayLike, goal: ArrayLike, in_db: bool = False) -> Values:
    """The smallest epsilon at which values, joined by straight lines on the axis, reach a goal.

    Args:
        epsilons: (steps,), rising.
        values: (..., steps).
        goal: (...).
        in_db: Whether the axis is linear in dB. From 0 to the smallest budget lines are straight in epsilon: the
            effect of a small perturbation is proportional to its size.

    Returns:
        (...); infinite where the goal is not reached.

    >>> float(crossing([0.0, 0.1, 0.2], [1.0, 1.5, 2.5], 2.0).round(3))
    0.15
    >>> float(crossing([0.0, 0.01, 0.1], [1.0, 1.5, 2.5], 2.0, in_db=True).round(3))  # 30 dB, between 40 and 20
    0.032
    """
    steps, heights = np.asarray(epsilons, np.float64), np.asarray(values, np.float64)
    level = np.asarray(goal, np.float64)[..., None]
    reached = heights >= level
    after = reached.argmax(axis=-1)[..., None]
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(heights, place, axis=-1) for place in (before, after))
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(after > before, (level - low) / rise, 0.0)
    start, end = steps[before], steps[after]
    crossed = start + share * (end - start)
    if in_db:
        is_positive = start > 0
        factor = end / np.where(is_positive, start, 1.0)
        crossed = np.where(is_positive, start * np.power(factor, share), crossed)
    return np.asarray(np.where(reached.any(axis=-1, keepdims=True), crossed, np.inf)[..., 0])


def area(epsilons: ArrayLike, values: ArrayLike, in_db: bool = False) -> Values:
    """Area under a curve over the drawn axis, by the trapezoid rule.

    Args:
        epsilons: (steps,), from 0 on.
        values: (..., steps).
        in_db: Whether the axis is linear in dB; the area then begins at the smallest budget.

    Returns:
        (...), in the unit of the values times epsilon, or times dB.

    >>> float(area([0.0, 0.1, 0.2], [1.0, 2.0, 3.0]))
    0.4
    >>> float(area([0.0, 0.01, 0.1], [1.0, 2.0, 3.0], in_db=True))  # 2.5 over 20 dB
    50.0
    """
    places, heights = _on_axis(epsilons, values, in_db)
    return np.asarray(np.trapezoid(heights, places, axis=-1))


def mean_excess(epsilons: ArrayLike, values: ArrayLike, in_db: bool = False) -> Values:
    """Mean height of a curve above its first value over the drawn axis: the area between the two over its length.

    >>> float(mean_excess([0.0, 0.1, 0.2], [1.0, 2.0, 3.0]))
    1.0
    >>> float(mean_excess([0.0, 0.01, 0.1], [1.0, 2.0, 3.0], in_db=True))
    1.5
    """
    heights = np.asarray(values, np.float64)
    places, excess = _on_axis(epsilons, heights - heights[..., :1], in_db)
    if len(places) == 1:  # one budget in dB: the axis is one point
        return np.asarray(excess[..., 0])
    return np.asarray(np.trapezoid(excess, places, axis=-1) / (places[-1] - places[0]))


def _on_axis(epsilons: ArrayLike, values: ArrayLike, in_db: bool) -> tuple[Values, Values]:
    """Places on the axis (steps,), rising, and the values there."""
    steps, heights = np.asarray(epsilons, np.float64), np.asarray(values, np.float64)
    return (20 * np.log10(steps[1:]), heights[..., 1:]) if in_db else (steps, heights)
