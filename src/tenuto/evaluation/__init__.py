"""Evaluation of trained runs: clean, attacked, under natural variation, explained and audited.

The names below are imported when they are first used: the audit of rows alone needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenuto.evaluation.audit.examination import examine
    from tenuto.evaluation.audit.subject import Subject
    from tenuto.evaluation.natural import NATURAL_CHANGES
    from tenuto.evaluation.robustness import attack, evaluate
    from tenuto.evaluation.runs import OpenedRun, Sibling, open_run

__all__ = ["NATURAL_CHANGES", "OpenedRun", "Sibling", "Subject", "attack", "evaluate", "examine", "open_run"]

_HOMES = {
    "NATURAL_CHANGES": "natural",
    "Subject": "audit.subject",
    "attack": "robustness",
    "evaluate": "robustness",
    "examine": "audit.examination",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tenuto.evaluation' has no attribute '{name}'")
    return getattr(importlib.import_module(f"tenuto.evaluation.{_HOMES.get(name, 'runs')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
