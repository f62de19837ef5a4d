"""Cells of tables: which are valid, and the error for the first one that is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from tenuto.errors import DataError, quote

LARGEST_CELL = float(np.finfo(np.float32).max)
"""Networks compute in float32, and the square of a larger number can be infinite."""

Check = tuple[Callable[[Any], bool], str]
"""Whether a cell is valid, and what valid cells are."""


def is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    return is_number(value) and float(value).is_integer()


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_flag(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


NAME: Check = (lambda value: isinstance(value, str) and bool(value.strip()), "a name")
COUNT: Check = (lambda value: is_whole(value) and value >= 0, "a whole number of at least 0")
SIZE: Check = (
    lambda value: is_missing(value) or (is_number(value) and 0 <= value <= LARGEST_CELL),
    "a finite number of at least 0 in the range of float32, or empty",
)
VALUE: Check = (
    lambda value: is_number(value) and -LARGEST_CELL <= value <= LARGEST_CELL,
    "a finite number in the range of float32",
)
OPTIONAL: Check = (
    lambda value: is_missing(value) or VALUE[0](value),
    "a finite number in the range of float32, or empty",
)


def check_cells(
    rows: pd.DataFrame, name: str, is_valid: Callable[[Any], bool], allowed: str, source: str
) -> None:
    """Raise `DataError` for the first cell of a column that is not valid."""
    column = rows[name]
    if column.dtype.kind == "f" and is_valid in (SIZE[0], VALUE[0], OPTIONAL[0]):
        numbers = column.to_numpy()
        finite = numbers[~np.isnan(numbers)]
        extremes = [finite.min(initial=0), finite.max(initial=0), *[math.nan] * (len(finite) < len(numbers))]
        if all(map(is_valid, extremes)):
            return  # the usual case, decided without a loop
    # Equal cells of one type are equally valid.
    distinct = column if column.dtype == object else column.drop_duplicates()
    if all(map(is_valid, distinct.tolist())):
        return
    for place, value in enumerate(column.tolist()):
        if not is_valid(value):
            row = rows.iloc[place]
            raise DataError(
                f"{source}: row {place + 1} (clip {quote(row['clip'])} of {quote(row['run'])}), column {name}: "
                f"{quote(value)} is not {allowed}. Correct or remove the row."
            )
