"""The entry point. It imports nothing heavy before `main` runs, so that an interrupt at any time ends in one line."""

from __future__ import annotations

import codecs
import errno
import os
import signal
import sys
from types import FrameType

from tenuto.cli import EXIT_STOPPED

EXIT_BAD_OUTPUT = 2
PLAIN = {"→": "->", "█": "#", "│": "|", "Δ": "d", "×": "x", "−": "-", "–": "-", "…": "...", "±": "+-"}
"""Substitutes in a terminal that cannot show a character; others become a question mark."""


def main() -> None:
    """Run the command line: the console script and ``python -m tenuto``."""
    sys.unraisablehook = _end_if_interrupted
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        _end(EXIT_STOPPED, "stopped.")
    except BrokenPipeError:
        _end(1)
    except OSError as error:
        if error.filename is not None:  # not the standard output
            raise
        if isinstance(error, FileNotFoundError):
            _end(EXIT_BAD_OUTPUT, "error: the current folder no longer exists. Change to another folder.")
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        _end(EXIT_BAD_OUTPUT, f"error: cannot write to the standard output ({reason}).")


def _end_if_interrupted(ignored: sys.UnraisableHookArgs) -> None:
    """End where an interrupt meets a destructor or a callback, in which Python would ignore it and go on."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        _end(EXIT_STOPPED, "stopped.")
    sys.__unraisablehook__(ignored)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`, or end while a module is imported: extension modules that start can crash on it."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            _end(EXIT_STOPPED, "stopped.")
        frame = frame.f_back
    raise KeyboardInterrupt


def _run() -> int:
    """Run the command; its exit code. Whatever is still buffered is written here, where an error can be caught."""
    os.getcwd()  # raises in a folder that was removed; PyTorch would end there with a message of its own
    os.environ["MPLBACKEND"] = "agg"  # a backend inherited from a notebook need not exist here
    codecs.register_error("tenuto.plain", _plain)
    # A caller may close both streams: what is printed is then lost, the work and the exit code are not.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="tenuto.plain")  # type: ignore[union-attr]
    from tenuto.cli.app import app

    try:
        app()
    except SystemExit as ended:
        sys.stdout.flush()
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Substitute what an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(
        PLAIN.get(character, "?") for character in error.object[error.start : error.end]
    ), error.end


def _end(code: int, sentence: str = "") -> None:
    """Leave at once, without a flush of the output that cannot be written."""
    if sentence:
        os.write(2, f"{sentence}\n".encode())
    os._exit(code)
