"""The Square Attack (Andriushchenko et al., "Square Attack: a Query-efficient Black-box Adversarial Attack via Random
Search", 2020): it needs no gradient, so hiding the gradient of a model does not stop it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenuto.attacks.base import Access
from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import Euclidean, Linf, euclidean
from tenuto.attacks.checks import SMALLEST_STEP, number, whole
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
    """Random search over windows of the input, with the updates of the paper for either kind of norm.

    - `Linf` and `Amplitude` (algorithm 2): a window is set to -epsilon or epsilon; the start is stripes along time.
    - `L2` and `SNR` (algorithm 3): a window takes over the norm of a second one and gets a random peak and trough; the
      start is a grid of such patterns.

    The last two axes of the inputs are taken for time and frequency, the only axis of a waveform for time. Windows are
    square as long as that fits, and then as wide as the shorter axis.

    Args:
        queries: Evaluations of the model, the first included.
        first_share: Share of entries that the first window covers.

    Raises:
        ConfigError: Another budget, or a setting out of range.
    """

    access: ClassVar[Access] = "black-box"

    queries: int = field(default=500, metadata=whole(0))
    first_share: float = field(default=0.8, metadata=number(SMALLEST_STEP, 1))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.budget, Linf | Euclidean):
            raise ConfigError(
                f"Square takes budgets of the norms linf, l2, snr and amplitude, not of {self.budget.norm}."
            )

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
        if not query and search.has_start:
            return search.first(rows, scattered=False)
        is_euclidean = isinstance(self.budget, Euclidean)
        if not query:
            return self._grid(search, rows) if is_euclidean else self._stripes(search, rows)
        part = share(self.first_share, query, self.queries)
        return (self._with_moved_norm if is_euclidean else self._with_square)(search, rows, part)

    def _stripes(self, search: Search, rows: Tensor) -> Tensor:
        """One sign for every frequency band."""
        signs = search.uniform(rows).sign()
        return self.budget.epsilon * (signs[..., :1, :] if signs.ndim > 2 else signs).expand_as(signs)

    def _with_square(self, search: Search, rows: Tensor, part: float) -> Tensor:
        """The best so far with one window of each example set to -epsilon or epsilon."""
        delta = search.delta[rows].clone()
        flat = delta.view(len(rows), -1, *_plane(delta))[..., *search.box]
        for window, generator in zip(flat, search.generators(rows), strict=True):
            place = _window(window.shape[-2:], part, generator)
            for channel in window:
                channel[place] = self.budget.epsilon * float(generator.choice((-1.0, 1.0)))
        return delta

    def _grid(self, search: Search, rows: Tensor) -> Tensor:
        """A grid of patterns of random sign, at most 5 by 5, of norm epsilon."""
        delta = torch.zeros_like(search.inputs[rows])
        flat = delta.view(len(rows), -1, *_plane(delta))[..., *search.box]
        edges = [np.linspace(0, axis, min(axis, 5) + 1).astype(int) for axis in flat.shape[-2:]]
        tiles = [[slice(*pair) for pair in itertools.pairwise(axis.tolist())] for axis in edges]
        for window, generator in zip(flat, search.generators(rows), strict=True):
            for channel, *place in itertools.product(window, *tiles):
                channel[tuple(place)] = _pattern(channel[tuple(place)], generator)
        return search.budget.take(rows).scattered(delta)

    def _with_moved_norm(self, search: Search, rows: Tensor, part: float) -> Tensor:
        """The best so far with the norm of two windows of each example moved into the first (algorithm 3)."""
        delta = search.delta[rows].clone()
        flat = delta.view(len(rows), -1, *_plane(delta))[..., *search.box]
        budget = search.budget.take(rows)
        assert isinstance(budget, Euclidean)
        limit = budget.epsilon * budget.unit(delta)
        unused = (limit.square() - euclidean(delta).square()).clamp_min(0)
        for window, free, generator in zip(flat, unused, search.generators(rows), strict=True):
            first = _window(
                window.shape[-2:], part, generator, least=3
            )  # of which a peak and a trough need two
            sizes = [place.stop - place.start for place in first]
            second = _placed(window.shape[-2:], sizes, generator)
            for channel in window:
                before, old = _squares(channel), channel[first].clone()
                channel[first] = channel[second] = 0
                available = (before - _squares(channel)).clamp_min(0) + free / len(window)
                pattern = _direction(_pattern(old, generator))
                mixed = _direction(pattern + _direction(old))
                new = mixed if mixed.any() else pattern
                channel[first] = new * available.sqrt().to(new)
        return delta


def _plane(delta: Tensor) -> tuple[int, int]:
    """Sizes of the last two axes; examples of one axis are one row."""
    return (delta.shape[-2] if delta.ndim > 2 else 1, delta.shape[-1])


def _window(
    plane: torch.Size, part: float, generator: np.random.Generator, least: int = 1
) -> tuple[slice, slice]:
    side = max(round(math.sqrt(part * plane[0] * plane[1])), least)
    # Where the square would not fit, the longer axis makes up for the shorter one.
    return _placed(plane, [min(max(side, round(part * axis)), axis) for axis in plane], generator)


def _placed(plane: torch.Size, sizes: list[int], generator: np.random.Generator) -> tuple[slice, slice]:
    """A random place of a window of these sizes."""
    starts = [int(generator.integers(axis - size + 1)) for axis, size in zip(plane, sizes, strict=True)]
    rows, columns = (slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    return rows, columns


def _squares(values: Tensor) -> Tensor:
    return values.double().square().sum()


def _direction(values: Tensor) -> Tensor:
    """The values divided by their Euclidean norm; 0 where they are 0."""
    length = _squares(values).sqrt()
    return values / length.to(values) if length > 0 else torch.zeros_like(values)


def _pattern(like: Tensor, generator: np.random.Generator) -> Tensor:
    """A peak and a trough next to each other, of random order and sign, in a window of the shape of ``like``."""
    height, width = like.shape
    is_turned = height > 1 and (width == 1 or bool(generator.integers(2)))
    sign = float(generator.choice((-1.0, 1.0)))
    height, width = (width, height) if is_turned else (height, width)
    halves = (_peak(height, width // 2), -_peak(height, width - width // 2))
    values = sign * torch.from_numpy(np.concatenate(halves, axis=1)).to(like)
    return values.T if is_turned else values


def _peak(height: int, width: int) -> NDArray[np.float64]:
    """Squares of falling height inside each other, the pattern eta of equation 2 of the paper, (height, width)."""
    reach = max(height, width) // 2
    distances = [np.abs(np.arange(size) - size // 2) for size in (height, width)]
    inside = reach - np.maximum(distances[0][:, None], distances[1])
    heights = np.cumsum(1.0 / (reach + 1 - np.arange(reach + 1)) ** 2)
    return np.asarray(heights[inside], np.float64)
