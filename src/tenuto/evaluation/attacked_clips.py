"""Features of a run's clips, clean and under the perturbations saved for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenuto.attacks.calling import as_doubles
from tenuto.errors import CheckpointError
from tenuto.evaluation.linear_head import linear_head
from tenuto.evaluation.runs import OpenedRun
from tenuto.files import Array
from tenuto.models.backbone import with_linear_head
from tenuto.store.perturbations import Perturbations, worst_rows
from tenuto.store.rows import unit_of, values_of

Values = NDArray[np.float64]

ATTACKED_BATCH = 8

RECOMPUTED_AGREEMENT = 1e-3
"""Largest allowed difference between recomputed predictions and those in an attack's rows; rounding stays below it."""


@dataclasses.dataclass(frozen=True)
class Attacked:
    """The worst case of a protocol within one budget, for each clip of a part.

    Attributes:
        about: ``protocol``, ``attack`` (its name, or "worst" where the worst cases come from several), ``norm`` and
            ``epsilon`` (NaN for none).
        features: (clips, features) of the attacked excerpts.
    """

    about: dict[str, Any]
    features: Values

    def same(self, other: Attacked) -> bool:
        """Are both of one protocol and budget?"""
        return all(repr(self.about[key]) == repr(other.about[key]) for key in ("protocol", "norm", "epsilon"))


class Clips:
    """One part of a run's clips: their features and saved perturbations."""

    def __init__(self, run: OpenedRun, part: str) -> None:
        self.run, self.part, self.batch = run, part, run.part(part)
        self.head = linear_head(run.recogniser.network)
        self.labels = as_doubles(self.batch.labels)
        self.features = self._features(self.batch.inputs)

    def annotations(self) -> Values | None:
        """Ratings of the concepts, (clips, concepts); None where the bottleneck was not trained on exactly these."""
        concepts = self.batch.concepts if self.run.has_concept_ratings else None
        return None if concepts is None else as_doubles(concepts)

    def attacked(self, protocol: str) -> Iterator[Attacked]:
        """The clips under a protocol, once per budget.

        Raises:
            CheckpointError: Other clips, or attacked with other weights.
            DataError: A clip has no perturbation.
        """
        rows, perturbations = worst_rows(self.run.files, self.part, protocol), Perturbations(self.run.files)
        for _, worst in rows.groupby(["norm", "epsilon"], dropna=False, sort=False):
            worst = worst.set_index("clip", drop=False).reindex(list(self.batch.clips))
            self._check(protocol, worst)
            names = worst["attack"].unique()
            about = {
                "protocol": protocol,
                "attack": str(names[0]) if len(names) == 1 else "worst",
                "norm": str(worst["norm"].iloc[0]),
                "epsilon": float(worst["epsilon"].iloc[0]),
            }
            arrays = [perturbations[row] for _, row in worst.iterrows()]
            yield Attacked(about, self._features(self._attacked_inputs(worst, np.stack(arrays))))

    def _attacked_inputs(self, rows: pd.DataFrame, perturbations: Array) -> Tensor:
        """What the network takes of the clips under saved perturbations, of spectrograms or of waveforms."""
        run, tensor = self.run.in_unit(unit_of(rows)), torch.from_numpy(perturbations)
        if run is self.run:
            return self.batch.inputs + tensor.reshape(self.batch.inputs.shape)
        network: Any = run.recogniser.network
        with torch.no_grad():
            excerpts: Tensor = network.excerpts(run.part(self.part).inputs + tensor)
        return excerpts

    def _check(self, protocol: str, rows: pd.DataFrame) -> None:
        """Are the clean predictions in an attack's rows those of this model?"""
        then = values_of(rows, "clean", self.run.recogniser.emotions)
        difference = np.abs(then - self.head(self.features)).max()
        if not difference <= RECOMPUTED_AGREEMENT:
            raise CheckpointError(
                f"{self.run.folder}: the {self.part} rows of {protocol} belong to other clips, or the run was "
                f"attacked with other weights (clean predictions differ by {difference:.3g}). Delete them and "
                "attack the run again."
            )

    def _features(self, inputs: Tensor) -> Values:
        """Features of excerpts (clips, 1, 313, 149), shape (clips, features)."""
        backbone = with_linear_head(self.run.recogniser.network).backbone
        with torch.no_grad():
            return as_doubles(torch.cat([backbone(batch) for batch in torch.split(inputs, ATTACKED_BATCH)]))
