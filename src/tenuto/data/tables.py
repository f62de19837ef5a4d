"""Tables of ratings as people keep them: any separator, decimal commas, one row per clip or one per rating."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from tenuto.config import FolderConfig
from tenuto.data.base import Labels, clip_name, ratings as read_ratings
from tenuto.errors import Problems, one_line, quote
from tenuto.files import is_content, read_csv, read_text

Reader = Callable[..., Labels]
SEPARATORS = {",": ",", ";": ";", "tab": "\t", "\t": "\t"}
FIELDS = ("album_column", "artist_column", "group_column", "split_column")
"""Settings that name a column of text, one value per clip."""

UNKNOWN_CELLS = ("", "nan", "na", "n/a")
"""What a cell holds where a deviation, or the rating of one of several raters, is not known, in lower case."""

_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
_THOUSANDS = re.compile(r"\s*[-+]?[1-9]\d{0,2}([.,]\d{3})+\s*")


def separator_of(content: str, columns: Sequence[str]) -> str:
    """The separator with which the header has most of these columns; of several, the one that makes most fields.

    >>> separator_of("file;valence;arousal\\n1;3,5;2", ["file"])
    ';'
    """

    def fit(separator: str) -> tuple[int, int]:
        records = csv.reader(io.StringIO(content, newline=None), delimiter=separator, skipinitialspace=True)
        try:
            header = next((fields for fields in records if is_content(fields, separator)), [])
        except csv.Error:  # a quotation mark opens a field of half the file
            return 0, 0
        return len(set(columns) & {name.strip() for name in header}), len(header)

    return max(",;\t", key=fit)


def decimal_of(cells: Iterable[str]) -> str:
    """The decimal mark of numbers: a comma where one of them has a comma and none has a point."""
    cells = list(cells)
    has_comma = any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells)
    return "," if has_comma and not any("." in cell for cell in cells) else "."


def ambiguous_number(cells: Iterable[str]) -> str | None:
    """A cell such as 1,234 or 1.234, where no other cell shows whether its mark is the decimal one; else None.

    >>> ambiguous_number(["1,234", "987"]), ambiguous_number(["1,234", "0,5"])
    ('1,234', None)
    """
    marked = [cell for cell in cells if "," in cell or "." in cell]
    return marked[0].strip() if marked and all(map(_THOUSANDS.fullmatch, marked)) else None


def read_deviations(
    table: pd.DataFrame,
    columns: Sequence[str],
    scale: tuple[float, float],
    path: Path,
    key: str,
    problems: Problems,
    decimal: str = ".",
) -> Labels:
    """Standard deviations of the raters, (rows, columns); NaN where unknown. Arguments are those of `base.ratings`."""
    largest = scale[1] - scale[0]
    rule = f"and a standard deviation must be 0 to {largest:g}. Correct it, or leave the cell empty."
    return read_ratings(table, columns, (0, largest), path, key, problems, decimal, UNKNOWN_CELLS, rule)


@dataclasses.dataclass(frozen=True)
class Ratings:
    """What a table says of every clip.

    Attributes:
        names: Clips as the table names them.
        emotions: (clips, emotions), on the scale of the table.
        concepts: (clips, concepts).
        deviations: Standard deviation of the raters (n - 1), (clips, emotions), NaN where unknown; None without any.
        fields: Setting of `FIELDS` -> cells of its column.
    """

    names: list[str]
    emotions: Labels
    concepts: Labels
    deviations: Labels | None
    fields: Mapping[str, list[str]]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text, and how to read it. `read` makes it.

    Attributes:
        path: The file.
        settings: Names of its columns.
        cells: Its cells; a column that is missing is a problem that was collected.
        decimal: The decimal mark of its ratings.
    """

    path: Path
    settings: FolderConfig
    cells: pd.DataFrame
    decimal: str

    @classmethod
    def read(cls, path: Path, settings: FolderConfig, problems: Problems) -> Self:
        """Read the columns that the settings name. Raises `FileError` or `DataError` where that is impossible."""
        is_tidy = settings.emotion_column is not None
        rated = (
            (settings.emotion_column, settings.rating_column)
            if is_tidy
            else (*settings.emotions, *settings.concepts, *(settings.deviations or ()))
        )
        listed = (settings.id_column, *rated, settings.rater_column, *(getattr(settings, f) for f in FIELDS))
        columns = [name for name in listed if name is not None]
        content = read_text(path)
        separator = SEPARATORS[settings.separator] if settings.separator else separator_of(content, columns)
        cells = read_csv(
            path, columns=columns, text=columns, separator=separator, problems=problems, content=content
        )
        if settings.id_column not in cells or (is_tidy and not set(columns) <= set(cells)):
            problems.raise_all()
        numbers = (settings.rating_column,) if is_tidy else rated
        texts = [cell for name in numbers if name in cells for cell in cells[str(name)]]
        cell = ambiguous_number(texts)
        if cell and settings.decimal is None and settings.scale[1] >= 1000:
            problems.add(
                f"{path}: {cell} may be read with a thousands separator or with a decimal mark. Remove the "
                "thousands separators, or name the decimal mark: decimal."
            )
        decimal = settings.decimal or decimal_of(texts)
        _check_fields(path, cells, settings, problems)
        if is_tidy:
            cells = _spread_out(path, cells, settings, problems)
        return cls(path, settings, cells, decimal)

    def ratings(self, problems: Problems) -> Ratings:
        """One value per clip: the cell, or the mean over the clip's raters."""
        if self.settings.rater_column is not None:
            return self._of_raters(problems)
        settings, spreads = self.settings, None
        emotions = self._checked(read_ratings, self.cells, settings.emotions, problems)
        concepts = self._checked(read_ratings, self.cells, settings.concepts, problems)
        if settings.deviations:
            spreads = self._checked(read_deviations, self.cells, settings.deviations, problems)
        names = [clip_name(cell) for cell in self.cells[settings.id_column]]
        return Ratings(names, emotions, concepts, spreads, self._fields(range(len(names))))

    def _checked(
        self, reader: Reader, cells: pd.DataFrame, columns: Sequence[str], problems: Problems
    ) -> Labels:
        settings = self.settings
        return reader(cells, columns, settings.scale, self.path, settings.id_column, problems, self.decimal)

    def _fields(self, rows: Iterable[int]) -> dict[str, list[str]]:
        rows = list(rows)
        columns = {field: getattr(self.settings, field) for field in FIELDS}
        return {
            field: [str(cell) for cell in self.cells[name].iloc[rows]]
            for field, name in columns.items()
            if name in self.cells
        }

    def _of_raters(self, problems: Problems) -> Ratings:
        """Mean and deviation over the raters of every clip; a rater need not rate everything."""
        settings = self.settings
        names = [clip_name(cell) for cell in self.cells[settings.id_column]]
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            rows.setdefault(name, []).append(row)
        self._check_raters(rows, problems)
        emotions, spreads = self._means(rows, settings.emotions, problems)
        concepts, _ = self._means(rows, settings.concepts, problems)
        return Ratings(list(rows), emotions, concepts, spreads, self._fields(own[0] for own in rows.values()))

    def _check_raters(self, rows: Mapping[str, list[int]], problems: Problems) -> None:
        """Refuse two rows of one rater on one clip."""
        rater = self.settings.rater_column
        for clip, own in rows.items() if rater in self.cells else ():
            raters = self.cells[rater].iloc[own].str.strip()
            if (is_second := raters.duplicated()).any():
                problems.add(
                    f"{self.path}: rater {quote(raters[is_second].iloc[0])} rates clip {one_line(clip)} twice. "
                    "Remove one of the rows."
                )

    def _means(
        self, rows: Mapping[str, list[int]], columns: Sequence[str], problems: Problems
    ) -> tuple[Labels, Labels]:
        """Means and deviations, both (clips, columns), of the cells that are not `UNKNOWN_CELLS`."""
        means, spreads = (np.full((len(rows), len(columns)), np.nan) for _ in range(2))
        for place, column in enumerate(columns):
            if column not in self.cells:
                continue
            has_value = ~self.cells[column].str.strip().str.casefold().isin(UNKNOWN_CELLS).to_numpy()
            numbers = np.full(len(self.cells), np.nan)
            numbers[has_value] = self._checked(read_ratings, self.cells[has_value], [column], problems)[:, 0]
            for line, (clip, own) in enumerate(rows.items()):
                values = numbers[own][has_value[own]]
                if len(values) == 0:
                    problems.add(
                        f"{self.path}: no rater rates {one_line(column)} of clip {one_line(clip)}. Add a rating or "
                        "leave the clip out."
                    )
                else:
                    means[line, place] = values.mean()
                    spreads[line, place] = values.std(ddof=1) if len(values) > 1 else np.nan
        return means, spreads


