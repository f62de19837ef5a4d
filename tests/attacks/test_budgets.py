"""Budgets: their norms, projections and directions."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from tenuto.attacks import APGD, BUDGETS, FGSM, L2, SNR, Amplitude, Budget, Linf, Unbounded, from_dict
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


# Waveforms

WAVEFORMS = torch.randn(4, 900, generator=torch.Generator().manual_seed(5)) * torch.tensor(
    [[1e-4], [0.01], [0.1], [0.5]]
)


def decibels(signal, noise):
    """Signal-to-noise ratio of every row, in NumPy and doubles."""
    powers = [np.square(values.double().numpy()).sum(axis=1) for values in (signal, noise)]
    return 10 * np.log10(powers[0] / powers[1])


def test_a_signal_to_noise_ratio_is_a_ratio_of_norms():
    around = SNR(40).around(torch.tensor([[300.0, 400.0], [0.0, 2.0]]), "ab")
    assert SNR(40).epsilon == 0.01
    assert around.size(torch.tensor([[3.0, -4.0], [0.0, 4.0]])).tolist() == [0.01, 2.0]
    assert around.take(torch.tensor([1])).size(torch.tensor([[0.0, 1.0]])).tolist() == [0.5]


@pytest.mark.parametrize("db", [80, 60, 40, 33.3, 0, -6])
def test_a_perturbation_of_an_snr_measures_this_snr(db):
    model = torch.nn.Linear(900, 3)
    delta = APGD(SNR(db), steps=3)(model, WAVEFORMS, torch.rand(4, 3)).perturbation
    assert decibels(WAVEFORMS, delta).tolist() == pytest.approx([db] * 4, abs=1e-5)


def test_a_projection_scales_to_the_snr_of_each_waveform():
    around = SNR(20).around(WAVEFORMS, "abcd")
    delta = around.project(torch.ones_like(WAVEFORMS))
    assert decibels(WAVEFORMS, delta).tolist() == pytest.approx([20] * 4, abs=1e-5)
    each = torch.tensor([1.0, 0.1, 0.01, 0.001])
    assert around.size(around.project(torch.ones_like(WAVEFORMS), each)).tolist() == pytest.approx(
        each.tolist()
    )
    within = around.project(1e-9 * torch.ones_like(WAVEFORMS))
    assert torch.equal(within, 1e-9 * torch.ones_like(WAVEFORMS))


def test_noise_of_an_snr_lies_on_its_sphere():
    uniform = torch.rand(4, 900, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = SNR(30).around(WAVEFORMS, "abcd").scattered(uniform)
    assert decibels(WAVEFORMS, noise).tolist() == pytest.approx([30] * 4, abs=1e-5)


def test_what_is_louder_than_the_snr_is_refused_by_name():
    around = SNR(20).around(WAVEFORMS, "abcd")
    delta = around.project(torch.ones_like(WAVEFORMS))
    delta[2] *= 1 + 2e-6
    with pytest.raises(
        AttackError, match=r"perturbation of clip c has size 0.1\d* but the budget is SNR\(db=20\)"
    ):
        around.check(delta, "abcd")


def test_a_silent_waveform_has_no_snr():
    silent = WAVEFORMS.clone()
    silent[1] = 0
    with pytest.raises(
        AttackError, match="The waveform of clip b is silent and has no signal-to-noise ratio"
    ):
        FGSM(SNR(40))(torch.nn.Linear(900, 3), silent, torch.rand(4, 3), names="abcd")
    FGSM(Amplitude(0.01))(torch.nn.Linear(900, 3), silent, torch.rand(4, 3), names="abcd")


def test_an_snr_needs_to_know_the_waveforms():
    with pytest.raises(AttackError, match=r"SNR\(db=40\) depends on the waveforms: call around"):
        SNR(40).size(WAVEFORMS)


@pytest.mark.parametrize("budget", [SNR(40), Amplitude(0.01)], ids=repr)
def test_budgets_of_waveforms_refuse_spectrograms(budget):
    with pytest.raises(
        AttackError, match=r"is a budget for waveforms \(n, samples\), but the inputs have shape"
    ):
        FGSM(budget)(torch.nn.Flatten(), torch.rand(1, 1, 4, 3), torch.rand(1, 12))


def test_a_level_prints_as_it_was_given():
    assert repr(SNR(40)) == repr(SNR(40.0)) == "SNR(db=40)"
    assert repr(SNR(37.5)) == "SNR(db=37.5)"
    assert SNR(40) == SNR(40.0)
    assert SNR(40) == SNR(40).around(WAVEFORMS, "abcd")


@pytest.mark.parametrize("kind", [Linf, L2, SNR, Amplitude])
def test_a_number_of_numpy_prints_as_one_of_python(kind):
    """As those of np.linspace; printed settings identify an attack."""
    assert repr(FGSM(kind(np.float64(0.05)))) == repr(FGSM(kind(0.05)))


def test_an_epsilon_becomes_a_round_level():
    assert [SNR(0).of(SNR(db).epsilon) for db in (60, 50, 33.3, 7)] == [SNR(60), SNR(50), SNR(33.3), SNR(7)]
    with pytest.raises(ConfigError, match="epsilon must be a number from 1e-30"):
        SNR(40).of(0.0)


@pytest.mark.parametrize("db", [math.nan, math.inf, 201, -201, "40", True])
def test_a_level_must_be_a_number(db):
    with pytest.raises(ConfigError, match="db must be a number from -200 to 200, got"):
        SNR(db)


@pytest.mark.parametrize(
    ("budget", "label"),
    [
        (Linf(0.05), "0.05"),
        (L2(2.0), "2"),
        (Unbounded(), "no budget"),
        (SNR(40), "40 dB SNR"),
        (SNR(33.3), "33.3 dB SNR"),
        (Amplitude(0.01), "amplitude 0.01"),
    ],
)
def test_labels(budget, label):
    assert budget.label() == label


def test_a_level_grows_with_its_strength():
    assert SNR(60).epsilon < SNR(40).epsilon < SNR(-3).epsilon


@pytest.mark.parametrize("budget", [SNR(40), SNR(33.3), Amplitude(0.01)], ids=repr)
def test_budgets_of_waveforms_survive_json(budget):
    assert from_dict(json.loads(json.dumps(FGSM(budget).to_dict()))) == FGSM(budget)
    assert BUDGETS[budget.norm] is type(budget)


class Jagged(L2):
    """A norm that the largest jump between neighbours makes; clipping single entries can raise it."""

    clipping_shrinks = False

    def size(self, delta):
        return (delta[:, 1:] - delta[:, :-1]).abs().amax(dim=1).double()

    def project(self, delta, epsilon=None):
        bound = self.epsilon if epsilon is None else epsilon[:, None]
        return delta * (bound / self.size(delta)[:, None]).clamp_max(1).to(delta)


def test_clipping_to_the_valid_range_does_not_leave_a_budget_that_it_can_enlarge():
    inputs = torch.tensor([[0.0, 0.9, 0.0], [0.0, 0.0, 0.0]])
    start = torch.full_like(inputs, 0.5)
    attack = APGD(Jagged(0.1), steps=5)
    result = attack(torch.nn.Linear(3, 2), inputs, torch.rand(2, 2), start=start, valid_range=(-1.0, 1.0))
    assert (attack.budget.size(result.perturbation) <= 0.1 * (1 + 1e-6)).all()
    assert result.adversarial.abs().max() <= 1


FLOATS = st.floats(-1e6, 1e6, width=32)
DELTAS = arrays.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 5)), elements=FLOATS)
RANDOM_BUDGETS = st.builds(
    lambda kind, epsilon: kind(epsilon), st.sampled_from([Linf, L2]), st.floats(0.001, 1000)
)


def euclidean(values):
    return np.linalg.norm(values.double().numpy(), axis=1)


@settings(max_examples=50, deadline=None)
@given(RANDOM_BUDGETS, DELTAS)
def test_a_projection_is_within_the_budget(budget: Budget, values):
    delta = torch.from_numpy(values)
    budget.check(budget.project(delta), [str(row) for row in range(len(delta))])


@settings(max_examples=50, deadline=None)
@given(RANDOM_BUDGETS, DELTAS)
def test_a_projection_changes_nothing_the_second_time(budget: Budget, values):
    once = budget.project(torch.from_numpy(values))
    torch.testing.assert_close(budget.project(once), once, rtol=3e-7, atol=0)


@settings(max_examples=50, deadline=None)
@given(
    RANDOM_BUDGETS,
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
@given(RANDOM_BUDGETS, DELTAS)
def test_no_point_of_the_budget_is_nearer_than_the_projection(budget: Budget, values):
    delta = torch.from_numpy(values).double()
    nearest = euclidean(delta - budget.project(delta))
    for share in (0.0, 0.5, 0.999):
        other = share * budget.project(delta) + (1 - share) * budget.scattered(torch.ones_like(delta))
        assert (nearest <= euclidean(delta - other) * (1 + 1e-9) + 1e-9).all()
