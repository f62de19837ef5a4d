"""The notebooks in ``examples``: their cells run in order, as in Jupyter, which need not be installed."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def read(notebook: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(notebook.read_text("utf-8"))["cells"]
    return cells


def code_of(notebook: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in read(notebook) if cell["cell_type"] == "code"]


def run_cell(code: str, name: str, variables: dict[str, Any]) -> Any:
    """Execute a cell. Returns what a notebook shows below it: the value of its last line, unless that ends with ;"""
    *statements, last = ast.parse(code, name).body
    is_shown = isinstance(last, ast.Expr)
    body = statements if is_shown else [*statements, last]
    exec(compile(ast.Module(body, []), name, "exec"), variables)
    if not isinstance(last, ast.Expr):
        return None
    value = eval(compile(ast.Expression(last.value), name, "eval"), variables)
    return None if code.rstrip().endswith(";") else value


def test_there_are_two_notebooks():
    assert [notebook.name for notebook in NOTEBOOKS] == ["five-minutes.ipynb", "judge-your-own-model.ipynb"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_shows_its_results(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("TENUTO_CACHE", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    variables: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    try:
        for number, code in enumerate(code_of(notebook), 1):
            value = run_cell(code, f"{notebook.name}, cell {number}", variables)
            if value is not None:
                shown.append(value._repr_html_())
    finally:
        plt.close("all")
    assert len(shown) >= 3
    assert all(html.startswith("<") for html in shown)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_output(notebook):
    for cell in read(notebook):
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
