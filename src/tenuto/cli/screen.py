"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from tenuto import metrics, results
from tenuto.data.splits import PARTS

MEASURES = ("r2", "correlation", "rmse", "mse", "mae")


def metrics_table(report: Mapping[str, Any], part: str) -> Table:
    """One part's metrics, a row per emotion and one for all of them."""
    table = Table(title=escape(f"{report['run']}, {part.replace('_', ' ')}"), title_justify="left")
    table.add_column("emotion")
    for measure in MEASURES:
        table.add_column(measure, justify="right")
    names = list(report[part][MEASURES[0]])
    for name in names:
        table.add_row(escape(name), *(f"{report[part][measure][name]:.4f}" for measure in MEASURES))
    return table


def metrics_tables(report: Mapping[str, Any]) -> list[Table]:
    """The tables of all parts, emotions first, concepts where there are any."""
    return [
        metrics_table(report, part) for part in (*PARTS, *(f"{p}_concepts" for p in PARTS)) if part in report
    ]


def attack_table(rows: pd.DataFrame) -> Table:
    """What an attack did on average: error, correlation and size, clean and attacked."""
    label, clean, adversarial = (results.values(rows, kind) for kind in ("label", "clean", "adversarial"))
    table = Table(
        title=escape(f"{rows['run'].iloc[0]}, {rows['protocol'].iloc[0]}, {len(rows)} clips"),
        title_justify="left",
    )
    for heading in ("", "MAE", "correlation"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, values in (("clean", clean), ("attacked, last evaluated iterate", adversarial)):
        table.add_row(
            name, f"{metrics.mae(label, values):.4f}", f"{float(metrics.pearson(label, values).mean()):.4f}"
        )
    table.caption = (
        f"largest change of one entry {rows['linf'].max():.4g}, median L2 norm {rows['l2'].median():.4g}, "
        f"converged {int(rows['converged'].sum())} of {len(rows)}"
    )
    return table


def profile_table(name: str, emotions: Mapping[str, float], concepts: Mapping[str, float]) -> Table:
    """Emotions and concepts of one recording as bars."""
    table = Table(title=escape(name), title_justify="left", show_header=False)
    for kind in (emotions, concepts):
        for word, value in kind.items():
            table.add_row(escape(word), f"{value:6.3f}", "█" * round(30 * min(max(value, 0.0), 1.0)))
        table.add_section()
    return table
