"""Tenuto: does a music-emotion model hold its prediction while its input is disturbed?

Importing the package is light; `audio`, `data`, `models`, `attacks`, ... and `load` are reached when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from tenuto.errors import TenutoError

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
    "reporting",
    "store",
    "study",
    "training",
)

__all__ = ["TenutoError", "__version__", "load", *_MODULES]


def __getattr__(name: str) -> Any:
    if name == "load":
        return importlib.import_module("tenuto.models.checkpoint").load
    if name in _MODULES:
        return importlib.import_module(f"tenuto.{name}")
    raise AttributeError(f"module 'tenuto' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
