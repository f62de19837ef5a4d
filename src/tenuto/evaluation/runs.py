"""A run folder opened together with the data it was trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tenuto.config import RunConfig, parse_yaml
from tenuto.data.batches import Batch, Material
from tenuto.data.cache import Prepared
from tenuto.data.splits import draw, read_split
from tenuto.errors import CheckpointError, ConfigError
from tenuto.files import read_text
from tenuto.models.checkpoint import IMPORTED, load
from tenuto.models.recogniser import Recogniser
from tenuto.models.systems import Network, for_attack


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

    def part(self, name: str) -> Batch:
        """Excerpts of one part of the split, in the units the model was trained in."""
        return self.material.part(name)


def read_config(folder: str | Path) -> RunConfig:
    """The configuration a run was trained with. Raises `ConfigError` where the folder holds no run."""
    path = Path(folder) / "config.yaml"
    if not path.is_file():
        raise ConfigError(
            f"{folder}: not a run folder, it has no config.yaml. Name a folder that `tenuto train` made."
        )
    return RunConfig.parse(parse_yaml(read_text(path), str(path)), str(path))


def open_run(folder: str | Path, prepared: Prepared) -> Run:
    """Open a run with its data.

    Raises:
        CheckpointError: The model predicts other emotions than the data set rates, or was trained on other data.
    """
    folder = Path(folder)
    config, recogniser = read_config(folder), load(folder)
    if recogniser.emotions != prepared.index.emotions:
        raise CheckpointError(
            f"{folder}: predicts {', '.join(recogniser.emotions)}; {prepared.name} rates "
            f"{', '.join(prepared.index.emotions)}. Use the data set the run was trained on."
        )
    if recogniser.fingerprint not in (prepared.fingerprint, IMPORTED):
        raise CheckpointError(
            f"{folder}: was trained on data {recogniser.fingerprint[:8]}, {prepared.name} now is "
            f"{prepared.fingerprint[:8]} (other clips, audio or ratings). Use the data the run was trained on."
        )
    stored = folder / "split.csv"
    index = prepared.index
    split = read_split(stored) if stored.is_file() else draw(index, config.data.split, config.data.split_seed)
    prepared.places(
        split.train + split.validation + split.test
    )  # raises for a clip the data set does not have
    material = Material(prepared, config.data, split, recogniser.normalisation)
    return Run(folder, config, recogniser, material)


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
