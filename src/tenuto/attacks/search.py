"""Where a search stands: what it may do, what it asked the model, and the best that each example met.

Families of attacks play with a `Search`: it counts passes, keeps perturbations inside the budget and the valid range,
draws chance that belongs to each example, and in the end measures and evaluates anew what is returned.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenuto.attacks.base import AttackResult, Examples, Model, Progress, emotions_of, input_gradient, listed
from tenuto.attacks.budgets import Budget
from tenuto.attacks.objectives import Objective, Outputs, Situation
from tenuto.devices import Precision, computing_in
from tenuto.errors import AttackError, ConfigError

Range = tuple[float, float]


def outputs_of(output: Any, like: Tensor) -> Outputs:
    """Emotions and, where there are any, concepts in what a model returned; see `base.emotions_of`."""
    concepts = None if isinstance(output, Tensor) else getattr(output, "concepts", None)
    return Outputs(emotions_of(output, like), None if concepts is None else concepts.to(like))


def room(inputs: Tensor, valid_range: Range | None) -> tuple[Tensor, Tensor] | None:
    """Smallest and largest perturbation of every entry that keep it valid; 0 always is among them."""
    if valid_range is None:
        return None
    low, high = valid_range
    if not low < high:
        raise ConfigError(f"valid_range is {valid_range!r}, wanted (lowest, highest).")
    return (low - inputs).clamp_max(0), (high - inputs).clamp_min(0)


@dataclass(frozen=True, eq=False)
class Game:
    """What a search plays with: the model, a chunk of examples, what counts and what is allowed."""

    model: Model
    examples: Examples
    objective: Objective
    budget: Budget
    valid_range: Range | None
    room: tuple[Tensor, Tensor] | None
    precision: Precision
    seed: int
    stop_at: float
    progress: Progress


class Search:
    """Where the n examples of one chunk stand.

    ``rows`` in every method are positions of some of them, (r,) int64, and the other tensors belong to these.

    Attributes:
        inputs: (n, ...), unperturbed.
        delta: (n, ...), the best perturbation met so far.
        value: (n,), the objective there.
        clean: What the model says of the unperturbed inputs, evaluated in full precision.
    """

    def __init__(self, game: Game, start: Tensor | None) -> None:
        self.game, self.inputs = game, game.examples.inputs
        count, device = len(self.inputs), self.inputs.device
        self.iterations, self.forwards, self.gradients = (
            torch.zeros(count, dtype=torch.int64) for _ in range(3)
        )
        self.converged = torch.zeros(count, dtype=torch.bool)
        everything = self.everything = torch.arange(count, device=device)
        with torch.no_grad():
            self.clean = self._ask(self.inputs, everything, exactly=True)
        self.require_finite(self.clean)
        self.situation = Situation(game.examples.targets, self.clean)
        self.delta = torch.zeros_like(self.inputs)
        self.value = self._judge(self.clean, everything)
        self.clean_value = self.value.clone()
        self._start = None if start is None else self.allowed(start, everything)
        self._generators: list[np.random.Generator] | None = None

    def uniform(self, rows: Tensor) -> Tensor:
        """Independent uniform numbers in -1 to 1, (r, ...).

        They depend on the seed and on what each example is, not on its place: a batch of one sees the same.
        """
        drawn = [
            generator.random(self.inputs.shape[1:], dtype=np.float32) * 2 - 1
            for generator in self.generators(rows)
        ]
        return torch.from_numpy(np.stack(drawn)).to(self.inputs)

    def generators(self, rows: Tensor) -> list[np.random.Generator]:
        """Each example's own source of chance; drawing from it moves it on."""
        if self._generators is None:
            self._generators = [_generator(self.game.seed, example) for example in self.inputs]
        return [self._generators[row] for row in rows.tolist()]

    def first(self, rows: Tensor, scattered: bool) -> Tensor:
        """Where a search begins: the given start, else nothing; a random point where asked for, or where the
        objective has no gradient at the clean input."""
        if not scattered and self._start is not None:
            return self._start[rows]
        if scattered or self.game.objective.flat_at_clean:
            return self.allowed(self.game.budget.scattered(self.uniform(rows)), rows)
        return torch.zeros_like(self.inputs[rows])

    def allowed(self, delta: Tensor, rows: Tensor, epsilon: Tensor | None = None) -> Tensor:
        """The perturbation brought into the budget (or balls of radius ``epsilon``) and the valid range."""
        delta = self.game.budget.project(delta, epsilon)
        if self.game.room is None:
            return delta
        low, high = self.game.room
        # Towards 0 in every entry, so that no norm grows.
        return delta.clamp(low[rows], high[rows])

    def values(self, delta: Tensor, rows: Tensor) -> Tensor:
        """The objective at a perturbation, (r,); the best so far is remembered."""
        with torch.no_grad():
            found = self._ask(self.inputs[rows] + delta, rows)
            return self._remember(delta, self._judge(found, rows), rows)

    def gradient(self, delta: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The objective (r,) and its gradient (r, ...) at a perturbation; the best so far is remembered."""
        point = delta.detach().requires_grad_()
        values = self._judge(self._ask(self.inputs[rows] + point, rows), rows)
        gradient = input_gradient(values, point)
        # The sign of NaN is 0: unseen, such entries would never be attacked.
        self._require(gradient, rows, "gradient")
        self.gradients[rows.cpu()] += 1
        return self._remember(delta, values.detach(), rows), gradient

    def tick(self, rows: Tensor) -> Tensor:
        """Count one iteration; returns the positions in ``rows`` that have to go on."""
        self.iterations[rows.cpu()] += 1
        self.game.progress(len(rows))
        if math.isinf(self.game.stop_at):
            return torch.arange(len(rows), device=rows.device)
        return torch.nonzero(self.value[rows] < self.game.stop_at).flatten()

    def unfinished(self) -> Tensor:
        """Rows that have not reached the goal."""
        return self.everything[self.value < self.game.stop_at]

    def model(self, inputs: Tensor) -> Any:
        """What the model returns, in the precision of the search."""
        with computing_in(self.game.precision, inputs.device.type):
            return self.game.model(inputs)

    def _ask(self, inputs: Tensor, rows: Tensor, exactly: bool = False) -> Outputs:
        if exactly:
            with _full_precision(inputs.device.type):
                output = self.game.model(inputs)
        else:
            output = self.model(inputs)
        self.forwards[rows.cpu()] += 1
        return outputs_of(output, self.game.examples.targets[rows])

    def _judge(self, found: Outputs, rows: Tensor) -> Tensor:
        return self.game.objective(found, self.situation.take(rows))

    def _remember(self, delta: Tensor, values: Tensor, rows: Tensor) -> Tensor:
        self._require(values[:, None], rows, "prediction at a perturbed input")
        better = values > self.value[rows]
        self.value[rows] = torch.where(better, values, self.value[rows])
        mask = better.view(-1, *([1] * (delta.ndim - 1)))
        self.delta[rows] = torch.where(mask, delta.detach(), self.delta[rows])
        return values

    def settle(self, delta: Tensor, rows: Tensor) -> None:
        """Return these perturbations, whatever else was met: for searches whose aim is not the largest value."""
        self.delta[rows] = delta

    def charge(self, spent: AttackResult) -> None:
        """Count the passes and iterations of another attack on the same model, and whether it converged."""
        self.converged |= spent.converged
        self.iterations += spent.iterations
        self.forwards += spent.forward_passes
        self.gradients += spent.gradient_passes

    def result(self, goal: float) -> AttackResult:
        """The best of every example, measured and evaluated anew. Raises `AttackError` for a broken promise."""
        with torch.no_grad():
            found = self._ask(self.inputs + self.delta, self.everything, exactly=True)
            values = self._judge(found, self.everything)
            worse = ~(values >= self.clean_value)
            self.require_finite(found)
            emotions = torch.where(worse[:, None], self.clean.emotions, found.emotions)
            concepts = found.concepts
            if concepts is not None and self.clean.concepts is not None:
                concepts = torch.where(worse[:, None], self.clean.concepts, concepts)
        self.delta[worse] = 0
        self.game.budget.check(self.delta, self.game.examples.names)
        values = torch.where(worse, self.clean_value, values).double().cpu()
        return AttackResult(
            perturbation=self.delta,
            clean_prediction=self.clean.emotions,
            adversarial_prediction=emotions,
            clean_concepts=self.clean.concepts,
            adversarial_concepts=concepts,
            loss=values,
            iterations=self.iterations,
            forward_passes=self.forwards,
            gradient_passes=self.gradients,
            converged=self.converged | (values >= goal),
        )

    def require_finite(self, found: Outputs) -> None:
        """Raise `AttackError` where emotions or concepts of all examples are NaN or infinite."""
        for part in found:
            if part is not None:
                self._require(part, self.everything)

    def _require(self, values: Tensor, rows: Tensor, what: str = "prediction") -> None:
        finite = torch.isfinite(values).flatten(1).all(dim=1).cpu().numpy()
        if not finite.all():
            names = [self.game.examples.names[row] for row in rows.tolist()]
            raise AttackError(f"The {what} for {listed(names, ~finite)} is not finite: check the checkpoint.")

    @property
    def started(self) -> bool:
        """Whether a start was given, so that the result has to be at least as good."""
        return self._start is not None


@contextlib.contextmanager
def _full_precision(device: str) -> Iterator[None]:
    """No autocast of the caller's, and no TF32 in the convolutions of a GPU, which keeps 10 bits of 23."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    try:
        cudnn.allow_tf32 = False
        with torch.autocast(device, enabled=False):
            yield
    finally:
        cudnn.allow_tf32 = before


def _generator(seed: int, example: Tensor) -> np.random.Generator:
    content = hashlib.sha256(example.detach().cpu().contiguous().numpy().tobytes()).digest()
    return np.random.default_rng([seed, *np.frombuffer(content[:16], np.uint32).tolist()])
