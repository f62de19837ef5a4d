"""All commands, grouped by purpose; an error becomes one sentence and an exit code."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from tenuto.cli import (
    EXIT_STOPPED,
    adopt,
    attack,
    audit,
    curve,
    data,
    demo,
    evaluate,
    explain,
    intervene,
    natural,
    paper,
    predict,
    report,
    show,
    stats,
    study,
    train,
)
from tenuto.cli.common import notes
from tenuto.errors import AudioWarning, FolderWarning, RandomModelWarning, TenutoError

EXIT_BAD_INPUT = 2
REPRODUCE, DATA, ROBUSTNESS, MODEL = (
    "Reproduce",
    "Data and training",
    "Attack and judge",
    "Look inside a model",
)
PARAMETERS = {
    "source": "STUDY",
    "dataset": "--data",
    "siblings": "--sibling",
    "runs_file": "--runs",
    "hop_seconds": "--hop",
}
"""Parameters of the library whose options have another name."""


class Commands(TyperGroup):
    """All commands; an error that a command raises on purpose becomes one sentence on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the named command."""
        with warnings.catch_warnings():
            for category in (AudioWarning, FolderWarning, RandomModelWarning):
                warnings.simplefilter("always", category)
            warnings.showwarning = _show_warning(warnings.showwarning)
            try:
                return super().invoke(ctx)
            except TenutoError as error:
                typer.echo(f"error: {with_options(str(error))}", err=True)
                raise typer.Exit(EXIT_BAD_INPUT) from error
            except KeyboardInterrupt as error:  # here, because Typer would end without a word
                typer.echo("stopped; run the same command again to go on.", err=True)
                raise typer.Exit(EXIT_STOPPED) from error


def _show_warning(others: Callable[..., None]) -> Callable[..., None]:
    """What prints Tenuto's warnings as a line on stderr, and all others as Python does."""

    def show(message: Warning | str, category: type[Warning], *args: Any, **options: Any) -> None:
        if category.__module__ == "tenuto.errors":
            notes.print(f"warning: {with_options(' '.join(str(message).split()))}")
        else:
            others(message, category, *args, **options)

    return show


def with_options(message: str) -> str:
    """A message of the library, in which parameters become options: those in backticks, and "NAME must" at its start.

    >>> with_options("batch_size must be at least 1, got 0.")
    '--batch-size must be at least 1, got 0.'
    """
    return re.sub(
        r"`(\w+)`|^(\w+)(?= must )", lambda match: _options().get(match[1] or match[2], match[0]), message
    )


@functools.cache
def _options() -> dict[str, str]:
    """Parameter -> option, of all commands."""
    names = (
        name
        for command in _leaves(typer.main.get_command(app))
        for option in command.params
        for name in option.opts
    )
    return {name[2:].replace("-", "_"): name for name in names if name.startswith("--")} | PARAMETERS


def _leaves(command: Any) -> Iterator[Any]:
    for below in getattr(command, "commands", {}).values():
        yield from _leaves(below)
    if not hasattr(command, "commands"):
        yield command


app = typer.Typer(
    name="tenuto",
    cls=Commands,
    help="Adversarial robustness of music-emotion recognition: reproduce, attack, audit.",
    epilog="Exit code: 0 done, 1 a check or a run failed, 2 bad input.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo", rich_help_panel=REPRODUCE)(demo.demo)
app.add_typer(paper.app, name="paper", rich_help_panel=REPRODUCE)
app.add_typer(study.app, name="study", rich_help_panel=REPRODUCE)
app.command("report", rich_help_panel=REPRODUCE)(report.report)
app.add_typer(data.app, name="data", rich_help_panel=DATA)
app.command("prepare", rich_help_panel=DATA)(data.prepare)
app.command("train", rich_help_panel=DATA)(train.train)
app.command("adopt", rich_help_panel=DATA)(adopt.adopt)
app.command("import-reference", rich_help_panel=DATA)(train.import_reference)
app.command("attack", rich_help_panel=ROBUSTNESS)(attack.attack)
app.command("natural", rich_help_panel=ROBUSTNESS)(natural.natural)
app.command("curve", rich_help_panel=ROBUSTNESS)(curve.curve)
app.command("stats", rich_help_panel=ROBUSTNESS)(stats.stats)
app.command("audit", rich_help_panel=ROBUSTNESS)(audit.audit)
app.command("predict", rich_help_panel=MODEL)(predict.predict)
app.command("evaluate", rich_help_panel=MODEL)(evaluate.evaluate)
app.command("explain", rich_help_panel=MODEL)(explain.explain)
app.command("intervene", rich_help_panel=MODEL)(intervene.intervene)
app.command("show", rich_help_panel=MODEL)(show.show)


def _version(requested: bool) -> None:
    if requested:
        from tenuto import __version__

        typer.echo(f"tenuto {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Adversarial robustness of music-emotion recognition: reproduce, attack, audit."""
