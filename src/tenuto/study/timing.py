"""How long a stage will take: as long as it took elsewhere in this study, else by stated rates."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tenuto.attacks import Protocol
from tenuto.config import RunConfig, StudyConfig
from tenuto.study import journal
from tenuto.study.journal import ANALYSE, ATTACK, CORPUS, EVALUATE, NATURAL, PREPARE, TRAIN

MEASURED, ESTIMATE = "measured", "estimate"

# Rates of two cores of an AMD EPYC (AVX2), float32: README, section Speed, and the demo.
CORPUS_RATE = 0.014
"""Seconds per second of generated music."""
PREPARE_RATE = 0.046
"""Seconds per clip."""
DESCRIBE_RATE = 0.08
"""Seconds per clip for signal concepts."""
TRAIN_RATE = 0.189
"""Seconds per clip and epoch with the paper's network."""
PREDICT_RATE = 0.07
"""Seconds per clip."""
ATTACK_RATE = 0.105
"""Seconds per clip and iteration."""
NATURAL_RATE = 0.6
"""Seconds per clip, most of them for coding mp3."""
ANALYSE_SECONDS = 5.0
WIDTH_POWER = 1.6
"""Growth of a network's time with its width: linear in its first layer, quadratic in the others."""

TRAINED, TESTED = 0.8, 0.1
"""Shares of the clips."""


@dataclasses.dataclass(frozen=True)
class Expected:
    """Seconds, and whether they were ``measured`` on other runs of the study or are an ``estimate``."""

    seconds: float
    basis: str


@dataclasses.dataclass(frozen=True)
class Work:
    """An attack: the name of its stage, and how many iterations it takes for every clip."""

    stage: str
    iterations: int


def attack_stage(protocol: Protocol) -> str:
    """The name under which the seconds of a protocol are kept."""
    return f"{ATTACK} {protocol}"


class Clock:
    """Expected times of a study's stages.

    Args:
        study: The study.
        clips: How many clips its data have.
        folder: Its folder, whose journal says what other stages took.
        each_run: The configuration of every run by its folder's name.
    """

    def __init__(self, study: StudyConfig, clips: int, folder: Path, each_run: dict[str, RunConfig]) -> None:
        self._study, self._clips, self._runs = study, clips, each_run
        self._records = {name: journal.read(folder, name) for name in each_run}
        self._scale: float = study.run.model.width**WIDTH_POWER

    def expected(self, kind: str, run: str = "", work: Work | None = None) -> Expected:
        """What is left of one stage. Training is taken to its last epoch, so an estimate errs on the long side."""
        stage = work.stage if work else kind
        spent = self._records[run].seconds.get(stage, 0.0) if run else 0.0
        measured = self._measured(stage, run) if run else None
        if measured is not None:
            return Expected(max(measured - spent, 0.0), MEASURED)
        return Expected(max(self._estimate(kind, run, work) - spent, 0.0), ESTIMATE)

    def _measured(self, stage: str, run: str) -> float | None:
        """Mean over the runs that have finished this stage and are of the same kind."""
        same = [
            record.seconds[stage]
            for name, record in self._records.items()
            if stage in record.finished and stage in record.seconds and self._kind(name) == self._kind(run)
        ]
        return sum(same) / len(same) if same else None

    def _kind(self, run: str) -> tuple[str, bool]:
        """Runs of one kind take equally long: the network, and whether it is trained adversarially."""
        config = self._runs[run]
        return config.model.network, config.train.adversarial is not None

    def _estimate(self, kind: str, run: str, work: Work | None) -> float:
        corpus, described = self._study.corpus, self._study.run.data.concepts == "signal"
        if work is not None:
            return TESTED * self._clips * work.iterations * ATTACK_RATE * self._scale
        if kind == TRAIN:
            return self._training(self._runs[run])
        return {
            CORPUS: CORPUS_RATE * corpus.clips * corpus.seconds if corpus else 0.0,
            PREPARE: (PREPARE_RATE + DESCRIBE_RATE * described) * self._clips,
            EVALUATE: PREDICT_RATE * self._clips * self._scale,
            NATURAL: NATURAL_RATE * TESTED * self._clips,
            ANALYSE: ANALYSE_SECONDS,
        }[kind]

    def _training(self, config: RunConfig) -> float:
        train, adversarial = config.train, config.train.adversarial
        clips = TRAINED * self._clips * self._scale
        seconds = train.epochs * clips * TRAIN_RATE
        if adversarial is not None:
            each = adversarial.iterations * ATTACK_RATE + TRAIN_RATE
            seconds += train.epochs // adversarial.every * clips * each
        return seconds
