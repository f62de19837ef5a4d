"""Data sets: their settings, where they are stored, whether they are sound, and their spectrograms."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tenuto.api.progress import SILENT, Progress
from tenuto.arguments import as_list, checked
from tenuto.config import DataConfig, FolderConfig, merge
from tenuto.data import DATASETS, Description, Folder, Index, Prepared, Validation, open_dataset
from tenuto.data.cache import Sound, cache_folder, listen, listen_all, prepare as prepare_dataset
from tenuto.data.duplicates import Duplicate, duplicates, is_recognisable
from tenuto.data.label_order import LabelOrder, label_orders
from tenuto.data.layout import files_below, is_audio
from tenuto.errors import ConfigError, DataError, TenutoError
from tenuto.files import check_writable, followed, read_text, write_csv
from tenuto.settings import parse_yaml

FOLDER_FILE = "tenuto.yaml"
"""Settings of a folder data set, stored with its recordings."""

SMALLEST_CORPUS = 15
"""Of a synthetic corpus, as the command line has it."""


@checked
def prepare(
    root: str | Path,
    config: str | DataConfig | None = None,
    *,
    cache: str | Path | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Prepared:
    """Compute the log spectrograms (and signal concepts) of a data set, or read them from the cache.

    Args:
        root: Folder of the data set.
        config: Name or settings of the data set; default: what ``tenuto.yaml`` in this folder describes, else
            Soundtracks.
        cache: Folder of spectrograms; default: the user's cache.
        workers: Threads; default: one per core.
        progress: Reports prepared clips.

    Raises:
        TenutoError: The data set is incomplete or inconsistent, or a recording cannot be read.
    """
    dataset = open_dataset(as_data_config(config, root), root)
    task = "spectrograms and descriptors" if dataset.signal_concepts else "spectrograms"
    with progress.bar(task, len(dataset.index)) as advance:
        return prepare_dataset(dataset, None if cache is None else Path(cache), workers, advance)


@checked
def download(name: str, root: str | Path, *, progress: Progress = SILENT) -> Path:
    """Download a data set; interrupted files are resumed and every file is checked.

    Args:
        name: Name of the data set, such as ``midlevel``.
        root: Its folder.
        progress: Reports bytes.

    Returns:
        The folder.

    Raises:
        ConfigError: An unknown data set.
        DataError: A data set that is not published, or has to be asked for.
        DownloadError: The files cannot be reached, or are others than published.
    """
    if name == Folder.card.name:
        raise DataError("folder cannot be downloaded: these are your own files.")
    dataset, bytes_reported = DATASETS[name](Path(root)), dict[str, int]()
    with progress.bar("bytes", None) as advance:

        def report(path: str, received: int, total: int | None) -> None:
            advance(received - bytes_reported.get(path, 0))
            bytes_reported[path] = received

        dataset.download(report)
    return Path(root)


@checked
def synthesize(
    root: str | Path,
    clips: int = 360,
    seconds: float = 15.0,
    seed: int = 0,
    *,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Generate the synthetic corpus: music with known concepts, in the file formats of the real data sets.

    Args:
        root: Its folder, empty or of an interrupted call with the same settings.
        clips: Number of clips.
        seconds: Length of each.
        seed: Of music and ratings.
        workers: Processes; default: one per core.
        progress: Reports clips.

    Returns:
        The folder.

    Raises:
        ConfigError: A setting out of range.
        DataError: The folder holds something else.
    """
    from tenuto.data.synthesis import synthesize as make

    if clips < SMALLEST_CORPUS:
        raise ConfigError(f"clips must be at least {SMALLEST_CORPUS}, got {clips}: fewer cannot be split.")
    with progress.bar("clips", clips) as advance:
        return make(root, clips=clips, seconds=seconds, seed=seed, workers=workers, progress=advance)


