"""Averaged weights: the formula, and batch statistics that belong to them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tenuto.files import read_csv
from tenuto.models import Prediction
from tenuto.models.checkpoint import load
from tenuto.models.systems import Network
from tenuto.training import loop
from tenuto.training.averaging import Average
from tests.small_runs import settings


class Normed(Network):
    """One convolution whose outputs are normalised."""

    def __init__(self) -> None:
        super().__init__(1, 1, 1.0)
        self.register_buffer("seen", torch.zeros(()))
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(0.5))

    def forward(self, excerpts):
        if self.training:
            self.get_buffer("seen").add_(1)
        return Prediction(self.layers(excerpts).mean(dim=(2, 3)))


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield Normed().train()


def test_weights_are_an_exponential_average_that_forgets_the_first_ones(network):
    average, weight = Average(network, decay=0.5), network.layers[0].weight
    expected = float(weight.detach()[0, 0, 0, 0])
    for number in range(1, 21):
        with torch.no_grad():
            weight.fill_(number)
        average.update(network, [])
        decay = min(0.5, number / (number + 9))
        expected = decay * expected + (1 - decay) * number
        assert float(average.network.layers[0].weight[0, 0, 0, 0]) == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(19, abs=0.1)


def test_weights_of_another_type_are_averaged_too(network):
    average = Average(network.double(), decay=0.5)
    weight, before = network.layers[0].weight, network.layers[0].weight.detach().clone()
    with torch.no_grad():
        weight.add_(1)
    average.update(network, [])
    torch.testing.assert_close(average.network.layers[0].weight, before + 0.9, rtol=0, atol=1e-6)


def test_batch_statistics_are_those_of_the_averaged_weights_without_dropout(network):
    average, inputs = Average(network, decay=0.99), torch.randn(16, 1, 8, 8)
    for number in range(400):
        with torch.no_grad():  # weights that swing: means of their variances are far too large
            network.layers[0].weight.copy_((-1) ** number * 3 + torch.ones_like(network.layers[0].weight))
        network(inputs)
        average.update(network, [inputs])
    features = average.network.layers[0](inputs)
    norm = average.network.layers[1]
    torch.testing.assert_close(norm.running_mean, features.mean(dim=(0, 2, 3)), rtol=0.1, atol=0.1)
    torch.testing.assert_close(norm.running_var, features.var(dim=(0, 2, 3)), rtol=0.2, atol=0.1)
    assert (network.layers[1].running_var > 5 * norm.running_var).all()
    assert float(average.network.get_buffer("seen")) == 400  # other buffers are those of the network
    assert not average.network.training
    assert network.training


def test_training_is_the_same_and_the_average_is_scored_and_saved(prepared, tmp_path):
    configs = settings("A2E", epochs=2), settings("A2E", epochs=2, average=0.99)
    runs = [loop.train(config, prepared, tmp_path) for config in configs]
    plain, averaged = (read_csv(run / "history.csv") for run in runs)
    assert plain["loss"].tolist() == averaged["loss"].tolist()
    assert (plain["validation_emotions"] != averaged["validation_emotions"]).all()
    weights = [load(run).network.state_dict() for run in runs]
    assert not torch.equal(weights[0]["head.emotions.weight"], weights[1]["head.emotions.weight"])
