"""The registry: parts by name, and parts that installed packages add."""

import doctest
from importlib.metadata import EntryPoint, EntryPoints

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


def test_broken_entry_point_is_named(monkeypatch):
    points = EntryPoints([EntryPoint(name="bad", value="no_such_module:x", group="tenuto.parts")])
    monkeypatch.setattr(tenuto.registry, "entry_points", lambda group: points.select(group=group))
    parts: Registry[float] = Registry("part", "tenuto.parts")
    with pytest.raises(ConfigError, match="no_such_module:x cannot be imported"):
        parts["bad"]
