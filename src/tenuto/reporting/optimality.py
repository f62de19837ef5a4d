"""Tables of how near attacks come to the best of all, and of what protocols miss."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tenuto.analysis.optimality import ALL, Optimality
from tenuto.analysis.systems import budget_title
from tenuto.files import write_csv, write_text
from tenuto.reporting.tables import markdown, numbers

CAPTION_ATTACKS = (
    "Optimality: the area between the curve of an attack and the clean error, relative to that of the best of all "
    "attacks. Best: the share of clips and budgets at which no attack found more. Passes: per clip, over all budgets."
)
CAPTION_BUDGETS = (
    "More: what the best of all attacks finds beyond the worst case of a protocol, relative to it."
)


def show_attacks(result: Optimality) -> pd.DataFrame:
    """`Optimality.attacks` as text cells."""
    table = result.attacks
    names = table["attack"] + ", " + table["objective"]
    shown = {
        "Attack": names.where(table["attack"] != ALL, "all attacks"),
        "Protocol": table["protocol"],
        "Run": table["run"],
        "Norm": table["norm"],
        "Forward passes": numbers(table["forward_passes"], ".0f"),
        "Gradient passes": numbers(table["gradient_passes"], ".0f"),
        "Optimality": numbers(table["optimality"], ".3f"),
        "Best": numbers(table["best"], ".0%"),
    }
    return pd.DataFrame(shown, dtype=str)


def show_budgets(result: Optimality) -> pd.DataFrame:
    """`Optimality.budgets` as text cells."""
    table = result.budgets
    shown = {
        "Protocol": table["protocol"],
        "Run": table["run"],
        "Budget": [budget_title(*budget) for budget in zip(table["norm"], table["epsilon"], strict=True)],
        "Clips": table["clips"],
        "Clean MAE": numbers(table["clean_mae"], ".3f"),
        "MAE": numbers(table["mae"], ".3f"),
        "Best of all": numbers(table["best_mae"], ".3f"),
        "More": numbers(table["more"], ".1%"),
    }
    return pd.DataFrame(shown, dtype=str)


def write_optimality(result: Optimality, out: str | Path) -> dict[str, Path]:
    """Write ``optimality`` (attacks) and ``missed`` (protocols at every budget) as CSV and Markdown. Name -> path."""
    written: dict[str, Path] = {}
    for name, table, shown, caption in (
        ("optimality", result.attacks, show_attacks(result), CAPTION_ATTACKS),
        ("missed", result.budgets, show_budgets(result), CAPTION_BUDGETS),
    ):
        written[f"{name}.csv"] = write_csv(Path(out) / f"{name}.csv", table)
        written[f"{name}.md"] = write_text(Path(out) / f"{name}.md", markdown(shown, caption))
    return written
