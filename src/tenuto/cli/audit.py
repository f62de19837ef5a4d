"""`tenuto audit`: can a robustness result be trusted?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tenuto.cli import common
from tenuto.cli.common import out, print_paths
from tenuto.cli.groups import RunsFile
from tenuto.cli.screen import grid, print_findings

if TYPE_CHECKING:
    from tenuto.api import Audit

EXIT_FAILED = 1


def audit(
    result: Annotated[
        list[Path],
        typer.Argument(
            help="Rows (attacks/PROTOCOL.csv), a run, a study, or a folder of released logs; may be repeated."
        ),
    ],
    runs: RunsFile = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Data set of logs and of rows without a run.",
            callback=common.data_set,
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the data set; with it the model is evaluated and albums are known; else TENUTO_DATA.",
            show_default="the corpus of the run's study",
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(help="CSV clip,split,position, for results that do not hold their split."),
    ] = None,
    sibling: Annotated[
        list[Path] | None,
        typer.Option(help="A run of the same system, for the transfer attack."),
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(min=1, help="Clips on which the model is examined.", show_default="6"),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(
            help="L-infinity budget of the attacks on the model.",
            show_default="a tenth of the inputs' standard deviation",
        ),
    ] = None,
    cache: common.Cache = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="Folder for JSON, CSV, Markdown and LaTeX.")
    ] = None,
    rerun: Annotated[
        bool,
        typer.Option(
            "--rerun",
            help="Carry out what the pages of failed checks advise, and state the errors that these attacks find.",
        ),
    ] = False,
    trust: common.Trust = False,
    as_json: common.AsJson = False,
) -> None:
    """Check whether a robustness result can be trusted: PASS, WARN, FAIL or NOT RECORDED, each with its number.

    The exit code is 1 where a check fails. Every check is explained in docs/audit.md.

    Example: tenuto audit runs/A2E-6-1a2b3c4d --root soundtracks

    Example: tenuto audit runs/A2E-6-1a2b3c4d --root soundtracks --rerun
    """
    from tenuto import api
    from tenuto.attacks import Linf

    audited = api.audit(
        result,
        root,
        data=data,
        split=split,
        siblings=sibling or (),
        clips=clips,
        budget=None if epsilon is None else Linf(epsilon),
        runs_file=runs,
        cache=cache,
        trust=trust,
        rerun=rerun,
        progress=common.TERMINAL,
    )
    files = {} if to is None else audited.write(to)
    if as_json:
        common.print_json(audited.as_dict())
    else:
        print_findings(audited.findings)
        if rerun:
            _print_remedies(audited)
        out.print(f"{audited.summary}; docs/audit.md explains every check.")
        print_paths([*files.values(), *audited.files])
    if audited.failed:
        raise typer.Exit(EXIT_FAILED)


def _print_remedies(audited: Audit) -> None:
    """Print what every remedy found, or that no failed check has one."""
    if not audited.reruns:
        out.print("Rerun: no check failed or warned that another attack can remedy.")
    for run in dict.fromkeys((one.source, one.run) for one in audited.reruns):
        title = f"Rerun of {run[1]}, {run[0]}: mean absolute error"
        names = ("remedy", "because of")
        table = grid(title, *names, "audited", "remedy's best", "worst case", "change", names=names)
        own = [one for one in audited.reruns if (one.source, one.run) == run]
        for one in own:
            errors = (f"{value:.4f}" for value in (one.before, one.after, one.best))
            table.add_row(one.remedy, ", ".join(one.checks), *errors, f"{one.change:+.1%}")
        out.print(table)
        out.print(f"audited: {escape(own[0].audited)}")
