"""Runs of models from elsewhere."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

from tenuto.api.datasets import data_config, prepare
from tenuto.api.progress import SILENT, Progress
from tenuto.api.runs import Run, with_progress
from tenuto.config import SYSTEMS, AdoptedConfig, DataConfig, RunConfig, to_yaml
from tenuto.data import Prepared, draw_split, write_split
from tenuto.data.batches import Material, check_split
from tenuto.data.excerpts import Normalisation
from tenuto.errors import ConfigError, ModelError
from tenuto.evaluation.runs import assembled
from tenuto.files import write_bytes, write_json, write_text
from tenuto.models import checkpoint
from tenuto.models.adoption import (
    SUFFIXES,
    FrontEnd,
    Model,
    inputs_of,
    open_model,
    recogniser_of,
    warn_if_random,
)
from tenuto.models.foreign import Foreign, identify
from tenuto.models.matching import judged_on
from tenuto.models.recogniser import Recogniser, predict
from tenuto.store.run import RunFolder
from tenuto.training.loop import run_signature

Source = str | Path

FAR = 0.5
"""Share of the scale beyond its ends from which predictions raise doubts about the scale that was named."""


@overload
def adopt(
    model: Model, *, emotions: Sequence[str] | str, root: None = None, **settings: Any
) -> Recogniser: ...


@overload
def adopt(model: Model, *, emotions: Sequence[str] | str, root: Source, **settings: Any) -> Run: ...


def adopt(  # type: ignore[misc]
    model: Model,
    *,
    emotions: Sequence[str] | str,
    root: Source | None = None,
    data: str | DataConfig | None = None,
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
    described = _described(
        takes=takes,
        emotions=_names(emotions),
        concepts=_names(concepts),
        scale=tuple(scale),
        sample_rate=sample_rate,
        seconds=seconds,
        normalisation=normalisation,
        pooling=pooling,
        output=None if output is None else str(output),
        front_end=None if front_end is None else identify(front_end).source,
        front_end_sha256=None if front_end is None else identify(front_end).source_sha256 or None,
    )
    system = _system(name, model)
    offered = _Offered(model, front_end, system, described, progress)
    if root is None:
        if described.takes == "log-spectrogram" and normalisation is None:
            raise ConfigError("`normalisation` is needed without a data set to measure it on.")
        return offered.open(_as_normalisation(normalisation), "")[0]
    settings = data if isinstance(data, DataConfig) else data_config(root, dataset=data)
    prepared = prepare(root, settings, cache=cache, progress=progress)
    return _adopt_on(offered, prepared, settings, seed, threads, Path(runs))


@dataclasses.dataclass(frozen=True)
class _Offered:
    """A model that is to be adopted, before it is opened."""

    model: Model
    front_end: FrontEnd | None
    system: str
    described: AdoptedConfig
    progress: Progress

    def open(
        self, normalisation: Normalisation | None, fingerprint: str
    ) -> tuple[Recogniser, AdoptedConfig, Foreign]:
        """Open it; the description then holds its identity. Raises `ModelError` or `FileError`."""
        about = self.described
        inputs = inputs_of(
            about.takes, about.sample_rate, about.seconds, normalisation, self.front_end, trust=True
        )
        foreign = open_model(self.model, about, inputs, trust=True)
        if foreign.note:
            self.progress.note(foreign.note)
        about = about.model_copy(
            update={
                "source": foreign.source,
                "kind": foreign.kind,
                "version": foreign.version or None,
                "source_sha256": foreign.source_sha256 or None,
                "weights_sha256": foreign.weights_sha256 or None,
                "differentiable": foreign.has_gradient,
            }
        )
        recogniser = recogniser_of(foreign, about, inputs, self.system, fingerprint)
        warn_if_random(recogniser.network, inputs, len(about.emotions))
        return recogniser, about, foreign

    def check_weights(self, recogniser: Recogniser, described: AdoptedConfig) -> None:
        """Raise `ModelError` where code gives other weights every time, so that no result could be repeated."""
        if isinstance(self.model, str) and described.kind not in SUFFIXES:
            again = open_model(self.model, described, recogniser.inputs, trust=True)
            if (again.weights_sha256 or None) != described.weights_sha256:
                raise ModelError(
                    f"{described.source}: gives other weights every time it is called. Load the trained weights in it, "
                    "or set a seed."
                )


def _adopt_on(
    offered: _Offered, prepared: Prepared, settings: DataConfig, seed: int, threads: int, folder: Path
) -> Run:
    """The run of a model on a data set. Nothing is written before the model has been tried."""
    split = draw_split(prepared.index, settings.split, settings.split_seed)
    check_split(split)
    normalisation = None
    if offered.described.takes == "log-spectrogram":
        normalisation = (
            _as_normalisation(offered.described.normalisation)
            or Material(prepared, settings, split).normalisation()
        )
    recogniser, described, foreign = offered.open(normalisation, prepared.fingerprint)
    judged_on(recogniser, prepared.index)  # raises where they share no emotion
    offered.check_weights(recogniser, described)
    config = _run_config(described, settings, offered.system, seed, threads)
    run = RunFolder(folder / f"{offered.system}-{seed}-{run_signature(config, prepared)}")
    if foreign.content is not None:
        write_bytes(run.model(SUFFIXES[described.kind]), foreign.content)
    write_split(run.split, split)
    checkpoint.save(run.checkpoint, recogniser, {"seed": seed}, described)
    write_json(run.training, {"adopted": described.source, "remarks": foreign.note})
    write_text(run.config, to_yaml(config))
    recogniser = dataclasses.replace(recogniser, path=run.checkpoint)
    opened = with_progress(assembled(run, config, recogniser, prepared), offered.progress)
    _note_scale(opened)
    return opened


def _run_config(
    described: AdoptedConfig, data: DataConfig, system: str, seed: int, threads: int
) -> RunConfig:
    """The configuration of an adopted run, resolved."""
    content: dict[str, Any] = {
        "system": system,
        "data": data.model_copy(update={"excerpts": "fixed"}).model_dump(exclude_none=True),
        "model": {"network": "adopted"},
        "train": {"seed": seed, "threads": threads},
        "adopted": described.model_dump(exclude_none=True),
    }
    return RunConfig.parse(content, "the model").resolved()


def _note_scale(run: Run) -> None:
    """Say where predictions for the test clips lie far outside the scale that was named."""
    low, high = run.model.scale or (0.0, 1.0)
    values = predict(run.model.network, run.part("test").inputs).emotions
    lowest, highest = float(values.min()), float(values.max())
    if lowest < low - FAR * (high - low) or highest > high + FAR * (high - low):
        run.progress.note(
            f"{run.name}: predictions for the test clips are {lowest:.3g} to {highest:.3g}, but its scale is {low:g} "
            f"to {high:g}. Is this the scale of the model?"
        )


def _as_normalisation(values: tuple[float, float] | None) -> Normalisation | None:
    return None if values is None else Normalisation(*values)


def _described(**settings: Any) -> AdoptedConfig:
    """The description of a model before it is opened. Raises `ConfigError`."""
    return AdoptedConfig.parse({"source": "", "kind": "", **settings}, "the model")


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
