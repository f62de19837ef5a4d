"""Attacks, objectives, budgets and protocols by name, and attacks as plain dicts for JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tenuto.errors import ConfigError, did_you_mean
from tenuto.registry import Registry

ATTACKS: Registry[type[Any]] = Registry("attack", "tenuto.attacks", type)
OBJECTIVES: Registry[type[Any]] = Registry("objective", "tenuto.objectives", type)
BUDGETS: Registry[type[Any]] = Registry("norm", "tenuto.budgets", type)
"""Budgets by what the column ``norm`` of the rows calls them."""
PROTOCOLS: Registry[Any] = Registry("protocol", "tenuto.protocols")

TRANSFORMATIONS: Registry[type[Any]] = Registry("transformation", "tenuto.transformations", type)
SETTINGS: Registry[type[Any]] = Registry("setting", "tenuto.settings", type)
"""Settings of an attack that have settings themselves, by the names of their classes."""

NESTED: dict[str, Registry[Any]] = {
    "budget": BUDGETS,
    "objective": OBJECTIVES,
    "region": SETTINGS,
    "transformations": SETTINGS,
    "parts": TRANSFORMATIONS,
}
"""Settings that are themselves registered parts, or tuples of them; None where they are left out."""

OPTION: dict[str, bool] = {"optional": True}
"""Metadata of a setting that was added later: descriptions and digests leave it out where it has its default, so that
those of earlier versions stay what they were."""


def setting_names(part: Any) -> set[str]:
    """Names of the settings that a part, or a class of parts, is made with."""
    return (
        {one.name for one in dataclasses.fields(part) if one.init}
        if dataclasses.is_dataclass(part)
        else set()
    )


def check_settings(
    kind: type, names: Iterable[str], title: str | None = None, without: Collection[str] = ()
) -> None:
    """Raise `ConfigError` for names that are no settings of a part, or that are among those ``without``."""
    valid_settings = sorted(setting_names(kind) - set(without))
    for name in names:
        if name not in valid_settings:
            hint = did_you_mean(str(name), valid_settings)
            raise ConfigError(f"{title or kind.__name__} has no setting {name!r}. {hint}")


def described_settings(part: Any) -> dict[str, Any]:
    """The settings that describe a part, by name, without options that have their default."""
    settings = dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()
    values = {one.name: (one, getattr(part, one.name)) for one in settings if one.repr}
    return {
        name: value
        for name, (one, value) in values.items()
        if not (one.metadata.get("optional") and value == one.default)
    }


def to_dict(part: Any) -> dict[str, Any]:
    """Describe an attack, an objective or a budget by plain values that JSON can hold.

    Returns:
        ``type``, the registered name (the name of the class where it is not registered), and every setting. Settings
        that are parts are dicts of the same form, tuples are lists; models, such as the source of `Transfer`, are
        left out.

    >>> from tenuto.attacks import FGSM, Linf
    >>> to_dict(FGSM(Linf(0.1)))["budget"]
    {'type': 'linf', 'epsilon': 0.1}
    """
    kind = type(part)
    names = [name for group in (ATTACKS, *NESTED.values()) for name, one in group.items() if one is kind]
    names_set = setting_names(part)
    return {
        "type": names[0] if names else kind.__name__,
        **{name: plain(name, value) for name, value in described_settings(part).items() if name in names_set},
    }


def plain(name: str, value: Any) -> Any:
    """The value of a setting as JSON can hold it."""
    if isinstance(value, tuple):
        return [plain(name, one) for one in value]
    return to_dict(value) if name in NESTED and value is not None else value


def build(registry: Registry[Any], description: object, parts: Mapping[str, Any]) -> Any:
    """Build the registered part that a dict of `to_dict` describes. Raises `ConfigError`."""
    if not isinstance(description, Mapping) or not isinstance(description.get("type"), str):
        raise ConfigError(
            f"{registry.kind} is {description!r}. It must be a dict with the key 'type', such as to_dict() makes."
        )
    name, settings = description["type"], {key: description[key] for key in description if key != "type"}
    kind = registry[name]
    check_settings(kind, settings, name)
    values = {setting: _value(setting, value) for setting, value in settings.items()}
    try:
        return kind(**values, **parts)
    except TypeError as error:
        raise ConfigError(f"{registry.kind} {name} cannot be built: {error}.") from error


def _value(setting: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(setting, one) for one in value)
    return build(NESTED[setting], value, {}) if setting in NESTED and value is not None else value
