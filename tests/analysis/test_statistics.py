import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from tenuto.analysis import statistics
from tenuto.analysis.statistics import (
    bootstrap_means,
    crossed_interval,
    effect_size,
    holm,
    mixed_model,
    paired_t_test,
    smallest_detectable,
)
from tenuto.errors import DataError

SINGLE = np.array([0.1, 0.2, 0.7], np.float32)


def test_known_answer():
    # differences 1, 2, 3: mean 2, deviation 1, t = 2 sqrt(3); two-sided p of t(2) is 1 - t / sqrt(t^2 + 2)
    t_test = paired_t_test([2, 4, 6], [1, 2, 3])
    t = 2 * np.sqrt(3)
    assert (t_test.degrees_of_freedom, t_test.n) == (2, 3)
    assert t_test.t == pytest.approx(t)
    assert t_test.p == pytest.approx(1 - t / np.sqrt(t**2 + 2))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1, 2], [1, 2, 3], r"\(2,\) and \(3,\)"),
        ([[1, 2]], [[1, 3]], r"both must be \(pairs,\)"),
        ([1], [2], "1 pair:"),
        ([1, np.nan], [1, 2], "NaN"),
        ([1, 2, 3], [0, 1, 2], "same amount"),
        ([0.1, 0.2, 0.3], [0.2, 0.3, 0.4], "same amount"),
        (SINGLE, SINGLE + np.float32(0.3), "same amount"),
    ],
    ids=["other length", "two axes", "one pair", "nan", "constant difference", "rounding", "float32"],
)
def test_what_has_no_t_is_refused(a, b, message):
    with pytest.raises(DataError, match=message):
        paired_t_test(a, b)


def test_effect_sizes_by_hand():
    # differences 1, 2, 3: d_z = 2 / 1; J(2) = Gamma(1) / (sqrt(1) Gamma(1/2)) = 1 / sqrt(pi)
    result = effect_size(paired_t_test([2, 4, 6], [1, 2, 3]))
    assert result.d_z == pytest.approx(2)
    assert result.g_z == pytest.approx(2 / np.sqrt(np.pi))


def test_two_pairs_say_nothing_of_the_deviation():
    assert effect_size(paired_t_test([2, 4], [1, 2])).g_z == 0


def test_holm_on_a_worked_example():
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, and never falling: .02 .03 .06 .06
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_a_test_that_could_not_be_made_does_not_count_in_the_family():
    np.testing.assert_array_equal(holm([0.02, np.nan, 0.03]), [0.04, np.nan, 0.04])


@pytest.mark.parametrize("p", [[0.5, 1.1], [-0.1], [[0.5]]], ids=["above 1", "below 0", "two axes"])
def test_what_is_no_row_of_p_values_is_refused(p):
    with pytest.raises(DataError, match="must be between 0 and 1"):
        holm(p)


@pytest.mark.parametrize(
    ("n", "power", "alpha"),
    [(2, 0.5, 0.001), (2, 0.99, 0.05), (5, 0.95, 0.01), (10, 0.8, 0.05), (360, 0.8, 0.05)],
)
def test_the_smallest_detectable_effect_has_that_power(n, power, alpha):
    # T = (Z + d sqrt(n)) / sqrt(chi2 / m): P(T > limit), by the distribution of chi2.
    d, limit = smallest_detectable(n, power, alpha), stats.t.isf(alpha / 2, n - 1)
    rejected = lambda chi2: stats.norm.sf(limit * np.sqrt(chi2 / (n - 1)) - d * np.sqrt(n))  # noqa: E731
    assert stats.chi2.expect(rejected, args=(n - 1,)) == pytest.approx(power, abs=1e-6)


def test_the_smallest_detectable_effect_of_a_published_table():
    # Cohen 1988, table 2.3.5, or G*Power: 34 pairs find d = 0.5 at two-sided 0.05 with power 0.8078
    assert smallest_detectable(34, power=0.8078) == pytest.approx(0.5, abs=5e-5)


@pytest.mark.parametrize(("n", "power", "alpha"), [(1, 0.8, 0.05), (10, 1.0, 0.05), (10, 0.04, 0.05)])
def test_what_nothing_could_detect_is_refused(n, power, alpha):
    with pytest.raises(DataError, match="required: n > 1 and 0 < alpha < power < 1"):
        smallest_detectable(n, power, alpha)


def two_way(seeds, clips, generator, seed=1.0, clip=1.0, rest=1.0):
    """A matrix (seeds, clips) with effects of these deviations and mean 0."""
    return (
        seed * generator.normal(size=(seeds, 1))
        + clip * generator.normal(size=(1, clips))
        + rest * generator.normal(size=(seeds, clips))
    )


