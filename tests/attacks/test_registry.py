"""Attacks as plain dicts, and parts that are registered outside of Tenuto."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch

from tenuto.attacks import (
    APGD,
    ATTACKS,
    BUDGETS,
    L2,
    OBJECTIVES,
    PGD,
    PROTOCOLS,
    AbsoluteError,
    BoundedAttack,
    ConceptsMove,
    EachEmotion,
    EmotionsMove,
    Huber,
    Linf,
    Objective,
    OneEmotion,
    Search,
    Target,
    Unbounded,
    from_dict,
    parse_attack,
    to_dict,
)
from tenuto.errors import ConfigError


def test_the_description_of_an_attack():
    assert APGD(Linf(0.1), objective=AbsoluteError(scale=(0.1, 0.9)), steps=5).to_dict() == {
        "type": "APGD",
        "budget": {"type": "linf", "epsilon": 0.1},
        "objective": {"type": "absolute-error", "against": "label", "scale": [0.1, 0.9]},
        "seed": 0,
        "stop_at": None,
        "precision": "float32",
        "steps": 5,
        "restarts": 1,
    }


@pytest.mark.parametrize(
    "objective",
    [
        Huber(against="clean", scale=(0.0, 1.0), delta=0.2),
        Target((None, 0.5)),
        OneEmotion(1, up=False, keep=2.0),
        EachEmotion(),
        ConceptsMove(),
        EmotionsMove(keep=1.0),
    ],
    ids=repr,
)
@pytest.mark.parametrize("budget", [L2(2.0), Unbounded()], ids=repr)
def test_every_part_is_rebuilt_from_json(budget, objective):
    attack = PGD(budget, objective=objective, step_size=0.1)
    assert from_dict(json.loads(json.dumps(attack.to_dict()))) == attack


LINF = {"type": "linf", "epsilon": 0.1}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"type": "APG", "budget": LINF}, r"Unknown attack 'APG'. Did you mean APGD\?"),
        ({"type": "APGD", "budget": {"type": "l3", "epsilon": 1}}, "Unknown norm 'l3'"),
        ({"type": "APGD", "budget": LINF, "objective": {"type": "eval"}}, "Unknown objective 'eval'"),
        ({"type": "APGD", "budget": LINF, "step": 5}, r"APGD has no setting 'step'. Did you mean steps\?"),
        ({"type": "APGD", "budget": {**LINF, "size": 1}}, "linf has no setting 'size'"),
        ({"type": "APGD", "budget": LINF, "steps": "many"}, "steps must be a whole number"),
        ({"type": "APGD", "budget": 0.1}, "norm is 0.1. It must be a dict with the key 'type'"),
        ({"type": "APGD"}, "attack APGD cannot be built: .*budget"),
        ({"budget": LINF}, "attack is {.*}. It must be a dict with the key 'type'"),
        ({"type": ["APGD"], "budget": LINF}, "It must be a dict with the key 'type'"),
        ("APGD(budget=Linf(epsilon=0.1))", "It must be a dict with the key 'type'"),
        ({"type": "Transfer", "budget": LINF}, "attack Transfer cannot be built: .*source"),
    ],
)
def test_other_descriptions_are_refused(description, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(description)


@pytest.fixture
def registered(monkeypatch):
    """Parts that a test registers disappear after it."""
    for registry in (ATTACKS, OBJECTIVES, BUDGETS, PROTOCOLS):
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))


def test_an_attack_and_an_objective_of_ones_own(registered):
    @OBJECTIVES.register("spread")
    @dataclass(frozen=True)
    class Spread(Objective):
        """The difference of the first two outputs."""

        uses_label = False

        def __call__(self, outputs, situation):
            return outputs.emotions[:, 0] - outputs.emotions[:, 1]

        def title(self, emotions=None):
            return "spread"

    @ATTACKS.register("Corner")
    @dataclass(frozen=True, kw_only=True, repr=False)
    class Corner(BoundedAttack):
        """Every entry at its largest or smallest value, all of one sign."""

        sign: int = 1

        @property
        def iterations(self):
            return 1

        def search(self, search: Search) -> None:
            rows = search.unfinished()
            delta = torch.full_like(search.inputs[rows], self.sign * self.budget.epsilon)
            search.values(search.allowed(delta, rows), rows)
            search.tick(rows)

    attack = Corner(Linf(0.25), objective=Spread(), sign=-1)
    inputs, labels = torch.zeros(2, 3), torch.zeros(2, 2)
    result = attack(lambda x: torch.stack([-x.sum(1), x.sum(1)], dim=1), inputs, labels)
    assert torch.equal(result.adversarial, torch.full((2, 3), -0.25))
    assert result.loss.tolist() == [1.5, 1.5]
    assert from_dict(json.loads(json.dumps(attack.to_dict()))) == attack
    assert parse_attack("Corner", "linf", 0.25, Spread(), {"sign": "-1"}).attacks == (attack,)


def test_a_part_that_is_not_registered_is_described_by_its_class():
    class Own(Objective):
        def __call__(self, outputs, situation):
            return outputs.emotions[:, 0]

        def title(self, emotions=None):
            return "own"

    assert to_dict(APGD(Linf(0.1), objective=Own()))["objective"] == {"type": "Own"}
