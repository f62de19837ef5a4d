"""A recogniser: a network with all that is needed to predict emotions from a recording."""

from __future__ import annotations

import dataclasses
import reprlib
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from tenuto.audio import SAMPLE_RATE, load_and_describe
from tenuto.config import RunConfig
from tenuto.data.inputs import LARGEST_FLOAT, FramedWaveformInputs, Inputs, LogSpectrogramInputs
from tenuto.display import Displayed, Element
from tenuto.errors import AudioError, AudioWarning, ConfigError, one_line
from tenuto.models.heads import Prediction
from tenuto.models.sound import SoundNetwork
from tenuto.models.systems import Network

BATCH_SIZE = 8

Scale = tuple[float, float]
Pooling = Literal["mean", "median"]


@dataclasses.dataclass(frozen=True, repr=False)
class Profile(Displayed):
    """Prediction for one recording: a value per emotion and, with a bottleneck, per concept."""

    emotions: dict[str, float]
    concepts: dict[str, float] | None

    def _elements(self) -> list[Element]:
        import pandas as pd

        names = {"emotion": self.emotions} | ({} if self.concepts is None else {"concept": self.concepts})
        return [pd.DataFrame(values.items(), columns=[kind, "value"]) for kind, values in names.items()]


@dataclasses.dataclass(frozen=True)
class Recogniser:
    """A network with what it takes, and the names and scale of what it predicts.

    Attributes:
        network: The network, in evaluation mode.
        system: Name of the system it is.
        emotions: Names of the emotions.
        concepts: Names of the units of the bottleneck; empty without one.
        inputs: What the network takes.
        fingerprint: Identity of the data it was trained on.
        width: Factor on the number of channels.
        scale: Lowest and highest rating that its predictions mean; None where they are those of its data.
        pooling: How predictions for several windows of a recording become one: ``mean`` or ``median``.
        path: The checkpoint file it was read from.
        settings: The run it was trained or adopted in; None where its checkpoint does not record them.
    """

    network: Network = dataclasses.field(repr=False)
    system: str
    emotions: tuple[str, ...]
    concepts: tuple[str, ...]
    inputs: Inputs
    fingerprint: str
    width: float = 1.0
    scale: Scale | None = None
    pooling: Pooling = "mean"
    path: Path | None = dataclasses.field(default=None, compare=False)
    settings: RunConfig | None = dataclasses.field(default=None, compare=False, repr=False)

    def __call__(self, inputs: Tensor) -> Prediction:
        """Predict inputs (clips, ...) such as normalised excerpts of shape (clips, 1, 313, 149)."""
        prediction: Prediction = self.network(inputs)
        return prediction

    def predict(self, source: str | Path | ArrayLike) -> Profile:
        """Predict a recording of any length.

        Args:
            source: A file, or a waveform of shape (samples,) at the sample rate of `inputs`, 22 050 Hz for a network
                of Tenuto, and with peak 1, as `tenuto.audio.load_audio` returns it.

        Returns:
            The mean (or median) over consecutive windows of 10 s, or of the model's own length; the last one ends
            with the recording. Values are on the model's own scale.

        Raises:
            AudioError: The recording cannot be used.
        """
        steps = self.inputs.steps(read_waveform(source, self.inputs.sample_rate))
        starts = self.inputs.window_starts(len(steps))
        prediction = predict(self.network, torch.from_numpy(self.inputs.windows(steps, starts)))
        emotions = dict(zip(self.emotions, self.pooled(prediction.emotions).tolist(), strict=True))
        if prediction.concepts is None:
            return Profile(emotions, None)
        concepts = self.pooled(prediction.concepts).tolist()
        return Profile(emotions, dict(zip(self.concepts, concepts, strict=True)))

    def in_sound(self) -> Recogniser:
        """The same model with waveforms as its inputs, one differentiable module; itself where it takes waveforms.

        Raises:
            ConfigError: It takes features of a front end of its own, which has no gradient.
        """
        inputs = self.inputs
        if inputs.is_sound:
            return self
        if not isinstance(inputs, LogSpectrogramInputs):
            raise ConfigError(
                f"{self.system}: takes {inputs.unit}, and no gradient flows through that front end to the waveform. "
                "Attack its features: leave out the domain and budgets in dB or amplitude, or adopt front end and "
                "model as one module that takes waveforms."
            )
        network = SoundNetwork(self.network, inputs.normalisation).eval()
        return dataclasses.replace(self, network=network, inputs=FramedWaveformInputs())

    @property
    def has_gradient(self) -> bool:
        """Whether predictions have a gradient with respect to the inputs, which some attacks need."""
        return self.network.has_gradient

    def pooled(self, values: Tensor) -> Tensor:
        """Predictions for several windows (windows, outputs) as one (outputs,)."""
        return values.mean(0) if self.pooling == "mean" else values.quantile(0.5, dim=0)


def predict(network: nn.Module, inputs: Tensor, batch_size: int = BATCH_SIZE) -> Prediction:
    """Predict in evaluation mode, in batches, without gradients; the network's mode is restored.

    The network gets copies of the inputs, and its outputs are copied, so it may work in place.

    Args:
        network: Inputs to `Prediction`.
        inputs: (clips, ...), such as normalised excerpts (clips, 1, 313, 149); at least one clip.
        batch_size: Clips predicted together.
    """
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():  # in inference mode a model could not differentiate inside
            parts = [_copied(network(batch.clone())) for batch in torch.split(inputs, batch_size)]
    finally:
        network.train(was_training)
    concepts = [part.concepts for part in parts if part.concepts is not None]
    return Prediction(torch.cat([part.emotions for part in parts]), torch.cat(concepts) if concepts else None)


def _copied(prediction: Prediction) -> Prediction:
    concepts = None if prediction.concepts is None else prediction.concepts.clone()
    return Prediction(prediction.emotions.clone(), concepts)


def read_waveform(source: str | Path | ArrayLike, rate: int = SAMPLE_RATE) -> NDArray[np.float32]:
    """Return the waveform (samples,) of a file at ``rate`` Hz, or a given one after a check.

    Warns with `AudioWarning` if the recording holds next to nothing, see `tenuto.audio.RecordingDescription`.

    Raises:
        AudioError: The recording cannot be used, or the waveform is empty, not finite, has several axes or no floats.
    """
    if isinstance(source, str | Path):
        waveform, description = load_and_describe(source, rate)
        for sentence in description.warnings():
            warnings.warn(f"{source}: {sentence}. Its prediction means little.", AudioWarning, stacklevel=3)
        return waveform
    try:
        samples = np.asarray(source)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AudioError(
            f"a waveform must be an array of floats ({one_line(error)}). Give a NumPy array."
        ) from error
    if samples.dtype.kind not in "biufc":
        raise AudioError(f"expected one audio file or a waveform, got {one_line(reprlib.repr(source), 80)}.")
    if samples.dtype.kind != "f":
        raise AudioError(
            f"a waveform must have floats between -1 and 1, got {samples.dtype}. Divide whole numbers by their full "
            "scale, such as 32 768 for int16."
        )
    if samples.ndim != 1 or samples.size == 0 or not (np.abs(samples) <= LARGEST_FLOAT).all():
        raise AudioError(
            f"a waveform must have the shape (samples,) and finite values, got the shape {samples.shape}. "
            f"Mix it down to mono at {rate:_} Hz.".replace("_", " ")
        )
    return samples.astype(np.float32, copy=False)
