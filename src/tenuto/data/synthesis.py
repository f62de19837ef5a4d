"""The synthetic corpus on disk: audible music and its ratings, in the two file formats of the real data.

`synthesize` writes what `Soundtracks` and `Midlevel` read: `Set1/001.mp3` and so on, the rating file, the
track list, and the two files of `metadata_annotations`. `corpus.json` holds the settings and, once the corpus is
complete, the checksums.
"""

from __future__ import annotations

import contextlib
import csv
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from tenuto.data.midlevel import ANNOTATIONS_FOLDER, CONCEPT_COLUMNS, SOURCE
from tenuto.data.soundtracks import EMOTIONS, RATINGS, SYNTHETIC_STATE as STATE, TRACKLIST
from tenuto.data.synthesis_controls import Clip, draw, draw_clip
from tenuto.data.synthesis_sound import CORPUS_RATE, render
from tenuto.errors import ConfigError, DataError, FileError
from tenuto.files import read_json, sha256_bytes, sha256_file, write_bytes, write_json

GENERATOR_VERSION = 1
"""Increased whenever the same settings give other files."""

AUDIO = "Set1"
OTHER_SOURCES = (("jamendo", 101), ("magnatune", 102), ("jamendo", 103))
"""Rows of other collections in `metadata.csv`, as in the real file; a reader skips them."""

MIDDLE_RATING = 5.0
TARGET_NAMES = {"valence": "Val.", "energy": "Ener.", "tension": "Tens."}