def test_the_draws_of_a_matrix_have_the_variance_of_the_closed_form():
    # With y centred: (sum y_ij^2 + (1 - 1/C) sum_i y_i.^2 + (1 - 1/R) sum_j y_.j^2) / (R C)^2
    values = two_way(4, 7, np.random.default_rng(0), rest=2.0)
    y = values - values.mean()
    expected = ((y**2).sum() + 6 / 7 * (y.sum(1) ** 2).sum() + 3 / 4 * (y.sum(0) ** 2).sum()) / 28**2
    draws = bootstrap_means(values, 100_000)
    assert draws.var() == pytest.approx(expected, rel=0.02)  # a variance of 100 000 draws errs by 0.5 %
    assert draws.mean() == pytest.approx(values.mean(), abs=4 * np.sqrt(expected / 100_000))


def test_over_many_designs_the_variance_is_that_of_random_effects():
    generator, (R, C), (s, c, e) = np.random.default_rng(1), (20, 30), (0.5, 1.0, 2.0)
    values = [bootstrap_means(two_way(R, C, generator, s, c, e), 400, k).var() for k in range(400)]
    expected = (
        s**2 * (R - 1) / R**2
        + c**2 * (C - 1) / C**2
        + e**2 * (R * C - 1 + 2 * (R - 1) * (C - 1)) / (R * C) ** 2
    )
    error = np.std(values) / np.sqrt(len(values))
    assert error < 0.02 * expected
    assert np.mean(values) == pytest.approx(expected, abs=3 * error)


def test_the_interval_of_a_difference_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(2)
    intervals = [
        crossed_interval(two_way(10, 36, generator, 0.4, 0.4, 0.7), draws=400, seed=k) for k in range(300)
    ]
    covered = np.mean([result.low <= 0 <= result.high for result in intervals])
    assert 0.90 <= covered <= 0.98


def test_seeds_alone_are_resampled_where_clips_agree():
    # Two seeds, 0 and 1: a draw takes each twice with probability 1/4, both with 1/2
    draws = bootstrap_means(np.array([[0.0, 0, 0], [1, 1, 1]]), 10_000)
    shares = [np.mean(draws == value) for value in (0, 0.5, 1)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.015)


@pytest.mark.parametrize(
    ("shape", "resampled"), [((3, 4), "seeds and clips"), ((1, 4), "clips"), ((3, 1), "seeds")]
)
def test_an_interval_says_what_it_resamples(shape, resampled):
    result = crossed_interval(np.random.default_rng(0).normal(size=shape), draws=200)
    assert result.resampled == resampled
    assert result.low < result.mean < result.high


def test_a_single_value_has_no_interval():
    result = crossed_interval([[2.0]])
    assert (result.mean, result.resampled) == (2.0, "nothing")
    assert np.isnan(result.low)
    assert np.isnan(result.high)


def test_an_interval_repeats_with_its_seed_and_widens_with_its_level():
    values = np.random.default_rng(0).normal(size=(5, 6))
    narrow, wide = crossed_interval(values, 500, level=0.8), crossed_interval(values, 500, level=0.99)
    assert crossed_interval(values, 500, level=0.8) == narrow
    assert crossed_interval(values, 500, seed=1, level=0.8) != narrow
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], "expected a filled matrix"),
        (np.empty((0, 3)), "expected a filled matrix"),
        ([[1.0, np.nan]], "NaN"),
    ],
    ids=["one axis", "empty", "nan"],
)
def test_what_cannot_be_resampled_is_refused(values, message):
    with pytest.raises(DataError, match=message):
        crossed_interval(values)


PLANTED = {"seed": 0.5, "clip": 0.8, "system_clip": 0.3, "residual": 1.0}


def planted(seeds=6, clips=9, difference=2.0, **changes):
    """Two matrices whose mean squares are exactly those that the planted variances expect.

    In a balanced design REML then returns the planted variances themselves (as long as none is negative).
    """
    variances = PLANTED | changes
    generator, e = np.random.default_rng(3), variances["residual"]

    def effect(shape, axes, mean_square, freedom):
        values = generator.normal(size=shape)
        for axis in axes:
            values -= values.mean(axis=axis, keepdims=True)
        return values * np.sqrt(mean_square * freedom / (values**2).sum())

    both = e / seeds + variances["system_clip"]
    values = (
        effect((2, seeds, clips), (1, 2), e, 2 * (seeds - 1) * (clips - 1))
        + effect((2, seeds, 1), (1,), e / clips + variances["seed"], 2 * (seeds - 1))
        + effect((2, 1, clips), (0, 2), both, clips - 1)
        + effect((1, 1, clips), (2,), both / 2 + variances["clip"], clips - 1)
    )
    return values[0] + difference, values[1]


