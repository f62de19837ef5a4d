"""Tenuto: adversarial robustness of music-emotion recognition.

Importing the package is light: functions, classes and subpackages are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tenuto import api
from tenuto.errors import TenutoError

if TYPE_CHECKING:
    from tenuto.api import *  # noqa: F403

__version__ = "0.1.0"

_MODULES = (
    "analysis",
    "attacks",
    "audio",
    "config",
    "data",
    "evaluation",
    "metrics",
    "models",
    "registry",
    "reporting",
    "sinks",
    "store",
    "study",
    "training",
)

__all__ = ["TenutoError", "__version__", "api"]
__all__ += api.__all__
__all__ += _MODULES


def __getattr__(name: str) -> Any:
    if name in api.__all__:
        return getattr(api, name)
    if name in _MODULES:
        return importlib.import_module(f"tenuto.{name}")
    raise AttributeError(f"module 'tenuto' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
