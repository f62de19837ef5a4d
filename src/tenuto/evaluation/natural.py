"""Natural variation: how much predictions change without an attacker.

An attack matters where it changes predictions more than another excerpt of the same recording, lossy coding, another
level or faint noise do. Levels and noise are applied to the waveform that the network or its front end takes, because
`load_audio` scales every recording to peak 1 and would undo a gain in the file.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenuto.analysis.natural import OTHER_EXCERPT
from tenuto.audio.loading import FULL_SCALE, SAMPLE_RATE, decode, load_audio, mix_down, resample
from tenuto.audio.mp3 import decoded, encode
from tenuto.data.batches import Batch
from tenuto.data.cache import Prepared
from tenuto.data.excerpts import EXCERPT_FRAMES, fixed_starts
from tenuto.data.inputs import Inputs
from tenuto.devices import repeatable
from tenuto.evaluation.locking import one_process
from tenuto.evaluation.records import identity, origin_of
from tenuto.evaluation.runs import OpenedRun
from tenuto.files import sha256_bytes
from tenuto.models.heads import Prediction
from tenuto.models.recogniser import predict
from tenuto.registry import Registry
from tenuto.store.result_rows import value_columns
from tenuto.store.rows import NATURAL_PROTOCOL, read_own_rows, write_rows
from tenuto.store.run import RunFolder

Waveform = NDArray[np.floating[Any]]
Progress = Callable[[int], None]

Changed = tuple[int, NDArray[np.float32], str]
"""A clip's place in its part, the network's input under a variation, and the settings of that."""

NEW_SHARE = 4
"""Another excerpt begins at least a quarter of an excerpt (2.5 s) from the first one; shorter clips are skipped."""


@dataclass(frozen=True)
class Recording:
    """A clip whose excerpt is in use.

    Attributes:
        path: The audio file.
        waveform: (samples,), what `load_audio` makes of it.
        excerpt: The samples that the excerpt covers.
        rate: Samples per second.
    """

    path: Path
    waveform: Waveform
    excerpt: slice
    rate: int = SAMPLE_RATE

    @classmethod
    def read(cls, path: Path, start: int, inputs: Inputs) -> Recording:
        """The recording whose excerpt begins with step ``start`` of what a network takes. Raises as `load_audio`."""
        rate = inputs.sample_rate
        return cls(path, load_audio(path, rate), inputs.samples(start), rate)

    @functools.cached_property
    def seed(self) -> int:
        """A seed that follows the waveform's content: the same for a clip in any data set."""
        return int(sha256_bytes(np.ascontiguousarray(self.waveform, "<f4").tobytes())[:32], 16)


NaturalChange = Callable[[Recording], Waveform]
"""Makes of a recording a waveform of the same length, every sample in the same place."""

NATURAL_CHANGES: Registry[NaturalChange] = Registry("natural variation", "tenuto.natural", Callable)
"""Objective of the rows -> what is done to the waveform. Another excerpt is measured in addition."""


@dataclass(frozen=True, repr=False)
class Mp3Change:
    """The recording coded as mp3 of constant bit rate and decoded again, stereo or mono like the recording.

    Samples keep their places. Silence is cut off where it is cut off in the original, and the peak is scaled to 1 as in
    `load_audio`.

    Args:
        kilobits: Bit rate, kb/s.
    """

    kilobits: int

    def __repr__(self) -> str:
        return f"Mp3(kilobits={self.kilobits!r})"  # as in the column settings

    def __call__(self, recording: Recording) -> Waveform:
        samples, rate = decode(recording.path)
        mono = resample(mix_down(samples), rate, recording.rate)
        sounding = np.flatnonzero(np.rint(np.clip(mono, -1.0, 1.0) * FULL_SCALE))
        content = encode(samples, rate, self.kilobits, str(recording.path))
        again = decoded(content, recording.rate)[sounding[0] :]
        result = np.zeros(len(recording.waveform))
        result[: len(again)] = again[: len(result)]
        loudest: float = np.abs(result).max()
        return result / (loudest or 1.0)


NATURAL_CHANGES.register("mp3 128 kb/s")(Mp3Change(128))


