"""What `tenuto attack` left in a run's folder: each clip's worst row within a budget, and its perturbation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.data.splits import PARTS
from tenuto.errors import ConfigError, DataError, did_you_mean
from tenuto.evaluation.robustness import rows_path
from tenuto.evaluation.runs import Run
from tenuto.files import Array, read_safetensors
from tenuto.store.rows import at_budget, read_rows


def part_of(run: Run, clip: str) -> str:
    """The part of the split a clip is in. Raises `DataError` for a clip the run does not know."""
    split = run.material.split
    for name in PARTS:
        if clip in split.part(name):
            return name
    raise DataError(f"clip {clip!r} is unknown to {run.name}. {did_you_mean(clip, split.test)}")


def saved_protocols(run: Run, part: str = "test") -> list[str]:
    """Names of the protocols whose perturbations of a part's clips lie in the run's folder."""
    own = _suffix(part)
    others = tuple(_suffix(name) for name in PARTS if name not in ("test", part))
    stems = (path.stem for path in sorted((run.folder / "attacks").glob("*.safetensors")))
    return [stem.removesuffix(own) for stem in stems if stem.endswith(own) and not stem.endswith(others)]


def saved_rows(
    run: Run, part: str = "test", protocol: str | None = None, epsilon: float | None = None
) -> pd.DataFrame:
    """The rows of one protocol and budget whose perturbations are saved: the worst of each clip of a part.

    Args:
        run: An attacked run.
        part: Whose clips.
        protocol: Name of the file in ``attacks``; may be left out where there is one.
        epsilon: The budget; may be left out where there is one.

    Raises:
        ConfigError: No such protocol, or several and none chosen.
        DataError: No such budget, or several and none chosen, or rows of an older kind.
    """
    rows = worst_rows(run, part, _only(run, part, protocol))
    # `at_budget` renames what it chooses; the rows are wanted under the names of their own attacks.
    places = at_budget(rows.assign(place=range(len(rows))), epsilon)["place"]
    return rows.iloc[places.to_numpy()].reset_index(drop=True)


def worst_rows(run: Run, part: str, protocol: str) -> pd.DataFrame:
    """The rows of a protocol whose perturbations are saved, at all its budgets.

    Raises:
        ConfigError: No such protocol.
        DataError: Rows of an older kind.
    """
    path = rows_path(run.folder, _there(run, part, protocol), part)
    rows = read_rows(path)
    if missing := [name for name in ("settings", "worst") if name not in rows]:
        raise DataError(f"{path}: no column {', '.join(missing)}. Delete it and attack the run anew.")
    return rows[rows["worst"].astype(bool)].reset_index(drop=True)


def row_of(rows: pd.DataFrame, clip: str) -> pd.Series[Any]:
    """The one row of a clip. Raises `DataError` where it has none, or several."""
    own = rows[rows["clip"] == clip]
    if len(own) != 1:
        hint = did_you_mean(clip, rows["clip"].unique()) if own.empty else "Choose one attack and budget."
        raise DataError(f"clip {clip} has {len(own)} rows, wanted one. {hint}")
    return own.iloc[0]


class Perturbations:
    """The saved perturbations of a run; every file is read once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._files: dict[Path, dict[str, Array]] = {}

    def __getitem__(self, row: pd.Series[Any]) -> Array:
        """The perturbation a row speaks of, (313, 149), in deviations. Raises `DataError` or `FileError`."""
        path = rows_path(self.run.folder, str(row["protocol"]), str(row["split"])).with_suffix(".safetensors")
        if path not in self._files:
            self._files[path] = read_safetensors(path)[0]
        key = f"{row['settings']}/{row['clip']}/perturbation"
        if key not in self._files[path]:
            raise DataError(f"{path}: no perturbation {key}. Delete it and attack the run anew.")
        return self._files[path][key]


def _suffix(part: str) -> str:
    return "" if part == "test" else f"-{part}"


def _there(run: Run, part: str, wanted: str | None) -> str:
    """The wanted protocol, where it was run on a part; the first one where none is wanted. Raises `ConfigError`."""
    names = saved_protocols(run, part)
    if names and (wanted is None or wanted in names):
        return wanted or names[0]
    by = f" by {wanted}" if wanted else ""
    there = f" {did_you_mean(wanted, names)}" if names and wanted else ""
    raise ConfigError(
        f"{run.folder / 'attacks'}: no perturbations of {part} clips{by}.{there} "
        f"`tenuto attack {run.folder} --split {part}` makes some."
    )


def _only(run: Run, part: str, wanted: str | None) -> str:
    """The wanted protocol, or the only one that was run on a part. Raises `ConfigError`."""
    found, names = _there(run, part, wanted), saved_protocols(run, part)
    if wanted is None and len(names) > 1:
        raise ConfigError(f"{run.folder / 'attacks'}: holds {', '.join(names)}. Choose one with --protocol.")
    return found
