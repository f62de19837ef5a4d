"""The stages of a study. What is on disk is not done again, so any of them can be interrupted and called again."""

from __future__ import annotations

import contextlib
import dataclasses
import traceback
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.analysis.systems import is_paper_data, remarks_on_runs, run_metrics
from tenuto.attacks import PROTOCOLS, Protocol
from tenuto.config import CorpusConfig, StudyConfig
from tenuto.data import Prepared, prepare
from tenuto.data.synthesis import synthesize
from tenuto.errors import DataError, FileError, TenutoError, one_line
from tenuto.evaluation import robustness
from tenuto.evaluation.adoption import adopt_on, offered
from tenuto.evaluation.natural import natural
from tenuto.evaluation.runs import OpenedRun, open_run
from tenuto.files import naming, write_csv
from tenuto.reporting import paper
from tenuto.store.natural import GRADED_PROTOCOL
from tenuto.store.rows import units_of, validate_rows, worst_case
from tenuto.store.run import RunFolder
from tenuto.store.study import StudyFolder
from tenuto.study import journal
from tenuto.study.journal import ADOPT, EVALUATE, NATURAL, TRAIN
from tenuto.study.limit import Limit, OutOfTime, Pace
from tenuto.study.plan import Planned, StudyTask, dataset_of, protocols, tasks
from tenuto.training import loop

RUN_PATIENCE = 60.0
"""Seconds to wait for another process that works on a run: one that is ending, or on a node that was lost."""

MADE = (
    "metrics.csv",
    *(f"{name}.{suffix}" for name in ("table1", "significance") for suffix in ("csv", "md", "tex")),
    *(f"{name}.{suffix}" for name in ("figure3", "figure4") for suffix in ("png", "pdf")),
)
"""Every file that may be made from the rows of a protocol."""

METRIC_COLUMNS = ("run", "system", "seed", "test_correlation", "test_mae", "mean_predictor_mae")


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything that a process on any machine needs to carry out one run."""

    study: StudyConfig
    planned: Planned
    folder: Path
    root: Path | None
    device: str = "cpu"
    trust: bool = False
    limit: Limit | None = None

    @property
    def label(self) -> str:
        """System and seed."""
        return f"{self.planned.config.system}, seed {self.planned.config.train.seed}"

    @property
    def run(self) -> RunFolder:
        """The folder of the run."""
        return StudyFolder(self.folder).run(self.planned.run)

    def is_done(self) -> bool:
        """Whether nothing of the run is left to do. A run with damaged files is not done."""
        record = journal.read(self.folder, self.planned.run)
        try:
            each = [task.done for task in tasks(self.run, self.planned.config, self.study)]
        except TenutoError:
            return False
        return record.stage == journal.DONE and all(each)

    def is_out_of_time(self) -> bool:
        """Whether no stage may begin any more."""
        return self.limit is not None and self.limit.is_reached()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: Folder name of the run.
        test_correlation: Mean over the emotions of the clean test correlation.
        error: Why the run failed, in one sentence.
        seconds: Time that this call spent on each stage.
        is_unfinished: Whether the time was over before the run was complete.
    """

    run: str
    test_correlation: float = float("nan")
    error: str | None = None
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    is_unfinished: bool = False

    @classmethod
    def read(cls, job: Job) -> Outcome:
        """The outcome of a finished run, from its configuration, metrics and rows. A damaged file is its error."""
        try:
            job.run.read_config()
            for protocol in protocols(job.study):
                job.run.read_rows(protocol)
            return cls(job.planned.run, _clean_metrics(job.run)["test_correlation"])
        except TenutoError as error:
            return cls(job.planned.run, error=str(error))


def complete_run(job: Job) -> Outcome:
    """Train or adopt, evaluate and attack one run. An error is recorded and returned, never raised.

    Called in a process of its own where a study has several workers.
    """
    name = job.planned.run
    if job.is_out_of_time():
        return Outcome(name, is_unfinished=True)
    try:
        with journal.hold(job.folder, name, RUN_PATIENCE):
            return _recorded(job, journal.Entry(job.folder, name))
    except TenutoError as error:  # another process works on the run, or the journal cannot be written
        return Outcome(name, error=str(error))


