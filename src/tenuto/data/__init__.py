"""Data sets, splits, excerpts, and the cache of spectrograms.

>>> sorted(DATASETS)
['deam', 'emomusic', 'folder', 'jamendo', 'midlevel', 'pmemo', 'soundtracks', 'synthetic']
"""

from __future__ import annotations

from pathlib import Path

from tenuto.config import DataConfig
from tenuto.data.base import (
    DATASETS,
    Card,
    Dataset,
    Index,
    Validation,
    clip_name,
    ratings,
    register_dataset,
    usable_rows,
)
from tenuto.data.cache import Prepared, cache_folder, prepare, signal_concepts
from tenuto.data.excerpts import Normalisation
from tenuto.data.signal import Description, describe
from tenuto.data.splits import Split, draw as draw_split, read_split, write_split

# In the order of `tenuto data list`: each module registers its data set.
from tenuto.data.soundtracks import Soundtracks  # isort: skip
from tenuto.data.midlevel import Midlevel  # isort: skip
from tenuto.data.synthetic import Synthetic  # isort: skip
from tenuto.data.deam import Deam  # isort: skip
from tenuto.data.emomusic import EmoMusic  # isort: skip
from tenuto.data.pmemo import PMEmo  # isort: skip
from tenuto.data.jamendo import Jamendo  # isort: skip
from tenuto.data.folder import Folder  # isort: skip
from tenuto.data.synthesis import synthesize  # isort: skip


def open_dataset(config: DataConfig, root: str | Path) -> Dataset:
    """Open the data set a configuration names, in a folder. Raises `ConfigError` for an unknown name."""
    dataset = DATASETS[config.dataset].open(root, config)
    return dataset.with_signal_concepts() if config.concepts == "signal" else dataset


__all__ = [
    "DATASETS",
    "Card",
    "Dataset",
    "Deam",
    "Description",
    "EmoMusic",
    "Folder",
    "Index",
    "Jamendo",
    "Midlevel",
    "Normalisation",
    "PMEmo",
    "Prepared",
    "Soundtracks",
    "Split",
    "Synthetic",
    "Validation",
    "cache_folder",
    "clip_name",
    "describe",
    "draw_split",
    "open_dataset",
    "prepare",
    "ratings",
    "read_split",
    "register_dataset",
    "signal_concepts",
    "synthesize",
    "usable_rows",
    "write_split",
]
