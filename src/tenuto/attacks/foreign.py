"""Attacks of other packages, or of the user, under the promises of Tenuto's own."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tenuto.attacks.base import Access, Range
from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import L2, TOLERANCE, Budget, Linf
from tenuto.attacks.calling import Model, left_as_found
from tenuto.attacks.registry import ATTACKS
from tenuto.attacks.search import Search
from tenuto.errors import AttackError, ConfigError, TenutoError, one_line

Call = Callable[["AttackedModel", Tensor, Tensor], Any]
"""From a model, one input (1, ...) and its label (1, emotions) to the adversarial input (1, ...)."""


class AttackedModel(nn.Module):
    """The model as a foreign attack calls it on one example: it counts passes, and knows what counts.

    Attributes:
        budget: The budget around the example.
        valid_range: (lowest, highest) value of an entry; None without limits.
        goal: Value of the objective that counts as a success: ``stop_at`` of the attack, or the clean value.
    """

    def __init__(self, search: Search, row: Tensor) -> None:
        super().__init__()
        self.budget: Budget = search.budget.take(row)
        self.valid_range: Range | None = search.task.valid_range
        clean = float(search.clean_value[row])
        self.goal = clean if math.isinf(search.task.stop_at) else search.task.stop_at
        self.forward_passes = self.gradient_passes = 0
        self._search, self._row = search, row
        self._noted: list[list[Any]] = []
        # Other packages take the device of a model from its weights.
        self.place = nn.Parameter(torch.zeros((), device=search.inputs.device), requires_grad=False)

    def forward(self, points: Tensor) -> Tensor:
        """The emotions (k, emotions) at points (k, ...) near the example."""
        return self._counting(self._evaluate(points)[0])

    def objective(self, points: Tensor) -> Tensor:
        """The objective (k,) at points (k, ...), with a gradient."""
        return self._counting(self._evaluate(points)[1])

    def _evaluate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Emotions and objective. Raises `AttackError` where they are not finite."""
        rows = self._row.expand(len(points))
        self.forward_passes += len(points)
        targets = self._search.task.examples.targets[rows]
        points = points.to(self._search.inputs)
        outputs = self._search.evaluate(points, targets)
        values = self._search.judge(outputs, rows)
        self._note(points.detach(), values, outputs.emotions)
        return outputs.emotions, values

    def _note(self, points: Tensor, values: Tensor, emotions: Tensor) -> None:
        """Keep what the trace says of points (k, ...), but for those that the attack may not return."""
        task, inputs = self._search.task, self._search.inputs[self._row]
        # With transformations the trace holds means over draws, which these values are not.
        if task.recorder is None or task.transformations is not None or points.shape[1:] != inputs.shape[1:]:
            return
        for point, value, predicted in zip(points, values, emotions, strict=True):
            delta = point[None] - inputs
            if self._is_allowed(delta):
                numbers = (value[None], self.budget.size(delta), predicted[None])
                self._noted.append([one.tolist() for one in numbers])

    def record(self) -> None:
        """Add the points that were noted to the trace.

        This happens after the search: inside of `torch.func.grad` tensors have no memory of their own.
        """
        for numbers in self._noted:
            assert self._search.task.recorder is not None
            self._search.task.recorder.add(
                self._row, *(torch.tensor(one, dtype=torch.float64) for one in numbers)
            )

    def _is_allowed(self, delta: Tensor) -> bool:
        """Whether a perturbation (1, ...) is, up to rounding, in the budget, the region and the valid range."""
        inputs, budget = self._search.inputs[self._row], self.budget
        rounding = torch.finfo(inputs.dtype).eps * (inputs.abs() + delta.abs())
        excess = budget.size(self._search.allowed(delta, self._row) - delta)
        return bool(excess <= budget.size(rounding) + TOLERANCE * budget.epsilon)

    def _counting(self, values: Tensor) -> Tensor:
        """Values (k, ...) whose gradient is counted where it is computed."""
        if values.requires_grad:
            values.register_hook(self._count)  # type: ignore[no-untyped-call]
        return values

    def _count(self, gradient: Tensor) -> None:
        self.gradient_passes += len(gradient)


class TwoClasses(nn.Module):
    """The model as a classifier of two classes: 0, and 1 where the objective exceeds the goal.

    The logits at a point are 0 and the objective minus the goal. The cross-entropy of class 0 rises with the objective,
    so an attack on it raises the objective.
    """

    def __init__(self, model: AttackedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, points: Tensor) -> Tensor:
        """The logits (k, 2)."""
        excess = self.model.objective(points) - self.model.goal
        return torch.stack([torch.zeros_like(excess), excess], dim=1)


