"""The command line as a user meets it, and one tiny run that several files look at."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tenuto.cli.app import app
from tests import corpora

TINY = ("--width", 0.0625, "--epochs", 1, "--threads", 1, "--batch-size", 4)
FOLDER = (
    *("--ratings", "table.csv", "--id-column", "song", "--emotions", "arousal,joy"),
    *("--concepts", "roughness", "--scale", 1, 7, "--album-column", "record"),
)
CLEAN = {
    "TENUTO_DATA": None,
    "TENUTO_RUNS": None,
    "TENUTO_CACHE": None,
    "COLUMNS": "200",
    "TERM": "dumb",
    "NO_COLOR": "1",
}


@pytest.fixture
def drawn():
    """For tests of pictures; in all others only what is made for a module is drawn."""


@pytest.fixture(autouse=True)
def _undrawn(request):
    if "drawn" not in request.fixturenames:
        request.getfixturevalue("undrawn")


def caller(command):
    """A function that runs a command, or a group of them; what it raises is raised, as in the main program."""
    if not isinstance(command, typer.Typer):
        function, command = command, typer.Typer()
        command.command()(function)

    def call(*arguments, **environment):
        words, settings = [str(argument) for argument in arguments], CLEAN | environment
        outcome = CliRunner().invoke(command, words, env=settings)
        if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        return outcome

    return call


@pytest.fixture(scope="session")
def tenuto():
    """A function that runs one command; an exception that would end in a traceback fails the test."""
    return caller(app)


@pytest.fixture(scope="session")
def refused(tenuto):
    """A function that runs one command, insists that it is refused in one sentence, and returns the sentence."""

    def call(*arguments, **environment):
        outcome = tenuto(*arguments, **environment)
        assert outcome.exit_code == 2, outcome.output
        sentence = outcome.stderr.splitlines()
        assert sentence[-1].startswith("error: "), outcome.stderr
        assert not any(line.startswith("error: ") for line in sentence[:-1])
        return sentence[-1]

    return call


SNAPSHOTS = Path(__file__).parent / "snapshots"


def plain(text):
    """Output without what differs between machines: paths of temporary folders, signatures, digits behind a point."""
    text = re.sub(r"/\S*?/pytest-of-[^/]+/pytest-[^/]+/(?:popen-gw\d+/)?[^/\s:,]+", "TMP", text)
    text = re.sub(r"-[0-9a-f]{8}\b", "-SIGNATURE", text)
    text = re.sub(r"\d+\.\d+(e-?\d+)?", "N", text)
    lines = [re.sub(r" +", " ", line).strip() for line in text.splitlines()]
    return "\n".join(line for line in lines if not re.fullmatch(r"[┏┳┓━┡╇┩├┼┤─└┴┘ ]*", line))


class Snapshot:
    """The expected output of one command by case, in ``snapshots/COMMAND.txt``."""

    def __init__(self, command, update):
        self.path, self.update = SNAPSHOTS / f"{command.replace(' ', '-')}.txt", update
        text = self.path.read_text("utf-8") if self.path.is_file() else ""
        self.texts = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", text, re.MULTILINE))

    def check(self, case, output):
        if self.update:
            self.texts[case] = f"{plain(output)}\n"
            blocks = (f"## {name}\n{text}" for name, text in sorted(self.texts.items()))
            self.path.write_text("".join(blocks), "utf-8")
        assert self.texts[case] == f"{plain(output)}\n"


@pytest.fixture
def snapshot(request):
    """A function of a command, a case and its output: equal to the snapshot? ``--update-snapshots`` writes it."""
    update = request.config.getoption("--update-snapshots")
    return lambda command, case, output: Snapshot(command, update).check(case, output)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One cache for all tests that do not look at it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Thirty clips in the formats of soundtracks and midlevel; every part of a split has at least three."""
    root = tmp_path_factory.mktemp("corpus")
    corpora.midlevel(root, clips=30)
    return root


@pytest.fixture(scope="session")
def own_folder(tmp_path_factory):
    """A user's own folder of twenty clips; its columns are named by `FOLDER`."""
    root = tmp_path_factory.mktemp("own")
    corpora.folder(root, clips=20)
    return root


@pytest.fixture(scope="session")
def trained(tenuto, corpus, cache, tmp_path_factory):
    """What `tenuto train` said when it trained a tiny A2M2E."""
    runs = tmp_path_factory.mktemp("runs")
    return tenuto(
        *("train", "--data", "midlevel", "--root", corpus, "--cache", cache, "--runs", runs),
        *("--system", "A2M2E", "--seed", 21, *TINY),
    )


@pytest.fixture(scope="session")
def run(trained):
    """The folder of that run."""
    return Path(trained.stdout.strip())


@pytest.fixture(scope="session")
def own_run(tenuto, own_folder, cache, tmp_path_factory):
    """A tiny run on the user's own folder: two emotions and one concept of other names."""
    outcome = tenuto(
        *("train", "--data", "folder", *FOLDER, "--root", own_folder, "--cache", cache),
        *("--runs", tmp_path_factory.mktemp("runs"), "--system", "A2M2E", *TINY),
    )
    return Path(outcome.stdout.strip())


@pytest.fixture(scope="session")
def data(corpus, cache):
    """Options for the data of the tiny run."""
    return ("--root", corpus, "--cache", cache)


@pytest.fixture(scope="module")
def attacked(tenuto, run, data, tmp_path_factory):
    """A copy of the run whose test clips were attacked by the released attack."""
    folder = shutil.copytree(run, tmp_path_factory.mktemp("attacked") / run.name)
    tenuto("attack", folder, *data, "--iterations", 3, "--step-size", 0.05)
    return folder
