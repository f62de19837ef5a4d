"""Checkpoints: files with everything needed to predict from a recording. Safetensors only, nothing is executed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenuto.arguments import checked
from tenuto.audio.spectrogram import SPECTROGRAM_SETTINGS
from tenuto.config import AdoptedConfig, RunConfig, preset_run, to_yaml
from tenuto.data.excerpts import PAPER_NORMALISATION, Normalisation
from tenuto.data.inputs import LogSpectrogramInputs
from tenuto.data.midlevel import CONCEPTS
from tenuto.data.soundtracks import EMOTIONS, Soundtracks
from tenuto.errors import CheckpointError, ConfigError, FileError, counted, one_line, quote
from tenuto.files import read_safetensors, sha256_file, write_safetensors, write_text
from tenuto.models.adoption import FrontEnd, Model, reopen, trust_adopted
from tenuto.models.foreign.identity import weights_sha256
from tenuto.models.recogniser import Recogniser
from tenuto.models.released import load_reference_state
from tenuto.models.systems import CONCEPTS_WITHOUT_RATINGS, NETWORKS
from tenuto.store.exported import ModelFolder
from tenuto.store.location import locate_model
from tenuto.store.run import SUFFIXES, RunFolder, check_readable, is_file

CHECKPOINT_FORMAT = "tenuto-checkpoint-1"
IMPORTED = "imported"
"""Fingerprint of a model whose training data is unknown."""
FREE_UNIT = "unit_"
"""How the names of units of a bottleneck begin that learn no concept and have no scale."""
MOST_OUTPUTS = 4096
"""Of emotions and of concepts, with which the weights of a network grow."""

LARGEST_SCALE = 1e30
"""Scales and normalisations below it can be computed with in float32."""


def save(
    path: Path, recogniser: Recogniser, notes: Mapping[str, Any], adopted: AdoptedConfig | None = None
) -> None:
    """Write weights and everything needed to rebuild them into one safetensors file, atomically.

    The weights of an adopted model file are not repeated: its copy is in the same folder.
    """
    network, inputs = recogniser.network, recogniser.inputs
    normalisation = inputs.normalisation if isinstance(inputs, LogSpectrogramInputs) else None
    metadata = {
        "format": CHECKPOINT_FORMAT,
        "system": recogniser.system,
        "network": network.name,
        "width": recogniser.width,
        "emotions": recogniser.emotions,
        "concepts": recogniser.concepts,
        "spectrogram": SPECTROGRAM_SETTINGS,
        "normalisation": None if normalisation is None else dataclasses.asdict(normalisation),
        "fingerprint": recogniser.fingerprint,
        "scale": recogniser.scale,
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        **notes,
    }
    if recogniser.settings is not None:
        metadata["settings"] = _compared(recogniser.settings)
        metadata["settings"].pop("adopted", None)  # written below
    if adopted is not None:
        metadata["adopted"] = adopted.model_dump(mode="json", exclude_none=True)
    is_stored = adopted is not None and adopted.kind in SUFFIXES
    state = {} if is_stored else network.state_dict()
    weights = {name: to_array(value) for name, value in state.items() if isinstance(value, Tensor)}
    _write(path, weights, metadata)


def _write(path: Path, weights: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Write weights with their checksum, which the format does not have; returns all metadata."""
    about = {**metadata, "checksum": _checksum(weights)}
    write_safetensors(path, weights, {"tenuto": json.dumps(about)})
    return about


def _checksum(weights: Mapping[str, NDArray[Any]]) -> str:
    return weights_sha256({name: torch.from_numpy(array) for name, array in weights.items()})


def copy_weights(source: Path, target: Path, half: bool, scale: tuple[float, float]) -> dict[str, Any]:
    """Copy a checkpoint, if asked for in half precision, and return its metadata.

    Checkpoints of earlier versions do not record the scale of their predictions; ``scale`` is written into the copy.
    Means, variances, scales and biases are few and stay float32: small variances would lose more than weights do.

    Raises:
        CheckpointError: The checkpoint is damaged, or its weights are too large for half precision.
        FileError: A file cannot be read or written.
    """
    load(source)  # raises for what is no checkpoint of a network of Tenuto
    arrays, metadata = read_safetensors(source)
    about: dict[str, Any] = json.loads(metadata["tenuto"])
    about["scale"] = about.get("scale") or list(scale)
    if half:
        about |= {"precision": "float16", "float32_sha256": sha256_file(source)}
        arrays = {name: _halved(array) for name, array in arrays.items()}
        if not all(np.isfinite(array).all() for array in arrays.values() if array.dtype == np.float16):
            raise CheckpointError(f"{source}: has weights beyond 65504, too large for half precision.")
    return _write(target, arrays, about)


