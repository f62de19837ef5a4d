"""Which files a folder holds, and by which of them a published data set is recognised."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from tenuto.audio.loading import EXTENSIONS
from tenuto.errors import FileError
from tenuto.files import naming, read_bytes

Marks = tuple[Mapping[str, tuple[str, ...]], ...]
"""Alternatives: name of a file -> columns of its header."""


def is_audio(name: str) -> bool:
    """Whether a file name is that of a recording."""
    return name.lower().endswith(EXTENSIONS)


def without_type(name: str) -> str:
    """A name without the file type of a recording, if it has one.

    >>> without_type("disc 1/one.MP3"), without_type("op. 9")
    ('disc 1/one', 'op. 9')
    """
    return name.removesuffix(Path(name).suffix) if is_audio(name) else name


def files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Files below a folder in order of their names; those behind symbolic links too, but no loops of links."""
    with naming(folder, "read"):
        real, entries = folder.resolve(), sorted(folder.iterdir())
    if real in above:
        return
    for path in entries:
        if path.is_dir():
            yield from files_below(path, (*above, real))
        else:
            yield path


class Files:
    """The files below a folder, found by their names at any depth, because archives are unpacked in many ways.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tables: dict[str, list[Path]] = {}
        self._audio: dict[tuple[str, str], Path] = {}
        for path in files_below(root):
            self._tables.setdefault(path.name, []).append(path)
            if is_audio(path.name):
                self._audio.setdefault((path.parent.name, without_type(path.name)), path)

    def table(self, name: str, columns: tuple[str, ...] = (), folder: str = "") -> Path:
        """The file of this name, preferably one with these columns, then the uppermost; where it would be if none.

        Args:
            name: Name of the file.
            columns: Columns of its header.
            folder: Name of the folder it must be in; any if empty.
        """
        candidates = [path for path in self._tables.get(name, []) if folder in ("", path.parent.name)]
        paths = sorted(candidates, key=lambda path: len(path.parts))
        fitting = [path for path in paths if set(columns) <= set(header(path))]
        return (fitting or paths or [self.root / folder / name])[0]

    def audio(self, folder: str, clip: str) -> Path:
        """The recording of a clip in a folder of this name, of any file type; where its mp3 would be if none."""
        return self._audio.get((folder, clip), self.root / folder / f"{clip}.mp3")

    def folders(self) -> set[str]:
        """Names of the folders with recordings."""
        return {folder for folder, _ in self._audio}

    def has_any(self, marks: Marks) -> bool:
        """Whether there is a file of one of these names."""
        return any(name in self._tables for files in marks for name in files)

    def have(self, marks: Marks) -> bool:
        """Whether one of the alternatives is there: each of its files, with its columns."""
        return any(
            all(
                name in self._tables and set(columns) <= set(header(self.table(name, columns)))
                for name, columns in files.items()
            )
            for files in marks
        )


def header(path: Path) -> list[str]:
    """The column names of a table with commas, semicolons or tabs; none of a file that cannot be read."""
    try:
        content = read_bytes(path)[:100_000].decode("utf-8-sig", "replace")
    except FileError:
        return []
    lines = content.splitlines()[:1]
    return [name.strip() for mark in ",;\t" for row in csv.reader(lines, delimiter=mark) for name in row]


def lenient_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table whose rows are longer or shorter than its header, undecodable letters replaced.

    For names of artists and albums, which only group clips; no rating is read like this.
    """
    lines = read_bytes(path).decode("utf-8-sig", "replace").splitlines()
    try:
        rows = [
            [" ".join(cell.split()).strip('"') for cell in row]
            for row in csv.reader(lines, skipinitialspace=True)
        ]
    except csv.Error as error:
        raise FileError(f"{path}: not a table ({error}). Download it again.") from error
    names = [name.casefold() for name in rows[0]] if rows else []
    return [dict(zip(names, row, strict=False)) for row in rows[1:]]
