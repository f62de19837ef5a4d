"""One attack of a reader's own choice, made of words and numbers, and run like a protocol."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import typing
from collections.abc import Mapping, Sequence

from tenuto.attacks.apgd import APGD
from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import NORMS, Budget, Unbounded
from tenuto.attacks.described import Described
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
    SquaredError,
    Target,
)
from tenuto.attacks.pgd import PGD
from tenuto.attacks.protocols import Protocol
from tenuto.attacks.square import Square
from tenuto.attacks.transfer import Transfer
from tenuto.errors import ConfigError, did_you_mean

FAMILIES: dict[str, type[BoundedAttack]] = {
    family.__name__: family for family in (Noise, FGSM, PGD, APGD, Minimal, Square, Transfer, Described)
}
ERRORS: dict[str, type[SquaredError | AbsoluteError | Correlation | Huber]] = {
    "squared-error": SquaredError,
    "absolute-error": AbsoluteError,
    "correlation": Correlation,
    "huber": Huber,
}
OTHERS: dict[str, Objective] = {
    "each-emotion": EachEmotion(),
    "concepts-move": ConceptsMove(),
    "emotions-move": EmotionsMove(),
}


def objective(
    word: str, emotions: Sequence[str], *, from_clean: bool = False, scale: tuple[float, float] | None = None
) -> Objective:
    """An objective by its word.

    Args:
        word: ``squared-error``, ``absolute-error``, ``correlation``, ``huber``, ``each-emotion``,
            ``concepts-move``, ``emotions-move``; one emotion as ``happy+`` (up) or ``happy-`` (down),
            ``happy+alone`` where the others shall stay; or a profile as ``happy=0.8,sad=0.1``.
        emotions: Names of the model's emotions.
        from_clean: Measure errors from the model's own clean prediction rather than from the label.
        scale: Clip predictions to this scale before an error is measured.

    Raises:
        ConfigError: An unknown word or emotion, or an option that does not go with it.
    """
    if word in ERRORS:
        return ERRORS[word](against="clean" if from_clean else "label", scale=scale)
    if from_clean or scale is not None:
        raise ConfigError(
            f"objective {word!r} is no error: from clean and clipped go with {', '.join(ERRORS)}."
        )
    if word in OTHERS:
        return OTHERS[word]
    if "=" in word:
        return _target(word, emotions)
    if found := re.fullmatch(r"(.+)([+-])(alone)?", word):
        index = _index(found[1], emotions)
        return OneEmotion(index, up=found[2] == "+", keep=10.0 if found[3] else 0.0)
    known = [*ERRORS, *OTHERS, f"{emotions[0]}+", f"{emotions[0]}-alone", f"{emotions[0]}=0.8"]
    raise ConfigError(f"objective {word!r} is unknown. {did_you_mean(word, known)}")


def _index(name: str, emotions: Sequence[str]) -> int:
    if name not in emotions:
        raise ConfigError(f"There is no emotion {name!r}. {did_you_mean(name, emotions)}")
    return list(emotions).index(name)


def _target(word: str, emotions: Sequence[str]) -> Target:
    profile: list[float | None] = [None] * len(emotions)
    for part in word.split(","):
        name, _, value = part.partition("=")
        try:
            profile[_index(name.strip(), emotions)] = float(value)
        except ValueError as error:
            raise ConfigError(f"{part!r}: wanted an emotion and a number, such as happy=0.8.") from error
    return Target(tuple(profile))


def chosen(
    family: str, norm: str, epsilon: float | None, aim: Objective, settings: Mapping[str, object]
) -> Protocol:
    """A protocol of one attack, named after the family and a digest of all its settings.

    Args:
        family: One of `FAMILIES`.
        norm: ``linf``, ``l2`` or ``none``.
        epsilon: Size of the budget, in the inputs' units; None with ``none``.
        aim: What it raises.
        settings: Further settings of the family, as values or as text.

    Raises:
        ConfigError: An unknown family, norm or setting, or a value out of range.
    """
    if family not in FAMILIES:
        raise ConfigError(f"attack {family!r} is unknown. {did_you_mean(family, FAMILIES)}")
    kind = FAMILIES[family]
    given: dict[str, object] = {"budget": _budget(norm, epsilon), "objective": aim}
    if kind is Described:  # its objective follows from its measure
        if aim != SquaredError():
            raise ConfigError(
                "Described has the objective of its measure: leave the objective out, set measure."
            )
        del given["objective"]
    if (kind is Transfer) != ("source" in settings):
        raise ConfigError("Transfer, and no other attack, needs a sibling: name its run with --source.")
    fields = {field.name for field in dataclasses.fields(kind) if field.init} - given.keys()
    hints = typing.get_type_hints(kind)
    for name, value in settings.items():
        if name not in fields:
            raise ConfigError(f"{family} has no setting {name!r}. {did_you_mean(name, sorted(fields))}")
        given[name] = _value(name, value, hints[name]) if isinstance(value, str) else value
    try:
        attack = kind(**given)  # type: ignore[arg-type]
    except TypeError as error:
        raise ConfigError(f"{family}: {str(error).split(') ')[-1]}; give it as a setting.") from error
    return single(attack)


def single(attack: BoundedAttack) -> Protocol:
    """A protocol of one attack, named after its family and a digest of all its settings."""
    family = type(attack).__name__
    settings = [
        (field.name, repr(getattr(attack, field.name))) for field in dataclasses.fields(attack) if field.repr
    ]
    digest = hashlib.sha256(repr([family, *settings]).encode()).hexdigest()[:8]
    return Protocol(f"{family}-{digest}", 1, repr(attack), (attack,), silence=True)


def _budget(norm: str, epsilon: float | None) -> Budget:
    if norm == "none":
        if epsilon is not None:
            raise ConfigError(f"epsilon is {epsilon!r} and the norm none: leave one of them out.")
        return Unbounded()
    if norm not in NORMS:
        raise ConfigError(f"norm {norm!r} is unknown. {did_you_mean(norm, [*NORMS, 'none'])}")
    if epsilon is None:
        raise ConfigError(f"norm {norm} needs an epsilon, the size of the budget.")
    return NORMS[norm](epsilon)


def _value(name: str, text: str, hint: object) -> object:
    """Text as the type a setting has."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) is not typing.Literal else (str,)
    kinds = kinds or (hint,)
    if bool in kinds:
        if text not in ("true", "false"):
            raise ConfigError(f"{name} is {text!r}, wanted true or false.")
        return text == "true"
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError as error:
                wanted = "a whole number" if kind is int else "a number"
                raise ConfigError(f"{name} is {text!r}, wanted {wanted}.") from error
    return text
