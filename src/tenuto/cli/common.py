"""What several commands share: options with their help, progress bars, opening data."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleDimensions

from tenuto.api.datasets import prepare
from tenuto.api.progress import Bar, Progress
from tenuto.cli.options import with_options
from tenuto.config import CONCEPT_SOURCES, SPLITS, DataConfig
from tenuto.data import DATASETS, Prepared
from tenuto.devices import require
from tenuto.errors import ConfigError
from tenuto.store.location import is_recording, locate_model, pretrained_models


class Screen(Console):
    """A console whose width is that of ``$COLUMNS``, else of the terminal. Its texts name options, not parameters."""

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:
        """Columns and lines."""
        columns = os.environ.get("COLUMNS", "")
        if columns.isdecimal() and int(columns) > 0:
            return ConsoleDimensions(int(columns), 25)
        return super().size

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print texts, with options in place of the library's parameters, and tables as they are."""
        super().print(*(with_options(one) if isinstance(one, str) else one for one in objects), **settings)


out = Screen(highlight=False, soft_wrap=True, emoji=False)
"""Results."""

notes = Screen(stderr=True, highlight=False, soft_wrap=True, emoji=False, markup=False)
"""Progress and remarks, kept apart from results."""

SPLIT_HELP = f"Split: {', '.join(SPLITS)}, group:NAME, official:NAME, or a CSV with clip,split."

PartName = StrEnum("PartName", ["train", "validation", "test"])


def data_set(name: str | None) -> str | None:
    """The name of a registered data set, or None. Raises `ConfigError` for an unknown name."""
    if name is not None:
        DATASETS[name]
    return name


Root = Annotated[
    Path, typer.Option("--root", envvar="TENUTO_DATA", help="Folder of the data set.", show_default=False)
]
RunRoot = Annotated[
    Path | None,
    typer.Option(
        "--root",
        help="Folder of the data set. [env var: TENUTO_DATA]",
        show_default="the corpus of the run's study",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Folder of spectrograms. [env var: TENUTO_CACHE]",
        show_default="that of the run's study, else the user's cache",
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Execute code of your own or of an adopted run, and remember that you trust it."
    ),
]
OtherData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME",
        help="Another data set to judge the run on: one of `tenuto data list`, in --root.",
        show_default="the data of the run",
        callback=data_set,
    ),
]
Device = Annotated[str, typer.Option("--device", help="cpu or cuda.", callback=require)]
PrecisionName = StrEnum("PrecisionName", ["auto", "float32", "bfloat16", "tf32"])
TrainPrecision = Annotated[
    PrecisionName | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="Precision of updates and training attacks: float32, bfloat16, tf32 (on a GPU), or auto: bfloat16 where "
        "the processor supports it natively.",
        show_default="float32, or the preset's",
    ),
]
Log = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="NAME",
        help="Where to report every step: tensorboard, wandb or mlflow.",
    ),
]
DomainName = StrEnum("DomainName", ["waveform", "spectrogram"])
Domain = Annotated[
    DomainName | None,
    typer.Option(
        "--domain",
        metavar="NAME",
        help="What is perturbed: waveform or spectrogram.",
        show_default="what the budget is for, else what the model takes",
    ),
]
Recordings = Annotated[
    list[str],
    typer.Argument(
        metavar="[RUN] AUDIO...",
        help="mp3, ogg, flac or wav files; before them a run, an exported model or a checkpoint in place of the "
        "pretrained model.",
        show_default=False,
    ),
]
Runs = Annotated[Path, typer.Option("--runs", envvar="TENUTO_RUNS", help="Folder of all runs.")]
Unit = Annotated[
    str | None,
    typer.Option(
        "--unit",
        help="Unit of epsilon, or its beginning, where runs have several.",
        show_default=False,
    ),
]
NormName = Annotated[
    str | None,
    typer.Option(
        "--norm",
        metavar="NAME",
        help="Norm of the budgets, such as snr or masked, where a protocol has several.",
        show_default=False,
    ),
]
Epsilon = Annotated[
    float | None,
    typer.Option(
        "--epsilon",
        help="Budget, of a protocol with several; each clip's worst case.",
        show_default="the only one",
    ),
]
Decibels = Annotated[
    float | None,
    typer.Option(
        "--db",
        help="The same in dB, of a signal-to-noise ratio or a noise-to-mask ratio.",
        show_default=False,
    ),
]
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

FOLDER_PANEL = "Data set folder (or write these to tenuto.yaml in the folder)"
Ratings = Annotated[
    str | None, typer.Option(help="CSV of ratings, below --root.", rich_help_panel=FOLDER_PANEL)
]
IdColumn = Annotated[str | None, typer.Option(help="Column of file names.", rich_help_panel=FOLDER_PANEL)]
Emotions = Annotated[
    str | None, typer.Option(help="Columns to predict, comma-separated.", rich_help_panel=FOLDER_PANEL)
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
    typer.Option(metavar="LOW HIGH", help="Lowest and highest rating.", rich_help_panel=FOLDER_PANEL),
]
AlbumColumn = Annotated[
    str | None, typer.Option(help="Column that groups files.", rich_help_panel=FOLDER_PANEL)
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


def model_and_recordings(words: list[str], default: str) -> tuple[str, list[Path]]:
    """The model and the recordings among the arguments ``[RUN] AUDIO...``; without a model the pretrained one.

    Raises:
        ConfigError: A model alone.
        CheckpointError: No such model.
    """
    first, *others = words
    if is_recording(first):
        if default not in pretrained_models():
            raise ConfigError(
                f"{default}: this pretrained model is not part of this installation. Name a run before "
                f"{first}."
            )
        notes.print(f"{default}: the pretrained model")
        return default, [Path(word) for word in words]
    if not others:
        locate_model(first)
        raise ConfigError(f"{first}: is a model. Name a recording after it, such as song.mp3.")
    return first, [Path(word) for word in others]


def one_recording(files: list[Path]) -> Path:
    """The only recording. Raises `ConfigError` for several."""
    if len(files) > 1:
        raise ConfigError(f"{', '.join(map(str, files))}: name one recording at a time.")
    return files[0]


class Terminal(Progress):
    """Progress bars and notes on standard error."""

    def bar(self, task: str, total: int | None) -> Bar:
        """A progress bar."""
        return bar(task, total)

    def note(self, sentence: str) -> None:
        """A line."""
        notes.print(sentence)


TERMINAL = Terminal()


def prepare_data(config: DataConfig, root: Path, cache: Path | None, workers: int | None = None) -> Prepared:
    """Open a data set and read or compute its spectrograms (and signal concepts), with a progress bar."""
    return prepare(root, config, cache=cache, workers=workers, progress=TERMINAL)


def print_paths(paths: Iterable[Path]) -> None:
    """Print the names of written files, one a line, as they are."""
    for path in paths:
        typer.echo(str(path))


def print_json(content: Mapping[str, Any]) -> None:
    """Print one line of strict JSON on stdout; what is undefined (NaN) or infinite becomes null."""
    typer.echo(json.dumps(_finite(content), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
