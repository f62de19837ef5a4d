"""Recognisers of models from elsewhere: opened, described, and opened again from a run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tenuto.attacks.calling import Evaluator
from tenuto.config import AdoptedConfig, AdoptedModel
from tenuto.data.excerpts import Normalisation
from tenuto.data.inputs import FeatureInputs, Inputs, LogSpectrogramInputs, WaveformInputs
from tenuto.errors import CheckpointError, FileError
from tenuto.models.foreign import ForeignModel, identify, import_named, open_foreign
from tenuto.models.foreign.trust import check_trust, moved_to
from tenuto.models.heads import Prediction
from tenuto.models.recogniser import Recogniser
from tenuto.models.systems import Network
from tenuto.store.run import SUFFIXES

Model = str | Path | nn.Module | Callable[..., Any]
FrontEnd = str | Callable[..., Any]


EXAMPLES = 3


class AdoptedNetwork(Network):
    """A model from elsewhere as a network: emotions, then concepts where it has some.

    Args:
        module: Inputs (clips, ...) to (clips, outputs).
        emotions: Number of emotions.
        has_gradient: Whether a gradient flows through it.
    """

    name = "adopted"

    def __init__(self, module: nn.Module, emotions: int, has_gradient: bool) -> None:
        super().__init__(emotions, 0, 1.0)
        self.module, self.emotions, self.has_gradient = module, emotions, has_gradient

    def forward(self, excerpts: Tensor) -> Prediction:
        """Predict inputs (clips, ...)."""
        outputs = self.module(excerpts)
        concepts = outputs[:, self.emotions :]
        return Prediction(outputs[:, : self.emotions], concepts if concepts.shape[1] else None)


def inputs_of(
    about: AdoptedModel,
    normalisation: Normalisation | None = None,
    front_end: FrontEnd | None = None,
    trust: bool = False,
) -> Inputs:
    """What a model from elsewhere takes.

    Raises:
        TrustError: The front end was not named on this machine.
        ModelError: There is no such front end, or its import fails.
    """
    if about.takes == "log-spectrogram":
        assert normalisation is not None
        return LogSpectrogramInputs(normalisation)
    if about.takes == "waveform":
        return WaveformInputs(about.sample_rate, about.seconds)
    assert front_end is not None
    function = import_named(front_end, trust=trust) if isinstance(front_end, str) else front_end
    return FeatureInputs(about.sample_rate, about.seconds, identify(front_end).source, function)


def example_of(inputs: Inputs) -> Tensor:
    """Three windows of seeded noise as inputs (3, ...), on which a model is tried."""
    chance = np.random.default_rng(0)
    window = round(inputs.window / inputs.steps_per_second * inputs.sample_rate)
    waveform = chance.uniform(-0.5, 0.5, EXAMPLES * window + inputs.sample_rate).astype(np.float32)
    steps = inputs.steps(waveform)
    starts = [place * inputs.window for place in range(EXAMPLES)]
    return torch.from_numpy(np.array(inputs.windows(steps, starts)))


def open_model(model: Model, config: AdoptedConfig, inputs: Inputs, trust: bool) -> ForeignModel:
    """Open a model with as many outputs as are named. Raises `ModelError`, `TrustError` or `FileError`."""
    outputs = len(config.emotions) + len(config.concepts)
    return open_foreign(model, example=example_of(inputs), output=config.output, outputs=outputs, trust=trust)


def warn_if_random(network: Network, inputs: Inputs, emotions: int) -> None:
    """Warn with `RandomModelWarning` where the network predicts one input in several ways."""
    example, evaluate = example_of(inputs), Evaluator(network)
    with torch.no_grad():
        for _ in range(2):
            evaluate(example, torch.empty(EXAMPLES, emotions))


def recogniser_of(
    foreign: ForeignModel, config: AdoptedConfig, inputs: Inputs, system: str, fingerprint: str
) -> Recogniser:
    """The recogniser of an opened model."""
    network = AdoptedNetwork(foreign.module, len(config.emotions), config.differentiable)
    return Recogniser(
        network=network.eval().requires_grad_(False),
        system=system,
        emotions=config.emotions,
        concepts=config.concepts,
        inputs=inputs,
        fingerprint=fingerprint,
        scale=config.scale,
        pooling=config.pooling,
    )


def reopen(
    config: AdoptedConfig,
    about: dict[str, Any],
    stored_model: Path,
    model: Model | None = None,
    front_end: FrontEnd | None = None,
    trust: bool = False,
) -> Recogniser:
    """Open an adopted model again, exactly the one that was adopted.

    Args:
        config: Its description.
        about: ``system``, ``fingerprint`` and ``normalisation`` of the run.
        stored: The copy of the model file in the run folder, whether there is one or not.
        model: The model; needed where it was given as a Python object, and where its code has moved.
        front_end: The same for its front end.
        trust: Whether the user trusts all of its code. A part that is given above is named, and trusted, by itself.

    Raises:
        CheckpointError: Its code or its weights are not those that were adopted, or an object has to be given.
        TrustError: Its code was not named on this machine.
        ModelError: It cannot be opened.
    """
    trusts_model, trusts_front_end = trust or model is not None, trust or front_end is not None
    for parameter, source, sha256 in (parts := _parts(config, stored_model, model, front_end)):
        _check_same(parameter, source, sha256, stored_model.parent)
    model, front_end = parts[0][1], parts[1][1] if parts[1:] else None
    values = about.get("normalisation")
    normalisation = None if values is None else Normalisation(**values)
    inputs = inputs_of(config, normalisation, front_end, trusts_front_end)
    foreign = open_model(model, config, inputs, trusts_model)
    if foreign.weights_sha256 != (config.weights_sha256 or ""):
        raise CheckpointError(
            f"{config.source}: its weights are not those that were adopted ({_short(foreign.weights_sha256)}, adopted: "
            f"{_short(config.weights_sha256)}). Restore them, or adopt the model again."
        )
    return recogniser_of(foreign, config, inputs, str(about["system"]), str(about["fingerprint"]))


def trust_adopted(config: AdoptedConfig, stored_model: Path) -> None:
    """Record that the user trusts the code of an adopted model; nothing is executed. Errors as in `reopen`."""
    for parameter, source, sha256 in _parts(config, stored_model, None, None):
        _check_same(parameter, source, sha256, stored_model.parent)
        identity = identify(source)
        check_trust(identity.source_sha256, identity.source, trust=True, is_complete=False)


def _parts(
    config: AdoptedConfig, stored_model: Path, model: Model | None, front_end: FrontEnd | None
) -> list[tuple[str, Any, str | None]]:
    """The model and, where it has one, the front end: parameter, what is to be opened, and SHA-256 when adopted."""
    if model is None:
        is_stored = config.kind in SUFFIXES
        model = stored_model if is_stored else moved_to(config.source, config.source_sha256)
    parts: list[tuple[str, Any, str | None]] = [("model", model, config.source_sha256)]
    if config.front_end is not None:
        if front_end is None:
            front_end = moved_to(config.front_end, config.front_end_sha256)
        parts.append(("front_end", front_end, config.front_end_sha256))
    return parts


def _check_same(parameter: str, model: Model, sha256: str | None, folder: Path) -> None:
    """Raise `CheckpointError` where code or a file is not what was adopted, before anything is executed."""
    if isinstance(model, Path) and not model.is_file():
        raise CheckpointError(
            f"{model}: the copy of the adopted model is missing. Copy the file of the model there, or adopt it again."
        )
    if isinstance(model, str) and ":" not in model and Path(model).suffix not in SUFFIXES.values():
        raise CheckpointError(
            f"{folder}: its {parameter} is a Python object, {model}, which is not stored. Give it again: "
            f"tenuto.open_run(folder, {parameter}=...)."
        )
    try:
        identity = identify(model)
    except FileError as error:
        raise CheckpointError(
            f"{error} If the code of this run has moved, name its new place once: tenuto evaluate {folder} "
            f"`{parameter}=NEW/PLACE.py:FUNCTION`."
        ) from error
    if identity.source_sha256 != (sha256 or ""):
        raise CheckpointError(
            f"{identity.source}: has changed since {folder.name} was adopted (SHA-256 "
            f"{_short(identity.source_sha256)}, adopted: {_short(sha256)}). Restore it, or adopt the model again."
        )


def _short(sha256: str | None) -> str:
    return f"{sha256[:8]}" if sha256 else "none"
