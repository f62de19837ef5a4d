"""The `tenuto` command: gathers the groups, and turns errors into one sentence and an exit code."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from tenuto.cli import (
    attack,
    audit,
    curve,
    data,
    demo,
    explain,
    natural,
    paper,
    predict,
    report,
    show,
    stats,
    study,
    train,
)
from tenuto.errors import TenutoError

EXIT_BAD_INPUT = 2
EXIT_STOPPED = 130  # what a shell reports of a command that Ctrl-C ended


class Commands(TyperGroup):
    """All commands; what a command raises on purpose becomes one sentence on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except TenutoError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(EXIT_BAD_INPUT) from error
        except KeyboardInterrupt as error:  # here, because Typer would end without a word
            typer.echo("stopped; run the same command again to go on.", err=True)
            raise typer.Exit(EXIT_STOPPED) from error


app = typer.Typer(
    name="tenuto",
    cls=Commands,
    help="Adversarial robustness of music-emotion recognition: reproduce, attack, audit.",
    epilog="Exit code: 0 done, 1 the checks found something, 2 the input or a setting needs mending.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.add_typer(data.app, name="data")
app.command("prepare")(data.prepare)
app.command("train")(train.train)
app.command("evaluate")(train.evaluate)
app.command("predict")(predict.predict)
app.command("import-reference")(predict.import_reference)
app.command("explain")(explain.explain)
app.command("intervene")(explain.intervene)
app.command("attack")(attack.attack)
app.command("show")(show.show)
app.command("audit")(audit.audit)
app.command("stats")(stats.stats)
app.command("natural")(natural.natural)
app.command("curve")(curve.curve)
app.command("report")(report.report)
app.add_typer(study.app, name="study")
app.add_typer(paper.app, name="paper")


def _version(wanted: bool) -> None:
    if wanted:
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


def main() -> None:
    """Run the command line: the console script and ``python -m tenuto``."""
    app()
