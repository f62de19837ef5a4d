"""Automatic checks of whether a robustness result can be trusted, each with a verdict, a value and a threshold."""

from __future__ import annotations

import dataclasses

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
)
from tenuto.evaluation.audit.data import Data
from tenuto.evaluation.audit.findings import (
    CHECKS,
    Check,
    Finding,
    Verdict,
    check,
    counted,
    failed,
    judged,
    ordered_checks,
)
from tenuto.evaluation.audit.model_checks import Models, Progress
from tenuto.evaluation.audit.sources import Evidence, Source, open_sources, sources_of


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
    if not sources:
        raise DataError("there is nothing to audit: give rows, a run, a study, or a folder of released logs.")
    models = Models(progress)
    return [
        dataclasses.replace(CHECKS[name].find(evidence), source=evidence.source.name)
        for evidence in (Evidence(source, data or Data(), models.findings) for source in sources)
        for name in ordered_checks()
    ]


__all__ = [
    "CHECKS",
    "Check",
    "Data",
    "Evidence",
    "Finding",
    "Source",
    "Verdict",
    "audit",
    "check",
    "counted",
    "failed",
    "judged",
    "open_sources",
    "ordered_checks",
    "sources_of",
]
