"""The Square Attack (Andriushchenko et al., "Square Attack: a Query-efficient Black-box Adversarial Attack via Random
Search", 2020, algorithms 1 and 2): it needs no gradient, so hiding the gradient of a model does not stop it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tenuto.attacks.base import Access
from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import Linf
from tenuto.attacks.checks import SMALLEST_STEP, require_number, require_whole
from tenuto.attacks.registry import ATTACKS
from tenuto.attacks.search import Search
from tenuto.errors import ConfigError

HALVED_AT = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
"""Iterations, of 10 000, after which the share of changed entries is halved (section 3 of the paper)."""


def share(first: float, iteration: int, iterations: int) -> float:
    """Share of entries that one iteration (counted from 1) may change, with the schedule stretched to the run.

    >>> share(0.8, 1, 1000), share(0.8, 2, 1000), share(0.8, 1000, 1000)
    (0.8, 0.4, 0.003125)
    """
    position = iteration / iterations * 10_000
    return float(first / 2 ** sum(position > mark for mark in HALVED_AT))


@ATTACKS.register("Square")
@dataclass(frozen=True, kw_only=True, repr=False)
class Square(BoundedAttack):
    """Random search over rectangles of -epsilon or epsilon, for `Linf`; it starts with stripes along time.

    The last two axes of the inputs are taken for time and frequency. Windows are square as long as that fits, and
    then as wide as the shorter axis.

    Args:
        queries: Evaluations of the model, the first included.
        first_share: Share of entries that the first window covers.

    Raises:
        ConfigError: Another budget than `Linf`, or a setting out of range.
    """

    access: ClassVar[Access] = "black-box"

    queries: int = 500
    first_share: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.budget, Linf):
            raise ConfigError(f"budget must be Linf(...) for Square, got {self.budget!r}.")
        require_whole("queries", self.queries, 0)
        require_number("first_share", self.first_share, SMALLEST_STEP, 1)

    @property
    def iterations(self) -> int:
        return self.queries

    def search(self, search: Search) -> None:
        for query in range(self.queries):
            rows = search.unfinished()
            if not len(rows):
                return
            search.values(search.allowed(self._candidate(search, rows, query), rows), rows)
            search.tick(rows)

    def _candidate(self, search: Search, rows: Tensor, query: int) -> Tensor:
        if query:
            return self._changed(search, rows, share(self.first_share, query, self.queries))
        return search.first(rows, scattered=False) if search.has_start else self._stripes(search, rows)

    def _stripes(self, search: Search, rows: Tensor) -> Tensor:
        """One sign for every frequency band."""
        signs = search.uniform(rows).sign()
        return self.budget.epsilon * (signs[..., :1, :] if signs.ndim > 2 else signs).expand_as(signs)

    def _changed(self, search: Search, rows: Tensor, part: float) -> Tensor:
        """The best so far with one window of each example set to -epsilon or epsilon."""
        delta = search.delta[rows].clone()
        flat = delta.view(len(rows), -1, *_plane(delta))[..., *search.box]
        for window, generator in zip(flat, search.generators(rows), strict=True):
            place = _window(window.shape[-2:], part, generator)
            for channel in window:
                channel[place] = self.budget.epsilon * float(generator.choice((-1.0, 1.0)))
        return delta


def _plane(delta: Tensor) -> tuple[int, int]:
    """Sizes of the last two axes; examples of one axis are one row."""
    return (delta.shape[-2] if delta.ndim > 2 else 1, delta.shape[-1])


def _window(plane: torch.Size, part: float, generator: np.random.Generator) -> tuple[slice, slice]:
    side = max(round(math.sqrt(part * plane[0] * plane[1])), 1)
    # Where the square would not fit, the longer axis makes up for the shorter one.
    sizes = [min(max(side, round(part * axis)), axis) for axis in plane]
    starts = [int(generator.integers(axis - size + 1)) for axis, size in zip(plane, sizes, strict=True)]
    rows, columns = (slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    return rows, columns
