"""Other processes of this machine: their parents, whether they run, and waiting for what they do."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def wait_for(
    condition: Callable[[], Any], process: subprocess.Popen[Any] | None = None, seconds: float = 300
) -> None:
    """Wait until something is so, while a process that does it is running."""
    until = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def _state(process: int) -> list[str]:
    """State, parent and more of a process; nothing where it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def parent(process: int) -> int | None:
    """The process that started another; None where that is gone."""
    state = _state(process)
    return int(state[1]) if state else None


def is_running(process: int) -> bool:
    """Whether a process has not ended."""
    return _state(process)[:1] not in ([], ["Z"])
