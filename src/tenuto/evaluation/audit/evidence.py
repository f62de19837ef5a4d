"""What an audit looks at: rows, what lies beside them, and the data they were made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.data.base import Index
from tenuto.data.cache import Prepared
from tenuto.data.soundtracks import DIVISOR, EMOTIONS, Soundtracks
from tenuto.data.splits import Split, draw, read_split
from tenuto.errors import DataError
from tenuto.store.rows import emotion_names, mark_worst, worst_case

Values = NDArray[np.float64]
RESOLUTION = 0.001
"""Smallest difference of errors that counts, in rating units: ratings are given to a hundredth of a point of ten."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Rows of one protocol on one part of the split.

    Attributes:
        name: What findings call it.
        rows: Of one run or several, see `tenuto.store.rows`.
        kind: ``run`` (rows inside run folders), ``table`` (rows alone) or ``logs`` (released logs).
        folders: Run -> its folder; empty unless ``run``.
        saved: Run -> the file of its perturbations, where there is one.
        stated: Run -> the L-infinity budget that the settings of its released log state; None where they state none.
    """

    name: str
    rows: pd.DataFrame
    kind: Literal["run", "table", "logs"] = "table"
    folders: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    saved: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    stated: Mapping[str, float | None] = dataclasses.field(default_factory=dict)

    @property
    def released(self) -> bool:
        """Whether these are released logs."""
        return self.kind == "logs"


@dataclasses.dataclass(frozen=True)
class Data:
    """What is known of the data, as far as it was given.

    Attributes:
        index: Clips with ratings and albums.
        split: For sources that do not hold theirs.
        prepared: The same clips with spectrograms; the model is only asked where they are given.
        siblings: Run folders whose networks serve for the transfer attack.
        clips: How many clips the model checks use.
        spared: The model is not asked although it could be, since that takes minutes; findings say so.
    """

    index: Index | None = None
    split: Split | None = None
    prepared: Prepared | None = None
    siblings: tuple[Path, ...] = ()
    clips: int = 6
    spared: bool = False

    def known(self) -> Index | None:
        """The annotations, from wherever they were given."""
        return self.prepared.index if self.prepared is not None else self.index


def split_of(source: Source, run: str, data: Data) -> Split | None:
    """The split a run was trained with: its own file, the one that was given, or the one its configuration draws."""
    folder, index = source.folders.get(run), data.known()
    if folder is not None and (folder / "split.csv").is_file():
        return read_split(folder / "split.csv")
    if data.split is not None or folder is None or index is None:
        return data.split
    from tenuto.evaluation.runs import read_config

    told = read_config(folder).data
    return draw(index, told.split, told.split_seed)


def checkpoint(source: Source, run: str) -> Path | None:
    """The file of a run's weights, where it is there."""
    if run not in source.folders:
        return None
    from tenuto.models.checkpoint import CHECKPOINT

    path = source.folders[run] / CHECKPOINT
    return path if path.is_file() else None


def budget_title(norm: object, epsilon: object) -> str:
    """``linf 0.1``, or ``without a budget``."""
    size = float(str(epsilon))
    return f"{norm} {size:g}" if np.isfinite(size) else "without a budget"


def at_budgets(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Every budget of the rows with each clip's worst case there, smallest budget first."""
    # Marked anew: of rows that were picked out of a table, those it marks may be missing.
    chosen = worst_case(mark_worst(rows))
    for (norm, epsilon), part in chosen.groupby(["norm", "epsilon"], dropna=False, sort=True):
        yield budget_title(norm, epsilon), part


def aligned(clips: tuple[str, ...], index: Index) -> tuple[str, ...]:
    """The index's names of clips that may be written without leading zeros. Raises `DataError` for an unknown one."""
    own = {clip: clip for clip in index.clips}
    short = {clip.lstrip("0"): clip for clip in index.clips}
    names = tuple(own.get(clip) or short.get(clip.lstrip("0"), "") for clip in clips)
    if "" in names:
        raise DataError(
            f"clip {clips[names.index('')]} is not in the data set, which begins with {index.clips[0]}. "
            "Name the data and the split that these rows were made with."
        )
    return names


def rating_scale(rows: pd.DataFrame) -> tuple[float, float] | None:
    """Lowest and highest rating the eight emotions of Soundtracks can have; None for other emotions."""
    if emotion_names(rows) != EMOTIONS:
        return None
    low, high = Soundtracks.card.emotion_scale
    return low / DIVISOR, high / DIVISOR
