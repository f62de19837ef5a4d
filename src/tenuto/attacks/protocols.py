"""Named, versioned bundles of attacks: one word to cite, every setting fixed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from tenuto.attacks.base import Attack
from tenuto.attacks.released import ReleasedAttack
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
    """

    name: str
    version: int
    description: str
    attacks: tuple[Attack, ...]
    changes: tuple[tuple[str, Any], ...] = ()

    def __repr__(self) -> str:
        """The call that makes it: ``protocol('paper-2025-released', iterations=100)``."""
        changes = "".join(f", {setting}={value!r}" for setting, value in self.changes)
        return f"protocol({self.name!r}{changes})"

    def __str__(self) -> str:
        """The name for tables and file names, changes included: ``paper-2025-released+iterations=100``."""
        return "+".join([self.name, *(f"{setting}={value}" for setting, value in self.changes)])


def _settings(attack: Any) -> dict[str, Any]:
    return {field.name: getattr(attack, field.name) for field in dataclasses.fields(attack)}


def _replaced(attack: Any, settings: dict[str, Any]) -> Attack:
    changed: Attack = dataclasses.replace(attack, **settings)
    return changed


def _changed(published: Protocol, settings: dict[str, Any]) -> Protocol:
    """A published protocol with other settings; each goes to every attack that has it."""
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


PROTOCOLS: dict[str, Protocol] = {
    known.name: known
    for known in (
        Protocol(
            name="paper-2025-released",
            version=1,
            description="The attack of the SMC 2025 study as its released code performs it; no budget.",
            attacks=(ReleasedAttack(),),
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