@dataclass(frozen=True, repr=False)
class GainChange:
    """Louder or softer.

    Args:
        decibels: Above 0 is louder; peaks then pass 1 and are not clipped.
    """

    decibels: float

    def __repr__(self) -> str:
        return f"Gain(decibels={self.decibels!r})"  # as in the column settings

    def __call__(self, recording: Recording) -> Waveform:
        return recording.waveform.astype(np.float64) * 10 ** (self.decibels / 20)


NATURAL_CHANGES.register("6 dB up")(GainChange(6.0))
NATURAL_CHANGES.register("6 dB down")(GainChange(-6.0))


@dataclass(frozen=True, repr=False)
class NoiseChange:
    """White Gaussian noise, seeded with the waveform's content: the same for a clip in any data set.

    Args:
        decibels: Power of the samples in the excerpt over that of the noise.
    """

    decibels: float

    def __repr__(self) -> str:
        return f"Noise(decibels={self.decibels!r})"  # as in the column settings

    def __call__(self, recording: Recording) -> Waveform:
        waveform = recording.waveform.astype(np.float64)
        noise = np.random.default_rng(recording.seed).standard_normal(len(waveform))
        power = np.square(waveform[recording.excerpt]).mean()
        result: Waveform = waveform + noise * math.sqrt(power / 10 ** (self.decibels / 10))
        return result


NATURAL_CHANGES.register("noise 30 dB")(NoiseChange(30.0))
NATURAL_CHANGES.register("noise 20 dB")(NoiseChange(20.0))


@repeatable
def natural(run: OpenedRun, part: str = "test", progress: Progress | None = None) -> pd.DataFrame:
    """Predictions for one part of the split under every natural variation, also written to ``attacks/natural-1.csv``.

    Columns: see `tenuto.store.rows`; ``attack`` is "natural", ``objective`` the change, ``settings`` its numbers.
    ``l2`` and ``linf`` measure the change of the network's input; another excerpt is no perturbation and has none.
    Rows that exist are read; variations without rows, registered since, are measured and added.

    Args:
        run: The model and its clips; their audio files are read.
        part: ``test`` or another part of the split.
        progress: Called with 1 after every clip.

    Raises:
        AudioError: A recording cannot be decoded.
        CheckpointError: There are rows that belong to earlier weights of the run.
        FileError: A recording is not where the data set has it, or mp3 cannot be written.
        TenutoError: Another process is measuring this run.
    """
    if unmeasured(run.files, part):
        with one_process(run, NATURAL_PROTOCOL, part):
            names = unmeasured(run.files, part)  # none where another process measured them meanwhile
            before = [run.files.read_rows(NATURAL_PROTOCOL, part)] if run.files.has_natural(part) else []
            if names:
                clips = run.part(part).clips
                variants = changes(run.material.prepared, run.recogniser.inputs, clips, names, progress)
                return write_changes(run, part, variants, before=before)
    return run.files.read_rows(NATURAL_PROTOCOL, part)


def unmeasured(run: RunFolder, part: str = "test") -> list[str]:
    """The variations of natural-1 that a run has no rows of; some may have been registered since."""
    if not run.has_natural(part):
        return [OTHER_EXCERPT, *NATURAL_CHANGES]
    measured = set(read_own_rows(run.natural(part))["objective"])
    return [name for name in NATURAL_CHANGES if name not in measured]


@repeatable
def write_changes(
    run: OpenedRun,
    part: str,
    variants: Mapping[str, list[Changed]],
    device: str = "cpu",
    before: Sequence[pd.DataFrame] = (),
) -> pd.DataFrame:
    """Predict what `changes` returned for one part; rows are written after those of ``before``, and returned."""
    origin, network = origin_of(run, device), copy.deepcopy(run.recogniser.network).to(device)
    tables = [
        _rows(run, network, part, name, one, device).assign(**origin) for name, one in variants.items() if one
    ]
    rows = pd.concat([*before, *tables], ignore_index=True)
    write_rows(run.files.natural(part), rows)
    return rows


