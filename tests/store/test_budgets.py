"""Norms of rows agree with the budgets that attacks keep."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from tenuto.attacks import BUDGETS, L2, SNR, Amplitude, Linf, Masked
from tenuto.store.budgets import NORMS, has_budget, norm_of


def test_every_budget_with_a_size_has_a_norm_of_rows():
    assert set(NORMS) == set(BUDGETS) - {"none"}


@pytest.mark.parametrize("budget", [SNR(40), SNR(33.3), Masked(-6), Masked(0), Amplitude(0.01)], ids=repr)
def test_budgets_and_rows_have_the_same_labels(budget):
    assert norm_of(budget.norm).label(budget.epsilon) == budget.label()


@pytest.mark.parametrize("budget", [SNR(40), SNR(33.3), Masked(-6), Masked(6)], ids=repr)
def test_rows_give_the_level_back(budget):
    assert norm_of(budget.norm).value(budget.epsilon) == pytest.approx(budget.db, abs=1e-9)
    assert norm_of(budget.norm).db == budget.sign


@pytest.mark.parametrize("budget", [Linf(0.05), L2(2.0), Amplitude(0.01)], ids=repr)
def test_other_sizes_are_shown_as_they_are(budget):
    assert norm_of(budget.norm).value(budget.epsilon) == budget.epsilon


def test_a_norm_of_another_package_may_have_any_name():
    assert norm_of("energy{2}").label(0.5) == "energy{2} 0.5"


def test_a_budget_is_found_up_to_rounding_and_no_budget_is_one():
    table = pd.DataFrame({"norm": ["linf", "linf", "l2", "none"], "epsilon": [0.1, 0.3, 0.3, math.nan]})
    assert has_budget(table, "linf", 0.1 + 0.2).tolist() == [False, True, False, False]
    assert has_budget(table, "none", math.nan).tolist() == [False, False, False, True]
