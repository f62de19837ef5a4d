"""Carry out a study: in this process, in several processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from tenuto.config import StudyConfig, to_yaml
from tenuto.data import Prepared
from tenuto.errors import ConfigError
from tenuto.files import write_text
from tenuto.study import journal
from tenuto.study.analysis import analyse
from tenuto.study.journal import ANALYSE, CORPUS, PREPARE
from tenuto.study.plan import (
    analysed,
    check_study,
    dataset_of,
    identity,
    planned,
    protocols,
    settled,
)
from tenuto.study.stages import Job, Outcome, complete_run, is_done, make_corpus, prepare_data
from tenuto.study.workers import TRIES, in_processes

RUNS = "runs"
Report = Callable[[str], None]
"""Called with one line whenever something has been finished."""


class Engine(Protocol):
    """Whatever carries out runs. It yields every job's outcome as it ends and raises for no single run."""

    @property
    def workers(self) -> int | None:
        """Runs at a time."""
        ...

    def carry_out(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcome of every job, in any order. What it cannot do it refuses when called, before the first one."""
        ...


@dataclasses.dataclass(frozen=True)
class Local:
    """This machine.

    Args:
        workers: Runs at a time. One stays in this process; more start processes, so make the call below
            ``if __name__ == "__main__"``.
    """

    workers: int | None = 1

    def carry_out(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcome of every job, as they end."""
        if self.workers == 1:
            return map(complete_run, jobs)
        return in_processes(jobs, self.workers or os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True)
class Ray:
    """A Ray cluster whose machines all see the study's folder and the recordings under the same paths.

    Args:
        address: Of a running cluster, ``auto`` for the one this machine belongs to; None starts Ray here.
        workers: At most so many runs at a time; None as many as the cluster has room for.
        gpus_per_run: Share of a GPU that a run takes; 0.25 puts four runs on one.
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_run: float = 0.0

    def carry_out(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcome of every job, as they end. Raises `ConfigError` where Ray or the resources are missing."""
        ray = _ray()
        _connect(ray, self.address)
        # A GPU run waits for its device rather than for cores; a CPU run takes the threads it computes with.
        cores = 1 if self.gpus_per_run else max(job.planned.config.train.threads for job in jobs)
        try:
            _check_room(ray, cores, self.gpus_per_run)
        except ConfigError:
            ray.shutdown()
            raise
        # Ray begins a task again when its process or its whole machine is lost.
        begin = ray.remote(num_cpus=cores, num_gpus=self.gpus_per_run, max_retries=TRIES - 1)(complete_run)
        return _as_they_end(ray, begin, list(jobs), self.workers or len(jobs))


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a study tells nobody that it runs
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(
            "the engine ray needs Ray, which is not installed: `pip install 'tenuto[ray]'`, or use --engine local."
        ) from error


def _connect(ray: Any, address: str | None) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        sentence = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"no Ray cluster answers at {address or 'this machine'} ({sentence}). Start one with "
            "`ray start --head`, or leave --address out to start Ray on this machine."
        ) from error


