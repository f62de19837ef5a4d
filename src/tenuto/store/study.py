"""The folder of a study: the name of every file in it, its runs, and the rows of all of them."""

from __future__ import annotations

import contextlib
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from tenuto.errors import DataError, FileError, FolderWarning, TenutoError, counted
from tenuto.files import naming
from tenuto.store.folder import BaseFolder, File
from tenuto.store.rows import IDENTITY, NATURAL_PROTOCOL, RELEASED_PROTOCOL, validate_rows
from tenuto.store.run import RunFolder, listed

Damaged = Callable[[TenutoError], object]
"""Called with the error of every run that cannot be read; the others are used. Without it the error is raised."""


class StudyFolder(BaseFolder):
    """The files of a study, or of any folder that contains runs. Nothing is read or created when it is made.

    Args:
        path: The folder, which need not exist yet.
    """

    # Files

    settings = File("study.yaml")
    """The settings the study was last run with."""
    metrics = File("metrics.csv")
    """Metrics of clean predictions, one line per run."""
    report = File("report.html")
    """The study on one page."""
    corpus = File("corpus")
    """Folder of generated music."""
    cache = File("cache")
    """Folder of spectrograms."""
    journal = File("journal")
    """Folder of the records of work in progress."""
    stop = File("journal/stop")
    """A request to end the call that is running: its Unix time."""
    paper = File("paper")
    """Folder of tables and figures."""
    runs_folder = File("runs")
    """Folder of the study's own runs."""

    def run(self, name: str) -> RunFolder:
        """One of the study's own runs, which need not exist yet."""
        return RunFolder(self.runs_folder / name)

    # Content

    def runs(self, damaged: Damaged | None = None) -> list[RunFolder]:
        """Every run at or below the folder, in the order of their paths; symbolic links are followed.

        Args:
            damaged: Called with the error of every folder that cannot be read, which is then left out.

        Raises:
            FileError: No such folder, a folder that cannot be read, or a link whose target does not exist.
        """
        if not self.path.is_dir():
            raise FileError(f"{self.path}: no such folder. Give the folder of a study, or of its runs.")
        return list(self._runs_below(self.path, set(), damaged))

    def _runs_below(self, folder: Path, paths_seen: set[str], damaged: Damaged | None) -> Iterator[RunFolder]:
        """Walk depth first; ``seen`` holds the real paths of visited folders, so links may form loops."""
        real = os.path.realpath(folder)
        if real in paths_seen or folder in (self.corpus, self.cache, self.journal, self.paper):
            return
        paths_seen.add(real)
        run, entries = RunFolder(folder), []
        with _passing_to(damaged):
            if run.exists():
                yield run
                return
            entries = listed(folder)
        for entry in entries:
            path = Path(entry)
            with _passing_to(damaged):
                if _is_folder(path):
                    yield from self._runs_below(path, paths_seen, damaged)

    def protocols(self, part: str = "test", damaged: Damaged | None = None) -> dict[str, list[RunFolder]]:
        """Protocols with rows of one part of the split, each with its runs; without natural variations."""
        by_protocol: dict[str, list[RunFolder]] = {}
        for run in self.runs(damaged):
            with _passing_to(damaged):
                for protocol in run.protocols(part):
                    by_protocol.setdefault(protocol, []).append(run)
        return dict(sorted(by_protocol.items()))

    def rows(
        self, protocol: str | None = None, part: str = "test", damaged: Damaged | None = None
    ) -> pd.DataFrame:
        """Rows of one protocol of all runs.

        Args:
            protocol: As files are named, such as ``paper-2025-released+iterations=100``. By default the one form of
                the released protocol that all attacked runs share, else the only protocol there is.
            part: Part of the split.
            damaged: Called with the error of every run that cannot be read, which is then left out.

        Raises:
            FileError: No rows of that protocol, none or several that all runs share, or a damaged file.
            DataError: Rows that contradict themselves or each other.
        """
        runs = self.runs(damaged)
        if protocol is None:
            protocol = self._shared_protocol(self.protocols(part, damaged))
        tables, unreadable = [], []
        for run in runs:
            with _passing_to(damaged):
                if run.is_attacked(protocol, part):
                    try:
                        tables.append((run, run.read_rows(protocol, part)))
                    except TenutoError as error:
                        unreadable.append(error)
                        raise
        if not tables and not unreadable:
            protocols = ", ".join(self.protocols(part, damaged)) or "none"
            raise FileError(
                f"{self.path}: no rows of protocol {protocol} for {part} clips. Protocols with rows: {protocols}. "
                "Run `tenuto attack` first."
            )
        if not tables:
            raise FileError(
                f"{self.path}: no run with rows of protocol {protocol} can be read. The first: {unreadable[0]}"
            )
        return joined_rows(tables, str(self.path), damaged)

    def _shared_protocol(self, protocols: dict[str, list[RunFolder]]) -> str:
        """The one form of the released protocol that all attacked runs share, else the only one. Raises `FileError`."""
        if not protocols:
            raise FileError(f"{self.path}: no rows of an attack. Run `tenuto attack` or `tenuto demo` first.")
        attacked = set().union(*protocols.values())
        common = [name for name, runs in protocols.items() if len(runs) == len(attacked)]
        released = [name for name in common if name.startswith(RELEASED_PROTOCOL)]
        if len(shared := released or (common if len(protocols) == 1 else [])) == 1:
            return shared[0]
        counts = (
            f"{name} ({len(runs)} of {counted(len(attacked), 'run')})" for name, runs in protocols.items()
        )
        raise FileError(
            f"{self.path}: which protocol? Choose one with `protocol`. Protocols with rows: {', '.join(counts)}."
        )


