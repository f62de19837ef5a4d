"""Checks of settings and values, and names of examples for messages."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenuto.errors import AttackError, ConfigError, one_line

LARGEST_NUMBER = 1e18
"""Largest size of a numeric setting. Its square is still a float32."""

SMALLEST_STEP = 1e-30
"""Smallest value of a setting that must be positive, such as a step size. It is well within the range of float32."""

LARGEST_COUNT = 2**63 - 1


def listed(names: Sequence[str], chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    """List the chosen names, at most five of them: ``clip 007`` or ``clips 007, 012``."""
    picked = [name for name, is_chosen in zip(names, chosen, strict=True) if is_chosen]
    more = f" and {len(picked) - 5} more" if len(picked) > 5 else ""
    return f"clip{'s' if len(picked) > 1 else ''} {', '.join(picked[:5])}{more}"


def require_finite(
    values: Tensor, names: Sequence[str], what: str, advice: str = "check the checkpoint"
) -> None:
    """Raise `AttackError` where values (n, ...), or one for all names, are not finite."""
    finite = torch.isfinite(values.detach()).flatten(1).all(dim=1).expand(len(names)).cpu().numpy()
    if not finite.all():
        raise AttackError(f"The {what} for {listed(names, ~finite)} is not finite: {advice}.")


def is_number(value: Any) -> bool:
    """Whether a value is an int or float, no bool, that float32 can hold with room for its square."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


def require_number(name: str, value: Any, least: float, most: float = LARGEST_NUMBER) -> float:
    """A setting as a number of Python. Raises `ConfigError` unless it is one from ``least`` to ``most``."""
    if not (is_number(value) and least <= value <= most):
        raise ConfigError(f"{name} must be a number from {least:g} to {most:g}, got {value!r}.")
    # One of NumPy prints as np.float64(0.05), and printed settings identify an attack.
    number: float = value.item() if isinstance(value, np.generic) else value
    return number


def require_whole(name: str, value: Any, least: int) -> None:
    """Raise `ConfigError` unless a setting is a whole number from ``least`` to the largest int64."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LARGEST_COUNT:
        most = f" and at most {LARGEST_COUNT}" if isinstance(value, int) and value > LARGEST_COUNT else ""
        raise ConfigError(f"{name} must be a whole number of at least {least}{most}, got {value!r}.")


def require_flag(name: str, value: Any) -> None:
    """Raise `ConfigError` unless a setting is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, got {value!r}.")


def whole(least: int) -> dict[str, Any]:
    """Metadata of a setting that must be a whole number of at least ``least``."""
    return {"check": functools.partial(require_whole, least=least)}


def number(least: float, most: float = LARGEST_NUMBER) -> dict[str, Any]:
    """Metadata of a setting that must be a number from ``least`` to ``most``."""
    return {"check": functools.partial(require_number, least=least, most=most)}


FLAG: dict[str, Any] = {"check": require_flag}
"""Metadata of a setting that must be true or false."""


def check_settings_of(part: Any) -> None:
    """Raise `ConfigError` for the first setting that its metadata do not allow; None is allowed as a default.

    A subclass that gives a setting another default keeps the check of its base class.
    """
    kinds = [kind for kind in type(part).__mro__[::-1] if dataclasses.is_dataclass(kind)]
    stated = [one for kind in kinds for one in dataclasses.fields(kind) if "check" in one.metadata]
    checks = {one.name: one.metadata["check"] for one in stated}
    for one in dataclasses.fields(part):
        value = getattr(part, one.name)
        if one.name in checks and (value is not None or one.default is not None):
            checks[one.name](one.name, value)


def require_range(valid_range: Any) -> tuple[float, float]:
    """Lowest and highest valid entry. Raises `ConfigError` for anything but two numbers in this order."""
    try:
        low, high = (float(end) for end in valid_range)
    except (TypeError, ValueError, RuntimeError):
        low = high = math.nan  # no pair, or ends that are no single numbers
    if not low < high:
        text = one_line(repr(valid_range))
        raise ConfigError(
            f"valid_range must be (lowest, highest), got {text}. For no limit give -inf or inf."
        )
    return low, high
