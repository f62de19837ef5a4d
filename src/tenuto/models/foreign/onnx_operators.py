"""The operators of ONNX that have an equivalent in torch: elementwise, reductions, and those that move values."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

TENSOR_TYPES = {
    **{1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64},
    **{9: torch.bool, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16},
}
"""Types by their number in ``onnx.TensorProto``."""


class UnsupportedError(Exception):
    """A part of an ONNX graph has no equivalent here."""


@dataclasses.dataclass(frozen=True)
class Node:
    """A node of a graph; ``operator`` has its domain in front where that is not the default one."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)


Operator = Callable[..., Any]
OPERATORS: dict[str, Operator] = {}
"""``operator(node, *inputs)`` by name; an optional input that is left out is None."""


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Return a decorator that enters a function into the table."""

    def enter(function: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return enter


def together(*values: Any) -> tuple[Any, ...]:
    """Tensors on one device: sizes and indices are computed on the CPU."""
    device = next(
        (value.device for value in values if value is not None and value.device.type != "cpu"), None
    )
    return (
        values if device is None else tuple(value if value is None else value.to(device) for value in values)
    )


def integers(value: Any) -> list[int]:
    """A tensor of sizes or axes as a list."""
    return [int(item) for item in value.reshape(-1).tolist()] if isinstance(value, Tensor) else list(value)


def axes_of(node: Node, value: Any, default: Sequence[int] | None = None) -> list[int] | None:
    """Axes: an input in newer opsets, an attribute in older ones."""
    axes = value if value is not None else node.get("axes", default)
    return None if axes is None else integers(axes)


def _elementwise(function: Callable[..., Tensor]) -> Operator:
    def compute(node: Node, *values: Tensor) -> Tensor:
        return function(*together(*values))

    return compute


def _power(base: Tensor, exponent: Tensor) -> Tensor:
    return torch.pow(base, exponent).to(base.dtype)


def _divided(left: Tensor, right: Tensor) -> Tensor:
    return left / right if left.is_floating_point() else torch.div(left, right, rounding_mode="trunc")


def _slope(values: Tensor, slope: Tensor) -> Tensor:
    return torch.where(values >= 0, values, slope * values)


NAMESAKES = (
    *("Relu", "Sigmoid", "Tanh", "Erf", "Sqrt", "Exp", "Log", "Abs", "Neg", "Sin", "Cos", "Tan", "Asin"),
    *("Acos", "Atan", "Sinh", "Cosh", "Floor", "Ceil", "Round", "Sign", "Reciprocal", "IsNaN", "IsInf"),
    *("Add", "Sub", "Mul", "MatMul", "Where"),
)
"""Operators that torch has under the same name, in lower case."""

ELEMENTWISE: dict[str, Callable[..., Tensor]] = {
    **{name: getattr(torch, name.lower()) for name in NAMESAKES},
    **{"Softsign": functional.softsign, "Mish": functional.mish, "Softplus": functional.softplus},
    **{"HardSwish": functional.hardswish, "Identity": lambda values: values, "Not": torch.logical_not},
    **{"Div": _divided, "Pow": _power, "PRelu": _slope, "Equal": torch.eq, "Less": torch.lt},
    **{"LessOrEqual": torch.le, "Greater": torch.gt, "GreaterOrEqual": torch.ge},
    **{"And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor},
    "Max": lambda *values: functools.reduce(torch.maximum, values),
    "Min": lambda *values: functools.reduce(torch.minimum, values),
    "Sum": lambda *values: functools.reduce(torch.add, values),
    "Mean": lambda *values: functools.reduce(torch.add, values) / len(values),
}
OPERATORS.update({name: _elementwise(function) for name, function in ELEMENTWISE.items()})

EXPRESSIONS: dict[str, Operator] = {
    "LeakyRelu": lambda node, x: functional.leaky_relu(x, node.get("alpha", 0.01)),
    "Elu": lambda node, x: functional.elu(x, node.get("alpha", 1.0)),
    "Selu": lambda node, x: node.get("gamma", 1.0507010) * functional.elu(x, node.get("alpha", 1.6732632)),
    "Celu": lambda node, x: functional.celu(x, node.get("alpha", 1.0)),
    "HardSigmoid": lambda node, x: (node.get("alpha", 0.2) * x + node.get("beta", 0.5)).clamp(0, 1),
    "Gelu": lambda node, x: functional.gelu(x, approximate=node.get("approximate", "none")),
    "ThresholdedRelu": lambda node, x: torch.where(x > node.get("alpha", 1.0), x, torch.zeros_like(x)),
    "Flatten": lambda node, x: x.reshape(math.prod(x.shape[: node.get("axis", 1)]), -1),
    "Transpose": lambda node, x: x.permute(node.get("perm", list(range(x.ndim))[::-1])),
    "Cast": lambda node, x: x.to(TENSOR_TYPES[node.get("to")]),
    "CastLike": lambda node, x, like: x.to(like.dtype),
    "Size": lambda node, x: torch.tensor(x.numel()),
    "Shape": lambda node, x: torch.tensor(x.shape[node.get("start", 0) : node.get("end")], dtype=torch.int64),
    "Range": lambda node, begin, end, by: torch.arange(
        begin.item(), end.item(), by.item(), dtype=begin.dtype
    ),
    "Concat": lambda node, *parts: torch.cat(together(*parts), dim=node.get("axis")),
    "Expand": lambda node, x, sizes: x.expand(np.broadcast_shapes(x.shape, tuple(integers(sizes)))),
    "Tile": lambda node, x, repeats: x.repeat(tuple(integers(repeats))),
    "Einsum": lambda node, *values: torch.einsum(node.get("equation"), *together(*values)),
    "GlobalAveragePool": lambda node, x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    "GlobalMaxPool": lambda node, x: x.amax(tuple(range(2, x.ndim)), keepdim=True),
}
OPERATORS.update(EXPRESSIONS)


@operator("Clip")
def clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    x, low, high = together(x, low, high)
    for limit, name in ((low, "min"), (high, "max")):
        bound = limit if limit is not None else node.get(name)
        if bound is not None:
            x = x.clamp(**{name: bound})
    return x


@operator("Mod")
def modulo(node: Node, left: Tensor, right: Tensor) -> Tensor:
    left, right = together(left, right)
    return torch.fmod(left, right) if node.get("fmod", 0) else torch.remainder(left, right)


@operator("Softmax", "LogSoftmax")
def softmax(node: Node, x: Tensor) -> Tensor:
    function = torch.softmax if node.operator == "Softmax" else torch.log_softmax
    if node.opset >= 13:
        return function(x, dim=node.get("axis", -1))
    axis = node.get("axis", 1) % x.ndim
    return function(x.flatten(axis), dim=-1).reshape(x.shape)


@operator("Dropout")
def dropout(node: Node, x: Tensor, ratio: Any = None, is_training: Tensor | None = None) -> Tensor:
    if is_training is not None and bool(is_training):
        raise UnsupportedError("Dropout in training mode")
    return x


REDUCTIONS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keep),
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keep),
}


@operator(*REDUCTIONS, "ReduceProd")
def reduce(node: Node, x: Tensor, axes_input: Tensor | None = None) -> Tensor:
    axes = axes_of(node, axes_input)
    if not axes and node.get("noop_with_empty_axes", 0):
        return x
    axes = axes or list(range(x.ndim))
    keep = bool(node.get("keepdims", 1))
    if node.operator != "ReduceProd":
        return REDUCTIONS[node.operator](x, axes, keep) if x.ndim else x
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keep)
    return x


@operator("ArgMax", "ArgMin")
def arg(node: Node, x: Tensor) -> Tensor:
    function = torch.argmax if node.operator == "ArgMax" else torch.argmin
    return function(x, dim=node.get("axis", 0), keepdim=bool(node.get("keepdims", 1)))


@operator("CumSum")
def cumulative_sum(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    dim = int(axis)
    total = x.flip(dim).cumsum(dim).flip(dim) if node.get("reverse", 0) else x.cumsum(dim)
    return total - x if node.get("exclusive", 0) else total


@operator("TopK")
def top(node: Node, x: Tensor, count: Tensor) -> Any:
    is_largest, is_sorted = bool(node.get("largest", 1)), bool(node.get("sorted", 1))
    return tuple(torch.topk(x, int(count), node.get("axis", -1), is_largest, is_sorted))


@operator("Constant")
def constant(node: Node) -> Tensor:
    for name, dtype in (("value_float", torch.float32), ("value_int", torch.int64)):
        for key in (name, f"{name}s"):
            if key in node.attributes:
                return torch.tensor(node.get(key), dtype=dtype)
    if not isinstance(node.get("value"), Tensor):
        raise UnsupportedError("a Constant that is no number")
    return torch.as_tensor(node.get("value"))


@operator("ConstantOfShape")
def constant_of_shape(node: Node, sizes: Tensor) -> Tensor:
    value = node.get("value", torch.zeros(1))
    return value.reshape(()).expand(tuple(integers(sizes))).clone()  # type: ignore[no-any-return]


@operator("Reshape")
def reshape(node: Node, x: Tensor, sizes: Tensor) -> Tensor:
    target = integers(sizes)
    if not node.get("allowzero", 0):
        target = [x.shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    return x.reshape(tuple(target))


@operator("Squeeze")
def squeeze(node: Node, x: Tensor, axes_input: Tensor | None = None) -> Tensor:
    axes = axes_of(node, axes_input)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@operator("Unsqueeze")
def unsqueeze(node: Node, x: Tensor, axes_input: Tensor | None = None) -> Tensor:
    axes = axes_of(node, axes_input) or []
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Split")
def split(node: Node, x: Tensor, sizes_input: Tensor | None = None) -> list[Tensor]:
    axis = node.get("axis", 0)
    sizes = sizes_input if sizes_input is not None else node.get("split")
    if sizes is None:
        return list(torch.split(x, math.ceil(x.shape[axis] / len(node.outputs)), axis))
    return list(torch.split(x, integers(sizes), axis))


@operator("Slice")
def cut(
    node: Node,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first = integers(starts)
    dims = range(len(first)) if axes is None else integers(axes)
    jumps = [1] * len(first) if steps is None else integers(steps)
    for start, end, axis, step in zip(first, integers(ends), dims, jumps, strict=True):
        positions = range(x.shape[axis])[start:end:step]
        if step > 0:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(positions.start, positions.stop, step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(positions), device=x.device, dtype=torch.int64))
    return x


@operator("Gather")
def gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    indices = indices.to(x.device, torch.int64)
    positive = torch.where(indices < 0, indices + x.shape[axis], indices)
    values = x.index_select(axis, positive.reshape(-1))
    return values.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@operator("GatherElements")
def gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0)
    indices = indices.to(x.device, torch.int64)
    return x.gather(axis, torch.where(indices < 0, indices + x.shape[axis], indices))


@operator("Trilu")
def triangle(node: Node, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    offset = 0 if diagonal is None else int(diagonal)
    return torch.triu(x, offset) if node.get("upper", 1) else torch.tril(x, offset)


@operator("Pad")
def pad(
    node: Node, x: Tensor, pads_input: Any = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    pads = integers(pads_input if pads_input is not None else node.get("pads"))
    dims = list(range(x.ndim)) if axes is None else integers(axes)
    befores, afters = pads[: len(dims)], pads[len(dims) :]
    mode = node.get("mode", "constant")
    if mode == "constant":
        amounts = [0] * (2 * x.ndim)
        for axis, before, after in zip(dims, befores, afters, strict=True):
            place = 2 * (x.ndim - 1 - axis % x.ndim)
            amounts[place : place + 2] = [before, after]
        return functional.pad(x, amounts, value=node.get("value", 0.0) if value is None else value.item())
    for axis, before, after in zip(dims, befores, afters, strict=True):
        if before or after:
            positions = np.pad(np.arange(x.shape[axis]), (before, after), mode=mode)
            x = x.index_select(axis, torch.from_numpy(positions).to(x.device))
    return x


@operator("ai.onnx.ml.Scaler")
def scale(node: Node, x: Tensor) -> Tensor:
    offset, factor = x.new_tensor(node.get("offset", [0.0])), x.new_tensor(node.get("scale", [1.0]))
    return (x - offset) * factor


@operator("ai.onnx.ml.LinearRegressor")
def linear_regressor(node: Node, x: Tensor) -> Tensor:
    if node.get("post_transform", "NONE") != "NONE":
        raise UnsupportedError("a LinearRegressor with a post_transform")
    weights = x.new_tensor(node.get("coefficients")).reshape(node.get("targets", 1), -1)
    return functional.linear(x, weights) + x.new_tensor(node.get("intercepts", [0.0]))


@operator("ai.onnx.ml.Normalizer")
def normalizer(node: Node, x: Tensor) -> Tensor:
    kind = node.get("norm", "MAX")
    norms = {"MAX": x.abs().amax(1, True), "L1": x.abs().sum(1, True), "L2": x.square().sum(1, True).sqrt()}
    return x / norms[kind]
