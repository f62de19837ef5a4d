"""The common interface of all data sets: an identity card, an index, `validate`, `download`; and their registry."""

from __future__ import annotations

import abc
import copy
import dataclasses
import hashlib
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.audio.descriptors import DESCRIPTORS, VERSION
from tenuto.config import DataConfig
from tenuto.errors import AudioError, DataError, FileError, Problems, one_line, quote
from tenuto.files import sha256_file
from tenuto.registry import Registry

Labels = NDArray[np.float64]
Progress = Callable[[int], None]
"""Called with the number of items that have just been finished."""


@dataclasses.dataclass(frozen=True)
class Card:
    """Identity card of a data set.

    Args:
        name: Its name in the registry, in configurations and on the command line.
        title: Description in one line.
        origin: Address or description of the source.
        licence: Conditions of use.
        size: Number and length of clips, download size.
        citation: Publication to cite.
        emotion_scale: Lowest and highest rating an emotion can have in the files.
        concept_scale: The same for concepts.
        bibtex: The publication as a BibTeX entry.
    """

    name: str
    title: str
    origin: str
    licence: str
    size: str
    citation: str
    emotion_scale: tuple[float, float]
    concept_scale: tuple[float, float]
    bibtex: str = ""


@dataclasses.dataclass(frozen=True)
class Index:
    """All clips of a data set with their annotations, in file order.

    Shapes: labels (clips, emotions), concept_labels (clips, concepts) or None without concept ratings, and also while
    signal concepts are named but not yet computed. ``label_scale`` is the lowest and highest label that is possible.

    Raises:
        DataError: A clip name occurs twice or is not allowed (`name_problem`), or shapes disagree.
    """

    clips: tuple[str, ...]
    paths: tuple[Path, ...]
    emotions: tuple[str, ...]
    labels: Labels
    concepts: tuple[str, ...] = ()
    concept_labels: Labels | None = None
    albums: tuple[str, ...] | None = None
    label_scale: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        problems = Problems()
        usable_rows(self.clips, problems)
        problems.raise_all()
        if self.labels.shape != (len(self.clips), len(self.emotions)):
            raise DataError(
                f"labels have shape {self.labels.shape}; it must be ({len(self.clips)}, {len(self.emotions)})."
            )

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def has_signal_concepts(self) -> bool:
        """Whether the concepts are descriptors of the sound rather than ratings."""
        return self.concepts == DESCRIPTORS


@dataclasses.dataclass(frozen=True)
class Validation:
    """Result of `Dataset.validate`; every entry is a sentence that names a file or clip."""

    missing: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    inconsistent: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True where there is no problem."""
        return not (self.missing or self.altered or self.inconsistent)


class Dataset(abc.ABC):
    """One data set on disk. A subclass defines the card, `read`, and where possible `checksums` and `download`."""

    card: ClassVar[Card]
    table: str | Path = ""
    """Path of the file with the ratings below the root, if the data set has one."""
    label_scale: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest label: what the ends of the rating scale become in `Index.labels`."""
    signal_concepts = False
    """Whether descriptors of the audio replace concept ratings."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @classmethod
    def open(cls, root: str | Path, config: DataConfig) -> Self:
        """The data set in a folder, with the settings of a configuration that apply to it."""
        return cls(root)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r})"

    @abc.abstractmethod
    def read(self, problems: Problems) -> Index:
        """Read the annotation files.

        Args:
            problems: Takes what is wrong with single rows and cells, so that `validate` can list everything; the index
                then holds the other rows.

        Raises:
            DataError: The files cannot be used at all.
            FileError: A file is missing or is not a table.
        """

    @cached_property
    def index(self) -> Index:
        """The annotations, read once. Raises `DataError` or `FileError` for any problem of the files."""
        problems = Problems()
        index = dataclasses.replace(self._read(problems), label_scale=self.label_scale)
        problems.raise_all()
        if self.signal_concepts:
            return dataclasses.replace(index, concepts=DESCRIPTORS, concept_labels=None)
        return index

    def _read(self, problems: Problems) -> Index:
        """What `read` returns, after a look at the folder."""
        if not self.root.is_dir():
            kind = "is a file, not a folder" if self.root.exists() else "no such folder"
            raise DataError(
                f"{self.root}: {kind}. Point `root` at the {self.card.name} data, or download them with "
                f"`tenuto data download {self.card.name} --root DIR`."
            )
        if self.table and not (self.root / self.table).exists():
            below = (folder for depth in ("*", "*/*") for folder in sorted(self.root.glob(depth)))
            for folder in below:
                if (folder / self.table).exists():
                    raise DataError(
                        f"{self.root}: contains no {self.table}, but {folder} does. Use `root={folder}`."
                    )
        return self.read(problems)

    def with_signal_concepts(self) -> Self:
        """The same data set with the seven descriptors of `tenuto.audio.descriptors` as its concepts."""
        other = copy.copy(self)
        other.__dict__.pop("index", None)  # it has the ratings as concepts
        other.signal_concepts = True
        return other

    def checksums(self) -> Mapping[str, str]:
        """Published SHA-256 by path below the root; empty where none are known."""
        return {}

    def download(self, progress: Callable[[str, int, int | None], None] | None = None) -> None:
        """Download the data set into its root. Raises `DataError` where that is not possible."""
        raise DataError(f"{self.card.name} cannot be downloaded: {self.card.origin}.")

    def validate(self, progress: Progress | None = None) -> Validation:
        """Compare the files with the identity card; list every problem and raise nothing."""
        published = self.checksums()
        missing, altered = self._check_published(published)
        problems = Problems()
        paths: tuple[Path, ...] = ()
        with problems.collect():
            paths = self._read(problems).paths
        for path in paths:
            name = _below(path, self.root)
            if not path.is_file():
                if name not in published:
                    missing.append(f"{name}: has ratings but does not exist")
            elif name not in published:
                try:
                    _decodes(path)
                except (AudioError, FileError) as error:
                    altered.append(str(error))
            if progress:
                progress(1)
        return Validation(tuple(missing), tuple(altered), problems.sentences)

    def _check_published(self, published: Mapping[str, str]) -> tuple[list[str], list[str]]:
        missing, altered = [], []
        for name, checksum in published.items():
            path = self.root / name
            if not path.is_file():
                missing.append(f"{name}: does not exist")
            elif (actual := sha256_file(path)) != checksum:
                altered.append(f"{name}: sha256 {actual[:12]}..., published {checksum[:12]}...")
        return missing, altered


def fingerprint(index: Index, audio_sha256: tuple[str, ...]) -> str:
    """Hexadecimal identity of a data set's content: clips, audio, names, ratings and albums.

    Signal concepts follow from the audio, so their names and version represent their values: the identity is known
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


