"""`tenuto audit`: can a robustness result be trusted?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.errors import ConfigError
from tenuto.store.run import RunFolder

if TYPE_CHECKING:
    from tenuto.config import DataConfig
    from tenuto.evaluation.audit import Data, Finding, Source

COLOURS = {"FAIL": "bold red", "WARN": "yellow", "PASS": "green"}
EXIT_FOUND = 1

Result = Annotated[
    list[Path],
    typer.Argument(
        help="Rows (attacks/PROTOCOL.csv), a run, a study, or a folder of released logs; several at will."
    ),
]
RunsFile = Annotated[
    Path | None,
    typer.Option("--runs", help="CSV folder,system,seed of logs other than the 50 released ones."),
]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        envvar="TENUTO_DATA",
        help="Folder of the data set; with it the model is asked and albums are known.",
    ),
]
DataSet = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME",
        help="For logs and bare rows: soundtracks, midlevel or synthetic.",
        callback=common.data_set,
    ),
]
SplitFile = Annotated[
    Path | None,
    typer.Option("--split", help="CSV clip,split,position, for results that do not hold their split."),
]
Siblings = Annotated[
    list[Path] | None,
    typer.Option("--sibling", help="A run of the same system, for the transfer attack; several at will."),
]
Clips = Annotated[
    int | None,
    typer.Option("--clips", min=1, help="Clips on which the model is examined.", show_default="6"),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for JSON, CSV, Markdown and LaTeX.")]


def audit(
    context: typer.Context,
    result: Result,
    runs: RunsFile = None,
    data: DataSet = None,
    root: Root = None,
    split: SplitFile = None,
    sibling: Siblings = None,
    clips: Clips = None,
    cache: common.Cache = None,
    to: Out = None,
    as_json: common.AsJson = False,
) -> None:
    """Check whether a robustness result can be trusted: PASS, WARN, FAIL or NOT RECORDED, each with its value.

    Exit code 1 where a check fails. docs/audit.md explains every check.

    Example: tenuto audit runs/A2E-6-1a2b3c4d --root soundtracks
    """
    from tenuto.evaluation.audit import audit as run_audit
    from tenuto.evaluation.audit import failed, open_sources
    from tenuto.reporting import verdicts

    sources = open_sources(result, runs)
    source_of_root = context.get_parameter_source("root")
    options = Options(
        data=data,
        root=root,
        root_asked=source_of_root is not None and source_of_root.name == "COMMANDLINE",
        split=split,
        siblings=tuple(sibling or ()),
        clips=clips,
    )
    known = _data(sources, options, cache)
    with _progress() as report:
        findings = run_audit(*sources, data=known, progress=report)
    written = {} if to is None else verdicts.write(findings, to)
    if as_json:
        common.print_json(verdicts.as_json(findings))
    else:
        show(findings)
        out.print(f"{verdicts.summary(findings)}; docs/audit.md explains every check.")
        for path in written.values():
            typer.echo(str(path))
    if failed(findings):
        raise typer.Exit(EXIT_FOUND)


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line says of the data; ``root_asked`` tells --root from the variable TENUTO_DATA."""

    data: str | None
    root: Path | None
    root_asked: bool
    split: Path | None
    siblings: tuple[Path, ...]
    clips: int | None


def _data(sources: Sequence[Source], options: Options, cache: Path | None) -> Data:
    """What the options say of the data: runs know their data set, logs and bare rows have to be told."""
    from tenuto.config import DataConfig
    from tenuto.data import open_dataset
    from tenuto.data.splits import read_split
    from tenuto.evaluation.audit import Data

    folders = [folder for source in sources for folder in source.folders.values()]
    _require_fitting(options, folders, all(source.folders for source in sources))
    given = Data(split=None if options.split is None else read_split(options.split))
    if options.root is None:
        return given
    if folders:
        _require_kin(options.siblings, folders)
        prepared = common.prepare_data(_one_data_set(folders), options.root, cache)
        clips = given.clips if options.clips is None else options.clips
        return dataclasses.replace(given, prepared=prepared, siblings=options.siblings, clips=clips)
    if options.data is None:
        return given
    config = DataConfig(dataset=options.data)
    index = open_dataset(config, options.root).index
    return dataclasses.replace(given, index=index, config=config)


