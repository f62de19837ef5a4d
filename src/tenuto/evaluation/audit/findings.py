"""The results of an audit: one finding per check, with its value, its threshold and the page that explains it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from tenuto.errors import FileError, one_line, quote
from tenuto.registry import Registry


class Verdict(StrEnum):
    """PASS, WARN, FAIL, or NOT RECORDED where the source does not hold what the check needs."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"
    NOT_RECORDED = "NOT RECORDED"


@dataclasses.dataclass(frozen=True)
class Check:
    """A check of an audit.

    Attributes:
        question: What it answers, in one sentence.
        find: From the `sources.Evidence` of one source to the finding.
        less_is_worse: Whether a smaller value is worse, of findings with the same verdict.
    """

    question: str
    find: Callable[[Any], Finding]
    less_is_worse: bool = False


CHECKS: Registry[Check] = Registry("audit check", "tenuto.checks", Check)
"""Every check by its name, which is also the name of its page. A check registers itself where it is defined."""

ORDER = (
    *("budget", "same-iterate", "convergence", "few-outputs", "rating-scale", "ranking"),
    *("constant-predictor", "pooled-test", "monotone", "iterative", "black-box", "transfer", "provenance"),
    *("saved-budget", "sound-budget", "saved-norm", "saved-prediction", "survival", "certificate"),
    *("gradients", "finite-differences", "repeatable", "unstable-predictions"),
    *("silent-success", "incomplete-optimisation", "longer-search"),
    *("unbounded", "every-clip", "normalisation", "albums", "artists", "duplicates"),
    *("label-order", "labels"),
)
"""Checks in the order of the report; those that other packages add follow by name."""


def check(
    name: str, question: str, *, less_is_worse: bool = False
) -> Callable[[Callable[[Any], Finding]], Callable[[Any], Finding]]:
    """Return a decorator that registers a function as the check ``name``. Raises `ConfigError` for a name in use."""

    def add(find: Callable[[Any], Finding]) -> Callable[[Any], Finding]:
        CHECKS.register(name)(Check(question, find, less_is_worse))
        return find

    return add


def ordered_checks() -> list[str]:
    """Names of all checks in the order of the report."""
    return [*ORDER, *sorted(set(CHECKS) - set(ORDER))]


NOT_EVALUATED = "the model was not evaluated; `tenuto audit STUDY --root DATA` evaluates it."
"""Reason of a check that was left out because it takes minutes."""

OBJECT_NOT_EVALUATED = (
    "the model was not evaluated; it was given as a Python object, so `run.audit()` evaluates it, in Python."
)
"""The same for a run that only Python can open."""

SEVERITY = (Verdict.NOT_RECORDED, Verdict.PASS, Verdict.WARN, Verdict.FAIL)


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: A key of `CHECKS`.
        verdict: PASS, WARN, FAIL, or NOT RECORDED.
        value: What was measured; None where nothing was.
        threshold: What the value is compared with; None where nothing was measured.
        sentence: The result in plain words, or why there is none.
        source: The audited rows, by their protocol.
    """

    check: str
    verdict: Verdict
    value: float | None
    threshold: float | None
    sentence: str
    source: str = ""

    @property
    def severity(self) -> tuple[int, float]:
        """Larger for a worse finding of the same check; a value that is not a number is worst."""
        if self.value is None:
            return SEVERITY.index(self.verdict), -math.inf
        value = -self.value if CHECKS[self.check].less_is_worse else self.value
        return SEVERITY.index(self.verdict), math.inf if math.isnan(value) else value

    @property
    def page(self) -> str:
        """The page that explains the check and what to do, below the root of the repository."""
        return f"docs/audit/{self.check}.md"

    @property
    def question(self) -> str:
        """The question of the check."""
        return CHECKS[self.check].question

    def as_json(self) -> dict[str, Any]:
        """The finding as plain values; a value that is not finite becomes None."""
        fields = dataclasses.asdict(self) | {"verdict": str(self.verdict), "page": self.page}
        if self.value is not None and not math.isfinite(self.value):
            fields["value"] = None
        return {"source": fields.pop("source"), **fields}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], path: object = "findings") -> Finding:
        """The finding that `as_json` described; files of earlier versions call the value ``figure``.

        Raises:
            FileError: A field is missing or of the wrong type, or the check is unknown.
        """
        again = "Make the file again with `tenuto audit --out`."
        try:
            value = fields["value"] if "value" in fields else fields["figure"]
            finding = cls(
                check=fields["check"],
                verdict=Verdict(fields["verdict"]),
                value=value,
                threshold=fields["threshold"],
                sentence=fields["sentence"],
                source=fields["source"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"{path}: {one_line(error)} in a finding. {again}") from error
        kinds = {"value": float | int, "threshold": float | int, "sentence": str, "source": str}
        for name, kind in kinds.items():
            content = getattr(finding, name)
            if not isinstance(content, kind) and not (content is None and name in ("value", "threshold")):
                raise FileError(f"{path}: {name} of a finding is {quote(content)}. {again}")
        if not isinstance(finding.check, str) or finding.check not in CHECKS:
            raise FileError(f"{path}: there is no check {finding.check!r}. {again}")
        return finding


def judge(
    check: str,
    value: float,
    threshold: float | None,
    sentence: str,
    *,
    fail: bool = False,
    warn: bool = False,
) -> Finding:
    """Make a finding with a value: FAIL, else WARN, else PASS; no threshold where there is nothing to compare."""
    verdict = Verdict.FAIL if fail else Verdict.WARN if warn else Verdict.PASS
    return Finding(check, verdict, float(value), None if threshold is None else float(threshold), sentence)


def not_recorded(check: str, reason: str) -> Finding:
    """A finding that says why a check could not be made."""
    return Finding(check, Verdict.NOT_RECORDED, None, None, reason)


def worst(findings: Sequence[tuple[str, Finding]]) -> Finding:
    """The most severe of several findings of one check; its sentence names the run or budget.

    Args:
        findings: (title, finding), at least one. Of several with one verdict that with the worst value is taken, see
            `Check`, and of several with one value the first.
    """
    title, finding = max(findings, key=lambda entry: entry[1].severity)
    recorded = sum(one.verdict is not Verdict.NOT_RECORDED for _, one in findings)
    if not title or finding.verdict is Verdict.NOT_RECORDED:
        return finding
    among = f" (the most severe of {recorded})" if recorded > 1 else ""
    return dataclasses.replace(finding, sentence=f"{title}{among}: {finding.sentence}")


def has_failed(findings: Iterable[Finding]) -> bool:
    """Whether any check failed."""
    return any(finding.verdict is Verdict.FAIL for finding in findings)


def missing_checks(findings: Iterable[Finding]) -> list[str]:
    """Checks without a finding, in the order of the report: nobody made them."""
    checks_made = {finding.check for finding in findings}
    return [name for name in ordered_checks() if name not in checks_made]


def count_verdicts(findings: Sequence[Finding]) -> dict[Verdict, int]:
    """Count how often each verdict was given, most severe first."""
    return {
        verdict: sum(finding.verdict is verdict for finding in findings) for verdict in reversed(SEVERITY)
    }
