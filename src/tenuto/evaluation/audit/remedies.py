"""What the page of a failed check advises, carried out: other attacks on the same clips, and the error they find."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tenuto.analysis.systems import RESOLUTION
from tenuto.attacks import (
    AbsoluteError,
    Attack,
    AttackResult,
    EachEmotion,
    SquaredError,
    Transfer,
    Transformations,
    climb,
    emotions_of,
    left_as_found,
)
from tenuto.errors import AttackError, counted
from tenuto.evaluation.audit.examination import DRAWS, QUERIES, random_search
from tenuto.evaluation.audit.findings import Finding, Verdict
from tenuto.evaluation.audit.longer_search import CHANGE, RESTARTS, AuditedAttack
from tenuto.evaluation.audit.sources import Values
from tenuto.evaluation.audit.subject import Progress, Subject, mean_errors
from tenuto.store.result_rows import rows_of_result

TIMES = (2, 4, 8)
"""How many times the steps, or the tries of a random search, are raised; it ends where the error changes no more."""

JUDGED = 16
"""Predictions over which the error of a random model is averaged."""

SPREAD = 0.5
"""Size of the noise of a smoothed copy, as a share of the budget."""

PROTOCOL = "audit-rerun"
"""Protocol of the rows."""


class Smoothed:
    """A copy of a model whose prediction is the mean over noisy inputs: its gradient does not follow short ripples.

    Args:
        model: As for an attack.
        outputs: Number of emotions.
        deviation: Standard deviation of the noise, normally distributed, in units of the inputs.
    """

    def __init__(self, model: Any, outputs: int, deviation: float) -> None:
        self.model, self.outputs, self.deviation = model, outputs, deviation

    def __call__(self, inputs: Tensor) -> Tensor:
        """Predictions (n, emotions) at inputs (n, ...), with the same noise for every input and at every call."""
        chance = torch.Generator().manual_seed(0)
        like = inputs.new_zeros(len(inputs), self.outputs)
        total = torch.zeros_like(like)
        for _ in range(DRAWS):
            noise = torch.randn(inputs.shape[1:], generator=chance).to(inputs)
            total = total + emotions_of(self.model(inputs + self.deviation * noise), like)
        return total / DRAWS


def _settings(search: AuditedAttack) -> dict[str, Any]:
    """Settings that limit what the audited attack may do: an attack in its place keeps them.

    Without them its error would be that of another threat model, and no rise over the audited one.
    """
    names = ("region", "transformations", "precision")
    return {name: getattr(search.attack, name) for name in names if hasattr(search.attack, name)}


def _with_settings(search: AuditedAttack, **settings: Any) -> Attack:
    """The audited attack with other settings.

    It does not stop early: a longer search that ends at the same ``stop_at`` would find no more, and another objective
    has another unit.
    """
    if any(field.name == "stop_at" for field in dataclasses.fields(search.attack)):
        settings["stop_at"] = None
    attack: Attack = dataclasses.replace(search.attack, **settings)
    return attack


def _longer(subject: Subject, search: AuditedAttack) -> list[Attack]:
    """More and more steps, or tries of a random search."""
    tries = next((name for name in ("steps", "queries", "draws") if hasattr(search.attack, name)), None)
    if tries is None:
        return []
    length = max(getattr(search.attack, tries), 1)
    return [_with_settings(search, **{tries: times * length}) for times in TIMES]


def _restarts(subject: Subject, search: AuditedAttack) -> list[Attack]:
    if not hasattr(search.attack, "restarts"):
        return []
    return [_with_settings(search, restarts=max(RESTARTS, 2 * search.attack.restarts))]


def _losses(subject: Subject, search: AuditedAttack) -> list[Attack]:
    """Other objectives: absolute and squared errors, and every emotion up and down."""
    if not subject.has_gradient:
        return []
    each = EachEmotion().each(subject.labels.shape[1])
    objectives = (AbsoluteError(), SquaredError(), SquaredError(against="clean"), *each)
    return [
        _with_settings(search, objective=objective)
        for objective in objectives
        if repr(objective) != repr(search.attack.objective)
    ]


def _expectation(subject: Subject, search: AuditedAttack) -> list[Attack]:
    """The mean gradient over the randomness of the model, with the transformations of the audited attack."""
    own = _settings(search).get("transformations") or Transformations(draws=1)
    return [_with_settings(search, transformations=dataclasses.replace(own, draws=max(DRAWS, own.draws)))]


def _smoothed(subject: Subject, search: AuditedAttack) -> list[Attack]:
    """Transfer from a smoothed copy of the model."""
    if not subject.has_gradient:
        return []
    budget, inputs = search.attack.budget, subject.inputs
    box = budget.of(SPREAD * budget.epsilon).around(inputs, [str(place) for place in range(len(inputs))])
    uniform = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(0)).to(inputs) * 2 - 1
    copy = Smoothed(subject.model, subject.labels.shape[1], float(box.scattered(uniform).std()))
    return [_transfer(search, copy, "a smoothed copy")]


def _sibling(subject: Subject, search: AuditedAttack) -> list[Attack]:
    return [] if subject.sibling is None else [_transfer(search, subject.sibling, "sibling")]


def _transfer(search: AuditedAttack, source: Any, name: str) -> Attack:
    budget, objective = search.attack.budget, search.attack.objective
    return Transfer(budget=budget, objective=objective, source=source, name=name, **_settings(search))


def _queries(subject: Subject, search: AuditedAttack) -> list[Attack]:
    """Random search, which needs no gradient."""
    budget, settings = search.attack.budget, _settings(search)
    return [random_search(budget, times * QUERIES, **settings) for times in TIMES]


REMEDIES: dict[str, Callable[[Subject, AuditedAttack], list[Attack]]] = {
    "more steps": _longer,
    "restarts": _restarts,
    "other losses": _losses,
    "expectation over draws": _expectation,
    "smoothed copy": _smoothed,
    "sibling": _sibling,
    "random search": _queries,
}
"""Remedy -> its attacks on a subject, in the place of the attack of a search."""

GROWING = ("more steps", "random search")
"""Remedies whose attacks get longer; they end where the error changes by less than `CHANGE`."""

MASKED = ("other losses", "smoothed copy", "sibling", "random search")

ADVICE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("longer-search", "convergence", "monotone"), ("more steps", "restarts")),
    **dict.fromkeys(("silent-success", "incomplete-optimisation"), ("more steps",)),
    **dict.fromkeys(("gradients", "finite-differences", "iterative", "black-box", "transfer"), MASKED),
    "unbounded": ("more steps", *MASKED),
    "repeatable": ("expectation over draws",),
    "unstable-predictions": ("expectation over draws", "smoothed copy", "random search"),
}
"""Check -> the remedies that its page advises."""


@dataclasses.dataclass(frozen=True, eq=False)
class Rerun:
    """What one remedy found.

    Attributes:
        source: The audited rows, as in findings.
        run: The run whose model was attacked.
        remedy: A key of `REMEDIES`.
        checks: The checks that failed or warned and advise it.
        audited: The audited attack, and why it is not that of the rows where a stand-in had to be taken.
        attack: The strongest attack of the remedy.
        before: Mean absolute error under the audited attack, mean over the clips.
        after: The same under the strongest attack of the remedy.
        best: The same, of the worst case of the audited attack and all attacks of the remedy.
        rows: Rows of all attacks that were made, numbered in the column ``attack``; 00 is the audited one.
    """

    source: str
    run: str
    remedy: str
    checks: tuple[str, ...]
    audited: str
    attack: str
    before: float
    after: float
    best: float
    rows: pd.DataFrame

    @property
    def change(self) -> float:
        """Relative rise of the error by the worst case."""
        return self.best / max(self.before, RESOLUTION) - 1

    @property
    def sentence(self) -> str:
        """The result in plain words."""
        clips = self.rows["clip"].nunique()
        return (
            f"{self.remedy} ({', '.join(self.checks)}): MAE {self.before:.4f} by {self.audited}, {self.after:.4f} "
            f"by {self.attack}, {self.best:.4f} in the worst case of all ({self.change:+.1%}) on "
            f"{counted(clips, 'clip')}."
        )

    def as_json(self) -> dict[str, Any]:
        """All fields but the rows, as plain values."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "rows"]
        return {name: getattr(self, name) for name in names} | {"sentence": self.sentence}


