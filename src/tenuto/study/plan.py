"""What a study will do: its runs and their names, every stage, which are done, and how long the others take."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tenuto.attacks import Protocol, protocol
from tenuto.config import (
    AdversarialConfig,
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
from tenuto.data.synthesis import is_complete
from tenuto.errors import ConfigError, counted
from tenuto.evaluation.natural import unmeasured
from tenuto.files import sha256_file
from tenuto.models.systems import NETWORKS, check_network
from tenuto.settings import first_repeated
from tenuto.store.natural import GRADED_PROTOCOL
from tenuto.store.run import SUFFIXES, RunFolder, is_natural
from tenuto.store.study import StudyFolder
from tenuto.study import journal
from tenuto.study.adopted import identified, seeds_of, unidentified
from tenuto.study.journal import ADOPT, ANALYSE, ATTACK, CORPUS, EVALUATE, NATURAL, PREPARE, TRAIN
from tenuto.training import loop, robust
from tenuto.training.adversarial import check_attack
from tenuto.training.bottleneck import check_bottleneck

UNKNOWN_SIGNATURE = "????????"
"""In place of a signature, which covers the data, where the data are not available."""

PAPER_ITERATIONS = 1000

Records = Mapping[str, tuple[RunConfig, journal.Record]]
"""Run -> its configuration, and what the journal of the study has of it."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """One run: its configuration, and the name of its folder."""

    config: RunConfig
    run: str


@dataclasses.dataclass(frozen=True)
class StudyTask:
    """One stage of a run.

    Attributes:
        kind: ``train`` or ``adopt``, ``evaluate``, ``natural`` or ``attack``.
        output: The file it leaves.
        done: Whether it is done.
        protocol: Of an attack, or of natural variation with strengths.
    """

    kind: str
    output: Path
    done: bool
    protocol: Protocol | str | None = None

    @property
    def name(self) -> str:
        """The name of the stage in the journal."""
        return self.kind if self.protocol is None else f"{self.kind} {self.protocol}"


def tasks(run: RunFolder, config: RunConfig, study: StudyConfig) -> Iterator[StudyTask]:
    """The stages of a run of a study in their order. Whether one is done is read at each access."""
    attacks = protocols(study)
    if config.adopted is None:
        yield StudyTask(TRAIN, run.checkpoint, run.is_trained())
    else:
        yield StudyTask(ADOPT, run.checkpoint, run.is_adopted(SUFFIXES.get(config.adopted.kind)))
    yield StudyTask(EVALUATE, run.metrics, run.is_trained() and run.is_evaluated())
    if has_curves(attacks) or study.natural is not None:
        yield StudyTask(NATURAL, run.natural(), run.is_trained() and not unmeasured(run))
    if study.natural == GRADED_PROTOCOL:
        has_rows = run.is_trained() and run.has_natural(protocol=GRADED_PROTOCOL)
        yield StudyTask(NATURAL, run.natural(protocol=GRADED_PROTOCOL), has_rows, GRADED_PROTOCOL)
    for attack in attacks:
        is_done = run.is_trained() and run.is_attacked(attack) and attack.matches(run.read_protocol(attack))
        yield StudyTask(ATTACK, run.rows(attack), is_done, attack)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a study.

    Attributes:
        kind: ``corpus``, ``prepare``, ``train``, ``adopt``, ``evaluate``, ``natural``, ``attack`` or ``analyse``.
        run: Folder name of the run; empty for stages of the study itself.
        inputs: What it reads: files in the study's folder, or settings.
        output: What it leaves, in the study's folder.
        done: Whether it is done.
        seconds: Expected time left: the mean of runs of this study that have the same network and training, less the
            time already spent. None where none of them has finished this stage.
        protocol: Of an attack.
    """

    kind: str
    run: str
    inputs: str
    output: str
    done: bool
    seconds: float | None = None
    protocol: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """All stages of a study in an order in which they can be carried out.

    Attributes:
        fingerprint: Identity of the data; None where they are not available.
        stages: Every stage.
    """

    fingerprint: str | None
    stages: tuple[Stage, ...]

    @property
    def left(self) -> list[Stage]:
        """The stages that are not done."""
        return [stage for stage in self.stages if not stage.done]

    @property
    def seconds(self) -> float:
        """Expected time of the stages that are left and have one, one after the other."""
        return sum(stage.seconds for stage in self.left if stage.seconds is not None)

    @property
    def unmeasured(self) -> int:
        """How many stages are left whose time is unknown."""
        return sum(stage.seconds is None for stage in self.left)


