"""`tenuto universal`."""

import json
import shutil

import pytest

from tenuto.store.rows import read_rows


@pytest.fixture(scope="module")
def copied(run, tmp_path_factory):
    """A copy of the run."""
    return shutil.copytree(run, tmp_path_factory.mktemp("universal") / run.name)


def test_a_spectrogram_perturbation_is_fitted_and_written(tenuto, copied, data, snapshot):
    outcome = tenuto(
        "universal", copied, *data, "--epochs", 1, "--epsilon", 0.1, "--shift", 0, "--shift", 2.5
    )
    (folder,) = (copied / "universal").iterdir()
    assert {path.name for path in folder.iterdir()} == {"about.json", "perturbation.safetensors", "rows.csv"}
    assert set(read_rows(folder / "rows.csv")["attack"]) == {"Universal", "Universal +2.5 s", "Noise shared"}
    assert f"{folder}: rows, perturbation" in outcome.stderr
    snapshot("universal", "output, linf 0.1", outcome.stdout)


def test_json_holds_every_placement(tenuto, copied, data, tmp_path):
    outcome = tenuto(
        *("universal", copied, *data, "--epochs", 1, "--epsilon", 0.1, "--shift", 0, "--seed", 3),
        *("--out", tmp_path, "--json"),
    )
    result = json.loads(outcome.stdout)
    assert "seed=3" in result["fit"]
    assert [line["attack"] for line in result["placements"]] == ["Universal", "Noise shared"]
