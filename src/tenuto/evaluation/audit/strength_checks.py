"""What rows show about the strength of attacks: over budgets, and kinds of attacks against each other."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tenuto.analysis.systems import at_budgets, budget_title
from tenuto.evaluation.audit.findings import Finding, Verdict, check, judge, not_recorded, worst
from tenuto.evaluation.audit.model_checks import of_models
from tenuto.evaluation.audit.sources import Evidence, Values
from tenuto.evaluation.audit.strength import WEAKER_WORDS, weaker
from tenuto.store.budgets import norm_of
from tenuto.store.rows import row_errors

if TYPE_CHECKING:
    from tenuto.attacks import Attack

FALL = 0.01
"""Relative fall of the mean error from one budget to the next that is still taken for rounding and chance."""

STRENGTH_QUESTIONS = {
    "iterative": "Is an iterative attack stronger than a single step?",
    "black-box": "Are noise and a black-box attack weaker than gradients?",
    "transfer": "Is an attack made on a sibling weaker?",
}
"""Checks that compare weaker attacks with iterative gradients."""


def is_iterative(attack: Attack) -> bool:
    """Whether it follows the model's gradient for more than one step."""
    return attack.access == "gradient" and attack.iterations > 1


WEAKER: dict[str, Callable[[Attack], bool]] = {
    "iterative": lambda attack: attack.access == "gradient" and attack.iterations == 1,
    "black-box": lambda attack: attack.access == "black-box",
    "transfer": lambda attack: attack.access == "transfer",
}
"""Check -> which attacks those are."""


@check("monotone", "Does the error rise with the budget?")
def monotone(evidence: Evidence) -> Finding:
    """Look at the worst-case error of every run over epsilon."""
    rows = pd.concat([part for _, part in at_budgets(evidence.rows)], ignore_index=True)
    rows = rows.assign(error=row_errors(rows))[np.isfinite(rows["epsilon"].astype(float))]
    if rows.empty or rows.groupby(["run", "norm"])["epsilon"].nunique().max() < 2:
        return not_recorded("monotone", "there is one budget only, so there is no curve.")
    findings = []
    for (run, norm), own in rows.groupby(["run", "norm"]):
        curve = own.groupby("epsilon")["error"].mean()
        fall = 1 - float((curve / curve.cummax()).fillna(1.0).min())  # an error of 0 cannot fall
        size = norm_of(str(norm)).short
        listing = ", ".join(f"{size(float(str(epsilon)))}: {error:.3f}" for epsilon, error in curve.items())
        broken = f"; it falls by {fall:.1%}, although a larger budget contains every smaller one"
        sentence = f"the mean error over {norm} budgets is {listing}{broken if fall > FALL else ''}."
        findings.append((str(run), judge("monotone", fall, FALL, sentence, fail=fall > FALL)))
    return worst(findings)


def _by_rows_or_model(name: str, evidence: Evidence) -> Finding:
    """What the rows show, else what the model shows; where neither can, why the rows cannot."""
    finding = by_rows(name, evidence)
    if finding.verdict is Verdict.NOT_RECORDED and evidence.can_evaluate:
        finding = of_models(name, evidence)
    if finding.verdict is Verdict.NOT_RECORDED and name == "black-box":
        return by_random_search(evidence) or finding
    return finding


for _name, _question in STRENGTH_QUESTIONS.items():
    check(_name, _question)(functools.partial(_by_rows_or_model, _name))


def by_rows(name: str, evidence: Evidence) -> Finding:
    """Compare weaker attacks with iterative gradients at the same budget of the same run."""
    findings = [
        (title, weaker(name, weak, strong))
        for title, weak, strong in _sides(evidence, WEAKER[name], is_iterative)
    ]
    if not findings:
        how = (
            "the rows do not record every attack"
            if None in evidence.row_attacks
            else "with `root` the model is evaluated"
        )
        how = "released logs hold one attack" if evidence.source.released else how
        return not_recorded(
            name,
            f"the rows do not hold {WEAKER_WORDS[name]} and iterative gradients at the same budget; {how}.",
        )
    return worst(findings)


def by_random_search(evidence: Evidence) -> Finding | None:
    """Compare noise with black-box search where no attack follows gradients; None without both."""
    from tenuto.attacks import Noise

    if any(attack is not None and attack.needs_gradient for attack in evidence.row_attacks):
        return None
    findings = [
        (title, weaker("black-box", weak, strong, "noise", "random search"))
        for title, weak, strong in _sides(
            evidence,
            lambda attack: isinstance(attack, Noise),
            lambda attack: attack.access == "black-box" and not isinstance(attack, Noise),
        )
    ]
    return worst(findings) if findings else None


def _sides(
    evidence: Evidence, is_weak: Callable[[Attack], bool], is_strong: Callable[[Attack], bool]
) -> Iterator[tuple[str, Values, Values]]:
    """Title of a run and budget, and the largest error per clip (clips,) of the weak and the strong attacks there."""
    attacks = evidence.row_attacks
    rows = evidence.rows.assign(
        error=row_errors(evidence.rows),
        is_weak=[attack is not None and is_weak(attack) for attack in attacks],
        is_strong=[attack is not None and is_strong(attack) for attack in attacks],
    )
    limited = rows[np.isfinite(rows["epsilon"].astype(float))]
    for (run, norm, epsilon), part in limited.groupby(["run", "norm", "epsilon"]):
        weak, strong = (
            part[part[column]].groupby("clip")["error"].max() for column in ("is_weak", "is_strong")
        )
        both = weak.index.intersection(strong.index)
        if len(both):
            title = f"{run} at {budget_title(norm, epsilon)}"
            yield title, np.asarray(weak[both], np.float64), np.asarray(strong[both], np.float64)
