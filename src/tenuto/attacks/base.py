"""What every attack promises: what it takes, what it returns, and that the model is left as it was found."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from tenuto.errors import AttackError, ConfigError

Model = Callable[[Tensor], Any]
"""Any callable from inputs to a tensor of emotions, or to an object whose ``emotions`` is that tensor."""

Progress = Callable[[int], None]

DEFAULT_BATCH_SIZE = 6
"""Examples attacked together on a CPU; some 0.1 GB with the paper's network and float32.

Twelve are slower on a CPU: their largest activations exceed the 32 MB up to which the C library keeps memory for
reuse, so every iteration pays for fresh pages.
"""

GPU_BATCH_SIZE = 64
"""Examples attacked together on a GPU, which few examples leave idle; some 1 GB."""


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack found, one row or one value per example, in the order of the inputs.

    ``perturbation`` and ``adversarial_prediction`` always belong to the same input. The three fields with
    more than one axis live on the device of the inputs, the one-value-per-example fields on the CPU.

    Attributes:
        perturbation: (n, 1, frames, bands), added to the inputs, in their units.
        clean_prediction: (n, emotions), at the unperturbed inputs.
        adversarial_prediction: (n, emotions), at inputs + perturbation.
        loss: (n,) float64, the attack's objective at the adversarial prediction; of the released attack its mean
            squared error against the target.
        iterations: (n,) int64, iterations begun.
        forward_passes: (n,) int64, evaluations of the model.
        gradient_passes: (n,) int64, gradients used with respect to the input.
        converged: (n,) bool, the attack reached its goal and ended before its last iteration.
        clean_concepts: (n, concepts), where the model has a bottleneck and the attack looks at it; else None.
        adversarial_concepts: (n, concepts), at inputs + perturbation.
    """

    perturbation: Tensor
    clean_prediction: Tensor
    adversarial_prediction: Tensor
    loss: Tensor
    iterations: Tensor
    forward_passes: Tensor
    gradient_passes: Tensor
    converged: Tensor
    clean_concepts: Tensor | None = field(default=None, kw_only=True)
    adversarial_concepts: Tensor | None = field(default=None, kw_only=True)


