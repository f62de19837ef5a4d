"""The checks that need a model: one run of every system is evaluated once, whatever the number of protocols."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenuto.devices import compute_repeatably
from tenuto.evaluation.audit.findings import Finding, check, not_recorded, worst
from tenuto.evaluation.audit.sources import Evidence
from tenuto.store.rows import emotion_names
from tenuto.store.run import RunFolder

if TYPE_CHECKING:
    from torch import Tensor

    from tenuto.evaluation.audit.longer_search import AuditedAttack
    from tenuto.evaluation.audit.remedies import Rerun
    from tenuto.evaluation.audit.subject import Subject
    from tenuto.evaluation.runs import OpenedRun

Progress = Callable[[str, int, int], None]
"""Called with the run under examination, iterations done since the last call, and their total for this run."""


MODEL_QUESTIONS = {
    "gradients": "Are the gradients finite and not zero?",
    "finite-differences": "Are the gradients those of the function?",
    "repeatable": "Does the same input give the same prediction?",
    "unstable-predictions": "Is the error smooth in a small box around a clip?",
    "longer-search": "Do more steps or restarts change the error?",
    "unbounded": "Without a budget, does the attack exceed the error of the constant predictor?",
}
"""Checks that only a model can answer."""

MODEL_CHECKS = (
    *MODEL_QUESTIONS,
    "iterative",
    "black-box",
    "transfer",
    "silent-success",
    "incomplete-optimisation",
)
"""Checks that a model can answer; rows may answer three of them, and traces the last two."""


def of_models(name: str, evidence: Evidence) -> Finding:
    """The finding of one check from the models of the rows, or why there is none."""
    return evidence.once(evidence.find_in_models)[name]


for _name, _question in MODEL_QUESTIONS.items():
    check(_name, _question, less_is_worse=_name == "unbounded")(functools.partial(of_models, _name))


class Models:
    """Findings of models. Each run is examined once; only the search that is repeated longer depends on the rows.

    A model that was attacked on waveforms and on spectrograms is examined on both.

    Args:
        progress: Called during the model checks, which take minutes.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress
        self._subjects: dict[tuple[Path, str, str], Subject] = {}
        self._examined: dict[tuple[Path, str, str], list[Finding]] = {}
        self._searched: dict[tuple[Path, str, str, str], list[Finding]] = {}

    def findings(self, evidence: Evidence) -> dict[str, Finding]:
        """Check -> the most severe finding over one run of every system, the one with the smallest seed."""
        if reason := _obstacle(evidence):
            return {name: not_recorded(name, reason) for name in MODEL_CHECKS}
        findings: dict[str, list[tuple[str, Finding]]] = {name: [] for name in MODEL_CHECKS}
        for name, others in _chosen_runs(evidence):
            folders = evidence.source.folders
            siblings = (*evidence.data.siblings, *(folders[other] for other in others))
            with compute_repeatably(RunFolder(folders[name]).read_config().resolved().train.threads):
                run_findings = self._of_run(evidence, name, siblings)
            for finding in run_findings:
                findings[finding.check].append((name, finding))
        return {name: worst(own) for name, own in findings.items()}

    def reruns(self, evidence: Evidence, findings: Sequence[Finding]) -> list[Rerun]:
        """Carry out the remedies of checks that failed or warned, on the runs whose models were examined.

        Args:
            evidence: One source.
            findings: Its findings, for which the models were examined.
        """
        from tenuto.evaluation.audit.remedies import rerun, rerun_iterations

        if _obstacle(evidence):
            return []
        results: list[Rerun] = []
        for name, _ in _chosen_runs(evidence):
            rows = evidence.rows[evidence.rows["run"] == name]
            subject, search = self._subjects[_key(evidence, name)], self._search(evidence, name)
            total = rerun_iterations(subject, search, findings) * len(subject.inputs)
            first = rows.iloc[0]
            about: dict[str, Any] = {column: first[column] for column in ("system", "seed", "split")}
            about |= {
                "run": name,
                "unit": evidence.unit,
                "emotions": emotion_names(rows),
                "scale": evidence.scale,
            }

            def report(passes: int, name: str = name, total: int = total) -> None:
                if self._progress is not None:
                    self._progress(f"{name}, rerun", passes, total)

            config = RunFolder(evidence.source.folders[name]).read_config().resolved()
            with compute_repeatably(config.train.threads):
                outcome = rerun(subject, search, findings, report, **about)
            results += [dataclasses.replace(one, source=evidence.source.name) for one in outcome]
        return results

    def _search(self, evidence: Evidence, name: str) -> AuditedAttack:
        """The attack of a run's rows that is repeated."""
        from tenuto.evaluation.audit import examination, longer_search

        rows = evidence.rows
        own = (rows["run"] == name).to_numpy()
        attacks = [attack for attack, is_own in zip(evidence.row_attacks, own, strict=True) if is_own]
        stand_in = examination.stand_in(self._subjects[_key(evidence, name)])
        return longer_search.search_to_repeat(rows[own], attacks, stand_in)

    def _of_run(self, evidence: Evidence, name: str, siblings: tuple[Path, ...]) -> list[Finding]:
        """The findings of one run; what was computed for another protocol is not computed again."""
        from tenuto.evaluation.audit import examination, longer_search

        folder, itself = evidence.source.folders[name], _key(evidence, name)
        if itself not in self._subjects:
            self._subjects[itself] = _subject(name, siblings, itself[1], evidence)
        subject, search = self._subjects[itself], self._search(evidence, name)
        searched = (*itself, repr(search))
        if itself not in self._examined or searched not in self._searched:
            total = 0 if searched in self._searched else longer_search.longer_iterations(search)
            if itself not in self._examined:
                total += sum(attack.iterations for attack in examination.attacks(subject).values())

            def report(passes: int) -> None:
                if self._progress is not None:
                    self._progress(folder.name, passes, total * len(subject.inputs))

            if itself not in self._examined:
                self._examined[itself] = examination.examine(subject, report)
            if searched not in self._searched:
                self._searched[searched] = longer_search.longer_search(subject, search, report)
        return [*self._examined[itself], *self._searched[searched]]


