"""What DEAM, emoMusic and PMEmo have in common: songs with a mean and a spread of valence and of arousal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tenuto.data.base import Dataset, Index, Labels, clip_name, ratings, usable_rows
from tenuto.data.layout import Files
from tenuto.data.tables import read_deviations
from tenuto.errors import Problems, quote
from tenuto.files import read_csv

SONG_EMOTIONS = ("valence", "arousal")


class RatedSongs(Dataset):
    """Songs with mean ratings of valence and arousal. Labels are (rating - low) / (high - low), so 0 to 1.

    A subclass states the names in its files, and may override `about` to read artists, albums and official splits.
    """

    tables: ClassVar[tuple[str, ...]]
    """Files with the means; the first must exist."""
    key: ClassVar[str]
    """Column with the number of the song."""
    means: ClassVar[tuple[str, str]]
    """Columns of mean valence and arousal."""
    spreads: ClassVar[tuple[str, str]]
    """Columns of the standard deviation of the raters."""
    spread_table: ClassVar[str] = ""
    """File of these columns, if it is another one."""
    audio_folder: ClassVar[str]
    last_song: ClassVar[int]
    """Songs are numbered from 1 to this."""

    def read(self, problems: Problems) -> Index:
        """Means, spreads, recordings, and what `about` adds."""
        files = Files(self.root)
        clips: list[str] = []
        labels, deviations = np.empty((0, 2)), np.empty((0, 2))
        for name in self.tables:
            path = files.table(name, (self.key, *self.means))
            if name == self.tables[0] or path.is_file():
                own = self._means(path, problems)
                clips, labels = clips + own[0], np.concatenate([labels, own[1]])
                deviations = np.concatenate([deviations, own[2]])
        rows = usable_rows(clips, problems, f"{self.root}: ")
        usable_clips = tuple(clips[row] for row in rows)
        if self.spread_table:
            spread = self._spreads(files.table(self.spread_table, (self.key, *self.spreads)), problems)
            deviations = np.array([spread.get(clip, (np.nan, np.nan)) for clip in clips]).reshape(-1, 2)
        return Index(
            clips=usable_clips,
            paths=tuple(files.audio(self.audio_folder, clip) for clip in usable_clips),
            emotions=SONG_EMOTIONS,
            labels=labels[rows],
            deviations=None if np.isnan(deviations).all() else deviations[rows],
            **self.about(files, usable_clips),
        )

    def about(self, files: Files, clips: Sequence[str]) -> dict[str, Any]:
        """Fields of the index other than ratings and recordings: ``artists``, ``albums``, ``groups``, ``official``."""
        return {}

    def _means(self, path: Path, problems: Problems) -> tuple[list[str], Labels, Labels]:
        """Song numbers, labels and deviations of one table."""
        columns = (self.key, *self.means)
        table = read_csv(path, columns=columns, text=(*columns, *self.spreads), problems=problems)
        if self.key not in table:
            problems.raise_all()
        clips = [clip_name(cell) for cell in table[self.key]]
        for clip in clips:
            if not (clip.isdecimal() and 1 <= int(clip) <= self.last_song):
                problems.add(
                    f"{path}: {quote(clip)} is not one of the songs of {self.card.name}, 1 to {self.last_song}. "
                    "Download the table again, or open ratings of your own with `dataset=folder`."
                )
        low, high = scale = self.card.emotion_scale
        labels = (ratings(table, self.means, scale, path, self.key, problems) - low) / (high - low)
        spreads = read_deviations(table, self.spreads, scale, path, self.key, problems) / (high - low)
        return clips, labels, spreads

    def _spreads(self, path: Path, problems: Problems) -> Mapping[str, Labels]:
        """Song number -> its deviations in units of the labels, where the file exists."""
        if not path.is_file():
            return {}
        columns, (low, high) = (self.key, *self.spreads), self.card.emotion_scale
        table = read_csv(path, columns=columns, text=columns)
        spreads = read_deviations(table, self.spreads, (low, high), path, self.key, problems) / (high - low)
        return dict(zip(map(clip_name, table[self.key]), spreads, strict=True))


def names_by_clip(names: Mapping[str, str], clips: Sequence[str]) -> tuple[str, ...] | None:
    """A name for every clip, empty where it is not known; None where no name is known.

    Letter case and blanks do not distinguish two names.
    """
    if not any(names.get(clip, "") for clip in clips):
        return None
    return tuple(" ".join(names.get(clip, "").casefold().split()) for clip in clips)
