"""Random noise, the baseline of every attack with the same budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tenuto.attacks.base import Access
from tenuto.attacks.bounded import BoundedAttack, require_epsilon
from tenuto.attacks.checks import require_whole
from tenuto.attacks.registry import ATTACKS
from tenuto.attacks.search import Search
from tenuto.errors import ConfigError, did_you_mean

DISTRIBUTIONS = ("uniform", "gaussian", "sign")


@ATTACKS.register("Noise")
@dataclass(frozen=True, kw_only=True, repr=False)
class Noise(BoundedAttack):
    """The best of several random draws.

    Args:
        kind: ``uniform`` in -epsilon to epsilon, ``gaussian`` with standard deviation epsilon / 2 (clipped to the
            budget), or ``sign``, -epsilon or epsilon. For `L2` and `SNR` every draw is scaled to size epsilon.
        draws: How many.

    Raises:
        ConfigError: Another kind, a number of draws below 0, or `Unbounded`.
    """

    access: ClassVar[Access] = "black-box"

    kind: Literal["uniform", "gaussian", "sign"] = "uniform"
    draws: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require_epsilon(self.budget)
        require_whole("draws", self.draws, 0)
        if self.kind not in DISTRIBUTIONS:
            raise ConfigError(f"Unknown kind {self.kind!r}. {did_you_mean(str(self.kind), DISTRIBUTIONS)}")

    @property
    def iterations(self) -> int:
        return self.draws

    @property
    def title(self) -> str:
        return f"Noise {self.kind}"

    def search(self, search: Search) -> None:
        if search.has_start:
            search.values(search.first(search.all_rows, scattered=False), search.all_rows)
        for _ in range(self.draws):
            rows = search.unfinished()
            if not len(rows):
                return
            search.values(search.scattered(self._drawn(search, rows), rows), rows)
            search.tick(rows)

    def _drawn(self, search: Search, rows: Tensor) -> Tensor:
        uniform = search.uniform(rows)
        if self.kind == "sign":
            return torch.where(uniform < 0, -torch.ones_like(uniform), torch.ones_like(uniform))
        if self.kind == "gaussian":  # the inverse of the normal distribution function; its ends are infinite
            normal: Tensor = torch.special.ndtri((uniform.double() + 1) / 2)
            return normal.clamp(-6, 6).to(uniform) / 2
        return uniform
