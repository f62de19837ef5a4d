"""Log spectrograms, signal concepts, waveforms on disk: computed once per recording, checked whenever they are read.

The name of a cache file is a hash of the recording and of the settings of the result, so a changed recording or setting
never gets an old result, and an interrupted `prepare` continues.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tenuto.audio.descriptors import DESCRIPTORS_VERSION, descriptors
from tenuto.audio.loading import SAMPLE_RATE, load_and_describe, load_audio
from tenuto.data.base import Dataset, Index, Labels, Progress, fingerprint
from tenuto.errors import AudioError, ConfigError, DataError, FileError, TenutoError, counted
from tenuto.files import read_safetensors, sha256_bytes, sha256_file, write_safetensors

Spectrogram = NDArray[np.float32]
CACHE_FORMAT = "1"
Result = TypeVar("Result")


class _CacheError(FileError):
    """A result cannot be stored, so that there is no use in computing the others."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set in memory: its index, one spectrogram (frames, 149) per clip, and the fingerprint of both.

    Waveforms, which few models take, stay on disk: ``folder`` is the cache, ``audio`` holds the SHA-256 of every
    recording.
    """

    name: str
    index: Index
    spectrograms: tuple[Spectrogram, ...]
    fingerprint: str
    audio: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    folder: Path | None = None

    def waveform(self, place: int, rate: int) -> NDArray[np.float32]:
        """The waveform (samples,) of a clip at ``rate`` Hz, as `tenuto.audio.load_audio` gives it.

        It is read from the cache, and written to it unless that is read-only.
        """
        path = self.index.paths[place]
        audio = self.audio[place] if self.audio else sha256_file(path)
        try:
            return _waveform(path, audio, rate, self.folder or cache_folder())
        except _CacheError:
            return load_audio(path, rate)

    def prepare_waveforms(
        self, rate: int, workers: int | None = None, progress: Progress | None = None
    ) -> None:
        """Compute the waveforms at ``rate`` Hz that are not in the cache. Arguments and errors as in `prepare`."""
        audio, folder = dict(zip(self.index.paths, self.audio, strict=True)), self.folder or cache_folder()

        def one(path: Path) -> None:
            if not _place(audio[path], _waveform_settings(rate), folder).is_file():
                _waveform(path, audio[path], rate, folder)

        _each(self.index.paths, one, workers, progress)

    def places(self, clips: tuple[str, ...]) -> list[int]:
        """Row numbers of clips. Raises `DataError` for a clip the data set does not have."""
        place = {clip: row for row, clip in enumerate(self.index.clips)}
        if unknown := [clip for clip in clips if clip not in place]:
            raise DataError(
                f"clip {unknown[0]} is in the split but not in {self.name}; use the data the run was trained on."
            )
        return [place[clip] for clip in clips]


def cache_folder() -> Path:
    """``$TENUTO_CACHE``, else ``tenuto`` below the user's cache folder. Raises `FileError` where there is neither."""
    if variable := os.environ.get("TENUTO_CACHE"):
        return Path(variable)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenuto"
    except RuntimeError as error:
        raise FileError(
            "This user has no home folder for the cache. Set TENUTO_CACHE (or `cache=DIR`)."
        ) from error


def prepare(
    dataset: Dataset, cache: Path | None = None, workers: int | None = None, progress: Progress | None = None
) -> Prepared:
    """Compute (or read from the cache) the log spectrogram of every clip, and its signal concepts where used.

    Args:
        dataset: The data set.
        cache: Folder for the results; default `cache_folder`.
        workers: Threads; default one per core (decoding, resampling and FFT release the interpreter lock).
        progress: Called with 1 after every clip.

    Raises:
        ConfigError: A number of workers below 1.
        DataError: Some recordings cannot be used; all others are prepared first, and the message names three.
    """
    from tenuto.audio.spectrogram import SPECTROGRAM_SETTINGS

    index, folder = dataset.index, cache or cache_folder()
    has_signal, about = index.has_signal_concepts, {"format": CACHE_FORMAT, **SPECTROGRAM_SETTINGS}

    def one(path: Path) -> tuple[str, Spectrogram, Labels | None]:
        audio = sha256_file(path)
        spectrogram = _cached("spectrogram", about, audio, folder, lambda: compute(path))
        return audio, spectrogram, _descriptors(path, audio, folder) if has_signal else None

    rows = _each(index.paths, one, workers, progress)
    identity = fingerprint(index, tuple(audio for audio, _, _ in rows))
    if has_signal:
        index = dataclasses.replace(index, concept_labels=np.array([values for _, _, values in rows]))
    audio, spectrograms = tuple(audio for audio, _, _ in rows), tuple(values for _, values, _ in rows)
    return Prepared(dataset.card.name, index, spectrograms, identity, audio, folder)


def signal_concepts(
    dataset: Dataset, cache: Path | None = None, workers: int | None = None, progress: Progress | None = None
) -> Labels:
    """The signal concepts of every clip, shape (clips, 7). Arguments and errors as in `prepare`."""
    folder = cache or cache_folder()

    def one(path: Path) -> Labels:
        return _descriptors(path, sha256_file(path), folder)

    return np.array(_each(dataset.index.paths, one, workers, progress))


