"""The front door: what a command does is one call here, and `tenuto` re-exports every name.

A name is imported when it is first used, so that ``import tenuto`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenuto.api.adoption import adopt
    from tenuto.api.auditing import Audit, audit
    from tenuto.api.calls import (
        attack,
        attribute,
        evaluate,
        explain,
        intervene,
        leakage,
        natural,
        predict,
        set_concepts,
        show,
        universal,
    )
    from tenuto.api.certificates import Certificates
    from tenuto.api.certifying import certify, sandwich
    from tenuto.api.comparing import compare, corruption_error, curves, optimality, rows
    from tenuto.api.datasets import describe, download, prepare, synthesize, validate
    from tenuto.api.exporting import export
    from tenuto.api.galleries import Gallery, gallery
    from tenuto.api.papers import Paper, paper
    from tenuto.api.progress import Progress
    from tenuto.api.recordings import RecordingAttack, attack_recording
    from tenuto.api.reports import Report, report
    from tenuto.api.runs import Run, open_run
    from tenuto.api.studies import plan_study, run_study, study_status
    from tenuto.api.training import import_reference, train
    from tenuto.models.checkpoint import load

_MODULES = {
    "tenuto.api.adoption": ("adopt",),
    "tenuto.api.auditing": ("Audit", "audit"),
    "tenuto.api.calls": (
        *("attack", "attribute", "evaluate", "explain", "intervene", "leakage", "natural"),
        *("predict", "set_concepts", "show", "universal"),
    ),
    "tenuto.api.certificates": ("Certificates",),
    "tenuto.api.certifying": ("certify", "sandwich"),
    "tenuto.api.comparing": ("compare", "corruption_error", "curves", "optimality", "rows"),
    "tenuto.api.datasets": ("describe", "download", "prepare", "synthesize", "validate"),
    "tenuto.api.exporting": ("export",),
    "tenuto.api.galleries": ("Gallery", "gallery"),
    "tenuto.api.papers": ("Paper", "paper"),
    "tenuto.api.progress": ("Progress",),
    "tenuto.api.recordings": ("RecordingAttack", "attack_recording"),
    "tenuto.api.reports": ("Report", "report"),
    "tenuto.api.runs": ("Run", "open_run"),
    "tenuto.api.studies": ("plan_study", "run_study", "study_status"),
    "tenuto.api.training": ("import_reference", "train"),
    "tenuto.models.checkpoint": ("load",),
}
NAMES = {name: module for module, names in _MODULES.items() for name in names}
"""Every public name and the module that defines it."""

__all__ = [
    "Audit",
    "Certificates",
    "Gallery",
    "Paper",
    "Progress",
    "RecordingAttack",
    "Report",
    "Run",
    "adopt",
    "attack",
    "attack_recording",
    "attribute",
    "audit",
    "certify",
    "compare",
    "corruption_error",
    "curves",
    "describe",
    "download",
    "evaluate",
    "explain",
    "export",
    "gallery",
    "import_reference",
    "intervene",
    "leakage",
    "load",
    "natural",
    "open_run",
    "optimality",
    "paper",
    "plan_study",
    "predict",
    "prepare",
    "report",
    "rows",
    "run_study",
    "sandwich",
    "set_concepts",
    "show",
    "study_status",
    "synthesize",
    "train",
    "universal",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name in NAMES:
        return getattr(importlib.import_module(NAMES[name]), name)
    raise AttributeError(f"module 'tenuto.api' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
