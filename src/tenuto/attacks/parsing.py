"""One attack of the user's own, from words and numbers, run like a protocol."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import math
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tenuto.attacks.base import Attack
from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import Budget
from tenuto.attacks.checks import is_number
from tenuto.attacks.objectives import Distance, Objective, OneConcept, OneEmotion, Target
from tenuto.attacks.protocols import Protocol
from tenuto.attacks.registry import (
    ATTACKS,
    BUDGETS,
    OBJECTIVES,
    check_settings,
    described_settings,
    setting_names,
)
from tenuto.errors import ConfigError, did_you_mean


def parse_objective(
    word: str,
    emotions: Sequence[str],
    *,
    from_clean: bool = False,
    scale: tuple[float, float] | None = None,
    concepts: Sequence[str] = (),
) -> Objective:
    """Make an objective from its word.

    Args:
        word: A registered objective, such as ``squared-error``, ``each-emotion`` or ``concepts-move``; one emotion as
            ``happy+`` (up) or ``happy-`` (down), ``happy+alone`` to hold the others; one concept as
            ``concept:modality+``, while emotions stay; or a profile as ``happy=0.8,sad=0.1``.
        emotions: Names of the model's emotions.
        from_clean: Measure errors from the model's own clean prediction rather than from the label.
        scale: Clip predictions to this scale before an error is measured.
        concepts: Names of the model's concepts.

    Raises:
        ConfigError: An unknown word, emotion or concept, or an option that does not go with it.
    """
    words = [name for name, kind in OBJECTIVES.items() if not required_arguments(kind)]
    distances = [name for name in words if issubclass(OBJECTIVES[name], Distance)]
    if word in distances:
        distance: Objective = OBJECTIVES[word](against="clean" if from_clean else "label", scale=scale)
        return distance
    if from_clean or scale is not None:
        raise ConfigError(
            f"`from_clean` and a scale to clip to belong to {', '.join(distances)}, not of the objective {word!r}."
        )
    if word in words:
        objective: Objective = OBJECTIVES[word]()
        return objective
    if "=" in word:
        return _target(word, emotions)
    if match := re.fullmatch(r"concept:(.+)([+-])", word):
        return OneConcept(_index(match[1], concepts, "concept"), up=match[2] == "+")
    if match := re.fullmatch(r"(.+)([+-])(alone)?", word):
        index = _index(match[1], emotions)
        return OneEmotion(index, up=match[2] == "+", keep=10.0 if match[3] else 0.0)
    valid_words = [*words, f"{emotions[0]}+", f"{emotions[0]}-alone", f"{emotions[0]}=0.8"]
    raise ConfigError(f"Unknown objective {word!r}. {did_you_mean(word, valid_words)}")


_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def required_arguments(kind: Callable[..., Any]) -> list[str]:
    """Names of the arguments without which a function, or a class, cannot be called."""
    parameters = inspect.signature(kind).parameters.values()
    return [one.name for one in parameters if one.default is one.empty and one.kind not in _VARIABLE]


def _index(name: str, names: Sequence[str], kind: str = "emotion") -> int:
    if not names:
        raise ConfigError(f"The model has no {kind}s: {kind} {name!r} is unknown.")
    if name not in names:
        raise ConfigError(f"Unknown {kind} {name!r}. {did_you_mean(name, names)}")
    return list(names).index(name)


def _target(word: str, emotions: Sequence[str]) -> Target:
    profile: list[float | None] = [None] * len(emotions)
    for part in word.split(","):
        name, _, text = part.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not is_number(value):
            raise ConfigError(
                f"objective {part.strip()!r}: the value is {text.strip()!r}; it must be a finite number, as in "
                f"{emotions[0]}=0.8."
            )
        index = _index(name.strip(), emotions)
        if profile[index] is not None:
            raise ConfigError(f"objective {word!r} names {name.strip()} twice. Give one value per emotion.")
        profile[index] = value
    return Target(tuple(profile))


def parse_attack(
    family: str,
    norm: str | None,
    epsilon: float | None,
    objective: Objective | None,
    settings: Mapping[str, object],
    *,
    db: float | None = None,
) -> Protocol:
    """Make a protocol of one attack, named after the family and a digest of all its settings.

    Args:
        family: A registered attack.
        norm: A registered budget: ``linf``, ``l2``, ``snr``, ``amplitude``, ``masked`` or ``none``; None as in
            `norm_or_default`.
        epsilon: Size of the budget, in the inputs' units; None with ``none`` and with norms in dB.
        objective: What it increases; None for the attack's own default.
        settings: Further settings of the family, as values or as text; weights of the objective, such as ``keep`` or
            ``delta``, are set here too.
        db: Size of a budget in dB, for ``snr`` and ``masked``.

    Raises:
        ConfigError: An unknown family, norm or setting, or a value out of range.
    """
    kind = ATTACKS[family]
    if not issubclass(kind, BoundedAttack):
        raise ConfigError(f"{family} has no budget: use its protocol, such as paper-2025-released.")
    names = setting_names(kind)
    values: dict[str, object] = {"budget": parse_budget(norm, epsilon, db)}
    if objective is not None:
        if "objective" not in names:
            raise ConfigError(
                f"{family} has the objective of its measure: leave the objective out, set measure."
            )
        values["objective"] = objective
    if ("source" in names) != ("source" in settings):
        raise ConfigError("Transfer, and no other attack, needs a sibling: name its run with `source`.")
    weighable = _weights(objective)
    weights = {name: value for name, value in settings.items() if name in weighable}
    if weights:
        values["objective"] = dataclasses.replace(
            typing.cast(Any, objective), **_converted(objective, weights)
        )
    own = {name: value for name, value in settings.items() if name not in weights}
    check_settings(kind, own, family, without=("budget", "objective"))
    values.update(_converted(kind, own))
    if absent := [name for name in required_arguments(kind) if name not in values]:
        raise ConfigError(f"{family} needs the setting {', '.join(absent)}: give it as a setting.")
    return single(kind(**values))  # type: ignore[arg-type]


def _weights(objective: Objective | None) -> set[str]:
    """Names of the objective's settings that are one number, which its word does not give."""
    if not dataclasses.is_dataclass(objective):
        return set()
    hints = typing.get_type_hints(type(objective))
    return {one.name for one in dataclasses.fields(objective) if hints[one.name] is float}