def _halved(array: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # checked by the caller
        return array.astype(np.float16) if array.dtype == np.float32 and array.ndim > 1 else array


def to_array(tensor: Tensor) -> NDArray[Any]:
    """A tensor of weights as an array; types that NumPy lacks become float32, complex numbers (..., 2) real ones."""
    values = tensor.detach().cpu()
    values = values.dequantize() if values.is_quantized else values
    values = (values if values.layout == torch.strided else values.to_dense()).resolve_conj().resolve_neg()
    values = torch.view_as_real(values) if values.is_complex() else values
    try:
        array: NDArray[Any] = values.numpy()
    except TypeError:
        array = values.float().numpy()
    return array


@checked
def load(
    run_or_checkpoint: str | Path,
    *,
    model: Model | None = None,
    front_end: FrontEnd | None = None,
    trust: bool = False,
) -> Recogniser:
    """Rebuild a trained model, or open an adopted one again.

    Args:
        run_or_checkpoint: Name of a pretrained model such as ``a2e-soundtracks``, a run folder (the beginning of its
            name is enough), a folder that `tenuto.export` made, or a checkpoint file.
        model: The model of an adopted run, where it was given as a Python object or has moved since.
        front_end: The same for its front end.
        trust: Whether you trust the code of an adopted run, which is then executed, now and later.

    Raises:
        ConfigError: Several runs have such a name, or a study or a recording is named.
        CheckpointError: Missing, cut off, not written by Tenuto, made for another front end, of a network that
            is not installed, of an adopted model that has changed, or of another run than the one in its folder.
        FileError: The file cannot be read, for example without permission.
        TrustError: An adopted model whose code was not named on this machine.
        ModelError: An adopted model that cannot be opened.
    """
    path = locate_model(run_or_checkpoint)
    if path.is_dir():
        exported = ModelFolder(path)
        if not is_file(exported.config):
            return _load_of_run(RunFolder(path), model, front_end, trust)
        path = exported.checked_weights()
    return _load_file(path, model, front_end, trust)


def _load_of_run(run: RunFolder, model: Model | None, front_end: FrontEnd | None, trust: bool) -> Recogniser:
    """The model in a run folder. Raises `CheckpointError` where its file records that it is that of another run."""
    recogniser = _load_file(run.checkpoint, model, front_end, trust)
    if not is_file(run.home.config):
        return recogniser
    config = run.home.read_config()
    its, expected = recogniser.system, config.system
    if its == expected and recogniser.settings is not None:
        recorded, described = _lines(_compared(recogniser.settings)), _lines(_compared(config))
        others = [name for name in {**described, **recorded} if recorded.get(name) != described.get(name)]
        if others:
            its, expected = (f"{others[0]} {lines.get(others[0], 'none')}" for lines in (recorded, described))
    if its != expected:
        raise CheckpointError(
            f"{run.checkpoint}: holds the weights of {its}, {run.home.config} describes {expected}. Restore the file "
            "that belongs to the run, or train it again."
        )
    return recogniser


def _compared(config: RunConfig) -> dict[str, Any]:
    """Settings that tell one run of a system from another; a split may be a path, which checkpoints do not record."""
    return config.model_dump(mode="json", exclude_none=True, exclude={"system": True, "data": {"split"}})


def _settings(about: Mapping[str, Any]) -> RunConfig | None:
    """The settings in the metadata of a checkpoint; earlier versions did not write them. Raises `ConfigError`."""
    if "settings" not in about:
        return None
    content = {**about["settings"], "system": about["system"], "adopted": about.get("adopted")}
    return RunConfig.parse(content, "settings")


def _lines(settings: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Nested settings as ``part.name: value``."""
    lines: dict[str, Any] = {}
    for name, value in settings.items():
        is_part = isinstance(value, Mapping)
        lines |= _lines(value, f"{place}{name}.") if is_part else {f"{place}{name}": value}
    return lines


def _load_file(path: Path, model: Model | None, front_end: FrontEnd | None, trust: bool) -> Recogniser:
    if not is_file(path):
        raise CheckpointError(f"{path}: no such checkpoint. Train a run first, or name its folder.")
    check_readable(path)
    try:
        arrays, metadata = read_safetensors(path)
        about = json.loads(metadata["tenuto"])
        _check_metadata(about)
        if "adopted" not in about:
            for name, array in arrays.items():
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise CheckpointError(
                        f"{path}: {quote(name)} contains NaN or infinity. Train the run again."
                    )
            return dataclasses.replace(_rebuild(arrays, about, path), settings=_settings(about))
        adopted, settings = AdoptedConfig.parse(about["adopted"], "adopted"), _settings(about)
    except FileError as error:
        raise CheckpointError(
            f"{path}: damaged ({error}) Train the run again or copy the file again."
        ) from error
    except (
        ConfigError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        raise CheckpointError(
            f"{path}: not a Tenuto checkpoint ({type(error).__name__}: {one_line(error, 160)})."
        ) from error
    stored_model = path.with_name(f"model{SUFFIXES.get(adopted.kind, '')}")
    recogniser = reopen(adopted, about, stored_model, model, front_end, trust)
    return dataclasses.replace(recogniser, path=path, settings=settings)


def trust_run(folder: Path) -> None:
    """Record that the user trusts the code of a run, if it is an adopted one. Errors as in `load`."""
    run = RunFolder(folder)
    adopted = run.home.read_config().adopted
    if adopted is not None:
        trust_adopted(adopted, run.checkpoint.with_name(f"model{SUFFIXES.get(adopted.kind, '')}"))


def read_fingerprint(checkpoint: Path) -> str:
    """Identity of the data a model was trained on. Raises `FileError` or `CheckpointError`."""
    try:
        return str(json.loads(read_safetensors(checkpoint)[1]["tenuto"])["fingerprint"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{checkpoint}: not a Tenuto checkpoint.") from error


def _check_metadata(about: Mapping[str, Any]) -> None:
    """Raise `ValueError` or `TypeError` for names that are no different texts, and for numbers without a meaning."""
    emotions, concepts = about["emotions"], about["concepts"]
    is_text = all(
        isinstance(name, str) for name in (about["system"], about["fingerprint"], *emotions, *concepts)
    )
    is_list = all(isinstance(names, list) and len(set(names)) == len(names) for names in (emotions, concepts))
    if not (is_text and is_list and emotions):
        raise ValueError("names that are no different texts")
    if max(len(emotions), len(concepts)) > MOST_OUTPUTS:
        raise ValueError(f"more than {MOST_OUTPUTS} names")
    has_spectrogram = "adopted" not in about or about["adopted"]["takes"] == LogSpectrogramInputs.name
    normalisation = Normalisation(**about["normalisation"]) if has_spectrogram else PAPER_NORMALISATION
    low, high = about.get("scale") or (0.0, 1.0)  # checkpoints of earlier versions do not have it
    values = np.abs([normalisation.mean, normalisation.deviation, low, high])
    if not ((values < LARGEST_SCALE).all() and normalisation.deviation > 1 / LARGEST_SCALE and low < high):
        raise ValueError(f"impossible scale or normalisation: {low} to {high}, {normalisation}")


def _rebuild(arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any], path: Path) -> Recogniser:
    if about["format"] != CHECKPOINT_FORMAT:
        raise ValueError(f"format {about['format']}, must be {CHECKPOINT_FORMAT}")
    if about["spectrogram"] != SPECTROGRAM_SETTINGS:
        raise ValueError("trained on another kind of spectrogram")
    emotions, concepts = tuple(about["emotions"]), tuple(about["concepts"])
    units = len(concepts) or CONCEPTS_WITHOUT_RATINGS
    try:
        kind = NETWORKS[about["network"]]
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error} Install the package that defines this network.") from error
    if kind.has_concepts != bool(concepts):
        raise ValueError(f"{counted(len(concepts), 'name')} of concepts for the network {about['network']}")
    if about.get("checksum") not in (None, _checksum(arrays)):  # files of earlier versions have none
        raise CheckpointError(
            f"{path}: damaged (its weights have changed since it was written). Train the run again or copy the file "
            "again."
        )
    network = kind(len(emotions), units, float(about["width"]))
    weights = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    for name, value in network.state_dict().items():
        if value.is_complex() and name in weights:
            weights[name] = torch.view_as_complex(weights[name])
    network.load_state_dict(weights)
    network.eval()
    scale = about.get("scale")
    return Recogniser(
        network=network,
        system=about["system"],
        emotions=emotions,
        concepts=concepts,
        inputs=LogSpectrogramInputs(Normalisation(**about["normalisation"])),
        fingerprint=about["fingerprint"],
        width=float(about["width"]),
        scale=(float(scale[0]), float(scale[1])) if scale else None,
        path=path,
    )


def import_run(path: str | Path, system: str, seed: int, runs: Path) -> Path:
    """Make a run folder of a released ``.pt`` file; weights only, nothing in the file is executed.

    The folder is named after the file's content, so rows of other weights are never mixed with these. The file
    contains neither names nor normalisation, so those of the study are recorded.

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
    expected = [*([len(CONCEPTS)] if NETWORKS[config.model.network].has_concepts else []), len(EMOTIONS)]
    if sizes != expected:
        raise CheckpointError(
            f"{path}: its last layers have {sizes} outputs, {system} has {expected}. Name its system."
        )
    units = unit_names(config, CONCEPTS)
    width = network.backbone.features / 256
    inputs, scale = LogSpectrogramInputs(PAPER_NORMALISATION), Soundtracks.label_scale
    recogniser = Recogniser(network, system, EMOTIONS, units, inputs, IMPORTED, width, scale, settings=config)
    run = RunFolder(runs / f"{system}-{seed}-{sha256_file(path)[:8]}")
    save(run.checkpoint, recogniser, {"imported": str(Path(path).name)})
    write_text(run.config, to_yaml(config))
    return run.path


def unit_names(config: RunConfig, concepts: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the bottleneck's units: those of the concepts if it learns them, else unit_1 to unit_n."""
    if not NETWORKS[config.model.network].has_concepts:
        return ()
    if config.train.task_loss_weight < 1:
        return concepts
    return tuple(
        f"{FREE_UNIT}{number}" for number in range(1, (len(concepts) or CONCEPTS_WITHOUT_RATINGS) + 1)
    )
