"""What README and docs show is executed: Python examples run, commands parse, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from tenuto.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "results").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[tuple[str, str]]:
    return [
        (f"{page.name}-{number}", block)
        for page in PAGES
        for number, (name, block) in enumerate(BLOCK.findall(page.read_text("utf-8")))
        if name == kind
    ]


def console_commands() -> list[str]:
    """Commands shown in console blocks, complete lines a reader may paste."""
    lines = [line for _, block in blocks("console") for line in block.replace("\\\n", " ").splitlines()]
    return sorted({line.split("#")[0].strip() for line in lines if line.strip().startswith("tenuto ")})


def named_commands() -> list[str]:
    """Commands named in sentences and tables, perhaps without their arguments."""
    found = {name for page in PAGES for name in re.findall(r"`(tenuto [^`]+)`", page.read_text("utf-8"))}
    return sorted(name for name in found if "..." not in name)


def located(words: list[str]) -> Any:
    """The command a line names; its words are taken off the list."""
    here: Any = typer.main.get_command(app)
    while hasattr(here, "commands") and words and not words[0].startswith("-"):
        assert words[0] in here.commands, f"no command {words[0]}"
        here = here.commands[words.pop(0)]
    return here


def test_there_are_pages_examples_and_commands():
    assert {page.name for page in PAGES} >= {
        "README.md",
        "data.md",
        "training.md",
        "attack.md",
        "paper.md",
        "synthetic.md",
    }
    assert len(blocks("python")) >= 4
    assert len(console_commands()) >= 15
    assert len(named_commands()) >= 10


@pytest.mark.parametrize(
    ("name", "code"), blocks("python"), ids=lambda value: value if "-" in value[:20] else ""
)
def test_python_example_runs(name, code, tmp_path, monkeypatch, request):
    if "robustness_mer_bottleneck" in code:
        logs = request.getfixturevalue("released")
        (tmp_path / "robustness_mer_bottleneck").symlink_to(logs)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, name, "exec"), {"__name__": "example"})


@pytest.mark.parametrize("line", console_commands())
def test_command_parses(line, monkeypatch):
    monkeypatch.setenv("TENUTO_DATA", "soundtracks")
    words = shlex.split(line)[1:]
    command = located(words)
    command.make_context(command.name, words)


@pytest.mark.parametrize("line", named_commands())
def test_named_command_and_options_exist(line):
    words = line.replace("\\|", "|").replace("/--", " --").split()[1:]
    command = located(words)
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_make_has_the_two_commands():
    text = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"\n{target}: $(READY)\n" in text
        assert f"make {target}" in (ROOT / "README.md").read_text()


def test_lock_pins_everything():
    lines = [
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and line[0] != "#"
    ]
    assert "torch==2.13.0" in lines
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[\w.!-]+", line) for line in lines)
