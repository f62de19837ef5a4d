"""Tables of how near attacks come to the best of all, and of what protocols miss."""

from __future__ import annotations

from pathlib import Path

from tenuto.analysis.optimality import ALL, Optimality
from tenuto.analysis.systems import budget_title
from tenuto.reporting.tables import Columns, ResultTable, text_cells

OPTIMALITY_COLUMNS: Columns = {
    "Attack": ("title", ""),
    "Protocol": ("protocol", ""),
    "Run": ("run", ""),
    "Norm": ("norm", ""),
    "Forward passes": ("forward_passes", ".0f"),
    "Gradient passes": ("gradient_passes", ".0f"),
    "Optimality": ("optimality", ".3f"),
    "Best": ("best", ".0%"),
}
MISSED_COLUMNS: Columns = {
    "Protocol": ("protocol", ""),
    "Run": ("run", ""),
    "Budget": ("title", ""),
    "Clips": ("clips", ""),
    "Clean MAE": ("clean_mae", ".3f"),
    "MAE": ("mae", ".3f"),
    "Best of all": ("best_mae", ".3f"),
    "More": ("more", ".1%"),
}
"""The tables as text cells."""


def optimality_tables(result: Optimality) -> dict[str, ResultTable]:
    """``optimality``, a line per attack, and ``missed``, a line per protocol and budget."""
    attacks, budgets = result.attacks, result.budgets
    names = attacks["attack"] + ", " + attacks["objective"]
    names = names.where(attacks["attack"] != ALL, "all attacks")
    sizes = [budget_title(*budget) for budget in zip(budgets["norm"], budgets["epsilon"], strict=True)]
    return {
        "optimality": ResultTable(
            text_cells(attacks.assign(title=names), OPTIMALITY_COLUMNS),
            "Optimality: the area between the curve of an attack and the clean error, relative to that of the best of "
            "all attacks. Best: the share of clips and budgets at which no attack found more. Passes: per clip, over "
            "all budgets.",
            attacks,
        ),
        "missed": ResultTable(
            text_cells(budgets.assign(title=sizes), MISSED_COLUMNS),
            "More: what the best of all attacks finds beyond the worst case of a protocol, relative to it.",
            budgets,
        ),
    }


def write_optimality(result: Optimality, out: str | Path) -> dict[str, Path]:
    """Write the tables ``optimality`` and ``missed`` as CSV and Markdown. File name -> path."""
    paths: dict[str, Path] = {}
    for name, table in optimality_tables(result).items():
        paths |= table.write(Path(out) / name, ("csv", "md"))
    return paths
