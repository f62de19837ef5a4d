"""The checks of traces: saved ones, or that of an attack which is repeated on the model."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from tenuto.analysis.systems import budget_title
from tenuto.evaluation.audit.findings import Finding, Verdict, check, worst
from tenuto.evaluation.audit.model_checks import of_models
from tenuto.evaluation.audit.sources import Evidence
from tenuto.evaluation.audit.traces import FINDERS, SearchPath
from tenuto.store.rows import row_errors
from tenuto.store.traces import read_traces

TRACE_QUESTIONS = {
    "silent-success": "Does an attack return the best that it found?",
    "incomplete-optimisation": "Has the search stopped improving when it ends?",
}
"""Checks of a trace."""


def of_searches(name: str, searches: list[tuple[str, SearchPath]]) -> Finding:
    """The most severe finding of one check over searches, each with the title of its run and budget."""
    findings = [(title, FINDERS[name](search)) for title, search in searches]
    return worst(findings)


def _by_trace_or_model(name: str, evidence: Evidence) -> Finding:
    """What the saved traces show; without them, what a repeated attack on the model shows."""
    searches = list(_saved_searches(evidence, only_strongest=name == "incomplete-optimisation"))
    finding = of_searches(name, searches) if searches else None
    if finding is None or finding.verdict is Verdict.NOT_RECORDED:
        return of_models(name, evidence)
    return finding


for _name, _question in TRACE_QUESTIONS.items():
    check(_name, _question)(functools.partial(_by_trace_or_model, _name))


def _saved_searches(evidence: Evidence, only_strongest: bool) -> Iterator[tuple[str, SearchPath]]:
    """Every attack of the rows whose trace is saved, or the strongest gradient attack of every run and budget."""
    rows = evidence.rows.assign(error=row_errors(evidence.rows))
    for run, path in evidence.source.traces.items():
        own = rows[rows["run"] == run]
        attacks = dict(zip(rows["settings"], evidence.row_attacks, strict=True))
        traces = dict(iter(read_traces(path).groupby("settings")))
        for (norm, epsilon), at_budget in own.groupby(["norm", "epsilon"], dropna=False):
            errors = at_budget.groupby("settings")["error"].mean().sort_values(ascending=False)
            for settings in errors.index:
                attack = attacks[settings]
                if attack is None or settings not in traces or (only_strongest and not attack.needs_gradient):
                    continue
                returned = at_budget[at_budget["settings"] == settings].set_index("clip")
                title = f"{run}, {budget_title(norm, epsilon)}"
                yield title, SearchPath.of(attack, traces[settings], returned)
                if only_strongest:
                    break
