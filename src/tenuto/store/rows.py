"""Rows: the results of attacks as tables, one row per clip, attack, objective and budget.

Columns are `KEY_COLUMNS`, then ``label_``, ``clean_`` and ``adversarial_`` of every emotion. The units of a bottleneck
have ``clean_`` and ``adversarial_`` columns only, which distinguishes them from emotions. More columns are allowed.
``l2``, ``linf`` and the adversarial prediction of a row belong to the same perturbation; where a source does not record
that pair (the released logs), the norms are empty. ``uses_label`` is whether the objective compares predictions with
labels; it is empty where that is unknown, and rows of earlier versions do not have it.

``unit`` is what ``epsilon``, ``l2`` and ``linf`` are measured in, one unit per run and protocol; ``scale_low`` and
``scale_high`` are the lowest and highest possible label. Rows of earlier versions do not have them: their unit is
`SPECTROGRAM_UNIT`, and their scale is that of their data set. `unit_of` and `scale_of` read them.

Rows of attacked waveforms have the columns `SOUND`, empty where a value is not defined or was not measured:

- ``snr_db``: energy of the excerpt over that of the perturbation, in dB;
- ``nmr_db``: largest power of the perturbation over the masking threshold, over frames and critical bands, in dB;
- ``survives_16_bit``, ``survives_mp3``: share of the effect that remains in a file, see `tenuto.evaluation.survival`;
- ``perceptual``: opinion score of a model of hearing, 5 is inaudible, 1 very annoying (`tenuto.audio.perceptual`);
- ``leakage_db``: power of a localised perturbation outside its region.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tenuto.data.excerpts import SPECTROGRAM_UNIT
from tenuto.data.splits import PARTS
from tenuto.errors import DataError, quote
from tenuto.files import own_table, read_csv, write_csv
from tenuto.store.budgets import has_budget, listed, norm_of, norm_order, which_budget
from tenuto.store.cells import (
    COUNT,
    NAME,
    OPTIONAL,
    SIZE,
    VALUE,
    Check,
    check_cells,
    is_flag,
    is_missing,
    is_whole,
)
from tenuto.store.same_attacks import BUDGET_COLUMNS, check_comparable

KEY_COLUMNS = (
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
NATURAL_PROTOCOL = "natural-1"
"""The column ``protocol`` of rows of natural variations."""

SCALE_COLUMNS = ("scale_low", "scale_high")

SOUND = ("snr_db", "nmr_db", "survives_16_bit", "survives_mp3", "perceptual", "leakage_db")

VALUE_KINDS = ("label", "clean", "adversarial")
RELEASED_PROTOCOL = "paper-2025-released"
"""The protocol of the released attack; forms of it with other settings append them."""

TEXT_COLUMNS = ("run", "system", "clip", "split", "protocol", "attack", "objective", "norm")
MORE_TEXT = ("settings", "checkpoint", "versions", "unit")
"""Columns of text that only some rows have."""

INTEGERS = ("seed", "iterations", "forward_passes", "gradient_passes")
NUMBER_COLUMNS = (
    *("epsilon", "l2", "linf", "threshold", "stored_l2", "db", "leakage_db", "fresh_*"),
    *SOUND,
    *SCALE_COLUMNS,
    *(f"{kind}_*" for kind in VALUE_KINDS),
)
FLAGS = ("converged", "worst", "uses_label")

CELLS: dict[str, Check] = {
    **dict.fromkeys(TEXT_COLUMNS, NAME),
    "split": (lambda value: value in PARTS, f"one of {', '.join(PARTS)}"),
    "seed": (is_whole, "a whole number"),
    **dict.fromkeys(("iterations", "forward_passes", "gradient_passes"), COUNT),
    **dict.fromkeys(("epsilon", "l2", "linf", "stored_l2"), SIZE),
    **dict.fromkeys((*SCALE_COLUMNS, *SOUND, "threshold", "db"), OPTIONAL),
    "unit": (lambda value: is_missing(value) or NAME[0](value), "a name or empty"),
    **dict.fromkeys(("converged", "worst"), (is_flag, "True or False")),
    "uses_label": (lambda value: is_missing(value) or is_flag(value), "True, False or empty"),
}


def emotion_names(rows: pd.DataFrame) -> tuple[str, ...]:
    """Names that have a label, in column order."""
    return tuple(name.removeprefix("label_") for name in rows.columns if name.startswith("label_"))


def concept_names(rows: pd.DataFrame) -> tuple[str, ...]:
    """Names of bottleneck units: those with a clean prediction but no label."""
    names = (name.removeprefix("clean_") for name in rows.columns if name.startswith("clean_"))
    return tuple(name for name in names if name not in emotion_names(rows))


def values_of(rows: pd.DataFrame, kind: str, names: Sequence[str] | None = None) -> NDArray[np.float64]:
    """``label``, ``clean`` or ``adversarial`` values, shape (rows, names); all emotions by default."""
    columns = [f"{kind}_{name}" for name in (emotion_names(rows) if names is None else names)]
    return rows[columns].to_numpy(np.float64)


def units_of(rows: pd.DataFrame) -> pd.Series[str]:
    """What epsilon and the norms of every row are measured in."""
    if "unit" not in rows:
        return pd.Series(SPECTROGRAM_UNIT, index=rows.index, dtype=object)
    units: pd.Series[str] = rows["unit"].astype(object).where(rows["unit"].notna(), SPECTROGRAM_UNIT)
    return units


def unit_of(rows: pd.DataFrame) -> str:
    """The one unit of epsilon and the norms. Raises `DataError` where there are several: they cannot be compared."""
    units = list(dict.fromkeys(units_of(rows)))
    if len(units) > 1:
        raise DataError(
            f"epsilon is in {len(units)} units ({'; '.join(sorted(units))}), which cannot be compared. Choose one with "
            "`unit`."
        )
    return units[0] if units else SPECTROGRAM_UNIT


def in_unit(rows: pd.DataFrame, unit: str | None) -> pd.DataFrame:
    """The rows of one unit, which may be named by its beginning; all rows for None.

    Raises:
        DataError: No unit begins so, or several do.
    """
    if unit is None:
        return rows
    units = units_of(rows)
    names = sorted(set(units))
    matches = [name for name in names if name == unit] or [name for name in names if name.startswith(unit)]
    if len(matches) != 1:
        raise DataError(
            f"unit {quote(unit)} is not the unit of these rows or its beginning: {'; '.join(names)}."
        )
    return rows[units == matches[0]]


def in_norm(rows: pd.DataFrame, norm: str | None) -> pd.DataFrame:
    """The rows of one norm; all rows for None. Raises `DataError` where no row has that norm."""
    if norm is None:
        return rows
    chosen = rows[rows["norm"] == norm]
    if chosen.empty:
        names = ", ".join(dict.fromkeys(rows["norm"]))
        raise DataError(f"the rows have no norm {quote(norm)}; norms of the rows: {names}.")
    return chosen.reset_index(drop=True)


def scale_of(rows: pd.DataFrame) -> tuple[float, float] | None:
    """Lowest and highest possible label as the rows record it; None where they do not, or where they differ."""
    if not set(SCALE_COLUMNS) <= set(rows.columns):
        return None
    scales = set(zip(*(rows[name].astype(float) for name in SCALE_COLUMNS), strict=True))
    low, high = scales.pop() if len(scales) == 1 else (math.nan, math.nan)
    return None if math.isnan(low) or math.isnan(high) else (low, high)


def outside(values: ArrayLike, scale: tuple[float, float]) -> NDArray[np.bool_]:
    """Which values lie outside a scale by more than the rounding to float32, in which rows hold labels."""
    slack = 1e-6 * max(map(abs, scale))
    array = np.asarray(values, np.float64)
    return (array < scale[0] - slack) | (array > scale[1] + slack)


def validate_rows(rows: pd.DataFrame, source: str = "rows") -> pd.DataFrame:
    """The same rows, checked.

    Raises:
        DataError: A column is missing, also in the rows of one run only, a cell has the wrong type or value, a run has
            two systems, seeds or scales, a protocol on a run two units, or a row is there twice.
    """
    required = require_columns(rows, source)
    _check_columns_of_runs(rows, source)
    values = tuple(f"{kind}_" for kind in (*VALUE_KINDS, "fresh"))
    for name in (*CELLS, *(name for name in rows.columns if name.startswith(values))):
        if name in rows.columns:
            # A bottleneck's units are missing in the rows of networks without one.
            is_valid, allowed = CELLS.get(name) or (VALUE if name in required else OPTIONAL)
            check_cells(rows, name, is_valid, allowed, source)
    _check_one_value(rows, ["run"], ("system", "seed", *SCALE_COLUMNS), source)
    _check_one_value(rows, ["run", "protocol"], ("unit",), source)
    if (
        set(SCALE_COLUMNS) <= set(rows.columns)
        and (is_empty := rows["scale_low"] >= rows["scale_high"]).any()
    ):
        row = rows[is_empty].iloc[0]
        raise DataError(
            f"{source}: the scale of {quote(row['run'])} is {row['scale_low']:g} to {row['scale_high']:g}; scale_low "
            "must be below scale_high. Correct those cells."
        )
    if (repeated := rows.duplicated(subset=list(IDENTITY))).any():
        row = rows[repeated].iloc[0]
        raise DataError(
            f"{source}: clip {row['clip']} of {row['run']} has two rows of the same attack. Keep one of them."
        )
    return rows


def require_columns(rows: pd.DataFrame, source: str = "rows") -> list[str]:
    """The columns that rows must have. Raises `DataError` where one is missing."""
    required = [*KEY_COLUMNS, *(f"{kind}_{name}" for name in emotion_names(rows) for kind in VALUE_KINDS)]
    if not emotion_names(rows):
        required.append("label_<emotion>")
    if missing_columns := [name for name in required if name not in rows.columns]:
        raise DataError(
            f"{source}: no column {', '.join(missing_columns)}. Rows are written by `tenuto attack`."
        )
    return required


def _check_columns_of_runs(rows: pd.DataFrame, source: str) -> None:
    """Raise `DataError` where a column that every run must have is in the rows of some runs of a protocol only."""
    required = [name for name in map(str, rows) if name == "worst" or name.startswith("label_")]
    is_empty = rows[required].isna()
    if not is_empty.to_numpy().any():  # as nearly always, and grouping takes time
        return
    is_empty = is_empty.groupby([rows["protocol"], rows["run"]], sort=False).all()
    is_missing = is_empty & ~is_empty.groupby(level=0).transform("all")
    for run, row in is_missing[is_missing.any(axis=1)].droplevel(0).iterrows():
        raise DataError(
            f"{source}: the rows of {run} have no column {', '.join(sorted(row.index[row]))}, those of other "
            "runs do. Attack that run again, or keep it in another folder."
        )


def _check_one_value(rows: pd.DataFrame, keys: list[str], columns: Sequence[str], source: str) -> None:
    """Raise `DataError` where rows of the same keys have two values in one of the columns, where these exist."""
    for name in columns:
        if name not in rows or rows[name].nunique(dropna=False) == 1:
            continue
        values = rows.groupby(keys)[name].unique()
        for group, several in values[values.map(len) > 1].items():
            listed = " and ".join(quote(value) for value in several[:2])
            owner = " by ".join(map(quote, group if isinstance(group, tuple) else (group,)))
            raise DataError(
                f"{source}: the rows of {owner} have {name} {listed}; there must be one. Correct those cells."
            )


def check_column(rows: pd.DataFrame, name: str, value: str, source: str) -> None:
    """Raise `DataError` for the first row whose column has another value than the whole file has."""
    check_cells(
        rows, name, lambda cell: cell == value, f"{quote(value)}, which all rows of this file have", source
    )


def has_thresholds(rows: pd.DataFrame) -> bool:
    """Whether an attack with thresholds made all rows: their attacked predictions are those of its last iterate."""
    return "threshold" in rows and bool(rows["threshold"].notna().all())


def row_errors(rows: pd.DataFrame, kind: str = "adversarial") -> NDArray[np.float64]:
    """Mean absolute error of every row over its emotions, shape (rows,)."""
    each: NDArray[np.float64] = np.abs(values_of(rows, kind) - values_of(rows, "label")).mean(axis=1)
    return each


def mark_worst(rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows with a column ``worst``: is this the largest mean absolute error of its clip at its budget?

    Of equal rows the first is marked, so that every clip of a run has one per protocol, norm and epsilon.
    """
    error = pd.Series(row_errors(rows))
    if error.isna().any():
        validate_rows(rows)  # names the row and the column
    budgets = rows[BUDGET_COLUMNS].reset_index(drop=True)  # rows put together may share their index
    worst = error.groupby([budgets[name] for name in BUDGET_COLUMNS], dropna=False).idxmax()
    return rows.assign(worst=np.isin(np.arange(len(rows)), worst))