def runs(study: StudyConfig) -> list[RunConfig]:
    """The configuration of every run, systems outermost, in the order given; adopted models without identity."""
    return [_run(study, system, seed) for system in study.systems for seed in seeds_of(study, system)]


def _run(study: StudyConfig, system: str, seed: int) -> RunConfig:
    content = merge(
        with_system(study.run.model_dump(mode="json"), system, study.systems), {"train": {"seed": seed}}
    )
    model = study.systems[system].adopted
    about = None if model is None else unidentified(model, seed)
    return RunConfig.parse({**content, "system": system, "adopted": about}, f"{system}, seed {seed}")


def protocols(study: StudyConfig) -> list[Protocol]:
    """The protocols every run is attacked with. Raises `ConfigError` for an unknown name or setting, or one twice."""
    for name in (attack.protocol for attack in study.protocols):
        if is_natural(name):
            raise ConfigError(f"protocols: {name} is no attack. Set `natural: {GRADED_PROTOCOL}` instead.")
    try:
        attacks = [protocol(attack.protocol, **attack.settings) for attack in study.protocols]
    except ConfigError as error:
        raise ConfigError(f"protocols: {error}") from error
    if (twice := first_repeated([str(attack) for attack in attacks])) is not None:
        raise ConfigError(f"{twice} is listed twice in protocols. Remove one.")
    return attacks


def has_curves(attacks: Sequence[Protocol]) -> bool:
    """Whether a protocol has several budgets; its curves are compared with natural variation."""
    return any(attack.epsilons for attack in attacks)


def reductions(study: StudyConfig) -> list[str]:
    """How a study is smaller than the paper's, one phrase each."""
    run, parts = study.run, []
    if study.corpus is not None:
        parts.append(
            f"{study.corpus.clips} generated clips of {study.corpus.seconds:g} s instead of 360 recordings"
        )
    if run.model.width != 1:
        parts.append(f"{run.model.width:g} of the channels")
    if run.train.epochs < 199:
        parts.append(f"at most {counted(run.train.epochs, 'epoch')} instead of 199")
    if len(study.seeds) < 10:
        parts.append(f"{counted(len(study.seeds), 'seed')} instead of 10")
    if (training := (run.train.adversarial or AdversarialConfig()).iterations) < 50:
        parts.append(f"{counted(training, 'attack iteration')} in adversarial training instead of 50")
    if run.train.precision:
        name = {"auto": "bfloat16 where the processor has it", "tf32": "TF32"}.get(
            run.train.precision, "bfloat16"
        )
        parts.append(f"updates in {name} instead of float32")
    iterations = [attack.settings.get("iterations", PAPER_ITERATIONS) for attack in study.protocols]
    reduced = (number for number in iterations if number != PAPER_ITERATIONS)
    return [
        *parts,
        *(f"{counted(number, 'attack iteration')} instead of {PAPER_ITERATIONS}" for number in reduced),
    ]


def dataset_of(study: StudyConfig, folder: Path, root: Path | None) -> Dataset:
    """The study's data set: its own corpus, or the one in ``root``. Raises `ConfigError` with neither or both."""
    check_root(study, root)
    if study.corpus is not None:
        return open_dataset(study.run.data, StudyFolder(folder).corpus)
    if root is None:
        raise ConfigError("the study reads recordings: give their folder with `root=DIR` (or TENUTO_DATA).")
    return open_dataset(study.run.data, root)


