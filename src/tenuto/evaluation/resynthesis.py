"""Resynthesise attacked clips and measure how much of an attack's effect survives as sound.

A network is attacked on its spectrogram, and not every spectrogram belongs to a sound. Here the perturbed excerpt is
rendered as 16-bit sound (`tenuto.audio.inversion`), the spectrogram of that sound is computed, and the network is
evaluated on it. The share of the effect that remains is the part of the attack that a loudspeaker could play. The
attacked waveform of a network that takes waveforms is played as it is, in 16 bits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tenuto.audio import SAMPLE_RATE, load_audio
from tenuto.audio.inversion import band_centres, reach, render, snr_db, to_16_bit
from tenuto.audio.loading import FULL_SCALE, full_scale, resample
from tenuto.audio.spectrogram import FRAME_SIZE, HOP, frame_count, frame_starts, log_spectrogram
from tenuto.data.excerpts import EXCERPT_FRAMES, cut, fixed_starts
from tenuto.data.inputs import LogSpectrogramInputs
from tenuto.errors import CheckpointError, ConfigError, DataError, counted
from tenuto.evaluation.attacked_clips import RECOMPUTED_AGREEMENT
from tenuto.evaluation.resynthesised_clip import Resynthesis, audibility
from tenuto.evaluation.runs import OpenedRun
from tenuto.models.recogniser import Recogniser, predict
from tenuto.store.perturbations import Perturbations, row_of
from tenuto.store.rows import unit_of

Values = NDArray[np.float64]
Spectrogram = NDArray[np.float32]
Piece = tuple[int, int]
"""First frame and number of frames of a stretch of a recording."""

STATES = ("before", "after", "heard", "rendered")
"""The four excerpts a network is evaluated on: clean, attacked, attacked and rendered as sound, and, as a control,
clean and rendered as sound."""

EXCERPT_SAMPLES = int(EXCERPT_FRAMES * HOP)
"""Ten seconds: the front end turns these samples into exactly the frames of an excerpt, so a network can be evaluated
on the file that is played."""

SMALLEST_EFFECT = 1e-6
"""Euclidean change of the emotions below which it is rounding and `survival` is undefined."""


def resynthesise_clips(run: OpenedRun, rows: pd.DataFrame, clips: Sequence[str]) -> Iterator[Resynthesis]:
    """Resynthesise some clips, one after the other; each result holds about 1.5 MB.

    Args:
        run: An attacked run.
        rows: What `tenuto.store.perturbations.saved_rows` gave.
        clips: Which of its clips, in this order.

    Raises:
        DataError: A clip has no row, several rows, or no perturbation.
        CheckpointError: The clips were attacked with other weights.
        ConfigError: The network takes features that cannot be turned into sound.
    """
    if len(rows):
        run = run.in_unit(unit_of(rows))
    perturbations = Perturbations(run.files)
    index, inputs = run.material.prepared.index, run.recogniser.inputs
    if not inputs.is_sound and not isinstance(inputs, LogSpectrogramInputs):
        raise ConfigError(
            f"{run.name}: was attacked in {inputs.unit}, which cannot be turned into sound. Only runs that take "
            "waveforms or log spectrograms can be shown."
        )
    chosen = [row_of(rows, clip) for clip in clips]
    for clip, row in zip(clips, chosen, strict=True):
        waveform = load_audio(index.paths[index.clips.index(clip)], inputs.sample_rate)
        yield resynthesise(run, clip, row, perturbations[row], waveform)


def resynthesise(
    run: OpenedRun, clip: str, row: pd.Series[Any], perturbation: ArrayLike, waveform: NDArray[np.float32]
) -> Resynthesis:
    """Render an attacked clip as sound, or play its attacked waveform, and evaluate the network on it.

    Args:
        run: The model and its clips.
        clip: The clip's name.
        row: The attack's row of this clip.
        perturbation: The perturbation of that row: (313, 149), in deviations, or (samples,).
        waveform: The clip's recording, (samples,), as `load_audio` gives it.

    Raises:
        DataError: The waveform is not the clip's recording, or the perturbation has another shape.
        CheckpointError: The row's predictions are not those of this model.
    """
    inputs, prepared, subject = run.recogniser.inputs, run.material.prepared, _subject(run, clip)
    (place,) = prepared.places((clip,))
    frames = [len(spectrogram) for spectrogram in prepared.spectrograms]
    first = fixed_starts(frames)[place]
    if inputs.is_sound:
        return play_attack(subject, row, perturbation, waveform, inputs.start(first, len(waveform)))
    if frame_count(len(waveform)) != frames[place]:
        raise DataError(
            f"clip {clip} has {counted(frames[place], 'frame')}, the waveform {frame_count(len(waveform))}. Give "
            "the clip's own recording, as load_audio reads it."
        )
    return render_attack(subject, row, perturbation, waveform, prepared.spectrograms[place], first)


@dataclasses.dataclass(frozen=True)
class ResynthesisSubject:
    """Whose prediction for which recording was attacked.

    Attributes:
        recogniser: The model.
        run: Name of the run or model.
        folder: Its folder, for messages.
        clip: Name of the recording.
        annotations: ``emotions`` and ``concepts`` -> their ratings, where there are any.
    """

    recogniser: Recogniser
    run: str
    folder: Path
    clip: str
    annotations: Mapping[str, list[float]] = dataclasses.field(default_factory=dict)


def _subject(run: OpenedRun, clip: str) -> ResynthesisSubject:
    """A clip of a run, with its ratings of what the model predicts."""
    index = run.material.prepared.index
    (place,) = run.material.prepared.places((clip,))
    rated = {"emotions": index.labels, "concepts": index.concept_labels if run.has_concept_ratings else None}
    annotations = {kind: labels[place].tolist() for kind, labels in rated.items() if labels is not None}
    return ResynthesisSubject(run.recogniser, run.name, run.folder, clip, annotations)


def render_attack(
    subject: ResynthesisSubject,
    row: pd.Series[Any],
    perturbation: ArrayLike,
    waveform: NDArray[np.float32],
    spectrogram: Spectrogram,
    first: int,
) -> Resynthesis:
    """Render an attacked excerpt as sound and evaluate the network on it, see `resynthesise`.

    Args:
        subject: Whose prediction was attacked.
        row: The attack's row.
        perturbation: (313, 149), in deviations.
        waveform: The recording, (samples,).
        spectrogram: Its log spectrogram, (frames, 149).
        first: First frame of the excerpt.
    """
    inputs: Any = subject.recogniser.inputs
    normalise, clean = inputs.normalisation, cut(spectrogram, first)
    delta = _fitting(perturbation, subject.clip, clean)
    attacked = clean + delta * np.float32(normalise.deviation)
    rendered, sound = _through_sound(waveform, _pieces(len(spectrogram), first), attacked, clean)
    states = np.stack([normalise(state) for state in (clean, attacked, *rendered)])
    return Resynthesis(
        **_judgement(subject, row, torch.from_numpy(states)[:, None]),
        attack=_about(row, delta),
        start_seconds=float(frame_starts(first, 1)[0]) / SAMPLE_RATE,
        band_hz=tuple(band_centres().tolist()),
        clean=clean,
        attacked=attacked,
        perturbation=delta,
        **sound,
    )


def play_attack(
    subject: ResynthesisSubject,
    row: pd.Series[Any],
    perturbation: ArrayLike,
    waveform: NDArray[np.float32],
    start: int,
) -> Resynthesis:
    """The same for a network that takes waveforms: its attacked window, which begins at a sample, is the sound."""
    inputs = subject.recogniser.inputs
    clean = inputs.cut(waveform, start)
    delta = _fitting(perturbation, subject.clip, clean)
    attacked = clean + delta
    (before, after), gain = to_16_bit(clean, attacked)
    played = [(samples / (FULL_SCALE * gain)).astype(np.float32) for samples in (after, before)]
    pictures = [_whole_frames(sound, inputs.sample_rate) for sound in (clean, attacked)]
    return Resynthesis(
        **_judgement(subject, row, torch.from_numpy(np.stack([clean, attacked, *played]))),
        attack=_about(row, delta),
        start_seconds=start / inputs.sample_rate,
        snr_db=snr_db(before, after),
        gain=gain,
        residual=0.0,
        iterations=0,
        band_hz=tuple(band_centres().tolist()),
        clean=pictures[0],
        attacked=pictures[1],
        perturbation=pictures[1] - pictures[0],
        samples_before=before,
        samples_after=after,
        **audibility(clean, attacked, inputs.sample_rate),
        sample_rate=inputs.sample_rate,
        unit="log10",
    )


def _whole_frames(sound: NDArray[np.float32], rate: int) -> Spectrogram:
    """The log spectrogram of a sound, as far as it fills frames."""
    samples = resample(sound, rate).astype(np.float32)
    return log_spectrogram(samples)[: max(1, math.ceil((len(samples) - FRAME_SIZE + 1) / HOP))]


def _fitting(perturbation: ArrayLike, clip: str, clean: NDArray[np.float32]) -> NDArray[np.float32]:
    """A perturbation as an array. Raises `DataError` where its shape is not that of the clip's input."""
    delta = np.asarray(perturbation, np.float32)
    if delta.shape != clean.shape:
        raise DataError(f"the perturbation of clip {clip} has shape {delta.shape}; it must be {clean.shape}.")
    return delta


