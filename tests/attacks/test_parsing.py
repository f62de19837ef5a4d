"""One attack of one's own, from words and numbers."""

from __future__ import annotations

import re

import pytest
import torch

from tenuto.attacks import (
    APGD,
    ATTACKS,
    L2,
    PGD,
    SNR,
    Amplitude,
    Described,
    Linf,
    Masked,
    Target,
    Transfer,
    Unbounded,
    parse_attack,
    parse_objective,
)
from tenuto.attacks.objectives import (
    AbsoluteError,
    ConceptsMove,
    Correlation,
    EachEmotion,
    EmotionsMove,
    Huber,
    OneConcept,
    OneEmotion,
    SquaredError,
)
from tenuto.errors import ConfigError

EMOTIONS = ("valence", "happy", "sad")
CONCEPTS = ("dissonance", "modality")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("squared-error", SquaredError()),
        ("absolute-error", AbsoluteError()),
        ("correlation", Correlation()),
        ("huber", Huber()),
        ("each-emotion", EachEmotion()),
        ("concepts-move", ConceptsMove()),
        ("concept:modality-", OneConcept(1, up=False)),
        ("emotions-move", EmotionsMove()),
        ("happy+", OneEmotion(1)),
        ("sad-", OneEmotion(2, up=False)),
        ("happy+alone", OneEmotion(1, keep=10.0)),
        ("happy=0.8", Target((None, 0.8, None))),
        ("happy=0.8, sad=0.1", Target((None, 0.8, 0.1))),
    ],
)
def test_words_are_objectives(word, expected):
    assert parse_objective(word, EMOTIONS, concepts=CONCEPTS) == expected


def test_errors_may_be_from_clean_and_clipped():
    expected = AbsoluteError(against="clean", scale=(0.1, 0.9))
    assert parse_objective("absolute-error", EMOTIONS, from_clean=True, scale=(0.1, 0.9)) == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("squared", r"Unknown objective 'squared'. Did you mean squared-error\?"),
        ("concept:modal+", r"Unknown concept 'modal'. Did you mean modality\?"),
        ("hapy+", r"Unknown emotion 'hapy'. Did you mean happy\?"),
        ("hapy=1", r"Unknown emotion 'hapy'. Did you mean happy\?"),
        ("happy=loud", "'happy=loud': the value is 'loud'"),
    ],
)
def test_other_words_are_refused(word, message):
    with pytest.raises(ConfigError, match=message):
        parse_objective(word, EMOTIONS, concepts=CONCEPTS)


def test_a_model_without_concepts_has_none_to_move():
    with pytest.raises(ConfigError, match="The model has no concepts: concept 'modality' is unknown"):
        parse_objective("concept:modality+", EMOTIONS)


def test_only_errors_are_clipped():
    with pytest.raises(ConfigError, match=r"not of the objective 'happy\+'"):
        parse_objective("happy+", EMOTIONS, scale=(0.0, 1.0))


@pytest.mark.parametrize(
    ("word", "settings", "objective"),
    [
        ("concepts-move", {"keep": "1"}, ConceptsMove(keep=1.0)),
        ("concept:modality-", {"keep": 0.5}, OneConcept(1, up=False, keep=0.5)),
        ("huber", {"delta": "0.3"}, Huber(delta=0.3)),
        ("each-emotion", {"keep": "2.5"}, EachEmotion(keep=2.5)),
    ],
)
def test_weights_of_an_objective_are_settings(word, settings, objective):
    aim = parse_objective(word, EMOTIONS, concepts=CONCEPTS)
    (attack,) = parse_attack("APGD", "linf", 0.1, aim, {**settings, "steps": "3"}).attacks
    assert isinstance(attack, APGD)
    assert (attack.objective, attack.steps) == (objective, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": "much"}, "keep must be a number, got 'much'"),
        ({"keep": "-1"}, "keep must be a number from 0 to"),
        ({"delta": "0.1"}, "APGD has no setting 'delta'"),
        ({"index": "1"}, "APGD has no setting 'index'"),
    ],
)
def test_other_settings_of_an_objective_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        parse_attack("APGD", "linf", 0.1, OneConcept(0), settings)


@pytest.mark.parametrize(
    "family", sorted(ATTACKS.keys() - {"Transfer", "Foreign", "Minimal", "Imperceptible", "ReleasedAttack"})
)
def test_every_family_can_be_parse_attack(family):
    (attack,) = parse_attack(family, "linf", 0.1, None, {}).attacks
    assert type(attack) is ATTACKS[family]
    assert attack.budget == Linf(0.1)


def test_settings_may_be_text():
    (attack,) = parse_attack(
        "PGD",
        "l2",
        2.0,
        SquaredError(),
        {"steps": "7", "momentum": "0.5", "scattered": "true", "step_size": "1"},
    ).attacks
    assert attack == PGD(budget=L2(2.0), steps=7, momentum=0.5, scattered=True, step_size=1.0)


def test_without_a_budget():
    (attack,) = parse_attack("PGD", "none", None, SquaredError(), {"step_size": 0.1}).attacks
    assert attack == PGD(budget=Unbounded(), step_size=0.1)


def test_the_described_attack_has_the_objective_of_its_measure():
    (attack,) = parse_attack("Described", "linf", 0.02, None, {"measure": "corr"}).attacks
    assert attack == Described(budget=Linf(0.02))
    assert attack.objective == Correlation()


def test_it_is_named_after_all_its_settings():
    names = {
        str(parse_attack("APGD", "linf", epsilon, aim, {"steps": steps}))
        for epsilon in (0.1, 0.2)
        for aim in (SquaredError(), Correlation())
        for steps in (5, 6)
    }
    assert len(names) == 8
    assert all(name.startswith("APGD-") for name in names)
    assert str(parse_attack("APGD", "linf", 0.1, SquaredError(), {"steps": 5})) in names


