"""Saved perturbations, and the rows they belong to: each clip's worst row within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.errors import ConfigError, DataError, FileError, did_you_mean
from tenuto.files import Array, SafetensorsFile
from tenuto.store.rows import at_budget
from tenuto.store.run import RunFolder


def key_of(settings: str, clip: str, kind: str = "perturbation") -> str:
    """Name of one array in a file of perturbations.

    >>> key_of("FGSM(budget=Linf(epsilon=0.1))", "001")
    'FGSM(budget=Linf(epsilon=0.1))/001/perturbation'
    """
    return f"{settings}/{clip}/{kind}"


class Perturbations:
    """The saved perturbations of a run, each read when it is asked for."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._files: dict[Path, SafetensorsFile] = {}

    def __getitem__(self, row: pd.Series[Any]) -> Array:
        """The perturbation of a row: (313, 149), in standard deviations of the normalised log spectrogram, or the shape
        and unit of another input.

        Raises:
            DataError: It is not in the file.
            FileError: The file is missing or damaged.
        """
        path = self.run.perturbations(row["protocol"], str(row["split"]))
        if path not in self._files:
            self._files[path] = SafetensorsFile(path)
        key = key_of(row["settings"], row["clip"])
        if key not in self._files[path]:
            raise DataError(
                f"{path}: no perturbation {key}. Delete the file and its rows, then attack the run again."
            )
        return self._files[path][key]


def row_of(rows: pd.DataFrame, clip: str) -> pd.Series[Any]:
    """The one row of a clip. Raises `DataError` where it has none, or several."""
    own = rows[rows["clip"] == clip]
    if len(own) != 1:
        hint = did_you_mean(clip, rows["clip"].unique()) if own.empty else "Choose one attack and budget."
        raise DataError(f"clip {clip} has {len(own)} rows; there must be one. {hint}")
    return own.iloc[0]


def saved_rows(
    run: RunFolder,
    part: str = "test",
    protocol: str | None = None,
    epsilon: float | None = None,
    *,
    db: float | None = None,
    norm: str | None = None,
) -> pd.DataFrame:
    """The rows of one protocol and budget whose perturbations are saved: the worst of each clip.

    Args:
        run: An attacked run.
        part: Part of the split.
        protocol: Name of the protocol; not needed where there is one.
        epsilon: The budget; not needed where there is one.
        db: The budget in dB, see `tenuto.store.rows.at_budget`.
        norm: The norm, where several have this budget.

    Raises:
        ConfigError: No such protocol, or several and none chosen.
        DataError: No such budget, or several and none chosen, or rows of an earlier version without settings.
    """
    rows = worst_rows(run, part, protocol)
    # `at_budget` renames the attack of what it chooses; these rows keep the names of their own attacks.
    places = at_budget(rows.assign(place=range(len(rows))), epsilon, db=db, norm=norm)["place"]
    return rows.iloc[places.to_numpy()].reset_index(drop=True)


def worst_rows(run: RunFolder, part: str, protocol: str | None) -> pd.DataFrame:
    """The rows of a protocol whose perturbations are saved, at all its budgets; see `saved_rows`.

    Raises:
        ConfigError: No such protocol, or several and none chosen.
        DataError: Rows of an earlier version without settings.
        FileError: The perturbations of these rows are missing.
    """
    protocols = run.perturbed_protocols(part)
    if protocol is None and len(protocols) > 1:
        raise ConfigError(f"{run.attacks}: contains {', '.join(protocols)}. Choose one with `protocol`.")
    protocol = protocol or next(iter(protocols), "")
    if protocol not in protocols:
        _check_not_lost(run, part, protocol)
        of_protocol = f" by {protocol}" if protocol else ""
        hint = f" {did_you_mean(protocol, protocols)}" if protocols else ""
        raise ConfigError(
            f"{run.attacks}: no perturbations of {part} clips{of_protocol}.{hint} "
            f"Make them with `tenuto attack {run.path} --split {part}`."
        )
    rows = run.read_rows(protocol, part)
    if missing_columns := [name for name in ("settings", "worst") if name not in rows]:
        path = run.rows(protocol, part)
        raise DataError(
            f"{path}: no column {', '.join(missing_columns)}. Delete the file and attack the run again."
        )
    return rows[rows["worst"].astype(bool)].reset_index(drop=True)


def _check_not_lost(run: RunFolder, part: str, protocol: str) -> None:
    """Raise `FileError` where rows exist whose perturbations are gone: attacking again would only read the rows."""
    for name in [protocol] if protocol else run.protocols(part):
        if run.is_attacked(name, part):
            raise FileError(
                f"{run.perturbations(name, part)}: missing, although there are rows. Delete {run.rows(name, part)}, "
                "then attack the run again as before."
            )
