"""The tables and figures of the SMC 2025 paper, from the released logs or from own runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from tenuto.analysis import smc2025
from tenuto.analysis.comparison import check_same_clips
from tenuto.analysis.systems import is_paper_data, selection
from tenuto.api.comparing import Place, PlaceOrRun, rows as read_rows
from tenuto.arguments import as_list, checked
from tenuto.display import Displayed, Element
from tenuto.errors import ConfigError, did_you_mean
from tenuto.reporting import paper as reporting
from tenuto.store.location import complete
from tenuto.store.study import StudyFolder

PAPER_PARTS = ("table1", "significance", "figure3", "figure4")


@dataclasses.dataclass(frozen=True, repr=False)
class Paper(Displayed):
    """The paper's analysis of rows of one attack.

    Attributes:
        rows: The rows.
        files: File name -> path of what was written.
        remarks: What is missing or differs, a sentence each.
        is_paper_data: Whether the rows are of the paper's data; its values are then shown in addition.
    """

    rows: pd.DataFrame = dataclasses.field(repr=False)
    files: dict[str, Path]
    remarks: tuple[str, ...]
    is_paper_data: bool = False

    @cached_property
    def table1(self) -> pd.DataFrame:
        """Table 1 with all digits: correlation and MAE on clean test clips."""
        return smc2025.table1(self.rows, self.is_paper_data)

    @cached_property
    def significance(self) -> pd.DataFrame:
        """The paired t-tests of A2E and A2B2E against A2M2E; empty where these systems share no seeds and clips."""
        return smc2025.significance(self.rows, self.is_paper_data)

    def format_table(self, part: str) -> tuple[pd.DataFrame, str]:
        """Format ``table1`` or ``significance`` as text cells, with its caption."""
        make = {"table1": reporting.table1, "significance": reporting.significance}[part]
        table = make(self.rows, self.is_paper_data)
        return table.cells, table.caption

    def _elements(self) -> list[Element]:
        parts = ["table1", *(["significance"] if len(self.significance) else [])]
        texts = [self.format_table(part) for part in parts]
        return [*(element for table, caption in texts for element in (caption, table)), *self.remarks]


@checked
def paper(
    source: pd.DataFrame | PlaceOrRun | None = None,
    part: str = "all",
    *,
    out: Place | None = "paper",
    protocol: str | None = None,
    epsilon: float | None = None,
    unit: str | None = None,
    db: float | None = None,
    norm: str | None = None,
    logs: Place | None = None,
    runs_file: Place | None = None,
    seed: int | None = None,
    emotions: str | Sequence[str] | None = None,
) -> Paper:
    """Make the paper's tables and figures.

    Args:
        source: Rows, or the folder of a study or of its runs; default: the released logs.
        part: ``table1``, ``significance``, ``figure3``, ``figure4`` or ``all``.
        out: Folder for the files; None writes nothing.
        protocol: Name of the protocol, for a study.
        epsilon: The budget, where the protocol has several.
        unit: The unit of epsilon, or its beginning, where the rows have several.
        db: The budget in dB, see `tenuto.rows`.
        norm: Which norm, see `tenuto.rows`.
        logs: A folder of released logs, in place of ``source``.
        runs_file: CSV ``folder,system,seed`` of logs other than the 50 released ones.
        seed: Whose predictions Figure 4 shows; default: 21, or the smallest.
        emotions: Rows of Figure 4; default: tension and tender, or the first two of the data set.

    Raises:
        ConfigError: An unknown part, seed or emotion.
        FileError: No such rows.
        DataError: Rows of several attacks, or runs with different clips.
    """
    emotions = None if emotions is None else as_list(emotions, "emotions")
    source = source if isinstance(source, pd.DataFrame | None) else complete(source)
    if part not in (*PAPER_PARTS, "all"):
        raise ConfigError(f"part {part!r} is unknown. {did_you_mean(part, (*PAPER_PARTS, 'all'))}")
    chosen = read_rows(source, protocol, epsilon, db=db, norm=norm, unit=unit, logs=logs, runs_file=runs_file)
    check_same_clips(selection(chosen))
    is_paper = _is_of_the_paper(source)
    paths = {} if out is None else reporting.write_paper(chosen, out, part, seed, emotions, is_paper)
    remarks = smc2025.remarks(chosen, seed if part in ("figure4", "all") else None)
    return Paper(chosen, paths, tuple(remarks), is_paper)


def _is_of_the_paper(source: pd.DataFrame | Place | None) -> bool:
    """Whether rows are those of released logs, or of runs that were all trained on the paper's data."""
    if source is None or isinstance(source, pd.DataFrame):
        return source is None
    runs = StudyFolder(source).runs()
    return all(run.config.is_file() and is_paper_data(run.read_config().data) for run in runs)
