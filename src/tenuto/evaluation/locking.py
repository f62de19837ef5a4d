"""One process at a time makes the rows of a protocol on a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from filelock import FileLock, Timeout

from tenuto.errors import REASONS, FileError, TenutoError
from tenuto.evaluation.runs import OpenedRun
from tenuto.files import naming

PROTOCOL_PATIENCE = 2.0
"""Seconds to wait for another process that runs the same protocol on the same run: one about to end."""


@contextlib.contextmanager
def one_process(run: OpenedRun, protocol: object, part: str) -> Iterator[None]:
    """Be the only process that runs a protocol on a run. The lock of a process that dies is free.

    The file is removed once all rows are written. Removing it earlier would be unsafe: a process that waits for the
    removed file and one that makes a new file would both get the lock. After that, both of them only read the rows.
    """
    path = run.files.lock(protocol, part)
    with naming(path, "lock"):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=PROTOCOL_PATIENCE, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise TenutoError(
                f"{run.folder}: another process is running {protocol} on its {part} clips. Wait until it has finished, "
                "then run the same command again."
            ) from error
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno in REASONS:  # what fails is the file, not its lock
                raise
            raise FileError(
                f"{path}: this file system has no locks, which this needs. Copy the run to another disk."
            ) from error
    try:
        yield
        with contextlib.suppress(OSError):  # Windows removes it on release; a read-only folder keeps it
            path.unlink()
    finally:
        lock.release()
