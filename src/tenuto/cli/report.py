"""`tenuto report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenuto.cli import common
from tenuto.cli.common import notes, out


def report(
    study: Annotated[Path, typer.Argument(help="Folder of a study or of its runs, or a CSV of rows.")],
    to: Annotated[Path, typer.Option("--out", help="The HTML file to write.")] = Path("report.html"),
    protocol: Annotated[
        str | None,
        typer.Option(help="Name of the protocol.", show_default="the released one, where it is unique"),
    ] = None,
    epsilon: common.Epsilon = None,
    db: common.Decibels = None,
    norm: common.NormName = None,
    unit: common.Unit = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the data set, for clips to play; else TENUTO_DATA.",
            show_default="the study's own corpus",
        ),
    ] = None,
    clips: Annotated[int, typer.Option(min=0, help="Number of clips to play.")] = 6,
    audit: Annotated[
        Path | None,
        typer.Option(help="audit.json of `tenuto audit --out`, for checks that evaluate the models."),
    ] = None,
    date: Annotated[str, typer.Option(help="Date or other text shown at the top.", show_default="none")] = "",
    cache: common.Cache = None,
    trust: common.Trust = False,
    as_json: common.AsJson = False,
) -> None:
    """Write a whole study to one HTML file with tables, figures, audit and sounds. The file loads nothing.

    Example: tenuto report demo --out report.html
    """
    from tenuto import api

    page = api.report(
        study,
        to,
        protocol=protocol,
        epsilon=epsilon,
        db=db,
        norm=norm,
        unit=unit,
        root=root,
        clips=clips,
        audit=audit,
        date=date,
        cache=cache,
        trust=trust,
        progress=common.TERMINAL,
    )
    if as_json:
        common.print_json(page.as_dict())
        return
    for sentence in page.answer:
        out.print(f"- {sentence}", markup=False)
    for sentence in page.missing:
        notes.print(f"Not in the report: {sentence}")
    out.print(f"{page.path} ({page.bytes / 1e6:.1f} MB)", markup=False)
