"""The contract of attacks: what is refused, what is picked, and that a model is left as it was found."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from tenuto.attacks.base import (
    AttackResult,
    Examples,
    default_batch_size,
    emotions_of,
    input_gradient,
    joined,
    left_as_found,
    listed,
)
from tenuto.errors import AttackError, ConfigError


class Prediction(NamedTuple):
    emotions: object
    concepts: object = None


INPUTS = torch.zeros(3, 1, 4, 2)
TARGETS = torch.zeros(3, 8)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (np.zeros((3, 1, 4, 2)), TARGETS, "inputs are a ndarray"),
        (INPUTS.long(), TARGETS, "inputs are torch.int64, wanted floating point"),
        (torch.zeros(0, 1, 4, 2), torch.zeros(0, 8), "filled batch"),
        (torch.zeros(3), TARGETS, r"shape \(3,\)"),
        (INPUTS, TARGETS.tolist(), "targets are a list"),
        (INPUTS, TARGETS.long(), "targets are torch.int64"),
        (INPUTS, TARGETS[:2], "do not fit 3 inputs"),
        (INPUTS, torch.zeros(3, 1, 8), "do not fit 3 inputs"),
    ],
)
def test_unfit_examples_are_refused(inputs, targets, message):
    with pytest.raises(AttackError, match=message):
        Examples.checked(inputs, targets)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_are_refused_by_name(value):
    inputs = INPUTS.clone()
    inputs[1, 0, 2, 1] = value
    with pytest.raises(AttackError, match="inputs of clip 007 hold NaN or infinity"):
        Examples.checked(inputs, TARGETS, ["006", "007", "008"])


def test_targets_that_are_not_finite_are_refused_by_position():
    targets = TARGETS.clone()
    targets[2, 5] = float("nan")
    with pytest.raises(AttackError, match="targets of clip 2 hold NaN"):
        Examples.checked(INPUTS, targets)


def test_names_must_match():
    with pytest.raises(AttackError, match="2 names came with 3 inputs"):
        Examples.checked(INPUTS, TARGETS, ["a", "b"])


def test_targets_take_the_dtype_of_the_inputs():
    assert Examples.checked(INPUTS, TARGETS.double()).targets.dtype == torch.float32


def test_examples_do_not_share_memory_with_the_caller():
    examples = Examples.checked(INPUTS, TARGETS)
    examples.inputs.add_(1)
    examples.targets.add_(1)
    assert not INPUTS.any()
    assert not TARGETS.any()


@pytest.mark.parametrize(("device", "count"), [("cpu", 6), ("cuda", 64), ("cuda:1", 64)])
def test_a_gpu_takes_more_examples_at_once(device, count):
    assert default_batch_size(torch.device(device)) == count


def test_chunks_keep_the_order():
    chunks = list(Examples.checked(INPUTS, TARGETS, ["a", "b", "c"]).chunks(2))
    assert [chunk.names for chunk in chunks] == [("a", "b"), ("c",)]


def test_a_chunk_must_hold_something():
    with pytest.raises(ConfigError, match="batch_size is 0"):
        list(Examples.checked(INPUTS, TARGETS).chunks(0))


def test_at_most_five_names_are_listed():
    assert listed("abcdefg", np.ones(7, bool)) == "clips a, b, c, d, e and 2 more"


def test_a_tensor_is_taken_as_emotions():
    assert emotions_of(TARGETS, TARGETS) is TARGETS


def test_emotions_are_picked_from_a_prediction():
    assert emotions_of(Prediction(TARGETS, INPUTS), TARGETS) is TARGETS


@pytest.mark.parametrize("output", [None, (TARGETS,), Prediction(None)])
def test_an_output_without_emotions_is_refused(output):
    with pytest.raises(AttackError, match="wanted a tensor or an object whose 'emotions'"):
        emotions_of(output, TARGETS)


def test_emotions_of_a_half_precision_model_take_the_dtype_of_the_targets():
    assert emotions_of(TARGETS.bfloat16(), TARGETS).dtype == torch.float32


def test_emotions_that_do_not_fit_the_targets_are_refused():
    with pytest.raises(AttackError, match=r"shape \(3, 7\), the targets have \(3, 8\)"):
        emotions_of(torch.zeros(3, 7), TARGETS)


def test_every_example_has_its_own_gradient():
    point = torch.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
    gradient = input_gradient(point.square().mean(dim=1), point)
    assert gradient.flatten().tolist() == [2.0, 4.0, 6.0]


@pytest.mark.parametrize("requires_grad", [False, True], ids=["constant", "of something else"])
def test_losses_without_a_gradient_are_refused(requires_grad):
    point = torch.zeros(3, 1, requires_grad=True)
    with pytest.raises(AttackError, match="no gradient with respect to its input"):
        input_gradient(torch.ones(3, requires_grad=requires_grad), point)


def mixed_model() -> nn.Module:
    """A network whose parts differ in mode, and whose weights differ in what they collect."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 8))
    model[2].eval()
    model[1].bias.requires_grad_(False)
    model[4].weight.grad = torch.full((8, 6), 0.25)
    return model


def snapshot(model: nn.Module) -> dict[str, object]:
    return {
        "modes": [module.training for module in model.modules()],
        "wanted": [weight.requires_grad for weight in model.parameters()],
        "gradients": [None if w.grad is None else w.grad.tolist() for w in model.parameters()],
        "state": {name: value.tolist() for name, value in copy.deepcopy(model.state_dict()).items()},
    }


def test_inside_the_block_the_model_is_frozen_and_evaluating():
    model = mixed_model()
    with left_as_found(model):
        assert not any(module.training for module in model.modules())
        assert not any(weight.requires_grad for weight in model.parameters())


def test_after_the_block_the_model_is_as_before():
    model = mixed_model()
    before = snapshot(model)
    with left_as_found(model):
        model(torch.randn(3, 8))
    assert snapshot(model) == before


def test_after_an_error_the_model_is_as_before():
    model = mixed_model()
    before = snapshot(model)
    with pytest.raises(KeyError), left_as_found(model):
        raise KeyError
    assert snapshot(model) == before


@pytest.mark.parametrize("switch", [torch.no_grad, torch.inference_mode])
def test_gradients_are_recorded_where_the_caller_switched_them_off(switch):
    with switch(), left_as_found(lambda x: x):
        point = torch.ones(2, 1, requires_grad=True)
        assert input_gradient(point.square().sum(dim=1), point).tolist() == [[2.0], [2.0]]


def test_results_are_joined_in_order():
    parts = [AttackResult(*(torch.full((2, 1), float(i)) for _ in range(8))) for i in (1, 2)]
    assert joined(parts).loss.flatten().tolist() == [1.0, 1.0, 2.0, 2.0]
