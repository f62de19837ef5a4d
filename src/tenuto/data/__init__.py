"""Data sets, splits, excerpts.

>>> sorted(DATASETS)
['folder', 'midlevel', 'soundtracks', 'synthetic']
"""

from __future__ import annotations

from pathlib import Path

from tenuto.config import DataConfig
from tenuto.data.base import Card, Dataset, Index, Validation
from tenuto.data.cache import Prepared, prepare
from tenuto.data.folder import Folder
from tenuto.data.midlevel import Midlevel
from tenuto.data.soundtracks import Soundtracks
from tenuto.data.synthetic import Synthetic
from tenuto.errors import ConfigError

DATASETS: dict[str, type[Dataset]] = {
    kind.card.name: kind for kind in (Soundtracks, Midlevel, Synthetic, Folder)
}
"""Every data set by the name of its card."""


def open_dataset(config: DataConfig, root: str | Path) -> Dataset:
    """The data set a configuration speaks of, at a place on disk. Raises `ConfigError`."""
    dataset = _rated(config, root)
    return dataset.with_signal_concepts() if config.concepts == "signal" else dataset


def _rated(config: DataConfig, root: str | Path) -> Dataset:
    """The same with the concepts its own tables have."""
    if config.dataset != "folder":
        return DATASETS[config.dataset](root)
    if config.folder is None:
        raise ConfigError("the data set folder needs to know its columns: name at least --emotions.")
    table = config.folder
    return Folder(
        root, table.ratings, table.id_column, table.emotions, table.concepts, table.scale, table.album_column
    )


__all__ = [
    "DATASETS",
    "Card",
    "Dataset",
    "Folder",
    "Index",
    "Midlevel",
    "Prepared",
    "Soundtracks",
    "Synthetic",
    "Validation",
    "open_dataset",
    "prepare",
]
