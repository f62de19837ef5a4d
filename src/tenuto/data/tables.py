"""The formats in which people keep tables: separators and decimal commas are detected."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence

SEPARATORS = (",", ";", "\t")
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")


def separator_of(content: str, columns: Sequence[str]) -> str:
    """The separator with which the first line has most of these columns; of several, the one that makes most fields.

    >>> separator_of("file;valence;arousal\\n1;3,5;2", ["file"])
    ';'
    """
    header = content.lstrip("\r\n").splitlines()[:1]

    def fit(separator: str) -> tuple[int, int]:
        names = [name.strip() for row in csv.reader(header, delimiter=separator) for name in row]
        return len(set(columns) & set(names)), len(names)

    return max(SEPARATORS, key=fit)


def decimal_of(cells: Iterable[str]) -> str:
    """The decimal mark of a column of numbers: a comma where a number has one and none has a point."""
    cells = list(cells)
    has_comma = any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells)
    return "," if has_comma and not any("." in cell for cell in cells) else "."