def _recorded(job: Job, entry: journal.Entry) -> Outcome:
    try:
        _carry_out(job, entry)
        outcome = Outcome.read(job)
        error, trace = outcome.error, None
    except OutOfTime:
        entry.note(True)
        return Outcome(job.planned.run, seconds=entry.spent(), is_unfinished=True)
    except Exception as raised:
        expected = isinstance(raised, TenutoError)
        error = str(raised) if expected else f"{type(raised).__name__}: {one_line(raised, 500)}"
        trace = None if expected else traceback.format_exc()
        outcome = Outcome(job.planned.run, error=error)
    entry.note(True, stage=journal.FAILED if error else journal.DONE, error=error, trace=trace)
    return dataclasses.replace(outcome, seconds=entry.spent())


def _carry_out(job: Job, entry: journal.Entry) -> None:
    """All stages of a run that are not done. Raises `OutOfTime` before or inside one."""
    prepared = prepare_data(job.study, job.folder, job.root)
    if loop.run_folder(Path(), job.planned.config, prepared).name != job.planned.run:
        raise DataError(
            f"{job.root or StudyFolder(job.folder).corpus}: contains other data ({prepared.fingerprint[:8]}) than the "
            "study was planned with. Every machine of a study must see the same files."
        )
    run: OpenedRun | None = None
    for task in tasks(job.run, job.planned.config, job.study):
        if not task.done and job.is_out_of_time():
            raise OutOfTime
        if task.kind in (TRAIN, ADOPT):
            if not task.done:
                with entry.stage(task.name):
                    (_train if task.kind == TRAIN else _adopt)(job, prepared, entry)
            run = open_run(job.run.path, prepared, trust=job.trust)
        elif run is not None and not task.done:
            with entry.stage(task.name):
                _evaluate(job, run, task, entry)


def _train(job: Job, prepared: Prepared, entry: journal.Entry) -> None:
    pace = Pace(job.limit)

    def progress(row: dict[str, Any]) -> None:
        best = {"best_epoch": row["best_epoch"]}
        if row["best_epoch"] == row["epoch"]:
            best["best_score"] = row["score"]
        entry.note(epoch=row["epoch"], **best)
        pace.check()

    pace.begin()
    loop.train(job.planned.config, prepared, job.run.path.parent, job.device, progress)


def _adopt(job: Job, prepared: Prepared, entry: journal.Entry) -> None:
    config = job.planned.config
    assert config.adopted is not None
    model = offered(config.adopted, config.system, job.trust)
    adopt_on(model, prepared, config.data, config.train.seed, config.train.threads, job.run.path.parent)


def _evaluate(job: Job, run: OpenedRun, task: StudyTask, entry: journal.Entry) -> None:
    """Carry out one stage after training."""

    def progress(passes: int) -> None:
        entry.note(steps=entry.record.steps + passes)

    pace = Pace(job.limit)
    if task.kind == EVALUATE:
        robustness.evaluate(run)
    elif task.kind == NATURAL and task.protocol == GRADED_PROTOCOL:
        from tenuto.evaluation.graded import graded  # needs SciPy's filters

        graded(run, before_piece=pace.check)
    elif task.kind == NATURAL:
        natural(run)
    elif isinstance(task.protocol, Protocol):
        each = task.protocol.iterations(len(run.recogniser.emotions), run.recogniser.has_gradient)
        entry.note(True, steps_total=each * len(run.material.split.test))
        robustness.attack(run, task.protocol, device=job.device, progress=progress, before_piece=pace.check)


def make_corpus(corpus: CorpusConfig, folder: Path, workers: int) -> None:
    """Generate the study's own corpus."""
    place = StudyFolder(folder).corpus
    synthesize(place, clips=corpus.clips, seconds=corpus.seconds, seed=corpus.seed, workers=workers)