def worst_case(rows: pd.DataFrame) -> pd.DataFrame:
    """The worst row of every clip and budget, as rows of one attack called ``worst``.

    Rows in which every run has one attack at a budget are returned unchanged. Marks in the column ``worst`` do not
    count: among rows that were picked out of a table, those that are marked may be missing.

    Raises:
        DataError: Clips of a run or runs of a system differ in their attacks, see `check_comparable`.
    """
    budgets = rows.groupby(["run", "protocol", "norm", "epsilon"], dropna=False)
    attacks = budgets[["attack", "objective"]].nunique()
    if (attacks <= 1).all(axis=None):
        return rows
    check_comparable(rows)
    marked = mark_worst(rows)
    return marked[marked["worst"]].assign(attack="worst", objective="worst").reset_index(drop=True)


def budgets_of(rows: pd.DataFrame) -> list[tuple[str, float]]:
    """Norm and epsilon of every budget of the rows: norms in the order of `tenuto.store.budgets`, epsilons rising."""
    limited = rows.loc[rows["epsilon"].notna(), ["norm", "epsilon"]].drop_duplicates()
    pairs = [(str(norm), float(epsilon)) for norm, epsilon in limited.itertuples(index=False)]
    return sorted(pairs, key=lambda pair: (norm_order(pair[0]), pair[1]))


