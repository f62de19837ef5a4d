"""Both sides of a smoothed model's error: what an attack reaches and what no perturbation can exceed. Needs no torch.

Rows are those of `tenuto.certify`, a line per clip, sigma, radius and output.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tenuto.analysis.statistics import mean_of_all
from tenuto.data.excerpts import SPECTROGRAM_UNIT
from tenuto.display import Displayed, Element
from tenuto.errors import DataError, counted
from tenuto.files import sha256_file
from tenuto.store.certificates import read_certificates
from tenuto.store.study import StudyFolder

ATTACKED = ("attacked", "attacked_low", "attacked_high")
"""Columns of rows with an attack: the smoothed prediction under it, and an interval of its true value."""

SANDWICH = (
    *("system", "unit", "sigma", "radius", "snr_db", "runs", "clips"),
    *("model_mae", "clean_mae", "attacked_mae", "certified_mae"),
)


@dataclasses.dataclass(frozen=True, repr=False)
class Sandwich(Displayed):
    """The error of smoothed models over the radius, between an attack and a certificate.

    Attributes:
        table: A line per system, unit, sigma and radius, columns `SANDWICH`, means over runs, clips and outputs:
            ``model_mae`` is the error of the model without noise, ``clean_mae`` that of the smoothed model,
            ``attacked_mae`` that under the attack (NaN without one), and ``certified_mae`` the largest one possible
            (NaN where a clip has too few draws for a bound).
        remarks: What is missing or was left out, a sentence each.
    """

    table: pd.DataFrame
    remarks: tuple[str, ...] = ()

    def _elements(self) -> list[Element]:
        return [self.table, *self.remarks]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """A line per sigma and radius, means over clips and outputs.

    With labels: ``model_mae`` is the error of the model without noise, ``clean_mae`` that of the smoothed model and
    ``certified_mae`` the largest one that a perturbation inside the radius can cause. ``moved`` is the largest change
    of a prediction that it can cause, ``width`` the distance of the bounds. With an attack: ``attacked_mae`` is the
    error under it and ``attack_moved`` the change that it causes. What needs bounds is NaN where a clip has none.
    """
    table = with_errors(rows)
    names = ["model_mae", "clean_mae", "attacked_mae", "certified_mae", "attack_moved", "moved", "width"]
    groups = _by_size(table, [], sort=False)
    averaged: pd.DataFrame = groups[[name for name in names if name in table]].agg(mean_of_all)
    return averaged.assign(clips=groups["clip"].nunique()).reset_index()


def _by_size(table: pd.DataFrame, keys: Sequence[str], sort: bool = True) -> Any:
    """Rows grouped by further keys, sigma and radius. A radius in dB is another size for every clip, and left out."""
    sizes = table.assign(radius=table["radius"].where(table["snr_db"].isna(), np.nan))
    return sizes.groupby([*keys, "sigma", "radius", "snr_db"], dropna=False, sort=sort)


def with_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the errors and changes that `summary` averages."""
    low, median, high = (rows[name] for name in ("low", "median", "high"))
    low, high = low.where(rows["bounded"]), high.where(rows["bounded"])
    table = rows.assign(width=high - low, moved=np.maximum(high - median, median - low))
    if "attacked" in rows:
        table["attack_moved"] = (rows["attacked"] - median).abs()
    if "label" in rows:
        table["model_mae"] = (rows["clean"] - rows["label"]).abs()
        table["clean_mae"] = (median - rows["label"]).abs()
        table["certified_mae"] = np.maximum((low - rows["label"]).abs(), (high - rows["label"]).abs())
        if "attacked" in rows:
            table["attacked_mae"] = (rows["attacked"] - rows["label"]).abs()
    return table


def sandwich(rows: pd.DataFrame, remarks: Sequence[str] = ()) -> Sandwich:
    """The errors over the radius, of rows of one or several runs.

    Raises:
        DataError: The rows are empty or have no labels.
    """
    if "label" not in rows or rows.empty:
        raise DataError("the rows have no labels, so there is no error to draw. Give `labels` to `certify`.")
    defaults = {"system": "model", "unit": SPECTROGRAM_UNIT, "run": ""}
    rows = rows.assign(**{name: value for name, value in defaults.items() if name not in rows})
    table = with_errors(rows)
    if "attacked_mae" not in table:
        table["attacked_mae"] = np.nan
    groups = _by_size(table, ["system", "unit"])
    averaged = groups[["model_mae", "clean_mae", "attacked_mae", "certified_mae"]].agg(mean_of_all)
    averaged["runs"], averaged["clips"] = groups["run"].nunique(), groups["clip"].nunique()
    lines = averaged.reset_index()
    unattacked = sorted(lines.loc[lines["attacked_mae"].isna(), "sigma"].unique())
    vacuous = lines.loc[lines["certified_mae"].isna(), "sigma"].unique()
    more = [
        f"sigma {sigma:g}: at some radii there are too few draws for a bound." for sigma in sorted(vacuous)
    ]
    more += [
        f"sigma {sigma:g}: not every run and radius was attacked. `tenuto certify` attacks the smoothed model with "
        "`attack_steps=50`."
        for sigma in unattacked
    ]
    counts = lines.groupby(["system", "unit", "sigma"])[["runs", "clips"]].nunique()
    more += [
        f"{system}, sigma {sigma:g}: radii have bounds of different runs or clips, so the error may fall as the radius "
        "grows."
        for system, _, sigma in counts.index[(counts > 1).any(axis=1)]
    ]
    if "confidence" in rows and (groups["confidence"].nunique() > 1).any():
        levels = ", ".join(f"{one:g}" for one in sorted(rows["confidence"].unique()))
        more.append(f"bounds of several confidences ({levels}) are averaged.")
    return Sandwich(lines[list(SANDWICH)], (*remarks, *more))


