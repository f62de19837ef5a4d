"""`--concepts signal` from training to attack, on recordings whose concepts nobody rated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tenuto.config import parse_yaml
from tenuto.data.midlevel import CONCEPTS
from tenuto.data.synthesis_controls import draw
from tenuto.data.synthesis_sound import CORPUS_RATE, render
from tests.cli.conftest import TINY

FOLDER = (
    *("--ratings", "table.csv", "--id-column", "song", "--emotions", "arousal,joy"),
    *("--scale", 1, 7, "--album-column", "record"),
)
NAMES = [f"signal:{name}" for name in CONCEPTS]


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Twenty generated recordings of four seconds, rated by lot."""
    root, random = tmp_path_factory.mktemp("songs"), np.random.default_rng(0)
    rows = ["song,arousal,joy,record"]
    for clip in draw(20, 0):
        soundfile.write(root / f"{clip.number}.wav", render(clip, 0, 4.0), CORPUS_RATE)
        rows.append(f"{clip.number},{random.uniform(1, 7):.2f},{random.uniform(1, 7):.2f},r{clip.number % 4}")
    (root / "table.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def signal_run(tenuto, songs, cache, tmp_path_factory):
    """A tiny A2M2E on a user's own folder, trained on descriptors of the sound."""
    outcome = tenuto(
        *("train", "--data", "folder", *FOLDER, "--concepts", "signal", "--root", songs),
        *("--cache", cache, "--runs", tmp_path_factory.mktemp("runs"), "--system", "A2M2E", *TINY),
    )
    return Path(outcome.stdout.strip())


def test_the_run_says_what_its_concepts_are(signal_run):
    data = parse_yaml((signal_run / "config.yaml").read_text(), "config.yaml")["data"]
    assert data["concepts"] == "signal"
    assert data["folder"]["concepts"] == []
    assert "validation_concepts" in (signal_run / "history.csv").read_text().splitlines()[0]


def test_a_recording_is_told_by_the_names_of_descriptors(tenuto, signal_run, songs):
    song = songs / "1.wav"
    profile = json.loads(tenuto("predict", signal_run, song, "--json").stdout)
    assert (
        list(next(iter(profile.values()))["concepts"] if "concepts" not in profile else profile["concepts"])
        == NAMES
    )
    assert "signal:dissonance" in tenuto("explain", signal_run, song).stdout


def test_a_descriptor_can_be_set(tenuto, signal_run, songs):
    song = songs / "1.wav"
    message = tenuto("intervene", signal_run, song, "--set", "signal:dissonance=0.7")
    assert message.exit_code == 0, message.output


def test_commands_find_the_concepts_in_the_run_s_own_settings(tenuto, signal_run, songs, cache):
    where = ("--root", songs, "--cache", cache)
    report = json.loads(tenuto("evaluate", signal_run, *where, "--json").stdout)
    assert set(NAMES) <= set(report["test_concepts"]["mae"])
    message = tenuto(
        "attack", signal_run, *where, "--attack", "PGD", "--epsilon", 0.01, "--setting", "steps=2"
    )
    assert message.exit_code == 0, message.output
    rows = next((signal_run / "attacks").glob("*.csv")).read_text().splitlines()
    assert {f"clean_{name}" for name in NAMES} <= set(rows[0].split(","))


def test_learning_concepts_nobody_rated_is_refused_with_the_mend(refused, songs, cache):
    message = refused(
        *("train", "--data", "folder", *FOLDER, "--root", songs, "--cache", cache),
        *("--system", "A2M2E", *TINY),
    )
    assert "--concepts signal" in message


def test_a_study_is_planned_with_signal_concepts(tenuto, corpus, tmp_path):
    options = ("paper-2025-quick", "--root", corpus, "--out", tmp_path / "quick", "--threads", 1, "--json")
    signal = json.loads(tenuto("study", "plan", *options, "--concepts", "signal").stdout)
    human = json.loads(tenuto("study", "plan", *options, "--concepts", "midlevel").stdout)
    assert signal["fingerprint"] != human["fingerprint"]
    assert sum(stage["kind"] == "train" for stage in signal["stages"]) == 10
