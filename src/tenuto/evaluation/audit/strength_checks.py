"""What rows show about the strength of attacks: over budgets, and families against each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tenuto.evaluation.audit.evidence import RESOLUTION, Source, Values, at_budgets, budget_title
from tenuto.evaluation.audit.findings import Finding, judged, not_recorded, worst
from tenuto.store.rows import row_errors

FALL = 0.01
"""Relative fall of the mean error from one budget to the next that is still taken for rounding and chance."""

OFTEN = 0.1
"""Share of clips on which a weaker family may win before it is a warning: gradients climb to local maxima."""

ONE_STEP = ("FGSM",)
ITERATIVE = ("APGD", "PGD", "Described")
BLACK_BOX = ("Square", "Noise")
TRANSFER = ("Transfer",)
FAMILIES = {"iterative": ONE_STEP, "black-box": BLACK_BOX, "transfer": TRANSFER}
"""Check -> attacks that must not be stronger than the iterative ones."""

WORDS = {
    "iterative": "a single step",
    "black-box": "noise or black-box search",
    "transfer": "transfer from a sibling",
}


def monotone(source: Source) -> Finding:
    """Does every run's worst-case error rise with epsilon?"""
    rows = pd.concat([part for _, part in at_budgets(source.rows)], ignore_index=True)
    rows = rows.assign(error=row_errors(rows))[np.isfinite(rows["epsilon"].astype(float))]
    if rows.empty or rows.groupby(["run", "norm"])["epsilon"].nunique().max() < 2:
        return not_recorded("monotone", "there is one budget only: no curve to look at.")
    found = []
    for (run, norm), own in rows.groupby(["run", "norm"]):
        curve = own.groupby("epsilon")["error"].mean()
        fall = float((-np.diff(curve) / curve.to_numpy()[:-1]).max()) if len(curve) > 1 else 0.0
        shown = ", ".join(f"{epsilon:g}: {error:.3f}" for epsilon, error in curve.items())
        broken = f"; it falls by {fall:.1%}, although a larger budget holds all that a smaller one does"
        said = f"the mean error over {norm} budgets is {shown}{broken if fall > FALL else ''}."
        found.append((str(run), judged("monotone", max(fall, 0.0), FALL, said, fail=fall > FALL)))
    return worst(sorted(found, key=lambda entry: -(entry[1].figure or 0.0)))


def family(check: str, source: Source) -> Finding:
    """Is a weaker family (one step, black box, transfer) stronger than iterative gradients at the same budget?"""
    rows = source.rows.assign(error=row_errors(source.rows))
    parts = rows[np.isfinite(rows["epsilon"].astype(float))].groupby(["run", "norm", "epsilon"])
    found = []
    for (run, norm, epsilon), part in parts:
        weak, strong = (best(part, names) for names in (FAMILIES[check], ITERATIVE))
        both = weak.index.intersection(strong.index)
        if len(both):
            title = f"{run} at {budget_title(norm, epsilon)}"
            sides = (np.asarray(side[both], np.float64) for side in (weak, strong))
            found.append((title, weaker(check, *sides)))
    if not found:
        return not_recorded(
            check,
            f"the rows do not hold {WORDS[check]} beside an iterative gradient attack at the same budget"
            + (
                " (released logs hold one attack)."
                if source.released
                else "; with --root the model is asked."
            ),
        )
    return worst(sorted(found, key=lambda entry: -(entry[1].figure or 0.0)))


def best(rows: pd.DataFrame, names: Sequence[str]) -> pd.Series[float]:
    """Largest error of every clip over the attacks of a family."""
    own = rows[rows["attack"].str.startswith(tuple(names))]
    return own.groupby("clip")["error"].max()


def weaker(check: str, weak: Values, strong: Values) -> Finding:
    """A finding from the errors per clip (clips,) of a family that should be weaker and of iterative gradients."""
    ahead = float(weak.mean() - strong.mean())
    share = float((weak > strong + RESOLUTION).mean())
    return judged(
        check,
        ahead if math.isfinite(ahead) else math.inf,
        RESOLUTION,
        f"MAE {weak.mean():.4f} by {WORDS[check]}, {strong.mean():.4f} by iterative gradients; the former is stronger "
        f"on {share:.0%} of {len(weak)} clips.",
        fail=not ahead <= RESOLUTION,
        warn=share > OFTEN,
    )