def mean_survival(resyntheses: Iterable[Resynthesis]) -> dict[str, float | int]:
    """Average the share of an attack's effect that remains in sound over several clips.

    Returns:
        ``mean`` of `Resynthesis.survival` over the clips on which the attack has an effect (NaN where there are none),
        ``clips``: how many these are, and ``without_effect``: how many others.
    """
    shares = [resynthesis.survival for resynthesis in resyntheses]
    defined_shares = [share for share in shares if share is not None]
    mean = math.fsum(defined_shares) / len(defined_shares) if defined_shares else math.nan
    return {"mean": mean, "clips": len(defined_shares), "without_effect": len(shares) - len(defined_shares)}


def _through_sound(
    waveform: NDArray[np.float32], pieces: list[Piece], *excerpts: Spectrogram
) -> tuple[list[Spectrogram], dict[str, Any]]:
    """Render excerpts, the attacked one first, as 16-bit sound; pieces are rendered separately.

    Returns:
        Log spectrograms of the sounds, (313, 149) each, and the fields of `Resynthesis` that describe the sound.
    """
    edges = np.cumsum([count for _, count in pieces])[:-1]
    renderings = [
        render(waveform, part, first)
        for excerpt in excerpts
        for part, (first, _) in zip(np.split(excerpt, edges), pieces, strict=True)
    ]
    (before, *after), gain = to_16_bit(waveform, *(rendering.waveform for rendering in renderings))
    spectrograms = [
        log_spectrogram(_as_float(samples))[first : first + count]
        for samples, (first, count) in zip(after, pieces * len(excerpts), strict=True)
    ]
    own = len(pieces)
    ranges = [reach(first, count, len(waveform)) for first, count in pieces]
    parts = [whole[samples] for whole, samples in zip(after[:own], ranges, strict=True)]
    played = np.concatenate([before[samples] for samples in ranges])[:EXCERPT_SAMPLES]
    attacked, scale = np.concatenate(parts)[:EXCERPT_SAMPLES], FULL_SCALE * gain
    joined = [np.concatenate(spectrograms[first : first + own]) for first in range(0, len(spectrograms), own)]
    return joined, {
        "snr_db": snr_db(played, attacked),
        "gain": gain,
        "residual": max(rendering.residual for rendering in renderings[:own]),
        "iterations": max(rendering.iterations for rendering in renderings[:own]),
        "samples_before": played,
        "samples_after": attacked,
        **audibility(played / scale, attacked / scale, SAMPLE_RATE),
    }


