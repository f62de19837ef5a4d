"""What a study's processes write down while they work, for the screen, for resuming and for expected times.

One small JSON file per run and one for the study lie in ``journal/`` below the study's folder; each has one writer at a
time, who holds a lock beside it. A lock is the kernel's: it is free the moment its holder dies, however that happens.
Nothing in the journal enters a table.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from tenuto.errors import FileError, TenutoError
from tenuto.files import naming, read_json, write_json

WRITE_EVERY = 0.5
"""Seconds between two records of the same stage."""

LOOK_EVERY = 0.2
"""Seconds between two attempts at a lock."""

CORPUS, PREPARE, TRAIN, EVALUATE, NATURAL, ATTACK, ANALYSE = (
    "corpus",
    "prepare",
    "train",
    "evaluate",
    "natural",
    "attack",
    "analyse",
)
"""Names of the stages."""

WAITING, STOPPED, DONE, FAILED = "waiting", "stopped", "done", "failed"
STUDY = "study"


@dataclasses.dataclass
class Record:
    """Where one run, or the study's own stages, stand.

    Attributes:
        name: The run's folder, or ``study``.
        stage: What is being done: ``waiting``, the name of a stage, ``done``, ``failed``.
        finished: Stages that have ended.
        epoch: Last epoch trained.
        best_epoch: Epoch of the best score.
        best_score: Best validation score so far.
        steps: Clip-iterations of the present attack done in this sitting, and all there are.
        seconds: Seconds per stage, summed over all sittings.
        error: Why the run failed, in one sentence.
        trace: Where an error nobody foresaw came from.
        host: Machine of the last writer.
        pid: Its process.
        updated: Unix time of the last record.
        notes: Of the study: its ``runs`` in order with their most epochs, the data ``prepared``, the runs and protocols
            ``analysed``, the files ``made`` of them, and why runs ``failed`` whose records belong to somebody else.
    """

    name: str
    stage: str = WAITING
    finished: list[str] = dataclasses.field(default_factory=list)
    epoch: int = 0
    best_epoch: int = 0
    best_score: float | None = None
    steps: int = 0
    steps_total: int = 0
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    error: str | None = None
    trace: str | None = None
    host: str = ""
    pid: int = 0
    updated: float = 0.0
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)


class Entry:
    """One record while it is being written; use it below `held`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = record_path(folder, name)
        self.record = read(folder, name)
        self.record.error = self.record.trace = None
        self._begun = self._written = time.monotonic()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as a stage; it counts as finished only when the block ends by itself."""
        self._begun = time.monotonic()
        self.note(True, stage=name, steps=0, steps_total=0)
        try:
            yield
        finally:
            self._count()
        self.record.finished = [*(known for known in self.record.finished if known != name), name]
        self.note(True)

    def note(self, now: bool = False, **changes: Any) -> None:
        """Change fields of the record and write it down, unless that was done a moment ago."""
        for name, value in changes.items():
            setattr(self.record, name, value)
        if not now and time.monotonic() - self._written < WRITE_EVERY:
            return
        self._count()
        self.record.host, self.record.pid = socket.gethostname(), os.getpid()
        self.record.updated = time.time()
        write_json(self._path, dataclasses.asdict(self.record))
        self._written = time.monotonic()

    def _count(self) -> None:
        """Add the time since the last record to the present stage."""
        now, stage = time.monotonic(), self.record.stage
        if stage not in (WAITING, DONE, FAILED):
            self.record.seconds[stage] = self.record.seconds.get(stage, 0.0) + now - self._begun
        self._begun = now


def record_path(folder: Path, name: str) -> Path:
    """Where the record of a run lies below a study's folder."""
    return folder / "journal" / f"{name}.json"


def read(folder: Path, name: str) -> Record:
    """The record of a run; a fresh one where there is none, or none that can be read."""
    try:
        content = read_json(record_path(folder, name))
        return Record(**content)
    except (FileError, TypeError):
        return Record(name)


def standing(folder: Path, name: str) -> Record:
    """The record of a run, called ``stopped`` where it was begun, has not ended, and nobody is at work on it."""
    record = read(folder, name)
    if record.stage not in (WAITING, DONE, FAILED) and not is_held(folder, name):
        record.stage = STOPPED
    return record


def fail(folder: Path, name: str, error: str) -> bool:
    """Write down why a run failed where it could not do so itself: its process died, or never came to work on it.

    Returns:
        Whether the record says so now; not where another process is at work on the run, whose record it is.
    """
    record = read(folder, name)
    if (record.stage, record.error) == (FAILED, error):  # by the run itself, perhaps with a trace
        return True
    try:
        with held(folder, name, patience=0.0):
            Entry(folder, name).note(True, stage=FAILED, error=error)
    except TenutoError:
        return False
    return True


@contextlib.contextmanager
def held(folder: Path, name: str, patience: float) -> Iterator[None]:
    """Be the only one at work on a run (or the study) inside the block.

    Args:
        folder: The study's folder.
        name: The run, or ``study``.
        patience: Seconds to wait for another process to let go.

    Raises:
        TenutoError: Another process did not let go.
        FileError: The file system has no locks.
    """
    until = time.monotonic() + patience
    with _opened(folder, name, create=True) as lock:
        while not _locked(lock, shared=False):
            if time.monotonic() > until:
                record = read(folder, name)
                what = "the study" if name == STUDY else name
                raise TenutoError(
                    f"{folder}: another process (last record: {record.pid} on {record.host or 'this machine'}) is at "
                    f"work on {what}. Let it finish, or end it, and run the same command again."
                )
            time.sleep(LOOK_EVERY)
        yield


def is_held(folder: Path, name: str) -> bool:
    """Whether somebody is at work on a run right now. Raises `FileError` where the file system has no locks."""
    if not _lock_path(folder, name).is_file():
        return False
    with _opened(folder, name, create=False) as lock:
        return not _locked(lock, shared=True)


def _lock_path(folder: Path, name: str) -> Path:
    return folder / "journal" / f".{name}.lock"


@contextlib.contextmanager
def _opened(folder: Path, name: str, create: bool) -> Iterator[TextIO]:
    path = _lock_path(folder, name)
    with naming(path, "open"):
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        stream = open(path, "a" if create else "r", encoding="utf-8")  # noqa: SIM115
    with stream:
        yield stream


def _locked(stream: TextIO, shared: bool) -> bool:
    """Try for the kernel's lock; closing the file, or dying, lets go of it."""
    import fcntl

    try:
        fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise FileError(
            f"{stream.name}: its file system has no locks ({error.strerror or error}), and a study is safe only with "
            "them. Mount it with flock, or choose another --out."
        ) from error
    return True
