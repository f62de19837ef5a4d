"""Sequential and independent bottlenecks: concepts alone are trained, then the emotions are fitted on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tenuto.config import RunConfig
from tenuto.data.batches import Material
from tenuto.errors import ConfigError
from tenuto.files import read_csv, read_json
from tenuto.models import NETWORKS, Network, Prediction
from tenuto.models.backbone import BackboneNetwork
from tenuto.models.checkpoint import load
from tenuto.models.recogniser import predict
from tenuto.training import loop
from tenuto.training.bottleneck import least_squares
from tests import small_runs
from tests.small_runs import numbers, settings

KINDS = ("sequential", "independent")


def bottleneck(kind, **train):
    return settings("A2B2E", bottleneck=kind, task_loss_weight=0, **{"epochs": 2, **train})


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {kind: loop.train(bottleneck(kind), prepared, folder) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_emotions_are_the_best_linear_fit_on_concepts_of_training_clips(trained, prepared, kind):
    recogniser = load(trained[kind])
    clips = Material(prepared, bottleneck(kind).data).part("train")
    concepts = predict(recogniser.network, clips.inputs).concepts if kind == "sequential" else clips.concepts
    assert concepts is not None
    layer = recogniser.network.head.emotions
    residuals = (clips.labels - layer(concepts)).detach().double()
    inputs = torch.cat([concepts, torch.ones(len(concepts), 1)], dim=1).double()
    np.testing.assert_allclose(inputs.T @ residuals, 0, atol=1e-4)  # no residual is left to fit


def test_both_kinds_learn_the_same_concepts_and_differ_in_the_emotions(trained):
    one, other = (load(trained[kind]).network.state_dict() for kind in KINDS)
    differing = {name for name in one if not torch.equal(one[name], other[name])}
    assert differing == {"head.emotions.weight", "head.emotions.bias"}


def test_concepts_choose_the_checkpoint_and_name_the_units(trained, prepared):
    run = trained["sequential"]
    assert run.name.startswith("A2M2E_sequential-6-")
    history = read_csv(run / "history.csv")
    assert list(history) == ["epoch", "loss", "validation_concepts", "score"]
    assert history["score"].tolist() == history["validation_concepts"].tolist()
    assert read_json(run / "training.json")["scored"] == ["concepts"]
    assert load(run).concepts == prepared.index.concepts


@pytest.mark.parametrize("last", ["_fit_emotions", "_finish"])
def test_a_run_that_ends_before_or_after_the_fit_is_completed(trained, prepared, tmp_path, monkeypatch, last):
    with monkeypatch.context() as patch:
        patch.setattr(loop, last, small_runs.interrupt)
        with pytest.raises(small_runs.InterruptionError):
            loop.train(bottleneck("sequential"), prepared, tmp_path)
    assert numbers(loop.train(bottleneck("sequential"), prepared, tmp_path)) == numbers(trained["sequential"])


def test_a_constant_concept_leaves_a_finite_fit():
    inputs = np.array([[0.0, 0.3], [1.0, 0.3], [2.0, 0.3]])
    weight, bias = least_squares(inputs, 2 * inputs[:, :1] + 1)
    np.testing.assert_allclose(weight, [[2.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(bias, [1.0], atol=1e-12)


def test_data_without_concept_ratings_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"learns concepts \(bottleneck sequential\), but .* no concept"):
        loop.train(bottleneck("sequential"), small_runs.unrated(tmp_path), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_networks_without_known_concepts_are_refused(prepared, tmp_path, monkeypatch):
    class Curved(Network):
        has_concepts = True

        def forward(self, excerpts):
            return Prediction(excerpts, excerpts)

    class Own(BackboneNetwork):
        has_concepts = True

        def __init__(self, emotions, concepts, width):
            super().__init__(emotions, concepts, width)
            self.attach(torch.nn.Linear(self.backbone.features, emotions))

    monkeypatch.setattr(NETWORKS, "_parts", {**NETWORKS._parts, "curved": Curved, "own": Own})
    for network, message in (
        ("a2e", "needs the network a2m2e"),
        ("own", "is not known of the network own"),
        ("curved", "is not known of the network curved"),
    ):
        config = RunConfig.parse({"model": {"network": network}, "train": {"bottleneck": "independent"}}, "x")
        with pytest.raises(ConfigError, match=f"bottleneck independent .*{message}"):
            loop.train(config, prepared, tmp_path)
