"""Groups of options that several commands share. Each is a dataclass, whose fields are the options."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tenuto.cli.common import Decibels, Epsilon, NormName, Unit, names
from tenuto.config import CONCEPT_SOURCES
from tenuto.errors import ConfigError


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of its groups as options, in place of the parameters that take the groups."""
    groups: dict[str, Any] = {}
    options: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        group: Any = parameter.annotation
        if isinstance(group, type) and dataclasses.is_dataclass(group):
            groups[parameter.name] = group
            options += inspect.signature(group, eval_str=True).parameters.values()
        else:
            options.append(parameter)

    @functools.wraps(command)
    def call(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
        command(**given)

    call.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    call.__annotations__ = {option.name: option.annotation for option in options}
    return call


folder_option = functools.partial(
    typer.Option, rich_help_panel="Data set folder (or write these to tenuto.yaml in the folder)"
)
Ratings = Annotated[str | None, folder_option(help="CSV of ratings, below --root.")]
IdColumn = Annotated[str | None, folder_option(help="Column of file names.")]
AlbumColumn = Annotated[str | None, folder_option(help="Column that groups files.")]


@dataclasses.dataclass(frozen=True)
class Columns:
    """What describes the table of ratings of a folder."""

    ratings: Ratings = None
    id_column: IdColumn = None
    emotions: Annotated[str | None, folder_option(help="Columns to predict, comma-separated.")] = None
    concepts: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="signal: proxies computed from the audio; midlevel: human ratings; folder: columns, comma-separated.",
            show_default="what the data set has",
        ),
    ] = None
    scale: Annotated[
        tuple[float, float] | None, folder_option(metavar="LOW HIGH", help="Lowest and highest rating.")
    ] = None
    album_column: AlbumColumn = None

    def settings(self, data: str | None) -> dict[str, Any]:
        """The settings of a data set as far as options gave them."""
        table = dataclasses.asdict(self) | {"emotions": names(self.emotions)}
        source = table.pop("concepts")
        if source not in CONCEPT_SOURCES:
            table["concepts"], source = names(source), None
        columns_set = {key: value for key, value in table.items() if value is not None}
        return {"dataset": data, "concepts": source, "folder": columns_set or None}


RunsFile = Annotated[
    Path | None,
    typer.Option(help="CSV folder,system,seed of logs other than the 50 released ones."),
]


@dataclasses.dataclass(frozen=True)
class Rows:
    """Which rows are read: those of a study or of released logs, and of which budget."""

    study: Annotated[
        Path | None,
        typer.Argument(help="Folder of a study, or of its runs.", show_default="the released logs"),
    ] = None
    study_option: Annotated[Path | None, typer.Option("--study", hidden=True)] = None
    logs: Annotated[
        Path | None,
        typer.Option(help="Folder of released logs, or a clone of the released repository."),
    ] = None
    runs: RunsFile = None
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Name of the study's protocol.",
            show_default="the released one, where it is unique",
        ),
    ] = None
    epsilon: Epsilon = None
    db: Decibels = None
    norm: NormName = None
    unit: Unit = None

    def chosen(self) -> dict[str, Any]:
        """The arguments of `tenuto.rows`. Raises `ConfigError` where two studies are named."""
        arguments = dataclasses.asdict(self)
        study, option, runs_file = (arguments.pop(name) for name in ("study", "study_option", "runs"))
        if study is not None and option is not None:
            raise ConfigError(f"--study {option}: the study {study} is given already. Leave one of them out.")
        return arguments | {"source": study or option, "runs_file": runs_file}