@ATTACKS.register("Foreign")
@dataclass(frozen=True, kw_only=True, repr=False)
class Foreign(BoundedAttack):
    """An attack of another package, or a function of the user's, that keeps the promises of `BoundedAttack`.

    The function is called for one example at a time, with the random generators seeded by the example and ``seed``. Of
    what it returns the size is measured, and a perturbation larger than the budget is refused. Its evaluations of the
    model and its gradients are counted, and the returned prediction is made by Tenuto. After every call the network has
    its mode back, and a function that changed its weights is refused.

    Args:
        call: From an `AttackedModel`, one input (1, ...) and its label (1, emotions) to the adversarial input (1, ...);
            `from_foolbox` and `from_torchattacks` make such functions.
        name: What it is called in rows; by default the name of the function. Give other settings another name.

    Raises:
        ConfigError: A setting out of range, `Unbounded`, no function, or one without a name.
    """

    access: ClassVar[Access] = "foreign"
    needs_epsilon = True
    iterations: ClassVar[int] = 1

    call: Call = field(repr=False, compare=False)
    name: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.call):
            raise ConfigError(f"call must be a function (model, inputs, labels), got {self.call!r}.")
        name = self.name or getattr(self.call, "__name__", "")
        if not name or name == "<lambda>":
            raise ConfigError("The function of a Foreign attack has no name: give name, which rows show.")
        object.__setattr__(self, "name", name)

    @property
    def title(self) -> str:
        return self.name

    def search(self, search: Search) -> None:
        rows = search.unfinished()
        if search.has_start and len(rows):
            search.values(search.first(rows, scattered=False), rows)
        if not len(rows):
            return
        state = _State(search.task.evaluate.model)
        delta = torch.cat([self._perturbation(search, row, state) for row in rows[:, None]])
        self._refuse(search, delta, rows)
        search.values(search.allowed(delta, rows), rows)

    def _perturbation(self, search: Search, row: Tensor, state: _State) -> Tensor:
        """The perturbation of one example, (1, ...), as the function returns it; ``state`` is that of the model."""
        inputs, place = search.inputs[row], int(row)
        model, name = AttackedModel(search, row).eval(), search.task.examples.names[place]
        seed = int(search.generators(row)[0].integers(2**32))
        try:
            with _seeded(seed, inputs.device), state.preserve():
                returned = self.call(model, inputs.clone(), search.task.examples.targets[row].clone())
        except TenutoError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise AttackError(f"{self.name} failed on clip {name} ({reason}).") from error
        if state.has_changed:
            raise AttackError(
                f"{self.name} changed the weights of the model on clip {name}: change a copy of the model instead."
            )
        if not isinstance(returned, Tensor) or returned.shape != inputs.shape:
            shape = tuple(returned.shape) if isinstance(returned, Tensor) else type(returned).__name__
            raise AttackError(
                f"{self.name} returned {shape} for clip {name}: it must return the adversarial input, a tensor of "
                f"shape {tuple(inputs.shape)}."
            )
        search.forwards[place] += model.forward_passes
        search.gradients[place] += model.gradient_passes
        model.record()
        search.tick(row)
        return returned.detach().to(inputs) - inputs

    def _refuse(self, search: Search, delta: Tensor, rows: Tensor) -> None:
        """Raise `AttackError` for perturbations that are not finite or exceed the budget by more than rounding."""
        budget, inputs = search.budget.take(rows), search.inputs[rows]
        # A sum of input and perturbation is rounded to the spacing of numbers of its size.
        rounding = budget.size(torch.finfo(inputs.dtype).eps * (inputs.abs() + delta.abs()))
        sizes, limit = budget.size(delta), budget.epsilon * (1 + TOLERANCE)
        bad = torch.nonzero(~(sizes <= limit + rounding)).flatten().tolist()
        if bad:
            names = [search.task.examples.names[int(rows[place])] for place in bad]
            listing = ", ".join(
                f"{name}: {float(sizes[place]):.6g}" for name, place in zip(names, bad, strict=True)
            )
            raise AttackError(
                f"{self.name} returned perturbations larger than its budget {budget!r} (size by clip: {listing}). "
                "Return points inside model.budget, or attack with a larger budget."
            )


