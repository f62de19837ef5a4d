"""Systems at matched clean error: known answers, an independent F-test, and what cannot be compared."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tenuto.analysis.comparison import Settings, compare
from tenuto.analysis.matched import matched_differences
from tests.reporting import made_up

MEANS, SLOPE = {"A2E": 0.3, "A2M2E": 0.25, "own": 0.28}, 1.5
SYSTEMS = ["A2E"] * 3 + ["A2M2E"] * 4 + ["own"]
CLEAN = np.array([0.10, 0.11, 0.12, 0.11, 0.12, 0.13, 0.14, 0.17])
NOISE = np.array([1, -2, 1, 1, -1, -1, 1, 0]) / 1000
"""Without sum and slope in every system, so that it changes no coefficient."""
ATTACKED = np.array([MEANS[name] for name in SYSTEMS]) + SLOPE * (CLEAN - CLEAN.mean()) + NOISE
PAIRS = [("A2E", "A2M2E"), ("A2M2E", "A2E"), ("A2E", "own")]


def compared(*runs, pairs=None):
    """The comparison of runs (system, seed, clean, attacked); their mean errors are what they say."""
    rows = [made_up.run(system, seed, clean, attacked) for system, seed, clean, attacked in runs]
    return compare(pd.concat(rows), Settings(pairs=pairs, draws=100))


def known():
    return [
        (name, seed, *errors)
        for seed, (name, *errors) in enumerate(zip(SYSTEMS, CLEAN, ATTACKED, strict=True))
    ]


def test_means_slope_and_differences_are_those_of_the_rows():
    comparison = compared(*known(), pairs=PAIRS[:1] + PAIRS[2:])
    line, other = comparison.matched.to_dict("records")
    assert line["slope"] == pytest.approx(SLOPE)
    assert line["clean_matched"] == pytest.approx(CLEAN.mean())
    assert (line["adjusted_first"], line["adjusted_second"]) == pytest.approx((0.3, 0.25))
    assert (line["difference"], other["difference"]) == pytest.approx((0.05, 0.02))
    assert (line["clean_first"], line["clean_second"]) == pytest.approx((0.11, 0.125))
    assert (line["seeds_first"], line["seeds_second"], line["degrees_of_freedom"]) == (3, 4, 4)
    assert line["p_holm"] == pytest.approx(min(2 * line["p"], 1))
    assert [remark for remark in comparison.remarks if "matched" in remark] == [
        "The comparison at matched clean error extrapolates because the ranges of clean errors do not overlap: A2E:own."
    ]


def test_p_is_that_of_an_f_test_and_the_interval_belongs_to_it():
    # Residual sum of squares with one mean for both systems of the pair, against two.
    def residual(names):
        design = np.column_stack([*(np.array(names) == name for name in set(names)), CLEAN])
        return np.linalg.lstsq(design, ATTACKED)[1][0]

    line, back, _ = matched_differences(SYSTEMS, CLEAN, ATTACKED, PAIRS, level=0.9)
    full = residual(SYSTEMS)
    f = (residual([name.replace("M2E", "E") for name in SYSTEMS]) - full) / (full / 4)
    assert line.p == pytest.approx(stats.f.sf(f, 1, 4))
    assert line.t == pytest.approx(np.sqrt(f))
    half = stats.t.isf(0.05, 4) * line.difference / line.t
    assert (line.low, line.high) == pytest.approx((0.05 - half, 0.05 + half))
    assert (back.difference, back.t, back.p) == pytest.approx((-line.difference, -line.t, line.p))
    assert (back.low, back.high) == pytest.approx((-line.high, -line.low))
    within = 2 * 0.01**2 + 5 * 0.01**2  # squared deviations of clean errors from the means of their systems
    assert line.slope_error == pytest.approx(np.sqrt(full / 4 / within))


def test_the_slopes_of_systems_with_two_runs_each_are_not_compared():
    (line,) = matched_differences(list("aabbcc"), CLEAN[:6], ATTACKED[1:7], [("a", "b")])
    assert line.degrees_of_freedom == 2
    assert np.isfinite(line.p)
    assert np.isnan(line.p_slopes)


def test_the_order_of_the_runs_changes_nothing():
    order = np.random.default_rng(0).permutation(len(SYSTEMS))
    systems = [SYSTEMS[place] for place in order]
    shuffled = matched_differences(systems, CLEAN[order], ATTACKED[order], PAIRS)
    for line, other in zip(matched_differences(SYSTEMS, CLEAN, ATTACKED, PAIRS), shuffled, strict=True):
        assert vars(line) == pytest.approx(vars(other))


@pytest.mark.parametrize(
    ("attacked", "difference"), [(ATTACKED - NOISE, 0.05), (0 * CLEAN, 0)], ids=["line", "zeros"]
)
def test_a_model_without_residual_has_means_and_no_test(attacked, difference):
    (line,) = matched_differences(SYSTEMS, CLEAN, attacked, PAIRS[:1])
    assert line.difference == pytest.approx(difference)
    assert np.isnan([line.low, line.high, line.t, line.p, line.slope_error, line.p_slopes]).all()


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (known()[1:5], "4 runs of 2 systems leave fewer than 2 degrees of freedom"),
        (
            [(name, seed, 0.1, attacked) for name, seed, _, attacked in known()[:7]],
            "clean errors do not vary within systems",
        ),
        (
            [(name, seed, clean, 0.2) for name, seed, clean, _ in known()[:7]],
            "the model leaves no residual",
        ),
    ],
    ids=["few runs", "same clean errors", "exact"],
)
def test_what_cannot_be_tested_is_a_sentence_and_no_number(runs, reason):
    comparison = compared(*runs)
    (line,) = comparison.matched.to_dict("records")
    assert np.isnan([line["low"], line["t"], line["p"], line["p_holm"]]).all()
    remark = f"The comparison at matched clean error has no test because {reason}: A2E:A2M2E."
    assert comparison.remarks[-1] == remark
