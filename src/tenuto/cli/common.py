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
from rich.segment import Segment

from tenuto.api.progress import Progress
from tenuto.cli.options import with_options
from tenuto.config import SPLITS
from tenuto.data import DATASETS
from tenuto.devices import require
from tenuto.errors import ConfigError, printable
from tenuto.store.location import is_recording, locate_model, pretrained_models

NARROWEST = 80
"""Columns that every terminal is expected to have. In a narrower one the lines of tables wrap, and no number is cut."""


class Screen(Console):
    """A console whose width is that of ``$COLUMNS``, else of the terminal. Its texts name options, not parameters."""

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:
        """Columns, of results at least `NARROWEST`, and lines."""
        width = os.environ.get("COLUMNS", "")
        columns, lines = (int(width), 25) if width.isdecimal() and int(width) > 0 else super().size
        least = 1 if self.stderr else NARROWEST  # what moves on a terminal must fit it
        return ConsoleDimensions(max(columns, least), lines)

    def render(self, *arguments: Any, **settings: Any) -> Iterator[Segment]:
        """Segments of what is printed; what a name in a file would tell the terminal is shown as text."""
        for segment in super().render(*arguments, **settings):
            text = segment.text if segment.control else printable(segment.text, exceptions="\n")
            yield segment._replace(text=text)

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print texts, with options in place of the library's parameters, and tables as they are."""
        super().print(*(with_options(one) if isinstance(one, str) else one for one in objects), **settings)


out = Screen(highlight=False, soft_wrap=True, emoji=False)
"""Results."""

notes = Screen(stderr=True, highlight=False, soft_wrap=True, emoji=False, markup=False)
"""Progress and remarks, kept apart from results."""

SPLIT_HELP = f"Split: {', '.join(SPLITS)}, group:NAME, official:NAME, or a CSV with clip,split."

PartName = StrEnum("PartName", ["train", "validation", "test"])
Part = Annotated[PartName, typer.Option(metavar="PART", help=f"Part of the split: {', '.join(PartName)}.")]


def data_set(name: str | None) -> str | None:
    """The name of a registered data set, or None. Raises `ConfigError` for an unknown name."""
    if name is not None:
        DATASETS[name]
    return name


Root = Annotated[Path, typer.Option(envvar="TENUTO_DATA", help="Folder of the data set.", show_default=False)]
RunRoot = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the data set, else TENUTO_DATA.",
        show_default="the corpus of the run's study",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Folder of spectrograms, else TENUTO_CACHE.",
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
        metavar="NAME",
        help="Another data set to judge the run on: one of `tenuto data list`, in --root.",
        show_default="the data of the run",
        callback=data_set,
    ),
]
Device = Annotated[str, typer.Option(help="cpu or cuda.", callback=require)]
PrecisionName = StrEnum("PrecisionName", ["auto", "float32", "bfloat16", "tf32"])
TrainPrecision = Annotated[
    PrecisionName | None,
    typer.Option(
        metavar="NAME",
        help="Precision of updates and training attacks: float32, bfloat16, tf32 (on a GPU), or auto: bfloat16 where "
        "the processor supports it natively.",
        show_default="float32, or the preset's",
    ),
]
Log = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Where to report every step, or epoch of training: tensorboard, wandb, mlflow or none.",
    ),
]
DomainName = StrEnum("DomainName", ["waveform", "spectrogram"])
Domain = Annotated[
    DomainName | None,
    typer.Option(
        metavar="NAME",
        help="What is perturbed: waveform or spectrogram.",
        show_default="what the budget is for, else what the model takes",
    ),
]
Recordings = Annotated[
    list[str],
    typer.Argument(
        metavar="[run] audio",
        help="Audio files (mp3, ogg, opus, flac, wav, aiff); before them a run, an exported model or a checkpoint in "
        "place of the pretrained model.",
        show_default=False,
    ),
]
Runs = Annotated[Path, typer.Option(envvar="TENUTO_RUNS", help="Folder of all runs.")]
Unit = Annotated[
    str | None,
    typer.Option(
        help="Unit of epsilon, or its beginning, where runs have several.",
        show_default=False,
    ),
]
NormName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Norm of the budgets, such as snr or masked, where a protocol has several.",
        show_default=False,
    ),
]
Epsilon = Annotated[
    float | None,
    typer.Option(
        help="Budget, of a protocol with several; each clip's worst case.",
        show_default="the only one",
    ),
]
Decibels = Annotated[
    float | None,
    typer.Option(
        help="Budget in dB: a signal-to-noise ratio or a noise-to-mask ratio.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="soundtracks, midlevel, synthetic, folder or another data set of `tenuto data list` "
        "(default: soundtracks, or the preset's).",
        callback=data_set,
    ),
]


def names(listed: str | None) -> tuple[str, ...] | None:
    """The names in a list with commas."""
    return None if listed is None else tuple(name.strip() for name in listed.split(",") if name.strip())


def model_and_recordings(words: list[str], default: str) -> tuple[str, list[Path]]:
    """The model and the recordings among the arguments ``[run] audio...``; without a model the pretrained one.

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

    @contextlib.contextmanager
    def bar(self, task: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A progress bar for work of ``total`` steps; yields the function that reports steps done."""
        from rich import progress

        count = progress.DownloadColumn() if task == "bytes" else progress.MofNCompleteColumn()
        text = progress.TextColumn("{task.description}")
        columns = (text, progress.BarColumn(), count, progress.TimeRemainingColumn())
        # Without a terminal a bar would leave nothing but an empty line in the log.
        with progress.Progress(
            *columns, console=notes, transient=True, disable=not notes.is_terminal
        ) as progress_bar:
            number = progress_bar.add_task(task, total=total)
            yield lambda done: progress_bar.advance(number, done)

    def note(self, sentence: str) -> None:
        """A line."""
        notes.print(sentence)


TERMINAL = Terminal()


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
