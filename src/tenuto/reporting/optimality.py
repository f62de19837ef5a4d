"""Tables of how near attacks come to the best of all, and of what protocols miss."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tenuto.analysis.optimality import ALL, Optimality
from tenuto.analysis.words import number
from tenuto.files import write_csv, write_text
from tenuto.reporting.tables import markdown
from tenuto.store.budgets import norm_of

CAPTION_ATTACKS = (
    "Optimality: the area between the curve of an attack and the clean error, relative to that of the best of all "
    "attacks. Best: the share of clips and budgets at which no attack found more. Passes: per clip, over all budgets."
)
CAPTION_BUDGETS = (
    "More: what the best of all attacks finds beyond the worst case of a protocol, relative to it."
)


def show_attacks(result: Optimality) -> pd.DataFrame:
    """`Optimality.attacks` as text cells."""
    lines = [
        {
            "Attack": "all attacks" if line["attack"] == ALL else f"{line['attack']}, {line['objective']}",
            "Protocol": str(line["protocol"]),
            "Run": str(line["run"]),
            "Norm": str(line["norm"]),
            "Forward passes": number(line["forward_passes"], ".0f"),
            "Gradient passes": number(line["gradient_passes"], ".0f"),
            "Optimality": number(line["optimality"], ".3f"),
            "Best": number(line["best"], ".0%"),
        }
        for line in result.attacks.to_dict("records")
    ]
    return pd.DataFrame(lines, dtype=str)


def show_budgets(result: Optimality) -> pd.DataFrame:
    """`Optimality.budgets` as text cells."""
    lines = [
        {
            "Protocol": str(line["protocol"]),
            "Run": str(line["run"]),
            "Budget": norm_of(str(line["norm"])).label(float(line["epsilon"])),
            "Clips": str(line["clips"]),
            "Clean MAE": number(line["clean_mae"], ".3f"),
            "MAE": number(line["mae"], ".3f"),
            "Best of all": number(line["best_mae"], ".3f"),
            "More": number(line["more"], ".1%"),
        }
        for line in result.budgets.to_dict("records")
    ]
    return pd.DataFrame(lines, dtype=str)


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
