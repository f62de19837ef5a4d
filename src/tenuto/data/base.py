"""The common interface of all data sets: an identity card, an index, `validate`, `download`; and their registry."""

from __future__ import annotations

import abc
import copy
import dataclasses
import hashlib
import math
import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.audio.descriptors import DESCRIPTORS, DESCRIPTORS_VERSION
from tenuto.audio.loading import check_recording
from tenuto.config import DataConfig
from tenuto.data.layout import Files, Marks
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
        kind: ``ratings`` on a scale, or ``tags``, which a clip has (1) or has not (0).
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
    kind: Literal["ratings", "tags"] = "ratings"


@dataclasses.dataclass(frozen=True)
class Index:
    """All clips of a data set with their annotations, in file order.

    Shapes: labels (clips, emotions), concept_labels (clips, concepts) or None without concept ratings, and also while
    signal concepts are named but not yet computed. ``label_scale`` is the lowest and highest label that is possible.

    Attributes:
        albums: Album of every clip, for the album split; also ``artists`` and ``groups`` (such as the genre). An empty
            name stands for unknown. None where the data set names none.
        deviations: Standard deviation of the raters, in units of the labels, (clips, emotions); NaN where unknown.
        official: Name of a published split -> ``train``, ``validation`` or ``test`` for every clip; empty for a clip
            that the split leaves out.

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
    artists: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    deviations: Labels | None = None
    official: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

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
    marks: ClassVar[Marks] = ()
    """Files, with columns of theirs, by which a folder is recognised as a copy of the data set."""
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
            raise DataError(f"{self.root}: {kind}. {self._advice()}")
        self._check_owner()
        if self.table and not (self.root / self.table).exists():
            below = (folder for depth in ("*", "*/*") for folder in sorted(self.root.glob(depth)))
            for folder in below:
                if (folder / self.table).exists():
                    raise DataError(
                        f"{self.root}: contains no {self.table}, but {folder} does. Use `root={folder}`."
                    )
            raise DataError(f"{self.root}: contains no {self.table}. {self._advice()}")
        return self.read(problems)

    def _advice(self) -> str:
        """What to do where the root is not a folder with these data, as a sentence."""
        return f"Point `root` at the {self.card.name} data, or {self._access()}."

    def _access(self) -> str:
        """How to get the data, as part of a sentence."""
        if type(self).download is Dataset.download:
            return f"get them: {self.card.origin}"
        return f"download them with `tenuto data download {self.card.name} --root DIR`"

    def _check_owner(self) -> None:
        """Refuse the files of another data set, and a folder without the files of this one. Raises `DataError`."""
        if not self.marks or (files := Files(self.root)).have(self.marks):
            return
        for name in reversed(list(DATASETS)):  # the synthetic corpus has the files of Soundtracks too
            other = DATASETS[name]
            if not isinstance(self, other) and files.have(other.marks):
                raise DataError(
                    f"{self.root}: contains {name}, not {self.card.name}. Use `dataset={name}`, or {self._access()}."
                )
        if not self.table and not files.has_any(self.marks):
            names = " or ".join(dict.fromkeys(name for group in self.marks for name in group))
            raise DataError(f"{self.root}: contains no {names}. {self._advice()}")

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
        raise DataError(
            f"{self.card.name} cannot be downloaded by Tenuto. Get it by hand: {self.card.origin}."
        )

    def validate(
        self, progress: Progress | None = None, check: Callable[[Path], object] = check_recording
    ) -> Validation:
        """Compare the files with the identity card; list every problem and raise nothing.

        Args:
            progress: Called with 1 after every recording.
            check: Raises `AudioError` or `FileError` for a recording that cannot be used; called in threads.
        """
        published = self.checksums()
        missing_files, altered_files = self._check_published(published)
        problems = Problems()
        paths: tuple[Path, ...] = ()
        with problems.collect():
            paths = self._read(problems).paths

        def problem(path: Path) -> str | None:
            try:
                if path.is_file():
                    check(path)
            except (AudioError, FileError) as error:
                return str(error)
            return None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for path, sentence in zip(paths, pool.map(problem, paths), strict=True):
                is_below = path.is_relative_to(self.root)
                name = path.relative_to(self.root).as_posix() if is_below else str(path)
                if name not in published and not path.is_file():
                    missing_files.append(f"{name}: has ratings but does not exist")
                elif name not in published and sentence is not None:
                    altered_files.append(sentence)
                if progress:
                    progress(1)
        return Validation(tuple(missing_files), tuple(altered_files), problems.sentences)

    def _check_published(self, published: Mapping[str, str]) -> tuple[list[str], list[str]]:
        missing_files, altered_files = [], []
        for name, checksum in published.items():
            path = self.root / name
            if not path.is_file():
                missing_files.append(f"{name}: does not exist")
            elif (actual := sha256_file(path)) != checksum:
                altered_files.append(f"{name}: sha256 {actual[:12]}..., published {checksum[:12]}...")
        return missing_files, altered_files


def fingerprint(index: Index, audio_sha256: tuple[str, ...]) -> str:
    """Hexadecimal identity of a data set's content: clips, audio, names, ratings, and what splits are made of.

    Signal concepts follow from the audio, so their names and version represent their values: the identity is known
    before anything is decoded.
    """
    digest = hashlib.sha256()
    for part in (index.clips, audio_sha256, index.emotions, index.concepts, index.albums or ()):
        digest.update("\x1f".join(part).encode() + b"\x1e")
    groupings = {"artists": index.artists, "groups": index.groups, **index.official}
    for name, values in groupings.items():
        if values is not None:
            digest.update("\x1f".join((name, *values)).encode() + b"\x1e")
    digest.update(np.ascontiguousarray(index.labels, "<f8").tobytes())
    if index.has_signal_concepts:
        digest.update(f"descriptors {DESCRIPTORS_VERSION}".encode())
    elif index.concept_labels is not None:
        digest.update(np.ascontiguousarray(index.concept_labels, "<f8").tobytes())
    return digest.hexdigest()


DATASETS: Registry[type[Dataset]] = Registry("data set", "tenuto.datasets", type)
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


def usable_rows(clips: Iterable[str], problems: Problems, source: str = "", fix: str = "") -> list[int]:
    """Positions of the clips whose names are allowed and occur for the first time; the others become problems.

    Args:
        clips: Clip names.
        problems: Takes a sentence for every other clip.
        source: Beginning of each sentence, such as the path of the table and a colon.
        fix: What to do about a clip that is listed twice, other than to remove a row.
    """
    clips_seen: set[str] = set()
    rows = []
    for row, clip in enumerate(clips):
        reason = name_problem(clip)
        if reason is not None:
            problems.add(f"{source}clip name {quote(clip)} (row {row + 1}) {reason}. Rename the recording.")
        elif clip in clips_seen:
            problems.add(
                f"{source}clip {one_line(clip)} is listed twice; every clip needs one row. Remove one of them{fix}."
            )
        else:
            rows.append(row)
        clips_seen.add(clip)
    return rows


def ratings(
    table: pd.DataFrame,
    columns: Sequence[str],
    scale: tuple[float, float],
    path: Path,
    key: str,
    problems: Problems,
    decimal: str = ".",
    unknown: Sequence[str] = (),
    rule: str = "",
) -> Labels:
    """The columns of a table as float64 (rows, columns), each value checked against the rating scale.

    Args:
        table: A table of text with a key column; a column it lacks is NaN here.
        columns: Columns to take, in this order.
        scale: Lowest and highest rating allowed.
        path: The file, for messages.
        key: The column that names the clip, for messages.
        problems: Takes a sentence for every value outside the scale.
        decimal: The decimal mark, a point or a comma.
        unknown: What a cell without a value may hold, in lower case; it is NaN here.
        rule: What a value outside the scale breaks and what to do, for messages; by default that of a rating.
    """
    low, high = scale
    rule = rule or f"outside the scale {low:g} to {high:g}. Correct the rating or leave the clip out."
    labels = np.full((len(table), len(columns)), np.nan)
    for place, column in enumerate(columns):
        if column not in table:
            continue
        for row, (clip, value) in enumerate(zip(table[key], table[column], strict=True)):
            if str(value).strip().casefold() in unknown:
                continue
            labels[row, place] = number = as_number(value, decimal)
            if not low <= number <= high:
                text = one_line(value, 80) or "empty"
                problems.add(f"{path}: {one_line(column)} of clip {one_line(clip)} is {text}, {rule}")
    return labels


def as_number(value: object, decimal: str = ".") -> float:
    """A cell as a number with this decimal mark; NaN where it is none."""
    text = str(value) if decimal == "." else str(value).replace(".", "?").replace(decimal, ".")
    try:
        return math.nan if "_" in text else float(text)  # Python reads 1_000 as 1000
    except ValueError:
        return math.nan
