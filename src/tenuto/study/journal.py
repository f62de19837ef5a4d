"""Records of a study in progress: for the screen, for resuming, and for expected times.

``journal/`` in the study's folder has one small JSON file per run and one for the study. Each has one writer at a time,
which holds a lock on the file of the same name that ends in ``.lock``. The operating system releases a lock when its
holder ends, for whatever reason. No table is made from the journal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from tenuto.errors import REASONS, ConfigError, FileError, TenutoError, counted, one_line
from tenuto.files import naming, read_bytes, read_json, write_bytes, write_json
from tenuto.store.study import StudyFolder

WRITE_EVERY = 0.5
"""Shortest time between two records of the same stage, in seconds."""

LOOK_EVERY = 0.2
"""Time between two attempts to take a lock, in seconds."""

CORPUS, PREPARE, TRAIN, ADOPT = "corpus", "prepare", "train", "adopt"
EVALUATE, NATURAL, ATTACK, ANALYSE = "evaluate", "natural", "attack", "analyse"
"""Names of the stages."""

WAITING, STOPPED, DONE, FAILED = "waiting", "stopped", "done", "failed"
STUDY = "study"


@dataclasses.dataclass
class Record:
    """The state of one run, or of the study's own stages.

    Attributes:
        name: Folder name of the run, or ``study``.
        stage: ``waiting``, the name of the current stage, ``done`` or ``failed``.
        finished: Names of completed stages.
        epoch: Last epoch trained.
        best_epoch: Epoch of the best score.
        best_score: Best validation score so far.
        steps: Clip-iterations of the current attack that this call has done.
        steps_total: Clip-iterations of the current attack.
        seconds: Seconds per stage, summed over all calls.
        error: Why the run failed, in one sentence.
        trace: Traceback of an unexpected error.
        host: Machine of the last writer.
        pid: Process of the last writer.
        updated: Unix time of the last record.
        notes: Of the study: its ``runs`` in order with their number of epochs, the fingerprint of the data
            ``prepared``, the runs and protocols ``analysed``, the files ``made`` from them, and why runs ``failed``
            whose records another process holds.
    """

    name: str
    stage: str = WAITING
    finished: list[str] = dataclasses.field(default_factory=list)
    epoch: int = 0
    best_epoch: int = 0
    best_score: float | None = None
    steps: int = 0
    steps_total: int = 0
    seconds: dict[str, FiniteFloat] = dataclasses.field(default_factory=dict)
    error: str | None = None
    trace: str | None = None
    host: str = ""
    pid: int = 0
    updated: FiniteFloat = 0.0
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)


NOTES: dict[str, Any] = {"runs": dict[str, int], "failed": dict[str, str], "made": list[str]}
"""Types of the notes whose content is used."""


class Entry:
    """Writes one record. Use it inside `hold`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = record_path(folder, name)
        self._content_before = read_bytes(self._path) if self._path.is_file() else None
        self.record = read(folder, name)
        self.record.error = self.record.trace = None
        self._seconds_before = dict(self.record.seconds)
        self._begun = self._written = time.monotonic()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as a stage, which is finished when the block ends without an exception."""
        self._begun = time.monotonic()
        self.note(True, stage=name, steps=0, steps_total=0)
        try:
            yield
        finally:
            self._count()
        self.record.finished = [*(earlier for earlier in self.record.finished if earlier != name), name]
        self.note(True)

    def note(self, now: bool = False, **changes: Any) -> None:
        """Change fields of the record, and write it if ``now`` or if the last record is `WRITE_EVERY` old."""
        for name, value in changes.items():
            setattr(self.record, name, value)
        if not now and time.monotonic() - self._written < WRITE_EVERY:
            return
        self._count()
        self.record.host, self.record.pid = socket.gethostname(), os.getpid()
        self.record.updated = time.time()
        write_json(self._path, dataclasses.asdict(self.record))
        self._written = time.monotonic()

    def spent(self) -> dict[str, float]:
        """Seconds per stage since this entry was made."""
        before = self._seconds_before
        return {stage: total - before.get(stage, 0.0) for stage, total in self.record.seconds.items()}

    @contextlib.contextmanager
    def restored_on_refusal(self) -> Iterator[None]:
        """Leave the record as it was before this call where the block refuses the call."""
        try:
            yield
        except TenutoError:
            if self._content_before is None:
                self._path.unlink(missing_ok=True)
            else:
                write_bytes(self._path, self._content_before)
            raise

    def _count(self) -> None:
        """Add the time since the last record to the current stage."""
        now, stage = time.monotonic(), self.record.stage
        if stage not in (WAITING, DONE, FAILED):
            self.record.seconds[stage] = self.record.seconds.get(stage, 0.0) + now - self._begun
        self._begun = now


def record_path(folder: Path, name: str) -> Path:
    """The file of a record in a study's folder."""
    return StudyFolder(folder).journal / f"{name}.json"


