"""Rows of certificates on disk."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tenuto.errors import FileError
from tenuto.files import read_csv

TEXT = ("run", "system", "split", "clip", "output", "precision", "unit", "checkpoint")
NUMBERS = ("sigma", "radius", "median", "clean")
NEEDED = (
    "run",
    "system",
    "clip",
    "output",
    "unit",
    "checkpoint",
    *NUMBERS,
    "snr_db",
    "low",
    "high",
    "bounded",
    "draws",
)


def read_certificates(path: str | Path) -> pd.DataFrame:
    """Rows that `tenuto certify` wrote; bounds may be infinite. Raises `FileError` for a damaged file."""
    rows = read_csv(
        path,
        columns=NEEDED,
        text=TEXT,
        numbers=(*NUMBERS, "confidence", "label", "attacked", "snr_db"),
        integers=("draws",),
        flags=("bounded", "clips_together", "clip_to_scale"),
        optional=("snr_db",),
    )
    for name in ("low", "high"):
        if not pd.api.types.is_numeric_dtype(rows[name]) or rows[name].isna().any():
            raise FileError(
                f"{path}: column {name} holds a cell that is not a number. Delete the file and certify the run again."
            )
    return rows
