"""The operators of ONNX that are layers: convolutions, pools, normalisation, recurrence, Fourier transforms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tenuto.models.foreign.onnx_operators import OPERATORS, Node, UnsupportedError, integers, operator

__all__ = ["OPERATORS"]

CONVOLUTIONS: dict[int, Any] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
MAXIMA: dict[int, Any] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
MEANS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _pads(node: Node, x: Tensor, kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """Values to add before and after each axis."""
    dims = len(kernel)
    automatic = node.get("auto_pad", "NOTSET")
    if automatic == "NOTSET":
        pads = node.get("pads", [0] * 2 * dims)
        return pads[:dims], pads[dims:]
    if automatic == "VALID":
        return [0] * dims, [0] * dims
    strides, dilations = node.get("strides", [1] * dims), node.get("dilations", [1] * dims)
    totals = [
        max((math.ceil(size / stride) - 1) * stride + dilation * (width - 1) + 1 - size, 0)
        for size, stride, dilation, width in zip(x.shape[2:], strides, dilations, kernel, strict=True)
    ]
    smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (smaller, larger) if automatic == "SAME_UPPER" else (larger, smaller)


def _padded(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Tensor:
    amounts = [amount for pair in zip(before[::-1], after[::-1], strict=True) for amount in pair]
    return functional.pad(x, amounts, value=value) if any(amounts) else x


def _is_native(before: Sequence[int], after: Sequence[int], kernel: Sequence[int]) -> bool:
    """Whether pools of torch pad by so much themselves: equally on both sides, by half a window at most."""
    return list(before) == list(after) and all(
        2 * size <= width for size, width in zip(before, kernel, strict=True)
    )


@operator("Conv")
def convolution(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    dims = weight.ndim - 2
    before, after = _pads(node, x, weight.shape[2:])
    padding: Sequence[int] = before
    if list(before) != list(after):
        x, padding = _padded(x, before, after), [0] * dims
    strides, dilations = node.get("strides", [1] * dims), node.get("dilations", [1] * dims)
    values: Tensor = CONVOLUTIONS[dims](x, weight, bias, strides, padding, dilations, node.get("group", 1))
    return values


@operator("ConvTranspose")
def transposed_convolution(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    dims = weight.ndim - 2
    if node.get("auto_pad", "NOTSET") != "NOTSET" or node.get("output_shape"):
        raise UnsupportedError("a ConvTranspose that chooses its padding")
    before, after = _pads(node, x, weight.shape[2:])
    strides, dilations = node.get("strides", [1] * dims), node.get("dilations", [1] * dims)
    extra = node.get("output_padding", [0] * dims)
    full: Any = TRANSPOSED[dims](x, weight, bias, strides, 0, extra, node.get("group", 1), dilations)
    values: Tensor = full[
        (..., *(slice(b, n - a) for b, a, n in zip(before, after, full.shape[2:], strict=True)))
    ]
    return values


@operator("MaxPool")
def max_pool(node: Node, x: Tensor) -> Tensor:
    kernel = node.get("kernel_shape")
    dims = len(kernel)
    before, after = _pads(node, x, kernel)
    padding: Sequence[int] = before
    if not _is_native(before, after, kernel):
        x, padding = _padded(x, before, after, -math.inf), [0] * dims
    strides, dilations = node.get("strides", [1] * dims), node.get("dilations", [1] * dims)
    pooled: Tensor = MAXIMA[dims](
        x, kernel, strides, padding, dilations, ceil_mode=bool(node.get("ceil_mode", 0))
    )
    return pooled


@operator("AveragePool")
def average_pool(node: Node, x: Tensor) -> Tensor:
    kernel = node.get("kernel_shape")
    dims = len(kernel)
    if any(step != 1 for step in node.get("dilations", [])):
        raise UnsupportedError("a dilated AveragePool")
    before, after = _pads(node, x, kernel)
    counts_pads, is_ceiled = bool(node.get("count_include_pad", 0)), bool(node.get("ceil_mode", 0))
    strides, pool = node.get("strides", [1] * dims), MEANS[dims]
    if _is_native(before, after, kernel):
        return pool(x, kernel, strides, before, is_ceiled, counts_pads)
    pooled = pool(_padded(x, before, after), kernel, strides, 0, is_ceiled)
    if counts_pads:
        return pooled
    return pooled / pool(_padded(torch.ones_like(x), before, after), kernel, strides, 0, is_ceiled)


@operator("Gemm")
def gemm(node: Node, left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    left = left.T if node.get("transA", 0) else left
    right = right.T if node.get("transB", 0) else right
    product = node.get("alpha", 1.0) * (left @ right)
    return product if bias is None else product + node.get("beta", 1.0) * bias  # type: ignore[no-any-return]


@operator("BatchNormalization")
def batch_normalization(
    node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    if node.get("training_mode", 0):
        raise UnsupportedError("BatchNormalization in training mode")
    return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, node.get("epsilon", 1e-5))


@operator("InstanceNormalization")
def instance_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return functional.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", 1e-5))


@operator("LayerNormalization")
def layer_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    sizes = x.shape[node.get("axis", -1) :]
    weight = scale.expand(sizes)
    return functional.layer_norm(
        x, sizes, weight, None if bias is None else bias.expand(sizes), node.get("epsilon", 1e-5)
    )


@operator("GroupNormalization")
def group_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = node.get("num_groups")
    if node.opset < 21:  # one value per group
        scale, bias = (value.repeat_interleave(x.shape[1] // groups) for value in (scale, bias))
    return functional.group_norm(x, groups, scale, bias, node.get("epsilon", 1e-5))


@operator("LRN")
def local_response_normalization(node: Node, x: Tensor) -> Tensor:
    alpha, beta, bias = node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    return functional.local_response_norm(x, node.get("size"), alpha, beta, bias)


@operator("LpNormalization")
def lp_normalization(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", -1)
    return torch.div(x, torch.linalg.vector_norm(x, node.get("p", 2), axis, keepdim=True))


@operator("Resize")
def resize(
    node: Node, x: Tensor, region: Any = None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> Tensor:
    mode = {"nearest": "nearest", "linear": {3: "linear", 4: "bilinear", 5: "trilinear"}.get(x.ndim)}
    method = mode.get(node.get("mode", "nearest"))
    if method is None or node.get("axes") is not None or x.ndim not in (3, 4, 5):
        raise UnsupportedError(f"Resize with mode {node.get('mode')}")
    if sizes is not None and sizes.numel():
        target = integers(sizes)
    else:
        factors = [] if scales is None else scales.tolist()
        target = [math.floor(size * factor) for size, factor in zip(x.shape, factors, strict=True)]
    if target[:2] != list(x.shape[:2]):
        raise UnsupportedError("Resize of clips or channels")
    corners = None if method == "nearest" else node.get("coordinate_transformation_mode") == "align_corners"
    return functional.interpolate(x, target[2:], mode=method, align_corners=corners)


@operator("HannWindow", "HammingWindow", "BlackmanWindow")
def window(node: Node, size: Tensor) -> Tensor:
    is_periodic, width = bool(node.get("periodic", 1)), int(size)
    if node.operator == "HannWindow":
        return torch.hann_window(width, is_periodic)
    if node.operator == "HammingWindow":
        return torch.hamming_window(width, is_periodic, 25 / 46, 21 / 46)
    return torch.blackman_window(width, is_periodic)


@operator("STFT")
def stft(
    node: Node, x: Tensor, step: Tensor, weights: Tensor | None = None, length: Tensor | None = None
) -> Tensor:
    if x.ndim == 3 and x.shape[-1] != 1:
        raise UnsupportedError("STFT of complex signals")
    signal = x.squeeze(-1) if x.ndim == 3 else x
    size = int(length) if length is not None else len(weights) if weights is not None else signal.shape[1]
    frames = signal.unfold(1, size, int(step))
    if weights is not None:
        frames = frames * weights.to(frames.device)
    bins = torch.fft.rfft(frames) if node.get("onesided", 1) else torch.fft.fft(frames)
    return torch.view_as_real(bins)


@operator("DFT")
def dft(node: Node, x: Tensor, length: Tensor | None = None, axis_input: Tensor | None = None) -> Tensor:
    default = -2 if node.opset >= 20 else node.get("axis", 1)
    axis = (default if axis_input is None else int(axis_input)) % x.ndim
    size = None if length is None else int(length)
    is_onesided, is_inverse = bool(node.get("onesided", 0)), bool(node.get("inverse", 0))
    if is_inverse and is_onesided:
        raise UnsupportedError("a one-sided inverse DFT")
    if x.shape[-1] == 1:
        values = x[..., 0].to(torch.complex64 if x.dtype == torch.float32 else torch.complex128)
        if is_onesided:
            return torch.view_as_real(torch.fft.rfft(x[..., 0], size, axis))
    else:
        values = torch.view_as_complex(x.contiguous())
    return torch.view_as_real(
        torch.fft.ifft(values, size, axis) if is_inverse else torch.fft.fft(values, size, axis)
    )


GATES = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}
"""Where torch's gates are in ONNX: input, forget, cell, output; reset, update, new."""


