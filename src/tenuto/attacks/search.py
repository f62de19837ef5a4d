"""The state of a search: what it may do, what it evaluated, and the best perturbation of each example.

Attacks work on a `Search`: it counts passes, keeps perturbations inside the budget and the valid range, draws random
numbers that belong to each example, and in the end measures and evaluates again what is returned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tenuto.attacks.base import AttackJob, AttackResult, Range
from tenuto.attacks.budgets import TOLERANCE, Budget, per_example
from tenuto.attacks.calling import Evaluator, Outputs, input_gradient
from tenuto.attacks.chance import generator_of
from tenuto.attacks.checks import SMALLEST_STEP, require_finite, require_range
from tenuto.attacks.objectives import Objective, Situation
from tenuto.attacks.region import Area
from tenuto.attacks.transformations import Transformations, View, Views
from tenuto.devices import Precision, computing_in, full_precision
from tenuto.errors import AttackError

SEARCH, JUDGE, FRESH = range(3)
"""Series of random draws: those of the search, those that decide what is returned, and those that measure it."""

TURNS = 3
"""Most rounds of projecting and shaping a perturbation that a filter has made larger than its budget."""

FRESH_DRAWS = 16
"""Draws over which the effect of an attack with transformations is measured."""


def room(inputs: Tensor, valid_range: Range | None) -> tuple[Tensor, Tensor] | None:
    """Smallest and largest perturbation of every entry that keep it valid; 0 is always between them."""
    if valid_range is None:
        return None
    low, high = require_range(valid_range)
    return (low - inputs).clamp_max(0), (high - inputs).clamp_min(0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Task(AttackJob):
    """What a search is given: the model, a chunk of examples, what counts and what is allowed."""

    evaluate: Evaluator
    objective: Objective
    budget: Budget
    room: tuple[Tensor, Tensor] | None
    precision: Precision
    seed: int
    stop_at: float
    area: Area | None = None
    transformations: Transformations | None = None


class Search:
    """The state of the n examples of one chunk.

    ``rows`` in every method are positions of some of them, (r,) int64, and the other tensors belong to these.

    Attributes:
        inputs: (n, ...), unperturbed.
        budget: The task's budget around the inputs; ``budget.take(rows)`` belongs to some of them.
        delta: (n, ...), the best perturbation so far.
        value: (n,), the objective there; with transformations the mean over the draws it was evaluated on.
        is_judging: Whether evaluations from now on take the draws that decide what is returned.
        box: The last two axes of what may change; everything without a region.
        clean: The model's outputs at the unperturbed inputs, evaluated in full precision.
        precision: Of evaluations from now on, that of the task at first.
        all_rows: (n,), the positions of all examples.
        has_start: Whether a start was given, so that the result has to be at least as good.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.inputs, start = task, task.examples.inputs, task.examples.start
        self.budget = task.budget.around(self.inputs, task.examples.names)
        count, device = len(self.inputs), self.inputs.device
        self.iterations, self.forwards, self.gradients = (
            torch.zeros(count, dtype=torch.int64) for _ in range(3)
        )
        self.converged = torch.zeros(count, dtype=torch.bool)
        self.precision = task.precision
        self.all_rows = torch.arange(count, device=device)
        self.clean = self._evaluate_exactly(self.inputs)
        self.situation = Situation(task.examples.targets, self.clean)
        # An error has no gradient where the prediction is the label, as for labels that the model itself predicted.
        is_label = (self.clean.emotions == task.examples.targets).all(dim=1)
        self._is_flat = is_label & bool(task.objective.uses_label) | task.objective.flat_at_clean
        self.delta, self._predicted = torch.zeros_like(self.inputs), self.clean.emotions.clone()
        self.value = self.judge(self.clean, self.all_rows)
        self.clean_value = self.value.clone()
        self._is_settled = torch.zeros_like(self.all_rows, dtype=torch.bool)
        self._views, self.is_judging = self._new_views(SEARCH), False
        if self._views is not None:
            self._last, self._clean_judged = self.delta.clone(), self._judged(self.delta)
            self.value = self._clean_judged.clone()
        if task.recorder is not None:
            task.recorder.begin(self.value, self.clean.emotions)
        self.box = (slice(None), slice(None)) if task.area is None else task.area.box
        self.has_start = start is not None
        self._start = None if start is None else self._brought_in(start)
        self._generators: list[np.random.Generator] | None = None

    def uniform(self, rows: Tensor) -> Tensor:
        """Draw independent uniform numbers in -1 to 1, (r, ...).

        They depend on the seed and on the content of each example, not on its position: a batch of one gets the same.
        """
        shape = self.inputs.shape[1:]
        draws = [one.random(shape, dtype=np.float32) * 2 - 1 for one in self.generators(rows)]
        return torch.from_numpy(np.stack(draws)).to(self.inputs)

    def generators(self, rows: Tensor) -> list[np.random.Generator]:
        """Each example's own random generator; drawing from it advances it."""
        if self._generators is None:
            self._generators = [generator_of(example, self.task.seed) for example in self.inputs]
        return [self._generators[row] for row in rows.tolist()]

    def first(self, rows: Tensor, scattered: bool) -> Tensor:
        """Where a search begins: at the given start, else at zero.

        Where ``scattered`` asks for it, or the objective has no gradient at the clean input, it is a random point.
        """
        if not scattered and self._start is not None:
            return self._start[rows]
        delta, is_random = torch.zeros_like(self.inputs[rows]), self._is_flat[rows] | scattered
        if is_random.any():
            delta[is_random] = self.scattered(self.uniform(rows[is_random]), rows[is_random])
        return delta

    def scattered(self, uniform: Tensor, rows: Tensor) -> Tensor:
        """A random point that is allowed, from independent numbers (r, ...) in -1 to 1."""
        noise = self.budget.take(rows).scattered(self.shaped(uniform))
        # A filter takes most of the amplitude of noise.
        has_filter = self.task.area is not None and self.task.area.has_filter
        return self.filled(noise, rows) if has_filter else self.allowed(noise, rows)

    def filled(self, noise: Tensor, rows: Tensor) -> Tensor:
        """Noise (r, ...) in the region, scaled to the budget."""
        budget, inside = self.budget.take(rows), self.shaped(noise)
        # What leaks out of a filter may count more than all that is inside; `allowed` attenuates it.
        size = torch.minimum(budget.size(inside), budget.size(noise)).clamp_min(SMALLEST_STEP)
        return self.allowed(inside * per_example((budget.epsilon / size).to(inside), inside), rows)

    def shaped(self, delta: Tensor) -> Tensor:
        """A perturbation without what is outside the region."""
        return delta if self.task.area is None else self.task.area.shaped(delta)

    def _brought_in(self, start: Tensor) -> Tensor:
        """A start that is allowed. One that is inside stays as it is: shaping a waveform again would take from it."""
        allowed = self.allowed(start, self.all_rows)
        if self.task.area is None:
            return allowed
        limit = self.budget.epsilon * (1 + TOLERANCE)
        is_inside = self.task.area.contains(start) & (self.budget.size(start) <= limit)
        if self.task.room is not None:
            start = start.clamp(*self.task.room)
        return torch.where(per_example(is_inside, start), start, allowed)

    def allowed(self, delta: Tensor, rows: Tensor, epsilon: Tensor | None = None) -> Tensor:
        """Bring a perturbation into the region, the budget (or balls of radius ``epsilon``) and the valid range."""
        budget = self.budget.take(rows)
        delta = budget.project(self.shaped(delta), epsilon)
        inside = delta if self.task.area is None else self._in_region(delta, budget, epsilon)
        if self.task.room is not None:
            low, high = self.task.room
            inside = budget.fit(inside, low[rows], high[rows], epsilon)
        if budget.clipping_shrinks and self.task.area is None:
            return inside
        has_changed = (inside != delta).flatten(1).any(dim=1)
        if not has_changed.any():
            return inside
        # A factor below 1 keeps every entry valid, and sizes are proportional to it.
        size = budget.size(inside)
        bound = budget.bounds(size, epsilon)
        factor = torch.where(has_changed & (size > bound), bound / size, torch.ones_like(size))
        return inside * per_example(factor.to(inside), inside)

    def _in_region(self, delta: Tensor, budget: Budget, epsilon: Tensor | None) -> Tensor:
        """A perturbation in the region, and nearly inside the budget.

        A filter may increase the size of a perturbation that was inside. One factor for all entries would take more
        than needed from most of them, so it is projected and shaped again in turns first.
        """
        delta = self.shaped(delta)
        for _ in range(TURNS):
            size = budget.size(delta)
            is_larger = per_example(size > budget.bounds(size, epsilon), delta)
            if not is_larger.any():
                break
            # Those inside stay: shaping takes from a perturbation each time, whatever else is in the batch.
            delta = torch.where(is_larger, self.shaped(budget.project(delta, epsilon)), delta)
        return delta

    def values(self, delta: Tensor, rows: Tensor) -> Tensor:
        """Evaluate the objective at a perturbation, (r,); the best so far is remembered."""
        with torch.no_grad():
            values, emotions = self._mean_value(self.inputs[rows] + delta, rows, self._draws(rows))
            return self._remember(delta, values, emotions, rows)

    def gradient(self, delta: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the objective (r,) and its gradient (r, ...) at a perturbation; the best so far is remembered."""
        each: list[Tensor] = []
        predictions: list[Tensor] = []
        gradient = torch.zeros_like(delta)
        for view in self._draws(rows):
            point = delta.detach().requires_grad_()
            outputs = self._evaluate(view(self.inputs[rows] + point), rows)
            values = self.judge(outputs, rows)
            gradient += input_gradient(values, point)
            each.append(values.detach())
            predictions.append(outputs.emotions.detach())
            self.gradients[rows.cpu()] += 1
        gradient = gradient / len(each)
        if self.task.area is not None:
            gradient = self.task.area.pulled(gradient)
        # The sign of NaN is 0: without this check such entries would never be attacked.
        self._require(gradient, rows, "gradient")
        values, emotions = (torch.stack(draws).mean(dim=0) for draws in (each, predictions))
        return self._remember(delta, values, emotions, rows), gradient

    def _draws(self, rows: Tensor) -> Iterable[View]:
        """The random views that one evaluation averages over; the inputs themselves without transformations."""
        views = self._new_views(JUDGE) if self.is_judging else self._views
        return (lambda inputs: inputs,) if views is None else views.draw(rows)

    def _new_views(self, stream: int) -> Views | None:
        """A series of random views from its beginning; None without transformations."""
        chosen = self.task.transformations
        return None if chosen is None else Views(chosen, self.inputs, self.task.examples.axes, stream)

    def _judged(self, delta: Tensor) -> Tensor:
        """The mean objective (n,) of all examples on the draws that decide, evaluated in full precision."""
        views = self._new_views(JUDGE)
        assert views is not None
        outputs = (self._evaluate_exactly(view(self.inputs + delta)) for view in views.draw(self.all_rows))
        each = [self.judge(draw, self.all_rows).double() for draw in outputs]
        return torch.stack(each).mean(dim=0).to(self.clean_value)

    def _mean_value(self, inputs: Tensor, rows: Tensor, views: Iterable[View]) -> tuple[Tensor, Tensor]:
        """The means over views of inputs (r, ...) of the objective, (r,), and of the emotions, (r, emotions)."""
        outputs = [self._evaluate(view(inputs), rows) for view in views]
        values = torch.stack([self.judge(draw, rows) for draw in outputs]).mean(dim=0)
        return values, torch.stack([draw.emotions for draw in outputs]).mean(dim=0)

    def tick(self, rows: Tensor) -> Tensor:
        """Count one iteration; returns the positions in ``rows`` that have to go on."""
        self.iterations[rows.cpu()] += 1
        self.task.progress(len(rows))
        if math.isinf(self.task.stop_at):
            return torch.arange(len(rows), device=rows.device)
        return torch.nonzero(self.value[rows] < self.task.stop_at).flatten()

    def unfinished(self) -> Tensor:
        """Rows that have not reached the goal."""
        return self.all_rows[self.value < self.task.stop_at]

    def settle(self, delta: Tensor, rows: Tensor) -> None:
        """Return these perturbations in any case: for searches whose aim is not the largest value."""
        self.delta[rows] = delta
        self._is_settled[rows] = True

    def charge(self, spent: AttackResult) -> None:
        """Count the passes and iterations of another attack on the same model, and whether it converged."""
        self.converged |= spent.converged
        self.iterations += spent.iterations
        self.forwards += spent.forward_passes
        self.gradients += spent.gradient_passes

    def result(self, goal: float) -> AttackResult:
        """Measure and evaluate again the best of every example. Raises `AttackError` for a broken promise.

        With transformations, another series of draws decides, the same for all that is compared: which of the best and
        the last perturbation is stronger (the best may only have had luck), whether it helps, and whether it reaches
        the goal. Draws that neither has seen measure the effect, `FRESH_DRAWS` of them. Their means are columns of the
        result: ``fresh_loss`` and ``fresh_clean_loss`` (the objective, attacked and clean), ``fresh_error`` and
        ``fresh_clean_error`` (the mean absolute error), and ``fresh_moved`` (the mean absolute change from the clean
        prediction under the same draw).
        """
        clean_values = self.clean_value
        if self._views is not None:
            clean_values = self._clean_judged
            values, last = self._judged(self.delta), self._judged(self._last)
            is_stronger = (last > values) & ~self._is_settled
            self.delta = torch.where(per_example(is_stronger, self.delta), self._last, self.delta)
        outputs = self._evaluate_exactly(self.inputs + self.delta)
        if self.task.precision == "float32" and not self._is_settled.any():
            self.task.evaluate.compare(self._predicted, outputs.emotions)
        loss = self.judge(outputs, self.all_rows)
        values = loss if self._views is None else torch.where(is_stronger, last, values)
        worse = ~(values >= clean_values)
        emotions = torch.where(worse[:, None], self.clean.emotions, outputs.emotions)
        concepts = outputs.concepts
        if concepts is not None and self.clean.concepts is not None:
            concepts = torch.where(worse[:, None], self.clean.concepts, concepts)
        self.delta[worse] = 0
        self.budget.check(self.delta, self.task.examples.names)
        values = torch.where(worse, clean_values, values).double().cpu()
        return AttackResult(
            perturbation=self.delta,
            adversarial=self.inputs + self.delta,
            clean_prediction=self.clean.emotions,
            adversarial_prediction=emotions,
            clean_concepts=self.clean.concepts,
            adversarial_concepts=concepts,
            loss=torch.where(worse, self.clean_value, loss).double().cpu(),
            iterations=self.iterations,
            forward_passes=self.forwards,
            gradient_passes=self.gradients,
            converged=self.converged | (values >= goal),
            columns=self._columns(),
        )

    def _columns(self) -> dict[str, Tensor]:
        """Further columns of the result, after a last check of the region."""
        columns: dict[str, Tensor] = {}
        if self.task.area is not None:
            self.task.area.check(self.delta, self.task.examples.names)
            leakage = self.task.area.leakage_db(self.delta)
            columns |= {} if leakage is None else {"leakage_db": leakage}
        views = self._new_views(FRESH)
        return columns if views is None else columns | self._effect(views)

    def _effect(self, views: Views) -> dict[str, Tensor]:
        """Means over views of all examples, clean and attacked, each (n,) float64 on the CPU; see `result`."""
        targets, rows = self.task.examples.targets, self.all_rows
        totals: dict[str, Tensor] = {}
        for view in views.draw(rows, FRESH_DRAWS):
            clean, attacked = (self._evaluate_exactly(view(self.inputs + delta)) for delta in (0, self.delta))
            draws = {
                "fresh_loss": self.judge(attacked, rows),
                "fresh_clean_loss": self.judge(clean, rows),
                "fresh_error": (attacked.emotions - targets).abs().mean(dim=1),
                "fresh_clean_error": (clean.emotions - targets).abs().mean(dim=1),
                "fresh_moved": (attacked.emotions - clean.emotions).abs().mean(dim=1),
            }
            for name, values in draws.items():
                totals[name] = totals.get(name, torch.zeros(len(rows))) + values.double().cpu()
        return {name: total / FRESH_DRAWS for name, total in totals.items()}

    def evaluate(self, inputs: Tensor, targets: Tensor) -> Outputs:
        """Evaluate the model in the precision of the search, without counting; see `charge`."""
        with computing_in(self.precision, inputs.device.type):
            return self.task.evaluate(inputs, targets)

    def _evaluate(self, inputs: Tensor, rows: Tensor) -> Outputs:
        """Evaluate the model in the precision of the search, and count."""
        self.forwards[rows.cpu()] += 1
        return self.evaluate(inputs, self.task.examples.targets[rows])

    def _evaluate_exactly(self, inputs: Tensor) -> Outputs:
        """Evaluate the model for all examples in full precision, count, and check."""
        self.forwards += 1
        with torch.no_grad(), full_precision(inputs.device.type):
            outputs = self.task.evaluate(inputs, self.task.examples.targets)
        for part in outputs:
            if part is not None:
                self._require(part, self.all_rows, "prediction")
        return outputs

    def judge(self, outputs: Outputs, rows: Tensor) -> Tensor:
        """The objective, (r,). Raises `AttackError` where it is not finite."""
        values = self.task.objective(outputs.copy(), self.situation.take(rows))  # it may work in place
        if values.shape != rows.shape:
            raise AttackError(
                f"The objective {self.task.objective!r} returned shape {tuple(values.shape)}. It must return one "
                f"value per example, shape {tuple(rows.shape)}."
            )
        # One comparison in the usual case: each is a wait for a GPU.
        if not torch.isfinite(values.detach()).all():
            self._require(outputs.emotions, rows, "prediction at a perturbed input")
            self._require(
                values[:, None], rows, "objective", "use another objective, or targets in a smaller range"
            )
        return values

    def _remember(self, delta: Tensor, values: Tensor, emotions: Tensor, rows: Tensor) -> Tensor:
        if self.task.recorder is not None:
            self.task.recorder.add(rows, values, self.budget.take(rows).size(delta), emotions)
        if self._views is not None:
            self._last[rows] = delta.detach()
        better = values > self.value[rows]
        self.value[rows] = torch.where(better, values, self.value[rows])
        self.delta[rows] = torch.where(per_example(better, delta), delta.detach(), self.delta[rows])
        self._predicted[rows] = torch.where(better[:, None], emotions, self._predicted[rows])
        return values

    def _require(self, values: Tensor, rows: Tensor, what: str, advice: str = "check the checkpoint") -> None:
        names = [self.task.examples.names[row] for row in rows.tolist()]
        require_finite(values, names, what, advice)
