"""Certificates and attacks on smoothed models: one table and one figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tenuto.analysis.certificates import Sandwich
from tenuto.analysis.words import long_unit, upper_bound
from tenuto.reporting import tables
from tenuto.reporting.figures.certificates import sandwich
from tenuto.reporting.figures.style import save_figure


def show_sandwich(both: Sandwich) -> pd.DataFrame:
    """`Sandwich.table` as text cells."""
    table = both.table
    shown = {
        "System": table["system"],
        "Sigma": tables.numbers(table["sigma"], "g"),
        "Radius": [
            f"{radius:g}" if np.isnan(decibels) else f"{decibels:g} dB SNR"
            for radius, decibels in zip(table["radius"], table["snr_db"], strict=True)
        ],
        "Model": tables.numbers(table["model_mae"], ".3f"),
        "Smoothed": tables.numbers(table["clean_mae"], ".3f"),
        "Attack": tables.numbers(table["attacked_mae"], ".3f"),
        "Certificate": [upper_bound(value, 3) for value in table["certified_mae"]],
        "Clips": table["clips"],
    }
    return pd.DataFrame(shown, dtype=str)


def caption_sandwich(both: Sandwich) -> str:
    """The caption of the table."""
    runs = both.table["runs"].max()
    several = f", and up to {runs} runs of a system" if runs > 1 else ""
    systems = both.table.groupby("unit", sort=False)["system"].unique()
    units = "; ".join(
        long_unit(str(unit)) + (f" ({', '.join(map(str, names))})" if len(systems) > 1 else "")
        for unit, names in systems.items()
    )
    return (
        f"Mean absolute error over clips and outputs{several}. Model: without noise. Smoothed: median over noise of "
        "standard deviation sigma. Attack: reached by a perturbation with an L2 norm up to the radius. Certificate: no "
        "such perturbation exceeds it, with the confidence of the rows; rounded up. Unit of sigma and "
        f"radius: {units}."
    )


def write_sandwich(both: Sandwich, out: str | Path) -> dict[str, Path]:
    """``certificates.csv`` (full digits), ``.md``, ``.tex``, ``.png`` and ``.pdf``. Name -> path."""
    stem = Path(out) / "certificates"
    written = tables.write(stem, both.table, show_sandwich(both), caption_sandwich(both))
    return written | save_figure(sandwich(both), stem)
