"""What a foreign model returns, as a matrix (clips, outputs): arrays, sequences, mappings, objects with attributes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenuto.errors import ModelError, counted, one_line, quote


class UnfitOutputError(ModelError):
    """The model returned something of a shape that another layout of its input may correct."""


def to_matrix(value: Any, output: str | None, clips: int, device: torch.device) -> Tensor:
    """Return what a model predicts for a batch, as float32 (float64 stays) of shape (clips, outputs).

    Args:
        value: What the model returned: an array (Tensor, NumPy, numbers in lists) or a sequence, mapping or object
            that contains arrays.
        output: Key, attribute or index of the array in a container; ``a.b`` names a part of a part, and ``a,b``
            joins the columns of several. None: the only one there is.
        clips: Number of clips in the batch.
        device: Device of the result.

    Raises:
        ModelError: The output is ambiguous, not there, not numeric, or has the wrong shape.
    """
    if output is None:
        return _matrix(_only(value), clips, device)
    names = [name.strip() for name in output.split(",")]
    return torch.cat([_matrix(_entry(value, name), clips, device) for name in names], dim=1)


def _matrix(value: Any, clips: int, device: torch.device) -> Tensor:
    """An array as (clips, outputs); axes of length one are ignored, wherever they are."""
    tensor = _tensor(value, device)
    axes = [size for size in tensor.shape if size != 1]
    expected = [clips] if clips != 1 else []
    if axes[: len(expected)] != expected or len(axes) > len(expected) + 1 or tensor.numel() == 0:
        raise UnfitOutputError(
            f"its output for {counted(clips, 'clip')} has the shape {tuple(tensor.shape)}, must be (clips, "
            "outputs). Return one row per clip, for example the mean over time."
        )
    return tensor.reshape(
        -1, axes[-1] if len(axes) > len(expected) else 1
    )  # no number of clips: it is exported


def _tensor(value: Any, device: torch.device) -> Tensor:
    if not isinstance(value, Tensor):
        try:
            array = np.asarray(value)
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"its output is not an array ({type(error).__name__}: {one_line(error)})."
            ) from error
        if array.dtype.kind not in "fiub":
            raise ModelError(f"its output has the type {array.dtype}, must be real numbers. Return numbers.")
        value = torch.from_numpy(np.array(array, np.float32))
    if value.is_complex():
        raise ModelError(f"its output has the type {value.dtype}, must be real numbers. Return numbers.")
    result: Tensor = value.to(device, torch.float64 if value.dtype == torch.float64 else torch.float32)
    return result


def _is_array(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return _is_number(value)
    return isinstance(value, Tensor | np.ndarray | np.generic) or hasattr(value, "__array__")


def _is_number(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) > 0 and all(_is_number(item) for item in value)
    return isinstance(value, int | float | np.generic)


def _parts(value: Any) -> dict[str, Any]:
    """The parts of a container by name, without those that are no arrays and contain none; empty for other values."""
    parts: Mapping[Any, Any] = {}
    if isinstance(value, Mapping):
        parts = value
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = dict(zip(value._fields, value, strict=True))
    elif isinstance(value, list | tuple):
        parts = dict(enumerate(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif not isinstance(value, str | bytes | int | float | type(None) | type):
        parts = {name: item for name, item in getattr(value, "__dict__", {}).items() if name[:1] != "_"}
    return {str(name): item for name, item in parts.items() if _is_array(item) or _parts(item)}


def _only(value: Any) -> Any:
    """The only array of a value. Raises `ModelError` where there are several or none."""
    if _is_array(value):
        return value
    parts = _parts(value)
    if callable(value):
        raise ModelError(
            f"it has a parameter that must be given and returns a model ({_described(value)}). Name a function without "
            "such parameters that returns it."
        )
    if not parts:
        raise ModelError(
            f"it returns {_described(value)}, must be an array with one row per clip (Tensor, NumPy, numbers)."
        )
    if len(parts) > 1:
        first = next(iter(parts))
        raise ModelError(
            f"it returns {len(parts)} outputs: {_listed(parts)}. Name the one that holds the predictions, for example "
            f"`output={first if first.isdigit() else repr(first)}`; names separated by commas join several."
        )
    return _only(next(iter(parts.values())))


def _entry(value: Any, name: str) -> Any:
    """The array under a name, an index, or a path with points. Raises `ModelError`."""
    parts = {} if _is_array(value) and not isinstance(value, list | tuple) else _parts(value)
    if (
        isinstance(value, list | tuple)
        and name.removeprefix("-").isdecimal()
        and -len(value) <= int(name) < len(value)
    ):
        return _only(value[int(name)])
    if name in parts:
        return _only(parts[name])
    first, point, rest = name.partition(".")
    if point and first in parts:
        return _entry(parts[first], rest)
    attribute = getattr(value, name, None) if name.isidentifier() and not _is_array(value) else None
    if _is_array(attribute):
        return attribute
    has = f"It has: {_listed(parts)}" if parts else f"It returns {_described(value)}; leave the output out"
    raise ModelError(f"it has no output {quote(name)}. {has}.")


def _listed(parts: Mapping[str, Any]) -> str:
    return one_line(", ".join(f"{name} ({_described(item)})" for name, item in parts.items()), 400)


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
