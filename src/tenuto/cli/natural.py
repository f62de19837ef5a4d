"""`tenuto natural`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer
from rich.markup import escape
from rich.table import Table

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.store.run import RunFolder

if TYPE_CHECKING:
    from tenuto.evaluation.runs import Run

NUMBERS = ("moved", "clean_mae", "mae", "clean_correlation", "correlation")


def natural(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    root: common.Root,
    split: Annotated[
        common.PartName, typer.Option(metavar="PART", help=f"Whose clips: {', '.join(common.PartName)}.")
    ] = common.PartName.test,
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """Measure what music does by itself: another excerpt, mp3, level, noise. Attacks are read against this.

    Example: tenuto natural runs/A2E-6-1a2b3c4d --root soundtracks
    """
    from tenuto.evaluation import natural as baseline
    from tenuto.evaluation.runs import open_run

    opened = open_run(run, common.prepare_data(RunFolder(run).read_config().data, root, cache))
    found = measured(opened, split.value)
    path = opened.files.natural(split.value)
    if as_json:
        changes = found.drop(columns=["run", "system", "seed"]).to_dict("records")
        about = {"run": opened.name, "protocol": baseline.NAME, "split": split.value}
        common.print_json({**about, "changes": changes, "rows": str(path)})
        return
    show(found, f"{opened.name}, {baseline.NAME}, {split.value}")
    typer.echo(str(path))


def measured(run: Run, part: str) -> pd.DataFrame:
    """The natural changes of one part, one line each; measured with a progress bar where they have not been."""
    from tenuto.analysis.natural import summary
    from tenuto.evaluation import natural as baseline

    with common.bar("natural changes", len(run.part(part))) as advance:
        return summary(baseline.natural(run, part, advance))


def show(found: pd.DataFrame, title: str) -> None:
    """Print the natural changes, and for which clips they cannot be had."""
    out.print(_table(found, title))
    for change, skipped in zip(found["change"], found["skipped"], strict=True):
        if skipped:
            notes.print(f"{change}: {skipped} clips are too short for it, left out there.")


def _table(found: pd.DataFrame, title: str) -> Table:
    """One line per change; clean values are those of the same clips."""
    from tenuto.analysis.words import number

    table = Table(title=escape(title), title_justify="left")
    table.add_column("change")
    for heading in ("clips", "|Δ prediction|", "MAE, clean → changed", "correlation, clean → changed"):
        table.add_column(heading, justify="right")
    for line in found.to_dict("records"):
        moved, *rest = (number(line[name], ".4f") for name in NUMBERS)
        table.add_row(
            line["change"], str(line["clips"]), moved, f"{rest[0]} → {rest[1]}", f"{rest[2]} → {rest[3]}"
        )
    return table
