"""What several commands share: options with their help, progress bars, opening data."""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tenuto.config import CONCEPT_SOURCES, DataConfig
from tenuto.data import DATASETS, Prepared, open_dataset
from tenuto.data.cache import prepare
from tenuto.devices import require
from tenuto.errors import AudioWarning

out = Console(highlight=False, soft_wrap=True, emoji=False)
"""Results."""

notes = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, markup=False)
"""Progress and remarks, kept apart from results."""

PartName = StrEnum("PartName", ["train", "validation", "test"])


def data_set(name: str | None) -> str | None:
    """The name of a registered data set, or None. Raises `ConfigError` for an unknown name."""
    if name is not None:
        DATASETS[name]
    return name


Root = Annotated[
    Path, typer.Option("--root", envvar="TENUTO_DATA", help="Folder of the data set.", show_default=False)
]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", envvar="TENUTO_CACHE", help="Folder for spectrograms (default: user cache)."),
]
Device = Annotated[str, typer.Option("--device", help="cpu or cuda.", callback=require)]
PrecisionName = StrEnum("PrecisionName", ["auto", "float32", "bfloat16"])
TrainPrecision = Annotated[
    PrecisionName | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="Of updates and training attacks: float32, bfloat16, or auto, which is bfloat16 where the processor "
        "computes in it by itself.",
        show_default="float32, or the preset's",
    ),
]
Runs = Annotated[Path, typer.Option("--runs", envvar="TENUTO_RUNS", help="Folder of all runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME",
        help="soundtracks, midlevel, synthetic, folder or another data set of `tenuto data list` "
        "(default: soundtracks, or the preset's).",
        callback=data_set,
    ),
]

Ratings = Annotated[
    str | None, typer.Option(help="folder: CSV of ratings, below --root.", rich_help_panel="Data set folder")
]
IdColumn = Annotated[
    str | None, typer.Option(help="folder: column that names the file.", rich_help_panel="Data set folder")
]
Emotions = Annotated[
    str | None,
    typer.Option(help="folder: columns to predict, comma-separated.", rich_help_panel="Data set folder"),
]
Concepts = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help="signal: proxies computed from the audio; midlevel: human ratings; folder: columns, comma-separated.",
        show_default="what the data set has",
    ),
]
Scale = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="LOW HIGH", help="folder: lowest and highest rating.", rich_help_panel="Data set folder"
    ),
]
AlbumColumn = Annotated[
    str | None, typer.Option(help="folder: column that groups files.", rich_help_panel="Data set folder")
]


def data_settings(
    data: str | None,
    ratings: str | None,
    id_column: str | None,
    emotions: str | None,
    concepts: str | None,
    scale: tuple[float, float] | None,
    album_column: str | None,
) -> dict[str, Any]:
    """The data part of a configuration as far as options gave it."""
    source = concepts if concepts in CONCEPT_SOURCES else None
    table = {
        "ratings": ratings,
        "id_column": id_column,
        "emotions": _names(emotions),
        "concepts": None if source else _names(concepts),
        "scale": scale,
        "album_column": album_column,
    }
    given = {key: value for key, value in table.items() if value is not None}
    return {"dataset": data, "concepts": source, "folder": given or None}


def _names(listed: str | None) -> tuple[str, ...] | None:
    return None if listed is None else tuple(name.strip() for name in listed.split(",") if name.strip())


@contextlib.contextmanager
def audio_warnings() -> Iterator[None]:
    """Inside, warnings about recordings are remarks on stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", AudioWarning)
        warnings.showwarning = lambda message, *_, **__: notes.print(f"Warning: {message}")
        yield


@contextlib.contextmanager
def bar(task: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr for work of ``total`` steps; yields the function that reports steps done."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    count = DownloadColumn() if task == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    # Without a terminal a bar would leave nothing but an empty line in the log.
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as progress:
        number = progress.add_task(task, total=total)
        yield lambda done: progress.advance(number, done)


def prepare_data(config: DataConfig, root: Path, cache: Path | None, workers: int | None = None) -> Prepared:
    """Open a data set and bring its spectrograms (and signal concepts) into memory, with a progress bar."""
    dataset = open_dataset(config, root)
    task = "spectrograms and descriptors" if dataset.signal_concepts else "spectrograms"
    with bar(task, len(dataset.index)) as advance:
        return prepare(dataset, cache, workers, advance)


def print_json(content: Mapping[str, Any]) -> None:
    """Print one line of strict JSON on stdout; what is undefined (NaN) or infinite becomes null."""
    typer.echo(json.dumps(_finite(content), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