def _check_room(ray: Any, cores: int, gpus: float) -> None:
    """Refuse what no machine of the cluster can ever start: Ray would wait for it without a word."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, wanted, mend in (
        ("CPU", cores, "Set run.train.threads (or --threads) to what the machines have"),
        ("GPU", gpus, "Use --device cpu, or add a machine with a GPU"),
    ):
        most = max((machine.get(name, 0.0) for machine in machines), default=0.0)
        if wanted > most:
            raise ConfigError(
                f"a run wants {wanted:g} {name}, the largest machine of the Ray cluster has {most:g}. {mend}."
            )


def _as_they_end(ray: Any, begin: Any, jobs: list[Job], most: int) -> Iterator[Outcome]:
    """At most so many jobs at a time. A job that Ray gave up is a run that failed."""
    pending: dict[Any, Job] = {}
    try:
        while jobs or pending:
            while jobs and len(pending) < most:
                job = jobs.pop(0)
                pending[begin.remote(job)] = job
            for ended in ray.wait(list(pending), num_returns=1)[0]:
                job = pending.pop(ended)
                try:
                    yield ray.get(ended)
                except ray.exceptions.RayError as error:
                    yield Outcome(job.planned.run, error=_given_up(job, error))
    finally:
        ray.shutdown()


def _given_up(job: Job, error: Exception) -> str:
    why = str(error).splitlines()[0]
    return f"{job.planned.run}: Ray lost its process {TRIES} times ({why}). Run the same command again."


@dataclasses.dataclass(frozen=True)
class StudyReport:
    """What one call of `run_study` did.

    Attributes:
        seconds: Wall-clock seconds of each stage of this call: corpus, spectrograms, training, attack, paper.
        failed: Outcomes of runs that failed; the tables leave them out.
        runs: All runs of the study.
    """

    seconds: dict[str, float]
    failed: tuple[Outcome, ...]
    runs: int


def run_study(
    study: StudyConfig,
    folder: Path,
    root: Path | None = None,
    engine: Engine = Local(),
    report: Report = print,
    device: str = "cpu",
) -> StudyReport:
    """Carry out a study; interrupted, the same call goes on where it stopped and ends with the same tables.

    Args:
        study: What to do.
        folder: Where runs, rows, tables, figures and the journal go.
        root: The data set's folder; a study with a corpus of its own makes that below ``folder``.
        engine: Where runs are carried out.
        report: Called with one line after every step.
        device: Where a run computes, ``cpu`` or ``cuda``.

    Returns:
        Seconds of this call, and the runs that failed.

    Raises:
        ConfigError: Settings, protocols or an engine that cannot be; nothing has been trained then.
        DataError: Recordings or annotations that cannot be used, or a corpus of other settings in ``folder``.
        TenutoError: Another process is at work on the study.
    """
    folder, root = folder.resolve(), root.resolve() if root else None
    study = settled(study, folder)
    protocols(study)
    dataset_of(study, folder, root)  # what cannot be is said before anything is written
    if (data := identity(study, folder, root)) is not None:
        check_study(study, data)
    with journal.held(folder, journal.STUDY, patience=2.0):
        entry, marks = journal.Entry(folder, journal.STUDY), _Marks()
        prepared = _prepare(study, folder, root, engine, entry, marks)
        report(f"{len(prepared.index)} clips of {prepared.name} are ready")
        each = planned(study, prepared)
        jobs = [Job(study, one, folder, root, device) for one in each]
        under_way = _carried_out(jobs, engine)
        # Only now, when nothing is refused any more: what a refused call wanted decides no later one.
        write_text(folder / "study.yaml", to_yaml(study))
        entry.record.notes |= {"runs": {one.run: one.config.train.epochs for one in each}, "failed": {}}
        with entry.stage(RUNS):
            outcomes = list(_reported(jobs, under_way, report, entry))
        marks.mark(RUNS)
        _analyse(study, folder, outcomes, entry)
        marks.mark("paper")
    failed = tuple(outcome for outcome in outcomes if outcome.error is not None)
    return StudyReport(_shared_out(marks.seconds, outcomes), failed, len(each))


def _prepare(
    study: StudyConfig,
    folder: Path,
    root: Path | None,
    engine: Engine,
    entry: journal.Entry,
    marks: _Marks,
) -> Prepared:
    """Corpus and spectrograms."""
    if study.corpus is not None:
        with entry.stage(CORPUS):
            make_corpus(study, folder, engine.workers or os.cpu_count() or 1)
    marks.mark("corpus")
    with entry.stage(PREPARE):
        prepared = prepare_data(study, folder, root)
    check_study(study, prepared)
    entry.record.notes["prepared"] = prepared.fingerprint
    marks.mark("spectrograms")
    return prepared


def _analyse(study: StudyConfig, folder: Path, outcomes: Sequence[Outcome], entry: journal.Entry) -> None:
    """Tables and figures of the runs that did not fail, in the order of the plan."""
    lost = {outcome.run for outcome in outcomes if outcome.error is not None}
    finished = [run for run in entry.record.notes["runs"] if run not in lost]
    entry.record.notes.pop("analysed", None)  # no longer true once the first file has been replaced
    if finished:
        attacks = protocols(study)
        with entry.stage(ANALYSE):
            entry.record.notes["made"] = analyse(folder, finished, attacks)
        entry.record.notes["analysed"] = analysed(finished, attacks)
    entry.note(True, stage=journal.FAILED if lost else journal.DONE)


def _carried_out(jobs: list[Job], engine: Engine) -> Iterator[Outcome]:
    """Every run's outcome, those that are done already first. Raises what the engine refuses."""
    done = [job for job in jobs if is_done(job)]
    left = [job for job in jobs if job not in done]
    known = (Outcome.done(job.folder, job.planned.run) for job in done)
    return itertools.chain(known, engine.carry_out(left) if left else ())


def _reported(
    jobs: list[Job], outcomes: Iterator[Outcome], report: Report, entry: journal.Entry
) -> Iterator[Outcome]:
    """The outcomes; each is said as it comes, and a failure is in the journal then."""
    by_run = {job.planned.run: job for job in jobs}
    for outcome in outcomes:
        job = by_run[outcome.run]
        if outcome.error and not journal.fail(job.folder, outcome.run, outcome.error):
            entry.record.notes["failed"][outcome.run] = outcome.error
            entry.note(True)
        said = outcome.error and f"failed: {outcome.error}"
        report(f"{job.label}: {said or f'clean test correlation {outcome.test_correlation:.3f}'}")
        yield outcome


class _Marks:
    """Wall-clock seconds between marks."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def mark(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name], self._last = now - self._last, now


def _shared_out(seconds: dict[str, float], outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Runs overlap, so training and attack share their wall-clock time as they shared the work."""
    training = sum(outcome.training_seconds for outcome in outcomes)
    attack = sum(outcome.attack_seconds for outcome in outcomes)
    share = seconds[RUNS] / max(training + attack, 1e-9)
    return {
        "corpus": seconds["corpus"],
        "spectrograms": seconds["spectrograms"],
        "training": training * share,
        "attack": attack * share,
        "paper": seconds["paper"],
    }