def read_study(folder: str | Path, protocol: str | None = None) -> pd.DataFrame:
    """Rows of the test clips of all runs below a folder that can be read; a warning names every other run.

    Args and errors as `StudyFolder.rows`, which can also refuse a study with a damaged run.
    """
    damaged: list[str] = []
    rows = StudyFolder(folder).rows(protocol, damaged=lambda error: damaged.append(str(error)))
    for error in dict.fromkeys(damaged):
        # From one place for all callers, some of which read a study again: Python then shows it once.
        warnings.warn(f"{error} The run is left out.", FolderWarning, stacklevel=1)
    return rows


def read_natural(folder: str | Path, protocol: str = NATURAL_PROTOCOL) -> pd.DataFrame | None:
    """Rows of natural variations of the test clips, as `read_study`; None where no run has any."""
    study = StudyFolder(folder)
    measured = []
    for run in study.runs(lambda error: None):
        with contextlib.suppress(TenutoError):  # named by read_study
            measured += [run] * run.has_natural(protocol=protocol)
    return read_study(folder, protocol) if measured else None


def joined_rows(
    tables: Sequence[tuple[RunFolder, pd.DataFrame]], source: str, damaged: Damaged | None = None
) -> pd.DataFrame:
    """The rows of one protocol of several runs, checked.

    Where two folders hold rows of one run, the folder of the run's name counts, else the first.

    Args:
        tables: At least one folder with its rows.
        source: What errors call the rows.
        damaged: Called with the error of every other folder with rows of the same run, which is then left out.

    Raises:
        FileError: Two folders hold rows of one run.
        DataError: As `validate_rows`.
    """
    owners: dict[str, RunFolder] = {}
    for folder, rows in sorted(tables, key=lambda table: table[0].name not in set(table[1]["run"])):
        for name in rows["run"].unique():
            owners.setdefault(name, folder)
    distinct = []
    for folder, rows in tables:
        with _passing_to(damaged):
            for name in rows["run"].unique():
                if (owner := owners[name]) is not folder:
                    raise FileError(
                        f"{folder.path}: holds rows of {name}, as {owner.path} does. Remove the copy, or attack the "
                        "run again."
                    )
            distinct.append(rows)
    return validate_rows(pd.concat(distinct, ignore_index=True), source)


def check_distinct(files: Sequence[tuple[Path, pd.DataFrame]]) -> None:
    """Raise `DataError`, which names two files, where both hold rows of one attack on a clip of a run."""
    keys = pd.concat([rows[[*IDENTITY]].assign(file=place) for place, (_, rows) in enumerate(files)])
    repeated = keys[keys.duplicated([*IDENTITY], keep=False)]
    if repeated.empty:
        return
    run = repeated["run"].iloc[0]
    paths = [files[place][0] for place in repeated.loc[repeated["run"] == run, "file"].unique()]
    own, copy, *_ = sorted(paths, key=lambda path: run not in path.parts)
    raise DataError(f"{copy}: holds rows of {run}, as {own} does. Remove the copy, or leave it out.")


@contextlib.contextmanager
def _passing_to(damaged: Damaged | None) -> Iterator[None]:
    """Pass a Tenuto error inside the block on; without a receiver it is raised."""
    try:
        yield
    except TenutoError as error:
        if damaged is None:
            raise
        damaged(error)


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder or a link to one. Raises `FileError` where that cannot be known."""
    with naming(path, "read"):
        try:
            return stat.S_ISDIR(path.stat().st_mode)
        except FileNotFoundError as error:
            if not path.is_symlink():  # removed since it was listed
                return False
            raise FileError(
                f"{path}: is a link to {os.readlink(path)}, which does not exist. Restore it, or remove the link."
            ) from error
