"""The attack that rows tell of, rebuilt from their column ``settings``; nothing of that text is ever evaluated."""

from __future__ import annotations

import ast
import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from tenuto import attacks
from tenuto.attacks import APGD, PGD, AbsoluteError, BoundedAttack, Linf, ReleasedAttack
from tenuto.errors import ConfigError
from tenuto.store.rows import row_errors

KINDS: dict[str, Any] = {
    name: getattr(attacks, name)
    for name in (
        *("APGD", "Described", "FGSM", "Minimal", "Noise", "PGD", "ReleasedAttack", "Square"),
        *("L2", "Linf", "Unbounded"),
        *(
            "AbsoluteError",
            "ConceptsMove",
            "Correlation",
            "EachEmotion",
            "EmotionsMove",
            "Huber",
            "OneEmotion",
        ),
        *("SquaredError", "Target"),
    )
}
"""All that settings may name: families, budgets, objectives. `Transfer` needs its sibling, which no text holds."""

LONGEST_TEXT = 1000
"""Characters; the settings of every published attack have fewer than two hundred."""

SEARCHES = (APGD, PGD)
"""Attacks that can be asked for more steps and for restarts."""

MOST_ITERATIONS = 200
"""Iterations per clip up to which an attack is repeated with twice the steps and five restarts: eight times as many."""

EPSILON = 0.1
"""Budget of the model checks, L-infinity, in deviations: the middle of the ladder of standard-1 on a log scale."""

STEPS = 30
"""Gradient steps of the model checks, as many as standard-1 spends on its first objective."""

STAND_IN = APGD(budget=Linf(EPSILON), objective=AbsoluteError(), steps=STEPS)


@dataclasses.dataclass(frozen=True)
class Questioned:
    """The attack whose search is repeated longer.

    Attributes:
        attack: Questioned at its budget.
        lower: The same at the smaller budgets of a ladder, smallest first: each starts from what the one before it
            has found, and so does the questioned one.
        instead: Why it stands in for the attack of the rows; empty where it is that attack.
    """

    attack: APGD | PGD
    lower: tuple[APGD | PGD, ...] = ()
    instead: str = ""


def parse(text: str) -> BoundedAttack | ReleasedAttack:
    """The attack whose ``repr`` the text is.

    Only calls of `KINDS` with keywords are understood, and in them numbers, text, True, False, None and tuples.

    Raises:
        ConfigError: Anything else, or a setting that the attack refuses.
    """
    if len(text) > LONGEST_TEXT:
        raise ConfigError(
            f"settings of {len(text)} characters are none of an attack; wanted {LONGEST_TEXT} at most."
        )
    try:
        made = _made(ast.parse(text, mode="eval").body)
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"settings {text!r} cannot be read: {error}.") from error
    if not isinstance(made, BoundedAttack | ReleasedAttack):
        raise ConfigError(f"settings {text!r} name no attack.")
    return made


def _made(node: ast.expr) -> Any:
    """The value an expression stands for."""
    match node:
        case ast.Call(func=ast.Name(id=name), args=[], keywords=given) if name in KINDS:
            named = {keyword.arg: _made(keyword.value) for keyword in given if keyword.arg is not None}
            if len(named) == len(given):
                return KINDS[name](**named)
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Tuple(elts=parts):
            return tuple(_made(part) for part in parts)
    raise ConfigError(
        f"settings hold {ast.unparse(node)}, wanted attacks, budgets, objectives and plain values."
    )


def questioned(rows: pd.DataFrame) -> Questioned:
    """Which attack of one run's rows is asked for more: the strongest APGD or PGD at the middle one of its budgets.

    Strongest is the largest mean absolute error; of an even number of budgets the upper middle one is taken, and
    L-infinity goes before L2. Where there is none, `STAND_IN` is questioned, and says why.
    """
    try:
        return _strongest(rows)
    except ConfigError as error:
        return Questioned(STAND_IN, instead=str(error).rstrip("."))


def _strongest(rows: pd.DataFrame) -> Questioned:
    """Raises `ConfigError` where no attack of the rows can be repeated."""
    bounded = rows[np.isfinite(rows["epsilon"].astype(float))]
    own = bounded[bounded["attack"].isin([kind.__name__ for kind in SEARCHES])]
    own = own.dropna(subset="settings") if "settings" in own.columns else own.head(0)
    if own.empty:
        raise ConfigError("the rows hold no APGD or PGD inside a budget with its settings")
    own = own[own["norm"] == max(own["norm"])]  # "linf" comes after "l2"
    ladder = [float(epsilon) for epsilon in sorted(own["epsilon"].unique())]
    middle = own[own["epsilon"] == ladder[len(ladder) // 2]]
    told = middle.assign(error=row_errors(middle)).groupby("settings")["error"].mean().idxmax()
    attack = parse(str(told))
    if not isinstance(attack, SEARCHES):
        raise ConfigError(f"the rows call {told} an APGD or PGD")
    if attack.iterations > MOST_ITERATIONS:
        raise ConfigError(
            f"{told} takes {attack.iterations} iterations, too many to repeat with twice the steps"
        )
    budgets = [attack.budget.of(epsilon) for epsilon in ladder[: len(ladder) // 2]]
    lower = [dataclasses.replace(attack, budget=budget) for budget in budgets]
    return Questioned(attack, tuple(one for one in lower if repr(one) in set(own["settings"])))
