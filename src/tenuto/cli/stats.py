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

Measure = Annotated[MeasureName, typer.Option("--measure", help="Error of a clip: absolute or squared.")]
Clipped = Annotated[
    tuple[float, float] | None,
    typer.Option("--clipped", metavar="LOW HIGH", help="Clip predictions to this range first, such as 0 1."),
]
Pairs = Annotated[
    str | None,
    typer.Option("--pairs", help="Planned pairs, as in A2E:A2M2E,A2B2E:A2M2E.", show_default="all pairs"),
]
Shown = Annotated[
    QuantityName,
    typer.Option("--show", help="Error whose pairs are printed: after the attack, added by it, or clean."),
]
Draws = Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")]
Level = Annotated[float, typer.Option("--level", help="Level of the intervals.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for CSV, Markdown, LaTeX and a figure.")]


@grouped
def stats(
    rows: Rows = Rows(),
    measure: Measure = MeasureName.mae,
    clipped: Clipped = None,
    pairs: Pairs = None,
    show: Shown = QuantityName.attacked,
    draws: Draws = 10_000,
    seed: Seed = 0,
    level: Level = 0.95,
    to: Out = None,
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
    from tenuto.reporting import comparison, tables

    out.print(compared.unit, soft_wrap=False)
    print_cells(comparison.show_systems(compared), "Systems")
    captions = comparison.captions(compared)
    for name, title, cells in (
        ("pairs", "Pairs", comparison.show_pairs(compared)),
        ("pooled", "Pooled tests of pairs", comparison.show_pooled(compared)),
        ("mixed", "Mixed models of pairs", comparison.show_mixed(compared)),
        ("matched", "Pairs at matched clean error", comparison.show_matched(compared)),
    ):
        own = cells[cells[tables.GROUP] == quantity].drop(columns="Error").reset_index(drop=True)
        if len(own):
            print_cells(own, f"{title}, error {QUANTITIES[quantity]}")
            out.print(captions[name], soft_wrap=False)
