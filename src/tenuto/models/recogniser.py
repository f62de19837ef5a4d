"""A recogniser: a network with all that is needed to predict emotions from a recording."""

from __future__ import annotations

import dataclasses
import math
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from tenuto.audio import load_and_describe
from tenuto.audio.spectrogram import log_spectrogram
from tenuto.data.excerpts import EXCERPT_FRAMES, Normalisation, excerpts
from tenuto.errors import AudioError, AudioWarning
from tenuto.models.heads import Prediction
from tenuto.models.systems import Network

BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class Profile:
    """Prediction for one recording: a value per emotion and, with a bottleneck, per concept."""

    emotions: dict[str, float]
    concepts: dict[str, float] | None


@dataclasses.dataclass(frozen=True)
class Recogniser:
    """A network with its normalisation and names.

    Attributes:
        network: The network, in evaluation mode.
        system: Name of the system it is.
        emotions: Names of the emotions.
        concepts: Names of the units of the bottleneck; empty without one.
        normalisation: What was done to the spectrograms it was trained on.
        fingerprint: Identity of the data it was trained on.
        width: Factor on the number of channels.
        path: The checkpoint file it was read from.
    """

    network: Network = dataclasses.field(repr=False)
    system: str
    emotions: tuple[str, ...]
    concepts: tuple[str, ...]
    normalisation: Normalisation
    fingerprint: str
    width: float
    path: Path | None = dataclasses.field(default=None, compare=False)

    def __call__(self, inputs: Tensor) -> Prediction:
        """Predict normalised excerpts of shape (clips, 1, 313, 149)."""
        prediction: Prediction = self.network(inputs)
        return prediction

    def predict(self, source: str | Path | ArrayLike) -> Profile:
        """Predict a recording of any length.

        Args:
            source: A file, or a waveform of shape (samples,) at 22 050 Hz.

        Returns:
            The mean over consecutive windows of 10 s; the last one ends with the recording.

        Raises:
            AudioError: The recording cannot be used.
        """
        spectrogram = log_spectrogram(read_waveform(source))
        starts = window_starts(len(spectrogram))
        inputs = excerpts([spectrogram] * len(starts), starts, self.normalisation)
        prediction = predict(self.network, torch.from_numpy(inputs))
        emotions = dict(zip(self.emotions, prediction.emotions.mean(0).tolist(), strict=True))
        if prediction.concepts is None:
            return Profile(emotions, None)
        return Profile(emotions, dict(zip(self.concepts, prediction.concepts.mean(0).tolist(), strict=True)))


def predict(network: nn.Module, inputs: Tensor, batch_size: int = BATCH_SIZE) -> Prediction:
    """Predict in evaluation mode, in batches, without gradients; the network's mode is restored.

    The network gets copies of the inputs, and its outputs are copied, so it may work in place.

    Args:
        network: Excerpts to `Prediction`.
        inputs: (clips, 1, 313, 149), normalised; at least one clip.
        batch_size: Clips predicted together.
    """
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            parts = [_copied(network(batch.clone())) for batch in torch.split(inputs, batch_size)]
    finally:
        network.train(was_training)
    concepts = [part.concepts for part in parts if part.concepts is not None]
    return Prediction(torch.cat([part.emotions for part in parts]), torch.cat(concepts) if concepts else None)


def _copied(prediction: Prediction) -> Prediction:
    concepts = None if prediction.concepts is None else prediction.concepts.clone()
    return Prediction(prediction.emotions.clone(), concepts)


def read_waveform(source: str | Path | ArrayLike) -> NDArray[np.float32]:
    """Return the waveform (samples,) of a file, or a given one after a check.

    Warns with `AudioWarning` if the recording holds next to nothing, see `tenuto.audio.Description`.

    Raises:
        AudioError: The recording cannot be used, or the waveform is empty, not finite, or has several axes.
    """
    if isinstance(source, str | Path):
        waveform, description = load_and_describe(source)
        for sentence in description.warnings():
            warnings.warn(f"{source}: {sentence}. Its prediction means little.", AudioWarning, stacklevel=3)
        return waveform
    waveform = np.asarray(source, np.float32)
    if waveform.ndim != 1 or waveform.size == 0 or not np.isfinite(waveform).all():
        raise AudioError(
            f"a waveform must have the shape (samples,) and finite values, got the shape {waveform.shape}. "
            "Mix it down to mono at 22 050 Hz."
        )
    return waveform


def window_starts(frames: int) -> list[int]:
    """First frames of the fewest 10 s windows that cover ``frames`` frames, evenly spaced.

    >>> window_starts(700)
    [0, 193, 387]
    """
    last = max(0, frames - EXCERPT_FRAMES)
    count = math.ceil(last / EXCERPT_FRAMES) + 1
    return [int(start) for start in np.linspace(0, last, count)]
