"""`tenuto predict`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from tenuto.cli import common
from tenuto.cli.common import out
from tenuto.cli.screen import profile_table


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder or checkpoint file.")],
    audio: Annotated[list[Path], typer.Argument(help="mp3, ogg, flac or wav files.")],
    trust: common.Trust = False,
    as_json: common.AsJson = False,
) -> None:
    """Predict the emotions of recordings of any length. Only the checkpoint is needed.

    Example: tenuto predict runs/A2E-6-1a2b3c4d song.mp3
    """
    from tenuto import api
    from tenuto.evaluation.explanation import drawn_scale

    model = api.load(run, trust=trust)
    if as_json:
        common.print_json({str(path): dataclasses.asdict(model.predict(path)) for path in audio})
        return
    for path in audio:  # printed one by one, so that results before a bad file are not lost
        profile = model.predict(path)
        out.print(
            profile_table(str(path), profile.emotions, profile.concepts or {}, drawn_scale(model.scale))
        )
