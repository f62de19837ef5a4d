"""The table of flawed defences in docs/flawed-defences.md, printed as Markdown: ``python -m benchmarks.flawed``."""

from __future__ import annotations

import pandas as pd
import typer

from tenuto.evaluation import flawed

command = typer.Typer(add_completion=False)


@command.command()
def main() -> None:
    """What every attack alone, standard-1 and an adaptive attack find on each defence, and what the audit flags."""
    print(shown(flawed.table()))


def shown(table: pd.DataFrame) -> str:
    """The table as the page shows it."""
    errors = [str(name) for name in table if name not in ("defence", "about", "broken", "audit")]
    lines = [["defence", *errors, "audit"]]
    for line in table.to_dict("records"):
        cells = ["none" if pd.isna(line[name]) else f"{line[name]:.3f}" for name in errors]
        protocol = errors.index("standard-1")
        cells[protocol] = f"**{cells[protocol]}**" if line["broken"] else cells[protocol]
        lines.append([str(line["defence"]), *cells, str(line["audit"]) or "passes"])
    lines.insert(1, ["---", *["---:"] * len(errors), "---"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    command()
