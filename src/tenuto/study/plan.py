"""What a study will do, without doing it: its runs, their names, every stage, and what is done already."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tenuto.attacks import Protocol, protocol
from tenuto.config import (
    AdversarialConfig,
    CorpusConfig,
    RunConfig,
    StudyConfig,
    merge,
    read_preset,
    with_system,
)
from tenuto.data import Dataset, Prepared, open_dataset
from tenuto.data.base import fingerprint
from tenuto.data.batches import check, check_labels, check_split
from tenuto.data.splits import draw
from tenuto.errors import ConfigError, FileError
from tenuto.evaluation.natural import natural_path
from tenuto.evaluation.robustness import rows_path
from tenuto.files import sha256_file
from tenuto.models import check_network
from tenuto.study import journal
from tenuto.study.journal import ANALYSE, ATTACK, CORPUS, EVALUATE, NATURAL, PREPARE, TRAIN
from tenuto.study.timing import Clock, Expected, Work, attack_stage
from tenuto.training import loop

UNKNOWN = "????????"
"""Stands for a signature while the data, which it covers, are not there."""

PAPER_ITERATIONS = 1000
PAPER_CLIPS, PAPER_EMOTIONS = 360, 8
"""Assumed for expected times while the data are not there."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """One run: its configuration, and its folder's name with the signature."""

    config: RunConfig
    run: str


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a study.

    Attributes:
        kind: ``corpus``, ``prepare``, ``train``, ``evaluate``, ``natural``,
            ``attack`` or ``analyse``.
        run: The run's folder name; empty for stages of the study itself.
        inputs: What it reads, for people: files below the study's folder, or settings.
        output: What it leaves, below the study's folder.
        done: Whether that is there already.
        expected: Seconds it still takes, and where that number is from.
        protocol: Of an attack.
    """

    kind: str
    run: str
    inputs: str
    output: str
    done: bool
    expected: Expected
    protocol: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """All stages of a study in the order in which each can be carried out.

    Attributes:
        fingerprint: Identity of the data; None while they are not there.
        stages: Every stage.
    """

    fingerprint: str | None
    stages: tuple[Stage, ...]

    @property
    def seconds(self) -> float:
        """What is left, one stage after the other."""
        return sum(stage.expected.seconds for stage in self.stages if not stage.done)


def runs(study: StudyConfig) -> list[RunConfig]:
    """The configuration of every run, systems outermost, in the order given."""
    return [_run(study, system, seed) for system in study.systems for seed in study.seeds]


def _run(study: StudyConfig, system: str, seed: int) -> RunConfig:
    content = merge(
        with_system(study.run.model_dump(mode="json"), system, study.systems), {"train": {"seed": seed}}
    )
    return RunConfig.parse(content, f"{system}, seed {seed}").named()


def protocols(study: StudyConfig) -> list[Protocol]:
    """The protocols every run is attacked with. Raises `ConfigError` for an unknown name or setting."""
    return [protocol(wanted.protocol, **wanted.settings) for wanted in study.protocols]


def has_curves(attacks: list[Protocol]) -> bool:
    """Whether a protocol climbs budgets: its curves are read against what music does by itself."""
    return any(attack.epsilons for attack in attacks)


def reductions(study: StudyConfig) -> list[str]:
    """How a study is smaller than the paper's, as sentences for the screen."""
    run, found = study.run, []
    if study.corpus is not None:
        found.append(
            f"{study.corpus.clips} generated clips of {study.corpus.seconds:g} s instead of 360 recordings"
        )
    if run.model.width != 1:
        found.append(f"{run.model.width:g} of the channels")
    if run.train.epochs < 199:
        found.append(f"at most {run.train.epochs} epochs instead of 199")
    if len(study.seeds) < 10:
        found.append(f"{len(study.seeds)} seeds instead of 10")
    if (training := (run.train.adversarial or AdversarialConfig()).iterations) < 50:
        found.append(f"{training} attack iterations in adversarial training instead of 50")
    if run.train.precision:
        where = " where the processor has it" if run.train.precision == "auto" else ""
        found.append(f"updates in bfloat16{where} instead of float32")
    iterations = [wanted.settings.get("iterations", PAPER_ITERATIONS) for wanted in study.protocols]
    reduced = (number for number in iterations if number != PAPER_ITERATIONS)
    return [*found, *(f"{number} attack iterations instead of {PAPER_ITERATIONS}" for number in reduced)]


