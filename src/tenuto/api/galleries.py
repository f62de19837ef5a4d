"""Attacked clips of several runs on one page that plays them."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.analysis.systems import label_scale
from tenuto.api.progress import SILENT, Progress
from tenuto.api.runs import Run, Source, open_run
from tenuto.arguments import as_list, checked
from tenuto.attacks.checks import require_whole
from tenuto.display import Displayed, Element, paragraphs
from tenuto.evaluation import resynthesis
from tenuto.evaluation.resynthesised_clip import Resynthesis
from tenuto.files import check_writable, followed, write_text
from tenuto.reporting.page.clips import clips_to_show
from tenuto.reporting.page.gallery import Shown, make_gallery
from tenuto.reporting.page.report import render
from tenuto.store.budgets import has_budget, norm_of
from tenuto.store.perturbations import worst_rows
from tenuto.store.rows import at_budget

SHOWN_BUDGETS: tuple[tuple[str, float], ...] = (("snr", 0.01), ("masked", 1.0))
"""Norm and epsilon that are shown by default where a protocol has them: 40 dB SNR and a noise-to-mask ratio of 0 dB."""


@dataclasses.dataclass(frozen=True, repr=False)
class Gallery(Displayed):
    """A written gallery.

    Attributes:
        path: The HTML file.
        bytes: Its size.
        clips: What is shown, one per run, clip and budget.
        remarks: Budgets that a run was not attacked at, a sentence each.
    """

    path: Path
    bytes: int
    clips: tuple[Resynthesis, ...] = dataclasses.field(repr=False)
    remarks: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """All numbers."""
        clips = [clip.numbers() for clip in self.clips]
        return {"gallery": str(self.path), "bytes": self.bytes, "clips": clips, "remarks": list(self.remarks)}

    def _elements(self) -> list[Element]:
        return [str(self.path), *self.remarks]

    def _repr_html_(self) -> str:
        """Return a link, as a notebook shows it."""
        path = html.escape(str(self.path), quote=True)
        return f'<a href="{path}">{path}</a>{paragraphs(self.remarks)}'


@checked
def gallery(
    runs: Run | Source | Sequence[Run | Source],
    out: Source = "gallery.html",
    clips: int | str | Sequence[str] = 1,
    *,
    protocol: str | None = None,
    epsilon: float | None = None,
    db: float | None = None,
    norm: str | None = None,
    root: Source | None = None,
    cache: Source | None = None,
    trust: bool = False,
    progress: Progress = SILENT,
) -> Gallery:
    """Write one HTML file that plays attacked clips of several runs before and after the attack.

    Args:
        runs: Open runs or their folders, attacked with the same protocol.
        out: The file to write.
        clips: Names of test clips, or how many: those of the first run that the attack moves most and least.
        protocol: The attack; may be left out where the first run has one.
        epsilon: The budget; default: 40 dB SNR and a noise-to-mask ratio of 0 dB where the protocol has them, else the
            only one that it has.
        db: The budget in dB, such as 40 for a signal-to-noise ratio of 40 dB.
        norm: Which norm, where several have this budget.
        root: Folder of the data set, as in `tenuto.open_run`.
        cache: Folder of spectrograms, as in `tenuto.open_run`.
        trust: Whether you trust the code of adopted runs.
        progress: Receives progress.

    Raises:
        ConfigError: No run, no clip, or no such protocol.
        DataError: No such budget, or a clip that a run was not attacked on.
    """
    check_writable(followed(out).parent)
    open_runs = [
        run if isinstance(run, Run) else open_run(run, root, cache=cache, trust=trust, progress=progress)
        for run in as_list(runs, "runs")
    ]
    first = worst_rows(open_runs[0].files, "test", protocol)
    named_protocol = str(first["protocol"].iloc[0])
    tables = [first, *(worst_rows(run.files, "test", named_protocol) for run in open_runs[1:])]
    if isinstance(clips, int):
        require_whole("clips", clips, 1)
    sizes = _sizes(tables[0], epsilon, db, norm)
    chosen = clips_to_show(_at(tables[0], *sizes[0]), clips) if isinstance(clips, int) else clips
    names = as_list(chosen, "clips")
    figures, remarks = [], []
    with progress.bar("clips", len(open_runs) * len(sizes) * len(names)) as advance:
        for run, rows in zip(open_runs, tables, strict=True):
            scale = label_scale(run.config.data) or run.material.prepared.index.label_scale
            for size in sizes:
                own = _at(rows, *size)
                if own.empty:
                    remarks.append(f"{run.name} was not attacked at {norm_of(size[0]).label(size[1])}.")
                    continue
                for result in resynthesis.resynthesise_clips(run, own, names):
                    figures.append(Shown(result, scale))
                    advance(1)
    path = write_text(followed(out), render(make_gallery(figures, remarks), "gallery"))
    results = tuple(one.resynthesis for one in figures)
    return Gallery(path, path.stat().st_size, results, tuple(remarks))


def _at(rows: pd.DataFrame, norm: str, epsilon: float) -> pd.DataFrame:
    """The rows at one budget."""
    return rows[has_budget(rows, norm, epsilon)].reset_index(drop=True)


def _sizes(
    rows: pd.DataFrame, epsilon: float | None, db: float | None, norm: str | None
) -> list[tuple[str, float]]:
    """Norm and epsilon of the budgets to show. Raises `DataError` for one that is not there."""
    sizes = [size for size in SHOWN_BUDGETS if not _at(rows, *size).empty and norm in (None, size[0])]
    if sizes and epsilon is None and db is None:
        return sizes
    one = at_budget(rows, epsilon, db=db, norm=norm).iloc[0]
    return [(str(one["norm"]), float(one["epsilon"]))]
