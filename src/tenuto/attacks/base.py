"""The contract that all attacks share: the call, the checks of its arguments, and the result."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from tenuto.attacks.axes import Axes
from tenuto.attacks.budgets import Budget
from tenuto.attacks.calling import Evaluator, Model, Outputs, left_as_found
from tenuto.attacks.checks import listed, require_whole
from tenuto.attacks.objectives import Objective
from tenuto.attacks.registry import ATTACKS, build, to_dict
from tenuto.attacks.trace import Recorder, Trace
from tenuto.errors import AttackError, counted

Progress = Callable[[int], None]

Evaluate = Callable[[Tensor, Tensor], Outputs]
"""From inputs and targets to the model's outputs; see `Evaluator`."""

Range = tuple[float, float]
"""Lowest and highest value that an input can have."""

Access = Literal["gradient", "black-box", "transfer", "foreign"]
"""What an attack uses of the model: its gradient, its predictions, the gradient of another model, or not known."""

DEFAULT_BATCH_SIZE = 6
"""Examples attacked together on a CPU; some 0.1 GB with the paper's network and float32.

Twelve are slower on a CPU: their largest activations exceed the 32 MB up to which the C library keeps memory for
reuse, so every iteration pays for fresh pages.
"""

GPU_BATCH_SIZE = 64
"""Examples attacked together on a GPU, which few examples leave idle; some 1 GB."""


@dataclass(frozen=True, eq=False, repr=False)
class AttackResult:
    """The outcome of an attack, one row or one value per example, in the order of the inputs.

    ``perturbation``, ``adversarial`` and ``adversarial_prediction`` always belong together. The fields with more than
    one axis are on the device of the inputs, the fields with one value per example on the CPU.

    Attributes:
        perturbation: (n, ...), added to the inputs, in their units.
        clean_prediction: (n, emotions), at the unperturbed inputs.
        adversarial_prediction: (n, emotions), at ``adversarial``.
        loss: (n,) float64, the attack's objective at the adversarial prediction; of the released attack its mean
            squared error against the target.
        iterations: (n,) int64, iterations begun.
        forward_passes: (n,) int64, evaluations of the model.
        gradient_passes: (n,) int64, gradients used with respect to the input.
        converged: (n,) bool, the objective reached the attack's goal (``stop_at``, ``goal``, or the last threshold).
        adversarial: (n, ...), the inputs at which the model was evaluated for the result.
        clean_concepts: (n, concepts), where the model has a bottleneck and the attack evaluates it; else None.
        adversarial_concepts: (n, concepts), at ``adversarial``.
        columns: Further values (n,) of rows, by column: ``leakage_db`` of a region in a waveform, and the effect of an
            attack with transformations on fresh draws (`tenuto.attacks.search.Search.result`).
        trace: What the search evaluated, where the call asked for it; else None.
    """

    perturbation: Tensor
    clean_prediction: Tensor
    adversarial_prediction: Tensor
    loss: Tensor
    iterations: Tensor
    forward_passes: Tensor
    gradient_passes: Tensor
    converged: Tensor
    adversarial: Tensor = field(kw_only=True)
    clean_concepts: Tensor | None = field(default=None, kw_only=True)
    adversarial_concepts: Tensor | None = field(default=None, kw_only=True)
    columns: dict[str, Tensor] = field(default_factory=dict, kw_only=True)
    trace: Trace | None = field(default=None, kw_only=True)

    def extra_columns(self) -> dict[str, Tensor]:
        """Values (n,) that rows of this attack have in addition to those of every attack, by column."""
        return dict(self.columns)

    def extra_perturbations(self) -> dict[str, Tensor]:
        """Perturbations (n, ...) that are saved in addition to ``perturbation``, by name."""
        return {}

    def __repr__(self) -> str:
        change = (self.adversarial_prediction - self.clean_prediction).abs().mean()
        return (
            f"{type(self).__name__}({counted(len(self.loss), 'example')}, mean loss {self.loss.mean():.4g}, mean "
            f"absolute change of the prediction {change:.4g}, largest change of an input "
            f"{self.perturbation.abs().max():.4g}, {int(self.converged.sum())} "
            f"converged{''.join(f', mean {name} {values.mean():.4g}' for name, values in self.columns.items())})"
        )


