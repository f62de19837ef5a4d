"""`tenuto adopt`."""

from __future__ import annotations

import functools
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tenuto.cli import common, groups
from tenuto.cli.common import out
from tenuto.errors import counted

TakesName = StrEnum(
    "TakesName", {"waveform": "waveform", "spectrogram": "log-spectrogram", "features": "features"}
)
PoolingName = StrEnum("PoolingName", ["mean", "median"])
data_option = functools.partial(typer.Option, rich_help_panel="Data set to judge it on")
input_option = functools.partial(typer.Option, rich_help_panel="What the model takes")


def adopt(
    model: Annotated[
        str, typer.Argument(help="package.module:function, file.py:function, or a .pt, .pt2 or .onnx file.")
    ],
    root: common.Root,
    emotions: Annotated[
        str,
        typer.Option(
            help="Names of the outputs in their order, comma-separated, as the data set calls them."
        ),
    ],
    scale: Annotated[
        tuple[float, float],
        typer.Option(metavar="LOW HIGH", help="Lowest and highest rating on the model's own scale."),
    ] = (0.0, 1.0),
    takes: Annotated[
        TakesName, input_option(metavar="KIND", help=f"{', '.join(TakesName)}.")
    ] = TakesName.waveform,
    sample_rate: Annotated[int, input_option(help="Samples per second of the waveform.")] = 22_050,
    seconds: Annotated[float, input_option(help="Length of a window.")] = 10.0,
    front_end: Annotated[
        str | None,
        input_option(
            metavar="FUNCTION",
            help="For features: file.py:function that makes an array of a waveform (samples,).",
        ),
    ] = None,
    normalisation: Annotated[
        tuple[float, float] | None,
        input_option(
            metavar="MEAN DEVIATION",
            help="For log-spectrogram.",
            show_default="measured on the training clips",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(help="Key, attribute or index of the predictions.", show_default="the only output"),
    ] = None,
    concepts: Annotated[
        str | None, typer.Option(help="Names of outputs that follow the emotions, comma-separated.")
    ] = None,
    pooling: Annotated[
        PoolingName,
        typer.Option(
            metavar="KIND", help="How windows of a recording become one prediction: mean or median."
        ),
    ] = PoolingName.mean,
    name: Annotated[
        str | None, typer.Option(help="Name in tables.", show_default="that of the function or file")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed in tables, for several trainings of one model.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of its evaluation.", show_default="all cores")
    ] = None,
    data: Annotated[
        str | None,
        data_option(
            metavar="NAME",
            help="One of `tenuto data list`.",
            callback=common.data_set,
            show_default="soundtracks; folder where there is a tenuto.yaml",
        ),
    ] = None,
    split: Annotated[
        str | None, data_option(metavar="KIND", help=common.SPLIT_HELP, show_default="paper")
    ] = None,
    ratings: groups.Ratings = None,
    id_column: groups.IdColumn = None,
    columns: Annotated[
        str | None,
        groups.folder_option(
            help="Columns of ratings, comma-separated.", show_default="the emotions of the model"
        ),
    ] = None,
    rating_scale: Annotated[
        tuple[float, float] | None,
        groups.folder_option(metavar="LOW HIGH", help="Lowest and highest rating in the table."),
    ] = None,
    album_column: groups.AlbumColumn = None,
    runs: Annotated[
        Path, typer.Option("--runs", "--out", envvar="TENUTO_RUNS", help="Folder of all runs.")
    ] = Path("runs"),
    cache: common.Cache = None,
) -> None:
    """Make a run of a model from elsewhere, which all other commands then judge; print its folder.

    The model is tried on a data set whose ratings have the names of its outputs. Its code is executed: name only code
    that you trust.

    Example: tenuto adopt model.py:network --emotions valence,arousal --scale -1 1 --sample-rate 16000 --root music
    """
    from tenuto import api
    from tenuto.api.datasets import data_config

    is_described = any(
        value is not None for value in (ratings, id_column, columns, rating_scale, album_column)
    )
    output_names = columns or (emotions if is_described or data == "folder" else None)
    has_file = (root / "tenuto.yaml").is_file()
    described = None if has_file and columns is None else output_names
    table = groups.Columns(ratings, id_column, described, None, rating_scale, album_column).settings(data)
    settings = data_config(root, **{**table, "split": split})
    run = api.adopt(
        model,
        emotions=emotions,
        root=root,
        data=settings,
        scale=scale,
        takes=takes.value,
        sample_rate=sample_rate,
        seconds=seconds,
        front_end=front_end,
        normalisation=normalisation,
        concepts=concepts or (),
        output=output,
        pooling=pooling.value,
        name=name,
        seed=seed,
        threads=threads or 0,
        runs=runs,
        cache=cache,
        progress=common.TERMINAL,
    )
    count = len(run.recogniser.emotions)
    notes = "a gradient" if run.recogniser.has_gradient else "no gradient, so it is a black box"
    out.print(
        f"{run.config.system}: {counted(count, 'emotion')}, takes {run.recogniser.inputs.name}, has {notes}"
    )
    typer.echo(str(run.folder))
