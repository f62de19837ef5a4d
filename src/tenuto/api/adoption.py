"""Runs of models from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

from tenuto.api.datasets import data_config, prepare
from tenuto.api.progress import SILENT, Progress
from tenuto.api.runs import Run, Source, with_progress
from tenuto.arguments import checked
from tenuto.config import SYSTEMS, AdoptedConfig, DataConfig
from tenuto.errors import ConfigError
from tenuto.evaluation.adoption import Offered, adopt_on, as_normalisation, scale_doubt
from tenuto.models.adoption import FrontEnd, Model
from tenuto.models.foreign import identify
from tenuto.models.recogniser import Recogniser


@overload
def adopt(
    model: Model, *, emotions: Sequence[str] | str, root: None = None, **settings: Any
) -> Recogniser: ...


@overload
def adopt(model: Model, *, emotions: Sequence[str] | str, root: Source, **settings: Any) -> Run: ...


@checked  # type: ignore[misc]
def adopt(
    model: Model,
    *,
    emotions: Sequence[str] | str,
    root: Source | None = None,
    data: str | DataConfig | None = None,
    split: str | None = None,
    scale: tuple[float, float] = (0.0, 1.0),
    takes: str = "waveform",
    sample_rate: int = 22_050,
    seconds: float = 10.0,
    front_end: FrontEnd | None = None,
    normalisation: tuple[float, float] | None = None,
    concepts: Sequence[str] | str = (),
    output: str | int | None = None,
    pooling: str = "mean",
    name: str | None = None,
    seed: int = 0,
    threads: int = 0,
    runs: Source = "runs",
    cache: Source | None = None,
    progress: Progress = SILENT,
) -> Recogniser | Run:
    """Adopt a model from elsewhere: without a data set to predict recordings, with one as a run that can be judged.

    The code that is named is executed, now and when the run is opened on this machine.

    Args:
        model: ``package.module:function`` or ``file.py:function`` that is or returns an ``nn.Module`` or a callable; a
            file of TorchScript (.pt), torch.export (.pt2) or ONNX (.onnx); or a module or callable itself, which has
            to be given to `open_run` again.
        emotions: Names of the outputs, in their order. Outputs are compared with ratings of the same name.
        root: Folder of a data set to judge the model on.
        data: Its name or settings; default: what ``tenuto.yaml`` in the folder describes, else Soundtracks.
        split: How its clips are divided, such as ``album``, ``official`` or the path of a CSV with ``clip,split``;
            default: ``paper``. Part of ``data`` where these are settings.
        scale: Lowest and highest rating on the model's own scale.
        takes: ``waveform`` (clips, samples), mono, between -1 and 1; ``log-spectrogram`` (clips, 1, 313, 149), that of
            Tenuto, normalised; or ``features``, what ``front_end`` makes of a waveform.
        sample_rate: Samples per second of the waveform.
        seconds: Length of a window; longer recordings are predicted in several.
        front_end: Function of a waveform (samples,), by name as a model is, or the function itself.
        normalisation: Mean and deviation of the log spectrogram; default: those of the training clips.
        concepts: Names of outputs that follow those of the emotions and are no emotions.
        output: Key, attribute or index of the predictions, where the model returns several things.
        pooling: How predictions for several windows become one: ``mean`` or ``median``.
        name: What tables call it; default: the name of the function, file or class.
        seed: What tables call its seed, where there are several trainings of one model.
        threads: CPU threads; default: all cores.
        runs: Folder of all runs.
        cache: Folder of spectrograms and waveforms; default: the user's cache.
        progress: Receives progress of this and later calls.

    Returns:
        The model, or with ``root`` the run.

    Raises:
        ConfigError: Settings that contradict each other.
        ModelError: Not a model, or one that fails on such inputs or has another number of outputs.
        CheckpointError: The model and the data set have no emotion in common.
        DataError: Data that cannot be used.
    """
    identity = None if front_end is None else identify(front_end)
    content = {
        "source": "",
        "kind": "",
        "takes": takes,
        "emotions": _names(emotions),
        "concepts": _names(concepts),
        "scale": scale,
        "sample_rate": sample_rate,
        "seconds": seconds,
        "normalisation": normalisation,
        "pooling": pooling,
        "output": output,
        "front_end": identity and identity.source,
        "front_end_sha256": identity and (identity.source_sha256 or None),
    }
    described = AdoptedConfig.parse(content, "the model")
    system = _system(name, model)
    offered = Offered(model, front_end, system, described, progress.note)
    if root is None:
        if described.takes == "log-spectrogram" and normalisation is None:
            raise ConfigError("`normalisation` is needed without a data set to measure it on.")
        return offered.open(as_normalisation(normalisation), "")[0]
    if isinstance(data, DataConfig) and split is not None:
        raise ConfigError("`split` is part of `data`, which are settings already. Set it there.")
    settings = data if isinstance(data, DataConfig) else data_config(root, dataset=data, split=split)
    offered.check()
    prepared = prepare(root, settings, cache=cache, progress=progress)
    run = with_progress(adopt_on(offered, prepared, settings, seed, threads, Path(runs)), progress)
    if doubt := scale_doubt(run):
        progress.note(doubt)
    return run


def _names(listed: Sequence[str] | str) -> tuple[str, ...]:
    names = listed.split(",") if isinstance(listed, str) else listed
    return tuple(name.strip() for name in names if name.strip())


def _system(name: str | None, model: Model) -> str:
    """The name in tables: the given one, else that of the function, file or class. Raises `ConfigError`."""
    if name is None:
        text = str(model) if isinstance(model, str | Path) else identify(model).source.rpartition(".")[2]
        place, _, function = text.rpartition(":")
        name = re.sub(r"\W+", "_", function if place else Path(text).stem, flags=re.ASCII).strip("_")[:40]
        name = name if name[:1].isalpha() else f"model_{name}"[:40]
        name = f"{name}_model" if name in SYSTEMS else name
    if name in SYSTEMS or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name):
        raise ConfigError(
            f"`name` must be letters, digits and underscores, and none of {', '.join(SYSTEMS)}, got {name!r}."
        )
    return name