def test_a_source_is_passed_on():
    source = torch.nn.Identity()
    (attack,) = parse_attack(
        "Transfer", "linf", 0.1, SquaredError(), {"source": source, "name": "other"}
    ).attacks
    assert isinstance(attack, Transfer)
    assert attack.source is source
    assert "Identity" not in repr(attack)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("APG", "linf", 0.1, {}), r"Unknown attack 'APG'. Did you mean APGD\?"),
        (("APGD", "l1", 0.1, {}), "Unknown norm 'l1'"),
        (("APGD", "linf", None, {}), "norm linf needs an epsilon, the size of the budget"),
        (("PGD", "none", 0.1, {}), "leave one of them out"),
        (("APGD", "linf", -0.1, {}), "epsilon must be a number from 0 to 1e"),
        (("APGD", "linf", 0.1, {"step": 5}), r"APGD has no setting 'step'. Did you mean steps\?"),
        (("APGD", "linf", 0.1, {"steps": "few"}), "steps must be a whole number, got 'few'"),
        (("PGD", "linf", 0.1, {"momentum": "much"}), "momentum must be a number, got 'much'"),
        (("PGD", "linf", 0.1, {"scattered": "yes"}), "scattered must be true or false, got 'yes'"),
        (("Noise", "linf", 0.1, {"kind": "brown"}), "Unknown kind 'brown'"),
        (("Minimal", "linf", 0.1, {}), "Minimal needs the setting goal: give it as a setting"),
        (("ReleasedAttack", "none", None, {}), "ReleasedAttack has no budget: use its protocol"),
        (("APGD", "linf", 0.1, {"budget": "0.2"}), "APGD has no setting 'budget'"),
        (("Transfer", "linf", 0.1, {}), "needs a sibling: name its run with `source`"),
        (
            ("Transfer", "linf", 0.1, {"source": "runs/x"}),
            "source must be the sibling itself, .*, got 'runs/x'",
        ),
        (
            ("APGD", "linf", 0.1, {"source": torch.nn.Identity()}),
            "Transfer, and no other attack, needs a sibling",
        ),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    family, norm, epsilon, settings = arguments
    with pytest.raises(ConfigError, match=message):
        parse_attack(family, norm, epsilon, SquaredError(), settings)


def test_budgets_in_db_are_given_in_db():
    (attack,) = parse_attack("APGD", "snr", None, SquaredError(), {}, db=40.0).attacks
    assert attack == APGD(SNR(40))
    (attack,) = parse_attack("APGD", "masked", None, SquaredError(), {}, db=-6.0).attacks
    assert attack == APGD(Masked(-6))
    (attack,) = parse_attack("APGD", "amplitude", 0.01, SquaredError(), {}).attacks
    assert attack == APGD(Amplitude(0.01))
    assert parse_attack("APGD", None, None, SquaredError(), {}, db=40.0).attacks == (APGD(SNR(40)),)
    assert parse_attack("APGD", None, 0.1, SquaredError(), {}).attacks == (APGD(Linf(0.1)),)


@pytest.mark.parametrize(
    ("norm", "epsilon", "db", "message"),
    [
        ("snr", 0.01, None, "epsilon is 0.01, but norm snr has no epsilon: give db instead"),
        ("snr", None, None, "norm snr needs a db, the size of the budget"),
        ("masked", 1.0, None, "epsilon is 1.0, but norm masked has no epsilon: give db instead"),
        ("snr", None, 999.0, "db must be a number from -200 to 200"),
        ("amplitude", None, 40.0, "db is 40.0, but norm amplitude has no db: give epsilon instead"),
        ("linf", 0.1, 40.0, "db is 40.0, but norm linf has no db: give epsilon instead"),
        ("none", None, 40.0, "db is 40.0, but norm none has no db: leave one of them out"),
    ],
)
def test_sizes_of_the_wrong_kind_are_refused(norm, epsilon, db, message):
    with pytest.raises(ConfigError, match=message):
        parse_attack("PGD", norm, epsilon, SquaredError(), {}, db=db)


def test_each_emotion_becomes_an_attack_of_its_own():
    members = parse_attack("APGD", "linf", 0.1, EachEmotion(), {}).members(emotions=3)
    assert [climb[0] for climb in members] == [
        APGD(budget=Linf(0.1), objective=OneEmotion(index, up)) for index in range(3) for up in (True, False)
    ]


def test_described_takes_no_objective():
    with pytest.raises(ConfigError, match="Described has the objective of its measure"):
        parse_attack("Described", "linf", 0.1, OneEmotion(0), {})


def test_the_name_and_settings_of_an_attack_stay_what_they_were():
    """They are the keys of rows and perturbations that earlier versions have written."""
    made = parse_attack("PGD", "l2", 1.0, None, {"steps": "5"})
    assert (str(made), repr(made.attacks[0])) == ("PGD-a9109b9b", "PGD(budget=L2(epsilon=1.0), steps=5)")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "", "high", "1e30"])
def test_a_target_value_that_is_no_finite_number_is_named(value):
    message = f"objective 'sad={value}': the value is '{value}'; it must be a finite number, as in happy=0.8"
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_objective(f"happy=0.5, sad={value}", ("happy", "sad"))


def test_a_target_that_names_an_emotion_twice_is_refused():
    with pytest.raises(ConfigError, match="names happy twice"):
        parse_objective("happy=0.5,happy=0.6", ("happy", "sad"))
