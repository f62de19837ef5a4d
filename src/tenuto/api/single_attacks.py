"""A single attack by its name, or by the name of a function of the user's own."""

from __future__ import annotations

from collections.abc import Mapping

from tenuto.attacks import Objective, Protocol
from tenuto.attacks.parsing import parse_attack
from tenuto.errors import ConfigError
from tenuto.models.foreign.code import Code, is_code

FOREIGN = "Foreign"


def family_of(attack: str) -> str:
    """The registered attack that a name stands for: `Foreign` for ``file.py:function``."""
    return FOREIGN if is_code(attack) else attack


def single_attack(
    attack: str,
    norm: str | None,
    epsilon: float | None,
    objective: Objective | None,
    settings: Mapping[str, object],
    *,
    db: float | None = None,
    trust: bool = False,
) -> Protocol:
    """Make a protocol of one attack, see `tenuto.attacks.parse_attack`, whose other arguments these are.

    Args:
        attack: A registered attack, or ``file.py:function`` of the user's, see `tenuto.attacks.Foreign`. The name in
            rows contains a digest of the file, so that rows of an earlier version are not taken for those of this one.
        trust: Whether you trust that code, which is then executed, now and later.

    Raises:
        ConfigError: An unknown attack, norm or setting, or a value out of range.
        ModelError: No such file or function.
        TrustError: Code that was not named on this machine.
    """
    if attack == FOREIGN and not callable(settings.get("call")):
        raise ConfigError("Foreign has no function: name yours as FILE.py:FUNCTION in place of Foreign.")
    if not is_code(attack):
        return parse_attack(attack, norm, epsilon, objective, settings, db=db)
    code = Code(attack)
    own = {"call": code.load(trust=trust), "name": f"{code.file.name}:{code.name}@{code.sha256[:8]}"}
    return parse_attack(FOREIGN, norm, epsilon, objective, {**own, **settings}, db=db)
