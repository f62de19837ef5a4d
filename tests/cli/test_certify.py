"""`tenuto certify`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tenuto.store.certificates import read_certificates


def test_batches_change_no_bound(tenuto, run, data, tmp_path):
    copied = shutil.copytree(run, tmp_path / run.name)
    tables = []
    for size in (1, 30):
        shutil.rmtree(copied / "certificates", ignore_errors=True)
        words = (
            "--sigma",
            0.2,
            "--radius",
            0.05,
            "--draws",
            60,
            "--clips",
            1,
            "--batch-size",
            size,
            "--json",
        )
        tables.append(json.loads(tenuto("certify", copied, *data, *words).stdout)["certificates"])
    assert tables[0][0]["certified_mae"] == pytest.approx(tables[1][0]["certified_mae"], abs=1e-5)
    assert tables[0][0]["clips"] == 1


def test_the_files_of_rows_are_named(tenuto, run, data, tmp_path):
    copied = shutil.copytree(run, tmp_path / run.name)
    words = ("--sigma", 0.2, "--sigma", 0.4, "--draws", 8, "--clips", 1, "--no-clip-to-scale")
    files = json.loads(tenuto("certify", copied, *data, *words, "--json").stdout)["files"]
    assert [Path(path).stem for path in files] == [
        f"log-spectrogram-sigma-{sigma}-draws-8-seed-0" for sigma in (0.2, 0.4)
    ]
    assert not any(read_certificates(path)["clip_to_scale"].any() for path in files)
    assert tenuto("certify", copied, *data, *words).stdout.splitlines()[-2:] == files


def test_sigma_is_needed(refused, run, data):
    assert "sigma is missing: give at least one, such as --sigma 0.216." in refused("certify", run, *data)
