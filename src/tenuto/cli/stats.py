"""`tenuto stats`: are differences between systems larger than those between seeds and clips?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tenuto.cli.common import TERMINAL, AsJson, notes, out, print_json, print_paths
from tenuto.cli.groups import Rows, grouped
from tenuto.cli.screen import print_cells

if TYPE_CHECKING:
    from tenuto.analysis.comparison import Comparison

MeasureName = StrEnum("MeasureName", ["mae", "mse"])
QuantityName = StrEnum("QuantityName", ["attacked", "added", "clean"])


@grouped
def stats(
    rows: Rows = Rows(),
    measure: Annotated[
        MeasureName, typer.Option(help="Error of a clip: absolute or squared.")
    ] = MeasureName.mae,
    clipped: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Clip predictions to this range first, such as 0 1."),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(help="Planned pairs, as in A2E:A2M2E,A2B2E:A2M2E.", show_default="all pairs"),
    ] = None,
    show: Annotated[
        QuantityName,
        typer.Option(help="Error whose pairs are printed: after the attack, added by it, or clean."),
    ] = QuantityName.attacked,
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap draws.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    to: Annotated[
        Path | None, typer.Option("--out", help="Folder for CSV, Markdown, LaTeX and a figure.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare systems over seeds and clips: intervals, seed-level tests, mixed models, and the pooled t-test.

    Pairs are also compared at matched clean error. Files and JSON hold all three errors: after the attack, added by
    it, and on clean clips.

    Example: tenuto stats demo --out stats
    """
    from tenuto import api
    from tenuto.analysis import comparison
    from tenuto.reporting import write_comparison

    settings = comparison.Settings(
        measure=measure.value,
        clipped=clipped,
        pairs=None if pairs is None else comparison.parse_pairs(pairs),
        draws=draws,
        seed=seed,
        level=level,
    )
    compared = api.compare(settings=settings, progress=TERMINAL, **rows.chosen())
    files = {} if to is None else write_comparison(compared, to)
    if as_json:
        print_json(comparison.as_json(compared))
        return
    _print(compared, show.value)
    for remark in compared.remarks:
        notes.print(remark)
    print_paths(files.values())


def _print(compared: Comparison, quantity: str) -> None:
    """Print the unit, all systems, and the pairs of one quantity, each with its caption."""
    from tenuto.analysis.comparison import QUANTITIES
    from tenuto.reporting.comparison import comparison_tables
    from tenuto.reporting.tables import GROUP

    out.print(compared.unit, soft_wrap=False)
    tables = comparison_tables(compared)
    print_cells(tables["systems"].cells, "Systems")
    for name, title in (
        ("pairs", "Pairs"),
        ("pooled", "Pooled tests of pairs"),
        ("mixed", "Mixed models of pairs"),
        ("matched", "Pairs at matched clean error"),
    ):
        cells = tables[name].cells
        own = cells[cells[GROUP] == quantity].drop(columns="Error").reset_index(drop=True)
        if len(own):
            print_cells(own, f"{title}, error {QUANTITIES[quantity]}", tables[name].caption)
