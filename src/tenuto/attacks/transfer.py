"""Perturbations made on another model (Papernot et al., "Transferability in Machine Learning", 2016)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from tenuto.attacks.apgd import APGD
from tenuto.attacks.base import Access
from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.calling import Model
from tenuto.attacks.checks import whole
from tenuto.attacks.registry import ATTACKS
from tenuto.attacks.search import Search
from tenuto.errors import ConfigError


@ATTACKS.register("Transfer")
@dataclass(frozen=True, kw_only=True, repr=False)
class Transfer(BoundedAttack):
    """Attack a sibling with `APGD`, and evaluate the result on the model: no gradient of the model itself is used.

    Passes are counted on the model alone.

    Args:
        source: The sibling, such as a run of the same system with another seed.
        name: What the sibling is called in rows.
        steps: Gradient steps on the sibling.

    Raises:
        ConfigError: A setting out of range, or `Unbounded`.
    """

    access: ClassVar[Access] = "transfer"
    needs_epsilon = True

    source: Model = field(repr=False, compare=False)
    name: str = "sibling"
    steps: int = field(default=60, metadata=whole(0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.source):
            raise ConfigError(
                f"source must be the sibling itself, a model that can be called, got {self.source!r}."
            )

    @property
    def iterations(self) -> int:
        return self.steps

    @property
    def title(self) -> str:
        return f"Transfer from {self.name}"

    def search(self, search: Search) -> None:
        task, rows = search.task, search.unfinished()
        if not len(rows):
            return
        attack = APGD(
            budget=self.budget,
            objective=self.objective,
            seed=self.seed,
            precision=self.precision,
            region=self.region,
            transformations=self.transformations,
            steps=self.steps,
        )
        result = attack(
            self.source,
            search.inputs[rows],
            task.examples.targets[rows],
            valid_range=task.valid_range,
            axes=task.examples.axes,
            names=[task.examples.names[row] for row in rows.tolist()],
            batch_size=len(rows),
            progress=task.progress,
            output=task.evaluate.output,
        )
        if search.has_start:
            search.values(search.first(rows, scattered=False), rows)
        search.values(result.perturbation, rows)
        search.iterations[rows.cpu()] += result.iterations