def at_budget(
    rows: pd.DataFrame, epsilon: float | None = None, *, db: float | None = None, norm: str | None = None
) -> pd.DataFrame:
    """The worst case of every clip at one budget of a protocol that has several.

    Args:
        rows: Rows of one protocol.
        epsilon: Which budget; None where there is only one.
        db: The same of a norm in dB, a signal-to-noise ratio or a noise-to-mask ratio.
        norm: Which norm, where a protocol has several; not needed where only one has this budget.

    Raises:
        DataError: No such norm or budget, or several and none chosen.
    """
    chosen = in_norm(worst_case(rows), norm)
    budgets = budgets_of(chosen)
    if epsilon is None and db is None:
        if len(budgets) > 1:
            raise DataError(which_budget(budgets))
        return chosen
    if epsilon is not None and db is not None:
        raise DataError(f"`epsilon` {epsilon:g} and `db` {db:g} are two budgets. Choose one.")
    matches = [budget for budget in budgets if _is_at(*budget, epsilon, db)]
    size = f"{epsilon:g}" if db is None else f"{db:g} dB"
    if not matches:
        raise DataError(f"the rows have no budget {size}; budgets of the rows: {listed(budgets)}.")
    if len(matches) > 1:
        raise DataError(f"{size} is a budget of several norms ({listed(matches)}). Choose one with `norm`.")
    return chosen[has_budget(chosen, *matches[0])].reset_index(drop=True)


