"""Adversarial attacks on models that predict emotions; they know neither data sets nor networks."""

from tenuto.attacks.apgd import APGD
from tenuto.attacks.base import Attack, AttackResult, Examples, left_as_found
from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import L2, Budget, Linf, Unbounded
from tenuto.attacks.fgsm import FGSM
from tenuto.attacks.minimal import Minimal
from tenuto.attacks.noise import Noise
from tenuto.attacks.objectives import (
    AbsoluteError,
    ConceptsMove,
    Correlation,
    EachEmotion,
    EmotionsMove,
    Huber,
    Objective,
    OneEmotion,
    Outputs,
    Situation,
    SquaredError,
    Target,
)
from tenuto.attacks.pgd import PGD
from tenuto.attacks.protocols import PROTOCOLS, Protocol, climb, protocol
from tenuto.attacks.smc2025.described import Described
from tenuto.attacks.smc2025.released import ReleasedAttack, ReleasedResult
from tenuto.attacks.square import Square
from tenuto.attacks.transfer import Transfer

__all__ = [
    "APGD",
    "FGSM",
    "L2",
    "PGD",
    "PROTOCOLS",
    "AbsoluteError",
    "Attack",
    "AttackResult",
    "BoundedAttack",
    "Budget",
    "ConceptsMove",
    "Correlation",
    "Described",
    "EachEmotion",
    "EmotionsMove",
    "Examples",
    "Huber",
    "Linf",
    "Minimal",
    "Noise",
    "Objective",
    "OneEmotion",
    "Outputs",
    "Protocol",
    "ReleasedAttack",
    "ReleasedResult",
    "Situation",
    "Square",
    "SquaredError",
    "Target",
    "Transfer",
    "Unbounded",
    "climb",
    "left_as_found",
    "protocol",
]
