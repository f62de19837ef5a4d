"""Division of clips into training, validation and test parts."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tenuto.config import SPLITS, is_split_file
from tenuto.data.base import Index, clip_name
from tenuto.data.layout import without_type
from tenuto.data.tables import separator_of
from tenuto.errors import ConfigError, DataError, Problems, counted, did_you_mean, one_line, quote
from tenuto.files import read_csv, read_text, sha256_bytes, write_csv

PARTS = ("train", "validation", "test")
PAPER_SPLIT_SEED = 42
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


def draw(index: Index, kind: str, seed: int = PAPER_SPLIT_SEED) -> Split:
    """Divide the clips; those of a random split and of whole albums 80 : 10 : 10.

    Args:
        index: The data set.
        kind: ``paper`` (the study's draw, whatever the seed); ``random``; ``album`` or ``artist`` (none in two parts);
            ``group:NAME`` (test on the group of that name) or ``group`` (on the group whose place in alphabetical
            order is ``seed`` modulo their number, so that seeds from 0 go through all groups); ``official:NAME`` or
            ``official`` (the only published split, or the first); or the path of a CSV with ``clip,split``.
        seed: Seed of everything that is drawn.

    Raises:
        ConfigError: No such split.
        DataError: Too few clips, or the data set lacks what the split needs.
        FileError: The file of a split cannot be read.
    """
    name, _, which = kind.partition(":")
    if is_split_file(kind):
        return _from_file(index, Path(kind), seed)
    if name not in SPLITS:
        raise ConfigError(f"no split is called {quote(kind)}. {did_you_mean(kind, SPLITS)}")
    if name == "official":
        return _official(index, which, seed)
    if len(index) < 10:
        raise DataError(
            f"{counted(len(index), 'clip')} cannot be split 80:10:10; at least 10 are needed. Add recordings, or "
            "name the part of every clip in a CSV with the columns clip and split: `split=FILE.csv`."
        )
    if name == "group":
        return _leave_out(index, which, seed)
    if name in ("album", "artist"):
        return _by_owner(index, name, index.albums if name == "album" else index.artists, seed)
    order = _shuffled(index.clips, PAPER_SPLIT_SEED if name == "paper" else seed)
    held_out = _tenth(order)
    first, second = len(order) - 2 * held_out, len(order) - held_out
    return Split(tuple(order[:first]), tuple(order[first:second]), tuple(order[second:]))


def _shuffled(clips: Sequence[str], seed: int) -> list[str]:
    """The clips in random order. The study called torch's random_split, which distributes one permutation."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return [clips[place] for place in torch.randperm(len(clips), generator=generator).tolist()]


def _tenth(clips: Sequence[str]) -> int:
    return max(1, round(len(clips) * SHARES[1]))


def _with_validation(train: Sequence[str], test: Sequence[str], seed: int) -> Split:
    """A split whose validation clips are a tenth of the training clips, drawn at random."""
    order = _shuffled(train, seed)
    validation = set(order[: _tenth(order)])
    return Split(
        tuple(clip for clip in train if clip not in validation),
        tuple(clip for clip in train if clip in validation),
        tuple(test),
    )


def _by_owner(index: Index, kind: str, owners: tuple[str, ...] | None, seed: int) -> Split:
    """Fill test, then validation, with whole albums (or artists) in random order while they fit; the rest trains."""
    if owners is None:
        raise DataError(
            f"the {kind} split needs {kind}s, but this data set has none. Use `split=random`, or in "
            f"tenuto.yaml name a column of your own table as {kind}_column."
        )
    owners = one_spelling(owners)
    names = sorted(set(owners))
    if len(names) < len(PARTS):
        raise DataError(f"the {kind} split needs at least 3 {kind}s, this data set has {len(names)}.")
    members = {name: [c for c, o in zip(index.clips, owners, strict=True) if o == name] for name in names}
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    target = _tenth(index.clips)
    parts: dict[str, list[str]] = {name: [] for name in PARTS}
    for name in order:
        clips = members[name]
        room = [part for part in ("test", "validation") if len(parts[part]) + len(clips) <= target]
        parts[room[0] if room else "train"] += clips
    if empty := [name for name in PARTS if not parts[name]]:
        raise DataError(
            f"the {kind} split leaves {empty[0]} empty: its {kind}s are too large. Use `split=group`, which tests on "
            "one of them, or `split=random`."
        )
    return Split(*(tuple(parts[name]) for name in PARTS))


def one_spelling(names: Sequence[str]) -> tuple[str, ...]:
    """The names, those that differ in letter case or blanks alone in the spelling of the first.

    >>> one_spelling(["Kind of Blue", "kind of  blue", "Blue Train"])
    ('Kind of Blue', 'Kind of Blue', 'Blue Train')
    """
    first: dict[str, str] = {}
    return tuple(first.setdefault(" ".join(name.casefold().split()), name) for name in names)


def _leave_out(index: Index, which: str, seed: int) -> Split:
    """Test on one group; a tenth of the other clips are for validation (leave-one-group-out)."""
    groups = index.groups or index.albums
    if groups is None:
        raise DataError(
            "the group split needs groups, but this data set has none. Use `split=random`, or in "
            "tenuto.yaml name a column of your own table as group_column."
        )
    groups = one_spelling(groups)
    names = sorted(set(filter(None, groups)))
    if len(names) < 2:
        raise DataError(f"the group split needs at least 2 groups, this data set has {len(names)}.")
    if which and which not in names:
        raise DataError(f"no group is called {quote(which)}. {did_you_mean(which, names)}")
    chosen = which or names[seed % len(names)]
    test = [clip for clip, group in zip(index.clips, groups, strict=True) if group == chosen]
    train = [clip for clip, group in zip(index.clips, groups, strict=True) if group != chosen]
    return _with_validation(train, test, seed)


def _official(index: Index, which: str, seed: int) -> Split:
    """A published split. Where it has no validation part, that is a tenth of the training clips."""
    if not index.official:
        raise DataError("this data set has no official split. Use `split=random`, or give the path of a CSV.")
    if which and which not in index.official:
        raise DataError(f"no official split is called {quote(which)}. {did_you_mean(which, index.official)}")
    parts = index.official[which or next(iter(index.official))]
    return _of_parts(dict(zip(index.clips, parts, strict=True)), "the official split", seed)


def _of_parts(parts: Mapping[str, str], source: str, seed: int) -> Split:
    """A split from the part of every clip; validation clips are drawn where none are named."""
    train, validation, test = ([clip for clip in parts if parts[clip] == name] for name in PARTS)
    if len(train) < 2 or not test:
        raise DataError(
            f"{source} has {counted(len(train), 'clip')} for training and {len(test)} for testing; at "
            "least 2 and 1 are needed. Add them, or choose another split."
        )
    if not validation:
        return _with_validation(train, test, seed)
    return Split(tuple(train), tuple(validation), tuple(test))


def _from_file(index: Index, path: Path, seed: int) -> Split:
    """The split of a user's file. Clips may be named with their file type; clips it does not name are left out."""
    split = read_split(path)
    known_clips, problems, parts = set(index.clips), Problems(), dict[str, str]()
    for part in PARTS:
        for name in map(clip_name, split.part(part)):
            clip = name if name in known_clips else without_type(name)
            if clip not in known_clips:
                problems.add(
                    f"{path}: clip {one_line(name)} is not in the data. {_nearest(clip, index.clips)}"
                )
            elif clip in parts:
                problems.add(f"{path}: clip {one_line(clip)} is listed twice. Remove one line.")
            parts[clip] = part
    problems.raise_all()
    return _of_parts(parts, f"{path}: the split", seed)


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {one_line(near[0])}?" if near else "Correct the name or remove the line."


def split_identity(kind: str) -> str:
    """What a split adds to a run's signature besides its name: the content of a user's file; empty for others."""
    if not is_split_file(kind):
        return ""
    split = read_split(Path(kind))
    return sha256_bytes(repr([split.part(name) for name in PARTS]).encode())


def write_split(path: Path, split: Split) -> None:
    """Store a split as CSV: clip, split, position."""
    rows = [(clip, name, place) for name in PARTS for place, clip in enumerate(split.part(name))]
    write_csv(path, pd.DataFrame(rows, columns=["clip", "split", "position"]))


def read_split(path: Path) -> Split:
    """Read a split that `write_split` stored, or a user's table of ``clip,split`` without the column ``position``.

    Raises:
        DataError: A clip has no name, or is listed twice, in one part or in two; a part is not called ``train``,
            ``validation`` or ``test``.
        FileError: The file is missing or is not such a table.
    """
    problems, columns = Problems(), ("clip", "split")
    content = read_text(path)
    table = read_csv(
        path,
        columns=columns,
        text=columns,
        integers=("position",),
        separator=separator_of(content, columns),
        problems=problems,
        content=content,
    )
    if not set(columns) <= set(table):
        problems.raise_all()
    table["split"] = table["split"].str.strip()
    parts: dict[str, str] = {}
    for line, clip, part in zip(table.index, table["clip"], table["split"], strict=True):
        if part not in PARTS:
            problems.add(f"{path}: line {line}: no part is called {quote(part)}. {did_you_mean(part, PARTS)}")
        if not clip.strip():
            problems.add(f"{path}: line {line}: the clip has no name. Add it or remove the line.")
        elif clip in parts:
            places = (
                f"twice in {part}"
                if parts[clip] == part
                else f"in {one_line(parts[clip])} and in {one_line(part)}"
            )
            problems.add(f"{path}: line {line}: clip {one_line(clip)} is {places}. Remove one of the lines.")
        parts[clip] = part
    problems.raise_all()
    if "position" in table:
        table = table.sort_values("position", kind="stable")
    return Split(*(tuple(table.loc[table["split"] == name, "clip"]) for name in PARTS))
