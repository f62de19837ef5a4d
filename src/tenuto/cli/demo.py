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
    folder: Annotated[Path, typer.Option("--out", help="Folder of the study. Run again to resume.")] = Path(
        "demo"
    ),
) -> None:
    """Run a small study on generated music in minutes: five systems, training, attack, tables, figures, report.

    Example: tenuto demo --out demo
    """
    from tenuto import api
    from tenuto.analysis.sentences import summarise
    from tenuto.analysis.systems import STUDY_SCALE
    from tenuto.cli.paper import print_paper
    from tenuto.config import preset_study
    from tenuto.store.study import StudyFolder
    from tenuto.study import Local, reductions, run_study
    from tenuto.study.plan import protocols

    begun = time.monotonic()
    study, files = preset_study("demo"), StudyFolder(folder)
    out.print(f"[bold]Demo study[/bold]: {len(study.systems)} systems x {len(study.seeds)} seeds.")
    out.print(f"Reduced for the demo: {'; '.join(reductions(study))}.")
    with common.bar("runs", len(study.systems) * len(study.seeds) + 1) as advance:

        def report(line: str) -> None:
            advance(1)
            notes.print(line)

        result = run_study(study, folder, engine=Local(os.cpu_count()), report=report)
    if result.failed:
        raise typer.Exit(1)
    protocol = str(protocols(study)[0])
    rows = files.rows(protocol)
    print_paper(api.paper(rows, out=None))
    out.print("\n[bold]Findings[/bold]")
    for sentence in summarise(rows, STUDY_SCALE):
        out.print(f"- {sentence}")
    out.print(f"\n[bold]Tables and figures[/bold]: {files.paper}")
    page = api.report(
        folder,
        files.report,
        protocol=protocol,
        root=files.corpus,
        clips=CLIPS_TO_PLAY,
        cache=files.cache,
        progress=common.TERMINAL,
    )
    out.print(f"[bold]Report[/bold]: {page.path} ({page.bytes / 1e6:.1f} MB), open it in a browser")
    stages = ", ".join(f"{name} {spent:.0f} s" for name, spent in result.seconds.items())
    out.print(f"[bold]Time[/bold]: {stages}; {time.monotonic() - begun:.0f} s in total")
