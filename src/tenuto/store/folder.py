"""What the folders of runs, studies and exported models share."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path


@dataclasses.dataclass(frozen=True, order=True)
class BaseFolder:
    """A folder whose files have names. Nothing is read or created when it is made.

    Args:
        path: The folder, which need not exist yet.
    """

    path: Path

    def __init__(self, path: str | Path) -> None:
        object.__setattr__(self, "path", Path(path))

    @property
    def name(self) -> str:
        """The folder's name."""
        return Path(os.path.abspath(self.path)).name


class File:
    """A file (or folder) below a `BaseFolder` by its name: of a folder its path, of a class its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: BaseFolder | None, kind: type[BaseFolder]) -> Path:
        return Path(self._name) if folder is None else folder.path / self._name
