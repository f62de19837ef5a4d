"""Nothing that ends a run early changes its numbers: exceptions, kill -9, damaged files, a full disk."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tenuto
from tenuto.config import to_yaml
from tenuto.errors import FileError
from tenuto.files import read_safetensors, write_safetensors, write_text
from tenuto.store.run import RunFolder
from tenuto.training import loop
from tests import small_runs
from tests.small_runs import EVERYTHING, InterruptionError, interrupt, numbers

QUICK = small_runs.settings(epochs=2)
"""A run without the parts of `EVERYTHING`, for what is the same with them."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("rated")


@pytest.fixture(scope="module")
def prepared(place):
    return small_runs.rated(place)


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    return loop.train(EVERYTHING, prepared, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def quick(prepared, tmp_path_factory):
    """The run `QUICK`, undisturbed."""
    return loop.train(QUICK, prepared, tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="module")
def one_epoch(prepared, tmp_path_factory):
    """Runs with `QUICK`, ended after its first epoch."""
    runs = tmp_path_factory.mktemp("one epoch")
    with pytest.raises(InterruptionError):
        loop.train(QUICK, prepared, runs, progress=interrupt)
    return runs


@pytest.fixture
def state(one_epoch, tmp_path, prepared):
    """The state in a copy of that run."""
    shutil.copytree(one_epoch, tmp_path, dirs_exist_ok=True)
    return RunFolder(loop.run_folder(tmp_path, QUICK, prepared)).state


def test_a_run_interrupted_in_every_epoch_ends_with_the_numbers_of_an_undisturbed_one(
    prepared, undisturbed, tmp_path
):
    epochs: list[int] = []

    def progress(row):
        epochs.append(row["epoch"])
        if len(epochs) < 4:
            raise InterruptionError

    for _ in range(3):
        with pytest.raises(InterruptionError):
            loop.train(EVERYTHING, prepared, tmp_path, progress=progress)
    run = loop.train(EVERYTHING, prepared, tmp_path, progress=progress)
    assert epochs == [1, 2, 3, 4]
    assert numbers(run) == numbers(undisturbed)
    assert not RunFolder(run).state.exists()


KILLED = """
import os, signal
from pathlib import Path
from tenuto.config import RunConfig, parse_yaml
from tenuto.data import Midlevel, prepare
from tenuto.training import loop
from tenuto.training.update import Trainee

place, runs = Path({place!r}), Path({runs!r})
learn, calls = Trainee.learn, []

def fatal(*arguments):
    calls.append(arguments)
    if len(calls) == 6 + 3:  # six batches in an epoch
        os.kill(os.getpid(), signal.SIGKILL)
    return learn(*arguments)

Trainee.learn = fatal
config = RunConfig.parse(parse_yaml((runs / "config.yaml").read_text(), "it"), "it")
loop.train(config, prepare(Midlevel(place / "data"), place / "cache"), runs)
"""


def test_kill_9_in_the_middle_of_an_epoch_changes_no_number(place, prepared, quick, tmp_path):
    write_text(tmp_path / "config.yaml", to_yaml(QUICK))
    script = KILLED.format(place=str(place), runs=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(Path(tenuto.__file__).parents[1])}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    run = loop.run_folder(tmp_path, QUICK, prepared)
    assert not RunFolder(run).is_trained()
    epochs: list[int] = []
    loop.train(QUICK, prepared, tmp_path, progress=lambda row: epochs.append(row["epoch"]))
    assert epochs == [2]
    assert numbers(run) == numbers(quick)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_damaged_state_starts_from_the_beginning(share, state, prepared, quick, tmp_path):
    content = state.read_bytes()
    state.write_bytes(content[: int(share * len(content))])
    epochs: list[int] = []
    run = loop.train(QUICK, prepared, tmp_path, progress=lambda row: epochs.append(row["epoch"]))
    assert epochs == [1, 2]
    assert numbers(run) == numbers(quick)


@pytest.mark.parametrize("damage", ["another network", "no numbers", "no moments"])
def test_a_state_that_is_not_one_of_this_run_starts_from_the_beginning(
    damage, state, prepared, quick, tmp_path
):
    arrays, metadata = read_safetensors(state)
    if damage == "another network":
        arrays["network.head.emotions.bias"] = arrays["network.head.emotions.bias"][1:]
    elif damage == "no numbers":
        metadata = {"state": "[1, 2"}
    else:
        arrays["adam.x.step"] = arrays.pop("adam.0.step")
    write_safetensors(state, arrays, metadata)
    assert numbers(loop.train(QUICK, prepared, tmp_path)) == numbers(quick)


def test_a_finished_run_is_not_touched(prepared, undisturbed):
    def times():
        return {path: path.stat().st_mtime_ns for path in [undisturbed, *undisturbed.rglob("*")]}

    before = times()
    assert loop.train(EVERYTHING, prepared, undisturbed.parent, progress=interrupt) == undisturbed
    assert times() == before


@pytest.mark.parametrize(
    "name", ["checkpoint.safetensors", "state.safetensors", "history.csv", "training.json"]
)
def test_a_full_disk_is_one_sentence_and_loses_nothing(name, prepared, quick, tmp_path, monkeypatch):
    replace = os.replace
    written = []

    def full(source, target):
        written.append(Path(target).name)
        if written.count(name) == (1 if name in ("training.json", "checkpoint.safetensors") else 2):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(FileError, match=f"{name}: .*the disk is full"):
            loop.train(QUICK, prepared, tmp_path)
    run = loop.train(QUICK, prepared, tmp_path)
    assert numbers(run) == numbers(quick)
    assert not list(run.glob(".*"))
