"""How attacks call a model: what is taken from its output, and that the module is left as it was found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from tenuto.attacks.calling import Evaluator, emotions_of, input_gradient, left_as_found
from tenuto.errors import AttackError

TARGETS = torch.zeros(3, 8)


class Prediction(NamedTuple):
    emotions: object
    concepts: object = None


def test_emotions_are_a_copy_in_the_dtype_of_the_targets():
    emotions = emotions_of(TARGETS, TARGETS)
    assert emotions is not TARGETS
    assert torch.equal(emotions, TARGETS)
    assert emotions_of(TARGETS.bfloat16(), TARGETS).dtype == torch.float32


@pytest.mark.parametrize(
    "returned",
    [
        TARGETS + 1,
        SimpleNamespace(emotions=TARGETS + 1),
        Prediction(TARGETS + 1),
        (TARGETS + 1, "more"),
        [TARGETS + 1],
        {"features": TARGETS, "emotions": TARGETS + 1},
        {"logits": TARGETS + 1},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_model_may_return(returned):
    assert torch.equal(emotions_of(returned, TARGETS), TARGETS + 1)


@pytest.mark.parametrize(
    "output", [None, (), ("a",), {"emotions": 1}, Prediction(None), Prediction(None, TARGETS)]
)
def test_an_output_without_emotions_is_refused(output):
    with pytest.raises(AttackError, match=r"without emotions\. It must return a tensor, an object or dict"):
        emotions_of(output, TARGETS)


@pytest.mark.parametrize(
    ("weights", "inputs", "advice"),
    [
        (torch.float32, torch.float64, r"the inputs with .to\(torch.float32"),
        (torch.float64, torch.float32, r"the inputs with .to\(torch.float64"),
        # Attacks refuse inputs in bfloat16.
        (torch.bfloat16, torch.float32, r"the model with .to\(torch.float32"),
    ],
)
def test_inputs_of_another_floating_point_type_are_refused_with_both(weights, inputs, advice):
    evaluate = Evaluator(nn.Linear(4, 8).to(weights))
    with pytest.raises(
        AttackError, match=f"inputs are {inputs}, but the model's weights are {weights}: convert .*{advice}"
    ):
        evaluate(torch.zeros(3, 4, dtype=inputs), TARGETS.to(inputs))


def test_a_model_may_convert_its_inputs_itself():
    class Converting(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs.float())

    outputs = Evaluator(Converting(4, 8))(torch.zeros(3, 4, dtype=torch.float64), TARGETS.double())
    assert outputs.emotions.dtype == torch.float64


@pytest.mark.parametrize("shape", [(3, 7), (3,), (3, 8, 1)])
def test_emotions_that_do_not_fit_the_targets_are_refused(shape):
    with pytest.raises(AttackError, match=r"emotions of shape .*, but the targets have shape \(3, 8\)"):
        emotions_of(torch.zeros(shape), TARGETS)


@pytest.mark.parametrize("outputs", [1, 8])
def test_a_model_that_squeezes_may_see_a_single_example(outputs):
    targets = TARGETS[:1, :outputs]
    assert torch.equal(emotions_of(targets.squeeze(), targets), targets)


def test_concepts_are_copied_too():
    concepts = torch.ones(3, 2)
    answers: tuple[Any, ...] = (Prediction(TARGETS, concepts), {"emotions": TARGETS, "concepts": concepts})
    for answer in answers:
        outputs = Evaluator([answer].__getitem__)(torch.tensor(0), TARGETS)
        assert outputs.concepts is not None
        assert torch.equal(outputs.concepts, concepts)
        assert outputs.concepts is not concepts


def test_every_example_has_its_own_gradient():
    point = torch.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
    gradient = input_gradient(point.square().mean(dim=1), point)
    assert gradient.flatten().tolist() == [2.0, 4.0, 6.0]


@pytest.mark.parametrize("requires_grad", [False, True], ids=["constant", "of something else"])
def test_losses_without_a_gradient_are_refused(requires_grad):
    point = torch.zeros(3, 1, requires_grad=True)
    with pytest.raises(AttackError, match="no gradient with respect to its input"):
        input_gradient(torch.ones(3, requires_grad=requires_grad), point)


def test_inside_the_block_the_model_is_frozen_and_evaluating():
    model = nn.Sequential(nn.Linear(8, 6), nn.Dropout(0.5))
    with left_as_found(model):
        assert not any(module.training for module in model.modules())
        assert not any(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("switch", [torch.no_grad, torch.inference_mode])
def test_gradients_are_recorded_where_the_caller_switched_them_off(switch):
    with switch(), left_as_found(lambda x: x):
        point = torch.ones(2, 1, requires_grad=True)
        assert input_gradient(point.square().sum(dim=1), point).tolist() == [[2.0], [2.0]]


def test_complex_outputs_are_refused():
    with pytest.raises(AttackError, match="complex emotions"):
        emotions_of(TARGETS + 1j, TARGETS)
    with pytest.raises(AttackError, match="complex concepts"):
        Evaluator(lambda inputs: Prediction(TARGETS, TARGETS + 1j))(torch.zeros(3, 4), TARGETS)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 2, 1)])
def test_concepts_that_do_not_fit_the_inputs_are_refused(shape):
    evaluate = Evaluator(lambda inputs: Prediction(TARGETS, torch.zeros(shape)))
    with pytest.raises(AttackError, match=r"concepts of shape .* for 3 inputs"):
        evaluate(torch.zeros(3, 4), TARGETS)


class Hiding(nn.Module):
    """Keeps its network where ``modules()`` does not find it."""

    def __init__(self, network):
        super().__init__()
        self.networks = [network]

    def forward(self, inputs):
        return self.networks[0](inputs)


@pytest.mark.parametrize("hide", [Hiding, lambda network: network.forward])
def test_batch_normalisation_in_training_mode_is_refused_and_does_not_run(hide):
    network = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 8))
    model = hide(network)
    with left_as_found(model), pytest.raises(AttackError, match="BatchNorm1d in training mode"):
        Evaluator(model)(torch.ones(3, 4), TARGETS)
    assert network[0].num_batches_tracked == 0
    network.eval()
    with left_as_found(model):
        Evaluator(model)(torch.ones(3, 4), TARGETS)


def test_batch_normalisation_without_statistics_needs_a_batch_of_one():
    network = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten(), nn.Linear(4, 8))
    with left_as_found(network):
        with pytest.raises(AttackError, match="without running statistics"):
            Evaluator(network)(torch.ones(3, 1, 2, 2), TARGETS)
        Evaluator(network)(torch.ones(1, 1, 2, 2), TARGETS[:1])


def test_a_network_without_weights_yet_is_refused():
    with pytest.raises(AttackError, match="LazyLinear has no weights yet"), left_as_found(nn.LazyLinear(8)):
        pass
