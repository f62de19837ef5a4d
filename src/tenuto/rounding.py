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
        *("conv_tbc", "linear", "matmul", "linalg_matmul", "__matmul__", "__rmatmul__"),
        *("mm", "bmm", "addmm", "addbmm", "baddbmm"),
    )
)
"""Functions of torch that autocast computes in bfloat16; the names of overloads go on behind a dot."""


class RoundedProducts(TorchFunctionMode):
    """Inside, and inside ``torch.autocast("cpu", torch.bfloat16)``, products are rounded to bfloat16 but take no longer
    than in float32: convolutions, linear layers, products of matrices, and LSTM.

    Inputs, weights and results are rounded. A processor with bfloat16 does the same: its sums are float32, too, and
    differ by their order. Torch's own emulation takes 15 to 30 times as long as float32, and has no LSTM. A backward
    pass outside rounds its products in the same way. Other functions, as of attention, and TorchScript are left to the
    emulation. `torch.utils.checkpoint` computes a second time outside, so it refuses or emulates.
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
        if not _is_product(func, args) or not _in_bfloat16() or kwargs.get("out") is not None:
            return func(*args, **kwargs)
        args, kwargs = tree_map_only(Tensor, _round, (args, kwargs))
        with torch.autocast("cpu", enabled=False):
            return tree_map_only(Tensor, _shorten, func(*args, **kwargs))


def _is_product(func: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    name = getattr(func, "__name__", "").partition(".")[0]
    # The second argument of a packed sequence are its batch sizes: autocast leaves it in float32.
    return name in PRODUCTS or (name == "lstm" and len(args) > 1 and not isinstance(args[1], Tensor))


def _in_bfloat16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def _round(numbers: Tensor) -> Tensor:
    is_rounded = numbers.is_floating_point() and numbers.dtype != torch.float64
    return numbers.bfloat16().float() if is_rounded else numbers


def _shorten(numbers: Tensor) -> Tensor:
    return numbers.bfloat16() if numbers.dtype == torch.float32 else numbers
