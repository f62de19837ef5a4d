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


def with_options(message: str, command: str | None = None) -> str:
    """A message of the library, in which parameters become options: those in backticks, perhaps with a value, and
    "NAME must" at its start.

    Args:
        message: The message.
        command: The command that it ends. What it says of a "NAME" that is no option of this command, but perhaps a
            setting with the name of another command's option, stays as it is. Of a study, whose settings are keys of
            a file, the parameters in backticks that are no options of it stay too.

    >>> with_options("batch_size must be at least 1, got 0. Use `dataset=folder`.")
    '--batch-size must be at least 1, got 0. Use --data folder.'
    >>> with_options("steps must be a whole number.", "attack")
    'steps must be a whole number.'
    """

    own = _options(command)

    def as_option(match: re.Match[str]) -> str:
        option = (own if command == "study" else _options()).get(match[1]) if match[1] else own.get(match[3])
        return match[0] if option is None else " ".join(filter(None, (option, match[2])))

    return re.sub(r"`(\w+)(?:=([^`]*))?`|^(\w+)(?= must )", as_option, message)


@functools.cache
def _options(command: str | None = None) -> dict[str, str]:
    """Parameter -> option, of one command or of all."""
    groups: list[Any] = [typer.main.get_command(app) for app in APPS]
    if command is not None:
        groups = [group.commands[command] for group in groups if command in getattr(group, "commands", {})]
    names = (
        name for group in groups for leaf in _leaves(group) for option in leaf.params for name in option.opts
    )
    options = {name[2:].replace("-", "_"): name for name in names if name.startswith("--")}
    return options | {name: option for name, option in PARAMETERS.items() if option in options.values()}


def _leaves(command: Any) -> Iterator[Any]:
    for below in getattr(command, "commands", {}).values():
        yield from _leaves(below)
    if not hasattr(command, "commands"):
        yield command
