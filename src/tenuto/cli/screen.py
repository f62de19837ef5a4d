"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from rich.markup import escape
from rich.table import Table

from tenuto import metrics
from tenuto.data.splits import PARTS
from tenuto.store.rows import values_of, worst_case

MEASURES = ("r2", "correlation", "rmse", "mse", "mae")


def grid(title: str, *columns: str, names: Iterable[str], bars: str | None = None) -> Table:
    """An empty table for the terminal, of which a narrow one breaks names and never numbers.

    Args:
        title: Stands above it.
        columns: Headings in their order; they may have two lines.
        names: Those of the columns that hold names.
        bars: That of the columns that holds bars; all others hold numbers.
    """
    table, named = Table(title=escape(title), title_justify="left"), set(names)
    for heading in columns:
        if heading in named:
            table.add_column(heading, overflow="fold", min_width=8)
        else:
            table.add_column(heading, justify="left" if heading == bars else "right", no_wrap=True)
    return table


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
    """What a protocol did on average: error and correlation, clean and at every budget, and what it cost."""
    shown = worst_case(rows)
    first, clips = rows.iloc[0], shown["clip"].nunique()
    table = Table(title=escape(f"{first['run']}, {first['protocol']}, {clips} clips"), title_justify="left")
    for heading in ("", "|Δ prediction|", "MAE", "correlation"):
        table.add_column(heading, justify="right" if heading else "left")
    budgets = list(shown.groupby(["norm", "epsilon"], dropna=False))
    table.add_row("clean", "", *_scores(budgets[0][1], "clean"))
    for (norm, epsilon), part in budgets:
        moved = np.abs(values_of(part, "adversarial") - values_of(part, "clean")).mean()
        budget = _attacked(first["attack"], f"{norm} {epsilon}", part)
        table.add_row(budget, f"{moved:.4f}", *_scores(part, "adversarial"))
    if rows["objective"].nunique() == 1 and "loss" in rows:
        table.add_section()
        # The released attack ascends the squared error; its thresholds alone speak of something else.
        aim = "squared error" if first["attack"] == "ReleasedAttack" else first["objective"]
        table.add_row(escape(f"objective: {aim}, mean {rows['loss'].mean():.4f}"))
    cost = rows.groupby("clip")[["forward_passes", "gradient_passes"]].sum().max()
    table.caption = (
        f"largest change of one entry {shown['linf'].max():.4g}, median L2 norm {shown['l2'].median():.4g}, "
        f"converged {int(shown['converged'].sum())} of {len(shown)}; at most {cost['forward_passes']} forward and "
        f"{cost['gradient_passes']} gradient passes a clip"
    )
    return table


def _scores(rows: pd.DataFrame, kind: str) -> tuple[str, str]:
    label, values = values_of(rows, "label"), values_of(rows, kind)
    return f"{metrics.mae(label, values):.4f}", f"{float(metrics.pearson(label, values).mean()):.4f}"


def _attacked(attack: str, budget: str, rows: pd.DataFrame) -> str:
    """Which pair a line shows."""
    if attack == "ReleasedAttack":
        return "attacked, last evaluated iterate"
    worst = "worst of all" if (rows["attack"] == "worst").all() else "attacked"
    return worst if budget.startswith("none") else escape(f"{worst}, {budget}")


def profile_table(name: str, emotions: Mapping[str, float], concepts: Mapping[str, float]) -> Table:
    """Emotions and concepts of one recording as bars."""
    table = Table(title=escape(name), title_justify="left", show_header=False)
    for kind in (emotions, concepts):
        for word, value in kind.items():
            table.add_row(escape(word), f"{value:6.3f}", "█" * round(30 * min(max(value, 0.0), 1.0)))
        table.add_section()
    return table
