"""How much of an attack on a waveform survives in a file: in 16 bits, and as mp3.

The attacked excerpt is put back into its recording, the recording is written to a file and read as `Recogniser.predict`
reads it: rounded to 16 bits, scaled to its own peak, silence cut off at its ends. The same excerpt is then predicted.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tenuto.audio import mp3
from tenuto.audio.inversion import encode, to_16_bit
from tenuto.audio.loading import FULL_SCALE, load_and_describe
from tenuto.audio.perceptual import is_installed, opinion_score
from tenuto.data.inputs import Inputs
from tenuto.evaluation.resynthesis import SMALLEST_EFFECT
from tenuto.models.recogniser import predict
from tenuto.models.systems import Network

Waveform = NDArray[np.float32]
Coder = Callable[[NDArray[np.int16], int], bytes]

MP3_KILOBITS = 128


def _mp3(samples: NDArray[np.int16], rate: int) -> bytes:
    values = (samples / FULL_SCALE).astype(np.float32)[:, None]
    return mp3.encode(values, rate, MP3_KILOBITS, "the attacked recording")


CODERS: dict[str, tuple[str, Coder]] = {
    "survives_16_bit": ("wav", lambda samples, rate: encode(samples, "wav", rate)),
    "survives_mp3": ("mp3", _mp3),
}
"""Column of the rows -> kind of file, and its content for 16-bit samples at a sample rate."""


def surviving_shares(
    network: Network, inputs: Inputs, recording: Waveform, start: int, perturbation: Waveform
) -> dict[str, float]:
    """Share of the effect of a perturbation that remains in files of its recording.

    Args:
        network: The attacked network, on any device.
        inputs: What it takes: waveforms.
        recording: (samples,), as `load_audio` reads it.
        start: First sample of the excerpt.
        perturbation: (window,), added to the excerpt.

    Returns:
        Column of the rows -> change of the emotions in the file, projected on their change under attack, over the
        latter. 1 is all of it, 0 none, negative the opposite; NaN where the attack has no effect.
    """
    window = inputs.cut(recording, start)
    attacked = window + perturbation
    whole = put_back(recording, start, attacked)
    (samples,), _ = to_16_bit(whole)
    from_files = [
        _read_back(coder(samples, inputs.sample_rate), kind, inputs, start) for kind, coder in CODERS.values()
    ]
    excerpts = torch.from_numpy(np.stack([window, attacked, *from_files]))
    device = next(network.parameters(), excerpts).device
    emotions = predict(network, excerpts.to(device)).emotions.cpu().double().numpy()
    effect, *changes = emotions[1:] - emotions[0]
    size = float(effect @ effect)
    is_defined = math.sqrt(size) >= SMALLEST_EFFECT
    return {
        name: float(change @ effect) / size if is_defined else math.nan
        for name, change in zip(CODERS, changes, strict=True)
    }


def of_saved(
    network: Network, inputs: Inputs, recording: Waveform, start: int, perturbation: Waveform
) -> dict[str, float]:
    """The columns of a row whose perturbation is saved: `surviving_shares` and the perceptual score.

    Arguments are those of `surviving_shares`. The score is missing where it is not installed.
    """
    columns = surviving_shares(network, inputs, recording, start, perturbation)
    if is_installed():
        window = inputs.cut(recording, start)
        columns["perceptual"] = opinion_score(window, window + perturbation, inputs.sample_rate)
    return columns


def put_back(recording: Waveform, start: int, excerpt: Waveform) -> Waveform:
    """A recording (samples,) with another excerpt; it becomes longer where the excerpt ends behind it.

    A recording that a network sees repeated, because it is shorter than a window, is replaced by the excerpt.
    """
    whole = np.zeros(max(len(recording), start + len(excerpt)), np.float32)
    whole[: len(recording)] = recording
    whole[start : start + len(excerpt)] = excerpt
    return whole


def _read_back(content: bytes, kind: str, inputs: Inputs, start: int) -> Waveform:
    """The excerpt at a sample of a recording that was written to a file; cut off silence is silence again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"attacked.{kind}"
        path.write_bytes(content)
        waveform, description = load_and_describe(path, inputs.sample_rate)
    whole = np.pad(waveform, (description.silent_samples, start + inputs.window))
    return whole[start : start + inputs.window]
