"""Shared fixtures: where the real data lies, if it lies anywhere."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

import tenuto

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real audio, logs and golden files; the test skips where there is none."""
    named = os.environ.get("TENUTO_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist (set TENUTO_SHARED)")
    return folder


def pytest_addoption(parser):
    parser.addoption(
        "--update-snapshots",
        action="store_true",
        help="Write tests/cli/snapshots anew from the present output.",
    )


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released logs of the study as a folder, unpacked from the package."""
    folder = tmp_path_factory.mktemp("robustness_mer_bottleneck")
    with zipfile.ZipFile(Path(tenuto.__file__).parent / "store" / "released_logs.zip") as archive:
        archive.extractall(folder)
    return folder / "logs"
