"""Recognisers for other programs: from the waveform to the predictions in one module, as ONNX or TorchScript.

The log spectrogram is computed by matrix products, since ONNX has complex numbers only in its latest versions.
"""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tenuto.audio.spectrogram import FRAME_SIZE, filterbank, frame_starts
from tenuto.data.excerpts import EXCERPT_FRAMES, Normalisation
from tenuto.data.inputs import Inputs, LogSpectrogramInputs
from tenuto.errors import ModelError, one_line
from tenuto.models.foreign.adopted import Adopted, quiet
from tenuto.models.recogniser import Recogniser
from tenuto.models.systems import Network

SECONDS = 10
OPSET = 18
SMALLEST_POWER = 1e-24
"""Below it the square root has no useful gradient."""

INSTALL_ONNXSCRIPT = 'ONNX needs the packages onnx and onnxscript. Install them: pip install "tenuto[onnx]".'


class ExcerptSpectrogram(nn.Module):
    """Normalised log spectrograms of ten seconds of sound, equal to those of `tenuto.audio.LogSpectrogram`.

    Shape:
        - input: (windows, 220500), 22 050 Hz, peak 1
        - output: (windows, 1, 313, 149)
    """

    places: Tensor
    transform: Tensor
    filters: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        starts = frame_starts(0, EXCERPT_FRAMES)
        places = torch.from_numpy(starts[:, None] + np.arange(FRAME_SIZE))
        bins = FRAME_SIZE // 2
        angle = 2 * math.pi / FRAME_SIZE * (np.outer(np.arange(FRAME_SIZE), np.arange(bins)) % FRAME_SIZE)
        window = np.hanning(FRAME_SIZE)[:, None]
        transform = np.hstack([window * np.cos(angle), -window * np.sin(angle)])
        self.register_buffer("places", places.flatten())
        self.register_buffer("transform", torch.from_numpy(transform.astype(np.float32)))
        self.register_buffer("filters", torch.from_numpy(filterbank().astype(np.float32)))
        self.padding = int(starts[-1]) + FRAME_SIZE
        self.normalisation = normalisation

    def forward(self, waveform: Tensor) -> Tensor:
        """The normalised log spectrograms."""
        padded = nn.functional.pad(waveform, (0, self.padding - waveform.shape[1]))
        # Selected in a flat list: indices of two axes become an ONNX operator that few programs know.
        frames = padded.index_select(1, self.places).reshape(-1, EXCERPT_FRAMES, FRAME_SIZE)
        real, imaginary = (frames @ self.transform).chunk(2, dim=-1)
        magnitude = (real.square() + imaginary.square()).clamp_min(SMALLEST_POWER).sqrt()
        log = torch.log(1 + magnitude @ self.filters) / math.log(10)
        return ((log - self.normalisation.mean) / self.normalisation.deviation)[:, None]


class Portable(nn.Module):
    """Windows of a waveform to predictions: the front end and the network of a recogniser.

    Shape:
        - input: (windows, samples), see `about`; as many windows as a network takes that takes a fixed number
        - output: emotions (windows, emotions), and with a bottleneck concepts (windows, concepts)
    """

    def __init__(self, recogniser: Recogniser) -> None:
        super().__init__()
        self.front_end = _front_end(recogniser.inputs)
        self.network: Network = recogniser.network
        self.has_concepts = bool(recogniser.concepts)

    def forward(self, waveform: Tensor) -> Any:
        """Predict windows."""
        prediction = self.network(self.front_end(waveform))
        return (prediction.emotions, prediction.concepts) if self.has_concepts else prediction.emotions


def _front_end(inputs: Inputs) -> nn.Module:
    if isinstance(inputs, LogSpectrogramInputs):
        return ExcerptSpectrogram(inputs.normalisation)
    if inputs.is_sound:
        return nn.Identity()
    raise ModelError(
        f"takes {inputs.name} of a front end in Python, which cannot be part of such a file. Models that take "
        "waveforms or log spectrograms can be exported."
    )


def about(recogniser: Recogniser) -> dict[str, Any]:
    """What a program needs to know to use the module, also stored in the file."""
    inputs = recogniser.inputs
    samples = SECONDS * inputs.sample_rate if isinstance(inputs, LogSpectrogramInputs) else inputs.window
    return {
        "system": recogniser.system,
        "input": "waveform (windows, samples), mono, largest absolute sample 1, no silence at the ends",
        "sample_rate": inputs.sample_rate,
        "samples": samples,
        **({} if (windows := _fixed_windows(recogniser.network)) is None else {"windows": windows}),
        "emotions": list(recogniser.emotions),
        "concepts": list(recogniser.concepts),
        "scale": recogniser.scale,
        "pooling": recogniser.pooling,
    }


def _fixed_windows(network: Network) -> int | None:
    """How many windows a model from elsewhere takes at a time; None: any number."""
    return next((part.batch for part in network.modules() if isinstance(part, Adopted)), None)


def to_torchscript(recogniser: Recogniser) -> bytes:
    """The content of a TorchScript file; what `about` says is its extra file ``tenuto.json``. Raises `ModelError`."""
    module, example = _traceable(recogniser)
    content = io.BytesIO()
    try:
        with quiet(), torch.no_grad():
            traced: Any = torch.jit.trace(module, example)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, content, _extra_files={"tenuto.json": json.dumps(about(recogniser))})
    except Exception as error:  # a model from elsewhere can fail in any way
        raise _failure(error) from error
    return content.getvalue()


def to_onnx(recogniser: Recogniser) -> bytes:
    """The content of an ONNX file; what `about` says is its metadata ``tenuto``.

    Raises:
        ModelError: The packages are not installed, or the model cannot be converted.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ModelError(INSTALL_ONNXSCRIPT) from error
    module, example = _traceable(recogniser)
    names = ["emotions", "concepts"][: 1 + bool(recogniser.concepts)]
    try:
        with quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["waveform"],
                output_names=names,
                dynamic_shapes=None
                if _fixed_windows(recogniser.network)
                else ({0: torch.export.Dim("windows")},),
                verbose=False,
            )
        model = program.model_proto
    except Exception as error:  # a model from elsewhere can fail in any way
        raise _failure(error) from error
    onnx.helper.set_model_props(model, {"tenuto": json.dumps(about(recogniser))})
    content: bytes = model.SerializeToString()
    return content


def _traceable(recogniser: Recogniser) -> tuple[Portable, Tensor]:
    """The module, and different windows on which it is tried. Raises `ModelError` for a black box."""
    if not recogniser.has_gradient:
        raise ModelError("is a black box, which cannot be converted. Use the file it was adopted from.")
    generator = torch.Generator().manual_seed(0)
    windows = _fixed_windows(recogniser.network) or 2
    example = torch.rand(windows, about(recogniser)["samples"], generator=generator) - 0.5
    return Portable(recogniser).eval(), example


def _failure(error: Exception) -> ModelError:
    return ModelError(f"cannot be converted ({type(error).__name__}: {one_line(error)}).")
