"""Budgets: their norms, projections and directions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from tenuto.attacks import L2, Budget, Linf, Unbounded
from tenuto.errors import AttackError, ConfigError

DELTA = torch.tensor([[[3.0, -4.0]], [[0.0, 0.0]]])


@pytest.mark.parametrize(
    ("budget", "sizes"), [(Linf(1.0), [4.0, 0.0]), (L2(1.0), [5.0, 0.0]), (Unbounded(), [4.0, 0.0])], ids=repr
)
def test_the_size_of_three_four(budget, sizes):
    assert budget.size(DELTA).tolist() == sizes


@pytest.mark.parametrize(
    ("budget", "nearest"),
    [
        (Linf(3.5), [3.0, -3.5]),
        (L2(2.5), [1.5, -2.0]),
        (L2(6.0), [3.0, -4.0]),
        (Unbounded(), [3.0, -4.0]),
        (Linf(0.0), [0.0, 0.0]),
        (L2(0.0), [0.0, 0.0]),
    ],
    ids=repr,
)
def test_the_nearest_within_the_budget(budget, nearest):
    assert budget.project(DELTA).tolist() == [[nearest], [[0.0, 0.0]]]


@pytest.mark.parametrize(
    ("budget", "nearest"),
    [(Linf(9.0), [[[3.0, -3.5]], [[1.0, 1.0]]]), (L2(9.0), [[[2.1, -2.8]], [[0.6, 0.8]]])],
)
def test_every_example_may_have_a_radius_of_its_own(budget, nearest):
    delta = torch.tensor([[[3.0, -4.0]], [[3.0, 4.0]]])
    result = budget.project(delta, torch.tensor([3.5, 1.0]))
    assert result.flatten().tolist() == pytest.approx(np.ravel(nearest), rel=1e-6)


@pytest.mark.parametrize(
    ("budget", "direction"),
    [(Linf(0.1), [1.0, -1.0]), (Unbounded(), [1.0, -1.0]), (L2(0.1), [0.6, -0.8])],
    ids=repr,
)
def test_the_steepest_direction(budget, direction):
    result = budget.steepest(DELTA)
    assert result[0].flatten().tolist() == pytest.approx(direction)
    assert not result[1].any()


@pytest.mark.parametrize("size", [1e-44, 1e-30, 1e30])
def test_gradients_that_nearly_vanish_keep_their_direction(size):
    result = L2(0.1).steepest(torch.tensor([[size, 0.0, -size]]))
    assert result.flatten().tolist() == pytest.approx([0.5**0.5, 0, -(0.5**0.5)], rel=1e-6)


def test_a_uniform_draw_fills_the_cube():
    uniform = torch.tensor([[-1.0, 0.5]])
    assert Linf(0.2).scattered(uniform).flatten().tolist() == pytest.approx([-0.2, 0.1])


def test_a_draw_in_l2_lies_on_the_sphere():
    uniform = torch.rand(4, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert L2(0.2).size(L2(0.2).scattered(uniform)).tolist() == pytest.approx([0.2] * 4, rel=1e-6)


@pytest.mark.parametrize("budget", [Linf(3.9), L2(4.9)], ids=repr)
def test_what_is_larger_is_refused_by_name(budget):
    with pytest.raises(AttackError, match="perturbation of clip a has size"):
        budget.check(DELTA, "ab")


@pytest.mark.parametrize("budget", [Linf(4.0), L2(5.0), Linf(4.0 * (1 - 9e-7)), Unbounded()], ids=repr)
def test_what_is_as_large_up_to_rounding_passes(budget):
    budget.check(DELTA, "ab")


def test_an_excess_of_two_millionths_is_refused():
    with pytest.raises(AttackError, match="clip a has size"):
        Linf(4.0 * (1 - 2e-6)).check(DELTA, "ab")


@pytest.mark.parametrize("budget", [Linf(1.0), L2(1.0), Unbounded()], ids=repr)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_refused_by_name(budget, value):
    with pytest.raises(AttackError, match="perturbation of clip b"):
        budget.check(torch.tensor([[0.5], [value]]), "ab")


@pytest.mark.parametrize("kind", [Linf, L2])
@pytest.mark.parametrize("epsilon", [-0.1, math.nan, math.inf, 1e39, 10**400, "0.1", True])
def test_an_epsilon_must_be_a_number_from_0_on(kind, epsilon):
    with pytest.raises(ConfigError, match=r"epsilon must be a number from 0 to 1e\+18, got"):
        kind(epsilon)


def test_the_same_norm_with_another_epsilon():
    assert Linf(0.1).of(0.2) == Linf(0.2)
    assert L2(0.1).of(0.2) == L2(0.2)


def test_budgets_of_another_norm_differ():
    assert len({Linf(0.1), L2(0.1), Unbounded()}) == 3


FLOATS = st.floats(-1e6, 1e6, width=32)
DELTAS = arrays.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 5)), elements=FLOATS)
BUDGETS = st.builds(lambda kind, epsilon: kind(epsilon), st.sampled_from([Linf, L2]), st.floats(0.001, 1000))


def euclidean(values):
    return np.linalg.norm(values.double().numpy(), axis=1)


@settings(max_examples=50, deadline=None)
@given(BUDGETS, DELTAS)
def test_a_projection_is_within_the_budget(budget: Budget, values):
    delta = torch.from_numpy(values)
    budget.check(budget.project(delta), [str(row) for row in range(len(delta))])


@settings(max_examples=50, deadline=None)
@given(BUDGETS, DELTAS)
def test_a_projection_changes_nothing_the_second_time(budget: Budget, values):
    once = budget.project(torch.from_numpy(values))
    torch.testing.assert_close(budget.project(once), once, rtol=3e-7, atol=0)


@settings(max_examples=50, deadline=None)
@given(
    BUDGETS,
    arrays.arrays(np.float32, (2, 4), elements=FLOATS),
    arrays.arrays(np.float32, (2, 4), elements=FLOATS),
)
def test_a_projection_brings_no_two_perturbations_further_apart(budget: Budget, one, other):
    first, second = torch.from_numpy(one), torch.from_numpy(other)
    after = euclidean(budget.project(first) - budget.project(second))
    before = euclidean(first.double() - second.double())
    # Rounding of each projected entry, at most epsilon large.
    assert (after <= before + 1e-6 * budget.epsilon).all()


@settings(max_examples=50, deadline=None)
@given(BUDGETS, DELTAS)
def test_no_point_of_the_budget_is_nearer_than_the_projection(budget: Budget, values):
    delta = torch.from_numpy(values).double()
    nearest = euclidean(delta - budget.project(delta))
    for share in (0.0, 0.5, 0.999):
        other = share * budget.project(delta) + (1 - share) * budget.scattered(torch.ones_like(delta))
        assert (nearest <= euclidean(delta - other) * (1 + 1e-9) + 1e-9).all()
