"""Log spectrograms and signal concepts on disk: computed once per recording, checked every time they are read.

A cache file is named after the recording's content and the settings of what it holds, so a changed recording or
setting can never meet an old result, and an interrupted `prepare` goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tenuto.audio.descriptors import VERSION
from tenuto.data.base import Dataset, Index, Labels, Progress, fingerprint
from tenuto.errors import DataError, FileError, TenutoError
from tenuto.files import read_safetensors, sha256_bytes, sha256_file, write_safetensors

Spectrogram = NDArray[np.float32]
FORMAT = "1"
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set in memory: its index, one spectrogram (frames, 149) per clip, and the identity of it all."""

    name: str
    index: Index
    spectrograms: tuple[Spectrogram, ...]
    fingerprint: str

    def places(self, clips: tuple[str, ...]) -> list[int]:
        """Row numbers of clips. Raises `DataError` for a clip the data set does not have."""
        place = {clip: row for row, clip in enumerate(self.index.clips)}
        if unknown := [clip for clip in clips if clip not in place]:
            raise DataError(
                f"clip {unknown[0]} is in the split but not in {self.name}; use the data the run was trained on."
            )
        return [place[clip] for clip in clips]


def cache_folder() -> Path:
    """``$TENUTO_CACHE``, else ``tenuto`` below the user's cache folder."""
    if named := os.environ.get("TENUTO_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenuto"


def prepare(
    dataset: Dataset, cache: Path | None = None, workers: int | None = None, progress: Progress | None = None
) -> Prepared:
    """Compute (or read) the log spectrogram of every clip, and its signal concepts where the data set has those.

    Args:
        dataset: Where the recordings are.
        cache: Folder for the results; default `cache_folder`.
        workers: Threads; default one per core (decoding, resampling and FFT all release the interpreter lock).
        progress: Called with 1 after every clip.

    Raises:
        DataError: Some recordings cannot be used; all others are prepared first, and the first ones are named.
    """
    index, folder = dataset.index, cache or cache_folder()
    described = index.has_signal_concepts

    def one(path: Path) -> tuple[str, Spectrogram, Labels | None]:
        audio = sha256_file(path)
        return (
            audio,
            _spectrogram(path, audio, folder),
            _descriptors(path, audio, folder) if described else None,
        )

    rows = _each(index, one, workers, progress)
    identity = fingerprint(index, tuple(audio for audio, _, _ in rows))
    if described:
        index = dataclasses.replace(index, concept_labels=np.array([values for _, _, values in rows]))
    return Prepared(dataset.card.name, index, tuple(spectrogram for _, spectrogram, _ in rows), identity)


def signal_concepts(
    dataset: Dataset, cache: Path | None = None, workers: int | None = None, progress: Progress | None = None
) -> Labels:
    """The signal concepts of every clip alone, shape (clips, 7). Arguments and errors as of `prepare`."""
    folder = cache or cache_folder()

    def one(path: Path) -> Labels:
        return _descriptors(path, sha256_file(path), folder)

    return np.array(_each(dataset.index, one, workers, progress))


def _each(
    index: Index, work: Callable[[Path], Result], workers: int | None, progress: Progress | None
) -> list[Result]:
    """What ``work`` gives for every recording, in file order, computed by threads. Errors as of `prepare`."""
    results: dict[int, Result] = {}
    failures: dict[int, TenutoError] = {}
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        jobs = {pool.submit(work, path): row for row, path in enumerate(index.paths)}
        for job in as_completed(jobs):
            try:
                results[jobs[job]] = job.result()
            except TenutoError as error:
                if isinstance(error, FileError) and index.paths[jobs[job]].is_file():
                    raise  # the recording is there: the cache cannot be written
                failures[jobs[job]] = error
            if progress:
                progress(1)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # an interrupt does not wait for clips not yet begun
    if failures:
        first = [str(failures[row]) for row in sorted(failures)[:3]]
        more = f" And {len(failures) - 3} more." if len(failures) > 3 else ""
        raise DataError(f"{len(failures)} of {len(index)} recordings cannot be used. {' '.join(first)}{more}")
    return [results[row] for row in range(len(index))]


def _spectrogram(path: Path, audio: str, folder: Path) -> Spectrogram:
    from tenuto.audio.spectrogram import SETTINGS

    return _kept("spectrogram", {"format": FORMAT, **SETTINGS}, audio, folder, lambda: compute(path))


def _descriptors(path: Path, audio: str, folder: Path) -> Labels:
    return _kept("descriptors", {"descriptors": VERSION}, audio, folder, lambda: compute_descriptors(path))


def _kept(
    name: str, about: dict[str, Any], audio: str, folder: Path, make: Callable[[], NDArray[Any]]
) -> NDArray[Any]:
    """An array that follows from a recording and settings, from the cache where that holds a sound copy.

    Args:
        name: What the array is called in the file.
        about: The settings it follows from.
        audio: SHA-256 of the recording.
        folder: The cache.
        make: Computes it.
    """
    settings = json.dumps(about, sort_keys=True)
    place = folder / f"{sha256_bytes((audio + settings).encode())[:32]}.safetensors"
    if place.is_file() and (cached := _sound_copy(place, name)) is not None:
        return cached
    made = make()
    metadata = {"audio": audio, "settings": settings, "sha256": sha256_bytes(made.tobytes())}
    write_safetensors(place, {name: made}, metadata)
    return made


def _sound_copy(place: Path, name: str) -> NDArray[Any] | None:
    """A cached array whose checksum holds; None for one that is damaged, which is then made again."""
    try:
        arrays, metadata = read_safetensors(place)
    except FileError:
        return None
    array = arrays.get(name)
    if array is None or sha256_bytes(array.tobytes()) != metadata.get("sha256"):
        return None
    return array


def compute_descriptors(path: Path) -> Labels:
    """The seven signal concepts of one recording, shape (7,), float64 in 0-1."""
    from tenuto.audio import load_audio
    from tenuto.audio.descriptors import descriptors

    return descriptors(load_audio(path))


def compute(path: Path) -> Spectrogram:
    """Log spectrogram (frames, 149) of one recording, float32."""
    from tenuto.audio import load_audio
    from tenuto.audio.spectrogram import log_spectrogram

    return log_spectrogram(load_audio(path))
