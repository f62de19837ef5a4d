"""`tenuto paper`: the study's tables and figures from released logs or from own runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from tenuto.cli.common import notes, out
from tenuto.errors import ConfigError

app = typer.Typer(
    help="The SMC 2025 paper's tables and figures, from the released logs (--logs) or own runs (--study).",
    no_args_is_help=True,
)

Logs = Annotated[
    Path | None,
    typer.Option("--logs", help="Folder of released logs, or a clone of the released repository."),
]
RunsFile = Annotated[
    Path | None,
    typer.Option("--runs", help="CSV folder,system,seed of logs other than the 50 released ones."),
]
Study = Annotated[Path | None, typer.Option("--study", help="Folder of a study of Tenuto's, or of its runs.")]
ProtocolName = Annotated[
    str | None,
    typer.Option(
        "--protocol", help="With --study: whose rows.", show_default="the released one, where it is unique"
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the files.")]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Whose predictions Figure 4 shows.", show_default="21, or the smallest"),
]
Emotions = Annotated[
    str | None,
    typer.Option("--emotions", help="Rows of Figure 4, comma-separated.", show_default="tension,tender"),
]
HERE = Path("paper")


def source_rows(
    logs: Path | None, runs: Path | None, study: Path | None, protocol: str | None
) -> pd.DataFrame:
    """Rows from wherever the options point."""
    from tenuto.store.released_logs import read_logs
    from tenuto.store.study import read_study

    if (logs is None) == (study is None):
        raise ConfigError("wanted either --logs DIR (released logs) or --study DIR (own runs), one of them.")
    if study is None and protocol is not None:
        raise ConfigError("--protocol belongs to --study; released logs hold one protocol. Leave it out.")
    if logs is None and runs is not None:
        raise ConfigError(
            "--runs belongs to --logs; own runs say themselves which system they are. Leave it out."
        )
    return read_logs(logs, runs) if logs is not None else read_study(study or Path(), protocol)


def shows_paper(logs: Path | None, study: Path | None) -> bool:
    """Whether results are of the paper's data: the released logs, or runs that were trained on it."""
    from tenuto.analysis.systems import is_paper_data
    from tenuto.store.study import StudyFolder

    if logs is not None or study is None:
        return logs is not None
    return all(
        run.config.is_file() and is_paper_data(run.read_config().data) for run in StudyFolder(study).runs()
    )


def _emotions(listed: str | None) -> Sequence[str] | None:
    return None if listed is None else [name.strip() for name in listed.split(",") if name.strip()]


def _say(rows: pd.DataFrame, written: Mapping[str, Path], seed: int | None = None) -> None:
    from tenuto.analysis.smc2025 import remarks

    for remark in remarks(rows, seed):
        notes.print(remark)
    for path in written.values():
        typer.echo(str(path))


def text_table(shown: pd.DataFrame, title: str) -> Table:
    """A table of text cells for the terminal; groups are set apart."""
    printed = shown.drop(columns="group")
    table = Table(title=title, title_justify="left")
    for position, name in enumerate(printed.columns):
        words = position < 2  # may wrap in a narrow terminal; numbers may not
        table.add_column(
            name,
            justify="right" if position else "left",
            no_wrap=not words,
            min_width=len("against") if words else None,
        )
    for position, line in enumerate(printed.itertuples(index=False)):
        if position and shown["group"].iloc[position] != shown["group"].iloc[position - 1]:
            table.add_section()
        table.add_row(*(escape(str(cell)) for cell in line))
    return table


def _print(table: Table) -> None:
    """Print a table as wide as its numbers need: a narrower terminal breaks its lines, no digit is cut."""
    needed = Measurement.get(out, out.options.update_width(1000), table).minimum
    if out.width < needed:
        table.width = needed
    out.print(table)


def show_table1(rows: pd.DataFrame, paper_data: bool = False) -> None:
    """Print Table 1, with the paper's values where the data are the paper's."""
    from tenuto.analysis import smc2025
    from tenuto.analysis.systems import selection
    from tenuto.reporting import tables

    table = smc2025.table1(rows, paper_data)
    _print(text_table(tables.show_table1(table), "Table 1"))
    out.print(tables.caption_table1(selection(rows), paper_data), soft_wrap=False)


