"""Carry out a study: in this process, in several processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tenuto.attacks.checks import require_number, require_whole
from tenuto.config import StudyConfig, to_yaml
from tenuto.data import Prepared
from tenuto.devices import require, require_precision
from tenuto.errors import ConfigError, counted, one_line
from tenuto.files import write_text
from tenuto.store.study import StudyFolder
from tenuto.study import journal
from tenuto.study.journal import ADOPT, ANALYSE, ATTACK, CORPUS, EVALUATE, PREPARE, TRAIN
from tenuto.study.limit import Limit, parse_time
from tenuto.study.plan import (
    Planned,
    analysed,
    check_names,
    check_study,
    dataset_of,
    identity,
    planned,
    protocols,
    settled,
)
from tenuto.study.processes import TRIES, in_processes
from tenuto.study.stages import Job, Outcome, analyse, complete_run, make_corpus, prepare_data

STUDY_PATIENCE = 2.0
"""How long to wait for another call that works on the study, in seconds."""
CONNECT_SECONDS = 5.0
"""How long a Ray cluster may take to accept a connection, in seconds."""
EMPTY_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
"""A settings frame of HTTP/2: length, type 4, flags, stream."""
RUNS = "runs"
Report = Callable[[str], None]
"""Called with one line after every step."""


@runtime_checkable
class Engine(Protocol):
    """Carries out runs. It yields the outcome of every job as it ends; the failure of a run is an outcome."""

    @property
    def workers(self) -> int | None:
        """Runs at a time."""

    def check(self) -> None:
        """Raise `ConfigError` where the engine cannot be used; called before any work is done."""

    def carry_out(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcome of every job, in any order. Raises `ConfigError` when called, before the first outcome."""


def _check_workers(workers: int | None) -> None:
    if workers is not None:
        require_whole("workers", workers, 1)


