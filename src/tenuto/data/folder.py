"""Any folder of recordings with one table of ratings: for data sets that have no class of their own."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from tenuto.audio.descriptors import PREFIX
from tenuto.audio.loading import EXTENSIONS
from tenuto.config import DataConfig, FolderConfig
from tenuto.data.base import Card, Dataset, Index, Labels, clip_name, register_dataset, usable_rows
from tenuto.data.layout import files_below, is_audio, without_type
from tenuto.data.tables import Ratings, Table
from tenuto.errors import ConfigError, DataError, Problems, one_line


@register_dataset
class Folder(Dataset):
    """Recordings of one folder with the ratings of one table.

    Args:
        root: Folder with the recordings, searched with its subfolders and what symbolic links lead to.
        ratings_file: Table with one row per recording, or with ``rater_column`` one per recording and rater; relative
            paths are taken below ``root``.
        id_column: Column that names the recording, with or without its folder and its file type.
        emotions: Columns to predict; any number, any names.
        concepts: Columns with concept ratings; none by default.
        scale: Lowest and highest rating in the table. Labels are ratings divided by the highest.
        album_column: Column that groups recordings, for the album split.
        options: Further fields of `FolderConfig`: ``artist_column``, ``group_column``, ``split_column``,
            ``rater_column``, ``emotion_column``, ``rating_column``, ``deviations``, ``separator``, ``decimal``.
    """

    card = Card(
        name="folder",
        title="Any folder of audio with a CSV of ratings",
        origin="your own files",
        licence="set by you",
        size="any",
        citation="set by you",
        emotion_scale=(0.0, 1.0),
        concept_scale=(0.0, 1.0),
    )

    def __init__(
        self,
        root: str | Path,
        ratings_file: str | Path = "ratings.csv",
        id_column: str = "file",
        emotions: tuple[str, ...] = (),
        concepts: tuple[str, ...] = (),
        scale: tuple[float, float] = (0.0, 1.0),
        album_column: str | None = None,
        **options: str | tuple[str, ...] | None,
    ) -> None:
        super().__init__(root)
        if not emotions:
            raise DataError(
                f"{root}: no emotion columns are named. Name them, such as `emotions=valence,arousal`."
            )
        if not scale[0] < scale[1] or scale[1] <= 0:
            raise DataError(
                f"rating scale {scale[0]:g} to {scale[1]:g}: the lower end must be below the upper end, which must be "
                "positive."
            )
        if reserved := [name for name in concepts if name.startswith(PREFIX)]:
            raise DataError(
                f"concept column {reserved[0]}: names with {PREFIX} are reserved for descriptors of the audio. "
                "Use `concepts=signal`, or rename the column."
            )
        self.table, self.ratings_path = ratings_file, self.root / ratings_file
        self.settings = FolderConfig.parse(
            {
                "ratings": str(ratings_file),
                "id_column": id_column,
                "emotions": emotions,
                "concepts": concepts,
                "scale": scale,
                "album_column": album_column,
                **options,
            },
            str(root),
        )
        self.emotions, self.concepts, self.scale = tuple(emotions), tuple(concepts), scale
        self.label_scale = scale[0] / scale[1], 1.0

    @classmethod
    def open(cls, root: str | Path, config: DataConfig) -> Self:
        """The folder with the table that a configuration describes. Raises `ConfigError` where it describes none."""
        if config.folder is None:
            raise ConfigError("the data set folder needs the names of its columns: name at least `emotions`.")
        fields = {name: getattr(config.folder, name) for name in FolderConfig.model_fields}
        return cls(root, fields.pop("ratings"), **fields)

    def _advice(self) -> str:
        return (
            "Point `root` at the folder of your recordings, and name the file of ratings in it (`ratings`)."
        )

    def read(self, problems: Problems) -> Index:
        """Ratings joined to the recordings by name."""
        settings = self.settings
        table = Table.read(self.ratings_path, settings, problems)
        ratings = table.ratings(problems)
        clips = [without_type(name) for name in ratings.names]
        fix = "" if settings.rater_column else ", or name the column of the raters: rater_column"
        usable = usable_rows(clips, problems, f"{self.ratings_path}: ", fix)
        paths = self._match({row: ratings.names[row] for row in usable}, problems)
        rows = list(paths)
        parts = ratings.fields.get("split_column")
        return Index(
            clips=tuple(clips[row] for row in rows),
            paths=tuple(paths.values()),
            emotions=self.emotions,
            labels=ratings.emotions[rows] / self.scale[1],
            concepts=self.concepts,
            concept_labels=ratings.concepts[rows] / self.scale[1] if self.concepts else None,
            albums=_field(ratings, "album_column", rows),
            artists=_field(ratings, "artist_column", rows),
            groups=_field(ratings, "group_column", rows),
            deviations=self._deviations(ratings, rows),
            official={} if parts is None else {"own": self._parts(parts, rows, problems)},
        )

    def _deviations(self, ratings: Ratings, rows: list[int]) -> Labels | None:
        """Standard deviations of the raters in units of the labels; None where none is known."""
        deviations = ratings.deviations
        if deviations is None or np.isnan(deviations[rows]).all():
            return None
        return deviations[rows] / self.scale[1]

    def _parts(self, cells: Sequence[str], rows: list[int], problems: Problems) -> tuple[str, ...]:
        parts = [cells[row].strip() for row in rows]
        for wrong in sorted(set(parts) - {"train", "validation", "test", ""}):
            problems.add(
                f"{self.ratings_path}: no part of a split is called {one_line(wrong)} (column "
                f"{self.settings.split_column}). Write train, validation, test, or nothing."
            )
        return tuple(parts)

    def _match(self, names: dict[int, str], problems: Problems) -> dict[int, Path]:
        """Row to recording, for every row that has one, given row to name in the table.

        A name is the path below the folder or its last parts, with or without the file type.
        """
        recordings: dict[str, list[Path]] = {}
        for path in files_below(self.root):
            if is_audio(path.name):
                whole = clip_name(path.relative_to(self.root).as_posix())
                parts = whole.split("/")
                for start in range(len(parts)):
                    name = "/".join(parts[start:])
                    for key in (name, without_type(name)):
                        recordings.setdefault(key if start == 0 else f"*/{key}", []).append(path)
        if not recordings:
            raise DataError(
                f"{self.root}: contains no recording ({', '.join(EXTENSIONS)}). Point `root` at your audio."
            )
        hints = 3  # a hint for every name of a large table that fits nothing would take minutes
        paths: dict[int, Path] = {}
        for row, name in names.items():
            candidates = self._candidates(name, recordings)
            if len(candidates) == 1:
                paths[row] = candidates[0]
            elif candidates:
                problems.add(
                    f"{candidates[1]}: shares its name with {candidates[0]}. Keep one of them, or write the file "
                    f"type and the folder in the column {one_line(self.settings.id_column)} of {self.ratings_path}."
                )
            else:
                whole_names = [key for key in recordings if not key.startswith("*/") and not is_audio(key)]
                clip = without_type(name)
                near = difflib.get_close_matches(clip, whole_names, n=1) if hints > 0 else []
                hints -= 1
                hint = (
                    f"Did you mean {one_line(near[0])}?" if near else "Correct the name or add the recording."
                )
                problems.add(
                    f"{self.ratings_path}: rates {one_line(clip)}, which does not exist below {self.root}. {hint}"
                )
        return self._once_each(paths, names, problems)

    @staticmethod
    def _candidates(name: str, recordings: dict[str, list[Path]]) -> list[Path]:
        """Recordings that a name fits, by the first way that fits any; one behind several links counts once."""
        plain = name.replace("\\", "/").removeprefix("./")
        for key in (name, plain, without_type(plain), f"*/{plain}", f"*/{without_type(plain)}"):
            if key in recordings:
                return list({path.resolve(): path for path in reversed(recordings[key])}.values())[::-1]
        return []

    def _once_each(
        self, paths: dict[int, Path], names: dict[int, str], problems: Problems
    ) -> dict[int, Path]:
        """The rows whose recording no row above names in another way."""
        first: dict[Path, int] = {}
        for row, path in paths.items():
            if first.setdefault(path, row) != row:
                problems.add(
                    f"{self.ratings_path}: {one_line(names[first[path]])} and {one_line(names[row])} are the same "
                    f"recording, {path}. Remove one of the rows."
                )
        return {row: path for path, row in first.items()}


def _field(ratings: Ratings, name: str, rows: list[int]) -> tuple[str, ...] | None:
    """A column of names; None where the settings name no such column."""
    cells = ratings.fields.get(name)
    if cells is None:
        return None
    names = tuple(" ".join(cells[row].split()) for row in rows)
    # Names of artists only divide the clips; two spellings of one would leak. Names of groups are typed by the user.
    return tuple(map(str.casefold, names)) if name == "artist_column" else names
