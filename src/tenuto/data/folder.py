"""Any folder of recordings with one CSV of ratings: for data sets that have no class of their own."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from tenuto.audio.descriptors import PREFIX
from tenuto.audio.loading import EXTENSIONS
from tenuto.config import DataConfig
from tenuto.data.base import Card, Dataset, Index, clip_name, ratings, register_dataset, usable_rows
from tenuto.errors import ConfigError, DataError, Problems, one_line
from tenuto.files import naming, read_csv


@register_dataset
class Folder(Dataset):
    """Recordings of one folder with the ratings of one table.

    Args:
        root: Folder with the recordings, searched with its subfolders.
        ratings_file: CSV with one row per recording; relative paths are taken below ``root``.
        id_column: Column that names the recording, with or without its file type.
        emotions: Columns to predict; any number, any names.
        concepts: Columns with concept ratings; none by default.
        scale: Lowest and highest rating in the table. Labels are ratings divided by the highest.
        album_column: Column that groups recordings, for the album split.
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
        self.id_column, self.album_column = id_column, album_column
        self.emotions, self.concepts, self.scale = tuple(emotions), tuple(concepts), scale
        self.label_scale = scale[0] / scale[1], 1.0

    @classmethod
    def open(cls, root: str | Path, config: DataConfig) -> Self:
        """The folder with the table that a configuration describes. Raises `ConfigError` where it describes none."""
        table = config.folder
        if table is None:
            raise ConfigError("the data set folder needs the names of its columns: name at least `emotions`.")
        return cls(
            root,
            table.ratings,
            table.id_column,
            table.emotions,
            table.concepts,
            table.scale,
            table.album_column,
        )

    def read(self, problems: Problems) -> Index:
        """Ratings joined to the recordings by name."""
        albums = (self.album_column,) if self.album_column else ()
        columns = (self.id_column, *self.emotions, *self.concepts, *albums)
        table = read_csv(self.ratings_path, columns=columns, text=columns, problems=problems)
        if self.id_column not in table:
            problems.raise_all()
        names = [clip_name(cell) for cell in table[self.id_column]]
        clips = [name.removesuffix(Path(name).suffix) if _is_audio(name) else name for name in names]
        usable = usable_rows(clips, problems, f"{self.ratings_path}: ")
        paths = self._match({row: (names[row], clips[row]) for row in usable}, problems)
        rows = list(paths)
        labels, concept_labels = (
            ratings(table, names, self.scale, self.ratings_path, self.id_column, problems)[rows]
            / self.scale[1]
            for names in (self.emotions, self.concepts)
        )
        known_albums = self.album_column in table
        return Index(
            clips=tuple(clips[row] for row in rows),
            paths=tuple(paths.values()),
            emotions=self.emotions,
            labels=labels,
            concepts=self.concepts,
            concept_labels=concept_labels if self.concepts else None,
            albums=tuple(table[self.album_column].iloc[rows]) if known_albums else None,
        )

    def _match(self, rated: Mapping[int, tuple[str, str]], problems: Problems) -> dict[int, Path]:
        """Row to recording, for every row that has one, given row to name in the table and clip."""
        recordings: dict[str, list[Path]] = {}
        for path in _recordings(self.root):
            recordings.setdefault(self._clip(path), []).append(path)
        if not recordings:
            raise DataError(
                f"{self.root}: contains no recording ({', '.join(EXTENSIONS)}). Point `root` at your audio."
            )
        paths: dict[int, Path] = {}
        hints = 3  # a hint for every name of a large table that fits nothing would take minutes
        for row, (name, clip) in rated.items():
            candidates = recordings.get(clip, [])
            exact = [path for path in candidates if clip_name(self._below(path)) == name]
            if len(exact or candidates) == 1:
                paths[row] = (exact or candidates)[0]
            elif candidates:
                problems.add(
                    DataError(
                        f"{candidates[1]}: shares its name with {candidates[0]}. Keep one of them, or write the file "
                        f"type in the column {one_line(self.id_column)} of {self.ratings_path}."
                    )
                )
            else:
                near = difflib.get_close_matches(clip, recordings, n=1) if hints > 0 else []
                hints -= 1
                hint = (
                    f"Did you mean {one_line(near[0])}?" if near else "Correct the name or add the recording."
                )
                problems.add(
                    DataError(
                        f"{self.ratings_path}: rates {one_line(clip)}, which does not exist below {self.root}. {hint}"
                    )
                )
        return paths

    def _below(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _clip(self, path: Path) -> str:
        return clip_name(path.relative_to(self.root).with_suffix("").as_posix())


def _is_audio(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _recordings(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Audio files below a folder in order of their names; folders behind symbolic links too, but no loops of them."""
    with naming(folder, "read"):
        real, entries = folder.resolve(), sorted(folder.iterdir())
    if real in above:
        return
    for path in entries:
        if path.is_dir():
            yield from _recordings(path, (*above, real))
        elif _is_audio(path.name):
            yield path