def check_root(study: StudyConfig, root: Path | None) -> None:
    """Refuse recordings for a study that generates its own. Raises `ConfigError`."""
    if study.corpus is not None and root is not None:
        raise ConfigError(
            f"`root={root}`: the study generates its own music (corpus) and reads no recordings. Leave `root` out, or "
            "choose a study without a corpus."
        )


def identity(study: StudyConfig, folder: Path, root: Path | None) -> Prepared | None:
    """The study's data without their spectrograms, so that nothing is decoded; None where they are not available."""
    check_root(study, root)
    if study.corpus is None and root is None:
        return None
    if study.corpus is not None and not is_complete(StudyFolder(folder).corpus, **study.corpus.model_dump()):
        return None
    dataset = dataset_of(study, folder, root)
    index = dataset.index
    audio = tuple(sha256_file(path) for path in index.paths)
    return Prepared(dataset.card.name, index, (), fingerprint(index, audio))


def settled(study: StudyConfig, folder: Path) -> StudyConfig:
    """The study with threads and precision resolved, which are part of every run's signature.

    A study that was begun in ``folder`` keeps its first values, on any machine and with any systems, seeds and
    protocols added since.
    """
    train = study.run.train
    names = [name for name, unset in (("threads", 0), ("precision", "auto")) if getattr(train, name) == unset]
    stored_settings = StudyFolder(folder).settings
    if stored_settings.is_file():
        with contextlib.suppress(ConfigError):  # another kind of file: no study was begun
            begun = RunConfig.parse(read_preset(str(stored_settings)), str(stored_settings)).resolved()
            if _kept_anywhere(begun) == _kept_anywhere(study.run):
                return _filled(study, begun, names)
    return _filled(study, study.run.resolved(), names)


def _kept_anywhere(run: RunConfig) -> dict[str, Any]:
    """Settings that identify a study on any machine. Those of adversarial training depend on its systems."""
    return run.model_dump(exclude={"system": True, "train": {"threads", "precision", "adversarial"}})


def _filled(study: StudyConfig, run: RunConfig, names: list[str]) -> StudyConfig:
    """The study with these settings of training taken from ``run``."""
    train = study.run.train.model_copy(update={name: getattr(run.train, name) for name in names})
    return study.model_copy(update={"run": study.run.model_copy(update={"train": train})})


def check_study(study: StudyConfig, data: Prepared) -> None:
    """Refuse what the data do not support. Raises `ConfigError` or `DataError`."""
    trained = [config for config in runs(study) if config.adopted is None]
    for config in trained:
        check_network(config)
        check_bottleneck(config)
        check(config, data)
    split = draw(data.index, study.run.data.split, study.run.data.split_seed)
    check_split(split)
    if trained:
        with_concepts = any(map(loop.scored_concepts, trained))
        check_labels(data.index, split, with_concepts, study.run.train.select is None)
    for config in trained:
        check_attack(config.train.adversarial, data.index, split)
        robust.check(config.train.robust, data, split)
    for chosen in protocols(study):
        chosen.members(len(data.index.emotions))


def check_names(study: StudyConfig) -> None:
    """Refuse unknown protocols, networks and methods of training. Raises `ConfigError` with the nearest known name."""
    protocols(study)
    for method in (system.robust for system in study.systems.values() if system.robust is not None):
        robust.build(method)
    for name in {system.network for system in study.systems.values() if system.adopted is None}:
        NETWORKS[name]


def planned(study: StudyConfig, data: Prepared | None, trust: bool = False) -> list[Planned]:
    """Every run of a settled study with the name of its folder. Errors as in `identified`."""
    configs = runs(study)
    if data is None:
        return [Planned(each, f"{each.system}-{each.train.seed}-{UNKNOWN_SIGNATURE}") for each in configs]
    configs = identified(configs, data, protocols(study), trust)
    return [Planned(each, loop.run_folder(Path(), each, data).name) for each in configs]


