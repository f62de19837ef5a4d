"""`tenuto curve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenuto.cli.common import AsJson, notes, out, print_json, print_paths
from tenuto.cli.screen import print_cells

if TYPE_CHECKING:
    from tenuto.analysis.curves import Curves


def curve(
    folders: Annotated[list[Path], typer.Argument(help="Attacked runs, or studies of them.")],
    protocol: Annotated[str, typer.Option(help="Name of a protocol with several budgets.")] = "standard-1",
    to: Annotated[Path, typer.Option("--out", help="Folder for the files.")] = Path("curve"),
    as_json: AsJson = False,
) -> None:
    """Draw error over the size of the perturbation, next to the effect of natural variation.

    Example: tenuto curve runs/A2E-6-1a2b3c4d runs/A2M2E-6-5e6f7a8b --out curve
    """
    from tenuto import api
    from tenuto.reporting import tables, write_curves

    curves = api.curves(folders, protocol)
    files = write_curves(curves, to)
    if as_json:
        print_json({**_values(curves), "files": [str(path) for path in files.values()]})
        return
    print_cells(tables.show_curves(curves), f"{curves.protocol}, worst case")
    out.print(tables.caption_curves(curves), soft_wrap=False)
    for remark in curves.remarks:
        notes.print(remark)
    print_paths(files.values())


def _values(curves: Curves) -> dict[str, Any]:
    """Everything in plain values; an epsilon that is not reached is infinite."""
    names = ("runs", "bands", "summary", "emotions", "natural")
    tables = {name: getattr(curves, name) for name in names}
    return {
        "protocol": curves.protocol,
        "norm": curves.norm,
        "mean_mae": curves.mean_mae,
        **{
            name: table.astype(object).where(table.notna(), None).to_dict("records")
            for name, table in tables.items()
        },
        "remarks": list(curves.remarks),
    }
