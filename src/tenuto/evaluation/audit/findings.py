"""What an audit says: one finding per check, with its figure, its threshold and the page that explains it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """PASS, WARN, FAIL, or NOT RECORDED where the source cannot show what the check asks for."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"
    NOT_RECORDED = "NOT RECORDED"


CHECKS: dict[str, str] = {
    "budget": "Does the stated budget bind?",
    "same-iterate": "Do norm and prediction belong to the same perturbation?",
    "convergence": "Does the attack reach its goal before its last iteration?",
    "rating-scale": "Are attacked predictions possible ratings, and does clipping them turn the ranking?",
    "ranking": "Do six measures rank the systems alike?",
    "constant-predictor": "Is the model better than a constant?",
    "pooled-test": "Does a test that pools seeds and clips overstate what is known?",
    "monotone": "Does the error rise with the budget?",
    "iterative": "Is an iterative attack stronger than a single step?",
    "black-box": "Are noise and a black-box attack weaker than gradients?",
    "transfer": "Is an attack made on a sibling weaker?",
    "provenance": "Is it recorded what was attacked, how, and with what?",
    "saved-budget": "Are the saved perturbations inside their budget?",
    "saved-norm": "Are the norms in the rows those of the saved perturbations?",
    "saved-prediction": "Does the model predict what the rows say, at the saved perturbations?",
    "gradients": "Are the gradients finite and not zero?",
    "finite-differences": "Are the gradients those of the function?",
    "repeatable": "Does the same input give the same prediction?",
    "longer-search": "Do more steps or restarts change the error?",
    "unbounded": "Without a budget, does the attack pass the constant predictor?",
    "normalisation": "Was the normalisation measured on training clips alone?",
    "albums": "Do test clips come from albums that are also trained on?",
    "labels": "Does the attack know the labels?",
}
"""Every check and the question it answers, in the order of the report."""

UNASKED = "the model was not asked; `tenuto audit STUDY --root DATA` asks it."
"""Why a check was not made that only costs time."""

SEVERITY = (Verdict.NOT_RECORDED, Verdict.PASS, Verdict.WARN, Verdict.FAIL)


@dataclasses.dataclass(frozen=True)
class Finding:
    """The answer to one check.

    Attributes:
        check: A key of `CHECKS`.
        verdict: PASS, WARN, FAIL, or NOT RECORDED.
        figure: What was measured; None where nothing was.
        threshold: What the figure is held against; None where nothing was measured.
        sentence: What was found, in plain words with the figures that matter, or why nothing could be.
        page: The page that says how it is measured and what to do.
        source: The rows it speaks of, by their protocol.
    """

    check: str
    verdict: Verdict
    figure: float | None
    threshold: float | None
    sentence: str
    source: str = ""

    @property
    def page(self) -> str:
        """Where the check is explained, below the root of the repository."""
        return f"docs/audit/{self.check}.md"

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values, for programs; a figure that is not finite becomes None."""
        fields = dataclasses.asdict(self) | {"verdict": str(self.verdict), "page": self.page}
        if self.figure is not None and not math.isfinite(self.figure):
            fields["figure"] = None
        return {"source": fields.pop("source"), **fields}


def judged(
    check: str,
    figure: float,
    threshold: float,
    sentence: str,
    *,
    fail: bool = False,
    warn: bool = False,
) -> Finding:
    """A finding with a figure: FAIL, else WARN, else PASS."""
    verdict = Verdict.FAIL if fail else Verdict.WARN if warn else Verdict.PASS
    return Finding(check, verdict, float(figure), float(threshold), sentence)


def not_recorded(check: str, reason: str) -> Finding:
    """A finding that says why a check could not be made."""
    return Finding(check, Verdict.NOT_RECORDED, None, None, reason)


def worst(findings: Sequence[tuple[str, Finding]]) -> Finding:
    """The most severe of several findings of one check; its sentence names whose it is.

    Args:
        findings: (who, finding), such as a run or a budget; one at least. Of equally severe ones the first is taken.
    """
    who, found = max(findings, key=lambda entry: SEVERITY.index(entry[1].verdict))
    recorded = sum(finding.verdict is not Verdict.NOT_RECORDED for _, finding in findings)
    if not who or found.verdict is Verdict.NOT_RECORDED:
        return found
    among = f" (the most severe of {recorded})" if recorded > 1 else ""
    return dataclasses.replace(found, sentence=f"{who}{among}: {found.sentence}")


def failed(findings: Iterable[Finding]) -> bool:
    """Whether any check failed."""
    return any(finding.verdict is Verdict.FAIL for finding in findings)


def counted(findings: Sequence[Finding]) -> dict[Verdict, int]:
    """How often each verdict was given, most severe first."""
    return {
        verdict: sum(finding.verdict is verdict for finding in findings) for verdict in reversed(SEVERITY)
    }