def show_significance(rows: pd.DataFrame, paper_data: bool = False) -> None:
    """Print the t-tests."""
    from tenuto.analysis import smc2025
    from tenuto.analysis.systems import selection
    from tenuto.reporting import tables

    found = smc2025.significance(rows, paper_data)
    if found.empty:
        out.print("No t-test: the systems of the published comparisons share no seeds and clips.")
        return
    _print(text_table(tables.show_significance(found), "Paired t-tests"))
    out.print(tables.caption_significance(selection(rows), paper_data), soft_wrap=False)


def show(rows: pd.DataFrame, paper_data: bool = False) -> None:
    """Print Table 1 and the t-tests."""
    show_table1(rows, paper_data)
    show_significance(rows, paper_data)


@app.command()
def table1(
    logs: Logs = None,
    runs: RunsFile = None,
    study: Study = None,
    protocol: ProtocolName = None,
    to: Out = HERE,
) -> None:
    """Table 1: correlation and MAE on clean test clips; CSV, Markdown, LaTeX.

    Example: tenuto paper table1 --logs robustness_mer_bottleneck --out paper
    """
    from tenuto.reporting.paper import write_table1

    rows = source_rows(logs, runs, study, protocol)
    written = write_table1(rows, to, shows_paper(logs, study))
    show_table1(rows, shows_paper(logs, study))
    _say(rows, written)


@app.command()
def significance(
    logs: Logs = None,
    runs: RunsFile = None,
    study: Study = None,
    protocol: ProtocolName = None,
    to: Out = HERE,
) -> None:
    """The paired t-tests of A2E and A2B2E against A2M2E; CSV, Markdown, LaTeX.

    Example: tenuto paper significance --logs robustness_mer_bottleneck --out paper
    """
    from tenuto.reporting.paper import write_significance

    rows = source_rows(logs, runs, study, protocol)
    written = write_significance(rows, to, shows_paper(logs, study))
    show_significance(rows, shows_paper(logs, study))
    _say(rows, written)


@app.command()
def figure3(
    logs: Logs = None,
    runs: RunsFile = None,
    study: Study = None,
    protocol: ProtocolName = None,
    to: Out = HERE,
) -> None:
    """Figure 3: how much error the attack adds, per system; PNG and PDF.

    Example: tenuto paper figure3 --study demo --out demo/paper
    """
    from tenuto.reporting.paper import write_figure3

    rows = source_rows(logs, runs, study, protocol)
    _say(rows, write_figure3(rows, to))


@app.command()
def figure4(
    logs: Logs = None,
    runs: RunsFile = None,
    study: Study = None,
    protocol: ProtocolName = None,
    to: Out = HERE,
    seed: Seed = None,
    emotions: Emotions = None,
) -> None:
    """Figure 4: predictions over annotations, clean and attacked, of one seed; PNG and PDF.

    Example: tenuto paper figure4 --logs robustness_mer_bottleneck --seed 42 --emotions anger,happy
    """
    from tenuto.reporting.paper import write_figure4

    rows = source_rows(logs, runs, study, protocol)
    _say(rows, write_figure4(rows, to, seed, _emotions(emotions)), seed)


@app.command("all")
def everything(
    logs: Logs = None,
    runs: RunsFile = None,
    study: Study = None,
    protocol: ProtocolName = None,
    to: Out = HERE,
    seed: Seed = None,
    emotions: Emotions = None,
) -> None:
    """Every table and figure, and the metrics of every run.

    Example: tenuto paper all --logs robustness_mer_bottleneck --out paper
    """
    from tenuto.reporting.paper import write_all

    rows = source_rows(logs, runs, study, protocol)
    written = write_all(rows, to, seed, _emotions(emotions), shows_paper(logs, study))
    show(rows, shows_paper(logs, study))
    _say(rows, written, seed)