def _require_fitting(options: Options, folders: Sequence[Path], only_runs: bool) -> None:
    """Raise `ConfigError` for options that would have no effect on such results."""
    if not folders:
        _require_no_model(options)
    elif options.data is not None:
        raise ConfigError(f"--data {options.data}: a run knows its data set. Leave out --data.")
    elif only_runs and options.split and all((folder / "split.csv").is_file() for folder in folders):
        raise ConfigError(f"--split {options.split}: the runs hold their split. Leave out --split.")
    if options.root is not None and (folders or options.data is not None):
        return
    if options.siblings or options.clips is not None:
        raise ConfigError("--sibling and --clips need the data to ask the model. Add --root DIR.")
    if options.split is not None:
        how = "--root" if folders else "--data and --root"
        raise ConfigError(f"--split {options.split}: says nothing without the data. Add {how}.")


def _require_no_model(options: Options) -> None:
    """The same for logs and bare rows, which have to be told their data and bring no model."""
    if options.data == "folder":
        raise ConfigError(
            "--data folder: rows alone do not record the columns of the ratings. Audit the run folder instead, with "
            "--root and without --data; its config.yaml has them."
        )
    if options.data is not None and options.root is None:
        raise ConfigError(f"--data {options.data}: where does it lie? Add --root DIR.")
    if options.data is None and options.root_asked:
        raise ConfigError(
            f"--root {options.root}: rows alone do not record their data set. Add --data NAME (soundtracks, midlevel "
            "or synthetic); for another data set audit the run folder, whose config.yaml has its columns."
        )
    if options.siblings or options.clips is not None:
        raise ConfigError(
            "--sibling and --clips are for models, and no run is among the results. Name a run."
        )


def _require_kin(siblings: Sequence[Path], folders: Sequence[Path]) -> None:
    """Raise `ConfigError` for a sibling that no run can use: transfer is asked within a system."""

    systems = {RunFolder(folder).read_config().system for folder in folders}
    for sibling in siblings:
        if (system := RunFolder(sibling).read_config().system) not in systems:
            raise ConfigError(
                f"--sibling {sibling}: is of the system {system}; the results are of {', '.join(sorted(systems))}."
            )


def _one_data_set(folders: Sequence[Path]) -> DataConfig:
    """The data settings of runs of one data set. Raises `ConfigError` where there are several."""

    first = RunFolder(folders[0]).read_config().data
    for folder in folders[1:]:
        other = RunFolder(folder).read_config().data
        if (other.dataset, other.folder, other.concepts) != (first.dataset, first.folder, first.concepts):
            raise ConfigError(
                f"{folder} was trained on {other.dataset}, {folders[0]} on {first.dataset}, with other files, "
                "columns or concepts: --root names one data set. Audit their runs one data set at a time."
            )
    return first


@contextmanager
def _progress() -> Iterator[Any]:
    """One progress bar per examined run, on stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bars:
        tasks: dict[tuple[str, int], Any] = {}

        def report(run: str, done: int, total: int) -> None:
            if (run, total) not in tasks:
                tasks[run, total] = bars.add_task(run, total=total)
            bars.advance(tasks[run, total], done)

        yield report


def show(findings: Sequence[Finding]) -> None:
    """Print a table per source: check, verdict, value, threshold, result; below, what is not recorded."""
    from tenuto.reporting.verdicts import number

    for source in dict.fromkeys(finding.source for finding in findings):
        own = [finding for finding in findings if finding.source == source]
        table = Table(title=escape(f"Audit of {source}"), title_justify="left")
        for heading in ("verdict", "check"):
            table.add_column(heading, no_wrap=True)
        for heading in ("value", "threshold"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("result", min_width=30)
        for finding in own:
            if (verdict := str(finding.verdict)) in COLOURS:
                numbers = (number(finding.value), number(finding.threshold))
                word = f"[{COLOURS[verdict]}]{verdict}[/]"
                table.add_row(word, finding.check, *numbers, escape(finding.sentence))
        out.print(table)
        reasons = [finding for finding in own if str(finding.verdict) not in COLOURS]
        for reason in dict.fromkeys(finding.sentence for finding in reasons):
            checks = ", ".join(finding.check for finding in reasons if finding.sentence == reason)
            out.print(f"NOT RECORDED  {checks}: {escape(reason)}", soft_wrap=False)
