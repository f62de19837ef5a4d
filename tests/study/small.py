"""Studies small enough for tests, and what two of them must agree in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tenuto
from tenuto.config import StudyConfig, merge, to_yaml
from tenuto.errors import DataError
from tenuto.files import write_text
from tenuto.study.engines import Local, Ray
from tests import corpora

CLIPS = 20
"""Divided into 16 for training, 2 for validation, 2 for test."""

CONTENT: dict[str, Any] = {
    "systems": ["A2M2E", "aA2E"],
    "seeds": [21],
    "run": {
        "data": {"dataset": "midlevel"},
        "model": {"width": 0.0625},
        "train": {
            "epochs": 2,
            "batch_size": 4,
            "threads": 1,
            "adversarial": {"every": 2, "iterations": 2},
        },
    },
    "protocols": [{"protocol": "paper-2025-released", "settings": {"iterations": 2}}],
}
TINY = StudyConfig.parse(CONTENT, "a test")
ROWS = "paper-2025-released+iterations=2.csv"


def changed(**changes: Any) -> StudyConfig:
    """`TINY` with other settings."""
    return StudyConfig.parse(merge(CONTENT, changes), "a test")


def recordings(root: Path) -> Path:
    """Twenty clips with emotions and concepts."""
    corpora.midlevel(root, CLIPS)
    return root


def tables(folder: Path) -> dict[str, bytes]:
    """Every table, row and history below a study's folder; times and processes are in none of them."""
    values = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for suffix in ("csv", "md", "tex")
        for path in folder.rglob(f"*.{suffix}")
        if "corpus" not in path.parts
    }
    assert {"metrics.csv", "paper/table1.csv", "paper/significance.csv", "paper/metrics.csv"} <= set(values)
    return values


def write_study(path: Path, study: StudyConfig) -> Path:
    """The study as the YAML file a user would write."""
    return write_text(path, to_yaml(study))


def environment() -> dict[str, str]:
    """Where another Python finds this Tenuto."""
    return {**os.environ, "PYTHONPATH": str(Path(tenuto.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


UNDRAWN = (
    "from matplotlib.figure import Figure; "
    "Figure.savefig = lambda figure, stream, **options: stream.write(b'x')"
)
"""A line of a program that builds figures and does not draw them."""


def started(*arguments: Any) -> subprocess.Popen[str]:
    """Another Python, with its output to be read."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def die() -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


class DeadlyJob:
    """A job that kills the process it is sent to."""

    planned = SimpleNamespace(run="A2E-6-00000000")

    def __reduce__(self) -> Any:
        return die, ()


def terminate() -> Any:
    """Send SIGTERM and SIGINT to this process; a job whose time is over."""
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    assert signal.SIGINT in signal.sigpending()  # blocked from the start
    return SimpleNamespace(planned=DeadlyJob.planned, is_out_of_time=lambda: True)


class TerminatedJob(DeadlyJob):
    """A job whose process receives SIGTERM, as all of a cancelled Slurm job do, and SIGINT, as all of a terminal."""

    def __reduce__(self) -> Any:
        return terminate, ()


def silent(line: str) -> None:
    """A report for nobody."""


def refuses(*arguments: Any, **keywords: Any) -> None:
    """Refuse a study, as its recordings or its engine would."""
    raise DataError("a recording is silent")


each_refusal = pytest.mark.parametrize(
    ("place", "engine"),
    [("tenuto.study.engines.prepare_data", Local()), ("tenuto.study.engines.Ray.carry_out", Ray())],
    ids=["by its recordings", "by its engine"],
)
