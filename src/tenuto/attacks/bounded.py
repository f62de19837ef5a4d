"""The promises of every attack with a budget, kept in one place.

A family only says how it searches (`BoundedAttack._search`); `tenuto.attacks.search` counts, remembers and measures.
What is returned was measured in float64, evaluated once more, and never serves the objective less than nothing would.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tenuto.attacks.base import (
    AttackResult,
    Examples,
    Model,
    Progress,
    call_repr,
    is_number,
    joined,
    left_as_found,
    require_whole,
)
from tenuto.attacks.budgets import Budget, Unbounded
from tenuto.attacks.objectives import Objective, SquaredError
from tenuto.attacks.search import Game, Range, Search, room
from tenuto.devices import Precision
from tenuto.errors import AttackError, ConfigError

SQUARED_ERROR = SquaredError()


@dataclass(frozen=True, kw_only=True, repr=False)
class BoundedAttack(abc.ABC):
    """An attack that keeps a budget. Its families say how they search; the promises are kept here.

    - The perturbation is measured after the fact in float64; outside its budget, the attack raises.
    - The returned prediction is the model's, asked once more in float32, at the very input that is returned.
    - By its own objective the result is never worse than no attack; epsilon 0 or no steps change nothing.
    - The model's weights, gradients and mode are left as they were found.
    - The same seed gives the same result, and a batch of one the same as a batch of many.

    Args:
        budget: `Linf`, `L2`, or `Unbounded`, in the units of the inputs.
        objective: What is raised, see `tenuto.attacks.objectives`.
        seed: Seed of everything that is drawn.
        stop_at: An example whose objective reaches this value is finished and leaves the batch.
        precision: ``float32``, or ``bfloat16`` for the search alone; what is returned is evaluated in float32.
    """

    budget: Budget
    objective: Objective = SQUARED_ERROR
    seed: int = 0
    stop_at: float | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name, kind in (("budget", Budget), ("objective", Objective)):
            if not isinstance(getattr(self, name), kind):
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}, wanted a {kind.__name__} of tenuto.attacks."
                )
        require_whole("seed", self.seed, 0)
        if self.stop_at is not None and not is_number(self.stop_at):
            raise ConfigError(f"stop_at is {self.stop_at!r}, wanted None or a number.")
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(f"precision is {self.precision!r}, wanted 'float32' or 'bfloat16'.")

    def __repr__(self) -> str:
        return call_repr(self)

    @property
    def title(self) -> str:
        """What the column ``attack`` of the rows says."""
        return type(self).__name__

    @property
    @abc.abstractmethod
    def iterations(self) -> int:
        """Most iterations that one example can take."""

    @abc.abstractmethod
    def _search(self, search: Search) -> None:
        """Look for better perturbations; `search` remembers the best of every example by itself."""

    def __call__(
        self,
        model: Model,
        inputs: Tensor,
        targets: Tensor,
        *,
        start: Tensor | None = None,
        valid_range: Range | None = None,
        names: Sequence[str] | None = None,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> AttackResult:
        """Attack every example; the batch size changes the memory needed, not the result.

        Args:
            model: Callable from (n, ...) to a tensor of emotions (n, emotions), or to an object with
                ``emotions`` and perhaps ``concepts``.
            inputs: (n, ...), of any range.
            targets: (n, emotions), the labels.
            start: (n, ...), a perturbation to begin from, such as that of a smaller budget; the result is at
                least as good, as far as the precision of the search can tell.
            valid_range: (lowest, highest) value an input can have, in its units; a log spectrogram is never
                below that of silence. Entries that already lie outside do not move further.
            names: n names for messages; positions by default.
            batch_size: Examples attacked together; 6 by default, 64 on a GPU.
            progress: Called with the number of example-iterations settled; their sum is n * iterations.

        Raises:
            AttackError: Inputs or a model that cannot be attacked, a prediction that is not finite, or a
                perturbation outside the budget.
            ConfigError: A batch size below 1, or an empty range.
        """
        with left_as_found(model):
            examples = Examples.checked(inputs, targets, names)
            if examples.inputs.dtype not in (torch.float32, torch.float64):
                raise AttackError(f"The inputs are {inputs.dtype}, too coarse for a budget: take .float().")
            if start is not None and start.shape != examples.inputs.shape:
                raise AttackError(
                    f"The start has shape {tuple(start.shape)}, the inputs {tuple(examples.inputs.shape)}: "
                    "give one perturbation per input."
                )
            parts, done = [], 0
            for chunk in examples.chunks(batch_size):
                begin = None if start is None else start[done : done + len(chunk.names)].to(chunk.inputs)
                done += len(chunk.names)
                parts.append(self._attack(model, chunk, begin, valid_range, progress))
            return joined(parts)

    def _attack(
        self,
        model: Model,
        chunk: Examples,
        start: Tensor | None,
        valid_range: Range | None,
        progress: Progress | None,
    ) -> AttackResult:
        reported = 0

        def report(done: int) -> None:
            nonlocal reported
            reported += done
            if progress is not None:
                progress(done)

        game = Game(
            model=model,
            examples=chunk,
            objective=self.objective,
            budget=self.budget,
            valid_range=valid_range,
            room=room(chunk.inputs, valid_range),
            precision=self.precision,
            seed=self.seed,
            stop_at=math.inf if self.stop_at is None else self.stop_at,
            progress=report,
        )
        search = Search(game, start)
        if self.budget.epsilon > 0 and self.iterations > 0:
            self._search(search)
        report(self.iterations * len(chunk.names) - reported)
        return search.result(self._goal())

    def _goal(self) -> float:
        """Value of the objective from which on an example counts as converged."""
        return math.inf if self.stop_at is None else self.stop_at


def require_epsilon(budget: Budget) -> None:
    """Raise `ConfigError` for a budget without an epsilon, of which an attack's steps would be a share."""
    if isinstance(budget, Unbounded):
        raise ConfigError("This attack needs a budget with an epsilon: Linf(...) or L2(...).")
