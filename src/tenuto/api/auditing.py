"""Audit: can a robustness result be trusted?"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.api.comparing import Place, Places
from tenuto.api.datasets import find_data, prepare
from tenuto.api.progress import SILENT, Progress
from tenuto.arguments import as_list, checked
from tenuto.attacks import Budget
from tenuto.attacks.checks import require_whole
from tenuto.config import DataConfig
from tenuto.data import open_dataset
from tenuto.data.splits import read_split
from tenuto.display import Displayed, Element
from tenuto.errors import ConfigError, FileError
from tenuto.evaluation.audit import (
    Data,
    Finding,
    Source,
    audit_and_rerun as find,
    has_failed,
    open_sources,
    sources_of,
)
from tenuto.evaluation.audit.remedies import Rerun
from tenuto.evaluation.runs import OpenedRun
from tenuto.files import write_json
from tenuto.models.checkpoint import trust_run
from tenuto.reporting import verdicts
from tenuto.store.location import complete, locate_run
from tenuto.store.rows import write_rows
from tenuto.store.run import RunFolder


@dataclasses.dataclass(frozen=True, repr=False)
class Audit(Displayed):
    """The outcome of an audit.

    Attributes:
        findings: One per check and source.
        reruns: One per run and remedy that was carried out, with the error it found and its rows.
        files: What was written to the folders of the runs.
    """

    findings: tuple[Finding, ...]
    reruns: tuple[Rerun, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """A line per finding: source, check, verdict, value, threshold, sentence, page."""
        return verdicts.audit_table(self.findings).numbers

    @property
    def summary(self) -> str:
        """The number of findings of each verdict, such as ``3 FAIL, 2 WARN, 8 PASS, 10 NOT RECORDED``."""
        return verdicts.summary(self.findings)

    @property
    def failed(self) -> bool:
        """Whether any check fails."""
        return has_failed(self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Counts of the verdicts, all findings, and what the remedies found."""
        return verdicts.as_json(self.findings, self.reruns)

    def write(self, out: Place) -> dict[str, Path]:
        """Write ``audit.json``, ``.csv``, ``.md`` and ``.tex`` to a folder. File name -> path."""
        return verdicts.write(self.findings, out, self.reruns)

    @property
    def remedies(self) -> pd.DataFrame:
        """A line per run and remedy: ``source run remedy checks audited attack before after best change``."""
        return verdicts.remedies(self.reruns)

    def _elements(self) -> list[Element]:
        return [self.summary, verdicts.audit_table(self.findings).cells]


@checked
def audit(
    source: pd.DataFrame | Places,
    root: Place | None = None,
    *,
    data: str | None = None,
    split: Place | None = None,
    siblings: Place | Sequence[Place] = (),
    clips: int | None = None,
    budget: Budget | None = None,
    runs_file: Place | None = None,
    cache: Place | None = None,
    trust: bool = False,
    rerun: bool = False,
    progress: Progress = SILENT,
) -> Audit:
    """Check whether a robustness result can be trusted.

    With a run and its data, the model is evaluated too, which takes minutes.

    Args:
        source: Rows, or paths: CSV files of rows, runs, studies, folders of released logs.
        root: Folder of the data set; default for runs: the corpus of their study, else ``$TENUTO_DATA``.
        data: Name of the data set, for rows and logs without a run.
        split: CSV ``clip,split,position``, for results that do not record their split.
        siblings: Further runs of the same system, for the transfer attack.
        clips: Number of clips on which the model is examined; default: 6.
        budget: Of the attacks on the model, such as ``Linf(0.05)``; default: L-infinity, a tenth of the standard
            deviation of the inputs.
        runs_file: CSV ``folder,system,seed`` of logs other than the 50 released ones.
        cache: Folder of spectrograms.
        trust: Whether you trust the code of adopted runs, which is then executed, now and later.
        rerun: Carry out what the pages of failed checks advise (more steps, restarts, other losses, expectation over
            draws, transfer from a smoothed copy, random search), and state the errors. Rows are written to ``audit`` in
            the run folder.
        progress: Reports the examined runs.

    Raises:
        ConfigError: Parameters that have no effect on such results.
        FileError: Nothing to audit, or a damaged file.
    """
    siblings = as_list(siblings)
    sources = (
        sources_of(source)
        if isinstance(source, pd.DataFrame)
        else open_sources([complete(place) for place in as_list(source, "source")], runs_file)
    )
    folders = [folder for one in sources for folder in one.folders.values()]
    if trust:
        trust_runs([*folders, *_paths(siblings)])
    split_given = Data() if split is None else Data(split=read_split(Path(split)))
    if not folders:
        known_data = _data_of_rows(split_given, root, data, siblings, clips)
    else:
        only_runs = all(set(one.rows["run"]) <= set(one.folders) for one in sources)
        known_data = _data_of_runs(
            split_given, folders, only_runs, root, data, siblings, clips, cache, progress
        )
    if budget is not None and known_data.prepared is None:
        raise ConfigError("`budget` needs a model to attack: give a run, and `root`, the folder of its data.")
    if rerun and known_data.prepared is None:
        raise ConfigError("`rerun` needs a model to attack: give a run, and `root`, the folder of its data.")
    return _audited(sources, dataclasses.replace(known_data, budget=budget), rerun, progress)


