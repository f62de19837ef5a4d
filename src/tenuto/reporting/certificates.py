"""Certificates and attacks on smoothed models: one table and one figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tenuto.analysis.certificates import Sandwich
from tenuto.analysis.words import long_unit, upper_bound
from tenuto.reporting.figures.certificates import sandwich
from tenuto.reporting.figures.style import save_figure
from tenuto.reporting.tables import Columns, ResultTable, text_cells

SANDWICH_COLUMNS: Columns = {
    "System": ("system", ""),
    "Sigma": ("sigma", "g"),
    "Radius": ("size", ""),
    "Model": ("model_mae", ".3f"),
    "Smoothed": ("clean_mae", ".3f"),
    "Attack": ("attacked_mae", ".3f"),
    "Certificate": ("certified_mae", lambda error: upper_bound(error, 3)),
    "Clips": ("clips", ""),
}
"""The table as text cells."""


def sandwich_table(both: Sandwich) -> ResultTable:
    """`Sandwich.table`: errors of smoothed models, a line per system, sigma and radius."""
    table = both.table
    sizes = [
        f"{radius:g}" if np.isnan(decibels) else f"{decibels:g} dB SNR"
        for radius, decibels in zip(table["radius"], table["snr_db"], strict=True)
    ]
    runs = table["runs"].max()
    several = f", and up to {runs} runs of a system" if runs > 1 else ""
    systems = table.groupby("unit", sort=False)["system"].unique()
    units = "; ".join(
        long_unit(str(unit)) + (f" ({', '.join(map(str, names))})" if len(systems) > 1 else "")
        for unit, names in systems.items()
    )
    caption = (
        f"Mean absolute error over clips and outputs{several}. Model: without noise. Smoothed: median over noise of "
        "standard deviation sigma. Attack: reached by a perturbation with an L2 norm up to the radius. Certificate: no "
        "such perturbation exceeds it, with the confidence of the rows; rounded up. Unit of sigma and "
        f"radius: {units}."
    )
    return ResultTable(text_cells(table.assign(size=sizes), SANDWICH_COLUMNS), caption, table)


def write_sandwich(both: Sandwich, out: str | Path) -> dict[str, Path]:
    """``certificates.csv`` (full digits), ``.md``, ``.tex``, ``.png`` and ``.pdf``. Name -> path."""
    stem = Path(out) / "certificates"
    return sandwich_table(both).write(stem) | save_figure(sandwich(both), stem)
