"""Perturbations found on another model (Papernot et al., "Transferability in Machine Learning", 2016)."""

from __future__ import annotations

from dataclasses import dataclass, field

from tenuto.attacks.apgd import APGD
from tenuto.attacks.base import Model, require_whole
from tenuto.attacks.bounded import BoundedAttack, require_epsilon
from tenuto.attacks.search import Search
from tenuto.errors import ConfigError


@dataclass(frozen=True, kw_only=True, repr=False)
class Transfer(BoundedAttack):
    """Attack a sibling with `APGD`, and try what was found on the model: no gradient of the model itself is used.

    Passes are counted on the model alone; the sibling is asked for free.

    Args:
        source: The sibling, such as a run of the same system with another seed.
        name: What the sibling is called in rows.
        steps: Gradient steps on the sibling.

    Raises:
        ConfigError: A setting out of range, or `Unbounded`.
    """

    source: Model = field(repr=False, compare=False)
    name: str = "sibling"
    steps: int = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        require_epsilon(self.budget)
        require_whole("steps", self.steps, 0)
        if not callable(self.source):
            raise ConfigError(f"source is {self.source!r}, wanted the sibling itself: a model to be called.")

    @property
    def iterations(self) -> int:
        return self.steps

    @property
    def title(self) -> str:
        return f"Transfer from {self.name}"

    def _search(self, search: Search) -> None:
        game, rows = search.game, search.unfinished()
        if not len(rows):
            return
        attack = APGD(
            budget=self.budget,
            objective=self.objective,
            seed=self.seed,
            precision=self.precision,
            steps=self.steps,
        )
        found = attack(
            self.source,
            search.inputs[rows],
            game.examples.targets[rows],
            valid_range=game.valid_range,
            names=[game.examples.names[row] for row in rows.tolist()],
            batch_size=len(rows),
            progress=game.progress,
        )
        if search.started:
            search.values(search.first(rows, scattered=False), rows)
        search.values(found.perturbation, rows)
        search.iterations[rows.cpu()] += found.iterations
