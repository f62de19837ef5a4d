"""`tenuto show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.cli.screen import print_clips
from tenuto.errors import ConfigError


def show(
    run: Annotated[Path, typer.Argument(help="Folder of an attacked run.")],
    clips: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names of clips of one part of the split; with --gallery: further runs.",
            show_default="all test clips",
        ),
    ] = None,
    as_gallery: Annotated[
        bool,
        typer.Option("--gallery", help="Write one HTML file that plays clips of one or more runs."),
    ] = False,
    gallery_clips: Annotated[
        list[str] | None,
        typer.Option(
            "--clip",
            help="Name of a test clip of the gallery; may be repeated.",
            show_default="the one that the attack moves most",
        ),
    ] = None,
    root: common.RunRoot = None,
    data: common.OtherData = None,
    trust: common.Trust = False,
    protocol: Annotated[
        str | None,
        typer.Option(help="Name of the rows in RUN/attacks.", show_default="the only one there"),
    ] = None,
    epsilon: common.Epsilon = None,
    db: common.Decibels = None,
    norm: common.NormName = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for pictures and sounds, or the file of the gallery.",
            show_default="RUN/shown, gallery.html",
        ),
    ] = None,
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """Visualise and sonify attacked clips: spectrograms, emotions, and how audible the attack is.

    Attacked waveforms are played as they are, attacked spectrograms are rendered as sound. Writes CLIP.png, CLIP.pdf,
    CLIP-before.wav, -after.wav and -difference.wav, all with one gain. Prints the share of the attack's effect that
    remains in sound, the signal-to-noise ratio, the noise-to-mask ratio and the perceptual score (5 is inaudible).

    Example: tenuto show runs/A2E-21-1a2b3c4d 055 --protocol standard-1 --epsilon 0.1 --root soundtracks

    Example: tenuto show runs/A2E-21-1a2b3c4d 055 --protocol sound-1 --db 40 --root soundtracks

    Example: tenuto show runs/A2E-21-1a2b3c4d runs/A2M2E-21-5e6f7a8b --gallery --root soundtracks
    """
    from tenuto import api

    if as_gallery:
        if data is not None:
            raise ConfigError("--data is no option of --gallery, whose runs have data of their own.")
        page = api.gallery(
            [run, *(Path(word) for word in clips or [])],
            folder or Path("gallery.html"),
            gallery_clips or 1,
            protocol=protocol,
            epsilon=epsilon,
            db=db,
            norm=norm,
            root=root,
            cache=cache,
            trust=trust,
            progress=common.TERMINAL,
        )
        if as_json:
            common.print_json(page.as_dict())
            return
        for remark in page.remarks:
            notes.print(remark)
        out.print(f"{page.path} ({page.bytes / 1e6:.1f} MB)", markup=False)
        return
    if gallery_clips:
        raise ConfigError("--clip is an option of --gallery. Name the clips after the run.")
    opened_run = api.open_run(run, root, data=data, trust=trust, cache=cache, progress=common.TERMINAL)
    result = opened_run.show(clips or [], protocol, epsilon, folder, db=db, norm=norm)
    if as_json:
        common.print_json(result.as_dict())
        return
    print_clips(result)
    names = [clip.clip for clip in result.clips]
    place = result.files[names[0]][0].parent
    notes.print(f"{place}: pictures and sounds of {', '.join(names)}")
