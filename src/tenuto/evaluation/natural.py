"""Natural changes: how far predictions move when music changes as music does, with nobody attacking.

An attack is only interesting where it moves predictions further than another excerpt of the same recording, lossy
coding, another level or faint noise do. Levels and noise are applied to the waveform that the spectrogram takes,
because `load_audio` scales every recording to peak 1 and would undo a gain in the file.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.analysis.natural import OTHER_EXCERPT
from tenuto.audio.loading import FULL_SCALE, SAMPLE_RATE, decode, load_audio, mix_down, resample
from tenuto.data.excerpts import EXCERPT_FRAMES, excerpts, fixed_starts
from tenuto.devices import repeatable
from tenuto.errors import FileError
from tenuto.files import sha256_bytes
from tenuto.store.rows import NATURAL, write_rows

if TYPE_CHECKING:
    from tenuto.evaluation.runs import Run

Waveform = NDArray[np.floating[Any]]
Progress = Callable[[int], None]

NAME = NATURAL

FEWEST_NEW_FRAMES = EXCERPT_FRAMES // 4
"""Another excerpt begins at least a quarter of an excerpt (2.5 s) from the one in use; shorter clips are skipped."""

MP3_RATES = (32_000, 44_100, 48_000)
"""Sample rates of MPEG-1 layer III (ISO/IEC 11172-3); recordings with another one are coded at 44.1 kHz."""

MP3_BIT_RATES = (32, 320)
"""Lowest and highest bit rate there, kb/s; libsndfile asks for a place between them, 1 being the lowest."""


@dataclass(frozen=True)
class Recording:
    """A clip whose excerpt is in use.

    Attributes:
        path: The audio file.
        waveform: (samples,), what `load_audio` makes of it.
        heard: The samples that the excerpt covers.
    """

    path: Path
    waveform: Waveform
    heard: slice

    @classmethod
    def read(cls, path: Path, start: int) -> Recording:
        """The recording whose excerpt begins with frame ``start``. Raises as `load_audio`."""
        from tenuto.audio.spectrogram import FRAME_SIZE, FRAMES_PER_SECOND

        hop = SAMPLE_RATE / FRAMES_PER_SECOND
        last = start + EXCERPT_FRAMES - 1
        heard = slice(math.floor(start * hop), math.floor(last * hop) + FRAME_SIZE)
        return cls(path, load_audio(path), heard)


class Change(Protocol):
    """From a recording to a waveform of the same length, sample for sample in the same place."""

    def __call__(self, recording: Recording) -> Waveform: ...


@dataclass(frozen=True)
class Mp3:
    """The recording coded as mp3 of constant bit rate and decoded again, as stereo or mono as it is.

    The decoder takes the encoder's delay off again by the header that the encoder writes, so samples keep their
    places. Silence is cut off where it is cut off in the original, and the peak is scaled to 1 as `load_audio` does.

    Args:
        kilobits: Bit rate, kb/s.
    """

    kilobits: int

    def __call__(self, recording: Recording) -> Waveform:
        import soundfile

        samples, rate = decode(recording.path)
        mono = resample(mix_down(samples), rate)
        sounding = np.flatnonzero(np.rint(np.clip(mono, -1.0, 1.0) * FULL_SCALE))
        coded = io.BytesIO(self.encode(samples, rate, recording.path))
        again, rate = soundfile.read(coded, dtype="float32", always_2d=True)
        heard = np.clip(resample(mix_down(again), rate), -1.0, 1.0)[sounding[0] :]
        changed = np.zeros(len(recording.waveform))
        changed[: len(heard)] = heard[: len(changed)]
        loudest: float = np.abs(changed).max()
        return changed / (loudest or 1.0)

    def encode(self, samples: NDArray[np.float32], rate: int, path: Path) -> bytes:
        """An mp3 file of samples (frames, channels). Raises `FileError` where libsndfile cannot write any."""
        import soundfile
        import soxr

        if "MP3" not in soundfile.available_formats():
            raise FileError(
                f"{path}: libsndfile {soundfile.__libsndfile_version__} cannot write mp3, wanted 1.1 or later."
            )
        if samples.shape[1] > 2:
            samples = mix_down(samples)[:, None]
        if rate not in MP3_RATES:
            samples, rate = soxr.resample(samples, rate, MP3_RATES[1]), MP3_RATES[1]
        low, high = MP3_BIT_RATES
        stream = io.BytesIO()
        soundfile.write(
            stream,
            np.clip(samples, -1.0, 1.0),
            rate,
            format="MP3",
            subtype="MPEG_LAYER_III",
            bitrate_mode="CONSTANT",
            compression_level=(high - self.kilobits) / (high - low),
        )
        return stream.getvalue()


@dataclass(frozen=True)
class Gain:
    """Louder or softer.

    Args:
        decibels: Above 0 is louder; peaks then pass 1 and are not clipped.
    """

    decibels: float

    def __call__(self, recording: Recording) -> Waveform:
        return recording.waveform.astype(np.float64) * 10 ** (self.decibels / 20)


@dataclass(frozen=True)
class Noise:
    """White Gaussian noise, drawn from the waveform's content: the same for a clip wherever it stands.

    Args:
        decibels: Power of the samples that are heard over that of the noise.
    """

    decibels: float

    def __call__(self, recording: Recording) -> Waveform:
        waveform = recording.waveform.astype(np.float64)
        seed = int(sha256_bytes(np.ascontiguousarray(recording.waveform, "<f4").tobytes())[:32], 16)
        noise = np.random.default_rng(seed).standard_normal(len(waveform))
        power = np.square(waveform[recording.heard]).mean()
        changed: Waveform = waveform + noise * math.sqrt(power / 10 ** (self.decibels / 10))
        return changed


CHANGES: dict[str, Change] = {
    "mp3 128 kb/s": Mp3(128),
    "6 dB up": Gain(6.0),
    "6 dB down": Gain(-6.0),
    "noise 30 dB": Noise(30.0),
    "noise 20 dB": Noise(20.0),
}
"""Objective of the rows -> what is done to the waveform; the other excerpt stands beside these."""


def natural_path(folder: Path, part: str = "test") -> Path:
    """Where the rows lie: ``attacks/natural-1.csv``, other parts of the split in their own files."""
    return folder / "attacks" / f"{NAME}{'' if part == 'test' else f'-{part}'}.csv"


@repeatable
def natural(run: Run, part: str = "test", progress: Progress | None = None) -> pd.DataFrame:
    """Predictions for one part of the split under every natural change, also written to ``attacks/natural-1.csv``.

    Columns: see `tenuto.store.rows`; ``attack`` is "natural", ``objective`` the change, ``settings`` its numbers.
    ``l2`` and ``linf`` measure the change of the normalised excerpt; another excerpt is no perturbation and has none.
    Rows that are there already are read, not made again.

    Args:
        run: The model and its clips; their audio files are read.
        part: ``test`` or another part of the split.
        progress: Called with 1 after every clip.

    Raises:
        AudioError: A recording cannot be decoded.
        CheckpointError: There are rows that belong to earlier weights of the run.
        FileError: A recording is not where the data set has it, or mp3 cannot be written.
    """
    from tenuto.evaluation.records import finished_rows, origin_of

    path, origin = natural_path(run.folder, part), origin_of(run)
    if path.is_file():
        return finished_rows(path, origin)
    prepared = run.material.prepared
    starts = fixed_starts([len(clip) for clip in prepared.spectrograms])
    changed: dict[str, _Changed] = {name: _Changed() for name in (OTHER_EXCERPT, *CHANGES)}
    for row, place in enumerate(prepared.places(run.part(part).clips)):
        start = starts[place]
        _other_excerpt(run, place, start, row, changed[OTHER_EXCERPT])
        recording = Recording.read(prepared.index.paths[place], start)
        for name, change in CHANGES.items():
            changed[name].add(row, _excerpt(run, change(recording), start), repr(change))
        if progress is not None:
            progress(1)
    tables = [_rows(run, part, name, found) for name, found in changed.items() if found.rows]
    rows = pd.concat(tables, ignore_index=True).assign(**origin)
    write_rows(path, rows)
    return rows


class _Changed:
    """Excerpts under one change: which clips of the part, what the network hears, and the settings."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.inputs: list[NDArray[np.float32]] = []
        self.settings: list[str] = []

    def add(self, row: int, excerpt: NDArray[np.float32], settings: str) -> None:
        self.rows.append(row)
        self.inputs.append(excerpt)
        self.settings.append(settings)


