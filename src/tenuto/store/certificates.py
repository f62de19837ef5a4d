"""Rows of certificates on disk."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tenuto.errors import FileError
from tenuto.files import own_table, read_csv

CERTIFICATE_TEXT = ("run", "system", "split", "clip", "output", "precision", "unit", "checkpoint")
CERTIFICATE_NUMBERS = ("sigma", "radius", "median", "clean")
CERTIFICATE_COLUMNS = (
    *("run", "system", "clip", "output", "unit", "checkpoint", *CERTIFICATE_NUMBERS),
    *("snr_db", "low", "high", "bounded", "draws"),
)
CLAIM = ("confidence", "clips_together", "clip_to_scale", "checkpoint")
"""What is claimed and of which weights: the same in all rows of a file."""


def read_certificates(path: str | Path) -> pd.DataFrame:
    """Rows that `tenuto certify` wrote; bounds may be infinite. Raises `FileError` for a damaged file."""
    with own_table(path):
        rows = read_csv(
            path,
            columns=CERTIFICATE_COLUMNS,
            text=CERTIFICATE_TEXT,
            numbers=(*CERTIFICATE_NUMBERS, "confidence", "label", "attacked", "snr_db"),
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


def with_other_sizes(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows after those of other radii in a file, if it holds the same claim for the same clips; else rows alone.

    Raises:
        FileError: A damaged file.
    """
    if not path.is_file():
        return rows
    earlier = read_certificates(path)
    claims = earlier.reindex(columns=list(CLAIM)) == rows[list(CLAIM)].iloc[0]
    if not claims.all(axis=None) or set(earlier["clip"]) != set(rows["clip"]):
        return rows
    return pd.concat([earlier[~_sizes(earlier).isin(_sizes(rows))], rows], ignore_index=True)


def _sizes(rows: pd.DataFrame) -> pd.MultiIndex:
    """Radius of every row, or its dB: a radius in dB is another number for every clip."""
    in_db = rows["snr_db"].notna()
    return pd.MultiIndex.from_arrays([in_db, rows["snr_db"].where(in_db, rows["radius"])])