def corpus_folder(folder: Path) -> Path:
    """Where a study keeps the corpus it makes for itself."""
    return folder / "corpus"


def dataset_of(study: StudyConfig, folder: Path, root: Path | None) -> Dataset:
    """The study's data set: its own corpus, or what lies at ``root``. Raises `ConfigError` with neither or both."""
    check_root(study, root)
    if study.corpus is not None:
        return open_dataset(study.run.data, corpus_folder(folder))
    if root is None:
        raise ConfigError("the study reads recordings: say where they lie with --root DIR (or TENUTO_DATA).")
    return open_dataset(study.run.data, root)


def check_root(study: StudyConfig, root: Path | None) -> None:
    """Refuse recordings for a study that generates its own. Raises `ConfigError`."""
    if study.corpus is not None and root is not None:
        raise ConfigError(
            f"--root {root}: the study generates its music by itself (corpus) and reads no other. Leave --root out, or "
            "take a study without a corpus."
        )


def identity(study: StudyConfig, folder: Path, root: Path | None) -> Prepared | None:
    """The study's data without their spectrograms, so that nothing is decoded; None while they are not there."""
    check_root(study, root)
    if study.corpus is None and root is None:
        return None
    if study.corpus is not None and not _is_there(study.corpus, corpus_folder(folder)):
        return None
    dataset = dataset_of(study, folder, root)
    index = dataset.index
    audio = tuple(sha256_file(path) for path in index.paths)
    return Prepared(dataset.card.name, index, (), fingerprint(index, audio))


def _is_there(corpus: CorpusConfig, root: Path) -> bool:
    """Whether all of a corpus has been generated. Raises `DataError` for one that other settings made."""
    from tenuto.data.synthesis import recorded

    names = recorded(root, clips=corpus.clips, seconds=corpus.seconds, seed=corpus.seed) or {}
    return bool(names) and all((root / name).is_file() for name in names)


def settled(study: StudyConfig, folder: Path) -> StudyConfig:
    """The study with threads and precision resolved, once and for all machines: every run's signature has them.

    A study begun in ``folder`` keeps what it was begun with, whatever machine goes on with it and whatever systems,
    seeds and protocols it has by now.
    """
    train = study.run.train
    left = [name for name, open_ in (("threads", 0), ("precision", "auto")) if getattr(train, name) == open_]
    stored = str(folder / "study.yaml")
    with contextlib.suppress(ConfigError, FileError):  # none there, or none of this kind: nothing was begun
        begun = RunConfig.parse(read_preset(stored), stored).resolved()
        if _kept_anywhere(begun) == _kept_anywhere(study.run):
            return _filled(study, begun, left)
    return _filled(study, study.run.resolved(), left)


def _kept_anywhere(run: RunConfig) -> dict[str, Any]:
    """What a study's runs share on any machine. Attacks in training come and go with the systems trained so."""
    return run.model_dump(exclude={"system": True, "train": {"threads", "precision", "adversarial"}})


def _filled(study: StudyConfig, run: RunConfig, names: list[str]) -> StudyConfig:
    """The study with these settings of training taken from ``run``."""
    found = {name: getattr(run.train, name) for name in names}
    train = study.run.train.model_copy(update=found)
    return study.model_copy(update={"run": study.run.model_copy(update={"train": train})})


def check_study(study: StudyConfig, data: Prepared) -> None:
    """Refuse before any work what the data cannot serve. Raises `ConfigError` or `DataError`."""
    for config in runs(study):
        check_network(config)
        check(config, data)
    split = draw(data.index, study.run.data.split, study.run.data.split_seed)
    check_split(split)
    check_labels(data.index, split, any(map(loop.scored_concepts, runs(study))))


def planned(study: StudyConfig, data: Prepared | None) -> list[Planned]:
    """Every run of a settled study with its folder's name."""
    found = []
    for config in runs(study):
        folder = (
            Path(f"{config.system}-{config.train.seed}-{UNKNOWN}")
            if data is None
            else loop.run_folder(Path(), config, data)
        )
        found.append(Planned(config, folder.name))
    return found


