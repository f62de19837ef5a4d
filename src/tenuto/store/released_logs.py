"""Rows from attack logs: those the study released, and those of Tenuto's own runs.

A released log folder holds ``hparams.yaml`` and a ``log.csv`` with the columns `COLUMNS`, one line per clip,
arrays as NumPy prints them. ``norm`` and ``db`` there belong to the stored perturbation, ``new-pred`` to the
last iterate, which is another input: rows read from such a log therefore have no ``l2`` and no ``linf``, but
``stored_l2``, ``db`` and ``threshold``. The format does not name the part of the split; its clips are taken
for test clips.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from tenuto.errors import ConfigError, DataError, FileError
from tenuto.files import read_bytes, read_csv, read_text, write_text
from tenuto.store.rows import NATURAL, RELEASED_OBJECTIVES, emotion_names, read_rows, validate_rows

COLUMNS = ("file", "epoch", "db", "norm", "converged", "true-label", "orig-pred", "new-pred", "adv-target")
SETTINGS = (
    "alpha",
    "architecture",
    "clip_eps",
    "conv_method",
    "lr",
    "max_iters",
    "mode",
    "model",
    "optimiser",
    "sign",
    "target",
)
EMOTIONS = ("valence", "energy", "tension", "anger", "fear", "happy", "sad", "tender")
PROTOCOL = "paper-2025-released"
PUBLISHED = {
    "alpha": ("alpha", None),
    "iterations": ("max_iters", 1000),
    "measure": ("conv_method", "corr"),
    "optimizer": ("optimiser", "Adam"),
    "sign": ("sign", True),
    "step_size": ("lr", 0.002),
}
"""What the protocol fixes: its setting, the released key, the published value."""

ARRAYS = {"label": "true-label", "clean": "orig-pred", "adversarial": "new-pred"}
OTHER_PARTS = ("-train", "-validation")

_FLOAT = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def read_logs(folder: str | Path, runs_file: str | Path | None = None) -> pd.DataFrame:
    """Rows of all released logs below a folder, at any depth: the logs alone or a clone of the repository.

    Args:
        folder: Where to look for log folders.
        runs_file: CSV ``folder,system,seed`` of other logs; the 50 released ones are known without it.

    Raises:
        FileError: No such folder, logs that the table misses or that miss from the table, a damaged log.
        DataError: A log contradicts itself.
    """
    table = _runs(runs_file)
    found = _log_folders(Path(folder), set(table["folder"]))
    if unknown := sorted(found.keys() - set(table["folder"])):
        raise FileError(
            f"{folder}: {_few(unknown)} {_is_not(unknown)} in the table of runs. "
            "Pass --runs FILE, a CSV with the columns folder,system,seed."
        )
    if absent := [name for name in table["folder"] if name not in found]:
        hint = "" if runs_file else ", or pass --runs FILE (a CSV folder,system,seed) if these are other logs"
        raise FileError(
            f"{folder}: {len(absent)} of {len(table)} logs are missing ({_few(absent)}). Fetch them{hint}."
        )
    runs = zip(table["folder"], table["system"], table["seed"], strict=True)
    rows = [_read_log(found[name], name, system, int(seed)) for name, system, seed in runs]
    return validate_rows(pd.concat(rows, ignore_index=True), str(folder))


def _few(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _is_not(names: list[str]) -> str:
    return "is not" if len(names) == 1 else "are not"


def _runs(runs_file: str | Path | None) -> pd.DataFrame:
    """Which folder is which system and seed; the released ones by default."""
    if runs_file is None:
        with resources.as_file(resources.files("tenuto.store") / "released_runs.csv") as path:
            return read_csv(path, text=("folder", "system"))
    table = read_csv(runs_file, columns=("folder", "system", "seed"), text=("folder", "system"))
    if not pd.api.types.is_integer_dtype(table["seed"]):
        raise FileError(
            f"{runs_file}: the column seed holds something that is no whole number. Mend that line."
        )
    for columns in (["folder"], ["system", "seed"]):
        twice = table[table.duplicated(columns)]
        if not twice.empty:
            named = ", ".join(f"{column} {twice.iloc[0][column]}" for column in columns)
            raise FileError(f"{runs_file}: {named} stands twice. Keep one of the lines.")
    return table


def _log_folders(folder: Path, known: set[str]) -> dict[str, Path]:
    """Folder name -> folder of every log below; logs of another kind are passed over unless known."""
    if not folder.is_dir():
        raise FileError(
            f"{folder}: no such folder. Name the folder of the logs, or a clone of their repository."
        )
    found: dict[str, Path] = {}
    for log in sorted(folder.resolve().rglob("log.csv")):
        name = log.parent.name
        if name not in known and not read_bytes(log).startswith(",".join(COLUMNS[:3]).encode()):
            continue
        if name in found:
            raise FileError(
                f"{log.parent}: the same log also lies in {found[name].parent}. Keep one of the two."
            )
        found[name] = log.parent
    return found


def _read_log(folder: Path, run: str, system: str, seed: int) -> pd.DataFrame:
    """Rows of one log folder."""
    path = folder / "log.csv"
    log = read_csv(path, columns=COLUMNS, text=("file", "converged", *ARRAYS.values()))
    settings = _settings(folder / "hparams.yaml")
    iterations = _numbers(log, "epoch", path).astype(np.int64)
    table: dict[str, Any] = {
        "run": run,
        "system": system,
        "seed": seed,
        "clip": [_clip(name, path) for name in log["file"]],
        "split": "test",
        "protocol": _protocol(settings),
        "attack": "ReleasedAttack",
        "objective": RELEASED_OBJECTIVES[settings["conv_method"]],
        "norm": "none",
        "epsilon": np.nan,
        "iterations": iterations,
        "forward_passes": iterations,
        "gradient_passes": iterations,
        "l2": np.nan,
        "linf": np.nan,
        "converged": [_truth(word, path) for word in log["converged"]],
        "threshold": _numbers(log, "adv-target", path),
        "stored_l2": _numbers(log, "norm", path),
        "db": log["db"].astype(np.float64) if pd.api.types.is_numeric_dtype(log["db"]) else np.nan,
    }
    for kind, column in ARRAYS.items():
        matrix = np.array([_array(text, path) for text in log[column]])
        table |= {f"{kind}_{name}": matrix[:, index] for index, name in enumerate(EMOTIONS)}
    return pd.DataFrame(table)


def _settings(path: Path) -> dict[str, Any]:
    """The settings of a log. Raises `FileError` where they are missing or of another attack."""
    try:
        settings = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise FileError(f"{path}: not YAML. Fetch the log again.") from error
    missing = [key for key in SETTINGS if not isinstance(settings, dict) or key not in settings]
    if missing:
        raise FileError(f"{path}: no {', '.join(missing)}. Fetch the log again.")
    if settings["conv_method"] not in RELEASED_OBJECTIVES:
        raise FileError(
            f"{path}: conv_method is {settings['conv_method']}, wanted {' or '.join(RELEASED_OBJECTIVES)}."
        )
    return dict(settings)


def _protocol(settings: Mapping[str, Any]) -> str:
    """The protocol's name, with every setting in which this log deviates from what was published."""
    changes = [
        f"{name}={settings[key]}" for name, (key, value) in PUBLISHED.items() if settings[key] != value
    ]
    return "+".join([PROTOCOL, *changes])


