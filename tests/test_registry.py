"""The registry: parts by name, and parts that installed packages add."""

import doctest
import importlib
import pkgutil
import re
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

import tenuto.registry
from tenuto.errors import ConfigError
from tenuto.registry import Registry


def test_example_in_the_docstring():
    failures, examples = doctest.testmod(tenuto.registry)
    assert examples
    assert not failures


def test_name_is_taken_once():
    parts: Registry[int] = Registry("part", "tenuto.parts")
    parts.register("one")(1)
    with pytest.raises(ConfigError, match="part 'one' is registered already"):
        parts.register("one")(2)
    assert dict(parts) == {"one": 1}


def test_entry_points_are_found(monkeypatch):
    points = EntryPoints([EntryPoint(name="pi", value="math:pi", group="tenuto.parts")])
    monkeypatch.setattr(tenuto.registry, "entry_points", lambda group: points.select(group=group))
    parts: Registry[float] = Registry("part", "tenuto.parts")
    parts.register("one")(1)
    assert "pi" in parts
    assert list(parts) == ["one", "pi"]
    assert len(parts) == 2


def documented():
    """Where CONTRIBUTING says that every registry is -> its group of entry points."""
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    return dict(re.findall(r"^\|[^|]*\| `(tenuto[\w.]+)` \| `(tenuto\.\w+)` \|$", text, re.MULTILINE))


def test_every_registry_is_documented():
    names = [module.name for module in pkgutil.walk_packages(tenuto.__path__, "tenuto.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    parts = [part for module in modules for part in vars(module).values() if isinstance(part, Registry)]
    groups = {id(registry): registry.group for registry in parts}
    assert sorted(groups.values()) == sorted(documented().values())


@pytest.mark.parametrize(("place", "group"), documented().items())
def test_every_registry_asks_for_its_entry_points(place, group, monkeypatch):
    package, _, name = place.rpartition(".")
    registry = getattr(importlib.import_module(package), name)
    asked = []

    def entry_points(group):
        asked.append(group)
        return ()

    monkeypatch.setattr(tenuto.registry, "entry_points", entry_points)
    monkeypatch.setattr(registry, "_has_loaded_entry_points", False)
    assert "no such part" not in registry
    assert asked == [group]


def test_broken_entry_point_is_named(monkeypatch):
    points = EntryPoints([EntryPoint(name="bad", value="no_such_module:x", group="tenuto.parts")])
    monkeypatch.setattr(tenuto.registry, "entry_points", lambda group: points.select(group=group))
    parts: Registry[float] = Registry("part", "tenuto.parts")
    with pytest.raises(ConfigError, match="no_such_module:x cannot be imported"):
        parts["bad"]
    with pytest.raises(ConfigError, match="no_such_module:x cannot be imported"):  # also the second time
        list(parts)


def test_cell_that_is_executed_again_replaces_its_part():
    parts: Registry[int] = Registry("part", "tenuto.parts")
    for value in (1, 2):
        exec(f"parts.register('one')({value})", {"__name__": "__main__", "parts": parts})
    assert dict(parts) == {"one": 2}
    with pytest.raises(ConfigError, match="part 'one' is registered already"):
        exec("parts.register('one')(3)", {"__name__": "other_package", "parts": parts})
    with pytest.raises(ConfigError, match="part 'two' is registered already"):
        exec("for n in 1, 2: parts.register('two')(n)", {"__name__": "__main__", "parts": parts})


def test_two_packages_with_one_name_are_named(monkeypatch):
    points = EntryPoints(
        [EntryPoint("pi", "math:pi", "tenuto.parts"), EntryPoint("pi", "fractions:Fraction", "tenuto.parts")]
    )
    monkeypatch.setattr(tenuto.registry, "entry_points", lambda group: points.select(group=group))
    parts: Registry[float] = Registry("part", "tenuto.parts")
    with pytest.raises(ConfigError, match=r"fractions:Fraction announces the part 'pi'.* by math"):
        list(parts)


def test_part_of_another_type_is_refused(monkeypatch):
    points = EntryPoints([EntryPoint("pi", "math:pi", "tenuto.parts")])
    monkeypatch.setattr(tenuto.registry, "entry_points", lambda group: points.select(group=group))
    parts: Registry[Any] = Registry("part", "tenuto.parts", type)
    with pytest.raises(ConfigError, match=r"part 'pi' must be a class, got 3.14"):
        list(parts)
    with pytest.raises(ConfigError, match=r"part 'two' must be a class, got 2"):
        parts.register("two")(2)
