"""A run's folder: its files, what is done, and what its rows must agree with."""

from __future__ import annotations

import os

import pytest

from tenuto.data.splits import Split, write_split
from tenuto.errors import ConfigError, DataError, FileError
from tenuto.files import write_text
from tenuto.store.certificates import CERTIFICATE_COLUMNS, read_certificates
from tenuto.store.rows import write_rows
from tenuto.store.run import RunFolder, is_natural
from tenuto.store.traces import NO_TRACES, read_traces, write_traces
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


@pytest.mark.parametrize("name", ["rows", "split", "certificates"])
def test_the_advice_on_a_damaged_table_is_to_make_it_again(run, name):
    path = {"rows": run.rows("p"), "split": run.split, "certificates": run.path / "c.csv"}[name]
    read = {
        "rows": lambda: run.read_rows("p"),
        "split": run.read_split,
        "certificates": lambda: read_certificates(path),
    }[name]
    write_text(path, "clip,split\n1,test,2\n")
    with pytest.raises(FileError, match=f"{path}: is damaged .*Delete it and run the command"):
        read()


def test_hidden_files_are_no_certificates_and_an_unreadable_folder_is_refused(run, monkeypatch):
    for name in ("smooth.csv", "._smooth.csv"):
        write_text(run.path / "certificates" / name, "x")
    assert [path.name for path in run.certificate_files()] == ["smooth.csv"]
    unreadable(monkeypatch, run.path / "certificates")
    with pytest.raises(FileError, match="permission denied"):
        run.certificate_files()


def test_bounds_of_certificates_are_numbers(tmp_path):
    cells = dict.fromkeys(CERTIFICATE_COLUMNS, "1") | {"bounded": "False", "low": "-inf", "high": "inf"}
    for low, error in (("-inf", False), ("abc", True), ("", True)):
        lines = (",".join(cells), ",".join((cells | {"low": low}).values()))
        path = write_text(tmp_path / "a.csv", "\n".join(lines))
        if error:
            with pytest.raises(FileError, match="column low holds a cell that is not a number"):
                read_certificates(path)
        else:
            assert read_certificates(path)["high"][0] == float("inf")


def test_traces_may_be_empty_and_have_all_their_columns(tmp_path):
    assert read_traces(write_traces(tmp_path / "a.gz", NO_TRACES)).empty
    with pytest.raises(FileError, match="no column settings"):
        read_traces(write_traces(tmp_path / "a.gz", NO_TRACES.drop(columns="settings")))


def test_pieces_are_not_written_through_a_link(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.attacks.mkdir(parents=True)
    (run.attacks / "a.00000000.pieces").symlink_to(tmp_path)
    with pytest.raises(FileError, match=r"a\.00000000\.pieces: is a link"):
        run.pieces("a", "test", "0" * 64)


def test_traces_that_unpack_to_more_than_the_limit_are_refused(tmp_path, monkeypatch):
    path = write_traces(tmp_path / "a.gz", NO_TRACES)
    monkeypatch.setattr("tenuto.store.traces.LARGEST_TRACES", 10)
    with pytest.raises(FileError, match="larger than 10 bytes when it is unpacked"):
        read_traces(path)


def test_natural_variation_is_told_by_its_protocol_not_by_a_prefix():
    assert is_natural("natural-1")
    assert is_natural("natural-2")
    assert not is_natural("natural-limits-1")
