import numpy as np
import pytest

from tenuto.evaluation.audit import strength
from tenuto.evaluation.audit.findings import Verdict
from tests.evaluation.audit.planted import bounded, finding, logs, source

PASS, WARN, FAIL, NOT_RECORDED = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.NOT_RECORDED


def climb(*errors):
    return source(*(bounded(epsilon=0.1 * (place + 1), attacked=error) for place, error in enumerate(errors)))


def test_a_rising_curve_passes():
    result = finding("monotone", climb(0.2, 0.3, 0.3))
    assert (result.verdict, result.value) == (PASS, 0)
    assert "0.1: 0.200, 0.2: 0.300, 0.3: 0.300" in result.sentence


def test_a_curve_that_falls_fails():
    result = finding("monotone", climb(0.2, 0.4, 0.3))
    assert result.verdict is FAIL
    assert result.value == pytest.approx(0.25)


@pytest.mark.parametrize("errors", [[0.4 * 0.992**step for step in range(4)], [0.0, 0.0, 0.3, 0.1]])
def test_small_falls_add_up_and_an_error_of_zero_hides_none(errors):
    runs = [bounded(epsilon=0.1 * (step + 1), attacked=one) for step, one in enumerate(errors)]
    assert finding("monotone", source(*runs)).verdict is FAIL


def test_a_fall_of_less_than_a_hundredth_passes():
    assert finding("monotone", climb(0.4, 0.3965)).verdict is PASS


def test_the_run_that_falls_most_is_named():
    other = [bounded(seed=7, epsilon=epsilon, attacked=error) for epsilon, error in ((0.1, 0.4), (0.2, 0.1))]
    result = finding("monotone", source(climb(0.2, 0.19).rows, *other))
    assert result.sentence.startswith("A2E-7 (the most severe of 2)")


def test_the_curve_is_that_of_the_worst_case():
    weak = bounded(attack="Square", epsilon=0.2, attacked=0.1)
    assert finding("monotone", source(climb(0.2, 0.3).rows, weak)).verdict is PASS


@pytest.mark.parametrize("rows", [climb(0.3), logs()], ids=["one budget", "none"])
def test_without_two_budgets_there_is_no_curve(rows):
    assert finding("monotone", rows).verdict is NOT_RECORDED


FAMILIES = [
    ("iterative", "FGSM"),
    ("black-box", "Square"),
    ("black-box", "Noise sign"),
    ("transfer", "Transfer from b"),
]


@pytest.mark.parametrize(("check", "attack"), FAMILIES)
def test_a_weaker_family_passes(check, attack):
    result = finding(check, source(bounded(attacked=0.5), bounded(attack=attack, attacked=0.3)))
    assert result.verdict is PASS
    assert result.value == pytest.approx(-0.2)


@pytest.mark.parametrize(("check", "attack"), FAMILIES)
def test_a_family_that_should_be_weaker_and_is_stronger_fails(check, attack):
    result = finding(check, source(bounded(attacked=0.5), bounded(attack=attack, attacked=0.6)))
    assert result.verdict is FAIL
    assert result.value == pytest.approx(0.1)
    assert result.sentence.startswith("A2E-6 at linf 0.1: MAE 0.6000 by")


def test_a_family_that_wins_on_some_clips_is_a_warning():
    strong, weak = bounded(attacked=0.5), bounded(attack="Square", attacked=0.3)
    weak.loc[0, [name for name in weak if name.startswith("adversarial_")]] += 0.3
    result = finding("black-box", source(strong, weak))
    assert result.verdict is WARN
    assert "stronger on 20% of 5 clips" in result.sentence


@pytest.mark.parametrize("check", ["iterative", "black-box", "transfer"])
def test_other_budgets_are_not_compared(check):
    rows = source(bounded(), *(bounded(attack=name, epsilon=0.2) for _, name in FAMILIES))
    assert finding(check, rows).verdict is NOT_RECORDED


def test_an_error_that_is_not_a_number_fails():
    assert strength.weaker("black-box", np.array([np.nan]), np.array([0.1])).verdict is FAIL


def test_rows_picked_out_of_a_table_have_a_curve_of_their_own():
    result = finding("monotone", source(climb(0.2, 0.4, 0.3).rows.assign(worst=False)))
    assert result.verdict is FAIL


def test_rows_without_gradients_compare_noise_with_random_search():
    rows = [bounded(attack="Square", attacked=0.5), bounded(attack="Noise sign", attacked=0.3)]
    assert finding("black-box", source(*rows)).verdict is PASS
    rows[0] = bounded(attack="Square", attacked=0.2)
    assert finding("black-box", source(*rows)).verdict is FAIL
    assert finding("iterative", source(*rows)).verdict is NOT_RECORDED
