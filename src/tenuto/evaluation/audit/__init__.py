"""Automatic checks that a robustness figure deserves belief, each with a verdict, a figure, a threshold and a page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tenuto.devices import compute_repeatably
from tenuto.errors import DataError
from tenuto.evaluation.audit import data_checks, rows_checks, saved_checks, strength_checks, system_checks
from tenuto.evaluation.audit.evidence import Data, Source, checkpoint
from tenuto.evaluation.audit.findings import (
    CHECKS,
    UNASKED,
    Finding,
    Verdict,
    counted,
    failed,
    not_recorded,
    worst,
)

if TYPE_CHECKING:
    from tenuto.evaluation.audit.model_checks import Subject

MODEL = ("gradients", "finite-differences", "repeatable", "longer-search", "unbounded")
"""Checks that only the model can answer."""

EITHER = ("iterative", "black-box", "transfer")
"""Checks that rows answer where they can, else the model."""

Progress = Callable[[str, int, int], None]
"""Called with the run under examination, iterations done since the last call, and their total for this run."""

Asked = dict[tuple[Path, str, str], list[Finding]]
"""What models have been asked already, by run folder, part, and questioned attack (empty for what is asked of the model
itself): protocols of one study share their runs."""


def audit(*sources: Source, data: Data | None = None, progress: Progress | None = None) -> list[Finding]:
    """Every check on every source; what a source cannot show is NOT RECORDED, with the reason.

    Args:
        sources: Rows and what lies beside them, see `tenuto.reporting.verdicts.open_sources`.
        data: The data, as far as it is known. The model is only asked where it has spectrograms.
        progress: Told of the model checks, which take minutes.

    Returns:
        For each source one finding per check of `CHECKS`, in their order.

    Raises:
        DataError: No source, or clips that the data set does not have.
        CheckpointError: A run that was trained on other data.
    """
    if not sources:
        raise DataError("nothing to audit: name rows, a run, a study, or a folder of released logs.")
    known = data or Data()
    asked: Asked = {}
    return [
        dataclasses.replace(finding, source=source.name)
        for source in sources
        for finding in _in_order(source, known, asked, progress)
    ]


def _in_order(source: Source, data: Data, asked: Asked, progress: Progress | None) -> Iterator[Finding]:
    found = {finding.check: finding for finding in _without_model(source, data)}
    by_model = {finding.check: finding for finding in _with_model(source, data, asked, progress)}
    for check in CHECKS:
        finding = found.get(check)
        if finding is None or (finding.verdict is Verdict.NOT_RECORDED and check in EITHER):
            other, could_ask = by_model[check], _could_ask(source, data)
            if finding is None or could_ask or other.verdict is not Verdict.NOT_RECORDED:
                finding = other
        yield finding


def _without_model(source: Source, data: Data) -> Iterator[Finding]:
    yield rows_checks.budget(source)
    yield rows_checks.same_iterate(source)
    yield rows_checks.convergence(source)
    yield rows_checks.provenance(source)
    yield system_checks.scale_of_ratings(source)
    yield system_checks.ranking(source)
    yield system_checks.constant_predictor(source, data)
    yield system_checks.pooled_test(source)
    yield strength_checks.monotone(source)
    for check in EITHER:
        yield strength_checks.family(check, source)
    yield from saved_checks.saved(source, data)
    yield data_checks.normalisation(source, data)
    yield data_checks.albums(source, data)
    yield data_checks.labels(source)


def _with_model(source: Source, data: Data, asked: Asked, progress: Progress | None) -> list[Finding]:
    """Model checks on one run of every system, the smallest seed; the most severe finding of each check."""
    from tenuto.evaluation.runs import read_config

    checks = (*MODEL, *EITHER)
    if reason := _no_model(source, data):
        return [not_recorded(check, reason) for check in checks]
    found: dict[str, list[tuple[str, Finding]]] = {check: [] for check in checks}
    part = str(source.rows["split"].iloc[0])
    for name, others in _chosen(source):
        siblings = (*data.siblings, *(source.folders[other] for other in others))
        with compute_repeatably(read_config(source.folders[name]).resolved().train.threads):
            answers = _answers(source, name, siblings, part, data, asked, progress)
        for finding in answers:
            found[finding.check].append((name, finding))
    return [worst(findings) for findings in found.values()]


def _no_model(source: Source, data: Data) -> str:
    """Why the model cannot be asked; empty where it can."""
    if not source.folders:
        return "needs the model: rows and logs come without it."
    if not _could_ask(source, data):
        return "needs the data to ask the model: name it with --root."
    if not any(checkpoint(source, run) for run in source.folders):
        return "the run folder holds no checkpoint."
    return UNASKED if data.spared else ""


def _could_ask(source: Source, data: Data) -> bool:
    return bool(source.folders) and (data.spared or data.prepared is not None)


def _chosen(source: Source) -> Iterator[tuple[str, list[str]]]:
    """The run of every system that is asked, and the other runs of that system."""
    named = source.rows[["system", "seed", "run"]].drop_duplicates().sort_values(["system", "seed"])
    for _, runs in named.groupby("system"):
        there = [run for run in runs["run"] if checkpoint(source, run)]
        if there:
            yield there[0], there[1:]


def _answers(
    source: Source,
    name: str,
    siblings: tuple[Path, ...],
    part: str,
    data: Data,
    asked: Asked,
    progress: Progress | None,
) -> list[Finding]:
    """The model checks on one run; what was asked before is not asked again."""
    from tenuto.evaluation.audit.model_checks import attacks, examine, longer_iterations, longer_search
    from tenuto.evaluation.audit.settings import questioned

    folder, search = source.folders[name], questioned(source.rows[source.rows["run"] == name])
    itself, further = ((folder.resolve(), part, what) for what in ("", repr(search)))
    if itself in asked and further in asked:
        return asked[itself] + asked[further]
    subject = _subject(folder, siblings, part, data)
    total = 0 if further in asked else longer_iterations(search)
    total += 0 if itself in asked else sum(attack.iterations for attack in attacks(subject).values())

    def report(done: int) -> None:
        if progress is not None:
            progress(folder.name, done, total * len(subject.inputs))

    if itself not in asked:
        asked[itself] = examine(subject, report)
    if further not in asked:
        asked[further] = [longer_search(subject, search, report)]
    return asked[itself] + asked[further]


def _subject(folder: Path, siblings: tuple[Path, ...], part: str, data: Data) -> Subject:
    """A run's model and first clips; the first sibling of the same system serves for the transfer attack."""
    from tenuto.evaluation.audit.model_checks import Subject
    from tenuto.evaluation.robustness import silence
    from tenuto.evaluation.runs import Sibling, open_run, read_config
    from tenuto.models.checkpoint import load
    from tenuto.models.systems import for_attack

    assert data.prepared is not None
    run = open_run(folder, data.prepared)
    others = (path for path in siblings if path.resolve() != folder.resolve())
    sibling = next((path for path in others if read_config(path).system == run.config.system), None)
    batch = run.part(part)
    return Subject(
        model=for_attack(run.recogniser.network),
        inputs=batch.inputs[: data.clips],
        labels=batch.labels[: data.clips],
        constant=run.part("train").labels.mean(dim=0),
        sibling=None if sibling is None else Sibling(run, load(sibling)),
        valid_range=(silence(run), math.inf),
    )


__all__ = [
    "CHECKS",
    "Data",
    "Finding",
    "Source",
    "Verdict",
    "audit",
    "counted",
    "failed",
]