@dataclasses.dataclass(frozen=True)
class Local:
    """This machine.

    Args:
        workers: Runs at a time. One run at a time stays in this process. More start processes, so call `run_study`
            below ``if __name__ == "__main__"``. None means as many as there are cores.
    """

    workers: int | None = 1

    def check(self) -> None:
        """Raise `ConfigError` for another number of workers."""
        _check_workers(self.workers)

    def carry_out(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcome of every job, as they end."""
        if self.workers == 1:
            return map(complete_run, jobs)
        return in_processes(jobs, self.workers or os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True)
class Ray:
    """A Ray cluster on whose machines the study's folder and the recordings have the same paths.

    Args:
        address: ``HOST:PORT`` of a running cluster, or ``auto`` for the one of this machine; None starts Ray here.
        workers: At most this many runs at a time; None for as many as the cluster has room for.
        gpus_per_run: Share of a GPU for each run; 0.25 puts four runs on one.
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_run: float = 0.0

    def check(self) -> None:
        """Raise `ConfigError` for numbers that cannot be, or where nothing answers at the address."""
        _check_workers(self.workers)
        require_number("gpus_per_run", self.gpus_per_run, 0)
        with _refusing(self.address):
            _check_address(self.address or os.environ.get("RAY_ADDRESS"))

    def carry_out(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcome of every job, as they end. Raises `ConfigError` where Ray or its resources are missing."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage report leaves the machine
        try:
            import ray
        except ImportError as error:
            raise ConfigError(
                "the engine ray needs Ray, which is not installed: `pip install 'tenuto[ray]'`, or use `engine=local`."
            ) from error
        self.check()
        with _refusing(self.address):
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
        # A run on a GPU needs one core; a run on the CPU needs the threads it computes with.
        cores = 1 if self.gpus_per_run else max(job.planned.config.train.threads for job in jobs)
        try:
            _check_room(ray, cores, self.gpus_per_run)
        except ConfigError:
            ray.shutdown()
            raise
        # Ray starts a task again when its process or its machine is lost.
        start = ray.remote(num_cpus=cores, num_gpus=self.gpus_per_run, max_retries=TRIES - 1)(complete_run)
        return _as_they_end(ray, start, list(jobs), self.workers or len(jobs))


@contextlib.contextmanager
def _refusing(address: str | None) -> Iterator[None]:
    """Turn a failure to reach a cluster into a `ConfigError`."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"no Ray cluster answers at {address or 'this machine'} ({one_line(reason)}). Start one with "
            "`ray start --head`, or leave `address` out to start Ray on this machine."
        ) from error


def _check_address(address: str | None) -> None:
    """Ask ``HOST:PORT`` for its HTTP/2 settings, which gRPC sends at once: Ray itself waits for minutes.

    Raises `OSError` where nothing answers in time, `ValueError` for another kind of server, or no address.
    """
    if address in (None, "auto", "local"):
        return
    host, _, port = str(address).removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("an address is HOST:PORT, such as 10.0.0.5:6379, or auto")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + EMPTY_SETTINGS)
        if connection.recv(9)[3:4] != EMPTY_SETTINGS[3:4]:
            raise ValueError("another kind of server is there")


def _check_room(ray: Any, cores: int, gpus: float) -> None:
    """Refuse a run that no machine of the cluster has room for: Ray would wait forever."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, bytes_needed, fix in (
        ("CPU", cores, "Set run.train.threads (or `threads`) to what the machines have"),
        ("GPU", gpus, "Use `device=cpu`, or add a machine with a GPU"),
    ):
        most = max((machine.get(name, 0.0) for machine in machines), default=0.0)
        if bytes_needed > most:
            raise ConfigError(
                f"a run needs {bytes_needed:g} {name}, the largest machine of the Ray cluster has {most:g}. {fix}."
            )


def _as_they_end(ray: Any, start: Any, jobs: list[Job], most: int) -> Iterator[Outcome]:
    """The outcome of every job, at most ``most`` at a time. A job that Ray gives up is a run that failed."""
    pending: dict[Any, Job] = {}
    try:
        while jobs or pending:
            while jobs and len(pending) < most:
                job = jobs.pop(0)
                pending[start.remote(job)] = job
            for ended in ray.wait(list(pending), num_returns=1)[0]:
                job = pending.pop(ended)
                try:
                    yield ray.get(ended)
                except ray.exceptions.RayError as error:
                    reason = one_line(str(error).splitlines()[0])
                    message = f"Ray lost its process {TRIES} times ({reason}). Run the same command again."
                    yield Outcome(job.planned.run, error=f"{job.planned.run}: {message}")
    finally:
        ray.shutdown()


@dataclasses.dataclass(frozen=True)
class StudyReport:
    """What one call of `run_study` did.

    Attributes:
        seconds: Wall-clock time of each part of this call: corpus, spectrograms, training, attack, paper.
        failed: Outcomes of the runs that failed, which the tables leave out.
        runs: Number of runs of the study.
        unfinished: Folder names of the runs that are not complete since the time was over; then no tables are made.
    """

    seconds: dict[str, float]
    failed: tuple[Outcome, ...]
    runs: int
    unfinished: tuple[str, ...] = ()


def run_study(
    study: StudyConfig,
    folder: str | Path,
    root: str | Path | None = None,
    engine: Engine = Local(),
    report: Report = print,
    device: str = "cpu",
    trust: bool = False,
    time_limit: str | float | None = None,
) -> StudyReport:
    """Carry out a study. An interrupted call can be repeated: it resumes, and ends with the same tables.

    Args:
        study: The study, such as ``preset_study("demo")``.
        folder: Where runs, rows, tables, figures and the journal are written.
        root: The data set's folder; None for a study that generates its own corpus.
        engine: Where runs are carried out, such as ``Local(workers=2)``.
        report: Called with one line after every step.
        device: Where a run computes, ``cpu`` or ``cuda``.
        trust: Whether the code of adopted models is trusted.
        time_limit: How long this call may take, such as ``"12m"``, or seconds. It ends before an epoch, a piece of an
            attack or a clip of natural-2 that is expected to take longer than what is left. Generated music,
            spectrograms and natural-1 are completed.

    Returns:
        The time of this call, and the runs that failed or are unfinished.

    Raises:
        ConfigError: Settings, protocols or an engine that cannot be used. Nothing was trained.
        DataError: Recordings or annotations that cannot be used, or a corpus with other settings in ``folder``.
        TenutoError: Another process works on the study.
    """
    folder, root = Path(folder).resolve(), Path(root).resolve() if root else None
    limit = Limit(folder) if time_limit is None else Limit(folder, parse_time(time_limit))
    study = settled(study, folder)
    check_names(study)
    require_precision(study.run.train.precision, device)
    engine.check()
    if isinstance(engine, Local):
        require(device)
    dataset_of(study, folder, root)  # refused before anything is written
    if (data := identity(study, folder, root)) is not None:
        check_study(study, data)
        planned(study, data, trust)  # refuses what cannot be adopted
    with journal.hold(folder, journal.STUDY, STUDY_PATIENCE):
        entry = journal.Entry(folder, journal.STUDY)
        with entry.restored_on_refusal():
            prepared = _prepare(study, folder, root, engine, entry)
            name = prepared.name
            report(f"{counted(len(prepared.index), f'clip of {name} is', f'clips of {name} are')} ready")
            each = planned(study, prepared, trust)
            jobs = [Job(study, one, folder, root, device, trust, limit) for one in each]
            under_way = _under_way(jobs, engine)
        # Written when nothing can be refused any more: later calls take their threads from it.
        write_text(StudyFolder(folder).settings, to_yaml(study))
        entry.record.notes |= {"runs": {one.run: one.config.train.epochs for one in each}, "failed": {}}
        with entry.stage(RUNS):
            outcomes = [_reported(outcome, jobs, report, entry) for outcome in under_way]
        failures = tuple(outcome for outcome in outcomes if outcome.error is not None)
        unfinished = tuple(outcome.run for outcome in outcomes if outcome.is_unfinished)
        if not unfinished:
            _analyse(study, folder, {outcome.run for outcome in failures}, entry)
        for remark in _left_over(folder, each, failures):
            report(remark)
    return StudyReport(_shared_out(entry.spent(), outcomes), failures, len(each), unfinished)


def _prepare(
    study: StudyConfig, folder: Path, root: Path | None, engine: Engine, entry: journal.Entry
) -> Prepared:
    """Corpus and spectrograms."""
    if study.corpus is not None:
        with entry.stage(CORPUS):
            make_corpus(study.corpus, folder, engine.workers or os.cpu_count() or 1)
    with entry.stage(PREPARE):
        prepared = prepare_data(study, folder, root)
    check_study(study, prepared)
    entry.record.notes["prepared"] = prepared.fingerprint
    return prepared


def _under_way(jobs: list[Job], engine: Engine) -> Iterator[Outcome]:
    """The outcome of every run, finished runs first. Raises what the engine refuses."""
    ended = [job for job in jobs if job.is_done()]
    running = [job for job in jobs if job not in ended]
    for job in running:
        journal.reopen(job.folder, job.planned.run)
    return itertools.chain(map(Outcome.read, ended), engine.carry_out(running) if running else ())


def _reported(outcome: Outcome, jobs: list[Job], report: Report, entry: journal.Entry) -> Outcome:
    """The outcome, after it was reported unless it is unfinished; an error is then in the journal."""
    if outcome.is_unfinished:
        return outcome
    job = next(job for job in jobs if job.planned.run == outcome.run)
    if outcome.error and not journal.fail(job.folder, outcome.run, outcome.error):
        entry.record.notes["failed"][outcome.run] = outcome.error
        entry.note(True)
    result = outcome.error and f"failed: {outcome.error}"
    report(f"{job.label}: {result or f'clean test correlation {outcome.test_correlation:.3f}'}")
    return outcome


def _analyse(study: StudyConfig, folder: Path, failed_runs: Collection[str], entry: journal.Entry) -> None:
    """Tables and figures of the runs that did not fail, in the order of the plan."""
    finished = [run for run in entry.record.notes["runs"] if run not in failed_runs]
    entry.record.notes.pop("analysed", None)  # no longer true once the first file has been replaced
    if finished:
        attacks = protocols(study)
        with entry.stage(ANALYSE):
            before = entry.record.notes.get("made", [])
            entry.record.notes["made"] = analyse(folder, finished, attacks, before)
        entry.record.notes["analysed"] = analysed(finished, attacks)
    entry.note(True, stage=journal.FAILED if failed_runs else journal.DONE)


def _left_over(folder: Path, each: Sequence[Planned], failures: Sequence[Outcome]) -> Iterator[str]:
    """What the folder holds of earlier calls with other settings, a sentence each."""
    own = {one.run for one in each}
    others = [run.name for run in StudyFolder(folder).runs(lambda error: None) if run.name not in own]
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        yield (
            f"not in the study, but in its folder: {', '.join(others[:3])}{more}. `tenuto stats`, `curve`, `report` "
            "and `audit` of the folder read them too; move what should not count."
        )
    if len(failures) == len(each) and StudyFolder(folder).metrics.is_file():
        yield "no run is complete; tables and figures in the folder are those of an earlier call."


def _shared_out(seconds: dict[str, float], outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Runs overlap, so training and attack share their wall-clock time in proportion to their work."""
    work = {TRAIN: 0.0, ATTACK: 0.0}
    for outcome in outcomes:
        for stage, spent in outcome.seconds.items():
            work[TRAIN if stage in (TRAIN, ADOPT, EVALUATE) else ATTACK] += spent
    share = seconds.get(RUNS, 0.0) / max(sum(work.values()), 1e-9)
    return {
        "corpus": seconds.get(CORPUS, 0.0),
        "spectrograms": seconds.get(PREPARE, 0.0),
        "training": work[TRAIN] * share,
        "attack": work[ATTACK] * share,
        "paper": seconds.get(ANALYSE, 0.0),
    }