DATASETS: Registry[type[Dataset]] = Registry("data set", "tenuto.datasets")
"""Every data set by the name of its card."""


def register_dataset(dataset: type[Dataset]) -> type[Dataset]:
    """Class decorator that adds a data set to `DATASETS` under the name of its card."""
    return DATASETS.register(dataset.card.name)(dataset)


def clip_name(cell: str) -> str:
    """A clip name as Tenuto spells it: no surrounding blanks, accents composed (Unicode NFC)."""
    return unicodedata.normalize("NFC", cell.strip())


def name_problem(clip: str) -> str | None:
    """Return why a clip name is not allowed, or None."""
    if not clip.strip():
        return "is empty"
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in clip):
        return "contains a line end or another control character"
    if clip[0] in "=+-@":
        return f"begins with {clip[0]}, so a spreadsheet would run it as a formula"
    return None


def usable_rows(clips: Iterable[str], problems: Problems, source: str = "") -> list[int]:
    """Positions of the clips whose names are allowed and occur for the first time; the others become problems.

    Args:
        clips: Clip names.
        problems: Takes a sentence for every other clip.
        source: Beginning of each sentence, such as the path of the table and a colon.
    """
    seen: set[str] = set()
    rows = []
    for row, clip in enumerate(clips):
        reason = name_problem(clip)
        if reason is not None:
            problems.add(
                DataError(f"{source}clip name {quote(clip)} (row {row + 1}) {reason}. Rename the recording.")
            )
        elif clip in seen:
            problems.add(
                DataError(
                    f"{source}clip {one_line(clip)} is listed twice; every clip needs one row. Remove one of them."
                )
            )
        else:
            rows.append(row)
        seen.add(clip)
    return rows


def ratings(
    table: pd.DataFrame,
    columns: Sequence[str],
    scale: tuple[float, float],
    path: Path,
    key: str,
    problems: Problems,
) -> Labels:
    """The columns of a table as float64 (rows, columns), each value checked against the rating scale.

    Args:
        table: A table of text with a key column; a column it lacks is NaN here.
        columns: Columns to take, in this order.
        scale: Lowest and highest rating allowed.
        path: The file, for messages.
        key: The column that names the clip, for messages.
        problems: Takes a sentence for every value outside the scale.
    """
    low, high = scale
    labels = np.full((len(table), len(columns)), np.nan)
    for place, column in enumerate(columns):
        if column not in table:
            continue
        for row, (clip, value) in enumerate(zip(table[key], table[column], strict=True)):
            number = _as_number(value)
            labels[row, place] = number
            if not low <= number <= high:
                shown = one_line(value, 80) or "empty"
                problems.add(
                    DataError(
                        f"{path}: {one_line(column)} of clip {one_line(clip)} is {shown}, outside the "
                        f"scale {low:g} to {high:g}. Correct the rating or leave the clip out."
                    )
                )
    return labels


def _as_number(value: object) -> float:
    text = str(value)
    try:
        return math.nan if "_" in text else float(text)  # Python reads 1_000 as 1000
    except ValueError:
        return math.nan


def _decodes(path: Path) -> None:
    from tenuto.audio.loading import check_recording

    check_recording(path)


def _below(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return str(path)
