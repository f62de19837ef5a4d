"""`tenuto study`: plan, run and watch a whole study."""

from __future__ import annotations

import dataclasses
import threading
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.config import StudyConfig, merge, preset_study, presets
from tenuto.errors import ConfigError

if TYPE_CHECKING:
    from tenuto.study.journal import Record
    from tenuto.study.plan import Plan
    from tenuto.study.runner import Engine

app = typer.Typer(
    help="A whole study: systems x seeds x protocols, planned, carried out unattended, and watched.",
    no_args_is_help=True,
)
EngineName = StrEnum("EngineName", ["local", "ray"])
ConceptSource = StrEnum("ConceptSource", ["signal", "midlevel"])
SAY_EVERY = 60.0
"""Seconds between two lines on progress where there is no terminal."""

Name = Annotated[str, typer.Argument(help=f"{', '.join(presets())}, or a YAML file.", show_default=False)]
Folder = Annotated[Path, typer.Option("--out", help="The study's folder; run again to go on.")]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root", envvar="TENUTO_DATA", help="Folder of the data set.", show_default="the study's own corpus"
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, help="CPU threads of each run; part of its signature.", show_default="the study's"
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME",
        help="A data set of `tenuto data list` (default: the study's).",
        callback=common.data_set,
    ),
]
Concepts = Annotated[
    ConceptSource | None,
    typer.Option(
        "--concepts",
        metavar="SOURCE",
        help="signal: proxies computed from the audio; midlevel: human ratings.",
        show_default="what the data set has",
    ),
]


def _study(
    name: str,
    data: str | None,
    concepts: ConceptSource | None,
    threads: int | None,
    precision: common.PrecisionName | None,
) -> StudyConfig:
    """The study of that name, with the options laid over it."""
    study = preset_study(name)
    given = {
        "data": {"dataset": data, "concepts": concepts},
        "train": {"threads": threads, "precision": precision},
    }
    return StudyConfig.parse(merge(study.model_dump(mode="json"), {"run": given}), name)


def _root(context: typer.Context, study: StudyConfig, root: Path | None) -> Path | None:
    """The data set's folder; one from the environment is meant for other commands where a study makes its music."""
    source = context.get_parameter_source("root")
    named = source is None or source.name != "ENVIRONMENT"
    return root if named or study.corpus is None else None


@app.command()
def plan(
    context: typer.Context,
    name: Name,
    folder: Folder,
    root: Root = None,
    data: Data = None,
    concepts: Concepts = None,
    threads: Threads = None,
    precision: common.TrainPrecision = None,
    as_json: common.AsJson = False,
) -> None:
    """List every stage: what it reads and leaves, what is done already, and how long the rest takes.

    Nothing is trained or written. A run's name ends in a signature of its configuration and the data, so it is known
    once the data are there.

    Example: tenuto study plan paper-2025 --data midlevel --root soundtracks --out paper-2025
    """
    from tenuto.study.plan import plan as make_plan
    from tenuto.study.plan import reductions

    study = _study(name, data, concepts, threads, precision)
    found = make_plan(study, folder, _root(context, study, root))
    if as_json:
        common.print_json(_plan_content(found, folder))
        return
    out.print(_plan_table(found))
    if reduced := reductions(study):
        out.print(f"Smaller than the paper's: {'; '.join(reduced)}.")
    done, total = sum(stage.done for stage in found.stages), len(found.stages)
    rest = f"the rest takes {_spell(found)}, one after the other" if done < total else "nothing is left to do"
    out.print(f"{done} of {total} stages are done; {rest}.")


def _plan_content(found: Plan, folder: Path) -> dict[str, Any]:
    stages = [
        {
            **dataclasses.asdict(stage),
            "expected": {} if stage.done else dataclasses.asdict(stage.expected),
        }
        for stage in found.stages
    ]
    return {
        "folder": str(folder),
        "fingerprint": found.fingerprint,
        "seconds": found.seconds,
        "stages": stages,
    }


def _plan_table(found: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("stage", "run", "reads", "leaves"):
        table.add_column(heading, overflow="fold")
    table.add_column("expected", justify="right", no_wrap=True)
    for stage in found.stages:
        about = "" if stage.expected.basis == "measured" else "about "
        expected = "done" if stage.done else f"{about}{_time(stage.expected.seconds)}"
        paths = (
            path.removeprefix(f"runs/{stage.run}/").removesuffix(".safetensors")
            for path in (stage.inputs, stage.output)
        )
        table.add_row(stage.kind, escape(stage.run), *map(escape, paths), expected)
    return table


def _spell(found: Plan) -> str:
    """The time that is left, and how much of it is known from this study itself."""
    left = [stage for stage in found.stages if not stage.done]
    guessed = sum(stage.expected.seconds for stage in left if stage.expected.basis == "estimate")
    if not guessed:
        return _time(found.seconds)
    whole = "all" if guessed == found.seconds else _time(guessed)
    return f"about {_time(found.seconds)} ({whole} of it estimated: float32 on 2 cores of an AMD EPYC)"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@app.command()
def run(
    context: typer.Context,
    name: Name,
    folder: Folder,
    root: Root = None,
    data: Data = None,
    concepts: Concepts = None,
    threads: Threads = None,
    precision: common.TrainPrecision = None,
    engine: Annotated[
        EngineName, typer.Option(metavar="KIND", help="local: this machine; ray: a Ray cluster.")
    ] = EngineName.local,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at a time.", show_default="local: 1, in this process; ray: all"),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="ray: a running cluster, HOST:PORT or auto.", show_default="Ray is started on this machine"
        ),
    ] = None,
    gpus_per_run: Annotated[
        float | None,
        typer.Option(
            min=0, help="ray: share of a GPU per run, as in 0.25.", show_default="1 with cuda, else 0"
        ),
    ] = None,
    device: common.Device = "cpu",
) -> None:
    """Carry out a study, or finish one that was interrupted, whatever ended it: nothing finished is done again.

    A run that fails is reported and the others go on; the tables then leave it out, and the exit code is 1.

    Example: tenuto study run paper-2025 --data midlevel --root soundtracks --out paper-2025 --workers 2
    """
    from tenuto.study.runner import run_study

    chosen = _engine(engine, workers, address, gpus_per_run, device)
    study = _study(name, data, concepts, threads, precision)
    notes.print(f"{len(study.systems)} systems x {len(study.seeds)} seeds")
    with _Watch(folder):
        done = run_study(study, folder, _root(context, study, root), chosen, notes.print, device)
    spent = ", ".join(f"{stage} {_time(seconds)}" for stage, seconds in done.seconds.items())
    out.print(f"{done.runs - len(done.failed)} of {done.runs} runs are complete. This time: {spent}.")
    for outcome in done.failed:
        out.print(f"failed: {escape(outcome.error or '')}")
    if len(done.failed) < done.runs:
        out.print(f"Metrics, tables and figures: {folder / 'metrics.csv'}, {folder / 'paper'}")
    if done.failed:
        raise typer.Exit(1)


