"""Call a model under attack: copies go in and come out, and the model is left as it was."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import is_lazy

from tenuto.errors import AttackError, RandomModelWarning, counted, did_you_mean, one_line

Model = Callable[[Tensor], Any]
"""Any callable from inputs to emotions; `Evaluator` lists what it may return."""

SAME_OUTPUT = 1e-3
"""Largest difference of two predictions of one input, relative to the largest prediction, that rounding explains."""

CHECKED = 2
"""Evaluations that are checked for randomness."""


class Outputs(NamedTuple):
    """What a model predicts for n examples: emotions (n, emotions) and, with a bottleneck, concepts (n, concepts)."""

    emotions: Tensor
    concepts: Tensor | None

    def take(self, rows: Tensor) -> Outputs:
        """Select some of the examples."""
        return Outputs(self.emotions[rows], None if self.concepts is None else self.concepts[rows])

    def copy(self) -> Outputs:
        """The same values in memory of their own, since an objective may work in place; gradients pass through."""
        return Outputs(self.emotions.clone(), None if self.concepts is None else self.concepts.clone())


class Evaluator:
    """A model as attacks call it, during one attack.

    Each evaluation gets a tensor of its own, and its outputs are copied. So a model may change its input in place or
    return the same buffer every time. A model that draws random numbers causes one `RandomModelWarning`.

    Args:
        model: Callable from inputs (n, ...) to a tensor of emotions (n, emotions); to an object with ``emotions`` and
            perhaps ``concepts``; to a tuple or list, of which the first entry is taken; or to a dict with the keys
            ``emotions`` and perhaps ``concepts``, or with a single entry. A single output may have shape (n,).
        output: Key of the emotions in a dict with other keys.
        may_be_random: Leave out the warning, for an attack that averages over draws.

    Attributes:
        dtype: Of the emotions as the model returned them, after an evaluation.
        is_known_random: Whether the warning has been given, or is left out.
    """

    dtype: torch.dtype

    def __init__(self, model: Model, output: str | None = None, may_be_random: bool = False) -> None:
        self.model = model
        self.output = output
        self._first: tuple[Tensor, Tensor] | None = None
        self._evaluations = CHECKED if may_be_random else 0
        self.is_known_random = may_be_random
        self._has_run = False

    def __call__(self, inputs: Tensor, like: Tensor) -> Outputs:
        """Evaluate the model at inputs (n, ...).

        Args:
            inputs: Inputs; never changed.
            like: (n, emotions), targets that give the expected shape, the dtype and the device.

        Raises:
            AttackError: No emotions in the output, emotions of another shape, complex outputs, a prediction that
                depends on the other examples of its batch, weights that allow no gradient, or weights of another
                floating point type than the inputs, which the model cannot combine.
        """
        before = None if self._evaluations else _random_state()
        try:
            with contextlib.nullcontext() if self._has_run else _checked_normalisation():
                returned = self.model(inputs.clone())
        except RuntimeError as error:
            if "nference tensor" in str(error):
                raise AttackError(
                    "The model holds tensors made in torch.inference_mode, which allow no gradient: "
                    "create or load the model outside of it."
                ) from error
            if dtype := _other_dtype(self.model, inputs):
                is_coarse = dtype not in (torch.float32, torch.float64)
                role, suitable = ("model", inputs.dtype) if is_coarse else ("inputs", dtype)
                raise AttackError(
                    f"The inputs are {inputs.dtype}, but the model's weights are {dtype}: convert one of them, for "
                    f"example the {role} with .to({suitable})."
                ) from error
            raise
        self._has_run = True
        emotions = _emotions(returned, like, self.output)
        self.dtype = emotions.dtype
        outputs = Outputs(emotions.to(like, copy=True), _concepts_of(returned, like))
        self._evaluations += 1
        if self._evaluations <= CHECKED and self._is_random(inputs, outputs.emotions.detach(), before):
            self._evaluations = CHECKED
            self._warn()
        return outputs

    def compare(self, first: Tensor, second: Tensor) -> None:
        """Warn, unless that has been done, where two predictions (n, emotions) of the same inputs differ."""
        has_tf32 = first.is_cuda and torch.backends.cudnn.allow_tf32
        if self.is_known_random or has_tf32 or torch.is_autocast_enabled(first.device.type):
            return
        if (first - second).abs().max() > SAME_OUTPUT * second.abs().max():
            self._warn()

    def _warn(self) -> None:
        self.is_known_random = True
        warnings.warn(
            "The model is random: it draws random numbers in evaluation mode, or two predictions of one input "
            "differ. Results depend on chance. Switch off its dropout or noise, reset what it keeps from call to "
            "call, or average over draws: transformations=Transformations(draws=8), on the command line --draws 8.",
            RandomModelWarning,
            stacklevel=3,
        )

    def _is_random(self, inputs: Tensor, emotions: Tensor, before: tuple[Any, ...] | None) -> bool:
        """Whether the first evaluation drew random numbers, or the second one of the same inputs differs."""
        if self._first is None:
            self._first = inputs.detach().clone(), emotions
            return before != _random_state()
        (first_inputs, first), self._first = self._first, None
        if torch.is_autocast_enabled(inputs.device.type) or not torch.equal(first_inputs, inputs.detach()):
            return False
        return bool((first - emotions).abs().max() > SAME_OUTPUT * first.abs().max())


@contextlib.contextmanager
def _checked_normalisation() -> Iterator[None]:
    """Refuse, inside this block, normalisation with the statistics of a batch, wherever a model keeps the layer."""

    def check(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if not isinstance(module, _BatchNorm):
            return
        if module.training:
            raise AttackError(
                f"The model evaluates a {type(module).__name__} in training mode, so every prediction depends on the "
                "rest of its batch and changes the model. Call .eval() on the network, and pass the network itself."
            )
        if module.running_mean is None and len(arguments[0]) > 1:
            raise AttackError(
                f"The model has a {type(module).__name__} without running statistics, so every prediction depends on "
                "the rest of its batch. Use batch_size=1, or a network with track_running_stats=True."
            )

    handle = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()


def _other_dtype(model: Model, inputs: Tensor) -> torch.dtype | None:
    """The floating point type of a module's weights where none of them has that of the inputs, else None."""
    weights = model.parameters() if isinstance(model, nn.Module) else ()
    dtypes = [weight.dtype for weight in weights if weight.is_floating_point()]
    return dtypes[0] if dtypes and inputs.dtype not in dtypes else None


