"""The stages of a study, each idempotent: what is on disk already is not done again."""

from __future__ import annotations

import dataclasses
import traceback
from pathlib import Path
from typing import Any

from tenuto.attacks import Protocol
from tenuto.config import StudyConfig
from tenuto.data import Prepared, prepare
from tenuto.errors import DataError, TenutoError
from tenuto.evaluation import robustness
from tenuto.evaluation.natural import natural, natural_path
from tenuto.evaluation.runs import Run, open_run
from tenuto.files import read_json
from tenuto.study import journal
from tenuto.study.journal import EVALUATE, NATURAL, TRAIN
from tenuto.study.plan import (
    Planned,
    corpus_folder,
    dataset_of,
    has_curves,
    protocols,
)
from tenuto.study.timing import attack_stage
from tenuto.training import loop

METRICS = "metrics.json"
PATIENCE = 60.0
"""Seconds to wait for whoever is still at work on a run: a process about to die, a node not yet given up."""


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything a process needs to carry out one run, wherever it is started."""

    study: StudyConfig
    planned: Planned
    folder: Path
    root: Path | None
    device: str = "cpu"

    @property
    def label(self) -> str:
        """System and seed, for people."""
        return f"{self.planned.config.system}, seed {self.planned.config.train.seed}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: its clean test correlation, or the sentence it failed with; seconds of this sitting."""

    run: str
    test_correlation: float = float("nan")
    error: str | None = None
    training_seconds: float = 0.0
    attack_seconds: float = 0.0

    @classmethod
    def done(cls, folder: Path, run: str) -> Outcome:
        """Of a run that had ended before."""
        return cls(run, _clean_correlation(folder / "runs" / run))


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
    return prepare(dataset_of(study, folder, root), folder / "cache")


def is_done(job: Job) -> bool:
    """Whether nothing of a run is left to do."""
    place, attacks = job.folder / "runs" / job.planned.run, protocols(job.study)
    return (
        journal.read(job.folder, job.planned.run).stage == journal.DONE
        and loop.finished(place)
        and (place / METRICS).is_file()
        and all(robustness.rows_path(place, protocol).is_file() for protocol in attacks)
        and (natural_path(place).is_file() or not has_curves(attacks))
    )


def complete_run(job: Job) -> Outcome:
    """Train, evaluate and attack one run; what goes wrong is written down and returned, never raised.

    Called in a process of its own where a study has several workers.
    """
    name = job.planned.run
    try:
        with journal.held(job.folder, name, PATIENCE):
            return _worked_on(job, journal.Entry(job.folder, name))
    except TenutoError as error:  # somebody else is at work on it, or the journal cannot be written
        return Outcome(name, error=str(error))


def _worked_on(job: Job, entry: journal.Entry) -> Outcome:
    before = dict(entry.record.seconds)
    try:
        _carry_out(job, entry)
    except Exception as error:
        foreseen = isinstance(error, TenutoError)
        sentence = str(error) if foreseen else f"{type(error).__name__}: {error}"
        trace = None if foreseen else traceback.format_exc()
        entry.note(True, stage=journal.FAILED, error=sentence, trace=trace)
        return Outcome(job.planned.run, error=sentence)
    entry.note(True, stage=journal.DONE)
    spent = {stage: total - before.get(stage, 0.0) for stage, total in entry.record.seconds.items()}
    training = spent.get(TRAIN, 0.0) + spent.get(EVALUATE, 0.0)
    outcome = Outcome.done(job.folder, job.planned.run)
    return dataclasses.replace(
        outcome, training_seconds=training, attack_seconds=sum(spent.values()) - training
    )


def _carry_out(job: Job, entry: journal.Entry) -> None:
    """All stages of a run that are not yet done."""
    prepared = prepare_data(job.study, job.folder, job.root)
    config, runs = job.planned.config, job.folder / "runs"
    folder = loop.run_folder(runs, config, prepared)
    if folder.name != job.planned.run:
        place = job.root or corpus_folder(job.folder)
        raise DataError(
            f"{place}: holds other data ({prepared.fingerprint[:8]}) than the study was planned with. "
            "Every machine of a study must see the same files."
        )

    def epoch(row: dict[str, Any]) -> None:
        best = {"best_epoch": row["best_epoch"]}
        if row["best_epoch"] == row["epoch"]:
            best["best_score"] = row["score"]
        entry.note(epoch=row["epoch"], **best)

    if not loop.finished(folder):
        with entry.stage(TRAIN):
            loop.train(config, prepared, runs, job.device, epoch)
    run = open_run(folder, prepared)
    if not (EVALUATE in entry.record.finished and (folder / METRICS).is_file()):
        with entry.stage(EVALUATE):
            robustness.evaluate(run)
    attacks = protocols(job.study)
    if has_curves(attacks) and not natural_path(folder).is_file():
        with entry.stage(NATURAL):
            natural(run)
    for protocol in attacks:
        if not robustness.rows_path(folder, protocol).is_file():
            _attack(job, run, protocol, entry)


def _attack(job: Job, run: Run, protocol: Protocol, entry: journal.Entry) -> None:
    with entry.stage(attack_stage(protocol)):
        each = protocol.iterations(len(run.recogniser.emotions))
        entry.note(True, steps_total=each * len(run.material.split.test))

        def progress(done: int) -> None:
            entry.note(steps=entry.record.steps + done)

        robustness.attack(run, protocol, device=job.device, progress=progress)


def _clean_correlation(folder: Path) -> float:
    correlation: float = read_json(folder / METRICS)["test"]["correlation"]["overall"]
    return correlation
