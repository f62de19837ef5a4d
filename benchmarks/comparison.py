"""Paired timings: what Tenuto takes, what a plain implementation takes, and how often the one fits the other."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One quantity, timed in pairs (A B A B), so that a busy machine slows both sides of a ratio alike.

    Args:
        name: What is timed, a comma, and the unit of every time here.
        device: Where, ``cpu`` or ``cuda``.
        baseline: What the plain implementation is, in words.
        ours: One time per pair.
        plain: One time per pair.
        reference: Lowest and highest time of the study's released code on a 2-core CPU, where it compares.
        target: Smallest speed-up over the plain implementation, or over the reference, that is promised.
        peak_share: Our operations per second over those of a large matrix product, where they are counted.
    """

    name: str
    device: str
    baseline: str
    ours: tuple[float, ...]
    plain: tuple[float, ...]
    reference: tuple[float, float] | None = None
    target: float | None = None
    peak_share: float | None = None

    @property
    def speedup(self) -> float:
        """Median over pairs of plain time over ours."""
        return statistics.median(plain / ours for plain, ours in zip(self.plain, self.ours, strict=True))

    @property
    def speedup_over_reference(self) -> float | None:
        """The reference's lowest time over our median time: another machine's figure, so only a hint."""
        return None if self.reference is None else self.reference[0] / statistics.median(self.ours)

    def as_json(self) -> dict[str, Any]:
        """Plain values, medians and ratios included."""
        return {
            **dataclasses.asdict(self),
            "ours_median": statistics.median(self.ours),
            "plain_median": statistics.median(self.plain),
            "speedup": self.speedup,
            "speedup_over_reference": self.speedup_over_reference,
        }


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Rounds:
    """Times the rounds of a loop from outside: called once in every round, it sums what lies between the calls."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def __call__(self, _: int) -> None:
        self.stamps.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Seconds of one round, averaged; whatever preceded the first call does not count."""
        return (self.stamps[-1] - self.stamps[0]) / (len(self.stamps) - 1)
