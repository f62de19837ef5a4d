"""The errors of Tenuto. Every message says what is wrong, what is allowed, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TenutoError(Exception):
    """Root of all errors Tenuto raises for bad input; the command line prints it and exits with 2."""


class FileError(TenutoError):
    """A file is missing, unreadable, damaged, or cannot be written."""


class AudioError(TenutoError):
    """A recording cannot be decoded, is cut off, silent, or not finite."""


class DataError(TenutoError):
    """Annotations, splits or a data set are inconsistent."""


class ConfigError(TenutoError):
    """A setting is unknown, of the wrong type, or out of range."""


class CheckpointError(TenutoError):
    """A checkpoint is damaged, was written by another program, or does not fit the data it is used with."""


class AttackError(TenutoError):
    """An attack got inputs it cannot attack, or violated one of its own guarantees."""


class DownloadError(TenutoError):
    """A remote file could not be downloaded, or differs from the published file."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return a sentence that names the nearest valid choice and lists all of them.

    >>> did_you_mean("A2MZE", ["A2E", "A2M2E"])
    'Did you mean A2M2E? Valid: A2E, A2M2E.'
    """
    known = [str(choice) for choice in choices]
    by_lower = {choice.lower(): choice for choice in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"Did you mean {by_lower[near[0]]}? " if near else ""
    return f"{hint}Valid: {', '.join(known)}."


def one_line(text: object, limit: int = 200) -> str:
    """Text of a file or of another program as part of a message: on one line, control characters escaped, shortened.

    >>> one_line("first\\nsecond")
    'first\\\\nsecond'
    """
    shown = str(text)
    shortened = shown if len(shown) <= limit else f"{shown[: limit - 3]}..."
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in shortened
    )


def quote(text: object, limit: int = 80) -> str:
    """A value from a file in quotation marks, as `one_line` shows it.

    >>> quote("abc")
    "'abc'"
    """
    return f"'{one_line(text, limit)}'"
