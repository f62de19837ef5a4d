"""The stages of a study, each idempotent: what is on disk already is not done again."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from tenuto.attacks import Protocol, protocol
from tenuto.config import RunConfig, StudyConfig
from tenuto.data import Prepared, open_dataset, prepare
from tenuto.evaluation import robustness
from tenuto.evaluation.runs import open_run
from tenuto.training.loop import train


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One run of a study: its clean test metrics, those of predicting the training mean, and seconds spent."""

    run: str
    system: str
    seed: int
    test_correlation: float
    test_mae: float
    mean_predictor_mae: float
    training_seconds: float
    attack_seconds: float


def corpus_folder(folder: Path) -> Path:
    """Where a study keeps the corpus it makes for itself."""
    return folder / "corpus"


def make_corpus(study: StudyConfig, folder: Path, workers: int) -> None:
    """Generate the study's own corpus, where it has one."""
    from tenuto.data.synthesis import synthesize

    if (corpus := study.corpus) is not None:
        synthesize(
            corpus_folder(folder),
            clips=corpus.clips,
            seconds=corpus.seconds,
            seed=corpus.seed,
            workers=workers,
        )


def prepare_data(study: StudyConfig, folder: Path, root: Path | None) -> Prepared:
    """Spectrograms of the study's data set, cached below the study's folder."""
    place = corpus_folder(folder) if study.corpus is not None else root or Path()
    return prepare(open_dataset(study.run.data, place), folder / "cache")


def study_protocol(study: StudyConfig) -> Protocol:
    """The protocol every run of the study is attacked with."""
    return protocol(study.attack.protocol, **study.attack.settings)


def complete_run(study: StudyConfig, config: RunConfig, folder: Path, root: Path | None) -> Outcome:
    """Train, evaluate and attack one run. Called in a process of its own where a study has several workers."""
    prepared = prepare_data(study, folder, root)
    begun = time.monotonic()
    run = open_run(train(config, prepared, folder / "runs"), prepared)
    trained = time.monotonic()
    measured = robustness.evaluate(run)
    robustness.attack(run, study_protocol(study))
    return Outcome(
        run=run.name,
        system=config.system,
        seed=config.train.seed,
        test_correlation=measured["test"]["correlation"]["overall"],
        test_mae=measured["test"]["mae"]["overall"],
        mean_predictor_mae=measured["mean_predictor"]["mae"]["overall"],
        training_seconds=trained - begun,
        attack_seconds=time.monotonic() - trained,
    )
