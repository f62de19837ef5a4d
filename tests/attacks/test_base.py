"""The arguments of attacks, and how results are joined."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tenuto.attacks.base import Examples, default_batch_size
from tenuto.attacks.checks import listed
from tenuto.errors import AttackError, ConfigError

INPUTS = torch.zeros(3, 1, 4, 2)
TARGETS = torch.zeros(3, 8)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (np.zeros((3, 1, 4, 2)), TARGETS, r"inputs must be a floating point tensor .*, got a ndarray"),
        (INPUTS.long(), TARGETS, "inputs must be floating point, got torch.int64"),
        (torch.zeros(0, 1, 4, 2), torch.zeros(0, 8), "non-empty batch"),
        (torch.zeros(3), TARGETS, r"shape \(3,\)"),
        (INPUTS, TARGETS.tolist(), "targets must be a floating point tensor"),
        (INPUTS, TARGETS.long(), "targets must be floating point"),
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
    with pytest.raises(AttackError, match="inputs of clip 007 contain NaN or infinity"):
        Examples.checked(inputs, TARGETS, ["006", "007", "008"])


def test_targets_that_are_not_finite_are_refused_by_position():
    targets = TARGETS.clone()
    targets[2, 5] = float("nan")
    with pytest.raises(AttackError, match="targets of clip 2 contain NaN"):
        Examples.checked(INPUTS, targets)


def test_names_must_match():
    with pytest.raises(AttackError, match="Got 2 names for 3 inputs"):
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


def test_a_chunk_must_hold_something():
    with pytest.raises(ConfigError, match="batch_size must be a whole number of at least 1, got 0"):
        list(Examples.checked(INPUTS, TARGETS).chunks(0))


def test_at_most_five_names_are_listed():
    assert listed("abcdefg", np.ones(7, bool)) == "clips a, b, c, d, e and 2 more"
