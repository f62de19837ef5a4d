"""When a call of a study ends before its work is done: at a limit of time, or on request.

A request is a file in the journal, so that it reaches workers on every machine that sees the study's folder.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from pathlib import Path

from tenuto.attacks.checks import is_number
from tenuto.errors import ConfigError, FileError
from tenuto.files import read_text, write_text
from tenuto.store.study import StudyFolder

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


class OutOfTime(Exception):  # noqa: N818
    """The call must end before the next epoch or piece of an attack. Finished work is on disk."""


def parse_time(value: str | float) -> float:
    """A limit of time in seconds.

    Args:
        value: A number of seconds, or a text such as ``90s``, ``12m`` or ``1h30m``.

    Raises:
        ConfigError: It is neither, or not positive.

    >>> parse_time("1h30m")
    5400.0
    """
    if isinstance(value, str):
        parts = re.fullmatch(r"(?:\d+(?:\.\d+)?[hms])+", value) and re.findall(r"([\d.]+)([hms])", value)
        seconds = sum(float(number) * UNITS[unit] for number, unit in parts or [])
    else:
        seconds = value if is_number(value) else math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(
            f"time_limit must be a time such as 90s, 12m or 1h30m (in Python also a number of seconds), got {value!r}."
        )
    return seconds


@dataclasses.dataclass(frozen=True)
class Limit:
    """The end of one call of `run_study`, the same for all its workers.

    Attributes:
        folder: The study's folder.
        seconds: How long the call may take.
        begun: Unix time at which it began. Earlier requests to stop belong to earlier calls.
    """

    folder: Path
    seconds: float = math.inf
    begun: float = dataclasses.field(default_factory=time.time)

    def is_reached(self, ahead: float = 0.0) -> bool:
        """Whether the time is over, or will be in ``ahead`` seconds, or somebody requested the end."""
        return time.time() + ahead > self.begun + self.seconds or _requested(self.folder) >= self.begun


class Pace:
    """Decides before every epoch or piece of one stage whether there is time for it.

    The next one is expected to take as long as the longest so far. The first begins unless the time is over already,
    however long what precedes it took.
    """

    def __init__(self, limit: Limit | None) -> None:
        self._limit, self._longest = limit, 0.0
        self._begun: float | None = None

    def begin(self) -> None:
        """Measure the first epoch or piece from now on, where no check precedes it."""
        self._begun = time.monotonic()

    def check(self) -> None:
        """Raise `OutOfTime` where the next epoch or piece would not end in time."""
        now = time.monotonic()
        if self._begun is not None:
            self._longest = max(self._longest, now - self._begun)
        self._begun = now
        if self._limit is not None and self._limit.is_reached(self._longest):
            raise OutOfTime


def request_stop(folder: Path) -> None:
    """Ask the running call of a study to end: every worker finishes its epoch or piece."""
    write_text(StudyFolder(folder).stop, repr(time.time()))


def _requested(folder: Path) -> float:
    """Unix time of the last request; minus infinity without one."""
    try:
        return float(read_text(StudyFolder(folder).stop))
    except (FileError, ValueError):
        return -math.inf
