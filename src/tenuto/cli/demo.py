"""`tenuto demo`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from tenuto.cli import common
from tenuto.cli.common import notes, out

CLIPS_TO_PLAY = 3


def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where everything goes; run again to go on.")] = Path(
        "demo"
    ),
) -> None:
    """The whole study on generated music, in minutes: five systems, training, attack, tables, figures, findings.

    Example: tenuto demo --out demo
    """
    from tenuto.analysis.sentences import summarise
    from tenuto.analysis.systems import STUDY_SCALE
    from tenuto.cli.paper import show
    from tenuto.cli.report import make
    from tenuto.config import preset_study
    from tenuto.store.released_logs import read_study
    from tenuto.study.plan import corpus_folder, protocols, reductions
    from tenuto.study.runner import Local, run_study

    begun = time.monotonic()
    study = preset_study("demo")
    out.print(f"[bold]The study in small[/bold]: {len(study.systems)} systems x {len(study.seeds)} seeds.")
    out.print(f"Reduced for the demo: {'; '.join(reductions(study))}.")
    with common.bar("runs", len(study.systems) * len(study.seeds) + 1) as advance:

        def report(line: str) -> None:
            advance(1)
            notes.print(line)

        done = run_study(study, folder, engine=Local(os.cpu_count()), report=report)
    if done.failed:
        raise typer.Exit(1)
    rows = read_study(folder, str(protocols(study)[0]))
    show(rows)
    out.print("\n[bold]What was found[/bold]")
    for sentence in summarise(rows, STUDY_SCALE):
        out.print(f"- {sentence}")
    out.print(f"\n[bold]Tables and figures[/bold]: {folder / 'paper'}")
    page = make(
        folder,
        folder / "report.html",
        str(protocols(study)[0]),
        root=corpus_folder(folder),
        clips=CLIPS_TO_PLAY,
        cache=folder / "cache",
    )
    out.print(f"[bold]Report[/bold]: {page['report']} ({page['bytes'] / 1e6:.1f} MB), opens in any browser")
    stages = ", ".join(f"{name} {spent:.0f} s" for name, spent in done.seconds.items())
    out.print(f"[bold]Time[/bold]: {stages}; {time.monotonic() - begun:.0f} s in all")