def _as_float(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """A rendered recording as `load_audio` reads it from a file: scaled to its own peak, so that a change of the peak
    counts; not trimmed, so that frames stay where they are."""
    if not samples.any():
        return np.zeros(len(samples), np.float32)
    return (full_scale(samples / 2**15, "the rendered sound") / FULL_SCALE).astype(np.float32)


def _pieces(frames: int, first: int) -> list[Piece]:
    """The pieces an excerpt consists of: one, or of a recording that is too short its repetitions.

    >>> _pieces(400, 20), _pieces(150, 0)
    ([(20, 313)], [(0, 150), (0, 150), (0, 13)])
    """
    if frames >= EXCERPT_FRAMES:
        return [(first, EXCERPT_FRAMES)]
    return [(0, min(frames, EXCERPT_FRAMES - begin)) for begin in range(0, EXCERPT_FRAMES, frames)]


def _judgement(subject: ResynthesisSubject, row: pd.Series[Any], states: Tensor) -> dict[str, Any]:
    """The fields that say what was judged, and how: predictions for the four states (4, ...).

    Raises:
        CheckpointError: The row's predictions are not those of this model.
    """
    recogniser = subject.recogniser
    judged = predict(recogniser.network, states)
    _check_predictions(subject, row, judged.emotions)
    fields: dict[str, Any] = {
        "run": subject.run,
        "system": recogniser.system,
        "clip": subject.clip,
        "concepts": None,
    }
    for kind, values, names in (
        ("emotions", judged.emotions, recogniser.emotions),
        ("concepts", judged.concepts, recogniser.concepts),
    ):
        if values is not None:
            lines = {"annotation": subject.annotations[kind]} if kind in subject.annotations else {}
            lines |= dict(zip(STATES, values.tolist(), strict=True))
            fields[kind] = {state: dict(zip(names, line, strict=True)) for state, line in lines.items()}
    return fields | _effects(judged.emotions.double().numpy())


def _effects(emotions: Values) -> dict[str, Any]:
    """The fields ``effect`` and ``survival`` of predictions (states, emotions)."""
    change = emotions[1:] - emotions[0]
    sizes = np.linalg.norm(change, axis=1)
    survival = None
    if sizes[0] >= SMALLEST_EFFECT:
        survival = float(change[1] @ change[0] / (change[0] @ change[0]))
    return {"effect": dict(zip(STATES[1:], sizes.tolist(), strict=True)), "survival": survival}


def _about(row: pd.Series[Any], delta: Spectrogram) -> dict[str, Any]:
    """The field ``attack``."""
    epsilon = float(row["epsilon"])
    return {
        **{name: str(row[name]) for name in ("protocol", "attack", "objective", "norm")},
        "epsilon": epsilon if math.isfinite(epsilon) else None,
        "l2": float(np.linalg.norm(delta.astype(np.float64))),
        "linf": float(np.abs(delta).max()),
    }


def _check_predictions(subject: ResynthesisSubject, row: pd.Series[Any], emotions: Tensor) -> None:
    """Raises `CheckpointError` where a row's predictions are not those of this model for these excerpts."""
    for kind, prediction in zip(("clean", "adversarial"), emotions.numpy(), strict=False):
        then = np.array([float(row[f"{kind}_{name}"]) for name in subject.recogniser.emotions])
        difference = np.abs(then - prediction).max()
        if not difference <= RECOMPUTED_AGREEMENT:
            raise CheckpointError(
                f"{subject.folder}: clip {row['clip']} was attacked with other weights or another perturbation, or the "
                f"model does not repeat its predictions ({kind} ones differ by {difference:.3g}). Where `tenuto audit` "
                f"passes the check repeatable, delete attacks/{row['protocol']}.* and attack the run again."
            )
