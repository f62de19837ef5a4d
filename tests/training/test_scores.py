"""What an epoch is scored by, its loss, and its batches."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from tenuto import metrics
from tenuto.data.batches import Batch, Material
from tenuto.files import read_csv, read_json
from tenuto.models import Prediction
from tenuto.training import loop
from tenuto.training.update import Trainee
from tests import small_runs
from tests.small_runs import numbers, settings


@pytest.fixture(scope="module")
def unrated(tmp_path_factory):
    return small_runs.unrated(tmp_path_factory.mktemp("unrated"))


class Echo(nn.Module):
    """Predicts what its input holds: two emotions, then, if wanted, two concepts."""

    def __init__(self, concepts=True):
        super().__init__()
        self.concepts = concepts

    def forward(self, inputs):
        values = inputs.flatten(1)
        return Prediction(values[:, :2], values[:, 2:] if self.concepts else None)


def score_of(network, clips, config):
    """The validation scores of anything that predicts."""
    return loop._validate(network, clips, config)


def echoed(count, wrong=0, concepts=-1.0):
    """Clips whose emotions `Echo` gets right, but for the last ``wrong``; its concepts times ``concepts``."""
    values = torch.rand(count, 4, generator=torch.Generator().manual_seed(0))
    labels = values[:, :2].clone()
    labels[count - wrong :] *= -1
    return Batch(tuple("x" * count), values[:, None, None], labels, concepts * values[:, 2:])


def test_whole_batches_alone_are_scored_as_in_the_study():
    clips = echoed(36, wrong=4)
    config = settings(batch_size=8, drop_last_evaluated=True)
    assert score_of(Echo(concepts=False), clips, config)["score"] == pytest.approx(1)
    all_scored = score_of(Echo(concepts=False), clips, settings(batch_size=8))["score"]
    expected = metrics.pearson(clips.labels.numpy(), clips.inputs.flatten(1)[:, :2].numpy()).mean()
    assert all_scored == pytest.approx(expected)
    assert all_scored < 0.95


def test_less_than_one_batch_is_scored_all_the_same():
    config = settings(batch_size=8, drop_last_evaluated=True)
    assert score_of(Echo(concepts=False), echoed(5), config)["score"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("system", "score_free_units", "concepts_scored"),
    [
        ("A2E", True, False),
        ("A2B2E", False, False),
        ("A2B2E", True, True),
        ("aA2B2E", True, True),
        ("A2M2E", False, True),
    ],
)
def test_the_score_is_emotions_plus_scored_concepts(system, score_free_units, concepts_scored):
    config = settings(system, score_free_units=score_free_units)
    scores = score_of(Echo(), echoed(6, concepts=-1.0), config)
    expected = {"validation_emotions": 1.0, "score": 1.0}
    if concepts_scored:
        expected = {"validation_emotions": 1.0, "validation_concepts": -1.0, "score": 0.0}
    assert scores == pytest.approx(expected, abs=1e-6)


def test_a_prediction_that_is_not_finite_has_no_score():
    clips = echoed(6)
    clips.inputs[2, 0, 0, 0] = math.inf
    assert math.isnan(score_of(Echo(), clips, settings())["score"])


def test_the_paper_s_bottleneck_control_is_scored_on_concepts_it_never_saw(prepared, tmp_path):
    run = loop.train(settings("A2B2E", "paper-2025", epochs=1), prepared, tmp_path)
    result = read_json(run / "training.json")
    assert result["scored"] == ["emotions", "concepts"]
    assert "note" not in result


def test_without_concept_ratings_the_paper_s_score_is_emotions_alone_and_says_so(unrated, tmp_path):
    run = loop.train(settings("A2B2E", "paper-2025", epochs=1), unrated, tmp_path)
    result = read_json(run / "training.json")
    assert result["scored"] == ["emotions"]
    assert "no concept ratings" in result["note"]
    assert loop.remarks(run)[1] == result["note"]


def test_an_a2e_has_nothing_to_remark(unrated, tmp_path):
    run = loop.train(settings("A2E", "paper-2025", epochs=1), unrated, tmp_path)
    assert len(loop.remarks(run)) == 1


# Loss and batches


@pytest.mark.parametrize(
    ("weight", "loss"),
    [
        (1.0, (0.01 + 0.09) / 2),
        (0.5, 0.5 * 0.05 + 0.5 * 0.16),
        (0.25, 0.25 * 0.05 + 0.75 * 0.16),
        (0.0, 0.16),
    ],
)
def test_loss_is_the_weighted_sum_of_both_errors(weight, loss):
    prediction = Prediction(torch.tensor([[0.6, 0.2]]), torch.tensor([[0.9]]))
    batch = Batch(("a",), torch.zeros(1), torch.tensor([[0.5, 0.5]]), torch.tensor([[0.5]]))
    assert float(loop._loss(prediction, batch, weight)) == pytest.approx(loss)


def test_free_units_learn_nothing_from_concept_ratings(prepared, tmp_path):
    index = dataclasses.replace(prepared.index, concepts=(), concept_labels=None)
    bare = dataclasses.replace(prepared, index=index)
    rated, bare_run = (
        loop.train(settings("A2B2E", epochs=2), data, tmp_path / str(place))
        for place, data in enumerate((prepared, bare))
    )
    assert numbers(rated) == numbers(bare_run)


def test_a_recorded_loss_is_the_mean_over_the_batches(prepared, tmp_path, monkeypatch):
    losses = iter([1.0, 2.0, 3.0, 4.0, 5.0, 9.0])
    monkeypatch.setattr(Trainee, "learn", lambda *_: torch.tensor(next(losses)))
    run = loop.train(settings(epochs=1), prepared, tmp_path)
    assert read_csv(run / "history.csv")["loss"].tolist() == [4.0]


def test_an_epoch_deals_every_clip_once_and_drops_the_incomplete_batch(prepared):
    config = settings(batch_size=5)
    material = Material(prepared, config.data)
    batches = loop._shuffled(material, config, 1)
    dealt = [clip for batch in batches for clip in batch.clips]
    assert [len(batch) for batch in batches] == [5, 5, 5, 5]  # of 24
    assert len(set(dealt)) == 20
    assert set(dealt) <= set(material.split.train)


def test_every_epoch_deals_in_its_own_order(prepared):
    config = settings()
    material = Material(prepared, config.data)
    first, again, second = (
        [batch.clips for batch in loop._shuffled(material, config, epoch)] for epoch in (1, 1, 2)
    )
    assert first == again
    assert first != second


def test_fewer_clips_than_a_batch_make_one_batch(prepared):
    config = settings(batch_size=100)
    batches = loop._shuffled(Material(prepared, config.data), config, 1)
    assert [len(batch) for batch in batches] == [24]
