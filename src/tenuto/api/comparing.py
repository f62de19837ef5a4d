"""Rows, curves over the budget, and the comparison of systems. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import pandas as pd

from tenuto.analysis import (
    comparison,
    curves as curves_over,
    natural as natural_changes,
)
from tenuto.analysis.comparison import Comparison, Settings
from tenuto.analysis.curves import DEFAULT_PROTOCOL, Curves
from tenuto.analysis.optimality import Optimality, compare_attacks
from tenuto.api.progress import SILENT, Progress
from tenuto.arguments import as_list, checked
from tenuto.errors import ConfigError
from tenuto.files import check_writable
from tenuto.reporting import write_comparison, write_curves
from tenuto.store.location import complete, path_of
from tenuto.store.natural import GRADED_PROTOCOL
from tenuto.store.released_logs import read_logs
from tenuto.store.result_rows import rows_of_result
from tenuto.store.rows import at_budget, in_norm, in_unit, require_columns
from tenuto.store.study import read_study

if TYPE_CHECKING:
    from tenuto.attacks import AttackResult
    from tenuto.evaluation.runs import OpenedRun

Place = str | Path
PlaceOrRun = Union[Place, "OpenedRun"]
"""Folder of a run or study, or an open run."""

Places = PlaceOrRun | Iterable[PlaceOrRun]


@checked
def rows(
    source: pd.DataFrame | PlaceOrRun | AttackResult | None = None,
    protocol: str | None = None,
    epsilon: float | None = None,
    *,
    db: float | None = None,
    norm: str | None = None,
    unit: str | None = None,
    logs: Place | None = None,
    runs_file: Place | None = None,
    **described: Any,
) -> pd.DataFrame:
    """Rows of one attack, or of the worst attack of every clip.

    Of the result of an attack on any model, rows are made: ``rows(result, attack=..., labels=..., emotions=...)``;
    `tenuto.store.rows_of_result` lists all parameters.

    Args:
        source: Rows, or the folder of a study or of its runs; default: the released logs of the SMC 2025 study. Or the
            result of an attack.
        protocol: Name of the protocol, for a study; default: the released one, where it is unique.
        epsilon: The budget; may be left out where the protocol has one.
        db: The budget in dB, such as 40 for a signal-to-noise ratio of 40 dB.
        norm: Which norm, where several have this budget.
        unit: The unit of epsilon, or its beginning, where the rows have several, which cannot be compared.
        logs: A folder of released logs, in place of ``source``.
        runs_file: CSV ``folder,system,seed`` of logs other than the 50 released ones.
        described: Parameters of `tenuto.store.rows_of_result`, for the result of an attack.

    Raises:
        ConfigError: Parameters that exclude each other.
        FileError: No such rows, or a damaged file.
        DataError: Rows that contradict each other, or no such budget.
    """
    if source is not None and (logs is not None or runs_file is not None):
        raise ConfigError(
            "`logs` and `runs_file` belong to released logs; leave them out, or leave out the study."
        )
    if not isinstance(source, pd.DataFrame) and hasattr(source, "folder"):
        source = path_of(source)
    if isinstance(source, pd.DataFrame | str | Path | None) and described:
        raise ConfigError(f"`{next(iter(described))}` belongs to the result of an attack. Leave it out.")
    if isinstance(source, pd.DataFrame):
        require_columns(source)
        chosen = source if protocol is None else source[source["protocol"] == protocol]
        return at_budget(in_unit(chosen, unit), epsilon, db=db, norm=norm)
    if isinstance(source, str | Path):
        return at_budget(in_unit(read_study(complete(source), protocol), unit), epsilon, db=db, norm=norm)
    if source is not None:
        from tenuto.attacks import AttackResult

        if not isinstance(source, AttackResult):
            raise ConfigError(
                f"expected rows, a run or study, or the result of an attack, got {type(source).__name__}."
            )
        if db is not None:
            raise ConfigError("`db` chooses among rows. Give the `epsilon` of the attack, or leave it out.")
        fields: dict[str, Any] = {
            name: value for name, value in {"norm": norm, "unit": unit}.items() if value is not None
        }
        return rows_of_result(source, protocol=protocol, epsilon=epsilon, **fields, **described)
    if protocol is not None:
        raise ConfigError("`protocol` belongs to a study; released logs hold one protocol. Leave it out.")
    return at_budget(in_unit(read_logs(logs, runs_file), unit), epsilon, db=db, norm=norm)


@checked
def curves(
    source: pd.DataFrame | Places,
    protocol: str | None = None,
    *,
    norm: str | None = None,
    unit: str | None = None,
    natural: pd.DataFrame | None = None,
    out: Place | None = None,
) -> Curves:
    """Error over the size of the perturbation, next to the effect of natural variation.

    Args:
        source: Rows of a protocol with several budgets, or folders of runs or studies.
        protocol: Name of the protocol, for folders; default: the one with several budgets that most runs have.
        norm: Which norm; default: all, the curves of the others in `Curves.others`.
        unit: See `rows`.
        natural: Rows of natural variation, for rows; folders hold their own.
        out: Folder for tables and the figure; default: nothing is written.

    Raises:
        FileError: A folder without rows of that protocol.
        DataError: Rows without budgets, or that contradict each other.
    """
    if isinstance(source, pd.DataFrame):
        measured = curves_over.measure(in_unit(source, unit), natural, norm=norm)
    else:
        places = [complete(place) for place in as_list(source, "source")]
        measured = curves_over.from_folders(places, protocol, unit=unit, norm=norm)
    if out is not None:
        write_curves(measured, out)
    return measured


@checked
def corruption_error(source: pd.DataFrame | Places) -> pd.DataFrame:
    """The mean error of every system over the kinds and strengths of natural-2, see `tenuto.analysis.natural`.

    Args:
        source: Rows of natural-2, or folders of runs or studies that have some: ``run.natural(protocol="natural-2")``.

    Returns:
        One line per system: ``corruption_error`` and its ``increase`` over ``clean_mae``, each with a 95 % interval
        over seeds and test clips.

    Raises:
        FileError: A folder without rows of natural-2.
        DataError: Rows of another protocol, or that contradict each other.
    """
    if isinstance(source, pd.DataFrame):
        return natural_changes.corruption(source)
    tables = [read_study(complete(place), GRADED_PROTOCOL) for place in as_list(source, "source")]
    return natural_changes.corruption(pd.concat(tables, ignore_index=True))


@checked
def optimality(
    source: pd.DataFrame | Places,
    protocols: str | Sequence[str] = DEFAULT_PROTOCOL,
    *,
    norm: str | None = None,
    unit: str | None = None,
) -> Optimality:
    """How near every attack comes to the best of all, and how much more the best finds than each protocol.

    Args:
        source: Rows, or folders of runs or studies.
        protocols: Name of a protocol that the runs were attacked with, or several, for folders.
        norm: Which norm; default: all.
        unit: See `rows`.

    Raises:
        FileError: A folder without rows of one of the protocols.
        DataError: Rows without budgets, or attacks on different clips.
    """
    if not isinstance(source, pd.DataFrame):
        places = [complete(place) for place in as_list(source, "source")]
        names = dict.fromkeys(as_list(protocols, "protocols"))
        tables = [read_study(place, name) for place in places for name in names]
        source = pd.concat(tables, ignore_index=True)
    return compare_attacks(in_norm(in_unit(source, unit), norm))


@checked
def compare(
    source: pd.DataFrame | PlaceOrRun | None = None,
    protocol: str | None = None,
    epsilon: float | None = None,
    *,
    settings: Settings = Settings(),
    db: float | None = None,
    norm: str | None = None,
    unit: str | None = None,
    logs: Place | None = None,
    runs_file: Place | None = None,
    out: Place | None = None,
    progress: Progress = SILENT,
) -> Comparison:
    """Compare systems over seeds and clips: intervals, seed-level tests, mixed models, matched clean errors.

    Args:
        source: See `rows`, as for all parameters that are not named here.
        settings: Measure, pairs, bootstrap.
        out: Folder for tables and a figure; default: nothing is written.
        progress: Reports comparisons.

    Raises:
        DataError: Systems that were not attacked on the same clips.
        ConfigError: An unknown pair.
    """
    if out is not None:
        check_writable(out)
    chosen = rows(source, protocol, epsilon, db=db, norm=norm, unit=unit, logs=logs, runs_file=runs_file)
    with progress.bar("comparisons", None) as advance:
        compared = comparison.compare(chosen, settings, advance)
    if out is not None:
        write_comparison(compared, out)
    return compared
