"""PMEmo: choruses of pop songs with mean ratings of valence and arousal.

K. Zhang, H. Zhang, S. Li, C. Yang, L. Sun, "The PMEmo dataset for music emotion recognition", ICMR 2018. Files, at any
depth: `static_annotations.csv`, `static_annotations_std.csv`, `metadata.csv`, `chorus/1.mp3`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenuto.data.base import Card, register_dataset
from tenuto.data.layout import Files, lenient_rows
from tenuto.data.songs import RatedSongs, names_by_clip


@register_dataset
class PMEmo(RatedSongs):
    """The choruses that have ratings."""

    card = Card(
        name="pmemo",
        title="PMEmo (Zhang et al. 2018): choruses of pop songs with valence and arousal",
        origin="https://github.com/HuiZhangDB/PMEmo (follow the link there and unpack PMEmo2019.zip)",
        licence="for research; the recordings remain their owners'",
        size="794 mp3 choruses, 767 of them with ratings, 1.3 GB",
        citation="K. Zhang, H. Zhang, S. Li, C. Yang and L. Sun. The PMEmo dataset for music emotion recognition. "
        "ACM International Conference on Multimedia Retrieval (ICMR), 2018.",
        emotion_scale=(0.0, 1.0),
        concept_scale=(0.0, 1.0),
        bibtex="""@inproceedings{zhang2018pmemo,
  author = {Zhang, Kejun and Zhang, Hui and Li, Simeng and Yang, Changyuan and Sun, Lingyun},
  title = {The {PMEmo} dataset for music emotion recognition},
  booktitle = {Proceedings of the 2018 ACM International Conference on Multimedia Retrieval (ICMR)},
  pages = {135--142},
  year = {2018}
}""",
    )
    tables = ("static_annotations.csv",)
    key = "musicId"
    means = ("Valence(mean)", "Arousal(mean)")
    spreads = ("Valence(std)", "Arousal(std)")
    spread_table = "static_annotations_std.csv"
    audio_folder = "chorus"
    last_song = 1000
    marks = ({tables[0]: ("musicId", "Valence(mean)", "Arousal(mean)")},)

    def about(self, files: Files, clips: Sequence[str]) -> dict[str, Any]:
        """Artists and albums, where `metadata.csv` exists."""
        path = files.table("metadata.csv", ("musicId", "artist"))
        rows = {row.get("musicid", ""): row for row in (lenient_rows(path) if path.is_file() else [])}
        return {
            column: names_by_clip({song: row.get(name, "") for song, row in rows.items()}, clips)
            for column, name in (("artists", "artist"), ("albums", "album"))
        }
