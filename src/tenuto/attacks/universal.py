"""Universal perturbations: one perturbation that is added to every example (Moosavi-Dezfooli et al., "Universal
adversarial perturbations", 2017), found by stochastic gradient ascent over examples (Shafahi et al., "Universal
adversarial training", 2020, algorithm 2).

Under a budget that is relative to each input, the perturbation is one *shape*, scaled to the level of every example.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tenuto.attacks.base import Access, Attack, AttackJob, AttackResult, Examples, Progress, Range
from tenuto.attacks.bounded import SQUARED_ERROR, require_epsilon, require_search
from tenuto.attacks.budgets import L2, SNR, Budget, per_example
from tenuto.attacks.calling import Evaluator, Model, Outputs, input_gradient, left_as_found
from tenuto.attacks.checks import check_settings_of, number, require_finite, whole
from tenuto.attacks.objectives import Objective, Situation
from tenuto.attacks.search import room
from tenuto.devices import Precision, computing_in, full_precision
from tenuto.errors import ConfigError


class Part(NamedTuple):
    """Inputs (n, ...) with labels (n, emotions) and n names for messages; the inputs may be on a disk."""

    inputs: Tensor
    labels: Tensor
    names: Sequence[str]


def shape_budget(budget: Budget) -> Budget:
    """The budget of one shape that belongs to every input: `budget`, or what it is for inputs of Euclidean norm 1.

    Raises:
        ConfigError: A budget that depends on more of an input than its level, or none with an epsilon.
    """
    require_epsilon(budget)
    if type(budget).around is Budget.around:
        return budget
    if isinstance(budget, SNR):
        return L2(budget.epsilon)
    raise ConfigError(
        f"A universal perturbation cannot keep {budget!r}, which differs between clips in more than their level. Use "
        "SNR, Amplitude, Linf or L2."
    )


def levels(budget: Budget, inputs: Tensor, names: Sequence[str]) -> Tensor:
    """What a shape is multiplied by to belong to each input (n, ...), (n,): 1 where the budget is absolute."""
    probe = torch.ones_like(inputs)
    around = budget.around(inputs, names)
    return (shape_budget(budget).size(probe) / around.size(probe)).to(inputs)


@dataclass(frozen=True, kw_only=True, repr=False)
class Universal:
    """How a universal perturbation is fitted.

    Every epoch takes one step for each batch of training examples, along the steepest direction of the mean gradient
    with momentum; steps become smaller linearly. Kept is the shape after the epoch whose mean objective over the
    validation examples is the largest. For a linear objective this is epsilon times the steepest direction.

    Args:
        budget: How large it may be, see `shape_budget`. The only positional argument.
        objective: What is increased on average.
        epochs: Passes over the training examples.
        batch_size: Examples per step.
        momentum: Weight of earlier gradients, each scaled to mean absolute value 1.
        seed: Seed of the order of the examples, and of the start where the objective is flat at the clean input.
        precision: Of the search, ``float32`` or ``bfloat16``; results are evaluated in float32.

    Raises:
        ConfigError: A setting of the wrong type or out of range.
    """

    budget: Budget = field(kw_only=False)
    objective: Objective = SQUARED_ERROR
    epochs: int = field(default=5, metadata=whole(1))
    batch_size: int = field(default=6, metadata=whole(1))
    momentum: float = field(default=0.9, metadata=number(0, 1))
    seed: int = 0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        require_search(self.budget, self.objective, self.seed, self.precision)
        check_settings_of(self)
        shape_budget(self.budget)

    __repr__ = Attack.__repr__

    def steps(self, training: int) -> int:
        """Examples whose gradient is computed, for so many training examples."""
        return self.epochs * training

    def fit(
        self,
        model: Model,
        training: Part,
        validation: Part,
        *,
        valid_range: Range | None = None,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> Tensor:
        """Fit the shape, (...) like one input, on ``device``.

        Args:
            model: As attacks take it, on ``device``.
            training: Examples whose gradients are followed.
            validation: Examples that choose the epoch.
            valid_range: Lowest and highest value an input can have.
            device: Where batches are computed.
            progress: Called with the number of training examples done; their sum is `steps`.

        Raises:
            AttackError: Examples or a model that cannot be attacked.
        """
        with left_as_found(model):
            return _Fit(self, Evaluator(model), valid_range, torch.device(device)).run(
                training, validation, progress or (lambda done: None)
            )

    def noise(self, like: Tensor) -> Tensor:
        """A random shape of the largest size, (...) like one input: white noise, or random signs under `Linf`."""
        draw = np.random.default_rng(self.seed).standard_normal(like.shape, dtype=np.float32)
        budget = shape_budget(self.budget)
        steepest = budget.steepest(torch.from_numpy(draw).to(like)[None])
        return budget.project(budget.epsilon * steepest)[0]


class _Fit:
    """A fit in progress."""

    def __init__(
        self, settings: Universal, evaluate: Evaluator, valid_range: Range | None, device: torch.device
    ) -> None:
        self.settings, self.evaluate = settings, evaluate
        self.valid_range, self.device = valid_range, device
        self.budget = shape_budget(settings.budget)
        self.draws = np.random.default_rng(settings.seed)

    def run(self, training: Part, validation: Part, progress: Progress) -> Tensor:
        settings, count = self.settings, len(training.names)
        clean = [self.clean(part) for part in (training, validation)]
        shape = self.first(training, clean[0])
        best, most = torch.zeros_like(shape), -math.inf
        velocity = torch.zeros_like(shape)
        batches = math.ceil(count / settings.batch_size)
        for epoch in range(settings.epochs):
            order = torch.from_numpy(self.draws.permutation(count))
            for place, rows in enumerate(torch.split(order, settings.batch_size)):
                share = (epoch * batches + place) / (settings.epochs * batches)
                gradient = self.gradient(shape, training, clean[0], rows)
                velocity = settings.momentum * velocity + gradient
                size = 5 * self.budget.epsilon * (1 - share) / (settings.epochs * batches)
                shape = self.budget.project(shape + size * self.budget.steepest(velocity))
                progress(len(rows))
            value = self.value(shape, validation, clean[1])
            if value > most:
                best, most = shape, value
        return best[0]

    def first(self, part: Part, clean: Outputs) -> Tensor:
        """Zero, or a random point of the budget where the objective has no gradient at the clean input; (1, ...)."""
        like, objective = part.inputs[:1].to(self.device), self.settings.objective
        is_label = bool(torch.equal(clean.emotions, part.labels.to(clean.emotions)))
        if not (objective.flat_at_clean or (objective.uses_label and is_label)):
            return torch.zeros_like(like)
        uniform = self.draws.uniform(-1, 1, size=tuple(like.shape))
        return self.budget.project(self.budget.scattered(torch.from_numpy(uniform).to(like)))

    def batches(self, part: Part, rows: Tensor | None = None) -> Iterator[tuple[Tensor, Examples]]:
        """Positions and checked examples of some batches; of all examples by default."""
        chosen = torch.arange(len(part.names)) if rows is None else rows
        for places in torch.split(chosen, self.settings.batch_size):
            names = [part.names[place] for place in places.tolist()]
            yield places, Examples.checked(part.inputs[places].to(self.device), part.labels[places], names)

    def clean(self, part: Part) -> Outputs:
        """The outputs at the unperturbed inputs of a part."""
        with torch.no_grad(), full_precision(self.device.type):
            outputs = [self.evaluate(batch.inputs, batch.targets) for _, batch in self.batches(part)]
        concepts = [one.concepts for one in outputs if one.concepts is not None]
        return Outputs(
            torch.cat([one.emotions for one in outputs]), torch.cat(concepts) if concepts else None
        )

    def objective(self, shape: Tensor, part: Part, clean: Outputs, rows: Tensor | None) -> Iterator[Tensor]:
        """The objective of some examples under a shape, (batch,) for every batch."""
        for places, batch in self.batches(part, rows):
            delta = placed(shape, self.settings.budget, batch, self.valid_range)
            with computing_in(self.settings.precision, self.device.type):
                outputs = self.evaluate(batch.inputs + delta, batch.targets)
            situation = Situation(batch.targets, clean.take(places.to(self.device)))
            values = self.settings.objective(outputs.copy(), situation)
            require_finite(values[:, None], batch.names, "objective")
            yield values

    def gradient(self, shape: Tensor, part: Part, clean: Outputs, rows: Tensor) -> Tensor:
        """The mean gradient of some examples with respect to the shape (1, ...), scaled to mean absolute value 1."""
        point = shape.detach().requires_grad_()
        (values,) = self.objective(point, part, clean, rows)
        gradient = input_gradient(values, point)
        require_finite(gradient, [part.names[place] for place in rows.tolist()], "mean gradient")
        size = gradient.abs().mean()
        return gradient / size if size > 0 else gradient

    def value(self, shape: Tensor, part: Part, clean: Outputs) -> float:
        """The mean objective over a part."""
        with torch.no_grad():
            values = torch.cat(list(self.objective(shape, part, clean, None)))
        return float(values.double().mean())


def placed(shape: Tensor, budget: Budget, examples: Examples, valid_range: Range | None) -> Tensor:
    """What a shape (1, ...) adds to each example: scaled to its level, and inside the valid range."""
    inputs = examples.inputs
    delta = shape * per_example(levels(budget, inputs, examples.names), inputs)
    limits = room(inputs, valid_range)
    return delta if limits is None else torch.maximum(torch.minimum(delta, limits[1]), limits[0])


@dataclass(frozen=True, kw_only=True, repr=False)
class Placement(Attack):
    """A fitted shape at one place, as an attack whose result has a row for every example.

    Unlike other attacks it adds the same perturbation to every example, whether or not it increases the objective.

    Args:
        fit: How the shape was fitted. The only positional argument.
        shape: (...) like one input.
        seconds: By how much the shape was shifted, circularly.
        kind: ``fitted``, or ``noise`` for a random shape of the same size.
    """

    fit: Universal = field(kw_only=False)
    shape: Tensor = field(repr=False, compare=False)
    seconds: float = 0.0
    kind: Literal["fitted", "noise"] = "fitted"
    access: ClassVar[Access] = "transfer"
    iterations: ClassVar[int] = 1

    @property
    def budget(self) -> Budget:  # type: ignore[override]
        return self.fit.budget

    @property
    def objective(self) -> Objective:  # type: ignore[override]
        return self.fit.objective

    @property
    def title(self) -> str:
        name = "Universal" if self.kind == "fitted" else "Noise shared"
        return f"{name} +{self.seconds:g} s" if self.seconds else name

    def _attack(self, job: AttackJob) -> AttackResult:
        chunk, evaluate = job.examples, job.evaluate
        inputs, targets = chunk.inputs, chunk.targets
        delta = placed(self.shape.to(inputs)[None], self.budget, chunk, job.valid_range)
        self.budget.around(inputs, chunk.names).check(delta, chunk.names)
        with torch.no_grad(), full_precision(inputs.device.type):
            clean, attacked = evaluate(inputs, targets), evaluate(inputs + delta, targets)
            loss = self.objective(attacked.copy(), Situation(targets.clone(), clean.copy())).double().cpu()
        for outputs in (clean, attacked):
            require_finite(outputs.emotions, chunk.names, "prediction")
        job.progress(len(chunk.names))
        ones = torch.ones(len(inputs), dtype=torch.int64)
        return AttackResult(
            perturbation=delta,
            adversarial=inputs + delta,
            clean_prediction=clean.emotions,
            adversarial_prediction=attacked.emotions,
            clean_concepts=clean.concepts,
            adversarial_concepts=attacked.concepts,
            loss=loss,
            iterations=ones,
            forward_passes=2 * ones,
            gradient_passes=0 * ones,
            converged=torch.zeros(len(inputs), dtype=torch.bool),
        )
