"""Worst cases can only be compared where they are taken over the same attacks."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from tenuto.errors import DataError, quote

ATTACK_COLUMNS = ["attack", "objective", "norm", "epsilon"]
"""Columns that name an attack of a protocol."""

BUDGET_COLUMNS = ["run", "clip", "split", "protocol", "norm", "epsilon"]
"""Columns that the attacks share among which one is a clip's worst."""


def check_same_attacks(rows: pd.DataFrame, source: str) -> None:
    """Raise `DataError` unless every clip of one run has the same attacks, at the same budgets."""
    _check(rows, "clip", ["run"], [], source)


def check_comparable(rows: pd.DataFrame) -> None:
    """Raise `DataError` unless, at every budget, all clips of a run and all runs of a system have the same attacks.

    Attacks on concepts are made of systems with a bottleneck only, so systems may differ. Budgets with one row per
    clip pass: their rows may have been picked out of a table, each clip's worst one.
    """
    per_clip = rows.groupby(BUDGET_COLUMNS, dropna=False)["attack"].transform("size")
    most = per_clip.groupby([rows["protocol"], rows["norm"], rows["epsilon"]], dropna=False).transform("max")
    rows = rows[most > 1]
    for unit, owner in (("clip", "run"), ("run", "system")):
        _check(rows, unit, [owner, "split", "protocol"], ["norm", "epsilon"], "rows")


def _check(rows: pd.DataFrame, unit: str, owner: Sequence[str], budget: Sequence[str], source: str) -> None:
    """Raise `DataError` unless all clips or runs (``unit``) that belong to one owner have the same attacks."""
    having = rows.groupby([*owner, *ATTACK_COLUMNS], dropna=False)[unit].transform("nunique")
    every = rows.groupby([*owner, *budget], dropna=False)[unit].transform("nunique")
    is_missing = (having < every).to_numpy()
    if not is_missing.any():
        return
    place = int(is_missing.argmax())
    row = rows.iloc[place]
    where = f"row {place + 1} (clip {quote(row['clip'])} of {quote(row['run'])})"
    text = ", ".join(f"{name} {quote(row[name])}" for name in ATTACK_COLUMNS)
    raise DataError(
        f"{source}: {where}: not every {unit} of {row[owner[0]]} has the attack of this row, {text}. Correct the row, "
        "or delete the file and attack the run again."
    )