def read(folder: Path, name: str) -> Record:
    """The record of a run; a new one where there is no readable file."""
    try:
        record = Record(**{**read_json(record_path(folder, name)), "name": name})
        for note, kind in NOTES.items():
            if isinstance(record.notes, dict) and note in record.notes:
                TypeAdapter(kind).validate_python(record.notes[note])
        return TypeAdapter(Record).validate_python(
            dataclasses.asdict(record)
        )  # checks the type of every field
    except (FileError, TypeError, ValidationError):
        return Record(name)


def standing(folder: Path, name: str) -> Record:
    """The record of a run; its stage is ``stopped`` where work has begun and no process holds the lock."""
    record = read(folder, name)
    if record.stage not in (WAITING, DONE, FAILED) and is_held(folder, name) is False:
        record.stage = STOPPED
    return record


def standing_records(folder: Path) -> tuple[Record, list[Record]]:
    """The records of a study and of its runs, in the order of the plan."""
    study = standing(folder, STUDY)
    records = [standing(folder, name) for name in study.notes.get("runs", {})]
    for record in records:
        # A run may have been finished since by the process that held it.
        if record.stage != DONE and record.error is None:
            record.error = study.notes.get("failed", {}).get(record.name)
    return study, records


def require(folder: Path, study: Record) -> None:
    """Raise `ConfigError` where a study has no record, so that no progress can be shown, and say what to do."""
    if study.stage != WAITING:
        return
    if (record := record_path(folder, STUDY)).is_file():
        raise ConfigError(
            f"{folder}: has a damaged {record.name} in its journal. `tenuto study run` with the same --out writes it "
            "again."
        )
    runs = StudyFolder(folder).runs(lambda error: None) if folder.is_dir() else []
    if not runs:
        raise ConfigError(f"{folder}: contains no study. Give the folder that was given to --out.")
    number = f"{counted(len(runs), 'run')}"
    raise ConfigError(
        f"{folder}: has {number}, but no journal, in which `tenuto study run` records progress; results that were "
        f"copied or made by single commands have none. `tenuto stats {folder}` and `tenuto report {folder}` show the "
        "results."
    )


def reopen(folder: Path, name: str) -> None:
    """Let a run that was done wait for what has been added to the study, unless a process works on it."""
    if read(folder, name).stage == DONE:
        with contextlib.suppress(TenutoError), hold(folder, name, patience=0.0):
            Entry(folder, name).note(True, stage=WAITING)


def fail(folder: Path, name: str, error: str) -> bool:
    """Record why a run failed where its own process could not: it died, or never started.

    Returns:
        Whether the error is in the record. It is not where another process works on the run.
    """
    record = read(folder, name)
    if (record.stage, record.error) == (FAILED, error):  # written by the run itself, perhaps with a trace
        return True
    try:
        with hold(folder, name, patience=0.0):
            Entry(folder, name).note(True, stage=FAILED, error=error)
    except TenutoError:
        return False
    return True


@contextlib.contextmanager
def hold(folder: Path, name: str, patience: float) -> Iterator[None]:
    """Be the only process that works on a run (or the study) inside the block.

    Args:
        folder: The study's folder.
        name: The run, or ``study``.
        patience: Seconds to wait for another process.

    Raises:
        TenutoError: Another process holds the lock.
        FileError: The file system has no locks, or the lock file cannot be written.
    """
    path = _lock_path(folder, name)
    with naming(path.parent, "create"):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(path)
    try:
        lock.acquire(timeout=patience, poll_interval=LOOK_EVERY)
    except Timeout as error:
        record, work = read(folder, name), "the study" if name == STUDY else name
        raise TenutoError(
            f"{folder}: another process (last record: {record.pid} on {record.host or 'this machine'}) is working on "
            f"{work}. Wait for it, or end it, and run the same command again."
        ) from error
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno in REASONS:  # what fails is the file, not its lock
            with naming(path, "write"):
                raise
        reason = one_line(getattr(error, "strerror", None) or error)
        raise FileError(
            f"{path}: its file system has no locks ({reason}), which a study needs. Mount it with flock, or choose "
            "another `out`."
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_held(folder: Path, name: str) -> bool | None:
    """Whether a process works on a run now. None where that is unknown: without locks, or without permission."""
    path = _lock_path(folder, name)
    if not path.is_file():
        return False
    try:
        with _lock(path).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return None


def _lock_path(folder: Path, name: str) -> Path:
    return StudyFolder(folder).journal / f".{name}.lock"


def _lock(path: Path) -> FileLock:
    """A lock of the operating system; never a mere file, which would outlive a killed process."""
    return FileLock(path, fallback_to_soft=False)
