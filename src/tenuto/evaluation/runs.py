"""A run folder opened together with the data it was trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tenuto.config import RunConfig
from tenuto.data.batches import Batch, Material
from tenuto.data.cache import Prepared
from tenuto.data.splits import PARTS, draw
from tenuto.errors import CheckpointError, DataError, did_you_mean
from tenuto.models.checkpoint import IMPORTED, load
from tenuto.models.recogniser import Recogniser
from tenuto.models.systems import Network, for_attack
from tenuto.store.run import RunFolder


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run: its folder, configuration and model, and the clips it was trained and is tested on."""

    folder: Path
    config: RunConfig
    recogniser: Recogniser
    material: Material

    @property
    def name(self) -> str:
        """The folder's name: system, seed, signature."""
        return self.folder.name

    @property
    def threads(self) -> int:
        """CPU threads it was trained with."""
        return self.config.resolved().train.threads

    @property
    def files(self) -> RunFolder:
        """The names of the files in the folder."""
        return RunFolder(self.folder)

    def part_of(self, clip: str) -> str:
        """The part of the split a clip is in. Raises `DataError` for a clip that is in none."""
        split = self.material.split
        for name in PARTS:
            if clip in split.part(name):
                return name
        raise DataError(
            f"clip {clip!r} is in no part of the split of {self.name}. {did_you_mean(clip, split.test)}"
        )

    def part(self, name: str) -> Batch:
        """Excerpts of one part of the split, in the units the model was trained in."""
        return self.material.part(name)


def open_run(folder: str | Path, prepared: Prepared) -> Run:
    """Open a run with its data.

    Raises:
        CheckpointError: The model predicts other emotions than the data set rates, or was trained on other data.
        ConfigError: The folder contains no run.
        DataError: The split names clips that the data set does not have.
        FileError: A file of the run cannot be read.
    """
    files = RunFolder(folder)
    config, recogniser = files.read_config(), load(files.path)
    if recogniser.emotions != prepared.index.emotions:
        raise CheckpointError(
            f"{files.path}: predicts {', '.join(recogniser.emotions)}; {prepared.name} rates "
            f"{', '.join(prepared.index.emotions)}. Use the data set the run was trained on."
        )
    if recogniser.fingerprint not in (prepared.fingerprint, IMPORTED):
        raise CheckpointError(
            f"{files.path}: was trained on data {recogniser.fingerprint[:8]}, {prepared.name} now is "
            f"{prepared.fingerprint[:8]} (other clips, audio or ratings). Use the data the run was trained on."
        )
    index = prepared.index
    split = files.read_split() or draw(index, config.data.split, config.data.split_seed)
    prepared.places(
        split.train + split.validation + split.test
    )  # raises for a clip the data set does not have
    material = Material(prepared, config.data, split, recogniser.normalisation)
    return Run(files.path, config, recogniser, material)


class Sibling(nn.Module):
    """Another model that takes the inputs of a run: normalised as that run's are, not as its own.

    Shape:
        - input: (clips, 1, 313, 149), in the run's units
        - output: `Prediction` of the other model
    """

    def __init__(self, run: Run, other: Recogniser) -> None:
        super().__init__()
        if other.emotions != run.recogniser.emotions:
            raise CheckpointError(
                f"the sibling predicts {', '.join(other.emotions)}; {run.name} predicts "
                f"{', '.join(run.recogniser.emotions)}. Name a run that was trained on the same emotions."
            )
        self.network: Network = for_attack(other.network)
        own, its = run.recogniser.normalisation, other.normalisation
        self.scale, self.shift = own.deviation / its.deviation, (own.mean - its.mean) / its.deviation

    def forward(self, excerpts: Tensor) -> Any:
        """Predict excerpts in the run's units."""
        return self.network(excerpts * self.scale + self.shift)