@checked
def describe(
    root: str | Path,
    config: str | DataConfig | None = None,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Description:
    """Compute seven descriptors of the audio, proxies of the seven concepts, for every clip.

    Args:
        root: Folder of the data set.
        config: As for `prepare`.
        out: CSV to write: clip, seven columns; default: nothing is written.
        cache: Folder of descriptors; default: the user's cache.
        workers: Threads; default: one per core.
        progress: Reports clips.

    Raises:
        TenutoError: The data set is incomplete or inconsistent, or a recording cannot be read.
    """
    from tenuto.data.signal import describe as compute

    if out is not None:
        check_writable(followed(out).parent)
    dataset = open_dataset(as_data_config(config, root), root)
    with progress.bar("descriptors", len(dataset.index)) as advance:
        description = compute(dataset, None if cache is None else Path(cache), workers, advance)
    if out is not None:
        write_csv(followed(out), description.table())
    return description


@dataclasses.dataclass(frozen=True)
class DataReport:
    """Whether a copy of a data set can be trusted.

    Attributes:
        root: Its folder.
        validation: What is missing, altered or inconsistent.
        has_checksums: Whether the files were compared with published checksums.
        recordings: How many recordings were compared by their sound.
        duplicates: Pairs of recordings with the same sound, named by their paths below the folder; those of another
            folder by their whole path.
        unrecognisable: Recordings of which only the same file is found, since they are too short or too steady.
        unreadable: Recordings of other folders that cannot be read.
        label_orders: How closely ratings like valence and ratings like arousal follow the audio.
        rater_deviations: Emotion -> mean standard deviation of the raters, in units of the labels; empty where the
            files have none.
    """

    root: Path
    validation: Validation
    has_checksums: bool
    recordings: int
    duplicates: tuple[Duplicate, ...]
    unrecognisable: tuple[str, ...]
    unreadable: tuple[str, ...]
    label_orders: tuple[LabelOrder, ...]
    rater_deviations: Mapping[str, float]

    @property
    def ok(self) -> bool:
        """Whether nothing is missing, altered or inconsistent; the sound does not count."""
        return self.validation.ok

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for what was not compared, every duplicate, and every two columns that may be exchanged."""
        doubtful = [order for order in self.label_orders if order.is_exchanged]
        return (
            *_listing("of the other recordings cannot be read or compared", self.unreadable),
            *_listing(
                "of the recordings cannot be recognised in a changed copy, for lack of 2.5 s of changing sound",
                self.unrecognisable,
            ),
            *(f"{finding}." for finding in (*self.duplicates, *doubtful)),
        )

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "ok": self.ok,
            **dataclasses.asdict(self.validation),
            "warnings": list(self.warnings),
            "recordings": self.recordings,
            "duplicates": [dataclasses.asdict(pair) for pair in self.duplicates],
            "unrecognisable": list(self.unrecognisable),
            "unreadable": list(self.unreadable),
            "label_order": [
                dataclasses.asdict(order) | {"is_exchanged": order.is_exchanged}
                for order in self.label_orders
            ],
            "rater_deviations": dict(self.rater_deviations),
        }


@checked
def validate(
    root: str | Path,
    config: str | DataConfig | None = None,
    *,
    against: str | Path | Sequence[str | Path] = (),
    cache: str | Path | None = None,
    progress: Progress = SILENT,
) -> DataReport:
    """Compare a copy of a data set with its card, its recordings with each other, and its ratings with the audio.

    Args:
        root: Folder of the data set.
        config: Name or settings of the data set; default: what ``tenuto.yaml`` in this folder describes, else
            Soundtracks.
        against: Folders whose recordings, at any depth, are compared with those of the data set.
        cache: Folder of fingerprints; default: the user's cache.
        progress: Reports recordings.

    Raises:
        ConfigError: An unknown data set, or a folder without its columns.
        DataError: No recording in a folder of ``against``.
        FileError: A folder of ``against`` cannot be read.
    """
    others = _recordings(as_list(against))
    dataset = open_dataset(as_data_config(config, root), root)
    folder = cache_folder() if cache is None else Path(cache)
    sounds_by_path: dict[Path, Sound] = {}

    def check(path: Path) -> None:
        sounds_by_path[path] = listen(path, folder)

    with progress.bar("recordings", None) as advance:
        validation = dataset.validate(advance, check)
    own = {path.resolve() for path in sounds_by_path}
    others = {name: path for name, path in others.items() if path.resolve() not in own}
    with progress.bar("other recordings", len(others)) as advance:
        other_sounds = listen_all(others, folder, None, advance)
    sounds = {_below(path, Path(root)): sounds_by_path[path] for path in sorted(sounds_by_path)}
    pairs = duplicates(sounds)
    if other_sounds:
        pairs += duplicates(sounds, other_sounds)
    try:
        index = dataset.index
    except TenutoError:  # stated in the validation
        orders, deviations = [], {}
    else:
        clips = zip(index.clips, index.paths, strict=True)
        orders = label_orders(
            index, {clip: sounds_by_path[path] for clip, path in clips if path in sounds_by_path}
        )
        deviations = _mean_deviations(index)
    return DataReport(
        Path(root),
        validation,
        has_checksums=bool(dataset.checksums()),
        recordings=len(sounds_by_path),
        duplicates=tuple(pairs),
        unrecognisable=tuple(
            name for name, sound in {**sounds, **other_sounds}.items() if not is_recognisable(sound)
        ),
        unreadable=tuple(name for name in others if name not in other_sounds),
        label_orders=tuple(orders),
        rater_deviations=deviations,
    )


def _recordings(folders: Sequence[str | Path]) -> dict[str, Path]:
    """Every recording below the folders, by its path."""
    recordings: dict[str, Path] = {}
    for folder in map(Path, folders):
        own = {str(path): path for path in files_below(folder) if is_audio(path.name)}
        if not own:
            raise DataError(
                f"{folder}: contains no recording to compare with. Point `against` at audio files."
            )
        recordings |= own
    return recordings


def _listing(fact: str, names: Sequence[str]) -> list[str]:
    """A sentence on some recordings; none where there are none."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{len(names)} {fact}: {', '.join(names[:3])}{more}."] if names else []


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _mean_deviations(index: Index) -> dict[str, float]:
    """Emotion -> mean standard deviation of the raters over clips, where any is known."""
    if index.deviations is None:
        return {}
    columns = zip(index.emotions, index.deviations.T, strict=True)
    return {name: float(np.nanmean(values)) for name, values in columns if not np.isnan(values).all()}