class _State:
    """The weights and buffers of a model, which a function could change where it holds the model itself.

    Args:
        model: As for an attack; of a callable that is no ``nn.Module`` nothing is known.

    Attributes:
        has_changed: Whether weights were changed inside of a block of `preserve`.
    """

    def __init__(self, model: Model) -> None:
        self.modules = list(model.modules()) if isinstance(model, nn.Module) else []
        self.model, self.has_changed = model, False
        self._weights = self._tensors("parameters")
        self._copies = [(one, one.detach().clone()) for one in (*self._weights, *self._tensors("buffers"))]
        everything = [slots for module in self.modules for slots in (module._parameters, module._buffers)]
        places: list[Any] = [slots for slots in everything if isinstance(slots, dict)]  # not of TorchScript
        self._slots = [(slots, dict(slots)) for slots in places]

    def _tensors(self, kind: str) -> list[Tensor]:
        return list(getattr(self.model, kind)()) if self.modules else []

    @contextlib.contextmanager
    def preserve(self) -> Iterator[None]:
        """Give the model its state back, and the thread its gradient mode and default type, also after an error."""
        dtype = torch.get_default_dtype()
        try:
            with left_as_found(self.model):
                yield
        finally:
            torch.set_default_dtype(dtype)
            self._restore()

    def _restore(self) -> None:
        weights = self._tensors("parameters")
        self.has_changed |= [id(one) for one in weights] != [id(one) for one in self._weights]
        for slots, before in self._slots:
            slots.update(before)
        for tensor, copied in self._copies:
            if _same(tensor, copied):
                continue
            # A buffer may count calls, or be the statistics of a layer in training mode: that is no weight.
            self.has_changed |= isinstance(tensor, nn.Parameter)
            if tensor.shape == copied.shape and tensor.dtype == copied.dtype:
                tensor.data.copy_(copied)  # others may share its memory
            else:
                tensor.data = copied.clone()


def _same(tensor: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same entries; NaN is the same as NaN."""
    if tensor.shape != other.shape or tensor.dtype != other.dtype:
        return False
    return torch.equal(tensor, other) or bool(
        ((tensor == other) | ((tensor != tensor) & (other != other))).all()
    )


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global random generators, and give them their states back."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def from_foolbox(attack: Any) -> Call:
    """Make the function of a `Foreign` attack from an attack of foolbox on two classes, see `TwoClasses`.

    Args:
        attack: Such as ``foolbox.attacks.L2DeepFoolAttack()``. Its settings are in the units of the inputs.
    """

    def call(model: AttackedModel, inputs: Tensor, labels: Tensor) -> Any:
        from foolbox.criteria import Misclassification
        from foolbox.models.pytorch import PyTorchModel

        low, high = _box(model, inputs)
        classifier = PyTorchModel(TwoClasses(model).eval(), bounds=(low, high), device=inputs.device)
        first = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
        _, clipped, _ = attack(classifier, inputs, Misclassification(first), epsilons=model.budget.epsilon)
        return clipped

    call.__name__ = f"foolbox {attack!r}"
    return call


def from_torchattacks(make: Callable[[nn.Module, float], Any], name: str) -> Call:
    """Make the function of a `Foreign` attack from an attack of torchattacks on two classes, see `TwoClasses`.

    torchattacks takes inputs from 0 to 1, so the range of the example and its budget is scaled to that.

    Args:
        make: From the classifier and epsilon, both in the scaled units, to the attack, such as
            ``lambda model, eps: torchattacks.PGD(model, eps=eps, alpha=eps / 4, steps=20)``.
        name: What rows call it.
    """

    def call(model: AttackedModel, inputs: Tensor, labels: Tensor) -> Any:
        low, high = _box(model, inputs)
        span = high - low

        class Scaled(TwoClasses):
            def forward(self, points: Tensor) -> Tensor:
                return super().forward(points * span + low)

        first = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
        attack = make(Scaled(model).eval(), model.budget.epsilon / span)
        scaled = ((inputs - low) / span).clamp(0, 1)  # rounding may leave the range
        return inputs + (attack(scaled, first) - scaled) * span

    call.__name__ = name
    return call


def _box(model: AttackedModel, inputs: Tensor) -> Range:
    """The range of an example with any perturbation inside its budget, within the valid range."""
    if not isinstance(model.budget, Linf | L2):
        raise AttackError(
            f"The attacks of foolbox and torchattacks have the budgets Linf(...) and L2(...), got {model.budget!r}."
        )
    lowest, highest = float(inputs.min()), float(inputs.max())
    valid_low, valid_high = model.valid_range or (-math.inf, math.inf)
    low = max(lowest - model.budget.epsilon, min(valid_low, lowest))
    return low, min(highest + model.budget.epsilon, max(valid_high, highest))