def _converted(part: object, settings: Mapping[str, object]) -> dict[str, object]:
    """Settings of a part, or of its type, with text converted to the type of each."""
    hints = typing.get_type_hints(part if isinstance(part, type) else type(part))
    return {
        name: _value(name, value, hints[name]) if isinstance(value, str) else value
        for name, value in settings.items()
    }


def single(attack: Attack, hidden: Sequence[str] = ()) -> Protocol:
    """Make a protocol of one attack, named after its family and eight digits that depend on all its settings.

    Args:
        attack: The attack.
        hidden: What tells its settings without text, such as a sibling's weights, from others.
    """
    family = type(attack).__name__
    settings = [(name, repr(value)) for name, value in described_settings(attack).items()]
    digest = hashlib.sha256(repr([family, *settings, *hidden]).encode()).hexdigest()[:8]
    return Protocol(
        f"{family}-{digest}", 1, repr(attack), (attack,), silence=isinstance(attack, BoundedAttack)
    )


def norm_or_default(norm: str | None, db: float | None) -> str:
    """The norm where one is given, else ``snr`` for a size in dB and ``linf`` for others."""
    return norm or ("linf" if db is None else "snr")


def parse_budget(norm: str | None, epsilon: float | None = None, db: float | None = None) -> Budget:
    """Make a budget from its norm, or `norm_or_default`, and the one size that it takes, epsilon or db.

    Raises:
        ConfigError: An unknown norm, a size that the norm does not have, or none.
    """
    norm = norm_or_default(norm, db)
    kind = BUDGETS[norm]
    sizes = {"epsilon": epsilon, "db": db}
    required = [name for name in sizes if name in required_arguments(kind)]
    for name, value in sizes.items():
        if value is not None and name not in required:
            advice = f"give {required[0]} instead" if required else "leave one of them out"
            raise ConfigError(f"{name} is {value!r}, but norm {norm} has no {name}: {advice}.")
    for name in required:
        if sizes[name] is None:
            article = "an" if name == "epsilon" else "a"
            raise ConfigError(f"norm {norm} needs {article} {name}, the size of the budget.")
    budget: Budget = kind(**{name: sizes[name] for name in required})
    return budget


def _value(name: str, text: str, hint: object) -> object:
    """Convert text to the type of a setting."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) is not typing.Literal else (str,)
    kinds = kinds or (hint,)
    if bool in kinds:
        if text not in ("true", "false"):
            raise ConfigError(f"{name} must be true or false, got {text!r}.")
        return text == "true"
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError as error:
                expected = "a whole number" if kind is int else "a number"
                raise ConfigError(f"{name} must be {expected}, got {text!r}.") from error
    return text