@dataclasses.dataclass(frozen=True)
class Sound:
    """What a recording sounds like, to compare recordings with each other and with ratings.

    Attributes:
        audio: SHA-256 of the file.
        fingerprint: Its bits, (frames,), see `tenuto.audio.fingerprint`.
        loudness: Root-mean-square level in dB relative to full scale.
        onset_rate: Onsets per second, weighted by their strength, see `tenuto.audio.energy`.
        seconds: Duration without silence at the ends.
    """

    audio: str
    fingerprint: NDArray[np.uint32]
    loudness: float
    onset_rate: float
    seconds: float


def listen(path: Path, folder: Path) -> Sound:
    """The sound of a recording, from the cache where it holds it; the cache may be read-only.

    Raises:
        AudioError: The recording cannot be decoded, or is silent.
        FileError: It cannot be read.
    """
    from tenuto.audio import energy, fingerprint
    from tenuto.audio.spectrogram import SPECTROGRAM_SETTINGS, log_spectrogram

    @functools.cache
    def computed() -> tuple[NDArray[np.uint32], Labels]:
        waveform, description = load_and_describe(path)
        spectrogram = log_spectrogram(waveform)
        level = energy.loudness(waveform, description.peak_db)
        seconds = len(waveform) / SAMPLE_RATE
        numbers = np.array([level, energy.onset_rate(spectrogram), seconds])
        return fingerprint.fingerprint(spectrogram), numbers

    audio = sha256_file(path)
    bits_settings = {"fingerprint": fingerprint.FINGERPRINT_VERSION, **SPECTROGRAM_SETTINGS}
    energy_settings = {"energy": energy.ENERGY_VERSION, **SPECTROGRAM_SETTINGS}
    try:
        bits = _cached("fingerprint", bits_settings, audio, folder, lambda: computed()[0])
        numbers = _cached("energy", energy_settings, audio, folder, lambda: computed()[1])
    except _CacheError:
        bits, numbers = computed()
    return Sound(audio, bits, *numbers.tolist())


def listen_all(
    paths: Mapping[str, Path],
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Sound]:
    """The sounds of recordings by their names; those that cannot be read are left out. Arguments as in `prepare`."""
    folder = cache or cache_folder()

    def one(path: Path) -> Sound | None:
        try:
            return listen(path, folder)
        except (AudioError, FileError):
            return None

    sounds = zip(paths, _each(tuple(paths.values()), one, workers, progress), strict=True)
    return {name: sound for name, sound in sounds if sound is not None}


def _each(
    paths: Sequence[Path], work: Callable[[Path], Result], workers: int | None, progress: Progress | None
) -> list[Result]:
    """The result of ``work`` for every recording, in file order, computed by threads. Errors as in `prepare`."""
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}; it must be 1 or more, or None for one per core.")
    results: dict[int, Result] = {}
    failures: dict[int, TenutoError] = {}
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        jobs = {pool.submit(work, path): row for row, path in enumerate(paths)}
        for job in as_completed(jobs):
            try:
                results[jobs[job]] = job.result()
            except TenutoError as error:
                if isinstance(error, _CacheError):
                    raise
                failures[jobs[job]] = error
            if progress:
                progress(1)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # an interrupt does not wait for clips not yet begun
    if failures:
        first = [str(failures[row]) for row in sorted(failures)[:3]]
        more = f" And {len(failures) - 3} more." if len(failures) > 3 else ""
        raise DataError(
            f"{len(failures)} of {counted(len(paths), 'recording')} cannot be used. {' '.join(first)}{more}"
        )
    return [results[row] for row in range(len(paths))]


def _descriptors(path: Path, audio: str, folder: Path) -> Labels:
    return _cached(
        "descriptors", {"descriptors": DESCRIPTORS_VERSION}, audio, folder, lambda: compute_descriptors(path)
    )


def _waveform(path: Path, audio: str, rate: int, folder: Path) -> NDArray[np.float32]:
    return _cached("waveform", _waveform_settings(rate), audio, folder, lambda: load_audio(path, rate))


def _waveform_settings(rate: int) -> dict[str, Any]:
    return {"format": CACHE_FORMAT, "sample_rate": rate}


def _place(audio: str, about: dict[str, Any], folder: Path) -> Path:
    """The cache file of what is computed from a recording with these settings."""
    return folder / f"{sha256_bytes((audio + json.dumps(about, sort_keys=True)).encode())[:32]}.safetensors"


def _cached(
    name: str, about: dict[str, Any], audio: str, folder: Path, make: Callable[[], NDArray[Any]]
) -> NDArray[Any]:
    """An array computed from a recording and settings, from the cache where that has an intact copy.

    Args:
        name: Name of the array in the file.
        about: The settings.
        audio: SHA-256 of the recording.
        folder: The cache.
        make: Computes the array.
    """
    place = _place(audio, about, folder)
    if place.is_file() and (copy := _intact_copy(place, name)) is not None:
        return copy
    array = make()
    metadata = {
        "audio": audio,
        "settings": json.dumps(about, sort_keys=True),
        "sha256": sha256_bytes(array.tobytes()),
    }
    try:
        write_safetensors(place, {name: array}, metadata)
    except FileError as error:
        raise _CacheError(*error.sentences) from error
    return array


def _intact_copy(place: Path, name: str) -> NDArray[Any] | None:
    """A cached array whose checksum is right; None for a damaged one, which is then computed again."""
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
    return descriptors(load_audio(path))


def compute(path: Path) -> Spectrogram:
    """Log spectrogram (frames, 149) of one recording, float32."""
    from tenuto.audio.spectrogram import log_spectrogram

    return log_spectrogram(load_audio(path))