def _random_state() -> tuple[Any, ...]:
    """The state of the global random number generators."""
    legacy: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states.append(torch.cuda.get_rng_state())
    return random.getstate(), legacy[1].tobytes(), legacy[2], *(state.numpy().tobytes() for state in states)


def emotions_of(returned: Any, like: Tensor, output: str | None = None) -> Tensor:
    """Copy the emotions out of what a model returned; see `Evaluator` for what that may be.

    Args:
        returned: What the model returned.
        like: (n, emotions), targets that give the expected shape, the dtype and the device.
        output: Key of the emotions, where a dict was returned.

    Raises:
        AttackError: There are no emotions, they have another shape than ``like``, or they are complex.
    """
    return _emotions(returned, like, output).to(like, copy=True)


def _emotions(returned: Any, like: Tensor, output: str | None) -> Tensor:
    """The emotions themselves, in the model's own floating point type."""
    emotions = _pick(returned, output)
    if not isinstance(emotions, Tensor):
        raise AttackError(
            f"The model returned a {type(returned).__name__} without emotions. It must return a tensor, an object or "
            "dict with 'emotions', or a tuple whose first entry is a tensor."
        )
    if len(like) == 1 and emotions.ndim < 2:  # a model that squeezes drops the axis of a single example
        emotions = emotions.reshape(1, -1)
    if emotions.ndim == 1 and like.shape[1] == 1:
        emotions = emotions[:, None]
    if emotions.shape != like.shape:
        raise AttackError(
            f"The model returned emotions of shape {tuple(emotions.shape)}, but the targets have shape "
            f"{tuple(like.shape)}: attack it with the labels it was trained for."
        )
    return _real(emotions, "emotions")


def _real(values: Tensor, role: str) -> Tensor:
    """The values. Raises `AttackError` for complex ones, which a cast would take the imaginary part from."""
    if values.is_complex():
        raise AttackError(f"The model returned complex {role}: return real ones, for example with .abs().")
    return values