def _engine(
    engine: EngineName, workers: int | None, address: str | None, gpus_per_run: float | None, device: str
) -> Engine:
    from tenuto.study.runner import Local, Ray

    if engine is EngineName.ray:
        share = gpus_per_run if gpus_per_run is not None else float(device != "cpu")
        return Ray(address, workers, share)
    if address is not None or gpus_per_run is not None:
        raise ConfigError("--address and --gpus-per-run belong to --engine ray. Leave them out, or add it.")
    return Local(workers or 1)


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="The study's folder.")],
    as_json: common.AsJson = False,
) -> None:
    """How far a study is, run by run; from any shell, while it runs or after.

    The exit code is 1 where a run has failed.

    Example: tenuto study status paper-2025
    """
    from tenuto.study import journal

    study, records = _records(folder)
    if study.stage == journal.WAITING:
        raise ConfigError(f"{folder}: no study was begun there. Name the folder given to --out.")
    if as_json:
        content = {record.name: dataclasses.asdict(record) for record in records}
        common.print_json({"study": dataclasses.asdict(study), "runs": content})
    else:
        out.print(_status_table(study, records))
        out.print(_summary(study, records))
    if any(record.stage == journal.FAILED or record.error for record in records):
        raise typer.Exit(1)


def _records(folder: Path) -> tuple[Record, list[Record]]:
    from tenuto.study import journal

    study = journal.standing(folder, journal.STUDY)
    records = [journal.standing(folder, name) for name in study.notes.get("runs", {})]
    for record in records:
        if record.stage != journal.DONE and record.error is None:  # done meanwhile by whoever had the run
            record.error = study.notes.get("failed", {}).get(record.name)
    return study, records


def _status_table(study: Record, records: list[Record]) -> Table:
    table = Table()
    for heading in ("run", "stage", "epoch", "best score", "time"):
        table.add_column(heading, justify="left" if heading in ("run", "stage") else "right")
    for record in records:
        epochs = study.notes["runs"][record.name]
        table.add_row(
            escape(record.name),
            escape(_stage(record)),
            f"{record.epoch} of {epochs}" if record.epoch else "",
            "" if record.best_score is None else f"{record.best_score:.4f}",
            _time(sum(record.seconds.values())) if record.seconds else "",
        )
    return table


def _stage(record: Record) -> str:
    if record.error:
        return f"{record.stage}: {record.error}"
    if record.steps_total and record.stage.startswith("attack"):
        return f"{record.stage} {record.steps / record.steps_total:.0%}"
    return record.stage


def _summary(study: Record, records: list[Record]) -> str:
    """One line: how many runs stand where, and what the study does now."""
    from tenuto.study import journal

    kinds = dict.fromkeys((journal.DONE, "at work", journal.FAILED, journal.STOPPED, journal.WAITING), 0)
    for record in records:
        kinds[record.stage if record.stage in kinds else "at work"] += 1
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    return f"{study.stage}: {counted or 'no runs yet'}"


class _Watch:
    """Progress of all runs while the block works: a live table on a terminal, else a line a minute."""

    def __init__(self, folder: Path) -> None:
        from rich.live import Live

        self._folder, self._over = folder, threading.Event()
        self._live = Live(get_renderable=self._shown, console=notes, transient=True, refresh_per_second=1)
        self._thread = threading.Thread(target=self._say, daemon=True)

    def __enter__(self) -> None:
        if notes.is_terminal:
            self._live.start()
        else:
            self._thread.start()

    def __exit__(self, *about: object) -> None:
        self._over.set()
        if notes.is_terminal:
            self._live.stop()
        else:
            self._thread.join()

    def _shown(self) -> Any:
        from rich.console import Group

        from tenuto.study import journal

        study, records = _records(self._folder)
        return Group(
            _status_table(study, [one for one in records if one.seconds and one.stage != journal.DONE]),
            _summary(study, records),
        )

    def _say(self) -> None:
        from tenuto.study import journal

        while not self._over.wait(SAY_EVERY):
            study, records = _records(self._folder)
            at_work = [f"{one.name} epoch {one.epoch}" for one in records if one.stage == journal.TRAIN]
            notes.print("; ".join([_summary(study, records), *at_work]))
