"""The promises of every attack with a budget, kept in one place.

A family only implements how it searches (`BoundedAttack.search`); `tenuto.attacks.search` counts, remembers and
measures. What is returned was measured in float64 and evaluated once more, and its objective is at least that of the
clean input.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from tenuto.attacks.base import Attack, AttackJob, AttackResult, Examples, Range
from tenuto.attacks.budgets import Budget, Unbounded
from tenuto.attacks.checks import check_settings_of, is_number, listed, require_whole
from tenuto.attacks.objectives import Objective, SquaredError
from tenuto.attacks.region import Region
from tenuto.attacks.registry import OPTION
from tenuto.attacks.search import Search, Task, room
from tenuto.attacks.transformations import Transformations
from tenuto.devices import Precision
from tenuto.errors import AttackError, ConfigError

SQUARED_ERROR = SquaredError()

MOST_ROUNDING = 0.05
"""Largest rounding of a sum of input and perturbation, as a share of the budget."""


@dataclass(frozen=True, kw_only=True, repr=False)
class BoundedAttack(Attack):
    """An attack that keeps a budget. Subclass it and implement `search` and `iterations` for an attack of your own.

    - The perturbation is measured after the fact in float64; outside its budget, the attack raises.
    - The returned prediction is the model's, evaluated once more in float32, at the very input that is returned.
    - By its own objective the result is never worse than no attack; epsilon 0 or no steps change nothing.
    - The model's weights, gradients and mode are left as they were found.
    - The same seed gives the same result, whatever else is in the batch.

    Args:
        budget: `Linf` or `L2`, in the units of the inputs; for waveforms also `SNR`, `Amplitude` or `Masked`; for
            `Described`, and `PGD` with a step size, also `Unbounded`. The only positional argument.
        objective: What is increased, see `tenuto.attacks.objectives`.
        seed: Seed of everything that is drawn.
        stop_at: An example whose objective reaches this value is finished and leaves the batch.
        precision: ``float32``, or ``bfloat16`` for the search alone; what is returned is evaluated in float32.
        region: Where the perturbation may differ from zero; everywhere by default.
        transformations: What the objective is averaged over, in the search and in what is compared; the returned
            prediction is that without any. See `Search.result` for what is measured on fresh draws.

    Raises:
        ConfigError: A setting of the wrong type or out of range.
    """

    needs_epsilon: ClassVar[bool] = False
    """Whether its steps are a share of epsilon, so that `Unbounded` is refused."""

    budget: Budget = field(kw_only=False)
    objective: Objective = SQUARED_ERROR
    seed: int = 0
    stop_at: float | None = None
    precision: Precision = "float32"
    region: Region | None = field(default=None, metadata=OPTION)
    transformations: Transformations | None = field(default=None, metadata=OPTION)

    def __post_init__(self) -> None:
        require_search(self.budget, self.objective, self.seed, self.precision)
        if self.stop_at is not None and not is_number(self.stop_at):
            raise ConfigError(f"stop_at must be None or a number, got {self.stop_at!r}.")
        if not isinstance(self.region, Region | None):
            raise ConfigError(f"region must be a Region such as Region(seconds=(2, 4)), got {self.region!r}.")
        if not isinstance(self.transformations, Transformations | None):
            raise ConfigError(
                "transformations must be Transformations such as Transformations((Gain(), Room()), draws=8), got "
                f"{self.transformations!r}."
            )
        if self.needs_epsilon:
            require_epsilon(self.budget)
        check_settings_of(self)

    @abc.abstractmethod
    def search(self, search: Search) -> None:
        """Evaluate perturbations of all examples; ``search`` remembers the best one of every example."""

    def _check(self, examples: Examples, valid_range: Range | None) -> None:
        super()._check(examples, valid_range)
        if examples.inputs.dtype not in (torch.float32, torch.float64):
            raise AttackError(
                f"The inputs are {examples.inputs.dtype}, too coarse for a budget: convert with .float()."
            )
        self._check_resolution(examples)
        if self.budget.needs_sound and examples.inputs.ndim != 2:
            raise AttackError(
                f"{self.budget!r} is a budget for waveforms (n, samples), but the inputs have shape "
                f"{tuple(examples.inputs.shape)}: attack the waveforms, or use Linf(...) or L2(...)."
            )
        self.budget.at_rate_of(examples.axes)
        if self.region is not None:
            self.region.of(examples.inputs[:1], examples.axes)
        if self.transformations is not None:
            self.transformations.check(examples.inputs, examples.axes)

    def _check_resolution(self, examples: Examples) -> None:
        """Raise `AttackError` where inputs are so large that adding a perturbation rounds much of it away.

        A budget relative to its input is not checked: it grows with the input.
        """
        if type(self.budget).around is not Budget.around or self.budget.epsilon == 0:
            return
        dtype = examples.inputs.dtype
        rounding = self.budget.size(torch.finfo(dtype).eps / 2 * examples.inputs)
        bad = (rounding > MOST_ROUNDING * self.budget.epsilon).cpu().numpy()
        if bad.any():
            raise AttackError(
                f"The inputs of {listed(examples.names, bad)} are so large that {dtype} rounds away perturbations of "
                f"{self.budget!r}: scale the inputs, or convert inputs and model with .double()."
            )

    @property
    def needs_sound(self) -> bool:
        return super().needs_sound or (self.transformations is not None and bool(self.transformations.parts))

    @property
    def is_averaged(self) -> bool:
        return self.transformations is not None

    def _attack(self, job: AttackJob) -> AttackResult:
        chunk, reported = job.examples, 0

        def report(passes: int) -> None:
            nonlocal reported
            reported += passes
            job.progress(passes)

        task = Task(
            **vars(replace(job, progress=report)),
            objective=self.objective,
            budget=self.budget.at_rate_of(chunk.axes),
            room=room(chunk.inputs, job.valid_range),
            precision=self.precision,
            seed=self.seed,
            stop_at=math.inf if self.stop_at is None else self.stop_at,
            area=None if self.region is None else self.region.of(chunk.inputs, chunk.axes),
            transformations=self.transformations,
        )
        search = Search(task)
        if self.budget.epsilon > 0 and self.iterations > 0:
            self.search(search)
        report(self.iterations * len(chunk.names) - reported)
        return search.result(self._goal())

    @property
    def has_goal(self) -> bool:
        return math.isfinite(self._goal())

    def _goal(self) -> float:
        """Value of the objective from which on an example counts as converged."""
        return math.inf if self.stop_at is None else self.stop_at


def require_search(budget: object, objective: object, seed: object, precision: object) -> None:
    """Raise `ConfigError` for settings that every search has, of the wrong type or out of range."""
    if not isinstance(budget, Budget):
        raise ConfigError(f"budget must be a Budget such as Linf(0.05), got {budget!r}.")
    if not isinstance(objective, Objective):
        raise ConfigError(f"objective must be an Objective such as AbsoluteError(), got {objective!r}.")
    require_whole("seed", seed, 0)
    if precision not in ("float32", "bfloat16"):
        raise ConfigError(f"precision must be 'float32' or 'bfloat16', got {precision!r}.")


def require_epsilon(budget: Budget) -> None:
    """Raise `ConfigError` for a budget without an epsilon, of which an attack's steps would be a share."""
    if isinstance(budget, Unbounded):
        raise ConfigError(
            "This attack needs a limited budget: of norm linf or l2, or for waveforms snr, amplitude or masked."
        )
