"""Adversarial attacks on models that predict emotions; they know neither data sets nor networks."""

from tenuto.attacks.base import Attack, AttackResult, Examples, left_as_found
from tenuto.attacks.protocols import PROTOCOLS, Protocol, protocol
from tenuto.attacks.released import ReleasedAttack, ReleasedResult

__all__ = [
    "PROTOCOLS",
    "Attack",
    "AttackResult",
    "Examples",
    "Protocol",
    "ReleasedAttack",
    "ReleasedResult",
    "left_as_found",
    "protocol",
]