def synthesize(
    root: str | Path,
    *,
    clips: int = 360,
    seconds: float = 15.0,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write the synthetic corpus, or finish or reuse an existing one.

    Args:
        root: Folder of the corpus; new, empty, or with a corpus of the same settings.
        clips: Number of clips. A smaller corpus of the same seed has the same first clips.
        seconds: Length of each clip, 1 to 600; excerpts need 10.
        seed: Seed of everything, 0 or more.
        workers: Processes; None for one per available processor, 1 for this process.
        progress: Called with 1 for every clip that is ready.

    Returns:
        ``root``.

    Raises:
        ConfigError: A setting is out of range.
        DataError: The folder contains other files, a corpus of other settings, or a changed file.
        FileError: A file cannot be written.
    """
    root = Path(root)
    _check(clips, seconds, seed, workers)
    checksums_before = recorded(root, clips=clips, seconds=seconds, seed=seed)
    if checksums_before is None:
        _claim(root, _settings(clips, seconds, seed))
        checksums_before = {}
    pieces = draw(clips, seed)
    texts = {name: content.encode() for name, content in _annotations(pieces, seconds).items()}
    checksums = {name: sha256_bytes(content) for name, content in texts.items()}
    _refuse_changed(root, checksums_before)
    for name, content in texts.items():
        if not checksums_before or not (root / name).is_file():
            write_bytes(root / name, content)
    checksums |= _audio(root, pieces, seconds, seed, workers, progress or (lambda _: None))
    if checksums != checksums_before:
        write_json(root / STATE, {**_settings(clips, seconds, seed), "sha256": checksums})
    return root


def recorded(root: Path, *, clips: int, seconds: float, seed: int) -> dict[str, str] | None:
    """SHA-256 of every file of the corpus that `synthesize` left in ``root``, by its path below it.

    Args:
        root: Folder of the corpus, which need not exist.
        clips: Setting of `synthesize` with which it must have been made.
        seconds: The same.
        seed: The same.

    Returns:
        Empty where the corpus is not finished, None where there is none.

    Raises:
        DataError: The corpus was made with other settings or by another version, or its state is damaged.
    """
    if not (root / STATE).is_file():
        return None
    settings, state = _settings(clips, seconds, seed), read_json(root / STATE)
    stored_settings = {name: state.get(name) for name in settings}
    if stored_settings != settings:
        raise DataError(
            f"{root / STATE}: this corpus was made with {_spell(stored_settings)}, not with {_spell(settings)}. "
            "Choose another folder or delete this one."
        )
    checksums = state.get("sha256")
    if not isinstance(checksums, dict):
        raise DataError(f"{root / STATE}: contains no checksums. Delete the folder and synthesize again.")
    return checksums


def is_complete(root: Path, *, clips: int, seconds: float, seed: int) -> bool:
    """Whether every file of a corpus is there. Raises `DataError` for a corpus with other settings."""
    names = recorded(root, clips=clips, seconds=seconds, seed=seed) or {}
    return bool(names) and all((root / name).is_file() for name in names)


def _settings(clips: int, seconds: float, seed: int) -> dict[str, Any]:
    return {"generator": GENERATOR_VERSION, "clips": clips, "seconds": float(seconds), "seed": seed}


def _check(clips: int, seconds: float, seed: int, workers: int | None) -> None:
    if clips < 1:
        raise ConfigError(f"clips is {clips}; it must be 1 or more.")
    if not 1 <= seconds <= 600:
        raise ConfigError(f"seconds is {seconds}; it must be 1 to 600, and excerpts need 10 or more.")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; it must be 0 or more.")
    if workers is not None and workers < 1:
        raise ConfigError(f"`workers` is {workers}; it must be 1 or more.")


def _claim(root: Path, settings: dict[str, Any]) -> None:
    """Mark an empty folder as a corpus: its state file comes first, so that all other files are known to be ours."""
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: is a file, not a folder for the synthetic corpus. Choose another `root`.")
    if root.is_dir() and (names := [path.name for path in root.iterdir() if path.name[0] != "."]):
        raise DataError(
            f"{root}: contains {min(names)}, which is not part of a synthetic corpus. Choose an empty folder."
        )
    write_json(root / STATE, {**settings, "sha256": {}})


def _spell(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _refuse_changed(root: Path, checksums: dict[str, str]) -> None:
    for name, checksum in checksums.items():
        if (root / name).is_file() and sha256_file(root / name) != checksum:
            raise DataError(
                f"{root / name}: changed since it was synthesized. Delete it and run the same command again."
            )


def _audio(
    root: Path,
    pieces: Sequence[Clip],
    seconds: float,
    seed: int,
    workers: int | None,
    progress: Callable[[int], None],
) -> dict[str, str]:
    """Write the missing recordings; return the SHA-256 of all."""
    names = [f"{AUDIO}/{clip.number:03d}.mp3" for clip in pieces]
    exists = [(root / name).is_file() for name in names]
    checksums = {}
    for name, is_done in zip(names, exists, strict=True):
        if is_done:
            checksums[name] = sha256_file(root / name)
            progress(1)
    missing_numbers = [clip.number for clip, is_done in zip(pieces, exists, strict=True) if not is_done]
    write = partial(_write_clip, root, seed, seconds)
    for name, checksum in _map(write, missing_numbers, workers or _processors()):
        checksums[name] = checksum
        progress(1)
    return {name: checksums[name] for name in names}


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _map(
    write: Callable[[int], tuple[str, str]], numbers: list[int], workers: int
) -> Iterator[tuple[str, str]]:
    workers = min(workers, len(numbers))
    if workers <= 1:
        yield from map(write, numbers)
        return
    # Fresh processes rather than forks: a fork would inherit the locks of torch's threads.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent)
    try:
        with uninterrupted():
            results = pool.map(write, numbers)
        yield from results
    except BrokenProcessPool as error:
        raise DataError(
            "a synthesis process died. Run the same command again; finished clips are kept. A script must "
            'make the call under `if __name__ == "__main__":`, or pass workers=1.'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Processes that start inside never see Ctrl-C, which a terminal sends to them too: their caller answers it."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # else it starts with the first process, and unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Let this worker process end when its parent does, even where the parent is killed."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _write_clip(root: Path, seed: int, seconds: float, number: int) -> tuple[str, str]:
    """Render and encode one clip; return its path below the root and its SHA-256."""
    name = f"{AUDIO}/{number:03d}.mp3"
    content = _encode(root / name, draw_clip(number, seed), seed, seconds)
    write_bytes(root / name, content)
    return name, sha256_bytes(content)


def _encode(path: Path, clip: Clip, seed: int, seconds: float) -> bytes:
    import soundfile

    if "MP3" not in soundfile.available_formats():
        raise FileError(
            f"{path}: libsndfile {soundfile.__libsndfile_version__} cannot write mp3; version 1.1 or later can."
        )
    stream = io.BytesIO()
    soundfile.write(stream, render(clip, seed, seconds), CORPUS_RATE, format="MP3", subtype="MPEG_LAYER_III")
    return stream.getvalue()


def target(clip: Clip) -> tuple[str, str]:
    """The clip's strongest emotion, as spelt in the rating file (LOW ENERGY) and track list (Low Ener.).

    Valence, energy and tension have two ends, so they count by their distance from the middle of the scale.
    """
    values = dict(zip(EMOTIONS, clip.emotions, strict=True))
    strength = {
        name: abs(value - MIDDLE_RATING) if name in TARGET_NAMES else value - MIDDLE_RATING
        for name, value in values.items()
    }
    strongest = max(strength, key=strength.__getitem__)
    if strongest not in TARGET_NAMES:
        return strongest.upper(), strongest.capitalize()
    end = "High" if values[strongest] >= MIDDLE_RATING else "Low"
    return f"{end} {strongest}".upper(), f"{end} {TARGET_NAMES[strongest]}"


def _annotations(pieces: Sequence[Clip], seconds: float) -> dict[str, str]:
    """The four annotation files: path below the root to content."""
    end = f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
    ratings = [[f"{clip.number:03d}", *_two_decimals(clip.emotions), target(clip)[0]] for clip in pieces]
    tracks = [
        [f"{clip.number:03d}", target(clip)[1], clip.album.name, clip.track, f"00:00-{end}"]
        for clip in pieces
    ]
    metadata, concepts = _midlevel_rows(pieces)
    # The real rating file has a byte-order mark and other line ends than the rest.
    return {
        RATINGS: "\ufeff" + _table(["number", *EMOTIONS, "TARGET"], ratings, end="\r\n"),
        TRACKLIST: _table(["Nro", "Emotion", "Album name", "Track", "Min:Sec"], tracks),
        f"{ANNOTATIONS_FOLDER}/metadata.csv": _table(
            ["song id", "Source", "ID at file source"], metadata, separator=";"
        ),
        f"{ANNOTATIONS_FOLDER}/annotations.csv": _table(["song_id", *CONCEPT_COLUMNS.values()], concepts),
    }


def _midlevel_rows(pieces: Sequence[Clip]) -> tuple[list[list[Any]], list[list[Any]]]:
    """Rows of `metadata.csv` and `annotations.csv`: the clips in order, and other sources."""
    entries: list[tuple[str, int, list[str]]] = [
        (SOURCE, clip.number, _two_decimals(clip.concepts)) for clip in pieces
    ]
    middle = _two_decimals([MIDDLE_RATING] * len(CONCEPT_COLUMNS))
    places = (len(entries), len(entries) // 2, 0)
    for place, (source, number) in zip(places, OTHER_SOURCES, strict=True):
        entries.insert(place, (source, number, middle))
    metadata = [[song, source, number] for song, (source, number, _) in enumerate(entries, 1)]
    concepts = [[song, *values] for song, (_, _, values) in enumerate(entries, 1)]
    return metadata, concepts


def _two_decimals(values: Iterable[float]) -> list[str]:
    return [f"{value:.2f}" for value in values]


def _table(header: list[str], rows: Iterable[list[Any]], separator: str = ",", end: str = "\n") -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=separator, lineterminator=end)
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()