def test_the_mixed_model_finds_planted_components():
    model_fit = mixed_model(*planted())
    assert model_fit.converged
    assert model_fit.difference == pytest.approx(2)
    assert model_fit.variances == pytest.approx(PLANTED, rel=1e-4)
    # variance of the difference: 2 (seed / 6 + system_clip / 9 + residual / 54)
    error = np.sqrt(2 * (0.5 / 6 + 0.3 / 9 + 1 / 54))
    assert model_fit.standard_error == pytest.approx(error, rel=1e-4)
    assert model_fit.z == pytest.approx(2 / error, rel=1e-4)
    assert (model_fit.low, model_fit.high) == pytest.approx(
        (2 - 1.959964 * error, 2 + 1.959964 * error), rel=1e-4
    )
    assert model_fit.p == pytest.approx(math.erfc(2 / error / np.sqrt(2)), rel=1e-2)
    assert model_fit.at_zero == ()


def test_the_search_ends_there_from_elsewhere(monkeypatch):
    monkeypatch.setattr(statistics, "_start", lambda sides: np.array([1.5, 0.4, 1.0]))
    assert mixed_model(*planted()).variances == pytest.approx(PLANTED, rel=1e-2)


def test_a_component_that_is_not_there_is_reported_as_zero():
    model_fit = mixed_model(*planted(system_clip=-0.1))
    assert model_fit.converged
    assert model_fit.at_zero == ("system_clip",)


def test_seeds_are_nested_and_clips_are_crossed():
    first, second = planted()
    one_order = mixed_model(first, second)
    other_order = mixed_model(first, second[::-1])
    other_clips = mixed_model(first, np.roll(second, 1, axis=1))
    assert other_order.standard_error == pytest.approx(one_order.standard_error, rel=1e-6)
    assert other_clips.at_zero == ("clip",)


def test_a_system_may_have_more_seeds_than_the_other():
    first, second = planted()
    model_fit = mixed_model(first[:4], second)
    assert model_fit.converged
    assert model_fit.difference == pytest.approx(first[:4].mean() - second.mean(), abs=1e-6)


def test_the_unit_of_the_values_is_the_unit_of_the_answer():
    first, second = planted()
    small, large = mixed_model(first, second), mixed_model(1000 * first, 1000 * second)
    assert large.standard_error == pytest.approx(1000 * small.standard_error)
    assert large.p == pytest.approx(small.p)


@pytest.mark.parametrize(
    "ended",
    [{"converged": False, "bse_fe": np.ones(2)}, {"converged": True, "bse_fe": np.array([1.0, np.nan])}],
    ids=["stopped early", "no standard error"],
)
def test_a_fit_without_end_gives_no_number(monkeypatch, ended):
    monkeypatch.setattr(MixedLM, "fit", lambda self, **options: SimpleNamespace(**ended))
    model_fit = mixed_model(*planted())
    assert not model_fit.converged
    numbers = [value for value in vars(model_fit).values() if isinstance(value, float)]
    assert len(numbers) == 6
    assert np.isnan([*numbers, *model_fit.variances.values()]).all()


def test_a_singular_fit_gives_no_number(monkeypatch):
    def fit(self, **options):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(MixedLM, "fit", fit)
    assert not mixed_model(*planted()).converged


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.eye(3), np.eye(4), "same clips"),
        (np.eye(3)[:1], np.eye(3), "at least two seeds and two clips"),
        (np.eye(3) * np.nan, np.eye(3), "NaN"),
        (np.ones((3, 4)), np.zeros((3, 4)), "vary with nothing"),
    ],
    ids=["other clips", "one seed", "nan", "constant"],
)
def test_what_no_mixed_model_can_be_fitted_to_is_refused(first, second, message):
    with pytest.raises(DataError, match=message):
        mixed_model(first, second)


def test_where_the_gradient_search_breaks_off_a_search_without_gradients_goes_on():
    first = np.array(
        [
            [399, 444, 79, 380, 191, 157, 451],
            [277, 298, 369, 307, 522, 395, 488],
            [278, 315, 184, 240, 363, 162, 317],
            [241, 181, 618, 292, 447, 681, 223],
        ]
    )
    second = np.array(
        [
            [336, 367, 374, 300, 510, 324, 421],
            [88, 154, 309, 73, 261, 349, 168],
            [318, 348, 304, 288, 413, 227, 350],
            [253, 286, 399, 325, 567, 324, 472],
        ]
    )
    model_fit = mixed_model(first / 1000, second / 1000)
    assert model_fit.converged
    assert model_fit.difference == pytest.approx((first.mean() - second.mean()) / 1000)
    assert model_fit.standard_error == pytest.approx(0.0507, abs=2e-4)  # also of Powell's search