@operator("LSTM", "GRU", "RNN")
def recurrence(
    node: Node,
    x: Tensor,
    inner: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    peepholes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """One recurrent layer; (time, clips, inputs) to (time, directions, clips, units), and the last states."""
    _check_recurrence(node, x, lengths, peepholes)
    direction = node.get("direction", "forward")
    directions, units = inner.shape[0], recurrent.shape[-1]
    gates = GATES[node.operator]
    weights: list[Tensor] = []
    for number in range(directions):
        biases = x.new_zeros(2 * len(gates) * units) if bias is None else bias[number]
        for value in (inner[number], recurrent[number], *biases.chunk(2)):
            blocks = value.chunk(len(gates))
            weights.append(torch.cat([blocks[gate] for gate in gates]))
    start = x.new_zeros(directions, x.shape[1], units)
    first = start if hidden is None else hidden
    sequence = x.flip(0) if direction == "reverse" else x
    # In training mode cuDNN passes gradients; without dropout the values are the same.
    options = (True, 1, 0.0, True, direction == "bidirectional", False)
    if node.operator == "LSTM":
        states: Any = [first, start if cell is None else cell]
        values, *last = torch.lstm(sequence, states, weights, *options)
    else:
        function = torch.gru if node.operator == "GRU" else torch.rnn_tanh
        values, *last = function(sequence, first, weights, *options)
    values = values.flip(0) if direction == "reverse" else values
    return values.reshape(*values.shape[:2], directions, units).transpose(1, 2), *last


def _check_recurrence(node: Node, x: Tensor, lengths: Tensor | None, peepholes: Tensor | None) -> None:
    special = [name for name in ("activations", "clip", "layout", "input_forget") if _is_special(node, name)]
    if node.operator == "GRU" and not node.get("linear_before_reset", 0):
        special.append("linear_before_reset=0")
    if peepholes is not None:
        special.append("peepholes")
    if lengths is not None and any(length != x.shape[0] for length in integers(lengths)):
        special.append("sequence lengths")
    if special:
        raise UnsupportedError(f"{node.operator} with {', '.join(special)}")


ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


def _is_special(node: Node, name: str) -> bool:
    if name != "activations":
        return bool(node.get(name))
    usual = ACTIVATIONS[node.operator]
    setting = node.get(name) or usual
    return bool(setting != usual * (len(setting) // len(usual)))
