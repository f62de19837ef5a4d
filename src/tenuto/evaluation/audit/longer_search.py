"""Whether the attack of the rows finds more with a longer search."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tenuto.analysis.systems import RESOLUTION
from tenuto.attacks import Attack, AttackResult, climb, left_as_found
from tenuto.errors import AttackError, ConfigError
from tenuto.evaluation.audit.examination import STAND_IN
from tenuto.evaluation.audit.findings import Finding, judge, not_recorded
from tenuto.evaluation.audit.subject import Progress, Subject
from tenuto.evaluation.audit.traces import FINDERS, SearchPath
from tenuto.store.budgets import norm_of, norm_order
from tenuto.store.rows import row_errors

LONGER = 2
RESTARTS = 5
"""How much longer the search is repeated: times the steps, and number of starts (twice as many, if that is more)."""

MORE_TRIES = (2, 4)
"""How many times the tries of a random search are repeated."""

CHANGE = 0.02
"""Relative change of the error by longer search that still counts as converged (the project's own standard)."""

LARGE_CHANGE = 0.1
"""Above it the error depends more on the length of the search than on the model."""

MOST_REPEATED_ITERATIONS = 200
"""Iterations per clip up to which an attack is repeated with twice the steps and five restarts: eight times as many."""


@dataclasses.dataclass(frozen=True)
class AuditedAttack:
    """The attack whose search is repeated longer.

    Attributes:
        attack: The attack at its budget; it has ``steps`` and ``restarts``, or the settings of a black-box search.
        lower: The same at the smaller budgets of a ladder, smallest first: each starts from the result of the one
            before it.
        instead: Why this attack replaces the attack of the rows; empty where it is that attack.
    """

    attack: Any
    lower: tuple[Any, ...] = ()
    instead: str = ""

    @property
    def remark(self) -> str:
        """The end of a sentence about the attack."""
        return f" (a stand-in: {self.instead})." if self.instead else "."


def search_to_repeat(
    rows: pd.DataFrame, attacks: Sequence[Attack | None], stand_in: Attack = STAND_IN
) -> AuditedAttack:
    """The strongest iterative attack of one run's rows, at the middle one of its budgets.

    Strongest is the largest mean absolute error; of an even number of budgets the upper middle one is taken, and
    of several norms the first in the order of `tenuto.store.budgets`. Where there is none, the stand-in is taken, and
    says why.

    Args:
        rows: Rows of one run.
        attacks: The attack of every row; None where it is not recorded.
        stand_in: See `examination.stand_in`.
    """
    try:
        return _strongest(rows, attacks)
    except ConfigError as error:
        return AuditedAttack(stand_in, instead=str(error).rstrip("."))


def _is_repeatable(attack: Attack | None) -> bool:
    """Whether an attack follows gradients inside a budget, with a number of steps and restarts that can be raised."""
    if attack is None or attack.access != "gradient" or not np.isfinite(attack.epsilon):
        return False
    if not dataclasses.is_dataclass(attack):
        return False
    return {"steps", "restarts"} <= {field.name for field in dataclasses.fields(attack)}


def _strongest(rows: pd.DataFrame, attacks: Sequence[Attack | None]) -> AuditedAttack:
    """Raises `ConfigError` where no attack of the rows can be repeated."""
    by_text = {repr(attack): attack for attack in attacks if _is_repeatable(attack)}
    own = rows.assign(text=[repr(attack) for attack in attacks])
    own = own[own["text"].isin(list(by_text))]
    if own.empty:
        raise ConfigError("the rows record no attack with steps and restarts inside a budget")
    own = own[own["norm"] == min(set(own["norm"]), key=norm_order)]
    ladder = [float(epsilon) for epsilon in sorted(own["epsilon"].unique())]
    middle = own[own["epsilon"] == ladder[len(ladder) // 2]]
    strongest = str(middle.assign(error=row_errors(middle)).groupby("text")["error"].mean().idxmax())
    attack: Any = by_text[strongest]
    if attack.iterations > MOST_REPEATED_ITERATIONS:
        raise ConfigError(f"{strongest} takes {attack.iterations} iterations, too many to repeat with more")
    budgets = [attack.budget.of(epsilon) for epsilon in ladder[: len(ladder) // 2]]
    lower = [dataclasses.replace(attack, budget=budget) for budget in budgets]
    return AuditedAttack(attack, tuple(one for one in lower if repr(one) in set(own["text"])))


def variants(search: AuditedAttack) -> dict[str, Any]:
    """Longer attacks under what makes them longer."""
    attack = search.attack
    if attack.access == "black-box":
        tries = next(name for name in ("queries", "draws") if hasattr(attack, name))
        longer = {n: dataclasses.replace(attack, **{tries: n * getattr(attack, tries)}) for n in MORE_TRIES}
        return {f"{n} times the {tries}": one for n, one in longer.items()}
    starts = max(RESTARTS, LONGER * attack.restarts)
    return {
        f"{LONGER} times the steps": dataclasses.replace(attack, steps=LONGER * max(attack.steps, 1)),
        f"{starts} restarts": dataclasses.replace(attack, restarts=starts),
    }


def longer_iterations(search: AuditedAttack) -> int:
    """Most iterations per clip that `longer_search` takes."""
    return sum(attack.iterations for attack in (*search.lower, search.attack, *variants(search).values()))


def longer_search(subject: Subject, search: AuditedAttack, progress: Progress | None = None) -> list[Finding]:
    """Repeat an attack with a trace, with more steps and with restarts.

    Args:
        subject: The model and its clips.
        search: The attack, see `search_to_repeat`.
        progress: Called with the number of clip-iterations done.

    Returns:
        The findings of ``longer-search``, ``silent-success`` and ``incomplete-optimisation``.
    """
    report = progress or (lambda done: None)
    start = None
    try:
        with left_as_found(subject.model):
            lower = climb(search.lower, subject.model, subject.inputs, subject.labels, **subject.call(report))
            for _, result in lower:
                start = result.perturbation
            base = subject.attacked(search.attack, report, start, trace=True)
            errors = {"": subject.error_of(base)} | {
                longer: subject.errors(attack, report, start) for longer, attack in variants(search).items()
            }
    except AttackError as error:
        reason = f"{search.attack!r} cannot be repeated: {error}"
        return [not_recorded(name, reason) for name in ("longer-search", *FINDERS)]
    changes = _changes(search, {longer: float(values.mean()) for longer, values in errors.items()})
    return [changes, *_of_trace(search, base)]


def _of_trace(search: AuditedAttack, result: AttackResult) -> list[Finding]:
    """The findings on how the search of a result went."""
    attack: Attack = search.attack
    if result.trace is None:
        return [not_recorded(name, f"{attack!r} records no trace.") for name in FINDERS]
    returned = pd.DataFrame({"loss": result.loss, "converged": result.converged}, index=result.trace.names)
    searched = SearchPath.of(attack, result.trace.frame(), returned)
    findings = [find(searched) for find in FINDERS.values()]
    return [dataclasses.replace(one, sentence=one.sentence.rstrip(".") + search.remark) for one in findings]


def _changes(search: AuditedAttack, errors: dict[str, float]) -> Finding:
    """A finding from the mean error of the attack (under "") and of the longer ones."""
    base = max(errors[""], RESOLUTION)
    changes = {longer: error / base - 1 for longer, error in errors.items() if longer}
    change = float(np.max(np.abs(list(changes.values()))))  # NaN where one of them is
    start = f", started from the result of {_size(search.lower[-1])}" if search.lower else ""
    return judge(
        "longer-search",
        change,
        CHANGE,
        f"MAE {base:.4f} by {search.attack!r}{start}; "
        + ", ".join(f"{value:+.1%} by {longer}" for longer, value in changes.items())
        + search.remark,
        fail=not change <= LARGE_CHANGE,
        warn=change > CHANGE,
    )


def _size(attack: Any) -> str:
    """The budget of an attack in words."""
    norm = norm_of(attack.budget.norm)
    return norm.label(attack.budget.epsilon) if norm.in_db else f"epsilon {attack.budget.epsilon:g}"