def changes(
    prepared: Prepared,
    inputs: Inputs,
    clips: tuple[str, ...],
    names: Sequence[str],
    progress: Progress | None = None,
) -> dict[str, list[Changed]]:
    """What a network takes under natural variations: for every name the clips that have one.

    Args:
        prepared: The data set; the audio files of the clips are read.
        inputs: What the network takes.
        clips: Names of clips.
        names: Of `NATURAL_CHANGES`, and ``other excerpt``.
        progress: Called with 1 after every clip.

    Raises:
        AudioError: A recording cannot be decoded.
        FileError: A recording is not where the data set has it, or mp3 cannot be written.
    """
    frames = fixed_starts([len(clip) for clip in prepared.spectrograms])
    variants: dict[str, list[Changed]] = {name: [] for name in names}
    for row, place in enumerate(prepared.places(clips)):
        steps = inputs.of_clip(prepared, place)
        start = inputs.start(frames[place], len(steps))
        recording = Recording.read(prepared.index.paths[place], start, inputs)
        for name in names:
            if name == OTHER_EXCERPT:
                other = _other_excerpt(inputs, steps, start)
                variants[name] += [(row, *other)] if other else []
            else:
                change = NATURAL_CHANGES[name]
                waveform = change(recording).astype(np.float32)
                variants[name].append((row, inputs.cut(inputs.steps(waveform), start), repr(change)))
        if progress is not None:
            progress(1)
    return variants


def other_start(steps: int, start: int, window: int = EXCERPT_FRAMES) -> int | None:
    """First step of the excerpt farthest from the one at ``start``; None where that is too near.

    >>> other_start(steps=470, start=20), other_start(steps=330, start=0)
    (157, None)
    """
    last = max(steps - window, 0)
    farthest = 0 if start > last - start else last
    return farthest if abs(farthest - start) >= window // NEW_SHARE else None


def _other_excerpt(
    inputs: Inputs, steps: NDArray[np.float32], start: int
) -> tuple[NDArray[np.float32], str] | None:
    """Another excerpt of a clip and its settings; None where the clip is too short for one."""
    other = other_start(len(steps), start, inputs.window)
    if other is None:
        return None
    return inputs.cut(steps, other), f"OtherExcerpt(start={other}, instead_of={start})"


def _rows(
    run: OpenedRun, network: nn.Module, part: str, name: str, clip_changes: list[Changed], device: str
) -> pd.DataFrame:
    """One row per clip under one change."""
    rows, changed_inputs, settings = zip(*clip_changes, strict=True)
    clips = run.part(part).take(torch.tensor(rows))
    inputs = torch.from_numpy(np.stack(changed_inputs))
    clean, adversarial = (predict(network, values.to(device)) for values in (clips.inputs, inputs))
    table = variation_rows(run, NATURAL_PROTOCOL, part, clips, inputs, (clean, adversarial), name, settings)
    return without_norms(table) if name == OTHER_EXCERPT else table


def variation_rows(
    run: OpenedRun,
    protocol: str,
    part: str,
    clips: Batch,
    inputs: Tensor,
    predictions: tuple[Prediction, Prediction],
    objective: str | Sequence[str],
    settings: Sequence[str],
) -> pd.DataFrame:
    """One row per clip and its input (clips, ...) under a variation.

    Args:
        run: Whose rows these are.
        protocol: The protocol of natural variation.
        part: Part of the split.
        clips: The clips, one for each row.
        inputs: What the network takes under the variation.
        predictions: For the clips and for the inputs.
        objective: Names of the variations.
        settings: Their numbers.
    """
    delta = (inputs - clips.inputs).double().flatten(1).numpy()
    table: dict[str, Any] = {
        **identity(run, clips, part, protocol),
        "attack": "natural",
        "objective": objective,
        "norm": "none",
        "epsilon": np.nan,
        "iterations": 0,
        "forward_passes": 1,
        "gradient_passes": 0,
        "l2": np.linalg.norm(delta, axis=1),
        "linf": np.abs(delta).max(axis=1),
        "converged": False,
        "settings": settings,
    }
    clean, adversarial = predictions
    emotions, units = run.recogniser.emotions, run.recogniser.concepts
    table |= value_columns("label", emotions, clips.labels)
    table |= value_columns("clean", emotions, clean.emotions)
    table |= value_columns("adversarial", emotions, adversarial.emotions)
    table |= value_columns("clean", units, clean.concepts)
    table |= value_columns("adversarial", units, adversarial.concepts)
    return pd.DataFrame(table)


def without_norms(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of another excerpt, which is no perturbation."""
    return rows.assign(l2=np.nan, linf=np.nan)
