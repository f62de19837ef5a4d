"""Atomic writes and honest reads."""

from __future__ import annotations

import errno
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto import files
from tenuto.errors import FileError


def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "it.txt"
    files.write_text(path, "old")

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match=r"it\.txt: the disk is full"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["it.txt"]


def test_writing_below_a_file_is_refused(tmp_path):
    files.write_text(tmp_path / "file", "x")
    with pytest.raises(FileError, match="cannot write"):
        files.write_text(tmp_path / "file" / "below", "y")


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_survive_csv_unchanged(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    files.write_csv(path, pd.DataFrame({"a": numbers, "b": numbers}))
    assert files.read_csv(path)["a"].tolist() == numbers


def test_text_columns_stay_text(tmp_path):
    files.write_text(tmp_path / "t.csv", "clip,x\n001,1\nNA,2\n")
    assert files.read_csv(tmp_path / "t.csv", text=("clip",))["clip"].tolist() == ["001", "NA"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a;b\n1;2\n", "separated by ';', wanted ','"),
        ("a,c\n1,2\n", "no column b"),
        ("a,b\n", "no rows"),
        ("", "no column"),
        ("a,b\n1,2,3\n1,2\n4,5,6,7\n", "not a table"),
    ],
)
def test_bad_tables_are_refused(tmp_path, content, message):
    files.write_text(tmp_path / "t.csv", content)
    with pytest.raises(FileError, match=message):
        files.read_csv(tmp_path / "t.csv", columns=("a", "b"))


def test_other_encodings_are_refused(tmp_path):
    files.write_bytes(tmp_path / "t.csv", "a,b\n\xe9,1\n".encode("latin-1"))
    with pytest.raises(FileError, match="UTF-8"):
        files.read_csv(tmp_path / "t.csv")


@pytest.mark.parametrize(("content", "message"), [("{", "not JSON"), ("[1]", "JSON list")])
def test_bad_json_is_refused(tmp_path, content, message):
    files.write_text(tmp_path / "t.json", content)
    with pytest.raises(FileError, match=message):
        files.read_json(tmp_path / "t.json")


def test_json_round_trip(tmp_path):
    files.write_json(tmp_path / "t.json", {"a": 0.1, "b": [1, "x"]})
    assert files.read_json(tmp_path / "t.json") == {"a": 0.1, "b": [1, "x"]}


def test_safetensors_round_trip(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array(3)}
    files.write_safetensors(tmp_path / "t.safetensors", arrays, {"k": "v"})
    read, metadata = files.read_safetensors(tmp_path / "t.safetensors")
    assert metadata == {"k": "v"}
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\xff" * 20])
def test_foreign_safetensors_are_refused(tmp_path, content):
    files.write_bytes(tmp_path / "t.safetensors", content)
    with pytest.raises(FileError, match="not a safetensors file"):
        files.read_safetensors(tmp_path / "t.safetensors")


def test_sha256_of_a_known_text(tmp_path):
    files.write_text(tmp_path / "t", "abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256_file(tmp_path / "t") == files.sha256_bytes(b"abc") == known
