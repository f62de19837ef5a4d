"""`tenuto study`: plan, run and watch a whole study."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tenuto.cli import EXIT_UNFINISHED, common
from tenuto.cli.common import notes, out
from tenuto.cli.groups import grouped
from tenuto.config import StudyConfig, studies
from tenuto.errors import ConfigError, counted
from tenuto.store.study import StudyFolder

if TYPE_CHECKING:
    from tenuto.study.engines import Engine
    from tenuto.study.journal import Record
    from tenuto.study.plan import Plan

app = typer.Typer(
    help="Plan, run and monitor a whole study: systems x seeds x protocols.",
    no_args_is_help=True,
)
EngineName = StrEnum("EngineName", ["local", "ray"])
ConceptSource = StrEnum("ConceptSource", ["signal", "midlevel"])
REPORT_EVERY = 60.0
"""Seconds between two progress lines where there is no terminal."""

STUDIES = ", ".join(studies())


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A study, its folder, and what differs from its own settings."""

    name: Annotated[str, typer.Argument(help=f"{STUDIES}, or a YAML file.", show_default=False)]
    folder: Annotated[
        Path, typer.Option("--out", help="The study's folder. Run again with the same folder to resume.")
    ]
    root: Annotated[
        Path | None,
        typer.Option(
            envvar="TENUTO_DATA", help="Folder of the data set.", show_default="the study's own corpus"
        ),
    ] = None
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A data set of `tenuto data list` (default: the study's).",
            callback=common.data_set,
        ),
    ] = None
    concepts: Annotated[
        ConceptSource | None,
        typer.Option(
            metavar="SOURCE",
            help="signal: proxies computed from the audio; midlevel: human ratings.",
            show_default="what the data set has",
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="CPU threads of each run; part of its signature.", show_default="the study's"
        ),
    ] = None
    precision: common.TrainPrecision = None

    def open(self, context: typer.Context) -> tuple[StudyConfig, Path | None]:
        """The study with the options in place of its own settings, and the folder of its data set.

        TENUTO_DATA does not apply to a study that generates its own corpus.
        """
        from tenuto.api.studies import study_config

        options = {
            "data": {"dataset": self.data, "concepts": self.concepts},
            "train": {"threads": self.threads, "precision": self.precision},
        }
        study = study_config(self.name, self.root, options)
        source = context.get_parameter_source("root")
        is_option = source is None or source.name != "ENVIRONMENT"
        return study, self.root if is_option or study.corpus is None else None


@app.command()
@grouped
def plan(
    context: typer.Context,
    chosen: Chosen,
    trust: common.Trust = False,
    as_json: common.AsJson = False,
) -> None:
    """List every stage of a study: its inputs and outputs, whether it is done, and its expected time.

    Nothing is trained or written. The name of a run ends in a signature of its configuration and the data, so it is
    known once the data are available. Expected times are measured on finished runs of the same study; before there are
    any, they are unknown.

    Example: tenuto study plan paper-2025 --data midlevel --root soundtracks --out paper-2025
    """
    from tenuto.study import plan_study, reductions

    (study, place), folder = chosen.open(context), chosen.folder
    study_plan = plan_study(study, folder, place, trust)
    if as_json:
        common.print_json(
            {
                "folder": str(folder),
                "fingerprint": study_plan.fingerprint,
                "seconds": study_plan.seconds,
                "unmeasured": study_plan.unmeasured,
                "stages": [dataclasses.asdict(stage) for stage in study_plan.stages],
            }
        )
        return
    out.print(_plan_table(study_plan))
    if reduced := reductions(study):
        out.print(f"Smaller than the paper's: {'; '.join(reduced)}.")
    out.print(_stages_done(study_plan))


def _plan_table(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("stage", "run", "input", "output"):
        table.add_column(heading, overflow="fold")
    table.add_column("expected", justify="right", no_wrap=True)
    for stage in plan.stages:
        expected = "done" if stage.done else "–" if stage.seconds is None else _time(stage.seconds)
        paths = (
            path.removeprefix(f"runs/{stage.run}/").removesuffix(".safetensors")
            for path in (stage.inputs, stage.output)
        )
        table.add_row(stage.kind, escape(stage.run), *map(escape, paths), expected)
    return table


def _stages_done(plan: Plan) -> str:
    """How many stages are done, and the expected time of the others."""
    text = (
        f"{len(plan.stages) - len(plan.left)} of {counted(len(plan.stages), 'stage is', 'stages are')} done."
    )
    if not plan.left:
        return f"{text} Nothing is left to do."
    if plan.unmeasured == len(plan.left):
        return f"{text} The time for the rest is unknown until a run has finished."
    measured = len(plan.left) - plan.unmeasured
    unknown = f" The time for the other {plan.unmeasured} is unknown." if plan.unmeasured else ""
    return f"{text} {measured} take {_time(plan.seconds)}, one after the other.{unknown}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@app.command()
@grouped
def run(
    context: typer.Context,
    chosen: Chosen,
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
    trust: common.Trust = False,
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="End after this time, such as 12m or 1h30m.", show_default="no limit"
        ),
    ] = None,
) -> None:
    """Run a study, or resume an interrupted one. Finished work is not repeated.

    A run that fails, or whose files are damaged, is reported; the tables are made from the others, and the exit code
    is 1. At --time-limit, or after SIGTERM, every worker finishes its epoch or piece of an attack; the exit code is
    then 3, and the same command continues.

    Example: tenuto study run paper-2025 --data midlevel --root soundtracks --out paper-2025 --workers 2
    """
    from tenuto.study import plan_study, run_study

    executor = _engine(engine, workers, address, gpus_per_run, device)
    (study, place), folder = chosen.open(context), chosen.folder
    notes.print(f"systems: {len(study.systems)}, seeds: {len(study.seeds)}")
    with _stopping_on_sigterm(folder), _Progress(folder):
        report = run_study(study, folder, place, executor, notes.print, device, trust, time_limit)
    spent = ", ".join(f"{stage} {_time(seconds)}" for stage, seconds in report.seconds.items())
    complete = report.runs - len(report.failed) - len(report.unfinished)
    out.print(
        f"{complete} of {counted(report.runs, 'run is', 'runs are')} complete. Time of this call: {spent}."
    )
    for outcome in report.failed:
        out.print(f"failed: {outcome.run}: {outcome.error}", markup=False)
    if report.unfinished:
        study_plan = plan_study(study, folder, place, trust)
        out.print(f"Stopped: {_stages_done(study_plan)}")
        out.print("Run the same command again to continue.")
        raise typer.Exit(EXIT_UNFINISHED)
    if len(report.failed) < report.runs:
        files = StudyFolder(folder)
        tables = ", tables and figures" * any(files.paper.rglob("table1.*"))  # none of several budgets
        out.print(f"Metrics{tables}: {files.metrics}, {files.paper}", markup=False)
    if report.failed:
        raise typer.Exit(1)