def from_folders(folders: Sequence[str | Path], part: str = "test") -> Sandwich:
    """The errors over the radius, of the certificates saved in runs or studies.

    Of several tables of one run, input and sigma one is taken. Tables with less than half of the clips of the largest
    one are trials and come last. Of the others an attacked one comes first, then more clips, then more draws, then the
    attack that found more on the same clips and radii. Tables of earlier weights of a run are left out.

    Raises:
        DataError: There are no certificates.
        FileError: No such folder, or a damaged file.
    """
    runs = [run for folder in folders for run in StudyFolder(folder).runs()]
    by_sigma: dict[tuple[str, str, float], list[pd.DataFrame]] = {}
    outdated = 0
    for run in runs:
        files = run.certificate_files(part)
        weights = sha256_file(run.checkpoint) if files and run.checkpoint.is_file() else None
        for table in map(read_certificates, files):
            if weights is not None and set(table["checkpoint"]) != {weights}:
                outdated += 1
                continue
            first = table.iloc[0]
            key = str(first["run"]), str(first["unit"]), float(first["sigma"])
            by_sigma.setdefault(key, []).append(table)
    if not by_sigma:
        listing = ", ".join(map(str, folders))
        raise DataError(
            f"{listing}: there are no certificates of {part} clips and present weights. `tenuto certify RUN --sigma "
            "0.216 --attack-steps 50` makes some."
        )
    chosen = {key: _preferred(tables) for key, tables in by_sigma.items()}
    remarks = _left_out(by_sigma, chosen)
    if outdated:
        remarks.append(f"tables of certificates of earlier weights were left out: {outdated}.")
    return sandwich(pd.concat(chosen.values(), ignore_index=True), remarks)


def _left_out(
    by_sigma: Mapping[tuple[str, str, float], Sequence[pd.DataFrame]],
    chosen: Mapping[tuple[str, str, float], pd.DataFrame],
) -> list[str]:
    """Which tables were left out, with the numbers of their clips where these differ."""
    number = sum(map(len, by_sigma.values()))
    if number == len(by_sigma):
        return []
    remarks = [
        f"{number - len(by_sigma)} of {number} tables of certificates were left out: another of the same run, input "
        "and sigma has an attack, more clips, more draws or a stronger attack."
    ]
    for key, tables in by_sigma.items():
        chosen_tables, counts = chosen[key], sorted({_clips(table) for table in tables}, reverse=True)
        if len(counts) > 1:
            listing, attack = (
                ", ".join(map(str, counts)),
                "with" if "attacked" in chosen_tables else "without",
            )
            remarks.append(
                f"{key[0]}, sigma {key[2]:g}: tables have different numbers of clips ({listing}). That of "
                f"{counted(_clips(chosen_tables), 'clip')}, {attack} an attack, was taken."
            )
    return remarks


def _clips(table: pd.DataFrame) -> int:
    return int(table["clip"].nunique())


def _preferred(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The table that `from_folders` takes of those of one run, input and sigma."""
    most = max(map(_clips, tables))

    def rank(table: pd.DataFrame) -> tuple[bool, bool, int, int]:
        # An attack on half of the clips shows both sides. A trial on a few must not hide the table of all.
        clips = _clips(table)
        return 2 * clips >= most, "attacked" in table, clips, int(table["draws"].iloc[0])

    best = max(map(rank, tables))
    equal = [table for table in tables if rank(table) == best]
    # Errors of other clips or radii say nothing.
    reached = pd.concat(map(_reached, equal), axis=1, join="inner")
    return equal[int(np.argmax(reached.mean().fillna(0)))]


def _reached(table: pd.DataFrame) -> pd.Series[float]:
    """The error that the attack reached, or the change without labels, by clip, output and size; 0 without attack."""
    errors = with_errors(table)
    size = errors["snr_db"].where(errors["snr_db"].notna(), errors["radius"])
    index = [errors["clip"], errors["output"], errors["snr_db"].notna().rename("in_db"), size.rename("size")]
    name = next((name for name in ("attacked_mae", "attack_moved") if name in errors), None)
    values = np.zeros(len(errors)) if name is None else errors[name].to_numpy()
    reached = pd.Series(values, index=pd.MultiIndex.from_arrays(index))
    return reached[~reached.index.duplicated()]
