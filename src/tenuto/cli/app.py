"""All commands, grouped by purpose; an error becomes one sentence and an exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from tenuto.cli import (
    EXIT_STOPPED,
    adopt,
    attack,
    attribute,
    audit,
    certify,
    curve,
    data,
    demo,
    evaluate,
    explain,
    export,
    intervene,
    leakage,
    natural,
    paper,
    predict,
    report,
    show,
    stats,
    study,
    train,
    universal,
)
from tenuto.cli.common import notes
from tenuto.cli.options import APPS, with_options
from tenuto.errors import TenutoError, one_line, warnings_to

EXIT_BAD_INPUT = 2
REPRODUCE, DATA, ROBUSTNESS, MODEL = (
    "Reproduce",
    "Data and training",
    "Attack and evaluate",
    "Inspect a model",
)


USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""What Typer raises for a wrong command line; it has no public name."""


@contextmanager
def _usage_in_a_sentence() -> Iterator[None]:
    """Print one line for a wrong command line, which a terminal wraps and a program reads, in place of Typer's box."""
    try:
        yield
    except USAGE_ERROR as error:
        message = error.format_message()
        if not message:  # a group of commands without a command, whose help is already printed
            raise
        message = message.replace("Input should be", "must be").replace("Value error, ", "").rstrip(".")
        help_of = f" See {error.ctx.command_path} --help." if error.ctx else ""
        sentence = f"{message[:1].lower()}{message[1:]}{'' if message.endswith('?') else '.'}{help_of}"
        typer.echo(f"error: {one_line(sentence, len(sentence))}", err=True)
        raise typer.Exit(EXIT_BAD_INPUT) from error


def _each_once() -> Callable[[Warning], None]:
    """What prints a warning, unless it has printed the same one: some commands read the same files again."""
    printed: set[str] = set()

    def show(warning: Warning) -> None:
        text = " ".join(str(warning).split())
        if text not in printed:
            printed.add(text)
            notes.print(f"warning: {text}")

    return show


class Commands(TyperGroup):
    """All commands; an error that a command raises on purpose becomes one sentence on stderr and an exit code."""

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """Parse the options that stand before a command."""
        with _usage_in_a_sentence():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Run the named command."""
        with (
            warnings_to(_each_once()),
            _usage_in_a_sentence(),
        ):
            try:
                return super().invoke(ctx)
            except TenutoError as error:
                sentence = with_options(str(error), ctx.invoked_subcommand)
                typer.echo(f"error: {one_line(sentence, len(sentence))}", err=True)
                raise typer.Exit(EXIT_BAD_INPUT) from error
            except KeyboardInterrupt as error:  # here, because Typer would end without a word
                typer.echo("stopped; run the same command again to continue.", err=True)
                raise typer.Exit(EXIT_STOPPED) from error


app = typer.Typer(
    name="tenuto",
    cls=Commands,
    help="Adversarial robustness of music-emotion recognition: reproduce, attack, audit.",
    epilog="Exit code: 0 done, 1 a check or a run failed, 2 bad input, 3 stopped by a time limit, 130 by Ctrl-C.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
APPS.append(app)
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
app.command("universal", rich_help_panel=ROBUSTNESS)(universal.universal)
app.command("certify", rich_help_panel=ROBUSTNESS)(certify.certify)
app.command("natural", rich_help_panel=ROBUSTNESS)(natural.natural)
app.command("curve", rich_help_panel=ROBUSTNESS)(curve.curve)
app.command("stats", rich_help_panel=ROBUSTNESS)(stats.stats)
app.command("audit", rich_help_panel=ROBUSTNESS)(audit.audit)
app.command("predict", rich_help_panel=MODEL)(predict.predict)
app.command("evaluate", rich_help_panel=MODEL)(evaluate.evaluate)
app.command("explain", rich_help_panel=MODEL)(explain.explain)
app.command("intervene", rich_help_panel=MODEL)(intervene.intervene)
app.command("attribute", rich_help_panel=MODEL)(attribute.attribute)
app.command("leakage", rich_help_panel=MODEL)(leakage.leakage)
app.command("show", rich_help_panel=MODEL)(show.show)
app.command("export", rich_help_panel=MODEL)(export.export)


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
