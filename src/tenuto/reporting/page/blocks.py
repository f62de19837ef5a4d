"""What a report consists of: sections of text, tables, pictures and sounds, as plain values that a template shows."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from tenuto.reporting.figures.style import svg_uri
from tenuto.reporting.tables import GROUP, Columns, text_cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS_PER_INCH = 96
"""Of CSS: what an inch of a figure is on a page."""


@dataclass(frozen=True)
class Text:
    """A paragraph; words between backticks are code."""

    kind: ClassVar[str] = "text"
    words: str


@dataclass(frozen=True)
class Points:
    """A list of sentences; words between backticks are code."""

    kind: ClassVar[str] = "points"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """The text of a table's cell, and the number it is sorted by where that is not the text itself."""

    text: str
    sort: str = ""
    mark: str = ""
    """A word for the style, such as a verdict."""


@dataclass(frozen=True)
class TableBlock:
    """A table with its caption; the first column names the line.

    Attributes:
        caption: What it shows.
        columns: Headings.
        words: Which columns hold words, aligned left; numbers are aligned right.
        lines: Cells, as many per line as there are columns.
        sortable: Whether a reader can sort it.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    words: tuple[bool, ...]
    lines: tuple[tuple[Cell, ...], ...]
    sortable: bool = False

    @property
    def label(self) -> str:
        """The first sentence of the caption: the table's name for a screen reader."""
        return self.caption.split(". ")[0].rstrip(".")


@dataclass(frozen=True)
class Picture:
    """A picture and what it shows in words: for those who do not see it (``alt``), and below it (``caption``).

    ``scrolls``: on a narrow screen it keeps its size and is moved sideways.
    """

    kind: ClassVar[str] = "picture"
    source: str
    alt: str
    caption: str
    width: int
    height: int
    scrolls: bool = False


@dataclass(frozen=True)
class PlayerSound:
    """A sound: its label, its name for a screen reader, and its data URI."""

    label: str
    name: str
    source: str


@dataclass(frozen=True)
class Player:
    """Sounds of the same length, of which one is heard; a reader switches between them at the same position."""

    kind: ClassVar[str] = "player"
    title: str
    sounds: tuple[PlayerSound, ...]


@dataclass(frozen=True)
class ClipBlock:
    """One clip before and after an attack: what is heard, seen and predicted.

    ``player`` is None for the clip that is heard on top of the page.
    """

    kind: ClassVar[str] = "clip"
    title: str
    sentences: tuple[str, ...]
    player: Player | None
    picture: Picture
    table: TableBlock


Block = Text | Points | TableBlock | Picture | Player | ClipBlock


@dataclass(frozen=True)
class Section:
    """A heading with an anchor, and the blocks below it."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def points(sentences: Sequence[str]) -> tuple[Points, ...]:
    """A list of sentences; no block where there are none."""
    return (Points(tuple(sentences)),) if sentences else ()


def audio_uri(content: bytes) -> str:
    """A FLAC file as a URI that needs no file."""
    return f"data:audio/flac;base64,{base64.b64encode(content).decode('ascii')}"


def picture(figure: Figure, alt: str, caption: str, scrolls: bool = False) -> Picture:
    """A figure as a picture of a page: the same figure gives the same bytes."""
    width, height = (round(float(inches) * PIXELS_PER_INCH) for inches in figure.get_size_inches())
    return Picture(svg_uri(figure), alt, caption, width, height, scrolls)


def table(
    cells: pd.DataFrame, caption: str, words: Sequence[str] = (), marked: str | None = None
) -> TableBlock:
    """Text cells as a table, without the column that groups lines.

    Args:
        cells: As `tenuto.reporting.tables.text_cells` returns them.
        caption: What the table shows.
        words: Columns aligned left, besides the first.
        marked: A column whose words have a style, such as verdicts.
    """
    columns = cells.drop(columns=GROUP, errors="ignore")
    names = tuple(map(str, columns.columns))
    lines = tuple(
        tuple(
            Cell(str(cell), mark=str(cell).lower() if name == marked else "")
            for name, cell in zip(names, line, strict=True)
        )
        for line in columns.itertuples(index=False)
    )
    return TableBlock(caption, names, tuple(name in (names[0], *words) for name in names), lines)


def sortable(numbers: pd.DataFrame, caption: str, columns: Columns) -> TableBlock:
    """Numbers as a table that a reader can sort by their full digits.

    Args:
        numbers: In full digits.
        caption: What the table shows.
        columns: Those without a format hold words.
    """
    words = [heading for heading, (_, form) in columns.items() if not form]
    block = table(text_cells(numbers, columns), caption, words)
    sort_keys = zip(*(numbers[name] for name, _ in columns.values()), strict=True)
    lines = tuple(
        tuple(
            cell if is_words else dataclasses.replace(cell, sort=_sort_key(value))
            for cell, value, is_words in zip(line, values, block.words, strict=True)
        )
        for line, values in zip(block.lines, sort_keys, strict=True)
    )
    return dataclasses.replace(block, lines=lines, sortable=True)


def _sort_key(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""
