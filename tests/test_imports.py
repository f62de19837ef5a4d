"""The layout of the package is true: a file imports only from rows above its own, at any place in the file."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tenuto

SOURCE = Path(tenuto.__file__).parent
ROWS = (
    "errors",
    "arguments",
    "display",
    "files",
    "rounding",
    "devices",
    "settings",
    "data_config",
    "adopted_config",
    "train_config",
    "config",
    "registry",
    "sinks",
    "metrics",
    "audio",
    "attacks",
    "data",
    "store",
    "models",
    "analysis",
    "training",
    "evaluation",
    "reporting",
    "study",
    "api",
    "cli",
)
OUTSIDE = {"__init__.py", "__main__.py", "presets/__init__.py"}
"""The package's front door, the entry point, and a folder of YAML: no rows of the layout."""

FILES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))


def row(name):
    """The row of a file (``data/cache.py``) or module (``tenuto.data.cache``)."""
    first = name.removeprefix("tenuto.").replace("/", ".").removesuffix(".py").split(".")[0]
    return ROWS.index(first)


def imported(file):
    """Every module of Tenuto that a file names in an import, wherever the import stands."""
    for node in ast.walk(ast.parse((SOURCE / file).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "tenuto")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import, wanted one that begins with tenuto"
            if node.module == "tenuto":
                yield from (f"tenuto.{alias.name}" for alias in node.names)
            elif node.module is not None and node.module.startswith("tenuto."):
                yield node.module


def test_files_are_short_or_say_why_not():
    tests = Path(__file__).parent
    for path in [*SOURCE.rglob("*.py"), *tests.rglob("*.py")]:
        text = path.read_text("utf-8")
        reason = ast.get_docstring(ast.parse(text)) or ""
        assert len(text.splitlines()) <= 400 or "Longer than other files: " in reason, path


def test_every_file_stands_in_a_row():
    values = {file.split("/")[0].removesuffix(".py") for file in FILES if file not in OUTSIDE}
    assert values == set(ROWS)


def test_imports_go_up():
    wrong = {
        (file, module)
        for file in set(FILES) - OUTSIDE
        for module in imported(file)
        if module != "tenuto.__version__" and row(module) > row(file)
    }
    assert wrong == set()


def executed(node):
    """Every node below one but for those that only a type checker reads, inside functions too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from (part for other in child.orelse for part in (other, *executed(other)))
        else:
            yield child
            yield from executed(child)


def sources():
    """``{module: source}`` of every file but the front door."""
    return {
        f"tenuto.{file.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}": text
        for file in sorted(set(FILES) - OUTSIDE)
        for text in [(SOURCE / file).read_text("utf-8")]
    }


def graph(texts):
    """Module -> the modules of ``texts`` that it imports at any time, itself not among them."""
    edges = {}
    for module, text in texts.items():
        nodes = list(executed(ast.parse(text)))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                names += [name if name in texts else node.module for name in inner]
        edges[module] = {name for name in names if name in texts and name != module}
    return edges


def test_no_module_needs_itself():
    edges = graph(sources())
    assert sum(map(len, edges.values())) > 1000
    TopologicalSorter(edges).prepare()


@pytest.mark.parametrize("line", ["import {}", "from {} import x", "def work():\n    from {} import x"])
def test_a_circle_is_seen(line):
    texts = {"a": line.format("b"), "b": "from c import d", "c": "", "c.d": line.format("a")}
    with pytest.raises(CycleError):
        TopologicalSorter(graph(texts)).prepare()


def test_types_alone_make_no_circle():
    texts = {"a": "import b", "b": "if TYPE_CHECKING:\n    import a\nelse:\n    import c", "c": ""}
    assert graph(texts) == {"a": {"b"}, "b": {"c"}, "c": set()}
    assert [*TopologicalSorter(graph(texts)).static_order()] == ["c", "b", "a"]


def test_attacks_know_neither_data_nor_models():
    known = {
        module.split(".")[1] for file in FILES if file.startswith("attacks/") for module in imported(file)
    }
    assert known == {"attacks", "audio", "devices", "errors", "metrics", "registry"}


def loaded_by(*modules):
    """Top-level packages that a fresh interpreter has loaded after these imports."""
    script = f"import sys, {', '.join(modules)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
    )
    return set(ended.stdout.split())


def modules_of(name):
    """``tenuto.<name>`` and every module below it."""
    inside = [file for file in FILES if file in (f"{name}.py",) or file.startswith(f"{name}/")]
    assert inside, f"there is no {name}"
    return [
        f"tenuto.{file.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}" for file in inside
    ]


def test_what_reads_rows_loads_neither_torch_nor_scipy():
    reading = [
        module for name in ("reporting", "store", "analysis", "metrics") for module in modules_of(name)
    ]
    loaded = loaded_by(*reading)
    assert not loaded & {"torch", "scipy"}
    assert "numpy" in loaded  # the check sees what is loaded


def test_the_command_line_answers_without_heavy_packages():
    assert not loaded_by("tenuto.cli.app") & {"torch", "matplotlib", "scipy", "statsmodels"}


def test_modules_are_fetched_by_name_in_few_places():
    """A module that is fetched by its name escapes the test above: only packages that load their own parts do it."""
    by_name = {file for file in FILES if "import_module(" in (SOURCE / file).read_text("utf-8")}
    named_by_the_user = "models/foreign/code.py"
    assert by_name == {"__init__.py", "api/__init__.py", "evaluation/__init__.py", named_by_the_user}
