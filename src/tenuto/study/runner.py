"""Carry out a study on this machine, in this process or in several."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

import pandas as pd

from tenuto.config import StudyConfig, to_yaml
from tenuto.files import write_csv, write_text
from tenuto.study.plan import runs
from tenuto.study.stages import Outcome, complete_run, make_corpus, prepare_data, study_protocol

Report = Callable[[str], None]
"""Called with one line whenever something has been finished."""

METRICS = ("run", "system", "seed", "test_correlation", "test_mae", "mean_predictor_mae")


def run_study(
    study: StudyConfig, folder: Path, root: Path | None = None, workers: int = 1, report: Report = print
) -> dict[str, float]:
    """Carry out a study; interrupted, the same call goes on where it stopped.

    Args:
        study: What to do.
        folder: Where runs, rows, tables and figures go.
        root: The data set's folder; a study with a corpus of its own makes that below ``folder``.
        workers: Runs at a time. More than one start processes: call this below ``if __name__ == "__main__"``.
        report: Called with one line after every step.

    Returns:
        Wall-clock seconds of each stage: corpus, spectrograms, training and attack, paper.
    """
    from tenuto.reporting.paper import write_all
    from tenuto.reporting.released import read_study

    write_text(folder / "study.yaml", to_yaml(study))
    marks = [time.monotonic()]
    make_corpus(study, folder, workers)
    marks.append(time.monotonic())
    prepared = prepare_data(study, folder, root)
    report(f"{len(prepared.index)} clips of {prepared.name} are ready")
    marks.append(time.monotonic())
    outcomes = []
    for outcome in _outcomes(study, folder, root, workers):
        outcomes.append(outcome)
        report(
            f"{outcome.system}, seed {outcome.seed}: clean test correlation {outcome.test_correlation:.3f}"
        )
    marks.append(time.monotonic())
    order = {(config.system, config.train.seed): place for place, config in enumerate(runs(study))}
    outcomes.sort(key=lambda outcome: order[outcome.system, outcome.seed])
    table = pd.DataFrame([dataclasses.asdict(outcome) for outcome in outcomes])
    write_csv(folder / "metrics.csv", table[list(METRICS)])
    write_all(read_study(folder, str(study_protocol(study))), folder / "paper")
    marks.append(time.monotonic())
    spent = [after - before for before, after in itertools.pairwise(marks)]
    # Runs overlap, so training and attack share their wall-clock time as they shared the work.
    training = sum(outcome.training_seconds for outcome in outcomes)
    attack = sum(outcome.attack_seconds for outcome in outcomes)
    share = spent[2] / max(training + attack, 1e-9)
    return {
        "corpus": spent[0],
        "spectrograms": spent[1],
        "training": training * share,
        "attack": attack * share,
        "paper": spent[3],
    }


def _outcomes(study: StudyConfig, folder: Path, root: Path | None, workers: int) -> Iterator[Outcome]:
    """Every run's outcome, as the runs end."""
    planned = runs(study)
    if workers == 1:
        for config in planned:
            yield complete_run(study, config, folder, root)
        return
    # Spawned, not forked: torch's thread pool does not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs: list[Future[Outcome]] = [
            pool.submit(complete_run, study, config, folder, root) for config in planned
        ]
        try:
            for job in as_completed(jobs):
                yield job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
