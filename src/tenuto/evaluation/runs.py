"""A run folder opened together with the data its model is judged on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from tenuto.config import DataConfig, RunConfig
from tenuto.data import DATASETS, open_dataset
from tenuto.data.batches import Batch, Material
from tenuto.data.cache import Prepared
from tenuto.data.excerpts import WAVEFORM_UNIT
from tenuto.data.inputs import FramedWaveformInputs, LogSpectrogramInputs
from tenuto.data.splits import PARTS, Split, draw
from tenuto.errors import CheckpointError, DataError, counted, did_you_mean
from tenuto.models.adoption import FrontEnd, Model
from tenuto.models.checkpoint import IMPORTED, load
from tenuto.models.matching import converted_to, judged_on
from tenuto.models.recogniser import Recogniser, Scale
from tenuto.models.systems import Network, for_attack
from tenuto.store.run import RunFolder, is_file


@dataclasses.dataclass(frozen=True)
class OpenedRun:
    """A run: its folder, configuration and model, and the clips its model was trained on or is judged on.

    Attributes:
        folder: The run's folder.
        config: The configuration.
        recogniser: The model as it is judged: the emotions that the data rate, on the scale of the labels.
        material: The clips.
        own: The model itself, with all its outputs on its own scale; None where that is `recogniser`.
        remarks: What was matched and converted, a sentence each.
    """

    folder: Path
    config: RunConfig
    recogniser: Recogniser
    material: Material
    own: Recogniser | None = dataclasses.field(default=None, kw_only=True, repr=False)
    remarks: tuple[str, ...] = dataclasses.field(default=(), kw_only=True, repr=False)

    @property
    def name(self) -> str:
        """The folder's name: system, seed, signature."""
        return self.files.name

    @property
    def model(self) -> Recogniser:
        """The model itself, with all its outputs on its own scale."""
        return self.own or self.recogniser

    @property
    def threads(self) -> int:
        """CPU threads it was trained with."""
        return self.config.resolved().train.threads

    @property
    def has_concept_ratings(self) -> bool:
        """Whether the data rate exactly the concepts of the bottleneck, on the scale it learned them on."""
        index = self.material.prepared.index
        are_same = self.model.scale == self.recogniser.scale and self.recogniser.concepts == index.concepts
        return are_same and index.concept_labels is not None

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
        """Excerpts of one part of the split, as the model takes them. Raises `DataError` where it has no clips."""
        if not self.material.split.part(name):
            raise DataError(f"{self.name}: its split has no {name} clips. Choose another part of it.")
        return self.material.part(name)

    def in_sound(self) -> Self:
        """The same run with waveforms as the inputs of its model; itself where they are already.

        Raises:
            ConfigError: The model takes features of a front end of its own.
        """
        if self.recogniser.inputs.is_sound:
            return self
        recogniser, own = self.recogniser.in_sound(), self.own and self.own.in_sound()
        material = self.material
        material = Material(material.prepared, material.config, material.split, recogniser.inputs)
        return dataclasses.replace(self, recogniser=recogniser, own=own, material=material)

    def in_unit(self, unit: str) -> Self:
        """The same run with inputs in which perturbations have this unit: those in which rows were attacked.

        Args:
            unit: As in the column ``unit`` of rows.
        """
        return self if unit == self.recogniser.inputs.unit or unit != WAVEFORM_UNIT else self.in_sound()


def open_run(
    folder: str | Path,
    prepared: Prepared,
    *,
    model: Model | None = None,
    front_end: FrontEnd | None = None,
    trust: bool = False,
) -> OpenedRun:
    """Open a run with its data.

    Args:
        folder: The run's folder, or that of the run on other data (`RunFolder.on`).
        prepared: The data.
        model: As in `tenuto.models.checkpoint.load`, as are the next two.
        front_end: The front end of an adopted run.
        trust: Whether the code of an adopted run is trusted.

    Raises:
        CheckpointError: The model shares no emotion with the data set, was trained on other data, or is that of
            another run.
        ConfigError: The folder contains no run.
        DataError: The split names clips that the data set does not have.
        FileError: A file of the run cannot be read.
    """
    files = RunFolder(folder)
    config = files.read_config()
    own = load(files.home.path, model=model, front_end=front_end, trust=trust)
    _check_data(files, own, config, prepared)
    return assembled(files, config, own, prepared)