def checks_to_remedy(findings: Collection[Finding]) -> list[str]:
    """Checks that failed or warned and whose remedy is another attack, in the order of `ADVICE`."""
    bad = {one.check for one in findings if one.verdict in (Verdict.FAIL, Verdict.WARN)}
    return [check for check in ADVICE if check in bad]


def rerun(
    subject: Subject,
    search: AuditedAttack,
    findings: Collection[Finding],
    progress: Progress | None = None,
    **about: Any,
) -> list[Rerun]:
    """Carry out the remedies of the checks that failed or warned.

    Args:
        subject: The model and its clips.
        search: The audited attack.
        findings: Of the audit.
        progress: Called with the number of clip-iterations done.
        about: Columns of the rows: ``run``, ``system``, ``seed``, ``unit`` ..., see `rows_of_result`.

    Returns:
        One result per remedy that can be used on this model.
    """
    checks = checks_to_remedy(findings)
    if not checks:
        return []
    trial = _Trial(subject, progress or (lambda done: None), "repeatable" in checks, about)
    with left_as_found(subject.model):
        try:
            trial.begin(search)
        except AttackError:  # no gradient, or none that is finite
            subject = trial.subject = dataclasses.replace(subject, has_gradient=False)
            instead = random_search(search.attack.budget, **_settings(search))
            search = AuditedAttack(instead, instead="the model has no finite gradient")
            trial.begin(search)
        results = [
            trial.carry_out(
                name, tuple(check for check in checks if name in ADVICE[check]), find(subject, search)
            )
            for name, find in REMEDIES.items()
            if any(name in ADVICE[check] for check in checks)
        ]
    return [result for result in results if result is not None]


