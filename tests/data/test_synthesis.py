"""The synthetic corpus on disk: formats, resuming, reuse, and what it refuses to overwrite."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tenuto.audio import load_audio
from tenuto.audio.loading import decode
from tenuto.data import synthesis
from tenuto.data.soundtracks import EMOTIONS, RATINGS, TRACKLIST
from tenuto.data.synthesis import synthesize
from tenuto.data.synthesis_controls import draw, draw_clip
from tenuto.data.synthetic import Synthetic
from tenuto.errors import ConfigError, DataError, FileError
from tests.processes import is_running, parent, wait_for

SMALL: dict[str, Any] = {"clips": 5, "seconds": 1.5, "seed": 3, "workers": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("corpus"), **SMALL)


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.*") if path.is_file()
    }


def copy(corpus: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(corpus, tmp_path / "copy"))


def test_the_real_readers_read_what_was_drawn(corpus):
    index = Synthetic(corpus).index
    clips = draw(5, 3)
    assert index.clips == ("001", "002", "003", "004", "005")
    np.testing.assert_allclose(index.labels * 10, [clip.emotions for clip in clips])
    assert index.concept_labels is not None
    np.testing.assert_allclose(index.concept_labels * 10, [clip.concepts for clip in clips])
    assert index.albums == tuple(clip.album.name for clip in clips)


def test_the_audio_reads_as_music_of_the_stated_length(corpus):
    for path in Synthetic(corpus).index.paths:
        wave = load_audio(path)
        assert 0.6 * 22_050 < len(wave) <= 1.5 * 22_050
        assert np.isfinite(wave).all()


def test_the_encoded_audio_does_not_clip(tmp_path):
    loudest = max(draw(40, 0), key=lambda clip: clip.controls.loudness)
    path = tmp_path / "loud.mp3"
    path.write_bytes(synthesis._encode(path, loudest, 0, 4.0))
    assert 0.4 < np.abs(decode(path)[0]).max() < 1.0


def test_other_sources_stand_between_the_clips(corpus):
    table = pd.read_csv(corpus / "metadata_annotations" / "metadata.csv", sep=";")
    assert list(table["Source"] != "soundtracks") == [True, False, False, True, False, False, False, True]
    assert list(table["song id"]) == list(range(1, 9))


def test_the_files_are_built_like_the_real_ones(corpus, shared):
    for name in (RATINGS, TRACKLIST):
        real = (shared / "soundtracks" / name).read_bytes().split(b"\n")
        ours = (corpus / name).read_bytes().split(b"\n")
        assert ours[0] == real[0]
        assert ours[1].endswith(b"\r") == real[1].endswith(b"\r")
    real_targets = set(pd.read_csv(shared / "soundtracks" / RATINGS, encoding="utf-8-sig")["TARGET"])
    assert {synthesis.target(clip)[0] for clip in draw(360, 0)} <= real_targets
    real_names = set(pd.read_csv(shared / "soundtracks" / TRACKLIST)["Emotion"])
    assert {synthesis.target(clip)[1] for clip in draw(360, 0)} <= real_names


@pytest.mark.parametrize(
    ("emotion", "rating", "spelt"),
    [
        ("happy", 8.0, ("HAPPY", "Happy")),
        ("energy", 1.5, ("LOW ENERGY", "Low Ener.")),
        ("valence", 8.5, ("HIGH VALENCE", "High Val.")),
    ],
)
def test_the_target_is_the_strongest_emotion(emotion, rating, spelt):
    values = [rating if name == emotion else 5.0 for name in EMOTIONS]
    assert synthesis.target(dataclasses.replace(draw_clip(1, 0), emotions=tuple(values))) == spelt


def test_the_same_seed_writes_the_same_bytes_in_any_number_of_processes(corpus, tmp_path):
    synthesize(tmp_path / "again", **{**SMALL, "workers": 2})
    assert contents(tmp_path / "again") == contents(corpus)


def test_a_finished_corpus_is_reused(corpus, monkeypatch):
    monkeypatch.setattr(synthesis, "_encode", None)
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    done: list[int] = []
    synthesize(corpus, **SMALL, progress=done.append)
    assert sum(done) == 5
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


def test_its_download_counts_the_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(synthesis, "synthesize", lambda root, progress: [progress(1) for _ in range(3)])
    seen: list[int] = []
    Synthetic(tmp_path).download(lambda name, done, total: seen.append(done))
    assert seen == [1, 2, 3]


def test_an_interrupted_corpus_is_finished(corpus, tmp_path, monkeypatch):
    real = synthesis._encode

    def stop_at_third(path: Path, *rest: Any) -> bytes:
        if path.name == "003.mp3":
            raise KeyboardInterrupt
        return real(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(synthesis, "_encode", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            synthesize(tmp_path, **SMALL)
    first = (tmp_path / "Set1" / "001.mp3").stat().st_mtime_ns
    synthesize(tmp_path, **SMALL)
    assert contents(tmp_path) == contents(corpus)
    assert (tmp_path / "Set1" / "001.mp3").stat().st_mtime_ns == first


def test_a_lost_file_is_made_again(corpus, tmp_path):
    root = copy(corpus, tmp_path)
    (root / "Set1" / "002.mp3").unlink()
    (root / RATINGS).unlink()
    synthesize(root, **SMALL)
    assert contents(root) == contents(corpus)


@pytest.mark.parametrize("name", ["Set1/002.mp3", RATINGS])
def test_a_changed_file_is_refused_by_name_and_kept(corpus, tmp_path, name):
    root = copy(corpus, tmp_path)
    (root / name).write_bytes(b"mine")
    with pytest.raises(DataError, match=r"changed since it was synthesized\. Delete it"):
        synthesize(root, **SMALL)
    assert (root / name).read_bytes() == b"mine"


@pytest.mark.parametrize("changed", [{"seed": 4}, {"clips": 6}, {"seconds": 2.0}])
def test_other_settings_in_the_same_folder_are_refused(corpus, changed):
    with pytest.raises(
        DataError, match=r"corpus\.json: this corpus was made with .*, not with .*Choose another"
    ):
        synthesize(corpus, **{**SMALL, **changed})


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"contains thesis\.txt.*Choose an empty folder"):
        synthesize(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "root").write_text("mine")
    with pytest.raises(DataError, match="is a file, not a folder"):
        synthesize(tmp_path / "root", **SMALL)


def test_a_dead_process_is_reported_with_the_fix(tmp_path, monkeypatch):
    def die(*_: Any) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(ProcessPoolExecutor, "map", die)
    with pytest.raises(DataError, match=r"a synthesis process died\. Run the same command again"):
        synthesize(tmp_path, **{**SMALL, "workers": 2})


def children(process: int) -> list[int]:
    """Processes that a process started."""
    others = (int(folder.name) for folder in Path("/proc").glob("[0-9]*"))
    return [other for other in others if parent(other) == process]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_a_killed_synthesis_leaves_no_process(tmp_path):
    call = f"synthesize({str(tmp_path)!r}, clips=1000, seconds=2, workers=2)"
    main = subprocess.Popen(
        [sys.executable, "-c", f"from tenuto.data.synthesis import synthesize; {call}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    wait_for(lambda: len(children(main.pid)) >= 3)  # two workers and the tracker of their resources
    workers = children(main.pid)
    wait_for(lambda: any(tmp_path.glob("Set1/*")))  # they are at work
    main.kill()
    main.wait()
    try:
        wait_for(lambda: not any(map(is_running, workers)))
    finally:
        for pid in filter(is_running, workers):
            os.kill(pid, signal.SIGKILL)


def test_a_libsndfile_without_mp3_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("soundfile.available_formats", lambda: {"WAV": "WAV"})
    with pytest.raises(FileError, match=r"001\.mp3: libsndfile .* cannot write mp3; version 1\.1"):
        synthesize(tmp_path, **SMALL)


def test_a_damaged_state_file_is_refused(corpus, tmp_path):
    root = copy(corpus, tmp_path)
    (root / "corpus.json").write_text("{")
    with pytest.raises(FileError, match=r"corpus\.json: not JSON"):
        synthesize(root, **SMALL)


def test_a_state_file_without_checksums_is_refused(corpus, tmp_path):
    root = copy(corpus, tmp_path)
    state = json.loads((root / "corpus.json").read_text())
    (root / "corpus.json").write_text(json.dumps({**state, "sha256": None}))
    with pytest.raises(DataError, match="contains no checksums"):
        synthesize(root, **SMALL)


@pytest.mark.parametrize(
    "wrong", [{"clips": 0}, {"seconds": 0.5}, {"seconds": float("nan")}, {"seed": -1}, {"workers": 0}]
)
def test_settings_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}`? is .*; it must be"):
        synthesize(tmp_path / "new", **{**SMALL, **wrong})
    assert not (tmp_path / "new").exists()
