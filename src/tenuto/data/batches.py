"""What a run trains on: a prepared data set, split, and cut into the excerpts that its network takes, as tensors."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenuto.config import DataConfig, RunConfig
from tenuto.data.base import Index
from tenuto.data.cache import Prepared
from tenuto.data.excerpts import Normalisation, fixed_starts, fresh_starts, measure
from tenuto.data.inputs import Inputs, LogSpectrogramInputs
from tenuto.data.splits import Split, draw
from tenuto.errors import ConfigError, DataError
from tenuto.metrics import is_constant


@dataclasses.dataclass(frozen=True)
class Batch:
    """Excerpts (clips, ...) with labels (clips, emotions) and concepts (clips, concepts) or None."""

    clips: tuple[str, ...]
    inputs: Tensor
    labels: Tensor
    concepts: Tensor | None

    def __len__(self) -> int:
        return len(self.clips)

    def take(self, rows: Tensor) -> Batch:
        """The clips of the given rows."""
        places = rows.tolist()
        concepts = None if self.concepts is None else self.concepts[rows]
        return Batch(tuple(self.clips[i] for i in places), self.inputs[rows], self.labels[rows], concepts)

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        concepts = None if self.concepts is None else self.concepts.to(device)
        return Batch(self.clips, self.inputs.to(device), self.labels.to(device), concepts)


class Material:
    """Parts of a data set as a run sees them.

    Args:
        prepared: The data set.
        config: Split, excerpts, normalisation.
        split: A stored split; drawn by default.
        inputs: What the network takes; by default log spectrograms, with the normalisation measured here.
    """

    def __init__(
        self,
        prepared: Prepared,
        config: DataConfig,
        split: Split | None = None,
        inputs: Inputs | None = None,
    ) -> None:
        self.prepared, self.config = prepared, config
        self.split = split or draw(prepared.index, config.split, config.split_seed)
        self._frames = [len(clip) for clip in prepared.spectrograms]
        self._starts = fixed_starts(self._frames)
        self.inputs = inputs or LogSpectrogramInputs(self.normalisation())

    def normalisation(self) -> Normalisation:
        """Mean and deviation of the log spectrograms of the training clips, or of all where the settings say so."""
        clips = self.split.train if self.config.normalisation == "train" else self.prepared.index.clips
        return measure([self.prepared.spectrograms[place] for place in self.prepared.places(clips)])

    def part(self, name: str) -> Batch:
        """The fixed excerpts of ``train``, ``validation`` or ``test``."""
        return self._cut(self.split.part(name), self._starts)

    def recording(self, clip: str) -> tuple[NDArray[np.float32], int]:
        """A clip as steps of the network's input, and the first step of its fixed excerpt."""
        (place,) = self.prepared.places((clip,))
        steps = self.inputs.of_clip(self.prepared, place)
        return steps, self.inputs.start(self._starts[place], len(steps))

    def training(self, seed: int, epoch: int) -> Batch:
        """The training excerpts of one epoch: the fixed ones, or new ones for every epoch."""
        if self.config.excerpts == "fixed":
            return self.part("train")
        return self._cut(self.split.train, fresh_starts(self._frames, seed, epoch))

    def _cut(self, clips: tuple[str, ...], starts: list[int]) -> Batch:
        index, places = self.prepared.index, self.prepared.places(clips)
        inputs = self.inputs.excerpts(self.prepared, places, [starts[place] for place in places])
        concepts = None if index.concept_labels is None else _tensor(index.concept_labels[places])
        return Batch(clips, torch.from_numpy(inputs), _tensor(index.labels[places]), concepts)


def check(config: RunConfig, prepared: Prepared) -> None:
    """Refuse a configuration the data cannot serve. Raises `ConfigError`."""
    if config.train.task_loss_weight < 1 and not prepared.index.concepts:
        setting = f"task loss weight {config.train.task_loss_weight:g}"
        if config.train.bottleneck is not None:
            setting = f"bottleneck {config.train.bottleneck}"
        raise ConfigError(
            f"{config.system} learns concepts ({setting}), but "
            f"{prepared.name} has no concept ratings. Compute proxies from the audio with `concepts=signal`, use the "
            "data set midlevel or synthetic, or a system without concepts (A2E, A2B2E)."
        )


def check_split(split: Split) -> None:
    """Refuse a split too small to be scored. Raises `DataError`."""
    for name in ("validation", "test"):
        if (count := len(split.part(name))) < 2:
            raise DataError(
                f"{count} clip in the {name} part: at least two are needed for a correlation. "
                "Add recordings or choose another `split`."
            )


def check_labels(index: Index, split: Split, with_concepts: bool, by_correlation: bool = True) -> None:
    """Refuse emotions (and concepts) that are constant in the training or validation clips.

    There is nothing to learn in them, and their correlation, which decides when training stops, is undefined.

    Args:
        index: The ratings.
        split: The parts.
        with_concepts: Whether concepts are learned or scored too.
        by_correlation: Whether correlation chooses the checkpoint; else the validation clips may be constant.

    Raises:
        DataError: Names the columns and the part.
    """
    kinds = [("emotion", index.emotions, index.labels)]
    if with_concepts and index.concept_labels is not None:
        kinds.append(("concept", index.concepts, index.concept_labels))
    rows = {clip: row for row, clip in enumerate(index.clips)}
    for part in ("training", "validation") if by_correlation else ("training",):
        clips = split.train if part == "training" else split.validation
        for kind, names, labels in kinds:
            values = labels[[rows[clip] for clip in clips]]
            if constant := [name for name, same in zip(names, is_constant(values), strict=True) if same]:
                raise DataError(
                    f"{kind} {', '.join(constant)}: all {len(clips)} {part} clips have the same value, so no "
                    f"correlation is defined. Choose another `split` or `split_seed`, or leave the {kind} out"
                    f"{', or choose the checkpoint with `select=mae`' if part == 'validation' else ''}."
                )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
