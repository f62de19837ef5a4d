"""The spectrogram cache: resumable, checked, and kept apart by content."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tenuto.data import cache, prepare
from tenuto.errors import ConfigError, DataError, FileError
from tests import corpora


@pytest.fixture
def dataset(tmp_path):
    return corpora.soundtracks(tmp_path / "data")


def test_progress_counts_every_clip(dataset, tmp_path):
    done: list[int] = []
    prepare(dataset, tmp_path / "cache", progress=done.append)
    assert sum(done) == 12


def test_an_interrupted_prepare_goes_on(dataset, tmp_path, monkeypatch):
    prepare(dataset, tmp_path / "cache")
    removed = sorted((tmp_path / "cache").iterdir())[:5]
    for path in removed:
        path.unlink()
    seen = corpora.calls(monkeypatch, "compute")
    prepare(dataset, tmp_path / "cache")
    assert len(seen) == 5


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_copy_is_made_again(dataset, tmp_path, monkeypatch, damage):
    whole = prepare(dataset, tmp_path / "cache")
    path = sorted((tmp_path / "cache").iterdir())[0]
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-100]
    else:
        content[-10] ^= 0xFF
    path.write_bytes(content)
    seen = corpora.calls(monkeypatch, "compute")
    again = prepare(dataset, tmp_path / "cache")
    assert len(seen) == 1
    assert all(np.array_equal(a, b) for a, b in zip(whole.spectrograms, again.spectrograms, strict=True))


def test_a_changed_recording_gets_a_new_spectrogram(dataset, tmp_path, monkeypatch):
    before = prepare(dataset, tmp_path / "cache")
    corpora.write_audio(dataset.root / "Set1" / "002.mp3", 40)
    seen = corpora.calls(monkeypatch, "compute")
    after = prepare(dataset, tmp_path / "cache")
    assert seen == ["002.mp3"]
    assert before.fingerprint != after.fingerprint


def test_bad_recordings_are_named_after_the_others_are_done(dataset, tmp_path, monkeypatch):
    (dataset.root / "Set1" / "004.mp3").write_bytes(b"nothing")
    (dataset.root / "Set1" / "009.mp3").unlink()
    (dataset.root / "Set1" / "011.mp3").unlink()
    os.mkfifo(dataset.root / "Set1" / "011.mp3")
    with pytest.raises(
        DataError, match=r"3 of 12 recordings cannot be used.*004\.mp3.*009\.mp3.*011\.mp3.* pipe"
    ):
        prepare(dataset, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 9
    (dataset.root / "Set1" / "011.mp3").unlink()
    corpora.write_audio(dataset.root / "Set1" / "011.mp3", 11)
    corpora.write_audio(dataset.root / "Set1" / "004.mp3", 4)
    corpora.write_audio(dataset.root / "Set1" / "009.mp3", 9)
    seen = corpora.calls(monkeypatch, "compute")
    prepare(dataset, tmp_path / "cache")
    assert sorted(seen) == ["004.mp3", "009.mp3", "011.mp3"]


def test_workers_below_one_are_refused(dataset, tmp_path):
    with pytest.raises(ConfigError, match="workers is 0; it must be 1 or more"):
        prepare(dataset, tmp_path / "cache", workers=0)


def test_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("TENUTO_CACHE", "/here")
    assert cache.cache_folder() == Path("/here")
    monkeypatch.delenv("TENUTO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    assert cache.cache_folder() == Path("/there/tenuto")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # what it does for a user without a home
    with pytest.raises(FileError, match="Set TENUTO_CACHE"):
        cache.cache_folder()
