import numpy as np
import pytest

from tenuto.attacks import (
    APGD,
    FGSM,
    L2,
    PGD,
    PROTOCOLS,
    AbsoluteError,
    ConceptsMove,
    Correlation,
    Described,
    Huber,
    Linf,
    Minimal,
    Noise,
    OneEmotion,
    ReleasedAttack,
    Square,
    SquaredError,
    Target,
    Unbounded,
)
from tenuto.errors import ConfigError
from tenuto.evaluation.audit.settings import MOST_ITERATIONS, STAND_IN, parse, questioned
from tests.evaluation.audit.planted import bounded, source

BUDGET = Linf(0.1)
PUBLISHED = [
    attack for known in PROTOCOLS.values() for climb in known.members(emotions=3) for attack in climb
]


@pytest.mark.parametrize(
    "attack",
    [
        *PUBLISHED,
        PGD(budget=Unbounded(), objective=Target((None, 0.8, -0.1)), step_size=0.05, stop_at=-0.01),
        PGD(budget=L2(2.0), objective=Huber(against="clean", scale=(0.1, 0.9), delta=0.2), scattered=True),
        APGD(budget=BUDGET, objective=OneEmotion(2, up=False, keep=10.0), restarts=3, precision="bfloat16"),
        FGSM(budget=BUDGET, objective=ConceptsMove(keep=1.0)),
        Minimal(budget=BUDGET, goal=1e-3),
        Square(budget=BUDGET, objective=AbsoluteError(scale=(0.0, 1.0))),
        Noise(budget=BUDGET, kind="sign"),
        Described(measure="mse", alpha=0.5),
        ReleasedAttack(iterations=7),
    ],
    ids=repr,
)
def test_settings_become_the_attack_they_were_written_by(attack):
    assert parse(repr(attack)) == attack


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__",
        "[1, 2]",
        "Linf(epsilon=0.1)",
        "0.1",
        "APGD",
        "APGD(Linf(epsilon=0.1))",
        "APGD(**{'budget': 1})",
        "APGD(budget=Linf(epsilon=open('file')))",
        "APGD(budget=Linf(epsilon=0.1), steps=2 + 2)",
        "APGD(budget=Linf(epsilon=0.1), steps=30 if True else 2)",
        "APGD(budget=Linf(epsilon=0.1), steps=(lambda: 30)())",
        "APGD(budget=Linf(epsilon=0.1), steps=1.5)",
        "APGD(budget=Linf(epsilon=0.1), stop_at=b'1')",
        "APGD(budget=Linf(epsilon=0.1), colour=1)",
        "APGD(budget=Linf(epsilon=0.1), steps=1, steps=2)",
        "APGD(steps=30)",
        "Transfer(budget=Linf(epsilon=0.1), name='b')",
        "APGD(budget=",
        "",
        "(" * 3000,
        "(" * 300 + "," + ")" * 300,
        "-" * 900 + "1",
        "not " * 200 + "1",
        "(" * 150 + "1," + ",)" * 149 + ")",
        "\0",
    ],
    ids=lambda text: text[:60],
)
def test_anything_else_is_refused_and_nothing_is_run(text):
    with pytest.raises(ConfigError):
        parse(text)


# What is questioned


def rows(*attacks):
    """One run's rows: attack and the mean absolute error it reaches."""
    tables = [
        bounded(
            attack=type(attack).__name__,
            epsilon=attack.budget.epsilon,
            norm=attack.budget.norm,
            objective=attack.objective.title(),
            settings=repr(attack),
            attacked=error,
        )
        for attack, error in attacks
    ]
    return source(*tables).rows


def test_the_strongest_gradient_attack_is_questioned():
    strong = APGD(budget=BUDGET, objective=SquaredError(), steps=20)
    weak = APGD(budget=BUDGET, objective=Correlation(), steps=20)
    found = questioned(rows((weak, 0.3), (strong, 0.5), (FGSM(budget=BUDGET), 0.9)))
    assert (found.attack, found.lower, found.instead) == (strong, (), "")


@pytest.mark.parametrize(
    ("ladder", "wanted"),
    [((0.1, 0.2, 0.4), 0.2), ((0.1, 0.2), 0.2), ((0.1, 0.2, 0.3, 0.4), 0.3), ((0.1,), 0.1)],
)
def test_of_a_ladder_the_middle_budget_is_questioned_and_the_lower_ones_climbed(ladder, wanted):
    climb = [APGD(budget=Linf(epsilon), steps=8) for epsilon in ladder]
    found = questioned(rows(*((attack, attack.budget.epsilon) for attack in climb)))
    assert found.attack.budget == Linf(wanted)
    assert [attack.budget.epsilon for attack in found.lower] == [eps for eps in ladder if eps < wanted]


def test_budgets_of_other_attacks_are_not_climbed():
    other = APGD(budget=Linf(0.05), steps=4), 0.1
    found = questioned(rows(other, (APGD(budget=BUDGET, steps=8), 0.3)))
    assert (found.attack.steps, found.lower) == (8, ())


def test_linf_goes_before_l2():
    found = questioned(rows((PGD(budget=L2(2.0)), 0.9), (PGD(budget=BUDGET), 0.3)))
    assert found.attack == PGD(budget=BUDGET)


def test_rows_of_l2_alone_are_questioned_there():
    assert questioned(rows((PGD(budget=L2(2.0)), 0.9))).attack == PGD(budget=L2(2.0))


def _unreadable():
    return rows((APGD(budget=BUDGET), 0.3)).assign(settings="APGD(budget=nothing)")


def _renamed():
    return rows((Square(budget=BUDGET), 0.3)).assign(attack="PGD")


@pytest.mark.parametrize(
    ("planted", "why"),
    [
        (rows((FGSM(budget=BUDGET), 0.3)), "no APGD or PGD inside a budget"),
        (bounded(epsilon=np.nan, attack="ReleasedAttack"), "no APGD or PGD inside a budget"),
        (bounded().drop(columns="settings"), "with its settings"),
        (bounded(settings=np.nan), "with its settings"),
        (rows((PGD(budget=BUDGET, steps=MOST_ITERATIONS + 1), 0.3)), "too many to repeat"),
        (_unreadable(), "settings hold nothing, wanted"),
        (_renamed(), "the rows call Square"),
    ],
    ids=["one step", "released", "no settings", "empty settings", "too long", "unreadable", "another attack"],
)
def test_where_no_attack_can_be_questioned_another_stands_in_and_says_why(planted, why):
    found = questioned(planted)
    assert found.attack == STAND_IN
    assert why in found.instead
