"""What README and docs show is executed: Python examples run, commands parse, links lead somewhere."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import tenuto
from tenuto.cli.app import app
from tenuto.config import StudyConfig, merge, preset_study
from tenuto.data import DATASETS
from tenuto.store import location
from tests import short

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "results").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"(<!-- not run: (.+?) -->\n)?^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
"""A block of commands. A comment directly above it says why it is not run."""


pytestmark = pytest.mark.usefixtures("few_steps", "undrawn")


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
    values = {name for page in PAGES for name in re.findall(r"`(tenuto [^`]+)`", page.read_text("utf-8"))}
    return sorted(name for name in values if "..." not in name)


@functools.cache
def all_commands() -> Any:
    return typer.main.get_command(app)


def located(words: list[str]) -> Any:
    """The command a line names; its words are taken off the list."""
    here = all_commands()
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


@pytest.mark.filterwarnings("ignore:.*scipy.ndimage.filters:DeprecationWarning")  # of foolbox
@pytest.mark.parametrize(
    ("name", "code"), blocks("python"), ids=lambda value: value if "-" in value[:20] else ""
)
def test_python_example_runs(name, code, tmp_path, monkeypatch, request):
    if "song.mp3" in code:
        workplace = request.getfixturevalue("workplace")
        for name in ("song.mp3", "model.py"):
            shutil.copy(workplace / name, tmp_path)
        use_stand_ins(workplace, monkeypatch)
    if "import foolbox" in code:
        for package in ("foolbox", "torchattacks"):
            pytest.importorskip(package, exc_type=ImportError)
    if "robustness_mer_bottleneck" in code:
        logs = request.getfixturevalue("released")
        (tmp_path / "robustness_mer_bottleneck").symlink_to(logs)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(DATASETS, "_parts", dict(DATASETS._parts))  # an example registers one
    exec(compile(code, name, "exec"), {"__name__": "example"})


def test_the_parts_shown_in_contributing_can_be_added(tmp_path):
    """The examples follow each other and register parts, so they run in a process of their own."""
    examples = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M | re.S
    )
    assert len(examples) == 12
    environment = {**os.environ, "PYTHONPATH": str(Path(tenuto.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", "\n".join(examples)], cwd=tmp_path, env=environment, check=True)


@pytest.mark.parametrize("line", console_commands())
def test_command_parses(line, monkeypatch):
    monkeypatch.setenv("TENUTO_DATA", "soundtracks")
    words = shlex.split(line)[1:]
    command = located(words)
    command.make_context(command.name, words)


def runnable_blocks() -> list[Any]:
    """Every console block in the order of the pages, as (commands, reason not to run it)."""
    return [
        pytest.param(commands, reason, id=f"{page.name}-{number}")
        for page in PAGES
        for number, (_, reason, commands) in enumerate(CONSOLE.findall(page.read_text("utf-8")), 1)
    ]


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder a reader of the docs works in: a small study ``demo`` of two of its systems, and a recording.

    ``runs`` and ``soundtracks`` stand for a reader's own runs and data set; of ``synthetic`` one clip is missing.
    """
    folder = tmp_path_factory.mktemp("workplace")
    settings = preset_study("demo").model_dump(mode="json")
    small = {
        "systems": ("A2E", "A2M2E"),
        "corpus": {"clips": 20},
        "run": {"model": {"width": 0.0625}, "train": {"epochs": 1}},
        "protocols": ({"protocol": "paper-2025-released", "settings": {"iterations": 2}},),
    }
    study = StudyConfig.parse(merge(settings, small), "the small demo")
    with short.undrawn(), short.rendered_once(tmp_path_factory):
        assert not tenuto.run_study(study, folder / "demo").failed
    shutil.copytree(folder / "demo" / "corpus", folder / "synthetic")
    (folder / "synthetic" / "Set1" / "020.mp3").unlink()
    (folder / "runs").symlink_to("demo/runs")
    (folder / "soundtracks").symlink_to("demo/corpus")
    page = (ROOT / "docs" / "models.md").read_text("utf-8")
    (folder / "model.py").write_text(re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)[0])
    shutil.copy(next((folder / "demo" / "corpus" / "Set1").glob("*.mp3")), folder / "song.mp3")
    for system, name in (("A2E", "a2e-soundtracks"), ("A2M2E", "a2m2e-soundtracks")):
        tenuto.export(folder / "runs" / f"{system}-6", "hub-folder", folder / "pretrained" / name)
    return folder


def use_stand_ins(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small models in place of the pretrained ones of the package."""
    monkeypatch.setattr(location, "PRETRAINED", workplace / "pretrained")


def filled_in(line: str, folder: Path) -> list[str]:
    """The words of a command, with CLIP replaced by a test clip of the small study."""
    words = []
    for word in shlex.split(line, comments=True):
        if word == "CLIP":
            split = next(folder.glob("demo/runs/*/split.csv")).read_text("utf-8")
            word = next(row.split(",")[0] for row in split.splitlines() if row.split(",")[1] == "test")
        words.append(word)
    return words


@pytest.mark.parametrize(("commands", "reason"), runnable_blocks())
def test_commands_run_in_order(commands, reason, workplace, monkeypatch):
    """Every block of commands works as printed, on the small study, after the blocks above it."""
    if reason:
        pytest.skip(reason)
    monkeypatch.chdir(workplace)
    use_stand_ins(workplace, monkeypatch)
    for name in ("TENUTO_DATA", "TENUTO_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TENUTO_CACHE", str(workplace / "demo" / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(workplace / "state"))
    for line in commands.replace("\\\n", " ").splitlines():
        program, *words = filled_in(line, workplace) or ["#"]
        if program == "#":
            continue
        assert program == "tenuto", (
            f"{line}: run by hand; say so in a comment <!-- not run: ... --> above the block"
        )
        outcome = CliRunner().invoke(app, words)
        # 1 is a check that fails: an audit of so small a study may find something
        allowed = (0, 1) if words[0] == "audit" else (0,)
        assert outcome.exit_code in allowed, f"{line}\n{outcome.output}\n{outcome.exception!r}"


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
