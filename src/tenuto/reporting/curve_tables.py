"""The summary of curves as it is printed, and all files that `tenuto curve` writes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tenuto.analysis import words
from tenuto.analysis.curves import LEVEL, Curves
from tenuto.files import write_csv
from tenuto.reporting import tables
from tenuto.reporting.figures import curves as curve_figures
from tenuto.reporting.figures import smc2025 as figures


def show(curves: Curves) -> pd.DataFrame:
    """`Curves.summary` as text cells."""
    lines = []
    for line in curves.summary.to_dict("records"):
        cells = {
            "System": str(line["system"]),
            "Seeds": str(line["seeds"]),
            "Clean MAE": words.number(line["clean_mae"], ".3f"),
            f"MAE at {line['largest_epsilon']:g}": words.number(line["largest_mae"], ".3f"),
            "Doubles at": _epsilon(line, "doubling") + _between(line, "doubling"),
            "Mean excess": words.number(line["mean_excess"], ".3f") + _between(line, "mean_excess"),
        }
        if len(curves.natural):
            cells["Natural"] = words.NOTHING
            cells["Beyond natural at"] = words.NOTHING
            if isinstance(line["natural_change"], str):
                cells["Natural"] = f"{line['natural']:.3f} ({line['natural_change']})"
                cells["Beyond natural at"] = _epsilon(line, "beyond")
        lines.append(cells)
    return pd.DataFrame(lines, dtype=str)


def _epsilon(line: Mapping[Hashable, Any], name: str) -> str:
    """An epsilon, or that it is not reached within the ladder."""
    return f"{line[name]:.3f}" if np.isfinite(line[name]) else "not reached"


def _between(line: Mapping[Hashable, Any], name: str) -> str:
    """`` (low–high)``, nothing without an interval."""
    ends = (line[f"{name}_low"], line[f"{name}_high"])
    if np.isnan(ends).any():
        return ""
    shown = [f"{end:.3f}" if np.isfinite(end) else f"> {line['largest_epsilon']:g}" for end in ends]
    return f" ({shown[0]} to {shown[1]})"


def caption(curves: Curves) -> str:
    """What the summary shows, in words."""
    resampled = sorted(set(curves.summary["resampled"]))
    epsilons = sorted(set(curves.runs["epsilon"]))
    clips = int(curves.summary["clips"].iloc[0])
    said = (
        f"Worst case over the attacks of {curves.protocol} for each of {clips} test clips, epsilon from 0 to "
        f"{epsilons[-1]:g} in deviations of the normalised spectrogram. Doubles at: smallest epsilon with twice the "
        "clean error, straight lines between budgets. Mean excess: area between the curve and the clean error over a "
        f"linear axis, divided by {epsilons[-1]:g}. Brackets: {LEVEL:.0%} bootstrap intervals that resample "
        f"{' or '.join(resampled)}. Predicting the mean rating of these clips has MAE {curves.mean_mae:.3f}."
    )
    if curves.natural.empty:
        return said
    return (
        f"{said} Natural: mean change of a prediction under the natural change that moves the system most; beyond "
        "natural at: epsilon from which on the attack moves predictions further."
    )


def write(curves: Curves, out: str | Path) -> dict[str, Path]:
    """Tables and figures: ``curve.csv`` (runs), ``bands.csv`` (systems), ``emotions.csv``, ``natural.csv``, ``summary``
    as CSV, Markdown and LaTeX, ``curve`` and ``emotions`` as PNG and PDF. File name -> path."""
    out = Path(out)
    written = tables.write(out / "summary", curves.summary, show(curves), caption(curves))
    named = {
        "curve": curves.runs,
        "bands": curves.bands,
        "emotions": curves.emotions,
        "natural": curves.natural,
    }
    for name, table in named.items():
        if len(table):
            written[f"{name}.csv"] = write_csv(out / f"{name}.csv", table)
    written |= figures.save(curve_figures.curve(curves), out / "curve")
    if len(curves.emotions):
        written |= figures.save(curve_figures.emotions(curves), out / "emotions")
    return dict(sorted(written.items()))
