"""`tenuto export`."""

from __future__ import annotations

import functools
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tenuto.cli import common

KindName = StrEnum("KindName", {"folder": "hub-folder", "onnx": "onnx", "torchscript": "torchscript"})
folder_option = functools.partial(typer.Option, rich_help_panel="Model folder")


def export(
    run: Annotated[str, typer.Argument(help="Folder of a run; for a file also a pretrained model.")],
    to: Annotated[KindName, typer.Option(metavar="KIND", help=f"{', '.join(KindName)}.")],
    out: Annotated[Path, typer.Option(help="The folder or file.")],
    root: common.RunRoot = None,
    half: Annotated[bool, folder_option("--half", help="Store weights in half precision.")] = False,
    licence: Annotated[
        str | None, folder_option(help="Licence of the weights, such as mit.", show_default="not decided")
    ] = None,
    trust: common.Trust = False,
    cache: common.Cache = None,
) -> None:
    """Write the model of a run for other programs: a folder to share, ONNX, or TorchScript. Nothing is uploaded.

    A hub-folder has the layout of a Hugging Face model repository, with a model card. With the data set, the card has
    metrics. The files have the front end inside: ten seconds of sound at 22 050 Hz to emotions.

    Example: tenuto export runs/A2E-6-1a2b3c4d --to hub-folder --out my-model --root soundtracks

    Example: tenuto export a2e-soundtracks --to onnx --out a2e.onnx
    """
    from tenuto import api

    path = api.export(
        run,
        to.value,
        out,
        root=root,
        half=half,
        licence=licence,
        cache=cache,
        progress=common.TERMINAL,
        trust=trust,
    )
    typer.echo(str(path))
