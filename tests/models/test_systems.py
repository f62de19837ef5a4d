"""The networks against the reference's outputs, a new network, and the import of released weights."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from tenuto.config import ModelConfig
from tenuto.errors import CheckpointError, ConfigError
from tenuto.models import (
    NETWORKS,
    Network,
    Prediction,
    build,
    check_network,
    for_attack,
    load,
    load_reference_state,
    predict,
)
from tenuto.training.loop import train
from tests import small_runs
from tests.models.golden import reference_inputs, reference_state


@pytest.mark.parametrize(("system", "parameters"), [("aA2E", 3_937_864), ("aA2B2E", 3_937_671)])
def test_parameter_counts(system, parameters):
    assert sum(weights.numel() for weights in build(system).parameters()) == parameters


@pytest.fixture(scope="module", params=["a2e", "a2m2e"])
def reference(request, shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / f"{request.param}.pt"
    torch.save(reference_state(shared, request.param), path)
    golden = np.load(shared / "golden" / "models" / "reference_models.npz")
    values = {
        k.removeprefix(f"{request.param}_"): golden[k] for k in golden.files if k.startswith(request.param)
    }
    return load_reference_state(path).eval(), reference_inputs(shared), values


@pytest.mark.parametrize("prepared", [lambda network: network, for_attack], ids=["plain", "for_attack"])
def test_outputs_equal_the_reference(reference, prepared):
    network, inputs, golden = reference
    with torch.no_grad():
        prediction = prepared(network)(inputs)
    assert np.abs(prediction.emotions.numpy() - golden["emotions"]).max() <= 1e-4
    if "concepts" in golden:
        assert np.abs(prediction.concepts.numpy() - golden["concepts"]).max() <= 1e-4
    else:
        assert prediction.concepts is None


def test_input_gradients_equal_the_reference(reference):
    """In float64: in float32 a near tie of max-pooling falls either way, with a visible gradient at one pixel."""
    network, inputs, golden = reference
    inputs = inputs.double().requires_grad_()
    emotions = for_attack(network).double()(inputs).emotions
    (gradient,) = torch.autograd.grad(emotions.square().sum(), inputs)
    assert gradient.sum((1, 2, 3)).numpy() == pytest.approx(golden["input_gradient_sum"], rel=1e-4)
    assert gradient.flatten(1).norm(dim=1).numpy() == pytest.approx(golden["input_gradient_l2"], rel=1e-4)


def test_for_attack_leaves_the_network_alone():
    network = build("A2M2E", width=0.125).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copy = for_attack(network)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(weights.requires_grad for weights in copy.parameters())
    assert all(weights.requires_grad for weights in network.parameters())


def test_for_attack_predicts_the_same_after_training_statistics():
    torch.manual_seed(0)
    network = build("A2E", width=0.125)
    inputs = torch.randn(4, 1, 313, 149)
    for _ in range(3):
        network.train()(inputs)
    with torch.no_grad():
        assert torch.allclose(
            for_attack(network)(inputs).emotions, network.eval()(inputs).emotions, atol=1e-5
        )


def test_bottleneck_is_linear_between_concepts_and_emotions():
    network = build("A2M2E", emotions=3, concepts=2, width=0.125).eval()
    prediction = network(torch.randn(2, 1, 313, 149))
    assert isinstance(prediction, Prediction)
    assert prediction.concepts.shape == (2, 2)
    assert torch.allclose(prediction.emotions, network.head.emotions(prediction.concepts))


def test_initialisation_is_kaiming_by_fan_in():
    torch.manual_seed(0)
    network = build("A2E")
    weights = network.backbone.stages[5][0].weight.detach()
    assert float(weights.std()) == pytest.approx((2 / weights[0].numel()) ** 0.5, rel=0.01)
    assert not network.head.emotions.bias.any()


@pytest.mark.parametrize("name", ["A2X", "resnet"])
def test_unknown_system_names_the_nearest(name):
    with pytest.raises(ConfigError, match="Valid: A2E"):
        build(name)


@pytest.mark.parametrize("width", [0, -1, 5])
def test_impossible_width_is_refused(width):
    with pytest.raises(ConfigError, match="width"):
        build("A2E", width=width)


@pytest.fixture
def mean_network():
    """A network that an entry point announces, without `register_network`; undone afterwards."""

    @NETWORKS.register("mean")
    class Mean(Network):
        has_concepts = True

        def __init__(self, emotions, concepts, width):
            super().__init__(emotions, concepts, width)
            self.concepts, self.emotions = nn.Linear(149, concepts), nn.Linear(concepts, emotions)

        def forward(self, excerpts):
            concepts = self.concepts(excerpts.mean(dim=(1, 2)))
            return Prediction(self.emotions(concepts), concepts)

    yield Mean
    del NETWORKS._parts["mean"]


def test_a_new_network_in_one_file_is_trained_loaded_and_attacked(mean_network, tmp_path):
    data = small_runs.rated(tmp_path)
    config = small_runs.settings("A2M2E", epochs=2, adversarial=small_runs.ATTACKED)
    config = config.model_copy(update={"model": config.model.model_copy(update={"network": "mean"})}).named()
    run = train(config, data, tmp_path / "runs")
    assert run.name.startswith("amean_w0.5-6-")
    recogniser = load(run)
    assert isinstance(recogniser.network, mean_network)
    assert recogniser.concepts == data.index.concepts
    assert isinstance(for_attack(recogniser.network), mean_network)


def test_predict_gives_copies_to_the_network_and_copies_its_outputs():
    class InPlace(nn.Module):
        buffer = torch.zeros(1, 2)

        def forward(self, excerpts):
            excerpts -= 0.5
            return Prediction(self.buffer.copy_(excerpts.mean(dim=(1, 2))), self.buffer)

    inputs = torch.arange(4.0).reshape(2, 1, 1, 2)
    prediction = predict(InPlace(), inputs, batch_size=1)
    assert torch.equal(inputs, torch.arange(4.0).reshape(2, 1, 1, 2))
    assert prediction.emotions.tolist() == [[-0.5, 0.5], [1.5, 2.5]]
    assert prediction.concepts is not None
    assert torch.equal(prediction.concepts, prediction.emotions)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("a2mee", "Unknown network 'a2mee'. Did you mean a2m2e"),
        ("a2e", "needs the network a2m2e: a2e has no"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_training(network, message, tmp_path):
    config = small_runs.settings("A2M2E").model_copy(update={"model": ModelConfig(network=network)})
    with pytest.raises(ConfigError, match=message):
        check_network(config)


def test_import_executes_nothing(tmp_path):
    """A pickle that would write a file when loaded: it must be refused and the file must not appear."""
    evidence = tmp_path / "executed"

    class Payload:
        def __reduce__(self):
            return (type(evidence).touch, (evidence,))

    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"fc.weight": Payload()}))
    with pytest.raises(CheckpointError, match="not executed"):
        load_reference_state(path)
    torch.save({"fc.weight": Payload()}, path)
    with pytest.raises(CheckpointError, match="not executed"):
        load_reference_state(path)
    assert not evidence.exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut"])
def test_import_refuses_what_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "bad.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.pt"):
        load_reference_state(path)


@pytest.mark.parametrize(
    "state", [{"fc.weight": torch.zeros(8, 256)}, [torch.zeros(1)], {"a": {"b": torch.zeros(1)}}]
)
def test_import_refuses_other_tensors(tmp_path, state):
    path = tmp_path / "other.pt"
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"other\.pt"):
        load_reference_state(path)


def test_import_names_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_reference_state(tmp_path / "gone.pt")
