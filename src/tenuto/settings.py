"""Types of settings, strict about what they take, and the YAML that settings are read from."""

from __future__ import annotations

import contextlib
import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from tenuto.errors import ConfigError, did_you_mean, one_line


def whole(low: int, high: int) -> BeforeValidator:
    """A check for an integer from ``low`` to ``high``; ``true`` and ``3.0`` are none."""

    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return BeforeValidator(check)


def real(low: float, high: float, above: bool = False) -> BeforeValidator:
    """A check for a number from ``low`` (``above``: greater than it) to ``high``, which may be written as text."""

    def check(value: Any) -> Any:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not low <= number <= high or (above and number == low):
            start = f"greater than {low:g} and at most" if above else f"from {low:g} to"
            raise ValueError(f"must be a number {start} {high:g}")
        return number

    return BeforeValidator(check)


def _is_name(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]{0,39}", value):
        raise ValueError("must be a name of at most 40 letters, digits, points and underscores")
    return value


Name = Annotated[str, BeforeValidator(_is_name)]
"""Name of a registered part. The registry, which is above this module in the layout, checks that it exists."""
Seed = Annotated[int, whole(0, 2**32 - 1)]
"""What NumPy and torch both take."""
Count = Annotated[int, whole(1, 1_000_000)]
Weight = Annotated[float, real(0, 1)]
Rating = Annotated[float, real(-1e6, 1e6)]


class Config(BaseModel):
    """Base of every configuration: immutable, complete, strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @classmethod
    def parse(cls, content: Mapping[str, Any], source: str) -> Self:
        """Build from plain values. Raises `ConfigError` naming ``source``, the key, its value and what is allowed."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ConfigError(f"{source}: {_explain(error, cls)}") from error


MOST_KEYS = 100_000
"""Of a mapping in YAML."""


class _Loader(yaml.SafeLoader):
    """Plain values only: no tags, no key twice, nothing that contains itself, no number that looks like another."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put the keys of merged mappings in; mappings of merged mappings grow without a limit."""
        super().flatten_mapping(node)
        if len(node.value) > MOST_KEYS:
            raise yaml.constructor.ConstructorError(
                None, None, f"<< merges more than {MOST_KEYS} keys", node.start_mark
            )


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    if (twice := first_repeated(keys)) is not None:
        raise yaml.constructor.ConstructorError(
            None, None, f"the key {twice} is there twice", node.start_mark
        )
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    """A number, unless it is octal (``010``) or sexagesimal (``1:30``) by its spelling alone."""
    kind = node.tag.rpartition(":")[2]
    value: int | float = getattr(loader, f"construct_yaml_{kind}")(node)
    if ":" in node.value or re.fullmatch(r"[-+]?0[0-7_]+", node.value):
        raise yaml.constructor.ConstructorError(
            None, None, f"{node.value} is {value} in YAML: write the number that is meant", node.start_mark
        )
    return value


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
# YAML 1.1 takes a number without a point, such as 5e-4, for text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$", re.ASCII), list("-+0123456789")
)


def parse_yaml(content: str, source: str) -> dict[str, Any]:
    """A YAML mapping as plain values (no tags, nothing executed). Raises `ConfigError`."""
    try:
        values = yaml.load(content, _Loader)
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deeply for settings. Remove the inner levels.") from error
    except Exception as error:  # PyYAML lets a KeyError, ValueError or AttributeError of its own pass
        raise ConfigError(
            f"{source}: not YAML ({one_line(' '.join(str(error).split()))}). Correct that line."
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: must be a mapping of settings, got {value_text(values)}.")
    return values


def first_repeated(values: Sequence[Any]) -> Any:
    """The first value that occurs a second time, or None."""
    with contextlib.suppress(TypeError):  # a value that cannot be hashed
        if len(set(values)) == len(values):
            return None
    return next((value for place, value in enumerate(values) if value in values[:place]), None)


def value_text(value: Any) -> str:
    """A value from a file as one short line of a message."""
    return one_line(reprlib.repr(value), 80)


MESSAGES = {
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be a mapping of settings"),
    "too_short": "must not be empty",
    "too_long": "has too many entries",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "int_type": "must be a number, text, true or false",  # the first type of `AttackConfig.settings`
    "missing": "must be given",
}
"""What the types of errors of the validator mean in a file of settings."""


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One problem of a validation in a sentence: a wrong key before what is missing, which may be its other side."""
    problems = error.errors()
    problem = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])
    place = one_line(".".join(str(part) for part in problem["loc"])) or "the settings"
    if problem["type"] == "extra_forbidden":
        fields = _fields_at(model, problem["loc"][:-1])
        return f"unknown key {place}. {did_you_mean(str(problem['loc'][-1]), fields)}"
    value = problem.get("input")
    got = "" if isinstance(value, Mapping) or value is None else f", got {value_text(value)}"
    message = MESSAGES.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    message = one_line(message.replace("Input should be", "must be"), 1000).rstrip(".")
    return f"{place}: {message}{got}."


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Field names of the nested model at a location."""
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:  # a key of a mapping of models
            continue
        candidates = (field.annotation, *getattr(field.annotation, "__args__", ()))
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if nested:
            model = nested[0]
    return list(model.model_fields)
