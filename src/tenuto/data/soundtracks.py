"""Soundtracks, set 1: 360 film-music excerpts with mean ratings of eight emotions.

T. Eerola, J. K. Vuoskoski, "A comparison of the discrete and dimensional models of emotion in music",
Psychology of Music 39(1), 2011. Files: `Set1/001.mp3` to `Set1/360.mp3`, `mean_ratings_set1.csv`,
`set1_tracklist.csv`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import resources

from tenuto.data.base import Card, Dataset, Index, Labels, clip_name, ratings, register_dataset, usable_rows
from tenuto.errors import DownloadError, Problems, counted, one_line
from tenuto.files import read_csv, sha256_bytes

EMOTIONS = ("valence", "energy", "tension", "anger", "fear", "happy", "sad", "tender")
OSF_NODE = "p6vkg"
RATINGS = "mean_ratings_set1.csv"
TRACKLIST = "set1_tracklist.csv"
DIVISOR = 10.0
"""The study divides ratings (1 to 9) by ten."""

ALBUM_SPELLINGS = {"The Portait of a Lady": "The Portrait of a Lady"}
"""Corrections of the track list; with them, and surrounding blanks removed, the set has 45 albums."""

CLIPS = tuple(f"{number:03d}" for number in range(1, 361))
RATINGS_SHA256 = "d7e6b90de59e30a8caae0b28657dd4601fee97ade756121b1d1ed7b7d875afac"
"""Of the published ratings of all 360 clips, as `ratings_sha256` writes them: whatever the format of the file."""

SYNTHETIC_STATE = "corpus.json"
SYNTHETIC_ALBUM = "Synthetic Album "
"""A file and the beginning of an album's name that only the synthetic corpus has, which uses the same file formats."""


@register_dataset
class Soundtracks(Dataset):
    """The 360 excerpts and their eight mean ratings, divided by ten."""

    card = Card(
        name="soundtracks",
        title="Soundtracks, set 1 (Eerola & Vuoskoski 2011): film music with mean ratings of eight emotions",
        origin="https://osf.io/p6vkg",
        licence="for research; the recordings remain their owners' (see the OSF page)",
        size="360 mp3 excerpts of 10 to 37 s, about 130 MB",
        citation="T. Eerola and J. K. Vuoskoski. A comparison of the discrete and dimensional models of emotion "
        "in music. Psychology of Music 39(1):18-49, 2011.",
        emotion_scale=(1.0, 9.0),
        concept_scale=(0.0, 10.0),
        bibtex="""@article{eerola2011comparison,
  author = {Eerola, Tuomas and Vuoskoski, Jonna K.},
  title = {A comparison of the discrete and dimensional models of emotion in music},
  journal = {Psychology of Music},
  volume = {39},
  number = {1},
  pages = {18--49},
  year = {2011}
}""",
    )
    table = RATINGS
    marks = ({RATINGS: ("number", *EMOTIONS)},)
    label_scale = (1.0 / DIVISOR, 9.0 / DIVISOR)

    def read(self, problems: Problems) -> Index:
        """Ratings joined to audio paths and, where the track list exists, to albums."""
        path = self.root / RATINGS
        columns = ("number", *EMOTIONS)
        table = read_csv(path, columns=columns, text=columns, problems=problems)
        if "number" not in table:
            problems.raise_all()
        clips = [clip_name(cell) for cell in table["number"]]
        rows = usable_rows(clips, problems, f"{path}: ")
        labels = ratings(table, EMOTIONS, self.card.emotion_scale, path, "number", problems)[rows]
        usable_clips = tuple(clips[row] for row in rows)
        albums = self._albums(usable_clips, problems)
        self._check_identity(usable_clips, labels, albums, problems)
        return Index(
            clips=usable_clips,
            paths=tuple(self.root / "Set1" / f"{clip}.mp3" for clip in usable_clips),
            emotions=EMOTIONS,
            labels=labels / DIVISOR,
            albums=albums,
        )

    def _albums(self, clips: tuple[str, ...], problems: Problems) -> tuple[str, ...] | None:
        path = self.root / TRACKLIST
        if not path.is_file():
            return None
        columns = ("Nro", "Album name")
        table = read_csv(path, columns=columns, text=columns, problems=problems)
        if not set(columns) <= set(table):
            return None
        names = dict(zip(table["Nro"].str.strip(), table["Album name"].str.strip(), strict=True))
        for clip in clips:
            if clip not in names:
                problems.add(
                    f"{path}: no row for clip {one_line(clip)}, which {RATINGS} rates. Add it or download the "
                    "file again."
                )
        albums = (names.get(clip, "") for clip in clips)
        return tuple(ALBUM_SPELLINGS.get(album, album) for album in albums)

    def _check_identity(
        self, clips: tuple[str, ...], labels: Labels, albums: tuple[str, ...] | None, problems: Problems
    ) -> None:
        """Refuse data of the same format that are not Soundtracks. Recordings are not compared: `validate` does."""
        name = self.card.name
        is_synthetic = any(album.startswith(SYNTHETIC_ALBUM) for album in albums or ())
        if is_synthetic or (self.root / SYNTHETIC_STATE).exists():
            problems.add(f"{self.root}: contains the synthetic corpus, not {name}. Use `dataset=synthetic`.")
        elif sorted(clips) == list(CLIPS) and ratings_sha256(clips, labels) != RATINGS_SHA256:
            problems.add(
                f"{self.root / RATINGS}: these are not the published ratings of {name}. Download them again, or "
                "open ratings of your own with `dataset=folder`."
            )

    def checksums(self) -> Mapping[str, str]:
        """SHA-256 of every file of the set, as published."""
        content = resources.files("tenuto.data").joinpath("soundtracks.sha256.json").read_text("utf-8")
        return dict(json.loads(content))

    def download(self, progress: Callable[[str, int, int | None], None] | None = None) -> None:
        """Download audio, ratings and track list from OSF. Raises `DownloadError`."""
        from tenuto.data.remote import osf_download

        names = tuple(self.checksums())
        osf_download(OSF_NODE, self.root, select=lambda name: name.endswith(names), progress=progress)
        if absent := [name for name in names if not (self.root / name).is_file()]:
            raise DownloadError(
                f"OSF node {OSF_NODE} lacks {absent[0]} and {counted(len(absent) - 1, 'more file')}. Get them from "
                f"{self.card.origin} and put them into {self.root}."
            )


def ratings_sha256(clips: tuple[str, ...], labels: Labels) -> str:
    """Hexadecimal SHA-256 of ratings (clips, emotions) in the order of the clips, with four decimals."""
    rows = sorted(zip(clips, labels.tolist(), strict=True))
    values = ";".join(f"{value:.4f}" for _, row in rows for value in row)
    return sha256_bytes(f"{','.join(clip for clip, _ in rows)}\n{values}".encode())