class Attack(abc.ABC):
    """An attack as rows and protocols know it, and the call that all attacks share.

    Attributes:
        budget: How large a perturbation may be.
        objective: What the attack increases.
        access: What it uses of the model.
    """

    budget: Budget
    objective: Objective
    access: ClassVar[Access] = "gradient"

    def __repr__(self) -> str:
        """The call that makes it, with its non-default arguments only."""
        settings = [
            f"{setting.name}={getattr(self, setting.name)!r}"
            for setting in dataclasses.fields(self)  # type: ignore[arg-type]
            if setting.repr
            and (setting.default is dataclasses.MISSING or getattr(self, setting.name) != setting.default)
        ]
        return f"{type(self).__name__}({', '.join(settings)})"

    @property
    @abc.abstractmethod
    def iterations(self) -> int:
        """Most iterations that one example can take."""

    @property
    def title(self) -> str:
        """The value of the column ``attack`` of the rows."""
        return type(self).__name__

    @property
    def norm(self) -> str:
        """The value of the column ``norm`` of the rows."""
        return self.budget.norm

    @property
    def epsilon(self) -> float:
        """Size of the budget, infinite where there is none."""
        return self.budget.epsilon

    @property
    def has_goal(self) -> bool:
        """Whether it ends an example by itself, before its last iteration, once a goal is reached."""
        return False

    @property
    def uses_label(self) -> bool | None:
        """Whether the objective compares predictions with labels; None where it does not say."""
        return self.objective.uses_label

    def objective_title(self, emotions: Sequence[str] | None = None, concepts: Sequence[str] = ()) -> str:
        """The value of the column ``objective`` of the rows."""
        return self.objective.full_title(emotions, concepts)

    @property
    def needs_gradient(self) -> bool:
        """Whether it follows the gradient of the model."""
        return self.access == "gradient"

    @property
    def needs_sound(self) -> bool:
        """Whether it is defined for waveforms (n, samples) only."""
        return self.budget.needs_sound

    @property
    def is_averaged(self) -> bool:
        """Whether it averages over random draws, so that a random model is no surprise."""
        return False

    def refusal(self, emotions: int) -> str | None:
        """Why the attack cannot be used on a model with so many emotions; None where it can."""
        return self.objective.refusal(emotions)

    def to_dict(self) -> dict[str, Any]:
        """Describe the attack with all its settings for JSON; see `tenuto.attacks.from_dict`."""
        return to_dict(self)

    def __call__(
        self,
        model: Model,
        inputs: Tensor,
        targets: Tensor,
        *,
        start: Tensor | None = None,
        valid_range: Range | None = None,
        names: Sequence[str] | None = None,
        axes: Axes | None = None,
        batch_size: int | None = None,
        progress: Progress | None = None,
        output: str | None = None,
        trace: bool = False,
    ) -> AttackResult:
        """Attack every example.

        The batch size bounds the memory needed. In exact arithmetic it does not change the result; docs/attacks.md
        gives the differences measured in float32.

        Args:
            model: Callable from inputs (n, ...) to emotions (n, emotions); `tenuto.attacks.calling.Evaluator` lists
                what it may return.
            inputs: (n, ...), of any range. They are not converted: their floating point type must be one that the
                model takes, usually that of its weights.
            targets: (n, emotions), the labels; (n,) for a model with one output.
            start: (n, ...), a perturbation to begin from, such as that of a smaller budget; the result is at
                least as good, as far as the precision of the search can tell.
            valid_range: (lowest, highest) value an input can have, in its units; a log spectrogram is never
                below that of silence. Entries that already lie outside do not move further.
            names: n names for messages; positions by default.
            axes: What the axes of the inputs mean, for attacks with a region or transformations. The sample rate of
                waveforms, on which masking and the spectra of noise depend, is that of the axes.
            batch_size: Examples attacked together; 6 by default, 64 on a GPU.
            progress: Called with the number of example-iterations settled; their sum is n * iterations.
            output: Key of the emotions, for a model that returns a dict.
            trace: Record every step of the search in the result's ``trace``; numbers do not change. Attacks without
                a search of their own have none.

        Raises:
            AttackError: Inputs or a model that cannot be attacked, a prediction or an objective that is not finite,
                or a perturbation outside the budget. The message names the example.
            ConfigError: A batch size below 1, or an empty range.

        Warns:
            RandomModelWarning: The model draws random numbers.
        """
        with left_as_found(model):
            examples = Examples.checked(inputs, targets, names, start, axes)
            self._check(examples, valid_range)
            evaluate = Evaluator(model, output, may_be_random=self.is_averaged)
            report = progress or (lambda done: None)
            results = []
            for chunk in examples.chunks(batch_size):
                recorder = Recorder(chunk.names) if trace else None
                result = self._attack(AttackJob(evaluate, chunk, valid_range, report, recorder))
                results.append(result if recorder is None else replace(result, trace=recorder.trace()))
            return joined(results)

    def _check(self, examples: Examples, valid_range: Range | None) -> None:
        """Raise `AttackError` or `ConfigError` for arguments that this attack cannot use."""
        if reason := self.refusal(examples.targets.shape[1]):
            raise AttackError(reason)

    @abc.abstractmethod
    def _attack(self, job: AttackJob) -> AttackResult:
        """Attack checked examples together."""


