"""Checkpoints that carry everything needed to predict from an audio file."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenuto.audio import LogSpectrogram, load_audio
from tenuto.audio.spectrogram import SETTINGS
from tenuto.config import RunConfig, preset_run, to_yaml
from tenuto.data.excerpts import EXCERPT_FRAMES, PAPER_NORMALISATION, Normalisation, excerpts
from tenuto.data.midlevel import CONCEPTS
from tenuto.data.soundtracks import EMOTIONS
from tenuto.errors import CheckpointError, FileError
from tenuto.files import read_safetensors, sha256_file, write_safetensors, write_text
from tenuto.models.heads import Prediction
from tenuto.models.systems import Network, load_reference_state
from tenuto.store.run import RunFolder, check_readable, is_file

FORMAT = "tenuto-checkpoint-1"
IMPORTED = "imported"
"""Fingerprint of a model whose training data nobody recorded."""


@dataclasses.dataclass(frozen=True)
class Profile:
    """What a model says of one recording: a value per emotion and, with a bottleneck, per concept."""

    emotions: dict[str, float]
    concepts: dict[str, float] | None


@dataclasses.dataclass(frozen=True)
class Recogniser:
    """A network with its front end, normalisation and names: enough to predict from a recording."""

    network: Network = dataclasses.field(repr=False)
    system: str
    emotions: tuple[str, ...]
    concepts: tuple[str, ...]
    normalisation: Normalisation
    fingerprint: str
    width: float
    path: Path | None = dataclasses.field(default=None, compare=False)
    """The checkpoint file it was read from."""

    def __call__(self, inputs: Tensor) -> Prediction:
        """Predict normalised excerpts of shape (clips, 1, 313, 149)."""
        prediction: Prediction = self.network(inputs)
        return prediction

    def predict(self, source: str | Path | NDArray[np.float32]) -> Profile:
        """Predict a recording of any length.

        Args:
            source: A file, or a waveform of shape (samples,) at 22 050 Hz.

        Returns:
            The mean over consecutive windows of 10 s, the last one ending with the recording.

        Raises:
            AudioError: The recording cannot be used.
        """
        waveform = load_audio(source) if isinstance(source, str | Path) else np.asarray(source, np.float32)
        with torch.inference_mode():
            spectrogram = LogSpectrogram()(torch.from_numpy(waveform)).numpy()
            starts = window_starts(len(spectrogram))
            inputs = excerpts([spectrogram] * len(starts), starts, self.normalisation)
            prediction = self(torch.from_numpy(inputs))
        emotions = prediction.emotions.mean(0).tolist()
        named = dict(zip(self.emotions, emotions, strict=True))
        if prediction.concepts is None:
            return Profile(named, None)
        return Profile(named, dict(zip(self.concepts, prediction.concepts.mean(0).tolist(), strict=True)))


def window_starts(frames: int) -> list[int]:
    """First frames of the fewest 10 s windows that cover ``frames`` frames, evenly laid.

    >>> window_starts(700)
    [0, 193, 387]
    """
    last = max(0, frames - EXCERPT_FRAMES)
    count = math.ceil(last / EXCERPT_FRAMES) + 1
    return [int(start) for start in np.linspace(0, last, count)]


def save(path: Path, recogniser: Recogniser, notes: Mapping[str, Any]) -> None:
    """Write weights and everything needed to rebuild them into one safetensors file, atomically."""
    network = recogniser.network
    metadata = {
        "format": FORMAT,
        "system": recogniser.system,
        "network": network.network,
        "width": recogniser.width,
        "emotions": recogniser.emotions,
        "concepts": recogniser.concepts,
        "spectrogram": SETTINGS,
        "normalisation": dataclasses.asdict(recogniser.normalisation),
        "fingerprint": recogniser.fingerprint,
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        **notes,
    }
    weights = {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}
    write_safetensors(path, weights, {"tenuto": json.dumps(metadata)})


def load(run_or_checkpoint: str | Path) -> Recogniser:
    """Rebuild a trained model from a run folder or a checkpoint file.

    Raises:
        CheckpointError: Missing, cut off, not written by Tenuto, or made for another front end.
        FileError: The file cannot be read, for example without permission.
    """
    path = Path(run_or_checkpoint)
    if path.is_dir():
        path = RunFolder(path).checkpoint
    if not is_file(path):
        raise CheckpointError(f"{path}: no such checkpoint. Train a run first, or name its folder.")
    check_readable(path)
    try:
        arrays, metadata = read_safetensors(path)
        return dataclasses.replace(_rebuild(arrays, json.loads(metadata["tenuto"])), path=path)
    except FileError as error:
        raise CheckpointError(
            f"{path}: damaged ({error}) Train the run again or copy the file anew."
        ) from error
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: not a Tenuto checkpoint ({type(error).__name__}: {_brief(error)})."
        ) from error


def _rebuild(arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> Recogniser:
    if about["format"] != FORMAT:
        raise ValueError(f"format {about['format']}, wanted {FORMAT}")
    if about["spectrogram"] != SETTINGS:
        raise ValueError("trained on another kind of spectrogram")
    emotions, concepts = tuple(about["emotions"]), tuple(about["concepts"])
    network = Network(about["network"], len(emotions), len(concepts) or 7, float(about["width"]))
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
    network.eval()
    return Recogniser(
        network=network,
        system=about["system"],
        emotions=emotions,
        concepts=concepts,
        normalisation=Normalisation(**about["normalisation"]),
        fingerprint=about["fingerprint"],
        width=float(about["width"]),
    )


def import_run(path: str | Path, system: str, seed: int, runs: Path) -> Path:
    """Make a run folder of a released-style ``.pt`` file; weights only, nothing in the file is executed.

    The folder is named after the file's content, so other weights can never meet rows of these.

    The file records neither names nor normalisation, so those of the study are written down with it.

    Args:
        path: The state dictionary.
        system: One of the study's systems.
        seed: The seed it was trained with.
        runs: Folder of all runs.

    Raises:
        CheckpointError: Not such a file, or not a network of that system with eight emotions and seven units.
        ConfigError: No such system.
    """
    config = preset_run("paper-2025", system, seed)
    network = load_reference_state(path).eval()
    sizes = [head.out_features for head in network.head.children() if isinstance(head, nn.Linear)]
    wanted = [len(EMOTIONS)] if config.model.network == "a2e" else [len(CONCEPTS), len(EMOTIONS)]
    if sizes != wanted:
        raise CheckpointError(
            f"{path}: its last layers have {sizes} outputs, {system} has {wanted}. Name its system."
        )
    units = unit_names(config, CONCEPTS)
    width = network.backbone.features / 256
    recogniser = Recogniser(network, system, EMOTIONS, units, PAPER_NORMALISATION, IMPORTED, width)
    run = RunFolder(runs / f"{system}-{seed}-{sha256_file(path)[:8]}")
    save(run.checkpoint, recogniser, {"imported": str(Path(path).name)})
    write_text(run.config, to_yaml(config))
    return run.path


def unit_names(config: RunConfig, concepts: tuple[str, ...]) -> tuple[str, ...]:
    """What the bottleneck's units are called: concepts where they are trained as such, else unit_1 to unit_n."""
    if config.model.network == "a2e":
        return ()
    if config.train.task_loss_weight < 1:
        return concepts
    return tuple(f"unit_{number}" for number in range(1, (len(concepts) or len(CONCEPTS)) + 1))


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else ""
