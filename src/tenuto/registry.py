"""Named parts that others can add: one registry for each kind (attacks, data sets, networks, ...)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from tenuto.errors import ConfigError, did_you_mean

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from names to parts of one kind, open to third-party packages.

    A part registers itself where it is defined, with `register`. A package outside Tenuto declares an entry point
    in the group ``tenuto.<kind>s``; its name is the part's name. Entry points are loaded when a name is unknown or
    when the registry is listed.

    Args:
        kind: What one part is called in messages, such as ``attack`` or ``data set``.
        group: Group of entry points, such as ``tenuto.attacks``.

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

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._parts: dict[str, T] = {}
        self._has_loaded_entry_points = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that adds a part under ``name``. Raises `ConfigError` where the name is taken."""

        def add(part: T) -> T:
            if self._parts.setdefault(name, part) is not part:
                raise ConfigError(f"The {self.kind} '{name}' is registered already. Choose another name.")
            return part

        return add

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
        self._has_loaded_entry_points = True
        for point in entry_points(group=self.group):
            try:
                part = point.load()
            except Exception as error:
                raise ConfigError(
                    f"The {self.kind} '{point.name}' of the entry point {point.value} cannot be imported ({error}). "
                    "Repair or uninstall that package."
                ) from error
            self._parts.setdefault(point.name, part)
