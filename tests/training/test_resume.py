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
from tests.small_runs import EVERYTHING, numbers


def interrupt_after(epoch):
    """A progress callback that raises when an epoch has ended."""

    def progress(row):
        if row["epoch"] == epoch:
            raise small_runs.InterruptionError

    return progress


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("rated")


@pytest.fixture(scope="module")
def prepared(place):
    return small_runs.rated(place)


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    return loop.train(EVERYTHING, prepared, tmp_path_factory.mktemp("runs"))


def interrupted(prepared, runs, epoch):
    """The folder of `EVERYTHING`, ended after an epoch."""
    with pytest.raises(small_runs.InterruptionError):
        loop.train(EVERYTHING, prepared, runs, progress=interrupt_after(epoch))
    return loop.run_folder(runs, EVERYTHING, prepared)


@pytest.fixture(scope="module")
def two_epochs(prepared, tmp_path_factory):
    """Runs with `EVERYTHING`, ended after its second epoch."""
    return interrupted(prepared, tmp_path_factory.mktemp("two epochs"), 2).parent


@pytest.fixture
def state(two_epochs, tmp_path, prepared):
    """The state in a copy of that run."""
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    return RunFolder(loop.run_folder(tmp_path, EVERYTHING, prepared)).state


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_an_interrupted_run_ends_with_the_numbers_of_an_undisturbed_one(
    epoch, prepared, undisturbed, tmp_path
):
    interrupted(prepared, tmp_path, epoch)
    epochs: list[int] = []
    run = loop.train(EVERYTHING, prepared, tmp_path, progress=lambda row: epochs.append(row["epoch"]))
    assert epochs == list(range(epoch + 1, 5))
    assert numbers(run) == numbers(undisturbed)
    assert not RunFolder(run).state.exists()


def test_a_run_in_bfloat16_is_resumed_to_the_same_numbers(prepared, tmp_path):
    config = small_runs.settings("A2E", epochs=3, precision="bfloat16")
    undisturbed = loop.train(config, prepared, tmp_path / "whole")
    with pytest.raises(small_runs.InterruptionError):
        loop.train(config, prepared, tmp_path / "parts", progress=interrupt_after(2))
    assert numbers(loop.train(config, prepared, tmp_path / "parts")) == numbers(undisturbed)


KILLED = """
import os, signal
from pathlib import Path
from tenuto.config import RunConfig, parse_yaml
from tenuto.data import Midlevel, prepare
from tenuto.training import loop

place, runs = Path({place!r}), Path({runs!r})
update, calls = loop._update, []

def fatal(*arguments):
    calls.append(arguments)
    if len(calls) == 6 + 12 + 3:  # six batches, twelve updates in the adversarial epoch 2, half of epoch 3
        os.kill(os.getpid(), signal.SIGKILL)
    return update(*arguments)

loop._update = fatal
config = RunConfig.parse(parse_yaml((runs / "config.yaml").read_text(), "it"), "it")
loop.train(config, prepare(Midlevel(place / "data"), place / "cache"), runs)
"""


def test_kill_9_in_the_middle_of_an_epoch_changes_no_number(place, prepared, undisturbed, tmp_path):
    write_text(tmp_path / "config.yaml", to_yaml(EVERYTHING))
    script = KILLED.format(place=str(place), runs=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(Path(tenuto.__file__).parents[1])}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    run = loop.run_folder(tmp_path, EVERYTHING, prepared)
    assert not RunFolder(run).is_trained()
    epochs: list[int] = []
    loop.train(EVERYTHING, prepared, tmp_path, progress=lambda row: epochs.append(row["epoch"]))
    assert epochs == [3, 4]
    assert numbers(run) == numbers(undisturbed)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_damaged_state_starts_from_the_beginning(share, state, prepared, undisturbed, tmp_path):
    content = state.read_bytes()
    state.write_bytes(content[: int(share * len(content))])
    epochs: list[int] = []
    run = loop.train(EVERYTHING, prepared, tmp_path, progress=lambda row: epochs.append(row["epoch"]))
    assert epochs == [1, 2, 3, 4]
    assert numbers(run) == numbers(undisturbed)


@pytest.mark.parametrize("damage", ["another network", "no numbers", "no moments"])
def test_a_state_that_is_not_one_of_this_run_starts_from_the_beginning(
    damage, state, prepared, undisturbed, tmp_path
):
    arrays, metadata = read_safetensors(state)
    if damage == "another network":
        arrays["network.head.emotions.bias"] = arrays["network.head.emotions.bias"][1:]
    elif damage == "no numbers":
        metadata = {"state": "[1, 2"}
    else:
        arrays["adam.x.step"] = arrays.pop("adam.0.step")
    write_safetensors(state, arrays, metadata)
    assert numbers(loop.train(EVERYTHING, prepared, tmp_path)) == numbers(undisturbed)


def test_a_finished_run_is_not_touched(prepared, undisturbed):
    def times():
        return {path: path.stat().st_mtime_ns for path in [undisturbed, *undisturbed.rglob("*")]}

    before = times()
    assert loop.train(EVERYTHING, prepared, undisturbed.parent, progress=interrupt_after(1)) == undisturbed
    assert times() == before


@pytest.mark.parametrize(
    "name", ["checkpoint.safetensors", "state.safetensors", "history.csv", "training.json"]
)
def test_a_full_disk_is_one_sentence_and_loses_nothing(name, prepared, undisturbed, tmp_path, monkeypatch):
    replace = os.replace
    written = []

    def full(source, target):
        written.append(Path(target).name)
        if written.count(name) == (1 if name in ("training.json", "checkpoint.safetensors") else 3):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(FileError, match=f"{name}: .*the disk is full"):
            loop.train(EVERYTHING, prepared, tmp_path)
    run = loop.train(EVERYTHING, prepared, tmp_path)
    assert numbers(run) == numbers(undisturbed)
    assert not list(run.glob(".*"))
