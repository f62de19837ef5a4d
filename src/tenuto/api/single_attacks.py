"""Protocols from what a user gives: a name, an attack, a function of the user's own; and on which inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tenuto.attacks import (
    ATTACKS,
    PROTOCOLS,
    Attack,
    Objective,
    Protocol,
    ReleasedAttack,
    Transfer,
    parse_objective,
    protocol,
)
from tenuto.attacks.parsing import parse_attack, single
from tenuto.data.inputs import LogSpectrogramInputs
from tenuto.errors import ConfigError
from tenuto.evaluation.runs import OpenedRun, Sibling
from tenuto.models.checkpoint import load
from tenuto.models.foreign.code import Code, is_code
from tenuto.models.foreign.identity import content_sha256
from tenuto.models.recogniser import Recogniser
from tenuto.store.location import locate_run
from tenuto.store.rows import RELEASED_PROTOCOL

FOREIGN = "Foreign"

Domain = Literal["waveform", "spectrogram"]
"""What is perturbed: the samples of a recording, or the log spectrogram that a model takes."""


def as_protocol(attack: str | Protocol | Attack, **settings: Any) -> Protocol:
    """A protocol by its name and settings, or of a single attack.

    The name of a single attack depends on all its settings and on the weights or code of a model or function among
    them, so that rows of one are not taken for those of another.

    Raises:
        ConfigError: An unknown protocol or setting, or no attack.
    """
    if isinstance(attack, str):
        return protocol(attack, **settings)
    if not isinstance(attack, Protocol | Attack):
        raise ConfigError(
            f"the attack must be a protocol, the name of one, or an attack such as APGD(Linf(0.05)), got {attack!r}."
        )
    if settings:
        raise ConfigError(
            f"{', '.join(settings)}: settings belong to a protocol given by its name. Set them in {attack!r} instead."
        )
    if isinstance(attack, Protocol):
        return attack
    fields: Sequence[dataclasses.Field[Any]] = ()
    if dataclasses.is_dataclass(attack):
        fields = dataclasses.fields(attack)
    if isinstance(attack, ReleasedAttack):
        return protocol(RELEASED_PROTOCOL, **{field.name: getattr(attack, field.name) for field in fields})
    hidden = [content_sha256(getattr(attack, field.name)) for field in fields if not field.repr]
    return single(attack, hidden)


def with_siblings(protocol: Protocol, run: OpenedRun) -> Protocol:
    """The protocol with the sources of `Transfer` that are Tenuto's models taking the inputs of a run.

    Raises:
        CheckpointError: A source that predicts other emotions or takes other inputs.
        ConfigError: The model takes features, and waveforms are attacked.
    """
    in_sound = protocol.domain == "waveform" or any(attack.needs_sound for attack in protocol.attacks)

    def convert(attack: Attack) -> Attack:
        if not isinstance(attack, Transfer) or not isinstance(attack.source, Recogniser):
            return attack
        return dataclasses.replace(attack, source=Sibling(run.in_sound() if in_sound else run, attack.source))

    return dataclasses.replace(protocol, attacks=tuple(map(convert, protocol.attacks)))


def in_domain(protocol: Protocol, recogniser: Recogniser, inputs: Domain | None) -> Protocol:
    """The protocol with perturbations of these inputs of a model. Raises `ConfigError` where that is impossible."""
    check_domain(recogniser, inputs)
    return protocol if inputs is None or recogniser.inputs.is_sound else protocol.in_domain(inputs)


def check_domain(recogniser: Recogniser, inputs: object) -> None:
    """Raise `ConfigError` for inputs that a model does not have."""
    if inputs not in (None, "waveform", "spectrogram"):
        raise ConfigError(f"`inputs` must be waveform or spectrogram, got {inputs!r}.")
    takes = recogniser.inputs
    if inputs == "spectrogram" and not isinstance(takes, LogSpectrogramInputs):
        raise ConfigError(
            f"`inputs` is spectrogram, but {recogniser.system} takes {takes.unit}. Leave it out."
        )


def family_of(attack: str) -> str:
    """The registered attack that a name stands for: `Foreign` for ``file.py:function``."""
    return FOREIGN if is_code(attack) else attack


def is_single(attack: object) -> bool:
    """Whether an attack is given by the name of a family or of a function of the user's, not of a protocol."""
    return isinstance(attack, str) and (is_code(attack) or (attack not in PROTOCOLS and attack in ATTACKS))


def attack_on_run(
    run: OpenedRun,
    attack: str,
    *,
    objective: str | Objective | None = None,
    epsilon: float | None = None,
    db: float | None = None,
    norm: str | None = None,
    from_clean: bool = False,
    scale: tuple[float, float] | None = None,
    trust: bool = False,
    **settings: Any,
) -> Protocol:
    """Make a protocol of one attack by its name on a run.

    Args:
        run: The run, whose outputs the objective names.
        attack: See `single_attack`, as for ``epsilon``, ``db``, ``norm`` and ``trust``.
        objective: What it increases, in words (docs/attack.md) or itself; None for the attack's own default.
        from_clean: Measure errors from the clean prediction.
        scale: Clip predictions to this scale before an error is measured.
        settings: Further settings of the family. The ``source`` of Transfer may be the folder of a run, which
            ``trust`` is for too.

    Raises:
        ConfigError: As `single_attack`, or an unknown objective.
    """
    if isinstance(objective, Objective):
        if from_clean or scale is not None:
            raise ConfigError(
                f"`from_clean` and `scale` are for an objective given by name. Set them in {objective!r}."
            )
    elif objective is not None or from_clean or scale is not None:
        model = run.recogniser
        objective = parse_objective(
            objective or "squared-error",
            model.emotions,
            from_clean=from_clean,
            scale=scale,
            concepts=model.concepts,
        )
    # Rows of one model or function are not taken for those of another, which has the same text.
    has_object = any(map(callable, settings.values()))
    if isinstance(source := settings.get("source"), str | Path):
        path = locate_run(source)
        settings = {"name": path.name, **settings, "source": load(path, trust=trust)}
    chosen = single_attack(attack, norm, epsilon, objective, settings, db=db, trust=trust)
    return as_protocol(chosen.attacks[0]) if has_object else chosen


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