def _numbers(log: pd.DataFrame, column: str, path: Path) -> NDArray[Any]:
    """A column of finite numbers."""
    values = log[column]
    if not pd.api.types.is_numeric_dtype(values) or not np.isfinite(values).all():
        raise FileError(
            f"{path}: the column {column} holds something that is no number. Fetch the log again."
        )
    return values.to_numpy()


def _truth(word: str, path: Path) -> bool:
    if word not in ("True", "False"):
        raise FileError(f"{path}: converged is {word!r}, wanted True or False. Fetch the log again.")
    return word == "True"


def _clip(printed: str, path: Path) -> str:
    """``['146.mp3.spec']`` -> ``146``."""
    match = re.fullmatch(r"\[(['\"])(.+)\1\]", printed)
    if match is None:
        raise FileError(
            f"{path}: file is {printed!r}, wanted a name as in ['146.mp3.spec']. Fetch the log again."
        )
    return match[2].removesuffix(".mp3.spec")


def _array(printed: str, path: Path) -> list[float]:
    """``[[0.1 0.2 ...]]`` -> eight numbers. Nothing is evaluated: every token must look like a float."""
    tokens = printed.replace("[", " ").replace("]", " ").split()
    if len(tokens) != len(EMOTIONS) or not all(_FLOAT.fullmatch(token) for token in tokens):
        raise FileError(
            f"{path}: {printed[:40]!r} is not {len(EMOTIONS)} finite numbers. Fetch the log again."
        )
    return [float(token) for token in tokens]


