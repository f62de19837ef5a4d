"""What the trace of a search shows: a better step that is not returned, a search that ends while it still improves.

Both are indicators of Pintor et al., "Indicators of Attack Failure: Debugging and Improving Optimization of Adversarial
Examples" (2022); the other four are the checks ``gradients``, ``unstable-predictions``, ``transfer`` and ``unbounded``.
In regression the loss takes the place of the success, since there is no class to change.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tenuto.errors import counted
from tenuto.evaluation.audit.findings import Finding, judge, not_recorded
from tenuto.metrics import ROUNDING

if TYPE_CHECKING:
    from tenuto.attacks import Attack

LAST = 0.1
"""Share of a search, at its end, in which little should be gained."""

STILL_RISING = (0.025, 0.05)
"""Share of the gain in the last tenth above which it is a warning, and a failure: a quarter and a half of
the gain of an average tenth."""

LOST = (0.02, 0.1)
"""Share of the gain that a search found and did not return, above which it is a warning, and a failure."""

LEAST_STEPS = 10
"""Evaluations from which on the last tenth is at least one."""


@dataclasses.dataclass(frozen=True)
class SearchPath:
    """How the search of one attack went, a line per clip.

    Attributes:
        attack: The attack.
        clips: By clip: ``first`` and ``best``, the loss at the clean input and the best of all; ``steps`` and
            ``before``, evaluations of the start that found the best, and the best loss before their last tenth;
            ``returned``, loss of the result; ``converged``, whether it reports its goal. Of a function that is not
            Tenuto's also ``attempts``, see `_attempts`.
    """

    attack: Attack
    clips: pd.DataFrame

    @classmethod
    def of(cls, attack: Attack, trace: pd.DataFrame, returned: pd.DataFrame) -> SearchPath:
        """From the lines of a trace, and what was returned: ``loss`` and ``converged`` by clip."""
        by_clip = trace.groupby("clip")
        clips = by_clip["best"].agg(first="min", best="max")
        # With several starts each takes a pass for every step, and one for its result.
        restarts = getattr(attack, "restarts", 1)
        length = attack.iterations // restarts + 1 if restarts > 1 else None
        starts = {clip: _start_of_best(own, length) for clip, own in by_clip}
        clips[["steps", "before"]] = pd.DataFrame.from_dict(starts, orient="index").reindex(clips.index)
        if attack.access == "foreign":
            clips["attempts"] = _attempts(trace).reindex(clips.index, fill_value=0)
        recorded = returned.reindex(columns=["loss", "converged"])
        return cls(attack, clips.join(recorded).rename(columns={"loss": "returned"}))

    @property
    def gain(self) -> float:
        """By how much the search raised the loss, summed over clips."""
        return float((self.clips["best"] - self.clips["first"]).sum())


def _start_of_best(points: pd.DataFrame, length: int | None) -> tuple[int, float]:
    """Evaluations of the start that found the best of one clip, and its best loss before the last tenth of them.

    Args:
        points: The trace of the clip.
        length: Evaluations of every start but the last, which may end earlier; None for one start.

    Returns:
        Both; the loss is NaN where so few evaluations of each start were recorded that a tenth may have none.
    """
    step, best = points["step"].to_numpy(np.int64), points["best"].to_numpy(np.float64)
    length = length or max(int(step[-1]), 1)
    begin = step[max(int(best.argmax()) - 1, 0)] // length * length  # found after the point before
    steps = min(step[-1] - begin, length)
    early = (step > begin) & (step <= begin + (1 - LAST) * steps)
    best_early, best_before = best[early].max(initial=best[0]), best[step <= begin].max()
    if best_early <= best_before:  # the best so far is that of an earlier start
        if np.diff(step).max(initial=0) > max(1, LAST * length):
            return int(steps), math.nan
        best_early = points["loss"].to_numpy(np.float64)[early].max(initial=best[0])
    return int(steps), float(best_early)


def _attempts(trace: pd.DataFrame) -> pd.Series[int]:
    """By clip, how many perturbations its trace has other than the one it may start from and its result."""
    is_result = trace["step"] == trace.groupby("clip")["step"].transform("max")
    attempts: pd.Series[int] = (
        trace[(trace["size"] > 0) & (trace["step"] > 1) & ~is_result].groupby("clip").size()
    )
    return attempts


def _hidden_search(path: SearchPath) -> str:
    """Why a trace does not show what an attack found, in words that follow its name; empty where it does."""
    if path.attack.is_averaged:
        return "is judged on other draws than those of its search"
    if getattr(path.attack, "precision", "float32") != "float32":
        return "is judged in float32, and its search rounds losses to bfloat16"
    if path.attack.access == "transfer":
        return "searches on another model, and evaluates its result alone on this one"
    return _untraced_search(path)


def _untraced_search(path: SearchPath) -> str:
    """The same of a function that searches without the model that it is given."""
    if path.attack.access == "foreign" and not path.clips["attempts"].any():
        return "evaluates no point but its result, inside its budget, with the model that it is given"
    return ""


def silent_success(path: SearchPath) -> Finding:
    """Compare the best step of a search with what the attack returned, or whether both reach the goal of the attack."""
    name, clips, text = "silent-success", path.clips, repr(path.attack)
    if reason := _hidden_search(path):
        return not_recorded(name, f"{text} {reason}.")
    if gaps := int(clips["returned"].isna().sum()):
        return not_recorded(
            name,
            f"{gaps} of {counted(len(clips), 'clip of the trace has', 'clips of the trace have')} no row with "
            "a loss.",
        )
    goal = getattr(path.attack, "goal", None)
    if goal is not None:
        # Rounding may decide about a goal that is reached exactly.
        reached = clips["best"] - goal > LOST[0] * (goal - clips["first"]).clip(lower=0)
        silent = int((reached & ~clips["converged"].astype(bool)).sum())
        return judge(
            name,
            silent / len(clips),
            0.0,
            f"the search of {text} reached its goal on {int(reached.sum())} of {counted(len(clips), 'clip')}; it "
            f"does not report {silent} of them.",
            fail=silent > 0,
        )
    # An attack that stops at a value need not return more than that.
    stop_at = getattr(path.attack, "stop_at", None)
    loss = float((clips["best"].clip(upper=stop_at) - clips["returned"]).clip(lower=0).sum())
    rounding = ROUNDING * float(clips["first"].abs().sum())
    if not path.gain > rounding:
        if loss <= rounding:
            return not_recorded(name, f"the search of {text} gained nothing that it could lose.")
        sentence = f"the search of {text} gained nothing, and its result is worse than the clean input."
        return judge(name, math.inf, LOST[0], sentence, fail=True)
    value = loss / path.gain
    return judge(
        name,
        value,
        LOST[0],
        f"{value:.1%} of what the search of {text} gained on {counted(len(clips), 'clip')} is not in its result.",
        warn=value > LOST[0],
        fail=not value <= LOST[1],
    )


def incomplete_optimisation(path: SearchPath) -> Finding:
    """The share of what a search gained that it gained in the last tenth of its evaluations."""
    name, clips, text = "incomplete-optimisation", path.clips, repr(path.attack)
    if reason := _untraced_search(path):
        return not_recorded(name, f"{text} {reason}.")
    own = clips[clips["steps"] >= LEAST_STEPS]
    if own.empty:
        return not_recorded(name, f"{text} makes fewer than {LEAST_STEPS} steps.")
    if own["before"].isna().any():
        return not_recorded(name, f"the trace of {text} has too few points of each of its starts.")
    gain = float((own["best"] - own["first"]).sum())
    if not gain > ROUNDING * float(own["first"].abs().sum()):
        return not_recorded(name, f"the search of {text} gained nothing.")
    value = float((own["best"] - own["before"]).sum()) / gain
    return judge(
        name,
        value,
        STILL_RISING[0],
        f"{value:.1%} of what the search of {text} gained on {counted(len(own), 'clip')} came in the last tenth "
        "of its steps.",
        warn=value > STILL_RISING[0],
        fail=not value <= STILL_RISING[1],
    )


FINDERS: dict[str, Callable[[SearchPath], Finding]] = {
    "silent-success": silent_success,
    "incomplete-optimisation": incomplete_optimisation,
}
"""Check -> its finding on one search."""
