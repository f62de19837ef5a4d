"""Log spectrograms on disk: computed once per recording, checked every time they are read.

A cache file is named after the recording's content and the spectrogram settings, so a changed recording or setting
can never meet an old spectrogram, and an interrupted `prepare` goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenuto.data.base import Dataset, Index, Progress, fingerprint
from tenuto.errors import DataError, FileError, TenutoError
from tenuto.files import read_safetensors, sha256_bytes, sha256_file, write_safetensors

if TYPE_CHECKING:
    from tenuto.audio import LogSpectrogram

Spectrogram = NDArray[np.float32]
FORMAT = "1"


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
    """Compute (or read) the log spectrogram of every clip.

    Args:
        dataset: Where the recordings are.
        cache: Folder for the spectrograms; default `cache_folder`.
        workers: Threads; default one per core (decoding, resampling and FFT all release the interpreter lock).
        progress: Called with 1 after every clip.

    Raises:
        DataError: Some recordings cannot be used; all others are prepared first, and the first ones are named.
    """
    index, folder = dataset.index, cache or cache_folder()
    results: dict[int, tuple[str, Spectrogram]] = {}
    failures: dict[int, TenutoError] = {}
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        jobs = {pool.submit(_one, path, folder): row for row, path in enumerate(index.paths)}
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
    rows = [results[row] for row in range(len(index))]
    identity = fingerprint(index, tuple(audio for audio, _ in rows))
    return Prepared(dataset.card.name, index, tuple(spectrogram for _, spectrogram in rows), identity)


def _one(path: Path, folder: Path) -> tuple[str, Spectrogram]:
    """Checksum of a recording and its spectrogram, from the cache where that holds a sound copy."""
    from tenuto.audio.spectrogram import SETTINGS

    audio = sha256_file(path)
    settings = json.dumps({"format": FORMAT, **SETTINGS}, sort_keys=True)
    place = folder / f"{sha256_bytes((audio + settings).encode())[:32]}.safetensors"
    if place.is_file() and (cached := _sound_copy(place)) is not None:
        return audio, cached
    spectrogram = compute(path)
    metadata = {"audio": audio, "settings": settings, "sha256": sha256_bytes(spectrogram.tobytes())}
    write_safetensors(place, {"spectrogram": spectrogram}, metadata)
    return audio, spectrogram


def _sound_copy(place: Path) -> Spectrogram | None:
    """A cached spectrogram whose checksum holds; None for one that is damaged, which is then made again."""
    try:
        arrays, metadata = read_safetensors(place)
    except FileError:
        return None
    spectrogram = arrays.get("spectrogram")
    if spectrogram is None or sha256_bytes(spectrogram.tobytes()) != metadata.get("sha256"):
        return None
    return spectrogram


def compute(path: Path) -> Spectrogram:
    """Log spectrogram (frames, 149) of one recording, float32."""
    import torch

    from tenuto.audio import load_audio

    with torch.inference_mode():
        spectrogram: Spectrogram = _front_end()(torch.from_numpy(load_audio(path))).numpy()
    return spectrogram


@functools.cache
def _front_end() -> LogSpectrogram:
    """One front end for all recordings: its filterbank takes a millisecond or two to build."""
    from tenuto.audio import LogSpectrogram

    return LogSpectrogram()
