"""`tenuto demo`."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.cli.predict import PREDICTING_MODEL

if TYPE_CHECKING:
    from tenuto.store.run import RunFolder
    from tenuto.store.study import StudyFolder

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
    out.print(f"[bold]Demo study[/bold]: {len(study.systems)} systems with {len(study.seeds)} seeds each.")
    out.print(f"Reduced for the demo: {'; '.join(reductions(study))}.")
    with common.TERMINAL.bar("runs", len(study.systems) * len(study.seeds) + 1) as advance:

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
    out.print("\n[bold]Try next[/bold]")
    run = next(
        run for run in files.runs() if run.name.startswith(f"{next(iter(study.systems))}-{study.seeds[0]}-")
    )
    for answer, words in next_commands(files, run):
        out.print(f"# {answer}\ntenuto {shlex.join(words)}", markup=False)


def next_commands(study: StudyFolder, run: RunFolder) -> Iterator[tuple[str, list[str]]]:
    """Commands to try on a run of the study and a recording of its test clips, each with what it answers."""
    from tenuto.data import read_split
    from tenuto.data.synthesis import AUDIO

    clip, folder = read_split(run.split).test[0], study.path
    recording, size = study.corpus / AUDIO / f"{clip}.mp3", ["--objective", "happy+", "--epsilon", "0.05"]
    yield "See and hear an attack", ["show", f"{run.path}", clip, "--out", f"{folder / 'shown'}"]
    yield (
        "Attack a model that was trained on film music",
        ["attack", PREDICTING_MODEL, f"{recording}", *size, "--out", f"{folder / 'attacked'}"],
    )
    yield "Can the result be trusted?", ["audit", f"{run.path}", "--out", f"{folder / 'audit'}"]
