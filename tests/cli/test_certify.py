"""`tenuto certify`."""

from __future__ import annotations

import json
import shutil

import pytest


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


def test_sigma_is_needed(refused, run, data):
    assert "sigma is missing: give at least one, such as --sigma 0.216." in refused("certify", run, *data)
