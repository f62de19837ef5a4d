"""Thresholds and correlations: known answers and laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from scipy.stats import pearsonr

from tenuto.attacks.smc2025.ladders import LADDERS, CorrelationLadder, ErrorLadder, correlations
from tenuto.errors import AttackError

UNSET = np.array([np.nan])
RATINGS = st.lists(st.floats(-4, 4, width=32), min_size=3, max_size=10)


def test_correlation_starts_at_the_next_tenth_above():
    assert CorrelationLadder().start(np.array([0.91, 0.3, -0.25])).tolist() == [1.0, 0.3, -0.2]


def test_error_starts_at_the_next_tenth_below():
    assert ErrorLadder().start(np.array([0.19, 0.5, 0.04])).tolist() == [0.1, 0.5, 0.0]


def test_a_score_on_the_threshold_meets_it():
    assert CorrelationLadder().meets(np.array([0.3]), np.array([0.3])).all()
    assert ErrorLadder().meets(np.array([0.3]), np.array([0.3])).all()


def test_the_first_judgement_is_met_and_steps_on():
    judgement = CorrelationLadder().judge(np.array([0.75]), UNSET)
    assert judgement.met.tolist() == [True]
    assert judgement.threshold.tolist() == [0.7000000000000001]


def test_the_last_correlation_threshold_is_just_above_minus_one():
    threshold = np.array([1.0])
    while CorrelationLadder().goes_on(threshold).all():
        threshold = CorrelationLadder().harder(threshold)
    assert threshold.tolist() == [-0.9999999999999998]


def test_a_threshold_of_exactly_zero_is_drawn_again():
    judgement = CorrelationLadder().judge(np.array([0.05]), np.array([0.0]))
    assert judgement.met.tolist() == [True]
    assert judgement.threshold.tolist() == [0.0]


def test_a_threshold_beside_zero_is_kept():
    almost = 0.30000000000000004 - 0.1 - 0.1 - 0.1
    judgement = CorrelationLadder().judge(np.array([0.05]), np.array([almost]))
    assert judgement.met.tolist() == [False]
    assert judgement.threshold.tolist() == [almost]


def test_an_error_from_one_on_converges_at_once():
    judgement = ErrorLadder().judge(np.array([1.05]), UNSET)
    assert judgement.converged.tolist() == [True]
    assert judgement.threshold.tolist() == [1.0]


@given(st.sampled_from(["corr", "mse"]), st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_clip_are_judged_one_by_one(measure, scores):
    ladder, score = LADDERS[measure], np.array(scores)
    together = ladder.judge(score, np.full(len(scores), np.nan))
    alone = [ladder.judge(score[i : i + 1], UNSET) for i in range(len(scores))]
    assert together.threshold.tolist() == [one.threshold[0] for one in alone]
    assert together.converged.tolist() == [one.converged[0] for one in alone]


@given(RATINGS, st.integers(0, 2**32 - 1))
def test_correlation_equals_scipy(values, seed):
    p = np.array(values, dtype=np.float64)
    y = np.random.default_rng(seed).uniform(0.1, 0.9, len(values))
    assume(np.ptp(p) > 1e-3)
    assert correlations(p[None], y[None], ["a"])[0] == pytest.approx(pearsonr(p, y)[0], abs=1e-10)


@given(st.tuples(st.floats(-4, 4, width=32), st.floats(-4, 4, width=32)))
def test_two_values_correlate_fully(pair):
    p = np.array([pair], dtype=np.float64)
    assume(p[0, 0] != p[0, 1])
    expected = 1.0 if p[0, 1] > p[0, 0] else -1.0
    assert correlations(p, np.array([[0.3, 0.4]]), ["a"]).tolist() == [expected]


@pytest.mark.parametrize("role", ["label", "prediction"])
def test_a_constant_row_is_refused_by_name(role):
    varied, constant = np.array([[0.1, 0.2, 0.4]] * 2), np.array([[0.1, 0.2, 0.4], [0.3, 0.3, 0.3]])
    rows = (varied, constant) if role == "label" else (constant, varied)
    with pytest.raises(AttackError, match=f"{role} of clip 017 is constant"):
        correlations(*rows, ["016", "017"])
