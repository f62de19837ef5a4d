"""Code that the user named on this machine: only that code is executed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tenuto.errors import FileError, TrustError
from tenuto.files import naming, read_text, write_text

TRUST_PATIENCE = 10.0
"""Seconds to wait for another process that records what it trusts."""


def trusted_file() -> Path:
    """The list of trusted code, ``$XDG_STATE_HOME/tenuto/trusted.json`` (by default in ``~/.local/state``)."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (state if state.is_absolute() else Path.home() / ".local" / "state") / "tenuto" / "trusted.json"


def check_trust(sha256: str, source: str, *, trust: bool, is_complete: bool) -> None:
    """Let code pass that the user named on this machine.

    Args:
        sha256: Of the content.
        source: The file or function that was named.
        trust: Whether the user names it now; it is then recorded.
        is_complete: Whether the file contains all code. Python files import others, so the same content in another
            place is not the same code.

    Raises:
        TrustError: It was not named on this machine, or its content is another now.
        FileError: The list cannot be read or written.
    """
    if trust:
        _record(sha256, source)
        return
    entries = _read(trusted_file())
    sources = entries.get(sha256, [])
    if source in sources or (is_complete and sources):
        return
    is_changed = any(source in others for others in entries.values())
    state = "has changed since you trusted it" if is_changed else "is not trusted on this machine"
    raise TrustError(
        f"{source}: this code {state}, so it was not executed. Read it; if you trust it, repeat with --trust "
        "(trust=True)."
    )


def moved_to(source: str, sha256: str | None) -> str:
    """Where ``file.py:name`` is now: the source, or where its file is gone, a trusted file of the same content."""
    place, _, name = source.rpartition(":")
    if place.endswith(".py") and sha256 and not Path(place).is_file():
        for other in _read(trusted_file()).get(sha256, []):
            other_place = other.rpartition(":")[0]
            if Path(other_place).is_file():
                return f"{other_place}:{name}"
    return source


def _record(sha256: str, source: str) -> None:
    file = trusted_file()
    with naming(file, "write"):
        file.parent.mkdir(parents=True, exist_ok=True)
        with _lock(f"{file}.lock"):
            entries = _read(file)
            if source not in entries.get(sha256, []):
                entries[sha256] = [*entries.get(sha256, []), source]
                write_text(file, json.dumps(entries, indent=1, sort_keys=True) + "\n")


@contextlib.contextmanager
def _lock(path: str) -> Iterator[None]:
    """Be the only process that changes the file; a file in place of a lock outlives a killed process."""
    try:
        with FileLock(path, timeout=TRUST_PATIENCE):
            yield
    except Timeout as error:
        raise FileError(
            f"{path}: another process has it, or one was killed on a disk without locks. Try again, or remove it."
        ) from error


def _read(file: Path) -> dict[str, list[str]]:
    if not file.exists():
        return {}
    try:
        entries = json.loads(read_text(file))
        return {str(key): [str(source) for source in sources] for key, sources in entries.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise FileError(f"{file}: damaged. Remove it, then name your models again with --trust.") from error
