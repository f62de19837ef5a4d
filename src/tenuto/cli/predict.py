"""`tenuto predict` and `tenuto import-reference`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenuto.cli import common
from tenuto.cli.common import out


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder or checkpoint file.")],
    audio: Annotated[list[Path], typer.Argument(help="mp3, ogg, opus, flac, wav or aiff files.")],
    as_json: common.AsJson = False,
) -> None:
    """Predict the emotions of recordings of any length; needs nothing but the checkpoint.

    Example: tenuto predict runs/A2E-6-1a2b3c4d song.mp3
    """
    import dataclasses

    from tenuto.cli.screen import profile_table
    from tenuto.models.checkpoint import load

    recogniser = load(run)
    if as_json:
        with common.audio_warnings():
            common.print_json({str(path): dataclasses.asdict(recogniser.predict(path)) for path in audio})
        return
    for path in audio:  # printed one by one: a later file that fails does not take the earlier ones along
        with common.audio_warnings():
            profile = recogniser.predict(path)
        out.print(profile_table(str(path), profile.emotions, profile.concepts or {}))


def import_reference(
    state: Annotated[Path, typer.Argument(help="Released-style .pt file of weights.")],
    system: Annotated[str, typer.Option(help="Which system it is.")],
    seed: Annotated[int, typer.Option(help="Seed it was trained with, for the run's name.")],
    runs: common.Runs = Path("runs"),
) -> None:
    """Turn a released .pt file into a run folder, without executing anything in it.

    The study's normalisation, split and excerpts are assumed, since the file records none.

    Example: tenuto import-reference best_model.pt --system A2M2E --seed 21 --runs runs
    """
    from tenuto.models.checkpoint import import_run

    typer.echo(str(import_run(state, system, seed, runs)))
