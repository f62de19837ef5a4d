import re

import numpy as np
import pytest

from tenuto.attacks import APGD, Correlation, Linf, ReleasedAttack
from tenuto.errors import counted
from tenuto.evaluation.audit import audit
from tenuto.evaluation.audit.findings import Verdict
from tenuto.store.released_logs import RELEASED_EMOTIONS
from tests.evaluation.audit.planted import bounded, finding, logs, source
from tests.reporting import made_up

PASS, WARN, FAIL, NOT_RECORDED = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.NOT_RECORDED

# budget


def test_norms_at_their_budget_pass():
    result = finding("budget", source(bounded(), bounded(norm="l2", epsilon=2.0, l2=2.0, linf=9.0, seed=7)))
    assert result.verdict is PASS
    assert result.value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_recorded_norm_outside_its_budget_fails(norm):
    rows = bounded(norm=norm, l2=0.1, linf=0.1)
    rows.loc[3, norm] = 0.11
    result = finding("budget", source(rows))
    assert result.verdict is FAIL
    assert result.value == pytest.approx(0.1)
    assert result.sentence.startswith("1 of 5 recorded norms lie outside")


def test_rounding_to_float32_is_no_excess():
    assert finding("budget", source(bounded(linf=float(np.float32(0.1))))).verdict is PASS


def test_a_budget_of_zero_allows_nothing_and_no_more():
    nothing = {"epsilon": 0.0, "l2": 0.0}
    assert finding("budget", source(bounded(**nothing))).verdict is PASS
    assert finding("budget", source(bounded(**nothing, linf=1e-9))).verdict is FAIL
    assert finding("budget", logs(stated=0.0, stored_l2=1e-9)).verdict is FAIL


def test_rows_without_a_budget_beside_others_are_a_warning():
    result = finding("budget", source(bounded(), bounded(seed=7, epsilon=np.nan, norm="none")))
    assert result.verdict is WARN
    assert "5 rows state no budget" in result.sentence


def test_a_norm_that_is_missing_fails():
    assert finding("budget", source(bounded(linf=np.nan))).verdict is FAIL


def test_rows_without_a_budget_are_a_warning_with_the_largest_change():
    result = finding("budget", source(made_up.run(linf=0.05)))
    assert (result.verdict, result.value, result.threshold) == (WARN, 0.05, None)


def test_logs_whose_norms_the_stated_budget_does_not_allow_fail():
    result = finding("budget", logs(stored_l2=[0.2, 0.2159, 0.2161, 30.0, 0.0]))
    assert (result.verdict, result.value) == (FAIL, 0.4)
    assert result.sentence.startswith("2 of 5 stored perturbations have an L2 norm above 0.216")


def test_logs_inside_their_stated_budget_pass():
    assert finding("budget", logs(stored_l2=0.2)).verdict is PASS


def test_logs_that_state_no_budget_are_a_warning():
    result = finding("budget", logs(stated=None))
    assert (result.verdict, result.value) == (WARN, 4.0)


# same-iterate


def test_a_row_of_norm_zero_whose_prediction_moved_fails():
    result = finding("same-iterate", logs(attacked=1.0, clean=0.125))
    assert result.verdict is FAIL
    assert result.value == pytest.approx(0.875)
    assert result.sentence.startswith("1 of 1 row with norm 0 has")


def test_a_row_of_norm_zero_that_did_not_move_passes():
    result = finding("same-iterate", source(bounded(l2=0.0, linf=0.0, attacked=0.125, clean=0.125)))
    assert result.verdict is PASS
    assert result.value == pytest.approx(0)


def test_rows_without_a_norm_of_zero_pass():
    assert finding("same-iterate", source(bounded())).verdict is PASS


def test_rows_that_record_no_norm_never_pass():
    rows = bounded(l2=np.nan)
    assert finding("same-iterate", source(rows)).verdict is NOT_RECORDED
    some = bounded()
    some.loc[2, "l2"] = np.nan
    assert finding("same-iterate", source(some)).verdict is WARN


def test_rows_without_budget_and_norm_are_not_recorded():
    rows = made_up.run(l2=np.nan, linf=np.nan).drop(columns="stored_l2")
    assert finding("budget", source(rows)).verdict is NOT_RECORDED


@pytest.mark.parametrize("check", ["same-iterate", "convergence", "provenance", "rating-scale", "labels"])
def test_the_rows_of_released_logs_are_judged_as_the_logs_are(check):
    rows = logs().rows
    of_rows, of_logs = (finding(check, one) for one in (source(rows), logs()))
    assert (of_rows.verdict, of_rows.sentence) == (of_logs.verdict, of_logs.sentence)
    assert of_rows.verdict is not NOT_RECORDED


def test_the_budget_of_rows_of_released_logs_is_that_of_their_stored_norms():
    result = finding("budget", source(logs().rows))
    assert (result.verdict, result.value) == (WARN, 4.0)
    assert "a median L2 norm of 2 and a largest of 4" in result.sentence


