"""Shared fixtures: where the real data lies, if it lies anywhere."""

from __future__ import annotations

import functools
import gc
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import tenuto
from tenuto.data import Prepared
from tests import short, small_runs

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real audio, logs and golden files; the test skips where there is none."""
    named = os.environ.get("TENUTO_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist (set TENUTO_SHARED)")
    return folder


SLOW = [
    "test_demo.py",
    "test_docs.py",
    "study",
    "cli",
    "test_elsewhere.py",
    "test_benchmarks.py",
    "test_api.py",
    "reporting/test_report.py",
    "training/test_resume.py",
    "training/robust/test_runs.py",
    "reporting/test_style.py",
    "test_examples.py",
    "contracts/test_recognisers.py",
    "models/test_foreign_onnx.py",
    "contracts/test_attack_calls.py",
    "analysis/test_comparison.py",
    "data/test_excerpts.py",
    "reporting/test_explanation.py",
    "browser",
    "evaluation/test_graded.py",
    "evaluation/test_sound_runs.py",
    "audio/test_descriptors.py",
    "data/test_synthesis_music.py",
    "test_results_on_a_gpu.py",
    "evaluation/test_resynthesis.py",
    "data/test_synthesis.py",
    "evaluation/test_intervention.py",
    "models/test_foreign.py",
    "models/test_portable.py",
    "attacks/test_alone.py",
    "test_results_folder.py",
    "analysis/test_curves.py",
    "evaluation/audit/test_sound_checks.py",
    "analysis/test_sound_curves.py",
    "test_sitting.py",
]
"""Folders and files whose tests start processes, train or draw, the longest first; `make test-fast` omits them."""


def pytest_collection_modifyitems(items):
    """Mark the slow tests and begin with them: a long file at the end would leave a processor idle."""
    ranks = {}
    for item in items:
        place = item.path.relative_to(Path(__file__).parent)
        names = [name for name in (place.parts[0], place.as_posix()) if name in SLOW]
        ranks[item] = SLOW.index(names[0]) if names else len(SLOW)
        if names:
            item.add_marker(pytest.mark.slow)
    items.sort(key=ranks.__getitem__)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported and collected stays until the end, so the garbage collector need not look at it, then or later.

    statsmodels collects garbage in every correction for multiple tests: that took most of the time of some tests.
    The young are collected less often, too: every 50,000 objects, not every 700.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000)
        gc.enable()


def pytest_addoption(parser):
    parser.addoption(
        "--update-snapshots",
        action="store_true",
        help="Write tests/cli/snapshots from the present output.",
    )


@pytest.fixture(scope="session", autouse=True)
def _commands() -> Iterator[None]:
    """Put the commands together once: for every call anew, that takes longer than most refusals."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="module")
def few_steps() -> Iterator[None]:
    """`standard-1` and the audit take a few steps, see `tests.short`."""
    with short.few_steps():
        yield


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not rendered, see `tests.short`, until a test undoes that."""
    monkeypatch.setattr(*short.UNDRAWN)


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released logs of the study as a folder, unpacked from the package."""
    folder = tmp_path_factory.mktemp("robustness_mer_bottleneck")
    with zipfile.ZipFile(Path(tenuto.__file__).parent / "store" / "released_logs.zip") as archive:
        archive.extractall(folder)
    return folder / "logs"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Thirty clips with emotions and concepts; files that look at their folder make their own."""
    return small_runs.rated(tmp_path_factory.mktemp("rated"))
