"""Bfloat16 on processors without it: rounded numbers, multiplied and added up in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

PRODUCTS = frozenset(
    (
        *(f"conv{kind}{dimensions}d" for kind in ("", "_transpose") for dimensions in (1, 2, 3)),
        *("convolution", "conv_tbc", "linear", "bilinear", "matmul", "__matmul__", "__rmatmul__", "einsum"),
        *("mm", "bmm", "mv", "addmm", "addbmm", "baddbmm", "lstm", "gru", "rnn_tanh", "rnn_relu"),
        *("lstm_cell", "gru_cell", "scaled_dot_product_attention", "multi_head_attention_forward"),
    )
)
"""Functions of torch that autocast computes in bfloat16, or that consist of such functions; overloads have a dot."""


class RoundedProducts(TorchFunctionMode):
    """Inside, and inside ``torch.autocast("cpu", torch.bfloat16)``, products round as bfloat16 does but take no longer
    than in float32.

    Inputs, weights and results are rounded to bfloat16. A processor with bfloat16 does the same: its sums are float32,
    too, and differ by their order. Torch's own emulation takes 15 to 30 times as long as float32, and has no recurrent
    layers. A backward pass outside rounds its products in the same way. Code in TorchScript is left to the emulation,
    and `torch.utils.checkpoint`, which computes a second time outside, refuses.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute one function of torch."""
        kwargs = dict(kwargs or {})
        if func.__name__.partition(".")[0] not in PRODUCTS or not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        args, kwargs = tree_map_only(Tensor, _round, (args, kwargs))
        with torch.autocast("cpu", enabled=False):
            return tree_map_only(Tensor, _shorten, func(*args, **kwargs))


def _round(numbers: Tensor) -> Tensor:
    return numbers.bfloat16().float() if numbers.dtype in (torch.float32, torch.bfloat16) else numbers


def _shorten(numbers: Tensor) -> Tensor:
    return numbers.bfloat16() if numbers.dtype == torch.float32 else numbers