def audit_run(
    run: OpenedRun,
    siblings: Place | Sequence[Place],
    clips: int | None,
    budget: Budget | None,
    rerun: bool,
    progress: Progress,
) -> Audit:
    """Audit an open run."""
    siblings = [locate_run(sibling) for sibling in as_list(siblings)]
    _check_siblings(siblings, [run.folder])
    runs_by_folder = {run.folder.resolve(): run}
    data = Data(
        prepared=run.material.prepared, siblings=_paths(siblings), budget=budget, opened=runs_by_folder
    )
    data = data if clips is None else dataclasses.replace(data, clips=clips)
    return _audited(open_sources([run.folder]), data, rerun, progress)


def _audited(sources: Sequence[Source], data: Data, rerun: bool, progress: Progress) -> Audit:
    """Audit, and write what remedies found to the folders of the runs; a note says where that is impossible."""
    require_whole("clips", data.clips, 1)
    if data.budget is not None and not 0 < data.budget.epsilon < math.inf:
        raise ConfigError(
            f"budget must be limited and larger than 0, such as Linf(0.05), got {data.budget!r}."
        )
    with _examined(progress) as report:
        findings, reruns = find(*sources, data=data, progress=report, rerun=rerun)
    by_name = {source.name: source for source in sources}
    files: list[Path] = []
    for name, run in dict.fromkeys((one.source, one.run) for one in reruns):
        own = [one for one in reruns if (one.source, one.run) == (name, run)]
        rows = pd.concat([one.rows for one in own]).drop_duplicates(["settings", "clip"], ignore_index=True)
        source = by_name[name]
        first = source.rows.iloc[0]
        path = RunFolder(source.folders[run]).rerun(first["protocol"], str(first["split"]))
        try:
            files.append(write_rows(path, rows))
            content = {"findings": [one.as_json() for one in findings if one.source == name]}
            content |= {"reruns": [one.as_json() for one in own]}
            files.append(write_json(path.with_suffix(".json"), content))
        except FileError as error:  # another user's run
            progress.note(f"{error} The rows of its remedies are not saved.")
    return Audit(tuple(findings), tuple(reruns), tuple(files))


def _data_of_rows(
    split_given: Data, root: Place | None, data: str | None, siblings: Sequence[Place], clips: int | None
) -> Data:
    """What is known of the data where no run records it. Raises `ConfigError`."""
    if siblings or clips is not None:
        raise ConfigError("`siblings` and `clips` need a model, but no run is among the results. Give a run.")
    if data == "folder":
        raise ConfigError(
            "`data` folder: only a run records the columns of its folder. Give the run instead."
        )
    if data is None and root is not None:
        raise ConfigError(f"`root` {root}: the results do not record which data set this is. Add `data`.")
    if data is not None and root is None:
        raise ConfigError(f"`data` {data}: add `root`, its folder.")
    if split_given.split is not None and data is None:
        raise ConfigError("`split` has no effect without the data. Add `data` and `root`.")
    if data is None or root is None:
        return split_given
    config = DataConfig(dataset=data)
    return dataclasses.replace(split_given, index=open_dataset(config, root).index, config=config)