def _engine(
    engine: EngineName, workers: int | None, address: str | None, gpus_per_run: float | None, device: str
) -> Engine:
    from tenuto.study import Local, Ray

    if engine is EngineName.ray:
        share = gpus_per_run if gpus_per_run is not None else float(device != "cpu")
        return Ray(address, workers, share)
    if address is not None or gpus_per_run is not None:
        raise ConfigError("--address and --gpus-per-run need --engine ray. Add it, or leave them out.")
    return Local(workers or 1)


@contextlib.contextmanager
def _stopping_on_sigterm(folder: Path) -> Iterator[None]:
    """Inside, the first SIGTERM requests the end of the study; a second one, or one before work, ends the process.

    The request is removed in the end, unless another call on the same folder made it.
    """
    from tenuto.study.limit import request_stop

    def stop(*about: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not StudyFolder(folder).journal.is_dir():
            os.kill(os.getpid(), signal.SIGTERM)
        os.write(2, b"SIGTERM: every worker finishes its epoch or piece of an attack.\n")
        request_stop(folder)
        at_end.callback(StudyFolder(folder).stop.unlink, missing_ok=True)

    with contextlib.ExitStack() as at_end:
        at_end.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, stop))
        yield


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="The study's folder.")],
    as_json: common.AsJson = False,
) -> None:
    """Show the progress of every run of a study, from any shell, while it runs or later.

    A run is called stopped where work has begun and no process works on it. On a file system without locks that is
    unknown, and the last stage is shown. The exit code is 1 where a run has failed.

    Example: tenuto study status paper-2025
    """
    from tenuto.study import journal

    study, records = journal.standing_records(folder)
    journal.require(folder, study)
    if as_json:
        content = {record.name: dataclasses.asdict(record) for record in records}
        common.print_json({"study": dataclasses.asdict(study), "runs": content})
    else:
        out.print(_status_table(study, records))
        out.print(escape(_summary(study, records)))
    if any(record.stage == journal.FAILED or record.error for record in records):
        raise typer.Exit(1)


def _status_table(study: Record, records: list[Record]) -> Table:
    table = Table()
    for heading in ("run", "stage"):
        table.add_column(heading, overflow="fold", min_width=8)
    for heading in ("epoch", "best score", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
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
    """The stage of the study, and the number of runs in each state."""
    from tenuto.study import journal

    kinds = dict.fromkeys((journal.DONE, "running", journal.FAILED, journal.STOPPED, journal.WAITING), 0)
    for record in records:
        kinds[record.stage if record.stage in kinds else "running"] += 1
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    return f"{study.stage}: {counted or 'no runs yet'}"


class _Progress:
    """Progress of all runs during the block: a live table on a terminal, else a line per minute."""

    def __init__(self, folder: Path) -> None:
        from rich.live import Live

        self._folder, self._end = folder, threading.Event()
        self._live = Live(get_renderable=self._render, console=notes, transient=True, refresh_per_second=1)
        self._thread = threading.Thread(target=self._report, daemon=True)

    def __enter__(self) -> None:
        if notes.is_terminal:
            self._live.start()
        else:
            self._thread.start()

    def __exit__(self, *about: object) -> None:
        self._end.set()
        if notes.is_terminal:
            self._live.stop()
        else:
            self._thread.join()

    def _render(self) -> Any:
        from rich.console import Group

        from tenuto.study import journal

        study, records = journal.standing_records(self._folder)
        active = [record for record in records if record.seconds and record.stage != journal.DONE]
        return Group(_status_table(study, active), _summary(study, records))

    def _report(self) -> None:
        from tenuto.study import journal

        while not self._end.wait(REPORT_EVERY):
            study, records = journal.standing_records(self._folder)
            trained = (record for record in records if record.stage == journal.TRAIN)
            epochs = [f"{record.name} epoch {record.epoch}" for record in trained]
            notes.print("; ".join([_summary(study, records), *epochs]))
