"""`tenuto leakage`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.cli.screen import grid
from tenuto.errors import counted

if TYPE_CHECKING:
    from tenuto.evaluation.leakage import Leakage

STRONGEST = 5
"""Pairs of concepts that are printed."""


def leakage(
    run: Annotated[Path, typer.Argument(help="Folder of a run with a bottleneck.")],
    root: common.RunRoot = None,
    data: common.OtherData = None,
    trust: common.Trust = False,
    black_box: Annotated[
        Path | None,
        typer.Option(
            help="Run on the same data that completeness compares with, such as an A2E run.",
            show_default="a fit on the features in front of the bottleneck",
        ),
    ] = None,
    split: common.Part = common.PartName.test,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """Measure what the units of a bottleneck say beyond their concepts, and what they leave out.

    Leakage is the share of variance that units explain and true concepts do not; completeness is the score of the
    bottleneck over that of a black box. Intervals are bootstrapped over clips.

    Example: tenuto leakage runs/A2M2E-21-1a2b3c4d --root soundtracks
    """
    from tenuto import api

    opened_run = api.open_run(run, root, data=data, trust=trust, cache=cache, progress=common.TERMINAL)
    result = opened_run.leakage(split.value, black_box, seed, trust)
    for remark in result.remarks:
        notes.print(remark)
    if as_json:
        tables: dict[str, Any] = {
            name: getattr(result, name).to_dict("records") for name in ("summary", "tasks", "pairs")
        }
        about = {name: getattr(result, name) for name in ("run", "part", "clips", "black_box", "remarks")}
        common.print_json({**about, **tables})
    else:
        _print(result)


def _print(result: Leakage) -> None:
    """Print the summary, the emotions, and the pairs of concepts with most leakage."""
    title = f"{result.run}, {counted(result.clips, f'{result.part} clip')}; black box: {result.black_box}"
    summary = grid(title, "measure", "value", "low", "high", names=["measure"])
    for line in result.summary.to_dict("records"):
        summary.add_row(line["measure"].replace("_", " "), *_numbers(line, "value", "low", "high"))
    summary.caption = "low, high: 95 % bootstrap interval over clips"
    out.print(summary)
    columns = ("units_r2", "concepts_r2", "leakage", "low", "high")
    tasks = grid(
        "concept-task leakage", "emotion", "R2 units", "R2 concepts", *columns[2:], names=["emotion"]
    )
    for line in result.tasks.to_dict("records"):
        tasks.add_row(escape(line["emotion"]), *_numbers(line, *columns))
    out.print(tasks)
    if result.pairs.empty:
        return
    columns = ("unit_r2", "concept_r2", "leakage", "low", "high")
    headings, names = (
        ("unit", "about concept", "R2 unit", "R2 concept", *columns[2:]),
        ("unit", "about concept"),
    )
    pairs = grid("inter-concept leakage, the largest", *headings, names=names)
    for line in result.pairs.nlargest(STRONGEST, "leakage").to_dict("records"):
        pairs.add_row(escape(line["unit"]), escape(line["concept"]), *_numbers(line, *columns))
    out.print(pairs)


def _numbers(line: Mapping[Any, Any], *columns: str) -> list[str]:
    return [f"{line[column]:.3f}" for column in columns]
