"""`tenuto stats`: how far differences between systems can be believed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer
from rich.measure import Measurement

from tenuto.cli.common import AsJson, bar, notes, out, print_json
from tenuto.cli.paper import Logs, ProtocolName, RunsFile, Study, source_rows, text_table
from tenuto.store.rows import at_budget

if TYPE_CHECKING:
    from tenuto.analysis.comparison import Comparison

MeasureName = StrEnum("MeasureName", ["mae", "mse"])
QuantityName = StrEnum("QuantityName", ["attacked", "added", "clean"])

Epsilon = Annotated[
    float | None,
    typer.Option(
        "--epsilon", help="Budget to compare at, of a protocol with several; each clip's worst case."
    ),
]
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
    typer.Option(
        "--show", help="Whose pairs are printed: the error after the attack, added by it, or clean."
    ),
]
Draws = Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")]
Level = Annotated[float, typer.Option("--level", help="Of the intervals, such as 0.95.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for CSV, Markdown and LaTeX.")]


def stats(
    logs: Logs = None,
    runs: RunsFile = None,
    study: Study = None,
    protocol: ProtocolName = None,
    epsilon: Epsilon = None,
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
    """Compare systems on seeds and clips: intervals, seed-level tests, mixed models; the pooled t-test beside them.

    Files and JSON hold all three errors: after the attack, added by it, and on clean clips.

    Example: tenuto stats --logs robustness_mer_bottleneck --out stats
    """
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
    rows = at_budget(source_rows(logs, runs, study, protocol), epsilon)
    with bar("comparisons", None) as advance:
        found = comparison.compare(rows, settings, advance)
    written = {} if to is None else write_comparison(found, to)
    if as_json:
        print_json(comparison.as_json(found))
        return
    _show(found, show.value)
    for remark in found.remarks:
        notes.print(remark)
    for path in written.values():
        typer.echo(str(path))


def _show(found: Comparison, quantity: str) -> None:
    """Print the unit, all systems, and the pairs of one quantity; then say how to read them."""
    from tenuto.analysis.comparison import QUANTITIES
    from tenuto.reporting import tables

    out.print(found.unit, soft_wrap=False)
    _print(tables.show_systems(found), "Systems")
    captions = tables.captions_comparison(found)
    for name, title, cells in (
        ("pairs", "Pairs", tables.show_pairs(found)),
        ("pooled", "Pooled tests of pairs", tables.show_pooled(found)),
        ("mixed", "Mixed models of pairs", tables.show_mixed(found)),
    ):
        own = cells[cells[tables.GROUP] == quantity].drop(columns="Error").reset_index(drop=True)
        if len(own):
            _print(own, f"{title}, error {QUANTITIES[quantity]}")
            out.print(captions[name], soft_wrap=False)


def _print(cells: pd.DataFrame, title: str) -> None:
    """Print a table in full width: a narrower terminal breaks its lines, no digit is cut."""
    table = text_table(cells, title)
    table.width = Measurement.get(out, out.options.update_width(1000), table).maximum
    out.print(table)
