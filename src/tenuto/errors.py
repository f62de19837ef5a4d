"""One root exception. Every message says what came, what was wanted, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TenutoError(Exception):
    """Root of every error Tenuto raises on purpose; the command line prints it and exits with 2."""


class FileError(TenutoError):
    """A file is missing, unreadable, damaged, or cannot be written."""


class AudioError(TenutoError):
    """A recording cannot be decoded, is cut off, silent, or not finite."""


class DataError(TenutoError):
    """Annotations, splits or a data set contradict their own description."""


class ConfigError(TenutoError):
    """A setting is unknown, of the wrong type, or out of range."""


class CheckpointError(TenutoError):
    """A checkpoint is damaged, foreign, or does not fit the data it is used with."""


class AttackError(TenutoError):
    """An attack was given inputs it cannot attack, or broke one of its own promises."""


class DownloadError(TenutoError):
    """A remote file could not be fetched or is not the file that was announced."""


class RandomModelWarning(UserWarning):
    """A model under attack draws random numbers, so its predictions and every result on it vary."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """A sentence that names the nearest valid choice and lists them all.

    >>> did_you_mean("A2MZE", ["A2E", "A2M2E"])
    'Did you mean A2M2E? Valid: A2E, A2M2E.'
    """
    known = [str(choice) for choice in choices]
    by_lower = {choice.lower(): choice for choice in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"Did you mean {by_lower[near[0]]}? " if near else ""
    return f"{hint}Valid: {', '.join(known)}."
