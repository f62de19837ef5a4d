"""What a report consists of: sections of text, tables, pictures and sounds, as plain values that a template shows."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from tenuto.analysis.words import NOTHING
from tenuto.reporting.figures.smc2025 import GREY, INK, STYLE, VERMILLION
from tenuto.reporting.tables import GROUP

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS_PER_INCH = 96
"""Of CSS: what an inch of a figure is on a page."""

PICTURE_DPI = 100
"""Of pictures that hold spectrograms, which are bitmaps in any format."""

MIME = {"svg": "image/svg+xml", "png": "image/png", "flac": "audio/flac"}
METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}
"""Without these the same figure has the same bytes."""


@dataclass(frozen=True)
class Text:
    """A paragraph; what stands between backticks is code."""

    kind: ClassVar[str] = "text"
    words: str


@dataclass(frozen=True)
class Points:
    """A list of sentences; what stands between backticks is code."""

    kind: ClassVar[str] = "points"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """What a table shows at one place, and the number it is sorted by, where that is not the text itself."""

    text: str
    sort: str = ""
    mark: str = ""
    """A word for the style, such as a verdict."""


@dataclass(frozen=True)
class Table:
    """A table with its caption; the first column names the line.

    Attributes:
        caption: What it shows.
        columns: Headings.
        words: Which columns hold words, set to the left; numbers stand to the right.
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
        """The first sentence of the caption, by which a screen reader calls the table."""
        return self.caption.split(". ")[0].rstrip(".")


@dataclass(frozen=True)
class Picture:
    """A picture with what it shows in words: for those who do not see it (``alt``), and below it (``caption``).

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
class Sound:
    """A sound: what stands above it, what a screen reader calls it, and its data URI."""

    label: str
    name: str
    source: str


@dataclass(frozen=True)
class Clip:
    """One clip before and after an attack: what is heard, seen and predicted."""

    kind: ClassVar[str] = "clip"
    title: str
    sentences: tuple[str, ...]
    sounds: tuple[Sound, ...]
    picture: Picture
    table: Table


Block = Text | Points | Table | Picture | Clip


@dataclass(frozen=True)
class Section:
    """A heading with an anchor, and what stands below it."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def data_uri(content: bytes, kind: str) -> str:
    """Content of a kind of `MIME` as a URI that needs no file."""
    return f"data:{MIME[kind]};base64,{base64.b64encode(content).decode('ascii')}"


def picture(figure: Figure, alt: str, caption: str, kind: str = "svg", scrolls: bool = False) -> Picture:
    """A figure as a picture of a page: the same figure gives the same bytes."""
    from matplotlib import rc_context

    stream = io.BytesIO()
    with rc_context({**STYLE, "svg.hashsalt": "tenuto"}):
        figure.savefig(stream, format=kind, dpi=PICTURE_DPI, metadata=METADATA[kind], facecolor="white")
    width, height = (round(float(inches) * PIXELS_PER_INCH) for inches in figure.get_size_inches())
    return Picture(data_uri(stream.getvalue(), kind), alt, caption, width, height, scrolls)


def table(cells: pd.DataFrame, caption: str, words: Sequence[str] = ()) -> Table:
    """Text cells as a table; the column that groups lines is left out.

    Args:
        cells: As `tenuto.reporting.tables` and its like make them.
        caption: What the table shows.
        words: Columns set to the left beside the first.
    """
    shown = cells.drop(columns=GROUP, errors="ignore")
    return Table(
        caption,
        tuple(map(str, shown.columns)),
        tuple(place == 0 or name in words for place, name in enumerate(shown.columns)),
        tuple(tuple(Cell(str(cell)) for cell in line) for line in shown.itertuples(index=False)),
    )


def sortable(values: pd.DataFrame, caption: str, patterns: Mapping[str, str]) -> Table:
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
    return Table(caption, names, tuple(name not in patterns for name in names), lines, sortable=True)


def _cell(value: Any, pattern: str | None) -> Cell:
    if pattern is None:
        return Cell(str(value))
    number = float(value)
    return Cell(NOTHING) if math.isnan(number) else Cell(format(number, pattern), repr(number))


def concept_figure(shifts: pd.DataFrame) -> Figure:
    """How far an attack moves each concept, beside how far clean clips differ in it.

    Args:
        shifts: ``concept spread moved``, a line per concept.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    places = range(len(shifts))[::-1]
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.42 * len(shifts)), layout="constrained")
        axes = figure.add_subplot()
        for shift, column, colour, label in (
            (0.2, "spread", GREY, "clean clips differ by (standard deviation)"),
            (-0.2, "moved", VERMILLION, "the attack moves it by (mean absolute change)"),
        ):
            at = [place + shift for place in places]
            axes.barh(at, shifts[column].to_list(), height=0.38, color=colour, label=label)
        axes.set_yticks(list(places), [str(name).replace("_", " ") for name in shifts["concept"]])
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("predicted rating")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure
