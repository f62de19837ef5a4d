"""How much of an attack's effect is left where the attacked waveform was stored in 16 bits or as mp3."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from tenuto.store.rows import values_of

STORAGE = {"survives_16_bit": "16 bits", "survives_mp3": "mp3 128 kb/s"}
"""Column of the rows -> how the attacked waveform was stored."""


def survival(rows: pd.DataFrame, column: str) -> float:
    """The share of the effect that survives, over all rows that record it; NaN where none does.

    The share of a row is the projection of the change that is left on the change by the attack. Rows count by their
    squared change, so that clips with small changes, whose shares are noise, have little weight.

    Args:
        rows: Rows of the waveform domain.
        column: One of `STORAGE`.
    """
    if column not in rows:
        return math.nan
    shares = rows[column].to_numpy(np.float64)
    change = values_of(rows, "adversarial") - values_of(rows, "clean")
    weights = np.where(np.isfinite(shares), np.square(change).sum(axis=1), 0.0)
    total = float(weights.sum())
    return float((weights * np.nan_to_num(shares)).sum()) / total if total > 0 else math.nan
