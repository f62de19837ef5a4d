"""The rows that computing writes and reporting reads: one per clip, attack, objective and budget.

Columns are `KEYS`, then ``label_``, ``clean_`` and ``adversarial_`` of every emotion. The units of a bottleneck have
``clean_`` and ``adversarial_`` columns only: that is how a reader tells them from emotions. More columns are allowed.
``l2``, ``linf`` and the adversarial prediction of a row belong to the same perturbation; where a source does not
record that pair (the released logs), the norms are empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.errors import DataError
from tenuto.files import read_csv, write_csv

KEYS = (
    "run",
    "system",
    "seed",
    "clip",
    "split",
    "protocol",
    "attack",
    "objective",
    "norm",
    "epsilon",
    "iterations",
    "forward_passes",
    "gradient_passes",
    "l2",
    "linf",
    "converged",
)
IDENTITY = ("run", "clip", "split", "protocol", "attack", "objective", "norm", "epsilon")
NATURAL = "natural-1"
"""What rows of natural changes have for a protocol, though nobody attacked; another set of changes, another number."""

BUDGET = ("run", "clip", "split", "protocol", "norm", "epsilon")
"""What the rows have in common of which one is a clip's worst."""

KINDS = ("label", "clean", "adversarial")
RELEASED_OBJECTIVES = {"corr": "correlation", "mse": "error"}
"""What the released attack's measure is called in the column ``objective``."""

RELEASED_PROTOCOL = "paper-2025-released"
"""The protocol of the released attack; forms of it with other settings append them."""

TEXT = ("run", "clip", "norm")


def emotion_names(rows: pd.DataFrame) -> tuple[str, ...]:
    """Names that have a label, in column order."""
    return tuple(name.removeprefix("label_") for name in rows.columns if name.startswith("label_"))


def concept_names(rows: pd.DataFrame) -> tuple[str, ...]:
    """Names of bottleneck units: those with a clean prediction but no label."""
    named = (name.removeprefix("clean_") for name in rows.columns if name.startswith("clean_"))
    return tuple(name for name in named if name not in emotion_names(rows))


def values_of(rows: pd.DataFrame, kind: str, names: Sequence[str] | None = None) -> NDArray[np.float64]:
    """``label``, ``clean`` or ``adversarial`` values, shape (rows, names); all emotions by default."""
    columns = [f"{kind}_{name}" for name in (emotion_names(rows) if names is None else names)]
    return rows[columns].to_numpy(np.float64)


def validate_rows(rows: pd.DataFrame, source: str = "rows") -> pd.DataFrame:
    """The same rows, checked.

    Raises:
        DataError: A column is missing, a row stands twice, or a label or prediction is not finite.
    """
    wanted = [*KEYS, *(f"{kind}_{name}" for name in emotion_names(rows) for kind in KINDS)]
    if missing := [name for name in wanted if name not in rows.columns]:
        raise DataError(f"{source}: no column {', '.join(missing)}. Rows are written by `tenuto attack`.")
    if not emotion_names(rows):
        raise DataError(f"{source}: no column label_<emotion>. Rows are written by `tenuto attack`.")
    twice = rows.duplicated(subset=list(IDENTITY))
    if twice.any():
        row = rows[twice].iloc[0]
        raise DataError(f"{source}: clip {row['clip']} of {row['run']} stands twice. Keep one of the rows.")
    for kind in KINDS:
        bad = ~np.isfinite(values_of(rows, kind)).all(axis=1)
        if bad.any():
            row = rows[bad].iloc[0]
            raise DataError(f"{source}: {kind} values of clip {row['clip']} of {row['run']} are not finite.")
    return rows


def row_errors(rows: pd.DataFrame, kind: str = "adversarial") -> NDArray[np.float64]:
    """Mean absolute error of every row over its emotions, shape (rows,)."""
    each: NDArray[np.float64] = np.abs(values_of(rows, kind) - values_of(rows, "label")).mean(axis=1)
    return each


def mark_worst(rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows with a column ``worst``: is this the largest mean absolute error of its clip at its budget?

    Of equal rows the first is marked, so that every clip of a run has one per protocol, norm and epsilon.
    """
    error = pd.Series(row_errors(rows))
    budgets = rows[list(BUDGET)].reset_index(drop=True)  # rows put together may share their index
    worst = error.groupby([budgets[name] for name in BUDGET], dropna=False).idxmax()
    return rows.assign(worst=np.isin(np.arange(len(rows)), worst))


def worst_case(rows: pd.DataFrame) -> pd.DataFrame:
    """The worst row of every clip and budget, as those of one attack called ``worst``; rows without that column
    are returned as they are."""
    if "worst" not in rows.columns or rows["worst"].all():
        return rows
    return rows[rows["worst"].astype(bool)].assign(attack="worst", objective="worst").reset_index(drop=True)


def at_budget(rows: pd.DataFrame, epsilon: float | None = None) -> pd.DataFrame:
    """The worst case of every clip at one budget of a protocol that has several.

    Args:
        rows: Rows of one protocol.
        epsilon: Which budget; None where there is only one.

    Raises:
        DataError: No such budget, or several and none chosen.
    """
    worst = worst_case(rows)
    budgets = sorted(worst["epsilon"].dropna().unique())
    known = ", ".join(f"{budget:g}" for budget in budgets) or "none"
    if epsilon is None:
        if len(budgets) > 1:
            raise DataError(f"the rows hold several budgets ({known}); choose one with --epsilon.")
        return worst
    chosen = worst[np.isclose(worst["epsilon"].astype(float), epsilon, rtol=1e-9, atol=0)]
    if chosen.empty:
        raise DataError(f"the rows hold no budget {epsilon:g}; there is: {known}.")
    return chosen.reset_index(drop=True)


def write_rows(path: str | Path, rows: pd.DataFrame) -> Path:
    """Check and write rows as CSV, atomically."""
    return write_csv(path, validate_rows(rows, str(path)))


def read_rows(path: str | Path) -> pd.DataFrame:
    """Read and check rows. Raises `FileError` or `DataError`."""
    return validate_rows(read_csv(path, columns=KEYS, text=TEXT), str(path))
