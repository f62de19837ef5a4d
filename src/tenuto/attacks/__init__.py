"""Adversarial attacks on models with continuous outputs. They need torch and NumPy only."""

from tenuto.attacks.apgd import APGD
from tenuto.attacks.axes import Axes
from tenuto.attacks.base import Attack, AttackResult, Examples, from_dict
from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import L2, SNR, Amplitude, Budget, Euclidean, Linf, Unbounded
from tenuto.attacks.calling import Evaluator, Outputs, emotions_of, left_as_found
from tenuto.attacks.ddn import DDN
from tenuto.attacks.fgsm import FGSM
from tenuto.attacks.foreign import AttackedModel, Foreign, from_foolbox, from_torchattacks
from tenuto.attacks.imperceptible import Imperceptible
from tenuto.attacks.masked import Masked
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
    OneConcept,
    OneEmotion,
    Situation,
    SquaredError,
    Target,
)
from tenuto.attacks.parsing import parse_attack, parse_budget, parse_objective
from tenuto.attacks.pgd import PGD
from tenuto.attacks.protocols import Protocol, ProtocolResult, WorstCase, climb
from tenuto.attacks.published import protocol
from tenuto.attacks.region import Region
from tenuto.attacks.registry import (
    ATTACKS,
    BUDGETS,
    OBJECTIVES,
    PROTOCOLS,
    SETTINGS,
    TRANSFORMATIONS,
    to_dict,
)
from tenuto.attacks.search import Search
from tenuto.attacks.smc2025.described import Described
from tenuto.attacks.smc2025.released import ReleasedAttack, ReleasedResult
from tenuto.attacks.square import Square
from tenuto.attacks.trace import Trace
from tenuto.attacks.transfer import Transfer
from tenuto.attacks.transformations import (
    AddedNoise,
    Gain,
    LowPass,
    Mp3,
    Room,
    Shift,
    Transformation,
    Transformations,
)

__all__ = [
    "APGD",
    "ATTACKS",
    "BUDGETS",
    "DDN",
    "FGSM",
    "L2",
    "OBJECTIVES",
    "PGD",
    "PROTOCOLS",
    "SETTINGS",
    "SNR",
    "TRANSFORMATIONS",
    "AbsoluteError",
    "AddedNoise",
    "Amplitude",
    "Attack",
    "AttackResult",
    "AttackedModel",
    "Axes",
    "BoundedAttack",
    "Budget",
    "ConceptsMove",
    "Correlation",
    "Described",
    "EachEmotion",
    "EmotionsMove",
    "Euclidean",
    "Evaluator",
    "Examples",
    "Foreign",
    "Gain",
    "Huber",
    "Imperceptible",
    "Linf",
    "LowPass",
    "Masked",
    "Minimal",
    "Mp3",
    "Noise",
    "Objective",
    "OneConcept",
    "OneEmotion",
    "Outputs",
    "Protocol",
    "ProtocolResult",
    "Region",
    "ReleasedAttack",
    "ReleasedResult",
    "Room",
    "Search",
    "Shift",
    "Situation",
    "Square",
    "SquaredError",
    "Target",
    "Trace",
    "Transfer",
    "Transformation",
    "Transformations",
    "Unbounded",
    "WorstCase",
    "climb",
    "emotions_of",
    "from_dict",
    "from_foolbox",
    "from_torchattacks",
    "left_as_found",
    "parse_attack",
    "parse_budget",
    "parse_objective",
    "protocol",
    "to_dict",
]
