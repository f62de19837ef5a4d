"""The signal concepts of a data set: values, percentiles, and rank correlations with ratings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from tenuto.audio.descriptors import DESCRIPTORS, PREFIX
from tenuto.data.base import Dataset, Index, Labels, Progress
from tenuto.data.cache import signal_concepts
from tenuto.metrics import spearman

PERCENTILES = (5, 50, 95)


@dataclasses.dataclass(frozen=True)
class Description:
    """Signal concepts of every clip.

    Attributes:
        clips: Names of the clips, in file order.
        values: Descriptors in 0-1, shape (clips, 7), columns as in `DESCRIPTORS`.
        correlations: Spearman's rho with the rating of the same concept, by descriptor, where the data set has that
            rating; NaN where either does not vary.
    """

    clips: tuple[str, ...]
    values: Labels
    correlations: Mapping[str, float]

    def table(self) -> pd.DataFrame:
        """One row per clip: its name, then the seven descriptors."""
        values = pd.DataFrame(self.values, columns=list(DESCRIPTORS))
        values.insert(0, "clip", list(self.clips))
        return values

    def percentiles(self) -> Labels:
        """The 5th, 50th and 95th percentile over clips, shape (3, 7)."""
        return np.percentile(self.values, PERCENTILES, axis=0)


def describe(
    dataset: Dataset, cache: Path | None = None, workers: int | None = None, progress: Progress | None = None
) -> Description:
    """Compute (or read from the cache) the signal concepts of every clip and compare them with ratings.

    Args:
        dataset: Any data set; ratings are matched by the concept's name, such as ``modality``.
        cache: Folder for the results; default `tenuto.data.cache.cache_folder`.
        workers: Threads; default one per core.
        progress: Called with 1 after every clip.

    Raises:
        DataError: Some recordings cannot be used; all others are computed first.
    """
    values = signal_concepts(dataset, cache, workers, progress)
    return Description(dataset.index.clips, values, _correlations(dataset.index, values))


def _correlations(index: Index, values: Labels) -> dict[str, float]:
    """Spearman's rho by descriptor, for concepts the index has ratings of."""
    columns = {PREFIX + name: column for column, name in enumerate(index.concepts)}
    common = [name for name in DESCRIPTORS if name in columns]
    if index.concept_labels is None or not common:
        return {}
    rated = index.concept_labels[:, [columns[name] for name in common]]
    rho = spearman(rated, values[:, [DESCRIPTORS.index(name) for name in common]])
    return dict(zip(common, rho.tolist(), strict=True))
