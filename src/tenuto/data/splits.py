"""Division of clips into training, validation and test parts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from tenuto.data.base import Index
from tenuto.errors import ConfigError, DataError, Problems, did_you_mean, one_line, quote
from tenuto.files import read_csv, write_csv

SplitKind = Literal["paper", "album", "random"]
PARTS = ("train", "validation", "test")
PAPER_SEED = 42
SHARES = (0.8, 0.1, 0.1)


@dataclasses.dataclass(frozen=True)
class Split:
    """Clip names of each part, in the order they are read."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def part(self, name: str) -> tuple[str, ...]:
        """The clips of ``train``, ``validation`` or ``test``."""
        if name not in PARTS:
            raise ConfigError(f"No part of a split is called {quote(name)}. {did_you_mean(name, PARTS)}")
        clips: tuple[str, ...] = getattr(self, name)
        return clips


def draw(index: Index, kind: SplitKind, seed: int = PAPER_SEED) -> Split:
    """Divide the clips 80 : 10 : 10.

    Args:
        index: The data set.
        kind: ``paper`` (the study's draw, whatever the seed), ``album`` (no album in two parts), ``random``.
        seed: Seed of ``album`` and ``random``.

    Raises:
        DataError: Too few clips, or no albums where they are needed.
    """
    if len(index) < 10:
        raise DataError(f"{len(index)} clips cannot be split 80:10:10; at least 10 are needed.")
    if kind == "album":
        return _by_album(index, seed)
    # The study called torch's random_split, which distributes one permutation.
    import torch

    generator = torch.Generator().manual_seed(PAPER_SEED if kind == "paper" else seed)
    order = torch.randperm(len(index), generator=generator).tolist()
    return _parts([index.clips[place] for place in order])


def _parts(clips: list[str]) -> Split:
    held_out = max(1, round(len(clips) * SHARES[1]))
    first, second = len(clips) - 2 * held_out, len(clips) - held_out
    return Split(tuple(clips[:first]), tuple(clips[first:second]), tuple(clips[second:]))


def _by_album(index: Index, seed: int) -> Split:
    """Fill test, then validation, with whole albums in random order while they fit; all others are for training."""
    if index.albums is None:
        raise DataError("the album split needs albums, but this data set has none. Use `split=random`.")
    albums = sorted(set(index.albums))
    if len(albums) < len(PARTS):
        raise DataError(f"the album split needs at least 3 albums, this data set has {len(albums)}.")
    members = {
        album: [c for c, a in zip(index.clips, index.albums, strict=True) if a == album] for album in albums
    }
    order = [albums[i] for i in np.random.default_rng(seed).permutation(len(albums))]
    target = max(1, round(len(index) * SHARES[1]))
    parts: dict[str, list[str]] = {name: [] for name in PARTS}
    for album in order:
        clips = members[album]
        room = [name for name in ("test", "validation") if len(parts[name]) + len(clips) <= target]
        parts[room[0] if room else "train"] += clips
    if empty := [name for name in PARTS if not parts[name]]:
        raise DataError(
            f"the album split leaves {empty[0]} empty: its albums are too large. Use `split=random`."
        )
    return Split(*(tuple(parts[name]) for name in PARTS))


def write_split(path: Path, split: Split) -> None:
    """Store a split as CSV: clip, split, position."""
    rows = [(clip, name, place) for name in PARTS for place, clip in enumerate(split.part(name))]
    write_csv(path, pd.DataFrame(rows, columns=["clip", "split", "position"]))


def read_split(path: Path) -> Split:
    """Read a split that `write_split` stored.

    Raises:
        DataError: A clip has no name, or is listed twice, in one part or in two; a part is not called ``train``,
            ``validation`` or ``test``.
        FileError: The file is missing or is not such a table.
    """
    problems = Problems()
    table = read_csv(
        path,
        columns=("clip", "split", "position"),
        text=("clip", "split"),
        integers=("position",),
        problems=problems,
    )
    if not {"clip", "split", "position"} <= set(table):
        problems.raise_all()
    parts: dict[str, str] = {}
    for line, clip, part in zip(table.index, table["clip"], table["split"], strict=True):
        if part not in PARTS:
            problems.add(
                DataError(
                    f"{path}: line {line}: no part is called {quote(part)}. {did_you_mean(part, PARTS)}"
                )
            )
        if not clip.strip():
            problems.add(DataError(f"{path}: line {line}: the clip has no name. Add it or remove the line."))
        elif clip in parts:
            places = (
                f"twice in {part}"
                if parts[clip] == part
                else f"in {one_line(parts[clip])} and in {one_line(part)}"
            )
            problems.add(
                DataError(f"{path}: line {line}: clip {one_line(clip)} is {places}. Remove one of the lines.")
            )
        parts[clip] = part
    problems.raise_all()
    table = table.sort_values("position", kind="stable")
    return Split(*(tuple(table.loc[table["split"] == name, "clip"]) for name in PARTS))
