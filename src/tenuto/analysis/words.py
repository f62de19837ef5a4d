"""Words and numbers as sentences, tables and figures write them."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal

import pandas as pd

from tenuto.data.excerpts import SPECTROGRAM_UNIT, WAVEFORM_UNIT
from tenuto.store.rows import has_thresholds

NOTHING = "–"
"""Stands for a value that is missing or not defined."""


def number(value: float, pattern: str) -> str:
    """A number by a format pattern, a dash for NaN."""
    return NOTHING if math.isnan(value) else format(value, pattern)


def upper_bound(value: float, decimals: int) -> str:
    """A number that nothing exceeds, rounded up so that this stays true; a dash for NaN.

    >>> upper_bound(0.1131, 3), upper_bound(0.113, 3)
    ('0.114', '0.113')
    """
    if math.isnan(value):
        return NOTHING
    return str(Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-decimals), ROUND_CEILING))


def short_unit(unit: str) -> str:
    """A unit of epsilon as axes name it: ``std`` for the log spectrogram."""
    return {SPECTROGRAM_UNIT: "std", WAVEFORM_UNIT: "full scale 1"}.get(unit, unit)


def long_unit(unit: str) -> str:
    """A unit of epsilon as captions name it."""
    return "standard deviations of the normalised spectrogram (std)" if unit == SPECTROGRAM_UNIT else unit


def after_number(unit: str) -> str:
    """A unit as it follows a number in a sentence."""
    return {SPECTROGRAM_UNIT: "standard deviations", WAVEFORM_UNIT: "of full scale"}.get(unit, unit)


def entry(unit: str) -> str:
    """What one number of an input is."""
    return {SPECTROGRAM_UNIT: "a spectrogram entry", WAVEFORM_UNIT: "a sample"}.get(unit, "an input entry")


def attacked_pair(rows: pd.DataFrame) -> str:
    """Which perturbation the attacked predictions belong to, to be said wherever they are shown."""
    if has_thresholds(rows):
        return "are those of the last iterate"
    return "belong to the perturbation whose norm is given"
