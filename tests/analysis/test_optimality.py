"""Optimality of attacks from rows whose errors are known."""

import numpy as np
import pandas as pd
import pytest

import tenuto
from tenuto.analysis import compare_attacks
from tenuto.errors import DataError
from tests.analysis.test_curves import CLEAN, attacked

STRONG, WEAK = {0.1: 0.25, 0.2: 0.375}, {0.1: 0.1875, 0.2: 0.1875}
"""Excess over the clean error of 0.125: areas 0.025 and 0.009375."""


def rows(errors, **columns):
    seed = columns.pop("seed", 6)
    parts = [attacked(epsilon, error, seed=seed).assign(**columns) for epsilon, error in errors.items()]
    return pd.concat(parts, ignore_index=True)


def named(table):
    return {(line.protocol, line.attack, line.objective): line for line in table.itertuples()}


@pytest.fixture(scope="module")
def both():
    weak = rows(WEAK, attack="Square", gradient_passes=0)
    strong = rows(STRONG, protocol="thorough-1")
    return compare_attacks(pd.concat([rows({0.1: CLEAN, 0.2: CLEAN}, attack="Noise"), weak, strong]))


def test_an_attack_is_measured_by_the_area_of_its_curve(both):
    lines = named(both.attacks)
    assert {key: line.optimality for key, line in lines.items()} == {
        ("standard-1", "all", "all"): pytest.approx(0.375),
        ("standard-1", "Noise", "squared error"): 0,
        ("standard-1", "Square", "squared error"): pytest.approx(0.375),
        ("thorough-1", "all", "all"): 1,
        ("thorough-1", "APGD", "squared error"): 1,
    }
    assert {key[1]: line.best for key, line in lines.items()} == {
        "all": 1,
        "Noise": 0,
        "Square": 0,
        "APGD": 1,
    }
    square = lines["standard-1", "Square", "squared error"]
    assert (square.forward_passes, square.gradient_passes, square.clips) == (80, 0, 5)


def test_what_a_protocol_misses_is_stated_at_every_budget(both):
    assert both.budgets[["epsilon", "protocol", "mae", "best_mae", "more"]].to_numpy().tolist() == [
        [0.1, "standard-1", 0.1875, 0.25, pytest.approx(1 / 3)],
        [0.1, "thorough-1", 0.25, 0.25, 0],
        [0.2, "standard-1", 0.1875, 0.375, 1],
        [0.2, "thorough-1", 0.375, 0.375, 0],
    ]


def test_nothing_is_judged_at_a_budget_at_which_it_was_not_run():
    finer = rows({0.1: 0.25, 0.15: 0.5, 0.2: 0.375}, protocol="mine-1")
    once = rows({0.2: 0.25}, attack="Noise")
    both = compare_attacks(pd.concat([rows(STRONG), finer, once]))
    assert both.budgets[["epsilon", "more"]].to_numpy().tolist() == [[0.1, 0], [0.1, 0], [0.2, 0], [0.2, 0]]
    line = named(both.attacks)["standard-1", "Noise", "squared error"]
    assert np.isnan(line.optimality)
    assert line.best == 0
    with pytest.raises(DataError, match="standard-1, mine-1 have no common budget in linf"):
        compare_attacks(pd.concat([rows({0.1: 0.25}), rows({0.2: 0.25}, protocol="mine-1")]))


def test_runs_and_norms_that_lack_a_protocol_are_left_out_and_named():
    other = rows(STRONG, seed=7)
    here = [rows(WEAK), rows(STRONG | {0.4: 0.5}, protocol="thorough-1"), rows(WEAK, norm="l2")]
    result = compare_attacks(pd.concat([*here, other]))
    assert set(result.budgets["run"]) == {"A2E-6"}
    assert set(result.budgets["norm"]) == {"linf"}
    assert result.remarks == (
        "A2E-6: linf 0.4 left out, budgets that not every protocol has.",
        "A2E-7: left out in linf, no rows of thorough-1.",
        "A2E-6: left out in l2, no rows of thorough-1.",
    )
    with pytest.raises(DataError, match="no run has rows of all of standard-1, thorough-1 in one norm"):
        compare_attacks(pd.concat([other, rows(WEAK, protocol="thorough-1")]))


def test_a_model_without_errors_has_nothing_to_miss():
    perfect = rows({0.1: 0.0})
    for kind in ("clean", "adversarial"):
        names = [name for name in perfect if name.startswith("label_")]
        perfect[[name.replace("label", kind) for name in names]] = perfect[names].to_numpy()
    assert compare_attacks(perfect).budgets["more"].tolist() == [0]


def test_the_best_is_that_of_each_clip():
    one, other = (rows({0.1: 0.25}, attack=attack) for attack in ("APGD", "DDN"))
    label = [name for name in one if name.startswith("adversarial_")]
    one.loc[:2, label], other.loc[3:, label] = one.loc[:2, label] + 0.125, other.loc[3:, label] + 0.125
    lines = named(compare_attacks(pd.concat([one, other])).attacks)
    # Excess 0.2 and 0.175 of 0.25.
    assert lines["standard-1", "APGD", "squared error"].optimality == pytest.approx(0.8)
    assert lines["standard-1", "DDN", "squared error"].optimality == pytest.approx(0.7)
    assert lines["standard-1", "APGD", "squared error"].best == pytest.approx(0.6)


def test_a_smaller_budget_counts_for_a_larger_one_and_clean_for_what_is_worse():
    falling = compare_attacks(pd.concat([rows({0.1: 0.25, 0.2: 0.0}, attack="DDN"), rows(STRONG)])).attacks
    assert named(falling)["standard-1", "DDN", "squared error"].optimality == pytest.approx(0.75)


def test_attacks_on_single_emotions_are_one_attack():
    pushes = [rows(STRONG, objective=f"{emotion} up") for emotion in ("tender", "happy")]
    lines = named(compare_attacks(pd.concat(pushes)).attacks)
    assert lines["standard-1", "APGD", "each emotion"].forward_passes == 160


def test_where_nothing_is_found_nothing_is_compared():
    lines = compare_attacks(rows({0.1: CLEAN, 0.2: CLEAN})).attacks
    assert np.isnan(lines["optimality"]).all()


def test_each_run_and_norm_is_a_field_of_its_own():
    table = pd.concat([rows(STRONG), rows(WEAK, seed=7), rows(WEAK, norm="l2")])
    lines = compare_attacks(table).attacks
    assert lines[["run", "norm"]].drop_duplicates().to_numpy().tolist() == [
        ["A2E-6", "linf"],
        ["A2E-7", "linf"],
        ["A2E-6", "l2"],
    ]
    assert (lines["optimality"] == 1).all()
    assert set(tenuto.optimality(table, norm="l2").attacks["norm"]) == {"l2"}


def test_attacks_on_other_clips_are_refused_by_the_first():
    table = pd.concat([rows(STRONG), rows(WEAK, attack="DDN").query("clip != '002'")])
    with pytest.raises(
        DataError, match=r"A2E-6: standard-1 DDN squared error was not run on clip 002 \(1 in all\)"
    ):
        compare_attacks(table)
    with pytest.raises(DataError, match="no row of a test clip has an epsilon"):
        compare_attacks(rows({np.nan: 0.3}))
