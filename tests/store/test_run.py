"""A run's folder: its files, what is done, and what its rows must agree with."""

from __future__ import annotations

import os

import pytest

from tenuto.data.splits import Split, write_split
from tenuto.errors import ConfigError, DataError, FileError
from tenuto.store.rows import write_rows
from tenuto.store.run import RunFolder
from tests.reporting import made_up


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "A2E-6-1a2b3c4d")


def rows_of(run, part="test"):
    return made_up.run(clips=3, run=run.name, split=part, protocol="p")


def unreadable(monkeypatch, folder):
    """Let the operating system refuse everything in a folder, as it does without permission."""
    real = {name: getattr(os, name) for name in ("stat", "scandir")}

    def refusing(name):
        def call(path=".", *arguments, **keywords):
            inside = str(path).startswith(f"{folder}/") or (name == "scandir" and str(path) == str(folder))
            if inside:
                raise PermissionError(13, "Permission denied", str(path))
            return real[name](path, *arguments, **keywords)

        return call

    for name in real:
        monkeypatch.setattr(os, name, refusing(name))


def test_nothing_is_done_in_a_folder_that_does_not_exist(run):
    assert not run.exists()
    assert not run.is_trained()
    assert not run.is_evaluated()
    assert not run.is_attacked("standard-1")
    assert not run.has_natural()
    assert run.protocols() == run.perturbed_protocols() == []
    assert run.read_split() is None
    with pytest.raises(ConfigError, match=r"not a run folder, it has no config\.yaml"):
        run.read_config()


def test_training_is_done_when_its_result_and_the_weights_are_there(run):
    run.path.mkdir()
    run.training.write_text("{}")
    assert not run.is_trained()
    run.checkpoint.write_bytes(b"")
    assert run.is_trained()


def test_protocols_are_listed_by_part(run):
    run.attacks.mkdir(parents=True)
    for protocol, part in (("b", "test"), ("a", "test"), ("a", "train"), ("natural-1", "test")):
        run.rows(protocol, part).write_text("")
    run.perturbations("a").write_bytes(b"")
    (run.attacks / "._a.csv").write_text("left by another system")
    assert run.exists()
    assert run.protocols() == ["a", "b"]
    assert run.protocols("train") == ["a"]
    assert run.perturbed_protocols() == ["a"]
    assert run.has_natural()
    assert not run.has_natural("train")


def test_an_unreadable_folder_is_not_an_absent_one(run, monkeypatch):
    run.attacks.mkdir(parents=True)
    unreadable(monkeypatch, run.path)
    for ask in (run.exists, run.is_trained, run.is_evaluated, run.protocols, run.read_config):
        with pytest.raises(FileError, match=run.name):
            ask()


def test_rows_are_of_the_clips_of_their_part(run):
    rows = rows_of(run)
    write_rows(run.rows("p"), rows)
    clips = tuple(rows["clip"].unique())
    write_split(run.split, Split(("x",), ("y",), clips))
    assert len(run.read_rows("p")) == len(rows)
    write_split(run.split, Split(clips[:1], ("y",), clips[1:]))
    with pytest.raises(DataError, match=rf"p\.csv: clip '{clips[0]}' is not a test clip in .*split\.csv"):
        run.read_rows("p")


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"attacks": ["PGD"]}', '{"attacks": {"PGD()": "PGD"}}', "{"]
)
def test_a_damaged_description_of_attacks_is_named(run, content):
    run.attacks.mkdir(parents=True)
    run.about("p").write_text(content)
    with pytest.raises(FileError, match=r"p\.json"):
        run.read_attacks("p")
