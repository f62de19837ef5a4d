"""`tenuto show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenuto.cli import common
from tenuto.cli.common import notes
from tenuto.cli.screen import print_clips


def show(
    run: Annotated[Path, typer.Argument(help="Folder of an attacked run.")],
    clips: Annotated[
        list[str] | None,
        typer.Argument(help="Names of clips of one part of the split.", show_default="all test clips"),
    ] = None,
    root: common.RunRoot = None,
    trust: common.Trust = False,
    protocol: Annotated[
        str | None,
        typer.Option(help="Name of the rows in RUN/attacks.", show_default="the only one there"),
    ] = None,
    epsilon: common.Epsilon = None,
    db: common.Decibels = None,
    norm: common.NormName = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for pictures and sounds.", show_default="RUN/shown")
    ] = None,
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """Visualise and sonify attacked clips: spectrograms, emotions, and the attack rendered as sound.

    Writes CLIP.png, CLIP.pdf, CLIP-before.wav, -after.wav and -difference.wav, all with one gain. Prints the share of
    the attack's effect that remains in sound, and the signal-to-noise ratio of the two sounds.

    Example: tenuto show runs/A2E-21-1a2b3c4d 055 --protocol standard-1 --epsilon 0.1 --root soundtracks

    Example: tenuto show runs/A2E-21-1a2b3c4d 055 --protocol sound-1 --db 40 --root soundtracks
    """
    from tenuto import api

    opened = api.open_run(run, root, trust=trust, cache=cache, progress=common.TERMINAL)
    shown = opened.show(clips or [], protocol, epsilon, folder, db=db, norm=norm)
    if as_json:
        common.print_json(shown.as_dict())
        return
    print_clips(shown)
    names = [clip.clip for clip in shown.clips]
    place = shown.files[names[0]][0].parent
    notes.print(f"{place}: pictures and sounds of {', '.join(names)}")