def write_log(rows: pd.DataFrame, folder: str | Path, settings: Mapping[str, Any]) -> Path:
    """Write the rows of one run in the released format; `read_logs` gives the same numbers back.

    ``db`` stays empty (it needs an inversion of the spectrogram that says nothing about audio), and what the
    format has no place for is lost: split, norms of the last iterate, concepts.

    Args:
        rows: Rows of one run under the released attack, any order.
        folder: Gets ``log.csv`` and ``hparams.yaml``.
        settings: The keys `SETTINGS`.

    Returns:
        The path of ``log.csv``.

    Raises:
        ConfigError: A setting is missing.
        DataError: Other emotions than the format knows, several runs, or rows of another attack.
    """
    folder = Path(folder)
    if missing := [key for key in SETTINGS if key not in settings]:
        raise ConfigError(
            f"{folder}: no setting {', '.join(missing)}. The released format wants all of its keys."
        )
    if emotion_names(rows) != EMOTIONS:
        came = ", ".join(emotion_names(rows))
        raise DataError(f"{folder}: the released format knows {', '.join(EMOTIONS)}; the rows rate {came}.")
    if rows["run"].nunique() != 1 or not {"threshold", "stored_l2"} <= set(rows.columns):
        raise DataError(f"{folder}: wanted the rows of one run under the released attack. Select them first.")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_line(row) for _, row in rows.iterrows())
    write_text(folder / "hparams.yaml", yaml.safe_dump({key: settings[key] for key in SETTINGS}))
    return write_text(folder / "log.csv", text.getvalue())


def _line(row: pd.Series[Any]) -> list[str]:
    """One line of ``log.csv``; every number with the digits it needs to be read back unchanged."""
    arrays = (" ".join(str(row[f"{kind}_{name}"]) for name in EMOTIONS) for kind in ARRAYS)
    quote = '"' if "'" in row["clip"] else "'"
    return [
        f"[{quote}{row['clip']}.mp3.spec{quote}]",
        str(row["iterations"]),
        "",
        str(row["stored_l2"]),
        str(bool(row["converged"])),
        *(f"[[{values}]]" for values in arrays),
        str(row["threshold"]),
    ]


def protocols(folder: str | Path) -> dict[str, set[str]]:
    """Protocols with rows below a study's folder, each with the runs that have them; test clips only."""
    found: dict[str, set[str]] = {}
    for path in _tables(folder):
        found.setdefault(path.stem, set()).add(path.parent.parent.name)
    return found


def _tables(folder: str | Path) -> list[Path]:
    """``<run>/attacks/<protocol>.csv`` at any depth, other parts of the split left out."""
    if not Path(folder).is_dir():
        raise FileError(f"{folder}: no such folder. Name the folder of a study, or of its runs.")
    tables = (path for path in Path(folder).rglob("*.csv") if path.parent.name == "attacks")
    return sorted(path for path in tables if not path.stem.endswith(OTHER_PARTS))


def read_study(folder: str | Path, protocol: str | None = None) -> pd.DataFrame:
    """Rows of Tenuto's own runs, test clips only.

    Args:
        folder: A study, or the folder of its runs.
        protocol: A protocol as files are named, such as ``paper-2025-released+iterations=100``. By default
        the one
            form of the released protocol that all attacked runs share.

    Raises:
        FileError: No rows of that protocol, or no or several forms that all runs share.
    """
    if protocol is None:
        protocol = _shared_protocol(folder)
    paths = [path for path in _tables(folder) if path.stem == protocol]
    if not paths:
        there = ", ".join(sorted(protocols(folder))) or "none at all"
        raise FileError(
            f"{folder}: no rows of protocol {protocol}; there is: {there}. Run `tenuto attack` first."
        )
    rows = pd.concat([read_rows(path) for path in paths], ignore_index=True)
    return validate_rows(rows, str(folder))


def _shared_protocol(folder: str | Path) -> str:
    found = {name: where for name, where in protocols(folder).items() if not name.startswith(NATURAL)}
    runs = set().union(*found.values())
    shared = sorted(name for name in found if name.startswith(PROTOCOL) and found[name] == runs)
    if len(shared) == 1:
        return shared[0]
    if not found:
        raise FileError(
            f"{folder}: no rows of an attack below it. Run `tenuto attack` or `tenuto demo` first."
        )
    there = ", ".join(f"{name} ({len(having)} of {len(runs)} runs)" for name, having in sorted(found.items()))
    raise FileError(f"{folder}: which protocol? Choose with --protocol; there is: {there}.")