def prepare_data(study: StudyConfig, folder: Path, root: Path | None) -> Prepared:
    """Spectrograms of the study's data set, cached in the study's folder."""
    return prepare(dataset_of(study, folder, root), StudyFolder(folder).cache)


def analyse(
    folder: Path, runs: Sequence[str], protocols: Sequence[Protocol], before: Sequence[str] = ()
) -> list[str]:
    """Write ``metrics.csv``, and the tables and figures of every protocol in ``paper/``.

    Those of the first protocol are in ``paper/`` itself, those of every other in ``paper/<protocol>/``. Of several
    attacks the worst of each clip counts. A protocol of several budgets leaves one ``metrics.csv`` with a line per run
    and budget, since the paper's tables have one budget; so do systems whose epsilons have different units. What was
    made from other protocols before is removed.

    Args:
        folder: The study's folder.
        runs: Folder names of finished runs, in the order of the plan.
        protocols: What all of them were attacked with.
        before: The files of the analysis before.

    Returns:
        The files that were made, relative to ``folder``.
    """
    study = StudyFolder(folder)
    lines = pd.DataFrame([_clean_metrics(study.run(run)) for run in runs])
    paths = [write_csv(study.metrics, lines)]
    is_paper = all(is_paper_data(study.run(run).read_config().data) for run in runs)
    for number, protocol in enumerate(protocols):
        # Sorted as files are, so that the order of a plan changes no digit of a sum.
        tables = [study.run(run).read_rows(protocol) for run in sorted(runs)]
        rows = validate_rows(pd.concat(tables, ignore_index=True), str(protocol))
        place = study.paper if number == 0 else study.paper / str(protocol)
        paths += _write(rows, place, is_paper, remarks_on_runs([study.run(run) for run in runs]))
    _clear(study.paper, paths, {Path(name).parent.name for name in before})
    return [path.relative_to(folder).as_posix() for path in paths]


def _clean_metrics(run: RunFolder) -> dict[str, Any]:
    """One line of ``metrics.csv``. Raises `FileError` for a damaged file of metrics."""
    report = run.read_metrics()
    try:
        values = (
            report["run"],
            report["system"],
            report["seed"],
            float(report["test"]["correlation"]["overall"]),
            float(report["test"]["mae"]["overall"]),
            float(report["mean_predictor"]["mae"]["overall"]),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise FileError(
            f"{run.metrics}: is not a file of metrics. Delete it and run the same command again."
        ) from error
    return dict(zip(METRIC_COLUMNS, values, strict=True))


def _write(rows: pd.DataFrame, folder: Path, is_paper: bool, remarks: Sequence[str]) -> list[Path]:
    """Tables and figures of one protocol; the files."""
    rows = worst_case(rows)
    keys = ["norm", "epsilon"]
    if len(set(units := units_of(rows))) > 1:  # epsilons that cannot be compared
        rows, keys = rows.assign(unit=units), ["unit", *keys]
    budgets = [budget for _, budget in rows.groupby(keys, dropna=False)]
    if len(budgets) == 1:
        return list(paper.write_paper(rows, folder, paper_data=is_paper, remarks=remarks).values())
    lines = []
    for budget in budgets:
        line = run_metrics(budget)
        for place, name in enumerate(keys):
            line.insert(place, name, budget[name].iloc[0])
        lines.append(line)
    return [write_csv(folder / "metrics.csv", pd.concat(lines, ignore_index=True))]


def _clear(folder: Path, paths: Collection[Path], earlier: Collection[str]) -> None:
    """Remove files of an earlier analysis that were not made again, and folders of protocols that are empty then.

    ``earlier`` names folders of protocols that may not be registered any more.
    """
    names = (path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    below = [path for path in names if path.name.partition("+")[0] in PROTOCOLS or path.name in earlier]
    for path in (place / name for place in (folder, *below) for name in MADE):
        if path not in paths and path.is_file():
            with naming(path, "remove"):
                path.unlink()
    for path in below:
        with contextlib.suppress(OSError):
            path.rmdir()
