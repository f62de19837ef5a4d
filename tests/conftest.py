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


SLOW = (
    *("browser", "cli", "study", "test_api.py", "test_benchmarks.py", "test_demo.py", "test_docs.py"),
    *("test_elsewhere.py", "audio/test_descriptors.py", "data/test_excerpts.py", "data/test_synthesis.py"),
    *("data/test_synthesis_music.py", "evaluation/test_intervention.py", "evaluation/test_resynthesis.py"),
    *("training/test_resume.py", "attacks/test_alone.py"),
)
"""Folders and files whose tests start processes, train, or draw; `make test-fast` leaves them out."""


def pytest_collection_modifyitems(items):
    for item in items:
        place = item.path.relative_to(Path(__file__).parent)
        if {place.parts[0], place.as_posix()} & set(SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(
        key=lambda item: item.path.name != "test_demo.py"
    )  # the longest one first, so that none waits for it


def pytest_addoption(parser):
    parser.addoption(
        "--update-snapshots",
        action="store_true",
        help="Write tests/cli/snapshots from the present output.",
    )


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released logs of the study as a folder, unpacked from the package."""
    folder = tmp_path_factory.mktemp("robustness_mer_bottleneck")
    with zipfile.ZipFile(Path(tenuto.__file__).parent / "store" / "released_logs.zip") as archive:
        archive.extractall(folder)
    return folder / "logs"
