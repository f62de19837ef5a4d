"""`tenuto curve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import typer
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from tenuto.cli.common import AsJson, notes, out, print_json

if TYPE_CHECKING:
    from tenuto.analysis.curves import Curves


def curve(
    folders: Annotated[list[Path], typer.Argument(help="Attacked runs, or studies of them.")],
    protocol: Annotated[
        str, typer.Option(help="Whose rows, as their file is called; it must have budgets.")
    ] = "standard-1",
    to: Annotated[Path, typer.Option("--out", help="Folder for the files.")] = Path("curve"),
    as_json: AsJson = False,
) -> None:
    """Draw error over the size of the perturbation, beside what natural changes do.

    Example: tenuto curve runs/A2E-6-1a2b3c4d runs/A2M2E-6-5e6f7a8b --out curve
    """
    from tenuto.analysis import curves
    from tenuto.reporting import tables, write_curves

    found = curves.from_folders(folders, protocol)
    written = write_curves(found, to)
    if as_json:
        print_json({**_values(found), "files": [str(path) for path in written.values()]})
        return
    _print(tables.show_curves(found), f"{found.protocol}, worst case")
    out.print(tables.caption_curves(found), soft_wrap=False)
    for remark in found.remarks:
        notes.print(remark)
    for path in written.values():
        typer.echo(str(path))


def _values(found: Curves) -> dict[str, Any]:
    """Everything in plain values; an epsilon that is not reached is infinite."""
    named = ("runs", "bands", "summary", "emotions", "natural")
    parts = {name: getattr(found, name) for name in named}
    return {
        "protocol": found.protocol,
        "norm": found.norm,
        "mean_mae": found.mean_mae,
        **{
            name: table.astype(object).where(table.notna(), None).to_dict("records")
            for name, table in parts.items()
        },
        "remarks": list(found.remarks),
    }


def _print(cells: pd.DataFrame, title: str) -> None:
    """Print a table as wide as its words need: a narrower terminal breaks its lines, no digit is cut."""
    table = Table(title=escape(title), title_justify="left")
    for position, name in enumerate(cells.columns):
        table.add_column(name, justify="right" if position else "left")
    for line in cells.itertuples(index=False):
        table.add_row(*(escape(str(cell)) for cell in line))
    table.width = Measurement.get(out, out.options.update_width(1000), table).maximum
    out.print(table)