def from_dict(description: Mapping[str, Any], **parts: Any) -> Attack:
    """Build the attack that `to_dict` described. Only registered classes are built; nothing is evaluated.

    Args:
        description: What `to_dict` returned, perhaps read from JSON. Settings that are absent have their defaults.
        parts: Settings that no description holds, such as the ``source`` of `Transfer`.

    Raises:
        ConfigError: An unknown attack, objective, norm or setting, or a value out of range.
    """
    attack: Attack = build(ATTACKS, description, parts)
    return attack


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and targets that belong together and may be attacked.

    Attributes:
        inputs: (n, ...) floating point, finite, detached, contiguous.
        targets: (n, emotions), same dtype and device as the inputs.
        names: n names for messages; the position where the caller gave none.
        start: (n, ...), perturbations to begin from; None without any.
        axes: What the axes of the inputs mean; None where it is not known.
    """

    inputs: Tensor
    targets: Tensor
    names: tuple[str, ...]
    start: Tensor | None = None
    axes: Axes | None = None

    @classmethod
    def checked(
        cls,
        inputs: Tensor,
        targets: Tensor,
        names: Sequence[str] | None = None,
        start: Tensor | None = None,
        axes: Axes | None = None,
    ) -> Examples:
        """Examples that passed every check; the targets take the dtype and device of the inputs.

        Args:
            inputs: (n, ...).
            targets: (n, emotions), or (n,) for one emotion.
            names: n names.
            start: (n, ...).
            axes: What the axes of the inputs mean.

        Raises:
            AttackError: Not a floating point batch, not finite, or sizes that do not match.
        """
        _check_batch("inputs", inputs, axes="(n, ...)", least_axes=2)
        _check_batch("targets", targets, axes="(n, emotions)", least_axes=1)
        count = len(inputs)
        # A copy made outside inference mode is an ordinary tensor, whatever the caller's was.
        rows = targets.detach().to(inputs.device, inputs.dtype, copy=True)
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or len(rows) != count:
            raise AttackError(
                f"Targets of shape {tuple(targets.shape)} do not fit {counted(count, 'input')}: "
                "give one row of emotions per input."
            )
        if names is not None and len(names) != count:
            raise AttackError(
                f"Got {counted(len(names), 'name')} for {counted(count, 'input')}: give one name per input."
            )
        labels = tuple(str(name) for name in (range(count) if names is None else names))
        _check_finite("inputs", inputs, labels)
        _check_finite("targets", rows, labels)
        if start is not None:
            _check_batch("perturbations of start", start, axes="like the inputs", least_axes=1)
            if start.shape != inputs.shape:
                raise AttackError(
                    f"start has shape {tuple(start.shape)}, but the inputs have {tuple(inputs.shape)}: "
                    "give one perturbation per input."
                )
            _check_finite("perturbations of start", start, labels)
            start = start.detach().to(inputs, copy=True)
        return cls(inputs.detach().clone(memory_format=torch.contiguous_format), rows, labels, start, axes)

    def chunks(self, size: int | None) -> Iterator[Examples]:
        """The examples in order, ``size`` at a time (`default_batch_size` for None). Raises `ConfigError`."""
        size = default_batch_size(self.inputs.device) if size is None else size
        require_whole("batch_size", size, 1)
        for first in range(0, len(self.names), size):
            part = slice(first, first + size)
            start_rows = None if self.start is None else self.start[part]
            yield Examples(self.inputs[part], self.targets[part], self.names[part], start_rows, self.axes)


@dataclass(frozen=True, eq=False)
class AttackJob:
    """Examples that are attacked together, and the model that is attacked; a recorder is given every evaluation."""

    evaluate: Evaluate
    examples: Examples
    valid_range: Range | None
    progress: Progress
    recorder: Recorder | None = None


def default_batch_size(device: torch.device) -> int:
    """How many examples are attacked together by default."""
    return DEFAULT_BATCH_SIZE if device.type == "cpu" else GPU_BATCH_SIZE


def _check_batch(role: str, values: Tensor, *, axes: str, least_axes: int) -> None:
    if not isinstance(values, Tensor):
        raise AttackError(
            f"The {role} must be a floating point tensor {axes}, got a {type(values).__name__}."
        )
    if not values.is_floating_point():
        raise AttackError(f"The {role} must be floating point, got {values.dtype}: convert with .float().")
    if values.ndim < least_axes or values.numel() == 0:
        raise AttackError(f"The {role} must be a non-empty batch {axes}, got shape {tuple(values.shape)}.")


def _check_finite(role: str, values: Tensor, names: Sequence[str]) -> None:
    bad = ~torch.isfinite(values.detach()).flatten(1).all(dim=1).cpu().numpy()
    if bad.any():
        raise AttackError(
            f"The {role} of {listed(names, bad)} contain NaN or infinity: repair or remove them."
        )


Result = TypeVar("Result", bound=AttackResult)


def joined(parts: Sequence[Result]) -> Result:
    """Join the results of consecutive chunks."""
    kind = type(parts[0])
    columns: dict[str, Any] = {}
    for name in (column.name for column in dataclasses.fields(kind)):
        values = [getattr(part, name) for part in parts]
        columns[name] = _joined_values(values)
    return kind(**columns)


def _joined_values(values: Sequence[Any]) -> Any:
    if isinstance(values[0], dict):
        return {name: torch.cat([value[name] for value in values]) for name in values[0]}
    if isinstance(values[0], Trace):
        return Trace.joined(values)
    return None if values[0] is None else torch.cat(list(values))
