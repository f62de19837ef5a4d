"""Small made-up data sets in the real formats, for tests that need no real data."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tenuto.data import Deam, EmoMusic, Folder, Jamendo, Midlevel, PMEmo, Soundtracks, cache
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


def edit(path: Path, old: str, new: str, count: int = 1) -> None:
    """Replace a text that a file holds, the first time or as often as ``count`` says (-1: everywhere)."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, count), encoding="utf-8")


def write_audio(path: Path, number: int, seconds: float = 0.6) -> None:
    """A short chord of its own for every number; mp3, wav, flac or ogg by the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_chord(path.suffix.removeprefix("."), number, seconds))


@functools.cache
def _chord(form: str, number: int, seconds: float) -> bytes:
    time = np.arange(round(seconds * 22050)) / 22050
    wave = sum(np.sin(2 * np.pi * 110 * (number + partial) * time) for partial in (1, 2, 3))
    file = io.BytesIO()
    soundfile.write(file, 0.2 * wave, 22050, format=form)
    return file.getvalue()


def music(number: int, seconds: float = 6.0, rate: float = 4.0, level: float = 0.3) -> np.ndarray:
    """A melody of its own for every number, 22 050 Hz: ``rate`` notes per second with a peak of about ``level``."""
    random, size = np.random.default_rng(number), round(22050 / rate)
    time, notes = np.arange(size) / 22050, round(seconds * rate)
    pitches = 220 * 2 ** (random.integers(0, 36, notes) / 12)
    sounds = [
        sum(np.sin(2 * np.pi * pitch * partial * time) / partial for partial in (1, 2, 3)) * np.exp(-5 * time)
        for pitch in pitches
    ]
    return np.asarray(level * np.concatenate(sounds) / 2)


def soundtracks(root: Path, clips: int = CLIPS, seconds: float = 0.6) -> Soundtracks:
    """A copy in the format of Soundtracks, with ``clips`` clips on four albums."""
    random = np.random.default_rng(0)
    lines = ["number," + ",".join(EMOTIONS) + ",TARGET"]
    tracks = ["Nro,Emotion,Album name,Track,Min:Sec"]
    for number in range(1, clips + 1):
        write_audio(root / "Set1" / f"{number:03d}.mp3", number, seconds)
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


GENRES = ("Jazz", "Folk", "Rock", "Blues")


def _means(clips: int, low: float, high: float, decimals: int = 2) -> list[list[str]]:
    """Mean and deviation of valence and of arousal of every clip, as text."""
    random = np.random.default_rng(3)
    return [
        [
            f"{x:.{decimals}f}"
            for x in (*random.uniform(low, high, 2), *random.uniform(0, (high - low) / 4, 2))
        ]
        for _ in range(clips)
    ]


def deam(root: Path, clips: int = CLIPS) -> Deam:
    """A copy in the format of DEAM: the last clips are songs of the two evaluation sets; ragged metadata."""
    songs = [*range(2, clips - 2), 1001, 1002, 2001, 2058]
    folder = root / "annotations" / "annotations averaged per song" / "song_level"
    folder.mkdir(parents=True)
    lines = [
        ", ".join((str(song), valence, spread, arousal, other))
        for song, (valence, arousal, spread, other) in zip(songs, _means(clips, 1, 9), strict=True)
    ]
    header = "song_id, valence_mean, valence_std, arousal_mean, arousal_std"
    (folder / "static_annotations_averaged_songs_1_2000.csv").write_text(
        "\n".join([header, *lines[:-2]]) + "\n"
    )
    more = [f"{line}, 1, 9" for line in lines[-2:]]
    (folder / "static_annotations_averaged_songs_2000_2058.csv").write_text(
        "\n".join([f"{header}, valence_ max_mean, valence_min_mean", *more])
    )
    metadata = root / "metadata"
    metadata.mkdir()
    first = [
        f'{song},{song}.mp3,\t"Artist {song // 2}"\t,Song,0.1,0.46,Rock' for song in songs if song <= 1000
    ]
    (metadata / "metadata_2013.csv").write_text(
        "\n".join(["song_id,file_name,Artist,Song title,start,end,Genre", *first])
    )
    (metadata / "metadata_2014.csv").write_bytes(
        b"Id, Artist,Album,Track\n1001,M\xf6nk,One,x,tag,tag\n1002,Monk,Two,x,tag\n"
    )
    (metadata / "metadata_2015.csv").write_text(
        "id,Filename,title,artist,album,genre\n2001,a,b,Bill,n/a,x,y\n"
    )
    for song in songs:
        write_audio(root / "MEMD_audio" / f"{song}.mp3", songs.index(song) + 1)
    return Deam(root)


def emomusic(root: Path, clips: int = CLIPS) -> EmoMusic:
    """A copy in the format of emoMusic, the last third for evaluation; full songs lie beside the excerpts."""
    rows = ["song_id,mean_arousal,std_arousal,mean_valence,std_valence"]
    about = [
        "song_id,file_name,Artist,Song title,start of the segment (min.sec),end of the segment (min.sec),Genre,"
        "Mediaeval 2013 set"
    ]
    for song, (valence, arousal, spread, other) in enumerate(_means(clips, 1, 9, 1), 1):
        rows.append(f"{song},{arousal},{other},{valence},{spread}")
        part = "evaluation" if song > clips * 2 // 3 else "development"
        about.append(f"{song},{song}.mp3,\tArtist {song // 2}\t,Song,0.1,0.46,{GENRES[song % 4]}\t,{part}")
        write_audio(root / "clips_45seconds" / f"{song}.mp3", song)
    write_audio(root / "clips_full" / "1.mp3", 40)
    (root / "annotations").mkdir()
    (root / "annotations" / "static_annotations.csv").write_text("\n".join(rows))
    (root / "annotations" / "songs_info.csv").write_text("\n".join(about))
    return EmoMusic(root)


def pmemo(root: Path, clips: int = CLIPS) -> PMEmo:
    """A copy in the format of PMEmo, one folder further down, with a recording that has no ratings."""
    top = root / "PMEmo2019"
    means, spreads = ["musicId,Arousal(mean),Valence(mean)"], ["musicId,Arousal(std),Valence(std)"]
    about = ["musicId,fileName,title,artist,album,duration,chorus_start_time,chorus_end_time"]
    for song, (valence, arousal, spread, other) in enumerate(_means(clips, 0, 1, 4), 1):
        means.append(f"{song},{arousal},{valence}")
        spreads.append(f"{song},{other},{spread}")
        about.append(
            f'{song},{song}.mp3,"A song, really",Artist {song // 2},Album {song % 5},30.0,00:10,00:40'
        )
        write_audio(top / "chorus" / f"{song}.mp3", song)
    write_audio(top / "chorus" / "900.mp3", 9)
    (top / "annotations").mkdir()
    (top / "annotations" / "static_annotations.csv").write_text("\n".join(means))
    (top / "annotations" / "static_annotations_std.csv").write_text("\n".join(spreads))
    (top / "metadata.csv").write_text("\n".join(about))
    return PMEmo(root)


TAGS = ("happy", "sad", "film")


def jamendo(root: Path, clips: int = CLIPS) -> Jamendo:
    """A copy in the format of MTG-Jamendo with two of its splits; recordings of one more archive are missing."""
    header = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"
    lines = []
    for track in range(1, clips + 1):
        place = f"{track % 3:02d}/{track}"
        tags = [tag for number, tag in enumerate(TAGS) if (track + number) % 3 or track % 4 == 0]
        cells = (
            f"track_{track:07d}",
            f"artist_{track // 2:06d}",
            f"album_{track % 5:06d}",
            f"{place}.mp3",
            "9.5",
        )
        lines.append("\t".join([*cells, *(f"mood/theme---{tag}" for tag in tags)]))
        write_audio(root / "audio" / f"{place}{'.low' if track % 2 else ''}.mp3", track)
    lines.append("track_9999999\tartist_1\talbum_1\t99/9999999.mp3\t9.5\tmood/theme---sad")
    for number in range(2):
        folder = root / "data" / "splits" / f"split-{number}"
        folder.mkdir(parents=True)
        order = lines[number:] + lines[:number]
        for part, own in (("train", order[6:]), ("validation", order[3:6]), ("test", order[:3])):
            (folder / f"autotagging_moodtheme-{part}.tsv").write_text("\n".join([header, *own]) + "\n")
    return Jamendo(root)
