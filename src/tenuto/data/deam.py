"""DEAM: 1802 excerpts and songs with mean ratings of valence and arousal.

A. Aljanaki, Y.-H. Yang, M. Soleymani, "Developing a benchmark for emotional analysis of music", PLoS ONE 12(3), 2017.
Files, at any depth: `static_annotations_averaged_songs_1_2000.csv`, `..._2000_2058.csv`, `MEMD_audio/2.mp3`, and
`metadata_2013.csv` to `metadata_2015.csv`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tenuto.data.base import Card, register_dataset
from tenuto.data.layout import Files, lenient_rows
from tenuto.data.songs import RatedSongs, names_by_clip

ADDRESS = "https://cvml.unige.ch/databases/DEAM"
ARCHIVES = {
    "DEAM_Annotations.zip": (4_735_283, "809b0feb4ba6196c1eda9b2b7b33b892b11fa71457cfceb0d47e832ed1a5f15f"),
    "metadata.zip": (344_760, "3d1d5ab42e852803a770f2cfbd685c6b464e1ebe76f26b0e10954597902b90f8"),
    "DEAM_audio.zip": (1_343_203_527, "e2814325f573ade8caebc697f0efcfdf7207142b737d72558a416117ca591353"),
}
"""Size in bytes and SHA-256 of the archives."""

METADATA = {
    "metadata_2013.csv": ("song_id", "artist", ""),
    "metadata_2014.csv": ("id", "artist", "album"),
    "metadata_2015.csv": ("id", "artist", "album"),
}
"""Columns of the song's number, its artist and its album, in small letters."""

DEVELOPMENT, EVALUATION = 1000, 2000
"""Last song of the development set, and of the evaluation set, of the MediaEval task of 2014."""


@register_dataset
class Deam(RatedSongs):
    """DEAM, with the split of the MediaEval task of 2014."""

    card = Card(
        name="deam",
        title="DEAM (Aljanaki, Yang & Soleymani 2017): excerpts and songs with valence and arousal",
        origin=f"{ADDRESS}/",
        licence="recordings under Creative Commons licences, each its own; see the metadata",
        size="1802 mp3 files: 1744 excerpts of 45 s and 58 songs, 1.3 GB",
        citation="A. Aljanaki, Y.-H. Yang and M. Soleymani. Developing a benchmark for emotional analysis of music. "
        "PLoS ONE 12(3):e0173392, 2017.",
        emotion_scale=(1.0, 9.0),
        concept_scale=(0.0, 1.0),
        bibtex="""@article{aljanaki2017developing,
  author = {Aljanaki, Anna and Yang, Yi-Hsuan and Soleymani, Mohammad},
  title = {Developing a benchmark for emotional analysis of music},
  journal = {PLoS ONE},
  volume = {12},
  number = {3},
  pages = {e0173392},
  year = {2017}
}""",
    )
    tables = (
        "static_annotations_averaged_songs_1_2000.csv",
        "static_annotations_averaged_songs_2000_2058.csv",
    )
    key = "song_id"
    means = ("valence_mean", "arousal_mean")
    spreads = ("valence_std", "arousal_std")
    audio_folder = "MEMD_audio"
    last_song = 2058
    marks = ({tables[0]: ("song_id", "valence_mean", "arousal_mean")},)

    def about(self, files: Files, clips: Sequence[str]) -> dict[str, Any]:
        """Artists and albums where the metadata exist; development and evaluation set of 2014."""
        artists, albums = dict[str, str](), dict[str, str]()
        for name, (key, artist, album) in METADATA.items():
            path = files.table(name)
            for row in lenient_rows(path) if path.is_file() else []:
                artists[row.get(key, "")] = row.get(artist, "")
                albums[row.get(key, "")] = row.get(album, "")
        official = tuple(
            "train" if int(clip) <= DEVELOPMENT else "test" if int(clip) <= EVALUATION else ""
            for clip in (clip if clip.isdecimal() else "0" for clip in clips)
        )
        return {
            "artists": names_by_clip(artists, clips),
            "albums": names_by_clip(albums, clips),
            "official": {"2014": official},
        }

    def download(self, progress: Callable[[str, int, int | None], None] | None = None) -> None:
        """Download and unpack annotations, metadata and audio. Raises `DownloadError`."""
        from tenuto.data.remote import archives

        archives(ADDRESS, ARCHIVES, self.root, progress=progress)
