"""What every data set promises: an identity card, an index, `validate`, `download`."""

from __future__ import annotations

import abc
import copy
import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tenuto.audio.descriptors import DESCRIPTORS, VERSION
from tenuto.errors import AudioError, DataError, FileError, TenutoError
from tenuto.files import sha256_file

Labels = NDArray[np.float64]
Progress = Callable[[int], None]
"""Called with the number of items that have just been finished."""


@dataclasses.dataclass(frozen=True)
class Card:
    """Identity card of a data set.

    Args:
        name: The word the command line knows it by.
        title: What it is, in one line.
        origin: Where it comes from.
        licence: What its makers allow.
        size: Number and length of clips, download size.
        citation: What to cite.
        emotion_scale: Lowest and highest rating an emotion can have in the files.
        concept_scale: The same for concepts.
    """

    name: str
    title: str
    origin: str
    licence: str
    size: str
    citation: str
    emotion_scale: tuple[float, float]
    concept_scale: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Index:
    """All clips of a data set with their annotations, in file order.

    Shapes: labels (clips, emotions), concept_labels (clips, concepts) or None where nobody rated concepts, and also
    while signal concepts have names but were not computed yet.
    """

    clips: tuple[str, ...]
    paths: tuple[Path, ...]
    emotions: tuple[str, ...]
    labels: Labels
    concepts: tuple[str, ...] = ()
    concept_labels: Labels | None = None
    albums: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for clip in self.clips:
            if clip in seen:
                raise DataError(f"clip {clip} is listed twice; every clip needs one row. Remove one of them.")
            seen.add(clip)
        if self.labels.shape != (len(self.clips), len(self.emotions)):
            raise DataError(
                f"labels have shape {self.labels.shape}, wanted ({len(self.clips)}, {len(self.emotions)})."
            )

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def has_signal_concepts(self) -> bool:
        """Whether the concepts are descriptors of the sound rather than ratings."""
        return self.concepts == DESCRIPTORS


@dataclasses.dataclass(frozen=True)
class Validation:
    """What `Dataset.validate` found; every entry is a sentence that names a file or clip."""

    missing: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    inconsistent: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True where nothing was found."""
        return not (self.missing or self.altered or self.inconsistent)


class Dataset(abc.ABC):
    """One data set on disk. A subclass supplies the card, `read`, and where it can, checksums and `download`."""

    card: ClassVar[Card]
    signal_concepts = False
    """Whether descriptors of the sound take the place of concept ratings."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r})"

    @abc.abstractmethod
    def read(self) -> Index:
        """Read the annotation files. Raises `DataError` or `FileError`."""

    @cached_property
    def index(self) -> Index:
        """The annotations, read once."""
        if not self.root.is_dir():
            raise DataError(
                f"{self.root}: no such folder. Point --root at the {self.card.name} data, or fetch it with "
                f"`tenuto data download {self.card.name} --root DIR`."
            )
        index = self.read()
        if self.signal_concepts:
            return dataclasses.replace(index, concepts=DESCRIPTORS, concept_labels=None)
        return index

    def with_signal_concepts(self) -> Self:
        """The same with the seven descriptors of `tenuto.audio.descriptors` as its concepts."""
        other = copy.copy(self)
        other.__dict__.pop("index", None)  # it was read with the ratings
        other.signal_concepts = True
        return other

    def checksums(self) -> Mapping[str, str]:
        """Published SHA-256 by path below the root; empty where none are known."""
        return {}

    def download(self, progress: Callable[[str, int, int | None], None] | None = None) -> None:
        """Fetch the data set into its root. Raises `DataError` where there is nothing to fetch from."""
        raise DataError(f"{self.card.name} cannot be downloaded: {self.card.origin}.")

    def validate(self, progress: Progress | None = None) -> Validation:
        """Compare the files with the identity card; nothing is raised, everything found is listed."""
        published = self.checksums()
        missing, altered = self._check_published(published)
        try:
            index = self.index
        except TenutoError as error:
            return Validation(tuple(missing), tuple(altered), (str(error),))
        for path in index.paths:
            name = _below(path, self.root)
            if not path.is_file():
                if name not in published:
                    missing.append(f"{name}: rated but not there")
            elif name not in published:
                try:
                    _decodes(path)
                except (AudioError, FileError) as error:
                    altered.append(str(error))
            if progress:
                progress(1)
        return Validation(tuple(missing), tuple(altered))

    def _check_published(self, published: Mapping[str, str]) -> tuple[list[str], list[str]]:
        missing, altered = [], []
        for name, wanted in published.items():
            path = self.root / name
            if not path.is_file():
                missing.append(f"{name}: not there")
            elif (came := sha256_file(path)) != wanted:
                altered.append(f"{name}: sha256 {came[:12]}..., published {wanted[:12]}...")
        return missing, altered


def fingerprint(index: Index, audio_sha256: tuple[str, ...]) -> str:
    """Hexadecimal identity of a data set's content: clips, audio, names, ratings and albums.

    Signal concepts follow from the audio, so their names and version stand for their values: the identity is known
    before anything is decoded.
    """
    digest = hashlib.sha256()
    for part in (index.clips, audio_sha256, index.emotions, index.concepts, index.albums or ()):
        digest.update("\x1f".join(part).encode() + b"\x1e")
    digest.update(np.ascontiguousarray(index.labels, "<f8").tobytes())
    if index.has_signal_concepts:
        digest.update(f"descriptors {VERSION}".encode())
    elif index.concept_labels is not None:
        digest.update(np.ascontiguousarray(index.concept_labels, "<f8").tobytes())
    return digest.hexdigest()


def ratings(table: Any, columns: tuple[str, ...], scale: tuple[float, float], path: Path, key: str) -> Labels:
    """The columns of a table as float64 (rows, columns), each value checked against the rating scale.

    Args:
        table: A data frame with the columns and a key column.
        columns: Columns to take, in this order.
        scale: Lowest and highest rating allowed.
        path: The file, for messages.
        key: The column that names the clip, for messages.
    """
    low, high = scale
    for column in columns:
        for clip, value in zip(table[key], table[column], strict=True):
            try:
                number = float(value)
            except (TypeError, ValueError):
                number = float("nan")
            if not low <= number <= high:
                raise DataError(
                    f"{path}: {column} of clip {clip} is {value}, outside the scale {low:g} to {high:g}. "
                    "Mend the rating or leave the clip out."
                )
    return np.asarray(table[list(columns)], np.float64)


def _decodes(path: Path) -> None:
    from tenuto.audio.loading import check_recording

    check_recording(path)


def _below(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return str(path)
