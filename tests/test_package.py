"""The front door: `import tenuto` is light, and every name it announces is there when first used."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import tenuto
from tenuto import errors

HEAVY = {"torch", "pandas", "numpy", "scipy", "soundfile", "soxr", "matplotlib", "requests", "pydantic"}
ROOMS = sorted(set(tenuto.__all__) - {"TenutoError", "__version__", *tenuto.api.__all__})


def test_the_import_is_light():
    script = "import sys, tenuto; print(*{name.split('.')[0] for name in sys.modules})"
    environment = {**os.environ, "PYTHONPATH": str(Path(tenuto.__file__).parents[1])}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
    )
    loaded = set(ended.stdout.split())
    assert "tenuto" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("name", ROOMS)
def test_rooms_are_reached_when_first_used(name):
    assert getattr(tenuto, name) is importlib.import_module(f"tenuto.{name}")


@pytest.mark.parametrize("name", tenuto.api.__all__)
def test_functions_are_reached_when_first_used(name):
    assert getattr(tenuto, name) is getattr(importlib.import_module(tenuto.api.NAMES[name]), name)


def test_type_checkers_see_the_same_names():
    """They read the imports below ``TYPE_CHECKING``, which nothing else executes."""
    tree = ast.parse(Path(tenuto.api.__file__).read_text("utf-8"))
    seen = {
        alias.name: node.module
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == tenuto.api.NAMES
    assert sorted(tenuto.api.__all__) == sorted(seen)


def test_every_announced_name_is_listed_and_there():
    assert dir(tenuto) == sorted(tenuto.__all__)
    assert {"audio", "models", "attacks", "load"} <= set(dir(tenuto))
    assert all(hasattr(tenuto, name) for name in tenuto.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'tenuto' has no attribute 'modles'"):
        _ = tenuto.modles


def test_one_root_catches_every_error():
    raised = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    raised = [kind for kind in raised if not issubclass(kind, Warning)]
    assert len(raised) == 10
    assert all(issubclass(kind, tenuto.TenutoError) for kind in raised)


def test_the_package_says_that_it_is_typed():
    assert resources.files("tenuto").joinpath("py.typed").is_file()


def test_the_version_is_that_of_the_project():
    project = Path(__file__).parents[1] / "pyproject.toml"
    stated = re.search(r'^version = "(.+)"$', project.read_text("utf-8"), re.MULTILINE)
    assert stated is not None
    assert stated[1] == tenuto.__version__
