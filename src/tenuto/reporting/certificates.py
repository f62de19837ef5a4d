"""Certificates and attacks on smoothed models: one table and one figure."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tenuto.analysis.certificates import Sandwich
from tenuto.analysis.words import number
from tenuto.reporting import tables
from tenuto.reporting.figures.certificates import sandwich
from tenuto.reporting.figures.style import save


def show_sandwich(both: Sandwich) -> pd.DataFrame:
    """`Sandwich.table` as text cells."""
    lines = []
    for line in both.table.to_dict("records"):
        decibels = line["snr_db"]
        lines.append(
            {
                "System": str(line["system"]),
                "Sigma": f"{line['sigma']:g}",
                "Radius": f"{line['radius']:g}" if decibels != decibels else f"{decibels:g} dB SNR",
                "Model": number(line["model_mae"], ".3f"),
                "Smoothed": number(line["clean_mae"], ".3f"),
                "Attack": number(line["attacked_mae"], ".3f"),
                "Certificate": number(line["certified_mae"], ".3f"),
                "Clips": str(line["clips"]),
            }
        )
    return pd.DataFrame(lines, dtype=str)


def caption_sandwich(both: Sandwich) -> str:
    """The caption of the table."""
    runs = both.table["runs"].max()
    several = f", and up to {runs} runs of a system" if runs > 1 else ""
    return (
        f"Mean absolute error over clips and outputs{several}. Model: without noise. Smoothed: median over noise of "
        "standard deviation sigma. Attack: reached by a perturbation with an L2 norm up to the radius. Certificate: no "
        "such perturbation exceeds it, with the confidence of the rows."
    )


def write_sandwich(both: Sandwich, out: str | Path) -> dict[str, Path]:
    """``certificates.csv`` (full digits), ``.md``, ``.tex``, ``.png`` and ``.pdf``. Name -> path."""
    stem = Path(out) / "certificates"
    written = tables.write(stem, both.table, show_sandwich(both), caption_sandwich(both))
    return written | save(sandwich(both), stem)