def other_start(frames: int, start: int) -> int | None:
    """First frame of the excerpt farthest from the one at ``start``; None where that is too near.

    >>> other_start(frames=470, start=20), other_start(frames=330, start=0)
    (157, None)
    """
    last = max(frames - EXCERPT_FRAMES, 0)
    farthest = 0 if start > last - start else last
    return farthest if abs(farthest - start) >= FEWEST_NEW_FRAMES else None


def _other_excerpt(run: Run, place: int, start: int, row: int, found: _Changed) -> None:
    spectrogram = run.material.prepared.spectrograms[place]
    other = other_start(len(spectrogram), start)
    if other is not None:
        excerpt = excerpts([spectrogram], [other], run.recogniser.normalisation)[0]
        found.add(row, excerpt, f"OtherExcerpt(start={other}, instead_of={start})")


def _excerpt(run: Run, waveform: Waveform, start: int) -> NDArray[np.float32]:
    """The normalised excerpt (1, 313, 149) of a waveform."""
    import torch

    from tenuto.audio import LogSpectrogram

    with torch.inference_mode():
        spectrogram = LogSpectrogram()(torch.from_numpy(waveform.astype(np.float32))).numpy()
    excerpt: NDArray[np.float32] = excerpts([spectrogram], [start], run.recogniser.normalisation)[0]
    return excerpt


def _rows(run: Run, part: str, name: str, found: _Changed) -> pd.DataFrame:
    """One row per clip under one change."""
    import torch

    from tenuto.evaluation.records import identity
    from tenuto.models.recogniser import predict

    clips = run.part(part).take(torch.tensor(found.rows))
    inputs = torch.from_numpy(np.stack(found.inputs))
    delta = (inputs - clips.inputs).double().flatten(1).numpy()
    measured = name != OTHER_EXCERPT
    table: dict[str, Any] = {
        **identity(run, clips, part, NAME),
        "attack": "natural",
        "objective": name,
        "norm": "none",
        "epsilon": np.nan,
        "iterations": 0,
        "forward_passes": 1,
        "gradient_passes": 0,
        "l2": np.linalg.norm(delta, axis=1) if measured else np.nan,
        "linf": np.abs(delta).max(axis=1) if measured else np.nan,
        "converged": False,
        "settings": found.settings,
    }
    clean, adversarial = (predict(run.recogniser.network, heard) for heard in (clips.inputs, inputs))
    kinds: list[tuple[str, tuple[str, ...], Any]] = [
        ("label", run.recogniser.emotions, clips.labels),
        ("clean", run.recogniser.emotions, clean.emotions),
        ("adversarial", run.recogniser.emotions, adversarial.emotions),
        ("clean", run.recogniser.concepts, clean.concepts),
        ("adversarial", run.recogniser.concepts, adversarial.concepts),
    ]
    for kind, names, values in kinds:
        table |= {f"{kind}_{one}": values[:, column].numpy() for column, one in enumerate(names)}
    return pd.DataFrame(table)