def plan(study: StudyConfig, folder: Path, root: Path | None = None) -> Plan:
    """Every stage of a study. Nothing is written, trained or decoded.

    Args:
        study: What to do.
        folder: The study's folder, there or not.
        root: The data set's folder. Signatures cover the data, so they are unknown without it.

    Raises:
        ConfigError: An unknown protocol or setting, or systems the data cannot serve.
        DataError: Damaged annotations, or a corpus of other settings in the study's folder.
        FileError: A recording is missing.
    """
    study = settled(study, folder)
    attacks, data = protocols(study), identity(study, folder, root)
    if data is not None:
        check_study(study, data)
    each = planned(study, data)
    clips = len(data.index) if data else study.corpus.clips if study.corpus else PAPER_CLIPS
    clock = Clock(study, clips, folder, each_run={one.run: one.config for one in each})
    found = list(_before(study, folder, root, data, clock))
    for one in each:
        found += _of_run(folder, one, attacks, data, clock)
    found.append(_analyse(folder, each, attacks, found, clock))
    return Plan(data.fingerprint if data else None, tuple(found))


def _before(
    study: StudyConfig, folder: Path, root: Path | None, data: Prepared | None, clock: Clock
) -> Iterator[Stage]:
    """Corpus and spectrograms."""
    where = "corpus" if study.corpus else str(root or "--root")
    if study.corpus is not None:
        yield Stage(CORPUS, "", "settings", "corpus", data is not None, clock.expected(CORPUS))
    done = data is not None and journal.read(folder, journal.STUDY).notes.get("prepared") == data.fingerprint
    yield Stage(PREPARE, "", where, "cache", done, clock.expected(PREPARE))


def _of_run(
    folder: Path, one: Planned, attacks: list[Protocol], data: Prepared | None, clock: Clock
) -> list[Stage]:
    """Training, evaluation and attacks of one run."""
    place, record = folder / "runs" / one.run, journal.read(folder, one.run)
    trained = data is not None and loop.finished(place)
    emotions = len(data.index.emotions) if data else PAPER_EMOTIONS
    output = f"runs/{one.run}"
    checkpoint = f"{output}/checkpoint.safetensors"
    measured = trained and EVALUATE in record.finished and (place / "metrics.json").is_file()
    adversarial = "" if one.config.train.adversarial is None else ", adversarial training"
    found = [
        Stage(
            TRAIN, one.run, f"spectrograms{adversarial}", checkpoint, trained, clock.expected(TRAIN, one.run)
        ),
        Stage(
            EVALUATE,
            one.run,
            checkpoint,
            f"{output}/metrics.json",
            measured,
            clock.expected(EVALUATE, one.run),
        ),
    ]
    if has_curves(attacks):
        path, expected = natural_path(place), clock.expected(NATURAL, one.run)
        leaves = f"{output}/attacks/{path.name}"
        found.append(Stage(NATURAL, one.run, "recordings", leaves, trained and path.is_file(), expected))
    for attack in attacks:
        rows = rows_path(place, attack)
        work = Work(attack_stage(attack), attack.iterations(emotions))
        expected = clock.expected(ATTACK, one.run, work)
        done = trained and rows.is_file()
        found.append(
            Stage(ATTACK, one.run, checkpoint, f"{output}/attacks/{rows.name}", done, expected, str(attack))
        )
    return found


def analysed(runs: list[str], attacks: list[Protocol]) -> dict[str, list[str]]:
    """What tables and figures are made of, as the journal notes it."""
    return {"runs": runs, "protocols": [str(attack) for attack in attacks]}


def _analyse(
    folder: Path, each: list[Planned], attacks: list[Protocol], before: list[Stage], clock: Clock
) -> Stage:
    """Tables and figures: done where they were made of exactly these runs and protocols, and are there."""
    notes = journal.read(folder, journal.STUDY).notes
    made = notes.get("analysed") == analysed([one.run for one in each], attacks)
    there = made and all((folder / name).is_file() for name in notes["made"])
    done = there and all(stage.done for stage in before)
    return Stage(ANALYSE, "", f"rows of {len(each)} runs", "paper", done, clock.expected(ANALYSE))
