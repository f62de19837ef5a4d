"""Runs as files for other programs: a model folder to share, ONNX, TorchScript."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tenuto.api.datasets import find_data, prepare
from tenuto.api.model_card import model_card
from tenuto.api.progress import SILENT, Progress
from tenuto.api.runs import Run, Source
from tenuto.arguments import checked
from tenuto.config import RunConfig, to_yaml
from tenuto.data import Prepared, open_dataset
from tenuto.errors import ConfigError, FileError, ModelError, did_you_mean
from tenuto.evaluation import robustness, runs
from tenuto.evaluation.explanation import Background
from tenuto.files import followed, sha256_file, write_bytes, write_json, write_text
from tenuto.models.adoption import FrontEnd, Model
from tenuto.models.checkpoint import copy_weights, load
from tenuto.models.portable import to_onnx, to_torchscript
from tenuto.models.recogniser import Recogniser
from tenuto.store.exported import MODEL_FORMAT, ModelFolder
from tenuto.store.location import locate_run
from tenuto.store.run import RunFolder, listed

EXPORTERS: dict[str, Callable[[Recogniser], bytes]] = {"onnx": to_onnx, "torchscript": to_torchscript}
"""What one file holds, by its kind."""

HUB_FOLDER = "hub-folder"
EXPORT_KINDS = (HUB_FOLDER, *EXPORTERS)


@checked
def export(
    run: Run | Source,
    to: str,
    out: Source,
    *,
    root: Source | None = None,
    half: bool = False,
    licence: str | None = None,
    cache: Source | None = None,
    progress: Progress = SILENT,
    model: Model | None = None,
    front_end: FrontEnd | None = None,
    trust: bool = False,
) -> Path:
    """Write the model of a run for other programs. Nothing is uploaded.

    - ``hub-folder``: a folder in the layout of a Hugging Face model repository, with a model card. `load` reads it.
      Where the data set is found, the card has the metrics of these weights, and the folder the predictions for the
      training clips that explanations need.
    - ``onnx``, ``torchscript``: one file with the front end inside, from windows of a waveform (windows, samples) to
      emotions (windows, emotions) and, with a bottleneck, concepts.

    Args:
        run: A run; for files also what `load` takes, such as ``a2e-soundtracks``.
        to: ``hub-folder``, ``onnx`` or ``torchscript``.
        out: The folder or file.
        root: For a folder, the data set; default: as in `open_run`.
        half: For a folder, whether to store weights in half precision.
        licence: For a folder, the licence of the weights, such as ``mit``.
        cache: Folder of spectrograms.
        progress: Receives progress.
        model: Of an adopted run, see `open_run`; so are ``front_end`` and ``trust``.
        front_end: See ``model``.
        trust: See ``model``.

    Raises:
        ConfigError: An unknown kind, or parameters that do not belong to it.
        FileError: A folder with other files, or one that cannot be written.
        ModelError: A model that cannot be converted, or a package that is missing.
    """
    if to not in EXPORT_KINDS:
        raise ConfigError(f"to {to!r} is unknown. {did_you_mean(to, EXPORT_KINDS)}")
    place = run.folder if isinstance(run, Run) else run
    if to == HUB_FOLDER:
        return _write_folder(
            RunFolder(locate_run(place)), ModelFolder(out), root, half, licence, cache, progress
        )
    if half or licence is not None:
        raise ConfigError(f"`half` and `licence` belong to `to={HUB_FOLDER}`. Leave them out.")
    recogniser = (
        run.model if isinstance(run, Run) else load(run, model=model, front_end=front_end, trust=trust)
    )
    try:
        return write_bytes(followed(out), EXPORTERS[to](recogniser))
    except ModelError as error:
        raise ModelError(f"{place}: {error}") from error


def _write_folder(
    run: RunFolder,
    folder: ModelFolder,
    root: Source | None,
    half: bool,
    licence: str | None,
    cache: Source | None,
    progress: Progress,
) -> Path:
    """Write a model folder; ``config.json``, without which it is none, comes last."""
    config = run.read_config()
    if config.adopted is not None:
        is_converted = config.adopted.differentiable and config.adopted.takes != "features"
        advice = (
            "Export it as onnx or torchscript." if is_converted else "Share those: it cannot be exported."
        )
        raise ConfigError(
            f"{run.path}: its model is not Tenuto's but {config.adopted.source}, and stays in its own files. {advice}"
        )
    if listed(folder.path) and not folder.is_own():
        raise FileError(f"{folder.path}: contains other files. Name a new folder with `out`.")
    prepared = _found_data(run, config, root, cache, progress)
    scale = open_dataset(config.data, run.path).label_scale
    about = copy_weights(run.checkpoint, folder.weights, half, scale)
    model = load(folder.weights)
    metrics = None if prepared is None else _measured(run, config, folder, model, prepared)
    write_text(folder.settings, to_yaml(config))
    write_text(folder.card, model_card(Path(folder.path).resolve().name, config, about, metrics, licence))
    weights = {"weights_sha256": sha256_file(folder.weights)}
    write_json(folder.config, {**about, "format": MODEL_FORMAT, "model_type": "tenuto", **weights})
    return folder.path


def _found_data(
    run: RunFolder, config: RunConfig, root: Source | None, cache: Source | None, progress: Progress
) -> Prepared | None:
    """The data of a run; None where they are not found."""
    try:
        place, cache = find_data(run.path, config.data, root, cache)
    except ConfigError:
        progress.note(
            "No metrics in the model card, and no places in explanations: give `root`, the data set."
        )
        return None
    return prepare(place, config.data, cache=cache, progress=progress)


def _measured(
    run: RunFolder, config: RunConfig, folder: ModelFolder, model: Recogniser, prepared: Prepared
) -> dict[str, Any]:
    """Metrics of the exported weights; predictions for the training clips are written to the folder."""
    opened_run = runs.open_run(run.path, prepared)  # raises for other data
    judged = runs.assembled(run, config, model, prepared)
    part = opened_run.part("train")
    Background.of(model, part.clips, part.inputs).write(folder.path, model)
    clips = {name: len(judged.part(name)) for name in ("train", "validation", "test")}
    return {**robustness.measure(judged), "clips": clips}
