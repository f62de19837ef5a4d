"""Parameters of the library as options of the command line, wherever a message of the library is printed."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import typer

PARAMETERS = {
    **{
        "dataset": "--data",
        "siblings": "--sibling",
        "runs_file": "--runs",
        "hop_seconds": "--hop",
        "snr_db": "--db",
    },
    "inputs": "--domain",
}
"""Parameters of the library whose options have another name."""

APPS: list[typer.Typer] = []
"""The command line with all commands; `tenuto.cli.app` adds it."""


def with_options(message: str) -> str:
    """A message of the library, in which parameters become options: those in backticks, perhaps with a value, and
    "NAME must" at its start.

    >>> with_options("batch_size must be at least 1, got 0. Use `dataset=folder`.")
    '--batch-size must be at least 1, got 0. Use --data folder.'
    """
    return re.sub(r"`(\w+)(?:=([^`]*))?`|^(\w+)(?= must )", _as_option, message)


def _as_option(match: re.Match[str]) -> str:
    option = _options().get(match[1] or match[3])
    return match[0] if option is None else " ".join(filter(None, (option, match[2])))


@functools.cache
def _options() -> dict[str, str]:
    """Parameter -> option, of all commands."""
    commands = (command for app in APPS for command in _leaves(typer.main.get_command(app)))
    names = (name for command in commands for option in command.params for name in option.opts)
    return {name[2:].replace("-", "_"): name for name in names if name.startswith("--")} | PARAMETERS


def _leaves(command: Any) -> Iterator[Any]:
    for below in getattr(command, "commands", {}).values():
        yield from _leaves(below)
    if not hasattr(command, "commands"):
        yield command
