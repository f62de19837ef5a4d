"""`tenuto audit`: does a robustness figure deserve belief?"""

from __future__ import annotations

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

if TYPE_CHECKING:
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
    common.DataName | None,
    typer.Option(
        "--data", metavar="NAME", help="For logs and bare rows: soundtracks, midlevel or synthetic."
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
Clips = Annotated[int, typer.Option("--clips", min=1, help="Clips on which the model is examined.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for JSON, CSV, Markdown and LaTeX.")]


def audit(
    result: Result,
    runs: RunsFile = None,
    data: DataSet = None,
    root: Root = None,
    split: SplitFile = None,
    sibling: Siblings = None,
    clips: Clips = 6,
    cache: common.Cache = None,
    to: Out = None,
    as_json: common.AsJson = False,
) -> None:
    """Check whether a robustness figure deserves belief: PASS, WARN, FAIL or NOT RECORDED, each with its figure.

    Exit code 1 where a check fails. What every check measures is told in docs/audit.md.

    Example: tenuto audit runs/A2E-6-1a2b3c4d --root soundtracks
    """
    from tenuto.evaluation.audit import audit as run_audit
    from tenuto.evaluation.audit import failed
    from tenuto.reporting import verdicts

    sources = verdicts.open_sources(result, runs)
    known = _data(sources, data, root, split, cache, tuple(sibling or ()), clips)
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


def _data(
    sources: Sequence[Source],
    name: common.DataName | None,
    root: Path | None,
    split: Path | None,
    cache: Path | None,
    siblings: tuple[Path, ...],
    clips: int,
) -> Data:
    """What the options say of the data: runs know their data set, logs and bare rows have to be told."""
    from tenuto.config import DataConfig
    from tenuto.data import open_dataset
    from tenuto.data.splits import read_split
    from tenuto.evaluation.audit import Data

    folders = [folder for source in sources for folder in source.folders.values()]
    given = None if split is None else read_split(split)
    if root is None and name is not None:
        raise ConfigError(f"--data {name}: where does it lie? Add --root DIR.")
    if name == common.DataName.folder:
        raise ConfigError(
            "--data folder: only a run knows the columns of its folder. Name the run, without --data."
        )
    if root is not None and folders:
        from tenuto.evaluation.runs import read_config

        prepared = common.prepare_data(read_config(folders[0]).data, root, cache)
        return Data(split=given, prepared=prepared, siblings=siblings, clips=clips)
    if root is not None and name is not None:
        index = open_dataset(DataConfig(dataset=name.value), root).index
        return Data(index=index, split=given, clips=clips)
    return Data(split=given, siblings=siblings, clips=clips)


@contextmanager
def _progress() -> Iterator[Any]:
    """One progress bar per examined run, on stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def report(run: str, done: int, total: int) -> None:
            if run not in tasks:
                tasks[run] = bars.add_task(run, total=total)
            bars.advance(tasks[run], done)

        yield report


def show(findings: Sequence[Finding]) -> None:
    """Print a table per source: check, verdict, figure, threshold, what was found; below, what is not recorded."""
    from tenuto.reporting.verdicts import number

    for source in dict.fromkeys(finding.source for finding in findings):
        own = [finding for finding in findings if finding.source == source]
        table = Table(title=escape(f"Audit of {source}"), title_justify="left")
        for heading in ("verdict", "check"):
            table.add_column(heading, no_wrap=True)
        for heading in ("figure", "threshold"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("found", min_width=30)
        for finding in own:
            if (verdict := str(finding.verdict)) in COLOURS:
                numbers = (number(finding.figure), number(finding.threshold))
                word = f"[{COLOURS[verdict]}]{verdict}[/]"
                table.add_row(word, finding.check, *numbers, escape(finding.sentence))
        out.print(table)
        reasons = [finding for finding in own if str(finding.verdict) not in COLOURS]
        for reason in dict.fromkeys(finding.sentence for finding in reasons):
            checks = ", ".join(finding.check for finding in reasons if finding.sentence == reason)
            out.print(f"NOT RECORDED  {checks}: {escape(reason)}", soft_wrap=False)
