"""Messages that the mp3 decoder prints: they belong to the caller, not on the terminal."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator

DECODER_LINE = re.compile(rb"\[src/libmpg123|(Note|Warning): |\s*$")

_LOCK = threading.Lock()


@contextlib.contextmanager
def decoder_messages() -> Iterator[list[str]]:
    """Inside, what libmpg123 writes to standard error is kept; afterwards it is in the list, one line each.

    The descriptor is redirected, since the decoder is written in C. One thread at a time does so, and lines of
    others are passed on at the end.
    """
    messages: list[str] = []
    with _LOCK, contextlib.ExitStack() as stack:
        try:
            original = os.dup(2)
        except OSError:  # standard error is closed: nothing can be printed
            yield messages
            return
        stack.callback(os.close, original)
        capture = stack.enter_context(tempfile.TemporaryFile())
        os.dup2(capture.fileno(), 2)
        try:
            yield messages
        finally:
            os.dup2(original, 2)
            capture.seek(0)
            for line in capture.read().splitlines(keepends=True):
                if not DECODER_LINE.match(line):
                    os.write(2, line)
                elif line.strip():
                    messages.append(line.decode("utf-8", "replace").strip())