class Attack(Protocol):
    """The call that all attacks share."""

    @property
    def iterations(self) -> int:
        """Most iterations that one example can take."""
        ...

    def __call__(
        self,
        model: Model,
        inputs: Tensor,
        targets: Tensor,
        *,
        names: Sequence[str] | None = None,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> AttackResult:
        """Attack ``model`` at ``inputs`` (n, 1, frames, bands) with labels ``targets`` (n, emotions)."""
        ...


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and targets that belong together and may be attacked.

    Attributes:
        inputs: (n, ...) floating point, finite, detached.
        targets: (n, emotions), same dtype and device as the inputs.
        names: n names for messages; the position where the caller gave none.
    """

    inputs: Tensor
    targets: Tensor
    names: tuple[str, ...]

    @classmethod
    def checked(cls, inputs: Tensor, targets: Tensor, names: Sequence[str] | None = None) -> Examples:
        """Examples that passed every check; the targets take the dtype and device of the inputs.

        Raises:
            AttackError: Not a floating point batch, not finite, or sizes that do not match.
        """
        _check_batch("inputs", inputs, axes="(n, 1, frames, bands)")
        _check_batch("targets", targets, axes="(n, emotions)")
        count = len(inputs)
        if targets.ndim != 2 or len(targets) != count:
            raise AttackError(
                f"Targets of shape {tuple(targets.shape)} do not fit {count} inputs: "
                "give one row of emotions per input."
            )
        if names is not None and len(names) != count:
            raise AttackError(f"{len(names)} names came with {count} inputs: give one name per input.")
        labels = tuple(str(name) for name in (range(count) if names is None else names))
        _check_finite("inputs", inputs, labels)
        _check_finite("targets", targets, labels)
        # A copy made outside inference mode is an ordinary tensor, whatever the caller's was.
        rows = targets.detach().to(inputs.device, inputs.dtype, copy=True)
        return cls(inputs.detach().clone(), rows, labels)

    def chunks(self, size: int | None) -> Iterator[Examples]:
        """The examples in order, ``size`` at a time (`default_batch_size` for None). Raises `ConfigError`."""
        size = default_batch_size(self.inputs.device) if size is None else size
        if size < 1:
            raise ConfigError(f"batch_size is {size}, wanted at least 1.")
        for start in range(0, len(self.names), size):
            part = slice(start, start + size)
            yield Examples(self.inputs[part], self.targets[part], self.names[part])


def default_batch_size(device: torch.device) -> int:
    """How many examples are attacked together where nobody says."""
    return DEFAULT_BATCH_SIZE if device.type == "cpu" else GPU_BATCH_SIZE


def _check_batch(role: str, values: Tensor, *, axes: str) -> None:
    if not isinstance(values, Tensor):
        raise AttackError(f"The {role} are a {type(values).__name__}, wanted a floating point tensor {axes}.")
    if not values.is_floating_point():
        raise AttackError(f"The {role} are {values.dtype}, wanted floating point: convert with .float().")
    if values.ndim < 2 or values.numel() == 0:
        raise AttackError(f"The {role} have shape {tuple(values.shape)}, wanted a filled batch {axes}.")


def _check_finite(role: str, values: Tensor, names: Sequence[str]) -> None:
    bad = ~torch.isfinite(values.detach()).flatten(1).all(dim=1).cpu().numpy()
    if bad.any():
        raise AttackError(f"The {role} of {listed(names, bad)} hold NaN or infinity: repair or leave out.")


def listed(names: Sequence[str], chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    """The chosen names in a row, at most five of them: ``clip 007`` or ``clips 007, 012``."""
    picked = [name for name, wanted in zip(names, chosen, strict=True) if wanted]
    more = f" and {len(picked) - 5} more" if len(picked) > 5 else ""
    return f"clip{'s' if len(picked) > 1 else ''} {', '.join(picked[:5])}{more}"


def emotions_of(output: Any, like: Tensor) -> Tensor:
    """The emotions in what a model returned, with the dtype and device of the targets.

    Args:
        output: A tensor, or an object whose attribute ``emotions`` is one.
        like: (n, emotions), the targets whose shape the emotions must have.

    Raises:
        AttackError: No tensor there, or one of another shape.
    """
    emotions = output if isinstance(output, Tensor) else getattr(output, "emotions", None)
    if not isinstance(emotions, Tensor):
        raise AttackError(
            f"The model returned a {type(output).__name__}, "
            "wanted a tensor or an object whose 'emotions' is a tensor."
        )
    if emotions.shape != like.shape:
        raise AttackError(
            f"The model returned emotions of shape {tuple(emotions.shape)}, the targets have "
            f"{tuple(like.shape)}: attack it with the labels it was trained for."
        )
    return emotions.to(like)


def input_gradient(losses: Tensor, point: Tensor) -> Tensor:
    """Gradient of every example's own loss with respect to its own rows of ``point``.

    The losses are summed, so that an example's gradient does not depend on the size of its batch.

    Raises:
        AttackError: The losses do not depend on ``point``, or not differentiably.
    """
    gradient = None
    if losses.requires_grad:
        (gradient,) = torch.autograd.grad(losses.sum(), point, allow_unused=True)
    if gradient is None:
        raise AttackError(
            "The model's output has no gradient with respect to its input: "
            "call the network itself, without torch.no_grad, detach or NumPy."
        )
    return gradient


@contextlib.contextmanager
def left_as_found(model: Model) -> Iterator[None]:
    """Attack inside this block: a module is in evaluation mode, its weights collect no gradients.

    On leaving, also by an exception, every submodule has its mode and every weight its ``requires_grad``
    back; ``.grad`` is never touched. Of a callable that is no ``nn.Module`` nothing is known: bring it in
    evaluation mode. Gradients are recorded in the block even where the caller switched them off.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    weights = list(model.parameters()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    wanted = [weight.requires_grad for weight in weights]
    try:
        for module in modules:
            module.training = False
        for weight in weights:
            weight.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        for weight, flag in zip(weights, wanted, strict=True):
            weight.requires_grad_(flag)


Result = TypeVar("Result", bound=AttackResult)


def joined(parts: Sequence[Result]) -> Result:
    """One result out of those of consecutive chunks."""
    kind = type(parts[0])
    names = [column.name for column in dataclasses.fields(kind)]
    columns: dict[str, Any] = {}
    for name in names:
        values = [getattr(part, name) for part in parts]
        columns[name] = None if values[0] is None else torch.cat(values)
    return kind(**columns)


def call_repr(attack: Any) -> str:
    """The call that makes a dataclass instance, with its non-default arguments only."""
    given = [
        f"{setting.name}={getattr(attack, setting.name)!r}"
        for setting in dataclasses.fields(attack)
        if setting.repr
        and (setting.default is dataclasses.MISSING or getattr(attack, setting.name) != setting.default)
    ]
    return f"{type(attack).__name__}({', '.join(given)})"


def is_number(value: Any) -> bool:
    """A finite int or float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def require_whole(name: str, value: Any, least: int) -> None:
    """Raise `ConfigError` unless a setting is a whole number from ``least`` on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} is {value!r}, wanted a whole number from {least} on.")