def _is_at(norm: str, size: float, epsilon: float | None, db: float | None) -> bool:
    """Whether a budget has this epsilon, or this value in dB."""
    norm_name = norm_of(norm)
    if db is None:
        return math.isclose(size, epsilon or 0.0, rel_tol=1e-9)
    return norm_name.in_db and math.isclose(norm_name.value(size), db, abs_tol=1e-6)


def write_rows(path: str | Path, rows: pd.DataFrame) -> Path:
    """Check and write rows as CSV, atomically."""
    return write_csv(path, validate_rows(rows, str(path)))


def read_own_rows(path: Path) -> pd.DataFrame:
    """Rows that Tenuto wrote into a run. Errors as in `read_rows`, with another advice."""
    with own_table(path):
        return read_rows(path)


def read_rows(path: str | Path) -> pd.DataFrame:
    """Read and check rows.

    Raises:
        FileError: The file cannot be read, or a cell of a column of numbers or flags holds something else.
        DataError: As `validate_rows`.
    """
    optional = ("uses_label", *NUMBER_COLUMNS)
    rows = read_csv(
        path,
        columns=KEY_COLUMNS,
        text=(*TEXT_COLUMNS, *MORE_TEXT),
        integers=INTEGERS,
        numbers=NUMBER_COLUMNS,
        flags=FLAGS,
        optional=optional,
    )
    for name in MORE_TEXT:
        if name in rows:
            rows[name] = rows[name].mask(rows[name] == "")
    return validate_rows(rows, str(path))
