"""One name, one thing: no class and no constant has the name of another in a different module."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import tenuto

SOURCE = Path(tenuto.__file__).parent
ALLOWED: dict[str, set[str]] = {}
"""Name -> the modules that may share it, each entry with its reason beside it. None has to."""


def defined(body):
    """The public classes and upper-case names that statements define at the top of a module."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            stored = (part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))
            names = [part.id for part in stored if isinstance(part.ctx, ast.Store) and part.id.isupper()]
        elif isinstance(node, ast.If | ast.Try | ast.With):
            inside = [*node.body, *getattr(node, "orelse", []), *getattr(node, "finalbody", [])]
            handled = [part for handler in getattr(node, "handlers", []) for part in handler.body]
            names = list(defined([*inside, *handled]))
        else:
            continue
        yield from (name for name in names if not name.startswith("_"))


def shared(sources):
    """Name -> the modules that define it, for names that more than one of ``{module: source}`` defines."""
    homes = defaultdict(set)
    for module, source in sources.items():
        for name in defined(ast.parse(source).body):
            homes[name].add(module)
    return {name: modules for name, modules in homes.items() if len(modules) > 1}


def test_no_name_is_used_for_two_things():
    sources = {path.relative_to(SOURCE).as_posix(): path.read_text("utf-8") for path in SOURCE.rglob("*.py")}
    assert len(sources) > 200
    assert shared(sources) == ALLOWED


@pytest.mark.parametrize(
    "source",
    ["KINDS = 1", "KINDS: int = 1", "ONE, KINDS = 1, 2", "if True:\n    KINDS = 1", "class KINDS: ..."],
)
def test_a_name_that_is_used_twice_is_seen(source):
    assert shared({"first": source, "second": "class KINDS: ..."}) == {"KINDS": {"first", "second"}}


@pytest.mark.parametrize(
    "source", ["_KINDS = 1", "kinds = KINDS", "KINDS[0] = 1", "def work():\n    KINDS = 1"]
)
def test_private_and_inner_names_may_repeat(source):
    assert shared({"first": source, "second": "KINDS = _KINDS = 1"}) == {}
