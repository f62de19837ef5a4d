"""Soundtracks, set 1: 360 film-music excerpts with mean ratings of eight emotions.

T. Eerola, J. K. Vuoskoski, "A comparison of the discrete and dimensional models of emotion in music",
Psychology of Music 39(1), 2011. Files: `Set1/001.mp3` to `Set1/360.mp3`, `mean_ratings_set1.csv`,
`set1_tracklist.csv`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import resources

from tenuto.data.base import Card, Dataset, Index, ratings
from tenuto.errors import DataError, DownloadError
from tenuto.files import read_csv

EMOTIONS = ("valence", "energy", "tension", "anger", "fear", "happy", "sad", "tender")
OSF_NODE = "p6vkg"
RATINGS = "mean_ratings_set1.csv"
TRACKLIST = "set1_tracklist.csv"
DIVISOR = 10.0
"""The study divides ratings (1 to 9) by ten."""

ALBUM_SPELLINGS = {"The Portait of a Lady": "The Portrait of a Lady"}
"""Misspelt in the track list; with it mended, and stray spaces stripped, the set has 45 albums."""


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
    )

    def read(self) -> Index:
        """Ratings joined to audio paths and, where the track list is there, to albums."""
        path = self.root / RATINGS
        table = read_csv(path, columns=("number", *EMOTIONS), text=("number",))
        labels = ratings(table, EMOTIONS, self.card.emotion_scale, path, "number") / DIVISOR
        clips = tuple(table["number"].str.strip())
        return Index(
            clips=clips,
            paths=tuple(self.root / "Set1" / f"{clip}.mp3" for clip in clips),
            emotions=EMOTIONS,
            labels=labels,
            albums=self._albums(clips),
        )

    def _albums(self, clips: tuple[str, ...]) -> tuple[str, ...] | None:
        path = self.root / TRACKLIST
        if not path.is_file():
            return None
        table = read_csv(path, columns=("Nro", "Album name"), text=("Nro", "Album name"))
        names = dict(zip(table["Nro"].str.strip(), table["Album name"].str.strip(), strict=True))
        if absent := [clip for clip in clips if clip not in names]:
            raise DataError(
                f"{path}: no row for clip {absent[0]}, which {RATINGS} rates. Add it or fetch the file again."
            )
        return tuple(ALBUM_SPELLINGS.get(names[clip], names[clip]) for clip in clips)

    def checksums(self) -> Mapping[str, str]:
        """SHA-256 of every file of the set, as published."""
        content = resources.files("tenuto.data").joinpath("soundtracks.sha256.json").read_text("utf-8")
        return dict(json.loads(content))

    def download(self, progress: Callable[[str, int, int | None], None] | None = None) -> None:
        """Fetch audio, ratings and track list from OSF. Raises `DownloadError`."""
        from tenuto.data.download import osf_download

        wanted = tuple(self.checksums())
        osf_download(OSF_NODE, self.root, select=lambda name: name.endswith(wanted), progress=progress)
        if missing := [name for name in wanted if not (self.root / name).is_file()]:
            raise DownloadError(
                f"OSF node {OSF_NODE} did not bring {missing[0]} and {len(missing) - 1} more to {self.root}. "
                f"See {self.card.origin} and put them there."
            )
