"""`tenuto evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.cli.screen import metrics_table


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    root: common.RunRoot = None,
    data: common.OtherData = None,
    trust: common.Trust = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Where the model of an adopted run is now, such as new/model.py:network; remembered.",
            show_default="where it was adopted",
        ),
    ] = None,
    front_end: Annotated[
        str | None,
        typer.Option(
            metavar="FUNCTION",
            help="Where the front end of an adopted run is now; remembered.",
            show_default="where it was adopted",
        ),
    ] = None,
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """Metrics of a run on training, validation and test clips: R2, correlation, RMSE, MSE, MAE; of tags also AUC.

    Example: tenuto evaluate runs/A2E-6-1a2b3c4d --root soundtracks
    """
    from tenuto import api

    metrics = api.evaluate(
        run,
        root,
        data=data,
        trust=trust,
        model=model,
        front_end=front_end,
        cache=cache,
        progress=common.TERMINAL,
    )
    if as_json:
        common.print_json({**metrics.report, "remarks": list(metrics.remarks)})
        return
    for part in metrics.parts:
        out.print(metrics_table(metrics.report["run"], part, metrics.part(part)))
    for remark in metrics.remarks:
        notes.print(remark)
