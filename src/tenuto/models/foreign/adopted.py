"""The module that a foreign model becomes: it takes inputs of the toolkit and returns (clips, outputs)."""

from __future__ import annotations

import contextlib
import copy
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tenuto.errors import ModelError, TenutoError, counted, one_line
from tenuto.models.foreign.outputs import UnfitOutputError, to_matrix

Layout = Literal["as it is", "with a channel axis", "without the channel axis"]
LAYOUTS: tuple[Layout, ...] = ("as it is", "with a channel axis", "without the channel axis")


class Adopted(nn.Module):
    """A foreign model. It stays in evaluation mode, changes neither its weights nor its inputs, and can be copied.

    Attributes:
        model: The foreign model.
        source: What messages name.
        outputs: Number of outputs; None until the first prediction.
        output: Which part of what the model returns, see `tenuto.models.foreign.outputs.to_matrix`.
        layout: Whether an axis of length one is added to, or removed from, inputs at position 1.
        batch: Number of clips the model takes at a time; None: any.

    Shape:
        - input: (clips, ...)
        - output: (clips, outputs), float32, or float64 for inputs of that type

    Raises:
        ModelError: The model fails, returns another number of outputs, or values that are not finite.
    """

    def __init__(
        self,
        model: nn.Module,
        source: str,
        *,
        output: str | None = None,
        outputs: int | None = None,
        layout: Layout = "as it is",
        batch: int | None = None,
    ) -> None:
        super().__init__()
        self.model, self.source, self.output, self.outputs = model, source, output, outputs
        self.layout, self.batch = layout, batch
        self.training = False
        self.is_recurrent = any(
            isinstance(part, nn.RNNBase) or getattr(part, "original_name", None) in RECURRENT
            for part in model.modules()
        )

    def forward(self, inputs: Tensor) -> Tensor:
        if self.batch is None:
            rows = self._call(inputs)
        else:
            rows = torch.cat(
                [self._call_padded(part, self.batch) for part in torch.split(inputs, self.batch)]
            )
        if self.outputs is not None and rows.shape[1] != self.outputs:
            number, names = rows.shape[1], self.outputs
            raise ModelError(
                f"{self.source}: it has {counted(number, 'output')}, {names} {'is' if names == 1 else 'are'} "
                f"named. Name {number}, or choose another output."
            )
        is_tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        is_recorded = is_tracing or torch.compiler.is_exporting()
        if not is_recorded and (wrong := int((~torch.isfinite(rows)).sum())):
            raise ModelError(
                f"{self.source}: {wrong} of {rows.numel()} predictions are not finite (NaN or infinity). Check the "
                "model and the range of its inputs."
            )
        return rows.to(torch.float64 if inputs.dtype == torch.float64 else torch.float32)

    def _call_padded(self, inputs: Tensor, batch: int) -> Tensor:
        """Predict at most ``batch`` clips with a model that takes exactly so many."""
        padding = batch - len(inputs)
        padded = torch.cat([inputs, inputs[-1:].expand(padding, *inputs.shape[1:])]) if padding else inputs
        return self._call(padded)[: len(inputs)]

    def _call(self, inputs: Tensor) -> Tensor:
        arranged = arrange(inputs, self.layout).to(_dtype(self.model)).clone()
        has_no_gradient = self.is_recurrent and inputs.is_cuda  # with cuDNN, in evaluation mode
        try:
            with torch.backends.cudnn.flags(enabled=False) if has_no_gradient else contextlib.nullcontext():
                value = self.model(arranged)
        except (torch.OutOfMemoryError, TenutoError):
            raise
        except Exception as error:
            raise UnfitOutputError(
                f"{self.source}: its prediction failed for inputs of shape {tuple(arranged.shape)} "
                f"({describe(error)}). Correct the model, or choose another kind of input."
            ) from error
        try:
            return to_matrix(value, self.output, inputs.shape[0], inputs.device)
        except ModelError as error:
            raise type(error)(f"{self.source}: {error}") from error

    def train(self, mode: bool = True) -> Adopted:
        """Stay in evaluation mode: an adopted model is never trained, and exported ones refuse the call."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Adopted:
        twin = Adopted.__new__(Adopted)
        nn.Module.__init__(twin)
        twin.__dict__.update({name: value for name, value in self.__dict__.items() if name[:1] != "_"})
        twin.model = copy_module(self.model, memo)
        memo[id(self)] = twin
        return twin


class BlackBox(nn.Module):
    """A callable that gets NumPy arrays; nothing flows back through it. Copies share the callable."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Any:
        return self.function(inputs.detach().cpu().numpy().copy())

    def __deepcopy__(self, memo: dict[int, Any]) -> BlackBox:
        return type(self)(self.function)


class TensorFunction(BlackBox):
    """A callable that gets and returns tensors."""

    def forward(self, inputs: Tensor) -> Any:
        return self.function(inputs)


RECURRENT = ("LSTM", "GRU", "RNN")


def arrange(inputs: Tensor, layout: Layout) -> Tensor:
    """Add or remove an axis of length one at position 1."""
    if layout == "with a channel axis":
        return inputs.unsqueeze(1)
    return inputs.squeeze(1) if layout == "without the channel axis" else inputs


def copy_module(module: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Copy a module deeply, also one that keeps computed tensors, as weight normalisation does."""
    memo = {} if memo is None else memo
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    with quiet():
        return copy.deepcopy(module, memo)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Inside, what PyTorch remarks on its own formats is not shown: warnings, and tracebacks of what it then raises."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def describe(error: BaseException, file: str | None = None) -> str:
    """Type and message of an exception in one line, with the line of the user's file where it is known."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    message = one_line(str(error).strip() or "no message", 300)
    return f"{type(error).__name__}: {message}{f', line {lines[-1]}' if lines else ''}"


def _dtype(model: nn.Module) -> torch.dtype:
    """The type of a model's weights where all have the same, else float32."""
    types = {weight.dtype for weight in model.parameters() if weight.is_floating_point()}
    return types.pop() if len(types) == 1 else torch.float32
