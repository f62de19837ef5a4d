"""What holds for every command: help, exit codes, one sentence for what went wrong."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
import typer

from tenuto import __version__
from tenuto.cli.app import app
from tenuto.training import loop
from tests import corpora
from tests.cli.conftest import FOLDER, TINY


def commands(command=None, path=()):
    """(words, command) of every command, those of groups included."""
    command = command or typer.main.get_command(app)
    below = getattr(command, "commands", None)
    if below is None:
        return [(path, command)]
    return [result for name, one in below.items() for result in commands(one, (*path, name))]


COMMANDS = dict(commands())
EXPECTED = {
    *("demo", "prepare", "train", "evaluate", "predict", "explain", "intervene", "import-reference", "adopt"),
    *("attack", "universal", "certify", "natural", "show", "export", "curve", "audit", "stats", "report"),
    *("leakage", "attribute"),
    *(f"study {name}" for name in ("plan", "run", "status")),
    *(f"data {name}" for name in ("list", "info", "download", "validate", "synthesize", "concepts")),
    *(f"paper {name}" for name in ("table1", "significance", "figure3", "figure4", "all")),
}


def example(command):
    line = next(line for line in command.help.splitlines() if line.strip().startswith("Example: "))
    return shlex.split(line.strip().removeprefix("Example: "))


def really(*arguments):
    """The command in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TENUTO_")}
    return subprocess.run(
        [sys.executable, "-m", "tenuto", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )


def test_the_commands_are_those_that_were_promised():
    assert {" ".join(path) for path in COMMANDS} == EXPECTED


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_shows_an_example(tenuto, path):
    outcome = tenuto(*path, "--help")
    assert outcome.exit_code == 0
    assert f"Example: tenuto {' '.join(path)}" in " ".join(outcome.stdout.split())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_example_of_a_help_text_can_be_typed(path):
    words = example(COMMANDS[path])
    assert words[: len(path) + 1] == ["tenuto", *path]
    COMMANDS[path].make_context(path[-1], words[len(path) + 1 :])


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_names_every_option_in_full_in_80_columns(tenuto, path):
    shown = tenuto(*path, "--help", COLUMNS="80").stdout
    options = [
        name
        for option in COMMANDS[path].params
        if not getattr(option, "hidden", False)
        for name in (*option.opts, *option.secondary_opts)
    ]
    assert [name for name in options if name.startswith("--") and name not in shown] == []


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_of_an_option_names_what_is_given(path):
    helps = [getattr(option, "help", None) or "" for option in COMMANDS[path].params]
    unnamed = ("Of ", "With which", "With that", "The same", "The first so", "Which ")
    assert [text for text in helps if text.startswith(unnamed)] == []


def test_without_a_command_the_help_is_shown(tenuto):
    assert "import-reference" in tenuto().output


def test_version(tenuto):
    assert tenuto("--version").stdout == f"tenuto {__version__}\n"


def test_a_mistyped_command_is_answered_with_the_nearest(tenuto):
    outcome = tenuto("tain")
    assert outcome.exit_code == 2
    assert "Did you mean 'train'?" in outcome.stderr


def test_an_interrupt_says_how_to_go_on(tenuto, corpus, cache, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", interrupted)
    outcome = tenuto("train", "--root", corpus, "--cache", cache, "--runs", tmp_path, *TINY)
    assert outcome.exit_code == 130
    assert outcome.stderr.splitlines()[-1] == "stopped; run the same command again to continue."


def test_a_process_that_found_something_exits_with_1(tmp_path):
    corpora.folder(tmp_path, clips=10)
    (tmp_path / "disc 1" / "song 3.wav").unlink()
    result = really("data", "validate", "folder", "--root", tmp_path, *FOLDER)
    assert result.returncode == 1
    assert "disc 1/song 3" in result.stdout
    assert result.stderr == ""


def test_a_process_with_bad_input_exits_with_2_and_one_sentence(run, tmp_path):
    failed = really("predict", run, tmp_path / "gone.mp3")
    assert failed.returncode == 2
    assert failed.stdout == ""
    assert failed.stderr.startswith(f"error: {tmp_path / 'gone.mp3'}: ")
    assert failed.stderr.count("\n") == 1


def test_a_process_that_goes_on_with_a_run_exits_with_0(run, corpus, tmp_path):
    copy = shutil.copytree(run, tmp_path / run.name)
    done = really("evaluate", copy, "--root", corpus, "--cache", tmp_path / "cache")
    assert done.returncode == 0
    assert f"{run.name}, test" in done.stdout