def _check_fields(path: Path, cells: pd.DataFrame, settings: FolderConfig, problems: Problems) -> None:
    """Refuse a clip whose rows disagree on its album and so on, in a table with several rows per clip."""
    if settings.rater_column is None and settings.emotion_column is None:
        return
    clips = np.array([clip_name(cell) for cell in cells[settings.id_column]], object)
    for name in (getattr(settings, field) for field in FIELDS):
        if name in cells:
            values = cells[name].str.strip().groupby(clips, sort=False).unique()
            for clip, (first, second, *_) in values[values.str.len() > 1].map(sorted).items():
                problems.add(
                    f"{path}: clip {one_line(clip)} has two values of {one_line(name)}, {quote(first)} and "
                    f"{quote(second)}. Write the same in all of its rows."
                )


def _spread_out(path: Path, cells: pd.DataFrame, settings: FolderConfig, problems: Problems) -> pd.DataFrame:
    """A table with a row per rating as one with a column per emotion, a row per clip (and rater), other cells kept."""
    emotion, rating = str(settings.emotion_column), str(settings.rating_column)
    key = [settings.id_column, *([settings.rater_column] if settings.rater_column else [])]
    rated = dict.fromkeys(map(clip_name, cells[emotion]))
    columns = {clip_name(name): name for name in (*settings.emotions, *settings.concepts)}
    for name in (name for name in columns if name not in rated):
        problems.add(
            f"{path}: no row rates {one_line(name)} (column {one_line(emotion)}). It has: "
            f"{one_line(', '.join(filter(None, rated)))}."
        )
    spellings = {_folded(name): name for name in columns if name in rated}
    for name in (name for name in rated if name not in columns and _folded(name) in spellings):
        problems.add(
            f"{path}: column {one_line(emotion)} has {quote(name)}, which differs from "
            f"{quote(spellings[_folded(name)])} in capitals or blanks alone. Write one spelling."
        )
    empty = {column: "" for name, column in columns.items() if name in rated}
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    doubled: list[dict[str, str]] = []
    for row in cells.to_dict("records"):
        values = {str(name): str(cell) for name, cell in row.items()}
        line = lines.setdefault(tuple(values[name].strip() for name in key), values | empty)
        column = columns.get(clip_name(values[emotion]))
        if column is not None:
            if line[column]:  # a clip that is rated twice, which is reported
                doubled.append(line | {column: values[rating]})
            line[column] = line[column] or values[rating]
    return pd.DataFrame([*lines.values(), *doubled])


def _folded(name: str) -> str:
    return "".join(name.casefold().split())