def _pick(returned: Any, output: str | None) -> Any:
    if isinstance(returned, Mapping):
        return _entry(returned, output)
    if output is not None:
        raise AttackError(
            f"output is {output!r}, but the model returned a {type(returned).__name__}: leave output out, it is the "
            "key of a dict."
        )
    if isinstance(returned, Tensor):
        return returned
    if isinstance(returned, tuple | list) and not hasattr(returned, "emotions"):
        return returned[0] if returned else None
    return getattr(returned, "emotions", None)


def _entry(returned: Mapping[Any, Any], output: str | None) -> Any:
    if output is None:
        output = next(iter(returned)) if len(returned) == 1 else "emotions"
    if output not in returned:
        raise AttackError(
            f"The model returned a dict without the key {output!r}. Name the key of the emotions with output=. "
            f"{did_you_mean(str(output), map(str, returned))}"
        )
    return returned[output]


def _concepts_of(returned: Any, like: Tensor) -> Tensor | None:
    concepts = (
        returned.get("concepts") if isinstance(returned, Mapping) else getattr(returned, "concepts", None)
    )
    if not isinstance(concepts, Tensor):
        return None
    if concepts.ndim != 2 or len(concepts) != len(like):
        raise AttackError(
            f"The model returned concepts of shape {tuple(concepts.shape)} for {counted(len(like), 'input')}. "
            "Their shape must be (inputs, concepts)."
        )
    return _real(concepts, "concepts").to(like, copy=True)


def input_gradient(losses: Tensor, point: Tensor) -> Tensor:
    """Differentiate every example's own loss with respect to its own rows of ``point``.

    The losses are summed, so that an example's gradient does not depend on the size of its batch.

    Raises:
        AttackError: The losses do not depend on ``point``, or not differentiably.
    """
    gradient = None
    if losses.requires_grad:
        try:
            (gradient,) = torch.autograd.grad(losses.sum(), point, allow_unused=True)
        except RuntimeError as error:
            if "not implemented" not in str(error):
                raise
            reason = one_line(error).rstrip(".")
            raise AttackError(f"PyTorch cannot compute a gradient of the model ({reason}).") from error
    if gradient is None:
        raise AttackError(
            "The model's output has no gradient with respect to its input: "
            "call the network itself, without torch.no_grad, detach or NumPy."
        )
    return gradient


@contextlib.contextmanager
def left_as_found(model: Model) -> Iterator[None]:
    """Attack inside this block: a module is in evaluation mode, and its weights collect no gradients.

    On leaving, also by an exception, every submodule has its mode and every weight its ``requires_grad`` back;
    ``.grad`` is never touched. Weights and buffers made in ``torch.inference_mode`` are replaced by copies inside the
    block. A callable that is no ``nn.Module`` must be in evaluation mode already. Gradients are recorded in the block
    even if the caller switched them off.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    with contextlib.ExitStack() as restored, torch.inference_mode(False), torch.enable_grad():
        for module in modules:
            _replace_inference_tensors(module, restored)
            if hasattr(module, "training"):  # a frozen TorchScript module has no mode
                restored.callback(setattr, module, "training", module.training)
                module.training = False
        for weight in model.parameters() if isinstance(model, nn.Module) else ():
            restored.callback(weight.requires_grad_, weight.requires_grad)
            weight.requires_grad_(False)
        yield


def _replace_inference_tensors(module: nn.Module, restored: contextlib.ExitStack) -> None:
    """Put copies that allow gradients in place of a module's inference tensors, until ``restored`` closes."""
    everything: tuple[Any, ...] = (module._parameters, module._buffers)
    for slots in everything:
        if not isinstance(slots, dict):  # TorchScript
            continue
        for name, value in slots.items():
            if is_lazy(value):
                raise AttackError(
                    f"The model's {type(module).__name__} has no weights yet: call the model once on an input, or load "
                    "its checkpoint."
                )
            if value is not None and value.is_inference():
                restored.callback(slots.__setitem__, name, value)
                copied = value.detach().clone()
                slots[name] = nn.Parameter(copied) if isinstance(value, nn.Parameter) else copied


def as_doubles(values: Tensor) -> NDArray[np.float64]:
    """A tensor as an array on the CPU in doubles; only there, since some devices have none."""
    return np.asarray(values.detach().cpu().double().numpy())
