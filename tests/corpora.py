"""Small made-up data sets in the real formats, for tests that need no real data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tenuto.data import Folder, Midlevel, Soundtracks, cache
from tenuto.data.midlevel import CONCEPT_COLUMNS
from tenuto.data.soundtracks import EMOTIONS

CLIPS = 12
CONCEPT_NAMES = tuple(CONCEPT_COLUMNS.values())


def calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Names of the recordings that a function of `tenuto.data.cache` is called with from now on."""
    seen: list[str] = []
    real = getattr(cache, name)

    def counted(path: Path) -> Any:
        seen.append(path.name)
        return real(path)

    monkeypatch.setattr(cache, name, counted)
    return seen


def write_audio(path: Path, number: int, seconds: float = 0.6) -> None:
    """A short chord of its own for every number; mp3, wav, flac or ogg by the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * 22050)) / 22050
    wave = sum(np.sin(2 * np.pi * 110 * (number + partial) * time) for partial in (1, 2, 3))
    soundfile.write(path, 0.2 * wave, 22050)


def soundtracks(root: Path, clips: int = CLIPS) -> Soundtracks:
    """A copy in the format of Soundtracks, with ``clips`` clips on four albums."""
    random = np.random.default_rng(0)
    lines = ["number," + ",".join(EMOTIONS) + ",TARGET"]
    tracks = ["Nro,Emotion,Album name,Track,Min:Sec"]
    for number in range(1, clips + 1):
        write_audio(root / "Set1" / f"{number:03d}.mp3", number)
        lines.append(f"{number:03d}," + ",".join(f"{x:.2f}" for x in random.uniform(1, 9, 8)) + ",HAPPY")
        tracks.append(f"{number:03d},Happy, Album {number % 4} ,1,00:00-00:15")
    (root / "mean_ratings_set1.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    (root / "set1_tracklist.csv").write_text("\n".join(tracks) + "\n")
    return Soundtracks(root)


def midlevel(root: Path, clips: int = CLIPS) -> Midlevel:
    """The same with concept ratings, between rows of another source."""
    soundtracks(root, clips)
    random = np.random.default_rng(1)
    metadata, annotations = ["song id;Source;ID at file source"], ["song_id," + ",".join(CONCEPT_NAMES)]
    song = 0
    for number in range(1, clips + 1):
        for source, identity in (("magnatagatune", 9000 + number), ("soundtracks", number)):
            song += 1
            metadata.append(f"{song};{source};{identity}")
            annotations.append(f"{song}," + ",".join(f"{x:.2f}" for x in random.uniform(1, 9, 7)))
    folder = root / "metadata_annotations"
    folder.mkdir(exist_ok=True)
    (folder / "metadata.csv").write_text("\n".join(metadata) + "\n")
    (folder / "annotations.csv").write_text("\n".join(annotations) + "\n")
    return Midlevel(root)


def folder(root: Path, clips: int = CLIPS) -> Folder:
    """A user's own folder: three file types, subfolders, other emotions, one concept, a 1-7 scale."""
    random = np.random.default_rng(2)
    lines = ["song,arousal,joy,roughness,record"]
    for number in range(clips):
        name = f"disc {number % 2}/song {number}{('.wav', '.flac', '.ogg')[number % 3]}"
        write_audio(root / name, number + 1)
        shown = name if number % 2 else name.rsplit(".", 1)[0]
        lines.append(f"{shown}," + ",".join(f"{x:.2f}" for x in random.uniform(1, 7, 3)) + f",r{number % 4}")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    return Folder(root, "table.csv", "song", ("arousal", "joy"), ("roughness",), (1.0, 7.0), "record")
