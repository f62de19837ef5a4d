"""Settings and data small enough that a test can train: narrow networks, few clips, few epochs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenuto.config import DataConfig, RunConfig, merge, preset_run
from tenuto.data import Dataset, Normalisation, Prepared, draw_split, prepare
from tenuto.data.inputs import Inputs, LogSpectrogramInputs
from tenuto.files import read_safetensors
from tests import corpora

CLIPS = 30
"""Divided into 24 for training, 3 for validation, 3 for test."""

QUICK = {
    "model": {"width": 0.0625},
    "train": {"batch_size": 4, "epochs": 4, "patience": 4, "threads": 1},
}
ATTACKED = {"every": 2, "iterations": 3, "step_size": 0.05}
"""Adversarial training that a run of four epochs meets twice."""


class InterruptionError(Exception):
    """Stands for anything that ends a process in the middle of its work."""


def interrupt(*arguments: Any, **keywords: Any) -> Any:
    """End the work that calls this."""
    raise InterruptionError


def settings(
    system: str = "A2E", preset: str | None = None, data: Mapping[str, Any] | None = None, **train: Any
) -> RunConfig:
    """A quick run of a named system, seed 6; keywords go to the training settings."""
    content = merge(preset_run(preset, system, 6).model_dump(mode="json"), QUICK)
    if system.startswith("a"):
        train = {"adversarial": ATTACKED, **train}
    return RunConfig.parse(merge(content, {"data": data or {}, "train": train}), "a test").named()


EVERYTHING = settings("A2M2E", adversarial=ATTACKED)
"""A run that meets every part of the loop: bottleneck, concept loss, dropout, fresh excerpts, adversarial epochs."""


def rated(root: Path) -> Prepared:
    """Thirty clips with emotions and concepts."""
    return _prepared(corpora.midlevel(root / "data", CLIPS), root)


def unrated(root: Path) -> Prepared:
    """The same clips without concepts."""
    return _prepared(corpora.soundtracks(root / "data", CLIPS), root)


def own(root: Path) -> Prepared:
    """Thirty clips of another kind: two other emotions, one concept."""
    return _prepared(corpora.folder(root / "data", CLIPS), root)


def sound(root: Path) -> Prepared:
    """Thirty clips, of which those that are not trained on are as long as attacks on samples need: 12 s."""
    dataset = corpora.soundtracks(root / "data", CLIPS)
    split = draw_split(dataset.index, DataConfig().split)
    for clip in (*split.validation, *split.test):
        corpora.write_audio(root / "data" / "Set1" / f"{clip}.mp3", int(clip), seconds=12.0)
    return _prepared(dataset, root)


def _prepared(dataset: Dataset, root: Path) -> Prepared:
    return prepare(dataset, root / "cache", workers=1)


def numbers(run: Path) -> dict[str, bytes]:
    """Everything in which two runs with the same numbers agree to the last bit."""
    return {
        name: (run / name).read_bytes() for name in ("history.csv", "training.json", "checkpoint.safetensors")
    }


def normalisation(inputs: Inputs) -> Normalisation:
    """The normalisation of log spectrograms."""
    assert isinstance(inputs, LogSpectrogramInputs)
    return inputs.normalisation


def kept_epoch(run: Path) -> int:
    """The epoch whose weights the checkpoint holds."""
    _, metadata = read_safetensors(run / "checkpoint.safetensors")
    epoch: int = json.loads(metadata["tenuto"])["epoch"]
    return epoch
