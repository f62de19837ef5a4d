"""A device of its own for machines without a GPU: it computes as the CPU does, and forgives as little as a GPU.

A tensor of it refuses to be read by NumPy or to meet one of the CPU, and every value that the host asks for is
counted, since a real device would make the host wait there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "elsewhere"
aten = torch.ops.aten
MEETINGS = (aten._to_copy.default, aten.copy_.default, aten.index.Tensor)
"""Where tensors of both may meet: transfers, and positions, which a GPU takes from the CPU."""
ANSWERS = (aten._local_scalar_dense.default, aten.nonzero.default)
"""What makes a value, or a shape that depends on values, known to the host."""


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device: Any) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any) -> None:
        """Its random numbers are the CPU's."""


if not hasattr(torch, NAME):
    _setup_privateuseone_for_python_backend(NAME, _Module())


class Elsewhere(Tensor):
    """A tensor of the device around one of the CPU, ``near``, with its values."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> Elsewhere:
        result: Elsewhere = torch.Tensor._make_wrapper_subclass(
            cls,
            near.size(),
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=torch.device(NAME, 0),
        )
        result.near = near
        return result

    def tolist(self) -> Any:
        waits.append("tolist")
        return self.near.tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, op: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _compute(op, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Sees what no tensor of the device takes part in: making one, or moving one there."""

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(op, args, kwargs or {})


waits: list[str] = []
"""What the host waited for since `installed` was entered."""


@contextmanager
def installed() -> Iterator[list[str]]:
    """Inside, there is a device of this name; yields what the host waits for."""
    waits.clear()
    with _Mode():
        yield waits


def _compute(op: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [leaf for leaf in _pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    far = [tensor for tensor in given if isinstance(tensor, Elsewhere)]
    goal = kwargs.get("device")
    stays = isinstance(args[0], Elsewhere) if op is aten.copy_.default else bool(far)
    stays = stays if goal is None else torch.device(goal).type == NAME
    if not far and not stays:
        return op(*args, **kwargs)
    strangers = [tensor.shape for tensor in given if not isinstance(tensor, Elsewhere) and tensor.ndim]
    if far and strangers and op not in MEETINGS:
        raise RuntimeError(f"{op}: tensors of the CPU among those of {NAME}, of shapes {strangers}")
    if op in ANSWERS or not stays:
        waits.append(str(op))
    kwargs = kwargs if goal is None else {**kwargs, "device": torch.device("cpu")}
    near_args, near_kwargs = _pytree.tree_map_only(Elsewhere, lambda tensor: tensor.near, (args, kwargs))
    result = op(*near_args, **near_kwargs)
    if not stays:
        return args[0] if op is aten.copy_.default else result.clone()
    known = {id(tensor.near): tensor for tensor in far}  # what an operation in place returns
    wrap = lambda near: known[id(near)] if id(near) in known else Elsewhere(near)  # noqa: E731
    return _pytree.tree_map_only(Tensor, wrap, result)
