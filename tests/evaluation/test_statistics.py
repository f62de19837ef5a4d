import numpy as np
import pytest

from tenuto.errors import DataError
from tenuto.evaluation.statistics import paired_t_test


def test_known_answer():
    # differences 1, 2, 3: mean 2, deviation 1, t = 2 sqrt(3); two-sided p of t(2) is 1 - t / sqrt(t^2 + 2)
    found = paired_t_test([2, 4, 6], [1, 2, 3])
    t = 2 * np.sqrt(3)
    assert (found.degrees_of_freedom, found.n) == (2, 3)
    assert found.t == pytest.approx(t)
    assert found.p == pytest.approx(1 - t / np.sqrt(t**2 + 2))


def test_exchanging_the_two_turns_the_sign_and_keeps_p():
    a, b = np.random.default_rng(0).normal(size=(2, 12))
    there, back = paired_t_test(a, b), paired_t_test(b, a)
    assert back.t == pytest.approx(-there.t)
    assert back.p == pytest.approx(there.p)


def test_a_shift_common_to_a_pair_changes_nothing():
    a, b, shift = np.random.default_rng(1).normal(size=(3, 12))
    assert paired_t_test(a + shift, b + shift).t == pytest.approx(paired_t_test(a, b).t)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([1, 2], [1, 2, 3], r"\(2,\) and \(3,\)"),
        ([[1, 2]], [[1, 3]], r"one shape \(pairs,\)"),
        ([1], [2], "1 pairs"),
        ([1, np.nan], [1, 2], "NaN"),
        ([1, 2, 3], [0, 1, 2], "same amount"),
    ],
    ids=["other length", "two axes", "one pair", "nan", "constant difference"],
)
def test_what_has_no_t_is_refused(a, b, said):
    with pytest.raises(DataError, match=said):
        paired_t_test(a, b)