def plan_study(
    study: StudyConfig, folder: str | Path, root: str | Path | None = None, trust: bool = False
) -> Plan:
    """Every stage of a study. Nothing is written, trained or decoded.

    Args:
        study: The study.
        folder: Its folder, which need not exist.
        root: The data set's folder. Signatures cover the data, so they are unknown without it.
        trust: Whether the code of adopted models is trusted; they are opened where the data are known.

    Raises:
        ConfigError: An unknown name or setting, or systems that the data do not support.
        DataError: Damaged annotations, or a corpus with other settings in the study's folder.
        FileError: A recording is missing.
    """
    folder, root = Path(folder), Path(root) if root else None
    study = settled(study, folder)
    check_names(study)
    attacks, data = protocols(study), identity(study, folder, root)
    if data is not None:
        check_study(study, data)
    each = planned(study, data, trust)
    records = {one.run: (one.config, journal.read(folder, one.run)) for one in each}
    stages = list(_before(study, folder, root, data))
    for one in each:
        stages += _of_run(folder, one, study, records)
    return Plan(data.fingerprint if data else None, (*stages, _analyse(folder, each, attacks, stages)))


def _before(study: StudyConfig, folder: Path, root: Path | None, data: Prepared | None) -> Iterator[Stage]:
    """Corpus and spectrograms."""
    if study.corpus is not None:
        yield Stage(CORPUS, "", "settings", "corpus", data is not None)
    is_done = (
        data is not None and journal.read(folder, journal.STUDY).notes.get("prepared") == data.fingerprint
    )
    yield Stage(PREPARE, "", "corpus" if study.corpus else str(root or "DATA"), "cache", is_done)


def _of_run(folder: Path, one: Planned, study: StudyConfig, records: Records) -> Iterator[Stage]:
    """Training, evaluation and attacks of one run."""
    run = StudyFolder(folder).run(one.run)
    checkpoint = run.checkpoint.relative_to(folder).as_posix()
    train = one.config.train
    method = "" if train.adversarial is None else ", adversarial training"
    method = method if train.robust is None else f", robust training ({train.robust.method})"
    source = "" if one.config.adopted is None else one.config.adopted.source
    inputs = {TRAIN: f"spectrograms{method}", ADOPT: source, NATURAL: "recordings"}
    for task in tasks(run, one.config, study):
        yield Stage(
            task.kind,
            one.run,
            inputs.get(task.kind, checkpoint),
            task.output.relative_to(folder).as_posix(),
            task.done,
            _seconds(one.run, task.name, records),
            str(task.protocol or ""),
        )


def analysed(runs: list[str], attacks: list[Protocol]) -> dict[str, list[str]]:
    """What tables and figures are made from, as the journal records it."""
    return {"runs": runs, "protocols": [str(attack) for attack in attacks]}


def _analyse(folder: Path, each: list[Planned], attacks: list[Protocol], before: list[Stage]) -> Stage:
    """Tables and figures: done where they exist and were made from exactly these runs and protocols."""
    notes = journal.read(folder, journal.STUDY).notes
    is_current = notes.get("analysed") == analysed([one.run for one in each], attacks)
    is_there = is_current and "made" in notes and all((folder / name).is_file() for name in notes["made"])
    is_done = is_there and all(stage.done for stage in before)
    return Stage(ANALYSE, "", f"rows of {counted(len(each), 'run')}", "paper", is_done)


def _seconds(run: str, stage: str, records: Records) -> float | None:
    """Mean over the runs of the same kind that finished this stage, less what this run has spent on it."""
    config, own = records[run]
    measured = [
        record.seconds[stage]
        for other, record in records.values()
        if stage in record.finished and stage in record.seconds and _kind(other) == _kind(config)
    ]
    return max(sum(measured) / len(measured) - own.seconds.get(stage, 0.0), 0.0) if measured else None


def _kind(config: RunConfig) -> tuple[Any, ...]:
    """Runs of one kind take equally long: the same network and the same kind of training."""
    network = config.system if config.adopted else config.model.network
    return network, config.train.adversarial is not None, config.train.robust
