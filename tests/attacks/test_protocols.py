"""Protocols: their fixed settings, their printed form, and how a reduced run shows."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from tenuto.attacks import PROTOCOLS, Protocol, ReleasedAttack, protocol
from tenuto.errors import ConfigError


def test_the_released_protocol_has_the_settings_of_the_study():
    (attack,) = protocol("paper-2025-released").attacks
    assert isinstance(attack, ReleasedAttack)
    assert dataclasses.asdict(attack) == {
        "measure": "corr",
        "optimizer": "Adam",
        "step_size": 0.002,
        "iterations": 1000,
        "alpha": None,
        "sign": True,
    }


def test_every_protocol_is_known_by_its_own_name():
    assert {name: known.name for name, known in PROTOCOLS.items()} == {name: name for name in PROTOCOLS}


def test_a_change_reaches_the_attack():
    assert protocol("paper-2025-released", iterations=100).attacks == (ReleasedAttack(iterations=100),)


def test_a_change_shows_in_the_label():
    changed = protocol("paper-2025-released", iterations=100, measure="mse")
    assert str(changed) == "paper-2025-released+iterations=100+measure=mse"


def test_without_changes_the_label_is_the_name():
    assert str(protocol("paper-2025-released")) == "paper-2025-released"


@pytest.mark.parametrize(
    ("changes", "printed"),
    [
        ({}, "protocol('paper-2025-released')"),
        ({"iterations": 100}, "protocol('paper-2025-released', iterations=100)"),
        ({"sign": False, "alpha": 5.0}, "protocol('paper-2025-released', alpha=5.0, sign=False)"),
    ],
)
def test_it_prints_as_the_call_that_made_it(changes, printed):
    assert repr(protocol("paper-2025-released", **changes)) == printed


def test_the_published_value_is_no_change():
    assert protocol("paper-2025-released", iterations=1000) == protocol("paper-2025-released")


def test_a_change_goes_to_every_attack(monkeypatch):
    both = Protocol("two", 1, "", (ReleasedAttack(), ReleasedAttack(measure="mse", iterations=50)))
    monkeypatch.setitem(PROTOCOLS, "two", both)
    changed = protocol("two", iterations=50)
    assert [attack.iterations for attack in changed.attacks] == [50, 50]
    assert changed.changes == (("iterations", 50),)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no protocol 'paper-2025'. Did you mean paper-2025-released\?"):
        protocol("paper-2025")


def test_an_unknown_setting_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no setting 'iteration'. Did you mean iterations\?"):
        protocol("paper-2025-released", iteration=100)


def test_a_setting_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="iterations is 0"):
        protocol("paper-2025-released", iterations=0)


def test_it_can_be_sent_to_another_process():
    made = protocol("paper-2025-released", iterations=100)
    assert pickle.loads(pickle.dumps(made)) == made