def rerun_iterations(subject: Subject, search: AuditedAttack, findings: Collection[Finding]) -> int:
    """Most iterations per clip that `rerun` takes."""
    names = {name for check in checks_to_remedy(findings) for name in ADVICE[check]}
    attacks = [attack for name in names for attack in REMEDIES[name](subject, search)]
    return sum(attack.iterations for attack in (*search.lower, search.attack, *attacks)) if attacks else 0


class _Trial:
    """Attacks on one subject, all from the start of the audited one."""

    def __init__(self, subject: Subject, progress: Progress, is_random: bool, about: dict[str, Any]) -> None:
        self.subject, self.progress, self.is_random, self.about = subject, progress, is_random, about
        self.count = 0

    def begin(self, search: AuditedAttack) -> None:
        """Repeat the audited attack."""
        self.audited = repr(search.attack) + (f" (a stand-in: {search.instead})" if search.instead else "")
        subject, self.start = self.subject, None
        call = subject.call(self.progress)
        for _, result in climb(search.lower, subject.model, subject.inputs, subject.labels, **call):
            self.start = result.perturbation
        self.errors, self.rows = self._attacked(search.attack)

    def carry_out(self, remedy: str, checks: tuple[str, ...], attacks: Sequence[Attack]) -> Rerun | None:
        """Make the attacks of one remedy; None where none of them can be used."""
        best, mean = self.errors, -np.inf
        strongest: Attack | None = None
        tables = [self.rows]
        for attack, errors, rows in self._attempts(remedy, attacks):
            best = np.maximum(best, errors)
            tables.append(rows)
            if errors.mean() > mean:
                strongest, mean = attack, float(errors.mean())
        if strongest is None:
            return None
        return Rerun(
            source="",
            run=str(self.about.get("run", "")),
            remedy=remedy,
            checks=checks,
            audited=self.audited,
            attack=repr(strongest),
            before=float(self.errors.mean()),
            after=mean,
            best=float(best.mean()),
            rows=pd.concat(tables, ignore_index=True),
        )

    def _attempts(
        self, remedy: str, attacks: Sequence[Attack]
    ) -> Iterator[tuple[Attack, Values, pd.DataFrame]]:
        """The attacks of a remedy with errors (clips,) and rows; growing ones as long as the error rises."""
        before = -np.inf
        for place, attack in enumerate(attacks):
            try:
                errors, rows = self._attacked(attack)
            except AttackError:  # a gradient that is not finite, or a budget that the attack does not know
                continue
            yield attack, errors, rows
            if remedy in GROWING and errors.mean() <= (1 + CHANGE) * before:
                rest = sum(one.iterations for one in attacks[place + 1 :])
                self.progress(rest * len(self.subject.inputs))
                return
            before = float(errors.mean())

    def _attacked(self, attack: Attack) -> tuple[Values, pd.DataFrame]:
        """Errors (clips,) and rows of one attack."""
        subject = self.subject
        result = subject.attacked(attack, self.progress, self.start)
        rows = rows_of_result(
            result,
            attack=attack,
            labels=subject.labels,
            clips=subject.clips or None,
            protocol=PROTOCOL,
            **self.about,
        )
        # Attacks that differ in their number of steps alone have one name.
        rows["attack"] = f"{self.count:02d} {attack.title}"
        self.count += 1
        return self._errors(result), rows

    def _errors(self, result: AttackResult) -> Values:
        """Errors (clips,); of a random model the mean over new predictions."""
        subject = self.subject
        if not self.is_random:
            return subject.error_of(result)
        device = subject.inputs.device
        # The same draws for every attack, of which the largest error is taken.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            errors = [mean_errors(subject.model, result.adversarial, subject.labels) for _ in range(JUDGED)]
        return np.asarray(torch.stack(errors).double().mean(dim=0).cpu().numpy())
