"""Named parts that others can add: one registry for each kind (attacks, data sets, networks, ...)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import CodeType
from typing import Any, Generic, TypeVar

from tenuto.errors import ConfigError, did_you_mean, one_line

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from names to parts of one kind, open to third-party packages.

    A part registers itself where it is defined, with `register`. A package outside Tenuto declares an entry point
    in the group ``tenuto.<kind>s``; its name is the part's name. Entry points are loaded when a name is unknown or
    when the registry is listed. A notebook cell or a module that is executed again replaces its parts.

    Args:
        kind: What one part is called in messages, such as ``attack`` or ``data set``.
        group: Group of entry points, such as ``tenuto.attacks``.
        parts: Type that every part must have.

    Example:
        >>> shapes: Registry[type] = Registry("shape", "tenuto.shapes")
        >>> @shapes.register("square")
        ... class Square: ...
        >>> shapes["square"].__name__, list(shapes)
        ('Square', ['square'])
        >>> shapes["sqare"]
        Traceback (most recent call last):
        tenuto.errors.ConfigError: Unknown shape 'sqare'. Did you mean square? Valid: square.
    """

    def __init__(self, kind: str, group: str, parts: Any = object) -> None:
        self.kind = kind
        self.group = group
        self._type = parts
        self._parts: dict[str, T] = {}
        self._places: dict[str, tuple[str, CodeType | None]] = {}
        self._has_loaded_entry_points = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that adds a part under ``name``.

        Raises:
            ConfigError: The name is taken, or the part has another type than those of this registry.
        """
        place = _calling_module()

        def add(part: T) -> T:
            self._check_type(name, part)
            is_taken = name in self._parts and self._parts[name] is not part
            if is_taken and not _is_executed_again(self._places[name], place):
                raise ConfigError(f"The {self.kind} '{name}' is registered already. Choose another name.")
            self._parts[name], self._places[name] = part, place
            return part

        return add

    def _check_type(self, name: str, part: object) -> None:
        if not isinstance(part, self._type):
            kind = "class" if self._type is type else self._type.__name__
            raise ConfigError(f"The {self.kind} '{name}' must be a {kind}, got {part!r}.")

    def __getitem__(self, name: str) -> T:
        if name not in self._parts:
            self._load_entry_points()
        if name not in self._parts:
            raise ConfigError(f"Unknown {self.kind} '{name}'. {did_you_mean(name, self._parts)}")
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._parts:
            self._load_entry_points()
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        self._load_entry_points()
        return iter(self._parts)

    def __len__(self) -> int:
        self._load_entry_points()
        return len(self._parts)

    def _load_entry_points(self) -> None:
        """Import what installed packages announce. A package that fails to import is named, not ignored."""
        if self._has_loaded_entry_points:
            return
        self._has_loaded_entry_points = True  # also while they are loaded: a package may list the registry
        try:
            for point in entry_points(group=self.group):
                self._load(point)
        except ConfigError:
            self._has_loaded_entry_points = False  # the next use says so again
            raise

    def _load(self, point: EntryPoint) -> None:
        try:
            part = point.load()
        except Exception as error:
            raise ConfigError(
                f"The {self.kind} '{point.name}' of the entry point {point.value} cannot be imported "
                f"({one_line(error)}). Repair or uninstall that package."
            ) from error
        package = point.module.partition(".")[0]
        if point.name not in self._parts:
            self._check_type(point.name, part)
            self._parts[point.name], self._places[point.name] = part, (package, None)
        elif self._parts[point.name] is not part and self._places[point.name][0].partition(".")[0] != package:
            raise ConfigError(
                f"The entry point {point.value} announces the {self.kind} '{point.name}', which is registered already "
                f"by {self._places[point.name][0]}. Rename it or uninstall that package."
            )


def _calling_module() -> tuple[str, CodeType | None]:
    """Name of the module that registers a part, and its code; no code where that happens inside a function."""
    frame = sys._getframe(2)
    while (
        not frame.f_code.co_name.startswith("<")  # such as <module>; in a notebook also <cell line: 1>
        and frame.f_globals.get("__name__", "").partition(".")[0] == "tenuto"
        and frame.f_back is not None
    ):
        frame = frame.f_back  # a decorator of ours, such as `check`
    code = frame.f_code if frame.f_code.co_name.startswith("<") else None
    return frame.f_globals.get("__name__", "?"), code


def _is_executed_again(first: tuple[str, CodeType | None], again: tuple[str, CodeType | None]) -> bool:
    """Whether a name is registered by another execution of the same module, such as a notebook cell or a reload."""
    return first[0] == again[0] and None not in (first[1], again[1]) and first[1] is not again[1]
