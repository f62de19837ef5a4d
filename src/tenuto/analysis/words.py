"""Words and numbers as sentences, tables and figures write them."""

from __future__ import annotations

import math

import pandas as pd

from tenuto.store.rows import has_thresholds

NOTHING = "–"
"""Stands for a value that is missing or not defined."""


def number(value: float, pattern: str) -> str:
    """A number by a format pattern, a dash for NaN."""
    return NOTHING if math.isnan(value) else format(value, pattern)


def attacked_pair(rows: pd.DataFrame) -> str:
    """Which perturbation the attacked predictions belong to, to be said wherever they are shown."""
    if has_thresholds(rows):
        return "are those of the last iterate"
    return "belong to the perturbation whose norm is given"
