"""Configuration of the data: which clips, how their table is read, how they are divided and cut."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tenuto.errors import did_you_mean
from tenuto.settings import Config, Name, Rating, Seed


class FolderConfig(Config):
    """How the table of ratings of a user's own recordings is read."""

    ratings: str = "ratings.csv"
    id_column: str = "file"
    emotions: tuple[str, ...] = Field(min_length=1)
    concepts: tuple[str, ...] = ()
    scale: tuple[Rating, Rating] = (0.0, 1.0)
    album_column: str | None = None
    artist_column: str | None = None
    group_column: str | None = Field(None, description="such as the genre, for --split group")
    split_column: str | None = Field(None, description="train, validation or test, for --split official")
    rater_column: str | None = Field(None, description="for a row per clip and rater; means are formed")
    emotion_column: str | None = Field(None, description="for a row per rating: which emotion is rated")
    rating_column: str | None = Field(None, description="for a row per rating: its value")
    deviations: tuple[str, ...] | None = Field(
        None, description="deviations of the raters, one column per emotion"
    )
    separator: Literal[",", ";", "\t", "tab"] | None = Field(
        None, description="None: the one that fits the header"
    )
    decimal: Literal[".", ","] | None = Field(None, description="None: a comma where no rating has a point")

    @model_validator(mode="after")
    def _columns_that_belong_together(self) -> Self:
        if (self.emotion_column is None) != (self.rating_column is None):
            raise ValueError("emotion_column and rating_column belong together: name both, or neither")
        if self.deviations and self.rater_column:
            raise ValueError("deviations are computed from the raters: leave out deviations or rater_column")
        if self.deviations and self.emotion_column:
            raise ValueError("deviations need a row per clip: leave out deviations or emotion_column")
        if self.deviations and len(self.deviations) != len(self.emotions):
            raise ValueError("deviations must name one column for each of the emotions, in their order")
        columns = (*self.emotions, *self.concepts, *(self.deviations or ()))
        if twice := [name for name in dict.fromkeys(columns) if columns.count(name) > 1]:
            raise ValueError(
                f"column {twice[0]} is named twice; emotions, concepts and deviations must be different columns"
            )
        return self


SPLITS = ("paper", "random", "album", "artist", "group", "official")
"""How clips are divided; `tenuto.data.splits.draw` says what each does."""


def is_split_file(kind: str) -> bool:
    """Whether a split is the path of a table rather than a name."""
    return kind.lower().endswith((".csv", ".tsv", ".txt"))


def _check_split(value: Any) -> Any:
    """A name of `SPLITS`, ``group:NAME``, ``official:NAME``, or a path, which is made absolute."""
    if isinstance(value, str) and is_split_file(value):
        return os.path.abspath(os.path.expanduser(value))
    name, mark, which = value.partition(":") if isinstance(value, str) else ("", "", "")
    if name not in SPLITS or (mark and not (which and name in ("group", "official"))):
        raise ValueError(
            f"must be one of {', '.join(SPLITS)}, group:NAME, official:NAME, or the path of a .csv file"
        )
    return value


SplitKind = Annotated[str, BeforeValidator(_check_split)]


class DataConfig(Config):
    """Which clips, divided and cut how. Paths of files are not included: their content is fingerprinted."""

    dataset: Name = "soundtracks"
    concepts: Literal["signal", "midlevel"] | None = Field(
        None,
        description="signal: descriptors of the audio; midlevel: human ratings; None: what the data set has",
    )
    folder: FolderConfig | None = None
    split: SplitKind = "paper"
    split_seed: Seed = 42
    excerpts: Literal["fixed", "fresh"] = "fresh"
    normalisation: Literal["train", "all"] = "train"

    @model_validator(mode="before")
    @classmethod
    def _one_way_to_say_it(cls, values: Any) -> Any:
        """Human ratings are a property of the data set and no setting; signal concepts need no concept columns."""
        if not isinstance(values, Mapping):
            return values
        dataset, folder = values.get("dataset", "soundtracks"), values.get("folder")
        table = folder.model_dump() if isinstance(folder, FolderConfig) else folder
        if values.get("concepts") == "midlevel":
            if dataset == "folder":
                raise ValueError(
                    "concepts midlevel are ratings of Soundtracks; name the concept columns of your own table "
                    "(`concepts=COLUMN,COLUMN`), or use signal"
                )
            return {
                **values,
                "concepts": None,
                "dataset": "midlevel" if dataset == "soundtracks" else dataset,
            }
        if values.get("concepts") == "signal" and isinstance(table, Mapping):
            return {**values, "folder": {key: table[key] for key in table if key != "concepts"}}
        if dataset != "folder" and isinstance(table, Mapping) and set(table) == {"concepts"}:
            source = table["concepts"]
            columns = ",".join(map(str, source)) if isinstance(source, list | tuple) else str(source)
            raise ValueError(
                f"concepts {columns}: columns belong to the data set folder. {did_you_mean(columns, CONCEPT_SOURCES)}"
            )
        return values


CONCEPT_SOURCES = ("signal", "midlevel")
