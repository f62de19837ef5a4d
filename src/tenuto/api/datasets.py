"""Data sets: their settings, where they are stored, and their spectrograms."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenuto.api.progress import SILENT, Progress
from tenuto.config import DataConfig, FolderConfig, merge
from tenuto.data import Prepared, open_dataset
from tenuto.data.cache import prepare as prepare_dataset
from tenuto.errors import ConfigError
from tenuto.files import read_text
from tenuto.settings import parse_yaml

FOLDER_FILE = "tenuto.yaml"
"""Settings of a folder data set, stored with its recordings."""


def prepare(
    root: str | Path,
    config: DataConfig | None = None,
    *,
    cache: str | Path | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Prepared:
    """Compute the log spectrograms (and signal concepts) of a data set, or read them from the cache.

    Args:
        root: Folder of the data set.
        config: Which data set; default: what ``tenuto.yaml`` in this folder describes, else Soundtracks.
        cache: Folder of spectrograms; default: the user's cache.
        workers: Threads; default: one per core.
        progress: Reports prepared clips.

    Raises:
        TenutoError: The data set is incomplete or inconsistent, or a recording cannot be read.
    """
    dataset = open_dataset(data_config(root) if config is None else config, root)
    task = "spectrograms and descriptors" if dataset.signal_concepts else "spectrograms"
    with progress.bar(task, len(dataset.index)) as advance:
        return prepare_dataset(dataset, None if cache is None else Path(cache), workers, advance)


def data_config(root: str | Path | None = None, **settings: Any) -> DataConfig:
    """Settings of a data set; those that are None come from ``tenuto.yaml`` in its folder, else from the defaults."""
    return DataConfig.parse(with_folder_file(settings, root), "the settings of the data")


def with_folder_file(settings: Mapping[str, Any], root: str | Path | None) -> dict[str, Any]:
    """Settings of a data set merged over ``tenuto.yaml`` in its folder; the data set is ``folder`` where it exists."""
    given = merge({}, settings)
    if root is None or not (path := Path(root) / FOLDER_FILE).is_file():
        return given
    if given.get("dataset") not in (None, "folder"):
        return given
    content = parse_yaml(read_text(path), str(path))
    table = merge(content, given.get("folder") or {})
    if "emotions" in content:
        FolderConfig.parse(content, str(path))
    else:  # the other settings give the emotions, or their absence is reported with them
        FolderConfig.parse({"emotions": content.get("deviations") or ["any"], **content}, str(path))
    return {**given, "dataset": "folder", "folder": table}


def find_data(
    folder: Path, config: DataConfig, root: str | Path | None, cache: str | Path | None, is_own: bool = True
) -> tuple[Path, Path | None]:
    """Where the data of a run and their cache are.

    The data are searched for in ``root``, in the corpus of the run's study, and in ``$TENUTO_DATA``; the cache in
    ``cache``, in the run's study, and in the user's cache folder (None). Data that are not the run's ``own`` need a
    ``root``.

    Raises:
        ConfigError: The data are in none of these places.
    """
    study = study_of(folder)
    if cache is None and study is not None and (study / "cache").is_dir():
        cache = study / "cache"
    found_cache = None if cache is None else Path(cache)
    if root is not None:
        return Path(root), found_cache
    if not is_own:
        raise ConfigError(f"`root` is needed: the folder of the data set {config.dataset}.")
    if study is not None and config.dataset == "synthetic" and (study / "corpus").is_dir():
        return study / "corpus", found_cache
    if named := os.environ.get("TENUTO_DATA"):
        return Path(named), found_cache
    raise ConfigError(
        f"{folder}: needs the data set {config.dataset}, which the run was trained on. Give its folder as `root`, "
        "or set TENUTO_DATA."
    )


def study_of(folder: Path) -> Path | None:
    """The study that a run folder belongs to; None where it is not in a folder ``runs``."""
    runs = Path(os.path.abspath(folder)).parent
    return runs.parent if runs.name == "runs" else None
