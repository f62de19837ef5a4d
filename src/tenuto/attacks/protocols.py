"""Named, versioned bundles of attacks: one word to cite, every setting fixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tenuto.attacks.apgd import APGD
from tenuto.attacks.base import Attack, AttackResult, Model
from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import Linf
from tenuto.attacks.noise import Noise
from tenuto.attacks.objectives import AbsoluteError, Correlation, EachEmotion, SquaredError
from tenuto.attacks.smc2025.described import Described
from tenuto.attacks.smc2025.released import ReleasedAttack
from tenuto.attacks.square import Square
from tenuto.errors import ConfigError, did_you_mean


@dataclass(frozen=True, repr=False)
class Protocol:
    """Attacks that are run one after the other on the same clips, and reported under one name.

    Attributes:
        name: What a paper would cite.
        version: Raised whenever a setting changes; an old version's numbers stay what they were.
        description: One sentence on what it does.
        attacks: The attacks, each with all its settings.
        changes: Settings that deviate from the published ones, as (setting, value).
        epsilons: Rising budgets that every attack climbs, each starting from what it found in the one before;
            without them every attack has the budget of its own.
        silence: Whether a perturbed log spectrogram may not fall below that of silence.
        most_emotions: How many emotions a model may have for the promised number of passes; None for any.
    """

    name: str
    version: int
    description: str
    attacks: tuple[Attack, ...]
    changes: tuple[tuple[str, Any], ...] = ()
    epsilons: tuple[float, ...] = ()
    silence: bool = False
    most_emotions: int | None = None

    def members(self, emotions: int) -> tuple[tuple[Attack, ...], ...]:
        """What is run on a model with so many emotions: for every attack and objective its climb, smallest
        budget first.

        Raises:
            ConfigError: More emotions than the protocol is defined for.
        """
        if self.most_emotions is not None and emotions > self.most_emotions:
            raise ConfigError(
                f"Protocol {self.name} is defined for up to {self.most_emotions} emotions, the model has {emotions}: "
                "its passes would exceed what it promises. Use single attacks."
            )
        return tuple(climb for attack in self.attacks for climb in self._climbs(attack, emotions))

    def _climbs(self, attack: Attack, emotions: int) -> list[tuple[Attack, ...]]:
        if not isinstance(attack, BoundedAttack):
            return [(attack,)]
        objectives = attack.objective.each(emotions)
        aimed = (
            [attack] if len(objectives) == 1 else [_replaced(attack, {"objective": o}) for o in objectives]
        )
        if not self.epsilons:
            return [(one,) for one in aimed]
        budgets = [attack.budget.of(epsilon) for epsilon in self.epsilons]
        return [tuple(_replaced(one, {"budget": budget}) for budget in budgets) for one in aimed]

    def iterations(self, emotions: int) -> int:
        """Most iterations one clip can take, over all attacks and budgets."""
        return sum(attack.iterations for climb in self.members(emotions) for attack in climb)

    def __repr__(self) -> str:
        """The call that makes it: ``protocol('paper-2025-released', iterations=100)``."""
        changes = "".join(f", {setting}={value!r}" for setting, value in self.changes)
        return f"protocol({self.name!r}{changes})"

    def __str__(self) -> str:
        """The name for tables and file names, changes included: ``paper-2025-released+iterations=100``."""
        return "+".join([self.name, *(f"{setting}={value}" for setting, value in self.changes)])


def climb(
    member: Sequence[Attack], model: Model, inputs: Tensor, targets: Tensor, **call: Any
) -> Iterator[tuple[Attack, AttackResult]]:
    """Run one member of a protocol: every attack starts from what the one before it found.

    Args:
        member: One of `Protocol.members`.
        model: As for an attack.
        inputs: (n, 1, frames, bands).
        targets: (n, emotions).
        call: Further arguments of the attacks, such as ``batch_size``; ``valid_range`` only reaches attacks with a
            budget. A protocol with ``silence`` wants the value of silence as its lower end.
    """
    valid_range = call.pop("valid_range", None)
    start = None
    for attack in member:
        own = {"start": start, "valid_range": valid_range} if isinstance(attack, BoundedAttack) else {}
        found = attack(model, inputs, targets, **call, **own)
        start = found.perturbation
        yield attack, found


def _settings(attack: Any) -> dict[str, Any]:
    return {field.name: getattr(attack, field.name) for field in dataclasses.fields(attack) if field.init}


def _replaced(attack: Any, settings: dict[str, Any]) -> Attack:
    changed: Attack = dataclasses.replace(attack, **settings)
    return changed


def _changed(published: Protocol, settings: dict[str, Any]) -> Protocol:
    """A published protocol with other settings; each goes to every attack that has it."""
    if settings and published.epsilons:
        raise ConfigError(f"Protocol {published.name} has no parameters: leave out {', '.join(settings)}.")
    known = {setting for attack in published.attacks for setting in _settings(attack)}
    for setting in settings:
        if setting not in known:
            hint = did_you_mean(setting, sorted(known))
            raise ConfigError(f"Protocol {published.name} has no setting '{setting}'. {hint}")
    attacks, changes = [], {}
    for attack in published.attacks:
        own = _settings(attack)
        new = {setting: value for setting, value in settings.items() if own.get(setting, value) != value}
        changes.update(new)
        attacks.append(_replaced(attack, new))
    return dataclasses.replace(published, attacks=tuple(attacks), changes=tuple(sorted(changes.items())))


EPSILONS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Budgets of standard-1, in deviations of the normalised log spectrogram."""

LARGEST = Linf(EPSILONS[-1])

PROTOCOLS: dict[str, Protocol] = {
    known.name: known
    for known in (
        Protocol(
            name="paper-2025-released",
            version=1,
            description="The attack of the SMC 2025 study as its released code performs it; no budget.",
            attacks=(ReleasedAttack(),),
        ),
        Protocol(
            name="paper-2025-described",
            version=1,
            description="The same attack as the study's settings describe it: L-infinity 0.001, clipped after every "
            "step, and the prediction at the stored perturbation.",
            attacks=(Described(),),
        ),
        Protocol(
            name="standard-1",
            version=1,
            description="The worst of gradient ascent on three errors and on each emotion up and down, of random "
            "search and of noise, over five L-infinity budgets.",
            attacks=(
                APGD(budget=LARGEST, objective=SquaredError(), steps=30),
                APGD(budget=LARGEST, objective=AbsoluteError(), steps=20),
                APGD(budget=LARGEST, objective=Correlation(), steps=20),
                APGD(budget=LARGEST, objective=EachEmotion(), steps=6),
                Square(budget=LARGEST, objective=AbsoluteError(), queries=80),
                Noise(budget=LARGEST, objective=AbsoluteError(), kind="uniform", draws=8),
                Noise(budget=LARGEST, objective=AbsoluteError(), kind="gaussian", draws=8),
                Noise(budget=LARGEST, objective=AbsoluteError(), kind="sign", draws=8),
            ),
            epsilons=EPSILONS,
            silence=True,
            most_emotions=11,
        ),
    )
}


def protocol(name: str, **settings: Any) -> Protocol:
    """A published protocol, by its name.

    Args:
        name: One of `PROTOCOLS`.
        settings: Changes for a reduced run, such as ``iterations=100``, to every attack that has the setting.
            The printed form shows those that deviate from the published value.

    Raises:
        ConfigError: Unknown name or setting, or a value out of range.

    >>> protocol("paper-2025-released", iterations=100)
    protocol('paper-2025-released', iterations=100)
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"There is no protocol '{name}'. {did_you_mean(name, PROTOCOLS)}")
    return _changed(PROTOCOLS[name], settings)
