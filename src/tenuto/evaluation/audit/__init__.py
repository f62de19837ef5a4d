"""Automatic checks of whether a robustness result can be trusted, each with a verdict, a value and a threshold."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tenuto.errors import DataError
from tenuto.evaluation.audit import (  # noqa: F401  (each registers its checks)
    certificate_check,
    data_checks,
    pooled_test,
    rows_checks,
    saved_checks,
    sound_checks,
    strength_checks,
    system_checks,
    trace_checks,
)
from tenuto.evaluation.audit.data import Data
from tenuto.evaluation.audit.findings import (
    CHECKS,
    Check,
    Finding,
    Verdict,
    check,
    count_verdicts,
    has_failed,
    judge,
    ordered_checks,
)
from tenuto.evaluation.audit.model_checks import Models, Progress
from tenuto.evaluation.audit.sources import Evidence, Source, open_sources, sources_of

if TYPE_CHECKING:
    from tenuto.evaluation.audit.remedies import Rerun


def audit(*sources: Source, data: Data | None = None, progress: Progress | None = None) -> list[Finding]:
    """Run every check on every source.

    Args:
        sources: Rows with their perturbations and settings, see `open_sources`.
        data: The data. Models are evaluated only where it has spectrograms.
        progress: Called during the model checks, which take minutes.

    Returns:
        For each source one finding per check, in the order of the report. NOT RECORDED says what is missing.

    Raises:
        DataError: No source, or clips that the data set does not have.
        CheckpointError: A run that was trained on other data.
    """
    return audit_and_rerun(*sources, data=data, progress=progress, rerun=False)[0]


def audit_and_rerun(
    *sources: Source, data: Data | None = None, progress: Progress | None = None, rerun: bool = True
) -> tuple[list[Finding], list[Rerun]]:
    """Run every check as `audit`, then carry out the remedies of those that failed or warned on the models.

    Returns:
        The findings, and one result per run and remedy; none where no model is evaluated.
    """
    if not sources:
        raise DataError("there is nothing to audit: give rows, a run, a study, or a folder of released logs.")
    models = Models(progress)
    findings: list[Finding] = []
    reruns: list[Rerun] = []
    for source in sources:
        evidence = Evidence(source, data or Data(), models.findings)
        own = [
            dataclasses.replace(CHECKS[name].find(evidence), source=source.name) for name in ordered_checks()
        ]
        findings += own
        reruns += models.reruns(evidence, own) if rerun else []
    return findings, reruns


__all__ = [
    "CHECKS",
    "Check",
    "Data",
    "Evidence",
    "Finding",
    "Source",
    "Verdict",
    "audit",
    "audit_and_rerun",
    "check",
    "count_verdicts",
    "has_failed",
    "judge",
    "open_sources",
    "ordered_checks",
    "sources_of",
]
