"""Rows, curves over the budget, and the comparison of systems. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tenuto.analysis import comparison
from tenuto.analysis import curves as curves_over
from tenuto.analysis.comparison import Comparison, Settings
from tenuto.analysis.curves import Curves
from tenuto.api.progress import SILENT, Progress
from tenuto.errors import ConfigError
from tenuto.reporting import write_comparison, write_curves
from tenuto.store.location import complete
from tenuto.store.released_logs import read_logs
from tenuto.store.rows import at_budget
from tenuto.store.study import read_study

Place = str | Path
Places = Place | Sequence[Place]


def rows(
    source: pd.DataFrame | Place | None = None,
    protocol: str | None = None,
    epsilon: float | None = None,
    *,
    logs: Place | None = None,
    runs_file: Place | None = None,
) -> pd.DataFrame:
    """Rows of one attack.

    Args:
        source: Rows, or the folder of a study or of its runs; default: the released logs of the SMC 2025 study.
        protocol: Name of the protocol, for a study; default: the released one, where it is unique.
        epsilon: The budget; may be left out where the protocol has one.
        logs: A folder of released logs, in place of ``source``.
        runs_file: CSV ``folder,system,seed`` of logs other than the 50 released ones.

    Raises:
        ConfigError: Parameters that exclude each other.
        FileError: No such rows, or a damaged file.
        DataError: Rows that contradict each other, or no such budget.
    """
    if source is not None and (logs is not None or runs_file is not None):
        raise ConfigError(
            "`logs` and `runs_file` belong to released logs; leave them out, or leave out the study."
        )
    if isinstance(source, pd.DataFrame):
        chosen = source if protocol is None else source[source["protocol"] == protocol]
        return at_budget(chosen, epsilon)
    if source is not None:
        return at_budget(read_study(complete(source), protocol), epsilon)
    if protocol is not None:
        raise ConfigError("`protocol` belongs to a study; released logs hold one protocol. Leave it out.")
    return at_budget(read_logs(logs, runs_file), epsilon)


def curves(
    source: pd.DataFrame | Places,
    protocol: str | None = None,
    *,
    natural: pd.DataFrame | None = None,
    out: Place | None = None,
) -> Curves:
    """Error over the size of the perturbation, next to the effect of natural variation.

    Args:
        source: Rows of a protocol with several budgets, or folders of runs or studies.
        protocol: Name of the protocol, for folders; default: the one with several budgets that most runs have.
        natural: Rows of natural variation, for rows; folders hold their own.
        out: Folder for tables and the figure; default: nothing is written.

    Raises:
        FileError: A folder without rows of that protocol.
        DataError: Rows without budgets, or that contradict each other.
    """
    if isinstance(source, pd.DataFrame):
        measured = curves_over.measure(source, natural)
    else:
        measured = curves_over.from_folders([complete(place) for place in list_places(source)], protocol)
    if out is not None:
        write_curves(measured, out)
    return measured


def compare(
    source: pd.DataFrame | Place | None = None,
    protocol: str | None = None,
    epsilon: float | None = None,
    *,
    settings: Settings = Settings(),
    logs: Place | None = None,
    runs_file: Place | None = None,
    out: Place | None = None,
    progress: Progress = SILENT,
) -> Comparison:
    """Compare systems over seeds and clips: intervals, tests with seeds as the unit, mixed models.

    Args:
        source: See `rows`.
        protocol: See `rows`.
        epsilon: See `rows`.
        settings: Measure, pairs, bootstrap.
        logs: See `rows`.
        runs_file: See `rows`.
        out: Folder for tables; default: nothing is written.
        progress: Reports comparisons.

    Raises:
        DataError: Systems that were not attacked on the same clips.
        ConfigError: An unknown pair.
    """
    chosen = rows(source, protocol, epsilon, logs=logs, runs_file=runs_file)
    with progress.bar("comparisons", None) as advance:
        compared = comparison.compare(chosen, settings, advance)
    if out is not None:
        write_comparison(compared, out)
    return compared


def list_places(places: Places) -> list[Place]:
    """One place or several, as a list."""
    return [places] if isinstance(places, str | Path) else list(places)