def data_config(root: str | Path | None = None, **settings: Any) -> DataConfig:
    """Settings of a data set; those that are None come from ``tenuto.yaml`` in its folder, else from the defaults."""
    return DataConfig.parse(with_folder_file(settings, root), "the settings of the data")


def as_data_config(data: str | DataConfig | None, root: str | Path | None) -> DataConfig:
    """Settings of a data set that is given by its name, by its settings or only by its folder. Raises `ConfigError`."""
    if isinstance(data, DataConfig):
        return data
    return data_config(root, dataset=data)


def with_folder_file(settings: Mapping[str, Any], root: str | Path | None) -> dict[str, Any]:
    """Settings of a data set merged over ``tenuto.yaml`` in its folder; the data set is ``folder`` where it exists."""
    merged = merge({}, settings)
    if root is None or not (path := Path(root) / FOLDER_FILE).is_file():
        return merged
    if merged.get("dataset") not in (None, "folder"):
        return merged
    content = parse_yaml(read_text(path), str(path))
    table = merge(content, merged.get("folder") or {})
    if "emotions" in content:
        FolderConfig.parse(content, str(path))
    else:  # the other settings give the emotions, or their absence is reported with them
        FolderConfig.parse({"emotions": content.get("deviations") or ["any"], **content}, str(path))
    return {**merged, "dataset": "folder", "folder": table}


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
    if variable := os.environ.get("TENUTO_DATA"):
        return Path(variable), found_cache
    raise ConfigError(
        f"{folder}: needs the data set {config.dataset}, which the run was trained on. Give its folder as `root`, "
        "or set TENUTO_DATA."
    )


def study_of(folder: Path) -> Path | None:
    """The study that a run folder belongs to; None where it is not in a folder ``runs``."""
    runs = Path(os.path.abspath(folder)).parent
    return runs.parent if runs.name == "runs" else None
