"""The errors of Tenuto. Every message says what is wrong, what is allowed, and what to do."""

from __future__ import annotations

import contextlib
import difflib
import errno
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class TenutoError(Exception):
    """Root of all errors Tenuto raises for bad input; the command line prints it and exits with 2.

    Attributes:
        sentences: One sentence per problem; more than one where `Problems` collected them.
    """

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(str(argument) for argument in self.args)

    def __str__(self) -> str:
        first, others = str(self.args[0]) if self.args else "", len(self.args) - 1
        return first if others < 1 else f"{first} (and {counted(others, 'more problem')})"


class FileError(TenutoError):
    """A file is missing, unreadable, damaged, or cannot be written."""


class AudioError(TenutoError):
    """A recording cannot be decoded, is cut off, silent, or not finite."""


class TenutoWarning(UserWarning):
    """What the command line prints as a line of its own on standard error."""


class AudioWarning(TenutoWarning):
    """A recording was used, but it is damaged or holds next to nothing, so its prediction means little."""


class DataError(TenutoError):
    """Annotations, splits or a data set are inconsistent."""


class ConfigError(TenutoError):
    """A setting is unknown, of the wrong type, or out of range."""


class CheckpointError(TenutoError):
    """A checkpoint is damaged, was written by another program, or does not fit the data it is used with."""


class ModelError(TenutoError):
    """A model from elsewhere cannot be opened, fails, or does not predict what was named."""


class TrustError(ModelError):
    """Code that the user did not name on this machine would have to be executed."""


class AttackError(TenutoError):
    """An attack got inputs it cannot attack, or violated one of its own guarantees."""


class DownloadError(TenutoError):
    """A remote file could not be downloaded, or differs from the published file."""


class Problems:
    """Collects errors, so that all problems of a file are reported and not only the first.

    Example:
        >>> problems = Problems()
        >>> for name in ("one", "two"):
        ...     with problems.collect():
        ...         raise DataError(f"{name} is wrong.")
        >>> problems.raise_all()
        Traceback (most recent call last):
        tenuto.errors.DataError: one is wrong. (and 1 more problem)
    """

    def __init__(self) -> None:
        self._errors: list[TenutoError] = []

    def add(self, problem: TenutoError | str) -> None:
        """Remember an error; a sentence alone is a `DataError`."""
        self._errors.append(DataError(problem) if isinstance(problem, str) else problem)

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        """Remember a `TenutoError` of the block instead of raising it."""
        try:
            yield
        except TenutoError as error:
            self.add(error)

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence per problem, in the order in which they were added; an equal one is not repeated."""
        return tuple(dict.fromkeys(sentence for error in self._errors for sentence in error.sentences))

    def raise_all(self) -> None:
        """Raise an error of the type of the first one, with the sentences of all; return where there are none."""
        if self._errors:
            first = self._errors[0]
            raise type(first)(*self.sentences) from first


class FolderWarning(TenutoWarning):
    """A run of a study cannot be read and is left out, or results cannot be written into a run's folder."""


class PrecisionWarning(TenutoWarning):
    """A network computes in a precision that the processor does not have, which is no faster than float32."""


class ScaleWarning(TenutoWarning):
    """A value lies outside the scale that it is on, so what is computed from it means little."""


class RandomModelWarning(TenutoWarning):
    """A model under attack draws random numbers, so its predictions and every result on it vary."""


@contextlib.contextmanager
def warnings_to(show: Callable[[Warning], None]) -> Iterator[None]:
    """Inside, ``show`` gets every warning of Tenuto, repeated ones too; all others go where they went."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", TenutoWarning)
        others = warnings.showwarning

        def choose(message: Warning | str, category: type[Warning], *args: Any, **options: Any) -> None:
            if issubclass(category, TenutoWarning):
                show(message if isinstance(message, Warning) else category(message))
            else:
                others(message, category, *args, **options)

        warnings.showwarning = choose
        yield


def counted(number: float | str, noun: str, plural: str | None = None) -> str:
    """A number with its noun, or with words that agree with it in number.

    >>> counted(1, "clip"), counted(2, "clip"), counted(2, "row has", "rows have")
    ('1 clip', '2 clips', '2 rows have')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def did_you_mean(name: object, choices: Iterable[str]) -> str:
    """Return a sentence that names the nearest valid choice and lists all of them.

    >>> did_you_mean("A2MZE", ["A2E", "A2M2E"])
    'Did you mean A2M2E? Valid: A2E, A2M2E.'
    """
    names = [str(choice) for choice in choices]
    by_lower = {choice.lower(): choice for choice in names}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.5)
    hint = f"Did you mean {by_lower[near[0]]}? " if near else ""
    return f"{hint}Valid: {', '.join(names)}."


def one_line(text: object, limit: int = 200) -> str:
    """Text of a file or of another program as part of a message: on one line, shortened, without colours, and with
    control characters escaped.

    >>> one_line("first\\nsecond")
    'first\\\\nsecond'
    >>> one_line("\\x1b[96mblue\\x1b[0m")
    'blue'
    """
    line = re.sub(r"\x1b\[[0-9;]*m", "", str(text))
    return printable(line if len(line) <= limit else f"{line[: limit - 3]}...")


def printable(text: str, exceptions: str = "") -> str:
    """Text with escapes in place of control characters and marks of the direction of writing, except those ``kept``.

    >>> printable("\x1b[2J")
    '\\\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in exceptions else one.encode("unicode_escape").decode()
        for one in text
    )


def quote(text: object, limit: int = 80) -> str:
    """A value from a file in quotation marks, as `one_line` shows it.

    >>> quote("abc")
    "'abc'"
    """
    return f"'{one_line(text, limit)}'"


REASONS = {
    errno.ENOSPC: (
        "the disk is full",
        "Free some space and run the same command again; finished work is kept.",
    ),
    errno.EFBIG: (
        "the file would be larger than this file system or the limit `ulimit -f` allows",
        "Raise the limit or choose another disk, then run the same command again.",
    ),
    errno.EROFS: ("the file system is read-only", "Choose a folder that can be written to."),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "Choose a shorter name."),
    errno.EISDIR: ("it is a folder", "Give the path of a file."),
    errno.ENOTDIR: ("a part of its path is a file, not a folder", "Choose another path."),
    errno.EEXIST: ("a file is in the place of its folder", "Choose another path."),
    errno.ELOOP: ("its symbolic links lead in a circle", "Remove the links."),
    errno.ENOENT: ("no such file or folder", "Check the path."),
    errno.EACCES: ("permission denied", "Check the permissions of the file and its folder."),
    errno.EPERM: ("the operation is not permitted", "Check the permissions of the file and its folder."),
    errno.EMFILE: ("too many files are open", "Raise the limit (`ulimit -n`) or use fewer workers."),
    errno.EIO: ("the disk reported an error", "Check the disk or choose another."),
}
REASONS[errno.EDQUOT] = ("the disk is full (quota)", REASONS[errno.ENOSPC][1])
REASONS[errno.ENFILE] = REASONS[errno.EMFILE]
"""What an error number of the operating system means, and what the user can do."""


def explain(error: OSError) -> str:
    """Return why an operation on a file failed, and what to do, as the end of a message."""
    unknown = (one_line(error.strerror or error), "Try again, or choose another path.")
    reason, fix = REASONS.get(error.errno or 0, unknown)
    return f"{reason}. {fix}"
