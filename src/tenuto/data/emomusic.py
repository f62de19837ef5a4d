"""emoMusic ("1000 songs"): 744 excerpts with mean ratings of valence and arousal.

M. Soleymani, M. N. Caro, E. M. Schmidt, C.-Y. Sha, Y.-H. Yang, "1000 songs for emotional analysis of music",
CrowdMM 2013. Files, at any depth: `static_annotations.csv`, `songs_info.csv`, `clips_45seconds/2.mp3`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenuto.data.base import Card, register_dataset
from tenuto.data.layout import Files, lenient_rows
from tenuto.data.songs import RatedSongs, names_by_clip

SET_PARTS = {"development": "train", "evaluation": "test"}


@register_dataset
class EmoMusic(RatedSongs):
    """emoMusic, with its official split into 619 and 125 songs; genres are its groups."""

    card = Card(
        name="emomusic",
        title="emoMusic, 1000 songs (Soleymani et al. 2013): excerpts with valence and arousal",
        origin="https://cvml.unige.ch/databases/emoMusic/ (fill in the form there to get the address)",
        licence="for research; recordings of the Free Music Archive under Creative Commons licences",
        size="744 mp3 excerpts of 45 s",
        citation="M. Soleymani, M. N. Caro, E. M. Schmidt, C.-Y. Sha and Y.-H. Yang. 1000 songs for emotional analysis "
        "of music. ACM workshop on Crowdsourcing for Multimedia (CrowdMM), 2013.",
        emotion_scale=(1.0, 9.0),
        concept_scale=(0.0, 1.0),
        bibtex="""@inproceedings{soleymani20131000,
  author = {Soleymani, Mohammad and Caro, Micheal N. and Schmidt, Erik M. and Sha, Cheng-Ya and Yang, Yi-Hsuan},
  title = {1000 songs for emotional analysis of music},
  booktitle = {Proceedings of the 2nd ACM International Workshop on Crowdsourcing for Multimedia},
  pages = {1--6},
  year = {2013}
}""",
    )
    tables = ("static_annotations.csv",)
    key = "song_id"
    means = ("mean_valence", "mean_arousal")
    spreads = ("std_valence", "std_arousal")
    audio_folder = "clips_45seconds"
    last_song = 1000
    marks = ({tables[0]: ("song_id", "mean_valence", "mean_arousal")},)

    def about(self, files: Files, clips: Sequence[str]) -> dict[str, Any]:
        """Artist, genre and part of every song, where `songs_info.csv` exists."""
        path = files.table("songs_info.csv")
        rows = {row.get("song_id", ""): row for row in (lenient_rows(path) if path.is_file() else [])}
        names = {
            column: {song: row.get(column, "") for song, row in rows.items()}
            for column in ("artist", "genre", "mediaeval 2013 set")
        }
        parts = names_by_clip(names["mediaeval 2013 set"], clips)
        return {
            "artists": names_by_clip(names["artist"], clips),
            "groups": names_by_clip(names["genre"], clips),
            "official": {"2013": tuple(SET_PARTS.get(part, "") for part in parts)} if parts else {},
        }
