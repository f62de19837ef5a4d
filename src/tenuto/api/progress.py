"""How a call reports on long work: a bar per task, and notes. The default is silent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

Bar = contextlib.AbstractContextManager[Callable[[int], None]]


def _ignore(steps: int) -> None:
    """Report nothing."""


class Progress:
    """Reports nothing. Override the methods to show progress."""

    def bar(self, task: str, total: int | None) -> Bar:
        """Report a task of ``total`` steps (None: unknown); yields the function that is called with finished steps."""
        return contextlib.nullcontext(_ignore)

    def note(self, sentence: str) -> None:
        """Report one sentence."""


SILENT = Progress()