def _key(evidence: Evidence, name: str) -> tuple[Path, str, str]:
    """What a subject is known by: the folder of a run, the part of the split, and the unit of what is attacked."""
    part = str(evidence.rows["split"].iloc[0])
    return evidence.source.folders[name].resolve(), part, evidence.unit


def _obstacle(evidence: Evidence) -> str:
    """Why no model can be evaluated; empty where it can."""
    folders = evidence.source.folders
    if not folders:
        return "needs the model: rows and logs come without it."
    if not evidence.can_evaluate:
        return "needs the data to evaluate the model: give it with `root`."
    if not any(evidence.checkpoint(run) for run in folders):
        return "the run folder holds no checkpoint."
    return evidence.not_evaluated if evidence.data.spared else ""


def _chosen_runs(evidence: Evidence) -> Iterator[tuple[str, list[str]]]:
    """The run of every system that is evaluated, and the other runs of that system."""
    run_names = evidence.rows[["system", "seed", "run"]].drop_duplicates().sort_values(["system", "seed"])
    for _, runs in run_names.groupby("system"):
        complete = [run for run in runs["run"] if evidence.checkpoint(run)]
        if complete:
            yield complete[0], complete[1:]


def _subject(name: str, siblings: tuple[Path, ...], part: str, evidence: Evidence) -> Subject:
    """A run's model and first clips; the first sibling of the same system serves for the transfer attack."""
    from tenuto.evaluation.audit.examination import default_budget
    from tenuto.evaluation.audit.subject import Subject
    from tenuto.evaluation.runs import Sibling
    from tenuto.models.checkpoint import load
    from tenuto.models.systems import for_attack

    data = evidence.data
    folder, run = evidence.source.folders[name], evidence.open_attacked(name)
    others = (path for path in siblings if path.resolve() != folder.resolve())
    same = (path for path in others if RunFolder(path).read_config().system == run.config.system)
    sibling = next(same, None)
    batch, inputs = run.part(part), run.recogniser.inputs
    # A given budget is in the unit of what the model takes itself.
    is_own = inputs.unit == evidence.open(name).recogniser.inputs.unit
    budget = data.budget if data.budget is not None and is_own else default_budget(batch.inputs, inputs.unit)
    return Subject(
        model=for_attack(run.recogniser.network),
        inputs=batch.inputs[: data.clips],
        labels=batch.labels[: data.clips],
        constant=_training_labels(run).mean(dim=0),
        sibling=None if sibling is None else Sibling(run, load(sibling)),
        valid_range=inputs.valid_range,
        axes=inputs.axes,
        has_gradient=run.recogniser.has_gradient,
        budget=budget.at_sample_rate(inputs.sample_rate),
        clips=tuple(batch.clips[: data.clips]),
    )


def _training_labels(run: OpenedRun) -> Tensor:
    """Labels of the training clips (clips, emotions), without their inputs, which may be long waveforms."""
    import torch

    prepared = run.material.prepared
    return torch.from_numpy(
        prepared.index.labels[prepared.places(run.material.split.train)].astype("float32")
    )
