"""What a report consists of: sections of text, tables, pictures and sounds, as plain values that a template shows."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from tenuto.analysis.words import NOTHING
from tenuto.reporting.figures.style import svg_uri
from tenuto.reporting.tables import GROUP

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


def table(cells: pd.DataFrame, caption: str, words: Sequence[str] = ()) -> TableBlock:
    """Text cells as a table, without the column that groups lines.

    Args:
        cells: As the ``show_`` functions of `tenuto.reporting.tables` return them.
        caption: What the table shows.
        words: Columns aligned left, besides the first.
    """
    shown = cells.drop(columns=GROUP, errors="ignore")
    return TableBlock(
        caption,
        tuple(map(str, shown.columns)),
        tuple(place == 0 or name in words for place, name in enumerate(shown.columns)),
        tuple(tuple(Cell(str(cell)) for cell in line) for line in shown.itertuples(index=False)),
    )


def sortable(values: pd.DataFrame, caption: str, patterns: Mapping[str, str]) -> TableBlock:
    """Values as a table that a reader can sort by their full digits.

    Args:
        values: Words and numbers.
        caption: What the table shows.
        patterns: Column -> how its numbers are printed; the other columns hold words.
    """
    lines = tuple(
        tuple(_cell(value, patterns.get(str(name))) for name, value in line.items())
        for line in values.to_dict("records")
    )
    names = tuple(map(str, values.columns))
    return TableBlock(caption, names, tuple(name not in patterns for name in names), lines, sortable=True)


def _cell(value: Any, pattern: str | None) -> Cell:
    if pattern is None:
        return Cell(str(value))
    number = float(value)
    return Cell(NOTHING) if math.isnan(number) else Cell(format(number, pattern), repr(number))
