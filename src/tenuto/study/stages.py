"""The stages of a study, each idempotent: what is on disk already is not done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from tenuto.attacks import protocol
from tenuto.config import RunConfig, StudyConfig, to_yaml
from tenuto.data import Prepared, open_dataset, prepare
from tenuto.evaluation import robustness
from tenuto.evaluation.runs import open_run
from tenuto.files import write_csv, write_text
from tenuto.study.plan import runs
from tenuto.training.loop import train

Report = Callable[[str], None]
"""Called with one line whenever something has been finished."""


class Clock:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time inside the block to a stage."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun


def run_study(study: StudyConfig, folder: Path, root: Path | None = None, report: Report = print) -> dict[str, float]:
    """Carry out a study in this process; interrupted, the same call goes on where it stopped.

    Args:
        study: What to do.
        folder: Where runs, rows, tables and figures go.
        root: The data set's folder; a study with a corpus of its own makes that below ``folder``.
        report: Called with one line after every step.

    Returns:
        Seconds spent in each stage: corpus, spectrograms, training, attack, paper.
    """
    from tenuto.reporting.paper import write_all
    from tenuto.reporting.released import read_study

    clock = Clock()
    write_text(folder / "study.yaml", to_yaml(study))
    if study.corpus is not None:
        root = folder / "corpus"
        with clock.stage("corpus"):
            _synthesize(study, root)
    with clock.stage("spectrograms"):
        prepared = prepare(open_dataset(study.run.data, root or Path()), folder / "cache")
    report(f"{len(prepared.index)} clips of {prepared.name} are ready")
    measured = [_one(config, study, prepared, folder / "runs", clock, report) for config in runs(study)]
    with clock.stage("paper"):
        write_csv(folder / "metrics.csv", pd.DataFrame(measured))
        write_all(read_study(folder, str(_protocol(study))), folder / "paper")
    return clock.seconds


def _synthesize(study: StudyConfig, root: Path) -> None:
    from tenuto.data.synthesis import synthesize

    if study.corpus is not None:
        synthesize(root, clips=study.corpus.clips, seconds=study.corpus.seconds, seed=study.corpus.seed)


def _protocol(study: StudyConfig):  # type: ignore[no-untyped-def]
    return protocol(study.attack.protocol, **study.attack.settings)


def _one(
    config: RunConfig, study: StudyConfig, prepared: Prepared, folder: Path, clock: Clock, report: Report
) -> dict[str, object]:
    """Train, evaluate and attack one run; its line of the study's table of clean metrics."""
    with clock.stage("training"):
        trained = train(config, prepared, folder)
        run = open_run(trained, prepared)
        measured = robustness.evaluate(run)
    with clock.stage("attack"):
        robustness.attack(run, _protocol(study))
    test = measured["test"]
    report(f"{config.system}, seed {config.train.seed}: clean test correlation {test['correlation']['overall']:.3f}")
    return {
        "run": run.name,
        "system": config.system,
        "seed": config.train.seed,
        "test_correlation": test["correlation"]["overall"],
        "test_mae": test["mae"]["overall"],
        "mean_predictor_mae": measured["mean_predictor"]["mae"]["overall"],
    }
