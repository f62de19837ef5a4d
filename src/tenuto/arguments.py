"""Arguments of public calls, compared with the annotations of their parameters before anything is computed."""

from __future__ import annotations

import functools
import inspect
import os
import reprlib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tenuto.errors import ConfigError, did_you_mean, one_line

Call = TypeVar("Call", bound=Callable[..., Any])
Class = TypeVar("Class", bound=type)

NUMBERS: dict[Any, tuple[Any, str]] = {
    float: (int | float, "a number"),
    int: (int, "a whole number"),
    bool: (bool, "true or false"),
}
"""What is taken for a number, once it is one of Python, and what it is called. True is no number."""


LIST = "a list, each entry "
WORDS: dict[Any, str] = {
    str: "a string",
    Path: "a path",
    types.NoneType: "None",
    Callable: "a function",
}
"""What other types are called."""


def checked_with(**advice: str) -> Callable[[Call], Call]:
    """Decorate a public call as `checked`, with what to do about a wrong argument, by the name of the parameter."""

    def decorate(function: Call) -> Call:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            _check(function, args, kwargs, advice)
            return function(*args, **kwargs)

        return typing.cast(Call, call)

    return decorate


checked = checked_with()
"""Decorate a public call: it raises `ConfigError` for an unknown keyword or an argument of a wrong type.

Only types are compared, and only where the annotation can be evaluated: the call itself checks values. An error inside
the call passes as it is.
"""


def checked_methods(cls: Class) -> Class:
    """Decorate a class: its public methods are `checked`."""
    for name, member in list(vars(cls).items()):
        if inspect.isfunction(member) and not name.startswith("_") and not hasattr(member, "__wrapped__"):
            setattr(cls, name, checked(member))
    return cls


def as_list(values: Any, name: str = "") -> list[Any]:
    """One value, such as a name or path, or several, as a list. Raises `ConfigError` for a parameter left empty."""
    is_one = isinstance(values, str | Path) or not isinstance(values, Iterable)
    listed = [values] if is_one else list(values)
    if name and not listed:
        raise ConfigError(f"{name} is empty. Give at least one entry.")
    return listed


def _check(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], advice: Mapping[str, str]
) -> None:
    """Raise `ConfigError` for the first argument that its parameter does not take."""
    parameters, hints = _parameters(function), _hints(function)
    placed = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    keywords = [one.name for one in parameters if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)]
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        for name in (name for name in kwargs if name not in keywords):
            valid = did_you_mean(name, [one for one in keywords if one != "self"])
            raise ConfigError(f"{name} is no parameter of {function.__name__}. {valid}")
    values = dict(zip((one.name for one in placed), args, strict=False))
    for name, value in [*values.items(), *((name, kwargs[name]) for name in keywords if name in kwargs)]:
        if not _fits(value, hints[name]):
            sentence = f"{name} must be {_words(hints[name])}, got {_text(value)}."
            raise ConfigError(f"{sentence} {advice.get(name, '')}".rstrip())


@functools.cache
def _parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(function).parameters.values())


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The type of every parameter by name.

    Names that are imported for type checkers alone are not known here; these parameters take any value.
    """
    hints = {}
    for one in _parameters(function):
        hint = Any if one.annotation is one.empty else one.annotation
        try:
            hints[one.name] = eval(hint, function.__globals__) if isinstance(hint, str) else hint
        except NameError:
            hints[one.name] = Any
    return hints


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type. Lists stand for tuples, and a string for no list."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if hint in NUMBERS:
        value = value.item() if getattr(value, "ndim", None) == 0 else value  # of NumPy or torch
        return isinstance(value, NUMBERS[hint][0]) and (hint is bool or not isinstance(value, bool))
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is typing.Literal:  # which of them, the call says
        return isinstance(value, tuple(map(type, parts)))
    if origin in (Sequence, tuple, list, Iterable):
        return _fits_list(value, origin, parts)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(each, parts[1]) for each in value.values())
    if origin is Callable:
        return callable(value)
    kind = os.PathLike if hint is Path else origin or hint
    return not isinstance(kind, type) or isinstance(value, kind)


def _fits_list(value: Any, origin: Any, parts: tuple[Any, ...]) -> bool:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return False
    if not isinstance(value, Collection) or isinstance(value, Mapping):
        return origin is Iterable  # what can be read once is left to the call
    if origin is tuple and parts[-1] is not ...:
        return len(value) == len(parts) and all(map(_fits, value, parts))
    return all(_fits(each, parts[0]) for each in value)


def _text(value: Any) -> str:
    """A plain value, or the type of another one: arrays and models fill screens."""
    is_plain = value is None or isinstance(value, str | int | float | list | tuple | set | dict)
    return one_line(reprlib.repr(value), 80) if is_plain else type(value).__name__


def _words(hint: Any) -> str:
    """What is allowed, in words, such as ``a number or None``."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        words = list(dict.fromkeys(_words(part) for part in parts if not (part is str and Path in parts)))
        words = ["several" if word in [LIST + one for one in words] else word for word in words]
        return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
    if origin is typing.Literal:
        return " or ".join(map(repr, parts))
    if origin is tuple and parts[-1] is not ...:
        return f"{len(parts)} values, each {_words(parts[0])}"
    if origin in (Sequence, tuple, list, Iterable):
        return f"{LIST}{_words(parts[0])}"
    if origin is Mapping:
        return "a mapping" + ("" if parts[1] is Any else f", each value {_words(parts[1])}")
    if hint in NUMBERS:
        return NUMBERS[hint][1]
    kind = origin or hint
    name = getattr(kind, "__name__", str(kind))
    return WORDS.get(kind) or f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