def test_own_rows_are_judged_by_the_norm_of_the_perturbation_whose_prediction_they_show():
    assert finding("same-iterate", source(made_up.run(l2=3.0, stored_l2=0.0))).verdict is PASS


# convergence


def free(**columns):
    """Rows without a budget."""
    return bounded(epsilon=np.nan, norm="none", **columns)


@pytest.mark.parametrize(
    ("reached", "verdict"), [(20, PASS), (19, PASS), (18, WARN), (10, WARN), (9, FAIL), (0, FAIL)]
)
def test_the_share_that_reached_its_goal_decides(reached, verdict):
    rows = free(attack="Described", clips=20)
    rows["converged"] = [clip < reached for clip in range(20)]
    result = finding("convergence", source(rows))
    assert (result.verdict, result.value) == (verdict, reached / 20)


def test_an_attack_without_a_goal_cannot_converge():
    assert finding("convergence", source(bounded())).verdict is NOT_RECORDED


def test_a_goal_in_the_settings_counts():
    rows = free(attack="PGD")
    assert finding("convergence", source(rows)).verdict is FAIL


def test_an_attack_that_its_budget_ends_is_not_judged_by_its_cap():
    stopping = APGD(Linf(0.1), stop_at=0.4)
    for result in (
        finding("convergence", source(bounded(attack="Described", epsilon=0.001))),
        finding("convergence", source(bounded(settings=repr(stopping)), attacks=(stopping,))),
    ):
        assert result.verdict is NOT_RECORDED
        assert "a budget limits these attacks" in result.sentence


def test_a_goal_that_is_not_recorded_is_not_guessed():
    result = finding("convergence", source(free(settings="Own(stop_at=0.4)")))
    assert result.verdict is NOT_RECORDED
    assert "do not record every attack" in result.sentence


def test_rows_inside_a_budget_do_not_count_beside_free_ones():
    rows = free(attack="ReleasedAttack", converged=True), bounded(attack="Described", seed=7)
    result = finding("convergence", source(*rows))
    assert (result.verdict, result.value) == (PASS, 1.0)


# few-outputs


def two_outputs(attack, settings=None):
    """Rows of a model with two outputs."""
    rows = bounded(settings=repr(attack) if settings is None else settings)
    others = [name for name in rows if name.split("_")[-1] in RELEASED_EMOTIONS[2:]]
    return source(rows.drop(columns=others), attacks=(attack,))


@pytest.mark.parametrize(
    ("planted", "verdict"),
    [
        (two_outputs(APGD(Linf(0.1), objective=Correlation())), FAIL),
        (two_outputs(ReleasedAttack()), FAIL),
        (two_outputs(APGD(Linf(0.1))), PASS),
        (two_outputs(APGD(Linf(0.1)), settings="unknown"), NOT_RECORDED),
        (source(bounded(settings="unknown")), PASS),
    ],
    ids=["correlation", "released", "squared error", "not recorded", "eight outputs"],
)
def test_a_correlation_across_two_outputs_fails(planted, verdict):
    assert finding("few-outputs", planted).verdict is verdict


# provenance


def test_logs_lack_versions_weights_data_and_perturbations():
    result = finding("provenance", logs())
    assert (result.verdict, result.value, result.threshold) == (WARN, 2, 6)
    assert result.sentence.endswith("missing: versions, weights, data, perturbations.")


def test_rows_record_versions_and_weights_themselves():
    rows = bounded(versions="tenuto 0.1.0, torch 2.13.0, cpu", checkpoint="ab" * 32)
    result = finding("provenance", source(rows))
    assert result.value == 4
    assert result.sentence.endswith("missing: data, perturbations.")


@pytest.mark.parametrize("column", ["versions", "checkpoint"])
def test_one_row_without_its_record_is_missed(column):
    rows = bounded(versions="tenuto 0.1.0", checkpoint="ab" * 32)
    rows.loc[2, column] = np.nan
    assert finding("provenance", source(rows)).value == 3


def test_rows_that_do_not_say_their_settings_fail():
    result = finding("provenance", source(bounded().drop(columns="settings")))
    assert result.verdict is FAIL
    assert "missing: settings" in result.sentence


def test_sentences_on_one_row_count_in_the_singular():
    rows = bounded(clips=1, linf=0.11)
    plural = re.compile(
        r"\b1 (?!of\b)(\w+ ){0,2}(clips|rows|runs|attacks|norms|perturbations|recordings|outputs)\b"
    )
    found = [one.sentence for one in audit(source(rows), source(made_up.run(clips=1, l2=0.0)))]
    assert any("1 of 1 recorded norm lies outside" in sentence for sentence in found)
    assert any("1 of 1 row with norm 0 has a moved prediction" in sentence for sentence in found)
    assert not [sentence for sentence in found if plural.search(sentence)]
    assert (counted(1, "clip"), counted(0, "clip"), counted(2, "row has", "rows have")) == (
        *("1 clip", "0 clips"),
        "2 rows have",
    )
