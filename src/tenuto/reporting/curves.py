"""Tables of curves and of the corruption error, and the files of curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tenuto.analysis.curve_summary import INTERVAL_LEVEL
from tenuto.analysis.curves import Curves
from tenuto.analysis.words import NOTHING, long_unit, number
from tenuto.errors import counted
from tenuto.files import write_csv
from tenuto.reporting.figures.curves import curve_figure, emotion_figure
from tenuto.reporting.figures.style import save_figure
from tenuto.reporting.tables import ResultTable
from tenuto.store.budgets import Norm
from tenuto.store.natural import GRADED_PROTOCOL


def curve_table(curves: Curves) -> ResultTable:
    """The summary of the curves of one norm, a line per system."""
    axis = curves.axis
    corruption = {line["system"]: line for line in curves.corruption.to_dict("records")}
    lines = []
    for line in curves.summary.to_dict("records"):
        largest = axis.short(float(line["largest_epsilon"]))
        cells = {
            "System": str(line["system"]),
            "Seeds": str(line["seeds"]),
            "Clean MAE": number(line["clean_mae"], ".3f"),
            f"MAE at {largest}": number(line["largest_mae"], ".3f"),
            "Doubles at": _size(axis, line["doubling"]) + _sizes(axis, line, largest),
            "Mean excess": _estimate(line, "mean_excess"),
        }
        if len(curves.natural):
            has_natural = isinstance(line["natural_change"], str)
            cells["Natural"] = f"{line['natural']:.3f} ({line['natural_change']})" if has_natural else NOTHING
            cells["Exceeds natural at"] = _size(axis, line["beyond"]) if has_natural else NOTHING
        if corruption:
            own = corruption.get(line["system"])
            cells["Corruption error"] = NOTHING if own is None else _estimate(own, "corruption_error")
        lines.append(cells)
    return ResultTable(pd.DataFrame(lines, dtype=str), _caption(curves), curves.summary)


def corruption_table(errors: pd.DataFrame) -> ResultTable:
    """`tenuto.analysis.natural.corruption`, a line per system."""
    cells = [
        {
            "System": line["system"],
            "Clean MAE": number(line["clean_mae"], ".3f"),
            "Corruption error": _estimate(line, "corruption_error"),
            "Increase": _estimate(line, "increase"),
        }
        for line in errors.to_dict("records")
    ]
    caption = (
        f"Corruption error: MAE under {GRADED_PROTOCOL}, the mean over its kinds of change and their five strengths; "
        f"increase: over the clean error. In brackets: {INTERVAL_LEVEL:.0%} bootstrap intervals."
    )
    return ResultTable(pd.DataFrame(cells, dtype=str), caption, errors)


def _size(axis: Norm, value: float) -> str:
    """A size in the unit of its axis; one that no budget reaches is infinite."""
    if not np.isfinite(value):
        return "any size" if value == axis.value(0.0) else "not reached"
    return f"{value:z.1f} dB" if axis.in_db else f"{value:.3f}"


def _sizes(axis: Norm, line: Mapping[Any, Any], largest: str) -> str:
    """The interval of ``doubling``; an end that no budget reaches is beyond the largest budget."""
    ends = (line["doubling_low"], line["doubling_high"])
    if np.isnan(ends).any():
        return ""
    beyond = f"{'<' if axis.falls else '>'} {largest}"
    texts = (beyond if np.isinf(end) else _size(axis, end) for end in ends)
    return f" ({' to '.join(texts)})".replace(" dB", "")


def _estimate(line: Mapping[Any, Any], name: str) -> str:
    """``0.123 (0.100 to 0.150)``: a value with its interval where there is one."""
    ends = (line[f"{name}_low"], line[f"{name}_high"])
    interval = "" if np.isnan(ends).any() else f" ({ends[0]:z.3f} to {ends[1]:z.3f})"
    return number(line[name], "z.3f") + interval


def _caption(curves: Curves) -> str:
    """The caption of the summary of curves."""
    resampled = sorted(set(curves.summary["resampled"]))
    sizes = sorted(set(curves.runs["epsilon"]))
    ends = [curves.axis.number(size) for size in (sizes[1], sizes[-1])]
    if curves.axis.in_db:
        title = curves.axis.title[0].lower() + curves.axis.title[1:]
        over = f"{title} from {ends[0]} to {ends[1]} dB"
        length = f"its mean over {ends[0]} to {ends[1]} dB" if len(sizes) > 2 else "there"
        doubles = (
            f"the {title} at which the error is twice the clean error, interpolated between budgets in dB, and below "
            "the smallest one in amplitude"
        )
        excess = f"how far the curve lies above the clean error, {length}"
        exceeds = f"{title} from which on"
    else:
        over = f"epsilon from 0 to {ends[1]} in {long_unit(curves.unit)}"
        doubles = "smallest epsilon with twice the clean error, interpolated between budgets"
        excess = f"area between the curve and the clean error, divided by {ends[1]}"
        exceeds = "epsilon from which on"
    caption = (
        f"Worst case over the attacks of {curves.protocol} for each of "
        f"{counted(int(curves.summary['clips'].iloc[0]), 'test clip')}, {over}. Doubles at: {doubles}. Mean excess: "
        f"{excess}. In brackets: {INTERVAL_LEVEL:.0%} bootstrap intervals that resample {' or '.join(resampled)}."
    )
    if not np.isnan(curves.mean_mae):
        caption += f" Always predicting the mean training label has MAE {curves.mean_mae:.3f}."
    if len(curves.corruption):
        caption += f" Corruption error: mean MAE over the kinds and strengths of {GRADED_PROTOCOL}."
    if curves.natural.empty:
        return caption
    return (
        f"{caption} Natural: mean change of a prediction under the natural change that moves the system most. Exceeds "
        f"natural at: {exceeds} the attack moves predictions further."
    )


def write_curves(curves: Curves, out: str | Path) -> dict[str, Path]:
    """Write the tables and figures of curves.

    Returns:
        File name -> path: ``curve.csv`` (runs), ``bands.csv`` (systems), ``emotions.csv``, ``natural.csv``,
        ``corruption.csv``; ``summary`` as CSV, Markdown and LaTeX; ``curve`` and ``emotions`` as PNG and PDF. Of a
        protocol with several norms each has its own files, such as ``curve-snr.png``; natural changes and the
        corruption error are the same for all.
    """
    out = Path(out)
    paths: dict[str, Path] = {}
    numbers = {"natural": curves.natural, "corruption": curves.corruption}
    for one in curves.by_norm:
        ending = f"-{one.axis.file_name}" if curves.others else ""
        paths |= curve_table(one).write(out / f"summary{ending}")
        paths |= save_figure(curve_figure(one), out / f"curve{ending}")
        if len(one.emotions):
            paths |= save_figure(emotion_figure(one), out / f"emotions{ending}")
        parts = {"curve": one.runs, "bands": one.bands, "emotions": one.emotions}
        numbers |= {f"{name}{ending}": table for name, table in parts.items()}
    for name, table in numbers.items():
        if len(table):
            paths[f"{name}.csv"] = write_csv(out / f"{name}.csv", table)
    return dict(sorted(paths.items()))
