"""A study in sittings on a machine without recordings: `benchmarks.sitting`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import sitting
from tenuto.data import prepare
from tenuto.data.batches import Material
from tenuto.evaluation.natural import natural
from tenuto.evaluation.runs import open_run
from tenuto.store.certificates import read_certificates
from tenuto.store.rows import emotion_names
from tenuto.store.study import StudyFolder
from tenuto.study.plan import dataset_of, planned, settled
from tests.study import small

STUDY = small.changed(run={"data": {"excerpts": "fixed"}})


def call(*words):
    outcome = CliRunner().invoke(sitting.command, [str(word) for word in words], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where the recordings are, and the packed study."""
    folder = tmp_path_factory.mktemp("home")
    small.recordings(folder / "music")
    file = small.write_study(folder / "mine.yaml", STUDY)
    options = ("--root", folder / "music", "--cache", folder / "cache", "--study", file, "--concepts", "none")
    shown = call("pack", *options, "--threads", 1, "--out", folder / "study.safetensors")
    assert "2 runs are left" in shown
    return folder, options


def test_the_packed_data_are_those_of_the_recordings_within_16_bits(home):
    folder, _ = home
    study = settled(STUDY, folder)
    original = prepare(dataset_of(study, folder, folder / "music"), folder / "cache")
    packed_study, packed, left = sitting.read_pack(folder / "study.safetensors")
    assert packed_study == study
    assert {one.run for one in left} == {one.run for one in planned(study, original)}
    inputs = [Material(each, study.run.data).part("train").inputs.numpy() for each in (original, packed)]
    assert 0 < np.abs(inputs[0] - inputs[1]).max() < 2e-4
    ours, theirs = (Material(each, study.run.data).normalisation() for each in (original, packed))
    assert (theirs.mean, theirs.deviation) == pytest.approx((ours.mean, ours.deviation), abs=1e-5)


def test_runs_return_without_weights_and_the_next_sitting_leaves_them_out(home, tmp_path, monkeypatch):
    folder, options = home
    monkeypatch.chdir(tmp_path)
    pack = folder / "study.safetensors"
    assert "0 of 2 runs are complete" in call("run", pack, "--out", "none", "--time-limit", "0.001s")
    assert "2 of 2 runs are complete" in call("run", pack, "--out", "returned", "--time-limit", "1h")
    seconds = json.loads((tmp_path / "returned" / "sitting.json").read_text())["seconds"]
    assert all(
        set(spent) - {"leakage"} == {"train", "evaluate", f"attack {small.ROWS.removesuffix('.csv')}"}
        for spent in seconds.values()
    )
    shown = call("merge", tmp_path / "returned" / "runs.tar.gz", "--pack", pack, "--out", "study")
    assert "2 of 2 runs are complete" in shown
    merged = StudyFolder(tmp_path / "study")
    assert set(merged.rows()["run"]) == {run.name for run in merged.runs()} == set(seconds)
    assert not list(merged.path.rglob("*.safetensors"))
    assert all(run.history.is_file() and run.metrics.is_file() for run in merged.runs())
    again = call("pack", *options, "--threads", 1, "--out", tmp_path / "next", "--done", "study")
    assert "0 runs are left" in again


def test_natural_variations_and_certificates_return_too(home, tmp_path, monkeypatch):
    folder, options = home
    monkeypatch.chdir(tmp_path)
    call("pack", *options, "--threads", 1, "--natural", "--out", "study.safetensors")
    limits = ("--time-limit", "1h", "--systems-first", "--sigma", 0.5, "--draws", 4)
    shown = call("run", "study.safetensors", "--out", "returned", *limits)
    assert "2 of 2 runs are complete" in shown
    assert "leakage" in shown.split("aA2E")[0]  # two test clips are too few: a sentence, and the run goes on
    call("merge", "returned/runs.tar.gz", "--pack", "study.safetensors", "--out", "study")
    bottleneck, direct = StudyFolder(tmp_path / "study").runs()
    for run in (bottleneck, direct):
        (path,) = run.path.glob("certificates/*-sigma-0.5-draws-4-*.csv")
        assert set(read_certificates(path)["radius"]) == set(sitting.RADII.sizes)
    prepared = prepare(dataset_of(STUDY, folder, folder / "music"), folder / "cache")
    trained = open_run(sitting.WORK / direct.name, prepared)
    trained.files.natural().unlink()
    original, packed = natural(trained), direct.read_rows("natural-1")
    assert packed["objective"].tolist() == original["objective"].tolist()
    assert packed["settings"].tolist() == original["settings"].tolist()
    for name in emotion_names(original):
        column = f"adversarial_{name}"
        np.testing.assert_allclose(packed[column], original[column], atol=1e-4)
