"""What a run trains on: parts, excerpts, normalisation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tenuto.config import DataConfig
from tenuto.data import Index, Prepared
from tenuto.data.batches import Batch, Material, check, check_labels, check_split
from tenuto.data.excerpts import Normalisation
from tenuto.data.inputs import LogSpectrogramInputs
from tenuto.data.splits import Split, draw
from tenuto.errors import ConfigError, DataError
from tests import small_runs
from tests.small_runs import settings

CLIPS = 20


@pytest.fixture(scope="module")
def prepared():
    """Clips longer than an excerpt; every frame says which clip and which frame it is."""
    random = np.random.default_rng(0)
    names = tuple(f"clip {number}" for number in range(CLIPS))
    frames = 330 + 7 * np.arange(CLIPS)
    spectrograms = tuple(
        np.tile((1000 * number + np.arange(count, dtype=np.float32))[:, None], (1, 149))
        for number, count in enumerate(frames)
    )
    index = Index(
        clips=names,
        paths=tuple(Path(name) for name in names),
        emotions=("calm", "joy"),
        labels=random.uniform(size=(CLIPS, 2)),
        concepts=("mode",),
        concept_labels=random.uniform(size=(CLIPS, 1)),
    )
    return Prepared("made up", index, spectrograms, "0" * 64)


UNCHANGED = LogSpectrogramInputs(Normalisation(0.0, 1.0))


def first_frames(batch):
    """Where each excerpt begins, read from what it holds."""
    return (batch.inputs[:, 0, 0, 0] % 1000).int().tolist()


def test_parts_are_those_of_the_split(prepared):
    material = Material(prepared, DataConfig())
    split = draw(prepared.index, "paper")
    assert [material.part(name).clips for name in ("train", "validation", "test")] == [
        split.train,
        split.validation,
        split.test,
    ]


def test_a_stored_split_is_used(prepared):
    split = Split(prepared.index.clips[:4], prepared.index.clips[4:6], prepared.index.clips[9:7:-1])
    assert Material(prepared, DataConfig(), split).part("test").clips == ("clip 9", "clip 8")


def test_a_split_of_other_data_is_refused(prepared):
    split = Split(("clip 1",), ("clip 2",), ("clip 99",))
    with pytest.raises(DataError, match="clip 99 is in the split but not in made up"):
        Material(prepared, DataConfig(), split).part("test")


def test_audio_labels_and_concepts_of_a_row_belong_to_its_clip(prepared):
    batch = Material(prepared, DataConfig(), inputs=UNCHANGED).part("train")
    rows = prepared.places(batch.clips)
    assert batch.inputs.shape == (len(rows), 1, 313, 149)
    assert (batch.inputs[:, 0, 0, 0] // 1000).int().tolist() == rows
    assert torch.equal(batch.labels, torch.from_numpy(prepared.index.labels[rows].astype(np.float32)))
    expected = torch.from_numpy(prepared.index.concept_labels[rows].astype(np.float32))
    assert batch.concepts is not None
    assert torch.equal(batch.concepts, expected)


def test_fixed_excerpts_are_the_same_in_every_epoch(prepared):
    material = Material(prepared, DataConfig(excerpts="fixed"), inputs=UNCHANGED)
    assert torch.equal(material.training(6, 1).inputs, material.training(7, 2).inputs)
    assert first_frames(material.training(6, 1)) == first_frames(material.part("train"))


def test_fresh_excerpts_follow_from_seed_and_epoch(prepared):
    material = Material(prepared, DataConfig(excerpts="fresh"), inputs=UNCHANGED)
    first = first_frames(material.training(6, 1))
    assert first == first_frames(material.training(6, 1))
    assert first != first_frames(material.training(6, 2))
    assert first != first_frames(material.training(7, 1))


def test_fresh_excerpts_lie_inside_their_clips(prepared):
    material = Material(prepared, DataConfig(excerpts="fresh"), inputs=UNCHANGED)
    clips = material.training(6, 1)
    rooms = [330 + 7 * row - 313 for row in prepared.places(clips.clips)]
    assert all(0 <= start <= room for start, room in zip(first_frames(clips), rooms, strict=True))


def test_validation_and_test_excerpts_never_change(prepared):
    fresh = Material(prepared, DataConfig(excerpts="fresh"))
    fixed = Material(prepared, DataConfig(excerpts="fixed"))
    for name in ("validation", "test"):
        assert torch.equal(fresh.part(name).inputs, fixed.part(name).inputs)


def constant(prepared, values):
    """The same clips, each with one value everywhere."""
    clips = tuple(np.full((320, 149), value, np.float32) for value in values)
    return Prepared(prepared.name, prepared.index, clips, prepared.fingerprint)


@pytest.mark.parametrize(("normalisation", "mean"), [("train", 2.0), ("all", 0.8 * 2.0 + 0.2 * 12.0)])
def test_normalisation_sees_training_clips_or_all(prepared, normalisation, mean):
    level = dict.fromkeys(prepared.index.clips, 12.0)
    level |= {clip: (1.0, 3.0)[row % 2] for row, clip in enumerate(draw(prepared.index, "paper").train)}
    material = Material(constant(prepared, level.values()), DataConfig(normalisation=normalisation))
    assert small_runs.normalisation(material.inputs).mean == pytest.approx(mean)


def test_training_inputs_are_normalised(prepared):
    material = Material(constant(prepared, [1.0, 3.0] * (CLIPS // 2)), DataConfig(normalisation="all"))
    assert set(material.part("train").inputs.unique().tolist()) == {-1.0, 1.0}


def test_a_stored_normalisation_is_used(prepared):
    material = Material(prepared, DataConfig(), inputs=LogSpectrogramInputs(Normalisation(5.0, 2.0)))
    plain = Material(prepared, DataConfig(), inputs=UNCHANGED)
    assert torch.equal(material.part("test").inputs, (plain.part("test").inputs - 5) / 2)


def test_taking_rows_keeps_them_together():
    batch = Batch(("a", "b", "c"), torch.arange(3.0), 10 * torch.arange(3.0), 100 * torch.arange(3.0))
    taken = batch.take(torch.tensor([2, 0]))
    assert taken.clips == ("c", "a")
    assert (taken.inputs.tolist(), taken.labels.tolist(), taken.concepts.tolist()) == (
        [2, 0],
        [20, 0],
        [200, 0],
    )


def test_a_batch_without_concepts_stays_without():
    batch = Batch(("a",), torch.zeros(1), torch.zeros(1), None)
    assert batch.take(torch.tensor([0])).concepts is None
    assert batch.to(torch.device("cpu")).concepts is None


def test_concept_loss_without_concept_ratings_is_refused(prepared):
    index = Index(prepared.index.clips, prepared.index.paths, prepared.index.emotions, prepared.index.labels)
    bare = Prepared("soundtracks", index, prepared.spectrograms, prepared.fingerprint)
    with pytest.raises(
        ConfigError,
        match=r"A2M2E learns concepts .* soundtracks has no concept ratings\. .*`concepts=signal`",
    ):
        check(settings("A2M2E"), bare)
    check(settings("A2B2E"), bare)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_part_of_one_clip_is_refused(part):
    two = ("a", "b")
    check_split(Split(two, two, two))
    with pytest.raises(DataError, match=f"1 clip in the {part} part: at least two"):
        check_split(dataclasses.replace(Split(two, two, two), **{part: ("a",)}))


@pytest.mark.parametrize("last_digit", [0.0, 1e-16])
@pytest.mark.parametrize("kind", ["emotion", "concept"])
@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_column_that_is_constant_in_a_part_is_refused_by_name(kind, part, last_digit):
    clips, random = tuple("abcdefgh"), np.random.default_rng(0)
    split = Split(clips[:4], clips[4:6], clips[6:])
    values = {"emotion": random.uniform(size=(8, 2)), "concept": random.uniform(size=(8, 2))}

    def index() -> Index:
        paths = tuple(Path(clip) for clip in clips)
        return Index(clips, paths, ("calm", "sad"), values["emotion"], ("calm", "sad"), values["concept"])

    check_labels(index(), split, with_concepts=True)
    values[kind][slice(0, 4) if part == "training" else slice(4, 6), 1] = 0.1
    values[kind][0 if part == "training" else 4, 1] += last_digit
    with pytest.raises(
        DataError, match=rf"^{kind} sad: all \d {part} clips have the same value.*`split_seed`"
    ):
        check_labels(index(), split, with_concepts=True)
    if kind == "concept":
        check_labels(index(), split, with_concepts=False)
