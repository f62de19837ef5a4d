"""Which attack of the rows is repeated with a longer search."""

import numpy as np
import pytest

from tenuto.attacks import APGD, FGSM, L2, PGD, Correlation, Linf, Square, SquaredError
from tenuto.evaluation.audit.examination import STAND_IN
from tenuto.evaluation.audit.longer_search import MOST_REPEATED_ITERATIONS, search_to_repeat
from tests.evaluation.audit.planted import bounded, source

BUDGET = Linf(0.1)


def made(*attacks):
    """One run's rows and the attack of every row, from attacks and the mean absolute error each reaches."""
    tables = [
        bounded(
            attack=attack.title,
            epsilon=attack.epsilon,
            norm=attack.norm,
            objective=attack.objective.title(),
            settings=repr(attack),
            attacked=error,
        )
        for attack, error in attacks
    ]
    rows = source(*tables).rows
    by_text = {repr(attack): attack for attack, _ in attacks}
    return rows, [by_text[text] for text in rows["settings"]]


def test_the_strongest_gradient_attack_is_repeated():
    strong = APGD(budget=BUDGET, objective=SquaredError(), steps=20)
    weak = APGD(budget=BUDGET, objective=Correlation(), steps=20)
    result = search_to_repeat(*made((weak, 0.3), (strong, 0.5), (FGSM(budget=BUDGET), 0.9)))
    assert (result.attack, result.lower, result.instead) == (strong, (), "")


@pytest.mark.parametrize(
    ("ladder", "expected"),
    [((0.1, 0.2, 0.4), 0.2), ((0.1, 0.2), 0.2), ((0.1, 0.2, 0.3, 0.4), 0.3), ((0.1,), 0.1)],
)
def test_of_a_ladder_the_middle_budget_is_repeated_and_the_lower_ones_climbed(ladder, expected):
    climb = [APGD(budget=Linf(epsilon), steps=8) for epsilon in ladder]
    result = search_to_repeat(*made(*((attack, attack.budget.epsilon) for attack in climb)))
    assert result.attack.budget == Linf(expected)
    assert [attack.budget.epsilon for attack in result.lower] == [eps for eps in ladder if eps < expected]


def test_budgets_of_other_attacks_are_not_climbed():
    other = APGD(budget=Linf(0.05), steps=4), 0.1
    result = search_to_repeat(*made(other, (APGD(budget=BUDGET, steps=8), 0.3)))
    assert (result.attack.steps, result.lower) == (8, ())


def test_linf_goes_before_l2():
    result = search_to_repeat(*made((PGD(budget=L2(2.0)), 0.9), (PGD(budget=BUDGET), 0.3)))
    assert result.attack == PGD(budget=BUDGET)


def test_rows_of_l2_alone_are_questioned_there():
    assert search_to_repeat(*made((PGD(budget=L2(2.0)), 0.9))).attack == PGD(budget=L2(2.0))


@pytest.mark.parametrize(
    ("rows", "attacks", "why"),
    [
        (*made((FGSM(budget=BUDGET), 0.3)), "no attack with steps and restarts"),
        (*made((Square(budget=BUDGET), 0.3)), "no attack with steps and restarts"),
        (bounded(epsilon=np.nan), [None] * 5, "no attack with steps and restarts"),
        (*made((PGD(budget=BUDGET, steps=MOST_REPEATED_ITERATIONS + 1), 0.3)), "too many to repeat"),
    ],
    ids=["one step", "black box", "not recorded", "too long"],
)
def test_where_no_attack_can_be_repeated_another_stands_in_and_says_why(rows, attacks, why):
    result = search_to_repeat(rows, attacks)
    assert result.attack == STAND_IN
    assert why in result.instead