def assembled(files: RunFolder, config: RunConfig, own: Recogniser, prepared: Prepared) -> OpenedRun:
    """The run of a model that was loaded. Errors as in `open_run`."""
    if own.scale is None:  # a checkpoint of an earlier version
        trained_on = files.home.read_config().data
        own = dataclasses.replace(own, scale=open_dataset(trained_on, files.path).label_scale)
    recogniser, index, remarks = judged_on(own, prepared.index, _rating_scale(config.data))
    split = files.read_split() or draw(index, config.data.split, config.data.split_seed)
    prepared = dataclasses.replace(prepared, index=index)
    prepared.places(
        split.train + split.validation + split.test
    )  # raises for a clip the data set does not have
    remarks = (*remarks, *_training_left(files.home), *_seen_in_training(files, split))
    material = Material(prepared, config.data, split, recogniser.inputs)
    return OpenedRun(files.path, config, recogniser, material, own=own, remarks=remarks)


def _rating_scale(data: DataConfig) -> Scale | None:
    """Lowest and highest rating in the files of a data set; None where it is not registered here."""
    if data.folder is not None:
        return data.folder.scale
    return DATASETS[data.dataset].card.emotion_scale if data.dataset in DATASETS else None


def _training_left(files: RunFolder) -> tuple[str, ...]:
    """A remark on weights of a training that has not ended: what is computed with them soon belongs to none."""
    if files.is_trained() or not is_file(files.state):
        return ()
    return (
        "its training has not ended. These are the best weights so far; rows of them do not count once it has gone on.",
    )


def _seen_in_training(files: RunFolder, split: Split) -> tuple[str, ...]:
    """A remark on test clips of other data that have names of clips the model was trained on."""
    home = None if files.home is files else files.home.read_split()
    if home is None or not (again := set(split.test) & {*home.train, *home.validation}):
        return ()
    return (
        f"{len(again)} of {counted(len(split.test), 'test clip has a name', 'test clips have names')} of clips "
        "that the model was trained on. If the recordings are the same, its metrics here are too good; `tenuto "
        "data validate --against` compares them.",
    )


def _check_data(files: RunFolder, recogniser: Recogniser, config: RunConfig, prepared: Prepared) -> None:
    """Raise `CheckpointError` for data that are not those of the run, or of the run on other data."""
    index = prepared.index
    if files.home is not files:
        expected = files.path.name.rpartition("-")[2]
        if not prepared.fingerprint.startswith(expected):
            raise CheckpointError(
                f"{files.path}: holds results on data {expected}, {prepared.name} now is {prepared.fingerprint[:8]} "
                "(other clips, audio or ratings). Use the data the run was judged on."
            )
        return
    if config.adopted is None and recogniser.emotions != index.emotions:
        raise CheckpointError(
            f"{files.path}: predicts {', '.join(recogniser.emotions)}; {prepared.name} rates "
            f"{', '.join(index.emotions)}. Use the data set the run was trained on, or judge it on other data with "
            "`tenuto evaluate RUN --data NAME`."
        )
    if recogniser.fingerprint not in (prepared.fingerprint, IMPORTED):
        raise CheckpointError(
            f"{files.path}: was trained on data {recogniser.fingerprint[:8]}, {prepared.name} now is "
            f"{prepared.fingerprint[:8]} (other clips, audio or ratings). Use the data the run was trained on."
        )


class Sibling(nn.Module):
    """Another model that takes the inputs of a run: normalised as that run's are, not as its own.

    Shape:
        - input: (clips, ...), in the run's units
        - output: `Prediction` of the other model, on the scale on which the run is judged
    """

    def __init__(self, run: OpenedRun, other: Recogniser) -> None:
        super().__init__()
        emotions = run.recogniser.emotions
        if missing_emotions := [name for name in emotions if name not in other.emotions]:
            raise CheckpointError(
                f"the sibling predicts {', '.join(other.emotions)}; {run.name} predicts {', '.join(emotions)}. Name a "
                f"run that predicts {missing_emotions[0]} too."
            )
        if run.recogniser.inputs == FramedWaveformInputs():
            other = other.in_sound()
        scale = run.recogniser.scale or run.material.prepared.index.label_scale
        self.network: Network = for_attack(converted_to(other, emotions, scale)[0].network)
        own, its = run.recogniser.inputs, other.inputs
        self.scale, self.shift = 1.0, 0.0
        if isinstance(own, LogSpectrogramInputs) and isinstance(its, LogSpectrogramInputs):
            own_values, its_values = own.normalisation, its.normalisation
            self.scale = own_values.deviation / its_values.deviation
            self.shift = (own_values.mean - its_values.mean) / its_values.deviation
        elif own != its:
            raise CheckpointError(
                f"the sibling takes {its}, {run.name} takes {own}. Name a run that takes the same inputs."
            )

    def forward(self, inputs: Tensor) -> Any:
        """Predict inputs in the run's units."""
        if (self.scale, self.shift) == (1.0, 0.0):
            return self.network(inputs)
        return self.network(inputs * self.scale + self.shift)
