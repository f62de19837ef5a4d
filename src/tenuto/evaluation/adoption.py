"""Make a run of a model from elsewhere: opened, tried on the data, and written with its identity."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tenuto.config import AdoptedConfig, AdoptedModel, DataConfig, RunConfig, to_yaml
from tenuto.data import Prepared, draw_split, write_split
from tenuto.data.batches import Material, check_split
from tenuto.data.excerpts import Normalisation
from tenuto.errors import ModelError
from tenuto.evaluation.runs import OpenedRun, assembled
from tenuto.files import write_bytes, write_json, write_text
from tenuto.models import checkpoint
from tenuto.models.adoption import (
    FrontEnd,
    Model,
    inputs_of,
    open_model,
    recogniser_of,
    warn_if_random,
)
from tenuto.models.foreign import ForeignModel, identify
from tenuto.models.matching import judged_on
from tenuto.models.recogniser import Recogniser, predict
from tenuto.store.run import SUFFIXES, RunFolder
from tenuto.training.loop import run_signature

FAR = 0.5
"""Share of the scale beyond its ends from which predictions raise doubts about the scale that was named."""


@dataclasses.dataclass(frozen=True)
class Offered:
    """A model that is to be adopted, before it is opened.

    Attributes:
        model: The model, or its name.
        front_end: The same for its front end.
        system: What tables call it.
        described: What it takes and what its outputs mean; its identity is known once it is opened.
        note: Called with sentences about it.
        trust: Whether the user names its code now.
    """

    model: Model
    front_end: FrontEnd | None
    system: str
    described: AdoptedConfig
    note: Callable[[str], object]
    trust: bool = True

    def open(
        self, normalisation: Normalisation | None, fingerprint: str
    ) -> tuple[Recogniser, AdoptedConfig, ForeignModel]:
        """Open it; the description then holds its identity. Raises `ModelError`, `TrustError` or `FileError`."""
        about = self.described
        inputs = inputs_of(about, normalisation, self.front_end, self.trust)
        foreign = open_model(self.model, about, inputs, self.trust)
        if foreign.note:
            self.note(foreign.note)
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

    def check(self) -> None:
        """Try it, before data are prepared for it. Raises `ModelError`, `TrustError` or `FileError`."""
        inputs = inputs_of(self.described, Normalisation(0.0, 1.0), self.front_end, self.trust)
        open_model(self.model, self.described, inputs, self.trust)

    def configuration(
        self, prepared: Prepared, data: DataConfig, seed: int, threads: int
    ) -> tuple[RunConfig, tuple[str, ...]]:
        """The configuration of its run, with its identity, and the rated emotions it predicts; nothing is written.

        Raises `CheckpointError` where it predicts none of them, and as `open`.
        """
        recogniser, described, _ = self.open(Normalisation(0.0, 1.0), prepared.fingerprint)
        emotions = judged_on(recogniser, prepared.index)[0].emotions
        self.check_weights(recogniser, described)
        return run_config(described, data, self.system, seed, threads), emotions

    def check_weights(self, recogniser: Recogniser, described: AdoptedConfig) -> None:
        """Raise `ModelError` where code gives other weights every time, so that no result could be repeated."""
        if isinstance(self.model, str) and described.kind not in SUFFIXES:
            again = open_model(self.model, described, recogniser.inputs, self.trust)
            if (again.weights_sha256 or None) != described.weights_sha256:
                raise ModelError(
                    f"{described.source}: gives other weights every time it is called. Load the trained weights in it, "
                    "or set a seed."
                )


def offered(model: AdoptedModel, system: str, trust: bool) -> Offered:
    """A model that settings name. Raises `FileError` or `ModelError` where there is no such front end."""
    content = {"kind": "", **model.model_dump(exclude_none=True)}
    if model.front_end is not None:
        front_end = identify(model.front_end)
        content |= {"front_end": front_end.source, "front_end_sha256": front_end.source_sha256 or None}
    described = AdoptedConfig.parse(content, system)
    return Offered(model.source, model.front_end, system, described, lambda sentence: None, trust)


def adopt_on(
    offered: Offered, prepared: Prepared, settings: DataConfig, seed: int, threads: int, folder: Path
) -> OpenedRun:
    """The run of a model on a data set. Nothing is written before the model has been tried."""
    split = draw_split(prepared.index, settings.split, settings.split_seed)
    check_split(split)
    normalisation = None
    if offered.described.takes == "log-spectrogram":
        normalisation = (
            as_normalisation(offered.described.normalisation)
            or Material(prepared, settings, split).normalisation()
        )
    recogniser, described, foreign = offered.open(normalisation, prepared.fingerprint)
    judged_on(recogniser, prepared.index)  # raises where they share no emotion
    offered.check_weights(recogniser, described)
    config = run_config(described, settings, offered.system, seed, threads)
    run = RunFolder(folder / f"{offered.system}-{seed}-{run_signature(config, prepared)}")
    if foreign.content is not None:
        write_bytes(run.model(SUFFIXES[described.kind]), foreign.content)
    write_split(run.split, split)
    write_text(run.config, to_yaml(config))
    recogniser = dataclasses.replace(recogniser, path=run.checkpoint, settings=config)
    checkpoint.save(run.checkpoint, recogniser, {}, described)
    write_json(run.training, {"adopted": described.source, "remarks": foreign.note})  # says that all is there
    return assembled(run, config, recogniser, prepared)


def run_config(described: AdoptedConfig, data: DataConfig, system: str, seed: int, threads: int) -> RunConfig:
    """The configuration of an adopted run, resolved."""
    content: dict[str, Any] = {
        "system": system,
        "data": data.model_copy(update={"excerpts": "fixed"}).model_dump(exclude_none=True),
        "model": {"network": "adopted"},
        "train": {"seed": seed, "threads": threads},
        "adopted": described.model_dump(exclude_none=True),
    }
    return RunConfig.parse(content, "the model").resolved()


def scale_doubt(run: OpenedRun) -> str | None:
    """A sentence where predictions for the test clips lie far outside the scale that was named."""
    low, high = run.model.scale or (0.0, 1.0)
    values = predict(run.model.network, run.part("test").inputs).emotions
    lowest, highest = float(values.min()), float(values.max())
    if low - FAR * (high - low) <= lowest and highest <= high + FAR * (high - low):
        return None
    return (
        f"{run.name}: predictions for the test clips are {lowest:.3g} to {highest:.3g}, but its scale is {low:g} "
        f"to {high:g}. Is this the scale of the model?"
    )


def as_normalisation(values: tuple[float, float] | None) -> Normalisation | None:
    """Mean and deviation as they are named in settings."""
    return None if values is None else Normalisation(*values)
