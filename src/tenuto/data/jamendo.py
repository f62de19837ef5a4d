"""MTG-Jamendo, mood and theme: full tracks with tags.

D. Bogdanov, M. Won, P. Tovstogan, A. Porter, X. Serra, "The MTG-Jamendo dataset for automatic music tagging", 2019.
Files, at any depth: `split-0/autotagging_moodtheme-train.tsv` and so on (five splits of three parts), or
`autotagging_moodtheme.tsv`; recordings `48/948.mp3` or `48/948.low.mp3`. A line has the columns TRACK_ID, ARTIST_ID,
ALBUM_ID, PATH, DURATION, and then as many tags as the track has, such as `mood/theme---happy`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tenuto.data.base import Card, Dataset, Index, register_dataset, usable_rows
from tenuto.data.layout import Files
from tenuto.errors import DataError, FileError, Problems, one_line
from tenuto.files import read_text

TABLE = "autotagging_moodtheme"
TRACK_COLUMNS = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS")
MOOD_PREFIX = "mood/theme---"
FILE_PARTS = ("train", "validation", "test")
SPLIT_COUNT = 5


class Track(NamedTuple):
    """A line of a table."""

    name: str
    artist: str
    album: str
    path: str
    tags: tuple[str, ...]


@register_dataset
class Jamendo(Dataset):
    """The tracks with mood or theme tags; a label is 1 where a track has the tag, else 0.

    Tags and tracks are those of the first official split, if its files are there. Archives of recordings (folders `00`
    to `99`) that were not unpacked are left out.
    """

    card = Card(
        name="jamendo",
        title="MTG-Jamendo, mood and theme (Bogdanov et al. 2019): full tracks with tags",
        origin="https://github.com/MTG/mtg-jamendo-dataset (clone it, and run its scripts/download/download.py with "
        "--dataset autotagging_moodtheme)",
        licence="metadata CC BY-NC-SA 4.0; recordings under Creative Commons licences, each its own",
        size="18486 mp3 tracks, 59 tags; 17982 tracks, 56 tags in the official splits; 152 GB",
        citation="D. Bogdanov, M. Won, P. Tovstogan, A. Porter and X. Serra. The MTG-Jamendo dataset for automatic "
        "music tagging. Machine Learning for Music Discovery Workshop (ICML), 2019.",
        emotion_scale=(0.0, 1.0),
        concept_scale=(0.0, 1.0),
        bibtex="""@inproceedings{bogdanov2019mtg,
  author = {Bogdanov, Dmitry and Won, Minz and Tovstogan, Philip and Porter, Alastair and Serra, Xavier},
  title = {The {MTG-Jamendo} dataset for automatic music tagging},
  booktitle = {Machine Learning for Music Discovery Workshop, International Conference on Machine Learning (ICML)},
  year = {2019},
  url = {http://hdl.handle.net/10230/42015}
}""",
        kind="tags",
    )
    marks = ({f"{TABLE}-train.tsv": TRACK_COLUMNS}, {f"{TABLE}.tsv": TRACK_COLUMNS})

    def read(self, problems: Problems) -> Index:
        """Tracks, their tags, and the official splits."""
        files = Files(self.root)
        parts = [
            [files.table(f"{TABLE}-{part}.tsv", folder=f"split-{number}") for part in FILE_PARTS]
            for number in range(SPLIT_COUNT)
        ]
        is_split = any(path.is_file() for path in parts[0])
        tables = parts[0] if is_split else [files.table(f"{TABLE}.tsv")]
        tracks = [track for path in tables for track in read_tracks(path, problems)]
        unpacked = files.folders()
        tracks = [track for track in tracks if track.path.partition("/")[0] in unpacked]
        if not tracks:
            problems.raise_all()
            raise DataError(
                f"{self.root}: contains no folder of recordings (00 to 99) that {tables[0].name} lists. "
                f"Point `root` at the folder above them, or {self._access()}."
            )
        tracks = [
            tracks[row] for row in usable_rows([track.name for track in tracks], problems, f"{self.root}: ")
        ]
        tags = sorted({tag for track in tracks for tag in track.tags})
        clips = tuple(track.name for track in tracks)
        return Index(
            clips=clips,
            paths=tuple(self._recording(files, track.path) for track in tracks),
            emotions=tuple(tags),
            labels=np.array([[float(tag in track.tags) for tag in tags] for track in tracks]),
            albums=tuple(track.album for track in tracks),
            artists=tuple(track.artist for track in tracks),
            official=_official(parts, clips, problems),
        )

    def _recording(self, files: Files, path: str) -> Path:
        folder, _, name = path.partition("/")
        stem = name.removesuffix(".mp3")
        small = files.audio(folder, f"{stem}.low")
        return small if small.is_file() else files.audio(folder, stem)


def read_tracks(path: Path, problems: Problems) -> list[Track]:
    """The tracks of a table, which has tabs and as many fields in a line as the track has tags.

    Raises:
        FileError: No such table.
    """
    lines = read_text(path).splitlines()
    if not lines or tuple(cell.strip() for cell in lines[0].split("\t")) != TRACK_COLUMNS:
        raise FileError(
            f"{path}: must begin with the line {' '.join(TRACK_COLUMNS)}, separated by tabs. Download it again."
        )
    tracks = []
    for number, line in enumerate(lines[1:], 2):
        name, artist, album, place, _, *tags = (*(cell.strip() for cell in line.split("\t")), *[""] * 5)
        tags = [tag for tag in tags if tag]
        if not line.strip():
            continue
        wrong = [tag for tag in tags if not tag.startswith(MOOD_PREFIX)]
        if wrong or not tags or not re.fullmatch(r"\d\d/\d+\.mp3", place) or not name.startswith("track_"):
            problems.add(
                f"{path}: line {number}: {one_line(line, 80)!r} is not a track, a path such as 48/948.mp3 and tags "
                f"that begin with {MOOD_PREFIX}. Download the table again, or remove the line."
            )
        else:
            tracks.append(
                Track(name, artist, album, place, tuple(tag.removeprefix(MOOD_PREFIX) for tag in tags))
            )
    return tracks


def _official(
    parts: list[list[Path]], clips: tuple[str, ...], problems: Problems
) -> dict[str, tuple[str, ...]]:
    """The splits whose three files exist, by number."""
    splits = {}
    for number, paths in enumerate(parts):
        if all(path.is_file() for path in paths):
            part_of = {
                track.name: part
                for part, path in zip(FILE_PARTS, paths, strict=True)
                for track in read_tracks(path, problems if number else Problems())
            }
            splits[str(number)] = tuple(part_of.get(clip, "") for clip in clips)
    return splits
