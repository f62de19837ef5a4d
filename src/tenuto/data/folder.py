"""Any folder of recordings plus one CSV of ratings: the way in for data sets Tenuto does not know."""

from __future__ import annotations

from pathlib import Path

from tenuto.audio.descriptors import PREFIX
from tenuto.audio.loading import EXTENSIONS
from tenuto.data.base import Card, Dataset, Index, ratings
from tenuto.errors import DataError, did_you_mean
from tenuto.files import read_csv


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
        licence="yours to say",
        size="any",
        citation="yours to say",
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
            raise DataError(f"{root}: no emotion columns named. Name them, e.g. --emotions valence,arousal.")
        if not scale[0] < scale[1] or scale[1] <= 0:
            raise DataError(
                f"rating scale {scale[0]:g} to {scale[1]:g}: wanted a lower end below a positive upper end."
            )
        if reserved := [name for name in concepts if name.startswith(PREFIX)]:
            raise DataError(
                f"concept column {reserved[0]}: names with {PREFIX} stand for descriptors of the audio. "
                "Use --concepts signal, or call the column something else."
            )
        self.ratings_path = self.root / ratings_file
        self.id_column, self.album_column = id_column, album_column
        self.emotions, self.concepts, self.scale = tuple(emotions), tuple(concepts), scale

    def read(self) -> Index:
        """Ratings joined to the recordings by name. Raises `DataError` where they do not match one to one."""
        albums = (self.album_column,) if self.album_column else ()
        columns = (self.id_column, *self.emotions, *self.concepts, *albums)
        table = read_csv(self.ratings_path, columns=columns, text=(self.id_column, *albums))
        clips, paths = self._match(tuple(table[self.id_column].str.strip()))
        high = self.scale[1]

        def labels(names: tuple[str, ...]):  # type: ignore[no-untyped-def]
            return ratings(table, names, self.scale, self.ratings_path, self.id_column) / high

        return Index(
            clips=clips,
            paths=paths,
            emotions=self.emotions,
            labels=labels(self.emotions),
            concepts=self.concepts,
            concept_labels=labels(self.concepts) if self.concepts else None,
            albums=tuple(table[self.album_column]) if self.album_column else None,
        )

    def _match(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[Path, ...]]:
        recordings: dict[str, Path] = {}
        for path in sorted(self.root.rglob("*")):
            if path.suffix.lower() in EXTENSIONS:
                name = path.relative_to(self.root).with_suffix("").as_posix()
                if name in recordings:
                    raise DataError(
                        f"{path}: shares its name with {recordings[name]}; wanted one file per recording."
                    )
                recordings[name] = path
        if not recordings:
            raise DataError(
                f"{self.root}: holds no recording ({', '.join(EXTENSIONS)}). Point --root at your audio."
            )
        clips = tuple(
            name.removesuffix(Path(name).suffix) if name.lower().endswith(EXTENSIONS) else name
            for name in names
        )
        if unknown := [clip for clip in clips if clip not in recordings]:
            raise DataError(
                f"{self.ratings_path}: rates {unknown[0]}, which is not below {self.root}. "
                f"{did_you_mean(unknown[0], list(recordings)[:20])}"
            )
        return clips, tuple(recordings[clip] for clip in clips)