def _data_of_runs(
    split_given: Data,
    folders: Sequence[Path],
    only_runs: bool,
    root: Place | None,
    data: str | None,
    siblings: Sequence[Place],
    clips: int | None,
    cache: Place | None,
    progress: Progress,
) -> Data:
    """The data the runs were trained on, where they are found. Raises `ConfigError`."""
    if data is not None:
        raise ConfigError(f"`data` {data}: a run records its data set. Leave it out.")
    if (
        only_runs
        and split_given.split is not None
        and all(RunFolder(folder).split.is_file() for folder in folders)
    ):
        raise ConfigError("`split`: the runs record their split. Leave it out.")
    siblings = [locate_run(sibling) for sibling in siblings]
    _check_siblings(siblings, folders)
    config = _one_data_set(folders, root is not None)
    try:
        if config is None:
            raise ConfigError("the runs were trained on different data sets.")
        root, cache = find_data(folders[0], config, root, cache)
    except ConfigError as error:
        if siblings or clips is not None:
            raise ConfigError(
                f"`siblings` and `clips` need the data to evaluate the model: {error}"
            ) from error
        if split_given.split is not None:
            raise ConfigError(f"`split` has no effect without the data: {error}") from error
        return split_given
    prepared = prepare(root, config, cache=cache, progress=progress)
    audited_data = dataclasses.replace(split_given, prepared=prepared, siblings=_paths(siblings))
    return audited_data if clips is None else dataclasses.replace(audited_data, clips=clips)


def trust_runs(folders: Iterable[Path]) -> None:
    """Record that the user trusts the code of these runs, as far as they are adopted."""
    for folder in dict.fromkeys(folders):
        if RunFolder(folder).home.config.is_file():
            trust_run(folder)


def _check_siblings(siblings: Sequence[Place], folders: Sequence[Path]) -> None:
    """Raise `ConfigError` for a sibling that is of the system of no run: transfer is measured within a system."""
    systems = {RunFolder(folder).read_config().system for folder in folders}
    for sibling in siblings:
        if (system := RunFolder(sibling).read_config().system) not in systems:
            raise ConfigError(
                f"`siblings` {sibling} is of the system {system}; the results are of {', '.join(sorted(systems))}."
            )


def _one_data_set(folders: Sequence[Path], is_needed: bool) -> DataConfig | None:
    """The data settings of runs of one data set; None for several, or `ConfigError` where one is needed."""
    first = RunFolder(folders[0]).read_config().data
    for folder in folders[1:]:
        other = RunFolder(folder).read_config().data
        if (other.dataset, other.folder, other.concepts) != (first.dataset, first.folder, first.concepts):
            if not is_needed:
                return None
            raise ConfigError(
                f"{folder} was trained on {other.dataset}, {folders[0]} on {first.dataset}, with other files, "
                "columns or concepts, but `root` is one data set. Audit the runs of one data set at a time."
            )
    return first


@contextlib.contextmanager
def _examined(progress: Progress) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for every examined run, one after the other; yields what `find` calls with run, steps and total."""
    with contextlib.ExitStack() as stack:
        current: tuple[str, int] | None = None
        advance: Callable[[int], None] = lambda steps: None  # noqa: E731

        def report(run: str, steps: int, total: int) -> None:
            nonlocal current, advance
            if current != (run, total):
                stack.close()
                current, advance = (run, total), stack.enter_context(progress.bar(run, total))
            advance(steps)

        yield report


def _paths(places: Sequence[Place]) -> tuple[Path, ...]:
    return tuple(Path(place) for place in places)
