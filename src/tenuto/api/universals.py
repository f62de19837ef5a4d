"""One perturbation for all clips of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenuto.api.progress import Progress
from tenuto.attacks import Budget, Objective, parse_objective
from tenuto.attacks.registry import check_settings
from tenuto.attacks.universal import Universal
from tenuto.devices import require
from tenuto.evaluation import universal
from tenuto.evaluation.runs import OpenedRun
from tenuto.evaluation.universal import UniversalResult, default_name, default_shifts


def fit_universal(
    run: OpenedRun,
    budget: Budget,
    objective: str | Objective,
    shifts: Sequence[float] | None,
    part: str,
    out: str | Path | None,
    device: str,
    progress: Progress,
    settings: dict[str, Any],
) -> UniversalResult:
    """Fit one perturbation of the inputs of a run and judge it, see `tenuto.api.runs.Run.universal`."""
    model = run.recogniser
    require(device)
    if isinstance(objective, str):
        objective = parse_objective(objective, model.emotions, concepts=model.concepts)
    check_settings(Universal, settings)
    fit = Universal(budget, objective=objective, **settings)
    shifts = default_shifts(model.inputs) if shifts is None else shifts
    name = default_name(fit, model.inputs.unit, part, shifts)
    folder = run.files.universal(name) if out is None else Path(out)
    with progress.bar("universal perturbation", fit.steps(len(run.part("train")))) as advance:
        result = universal.universal(run, fit, folder, part, shifts, device, advance)
    progress.note(f"{folder}: rows, perturbation{' and sound' if result.sample_rate else ''}")
    return result
