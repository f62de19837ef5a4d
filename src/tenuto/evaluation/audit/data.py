"""What an audit knows about the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tenuto.config import DataConfig
from tenuto.data.base import Index
from tenuto.data.cache import Prepared, Sound, listen_all
from tenuto.data.duplicates import Duplicate, duplicates
from tenuto.data.splits import Split

if TYPE_CHECKING:
    from tenuto.attacks import Budget
    from tenuto.evaluation.runs import OpenedRun


@dataclasses.dataclass(frozen=True)
class Data:
    """What is known about the data.

    Attributes:
        index: Clips with ratings and albums.
        split: For sources that do not hold theirs.
        prepared: The same clips with spectrograms, without which no model is evaluated.
        config: Settings of the data set, for sources that do not hold theirs.
        siblings: Run folders whose networks serve for the transfer attack.
        clips: How many clips the model checks use.
        opened: Folder, resolved, -> a run that is open already.
        budget: Of the model checks; None for `examination.default_budget`.
        spared: Do not evaluate models although it would be possible, since it takes minutes; findings say so.
    """

    index: Index | None = None
    split: Split | None = None
    prepared: Prepared | None = None
    config: DataConfig | None = None
    siblings: tuple[Path, ...] = ()
    clips: int = 6
    opened: Mapping[Path, OpenedRun] = dataclasses.field(default_factory=dict)
    budget: Budget | None = None
    spared: bool = False

    def known(self) -> Index | None:
        """Clips with ratings, from the prepared data or the index."""
        return self.prepared.index if self.prepared is not None else self.index

    @cached_property
    def sounds(self) -> Mapping[str, Sound]:
        """Clip -> its sound, for the recordings that can be read; none where models are not evaluated either."""
        index = self.known()
        if index is None or self.spared:
            return {}
        cache = None if self.prepared is None else self.prepared.folder
        return listen_all(dict(zip(index.clips, index.paths, strict=False)), cache)

    @cached_property
    def duplicates(self) -> Sequence[Duplicate]:
        """Pairs of clips with the same sound."""
        return duplicates(self.sounds)
