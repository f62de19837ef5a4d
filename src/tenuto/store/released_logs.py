"""Rows from attack logs: those of the SMC 2025 study, which are part of the package, and others of that format.

The folder of a log contains ``hparams.yaml`` and a ``log.csv`` with the columns `LOG_COLUMNS`, one line per clip,
arrays as NumPy prints them. ``norm`` and ``db`` there belong to the stored perturbation, ``new-pred`` to the last
iterate, which is another input: rows read from such a log therefore have no ``l2`` and no ``linf``, but ``stored_l2``,
``db`` and ``threshold``. The format does not record the part of the split; its clips are taken for test clips.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import zipfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from tenuto.errors import ConfigError, DataError, FileError, quote
from tenuto.files import read_bytes, read_csv, read_text, write_text
from tenuto.metrics import RELEASED_OBJECTIVES
from tenuto.settings import parse_yaml
from tenuto.store.rows import RELEASED_PROTOCOL, emotion_names, validate_rows

LOG_COLUMNS = (
    "file",
    "epoch",
    "db",
    "norm",
    "converged",
    "true-label",
    "orig-pred",
    "new-pred",
    "adv-target",
)
LOG_SETTINGS = (
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
LOG_FILES = ("log.csv", "hparams.yaml")
RELEASED_EMOTIONS = ("valence", "energy", "tension", "anger", "fear", "happy", "sad", "tender")
ARCHIVE = "released_logs.zip"
"""The 50 logs of the study, with their licence and origin, in the package."""

PUBLISHED = {
    "alpha": ("alpha", None),
    "iterations": ("max_iters", 1000),
    "measure": ("conv_method", "corr"),
    "optimizer": ("optimiser", "Adam"),
    "sign": ("sign", True),
    "step_size": ("lr", 0.002),
}
"""Setting of the protocol -> key of the log's settings, and the published value."""

ARRAYS = {"label": "true-label", "clean": "orig-pred", "adversarial": "new-pred"}

_FLOAT = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclasses.dataclass(frozen=True)
class Log:
    """The two files of a log, read.

    Attributes:
        path: The folder, for messages.
        table: Content of ``log.csv``.
        settings: Content of ``hparams.yaml``.
    """

    path: str
    table: str
    settings: str


def read_logs(folder: str | Path | None = None, runs_file: str | Path | None = None) -> pd.DataFrame:
    """Rows of released logs.

    Args:
        folder: Where to look for log folders, at any depth: the logs alone or a clone of the repository. By default
            the 50 logs of the study that are part of the package.
        runs_file: CSV ``folder,system,seed`` of other logs; for the 50 released ones it is not needed.

    Raises:
        FileError: No such folder, logs that the table of runs misses or that are missing, a damaged log.
        DataError: A log contradicts itself.
    """
    table = _runs(runs_file)
    runs = zip(table["folder"], table["system"], table["seed"], strict=True)
    logs = _logs(folder, runs_file, list(table["folder"]))
    rows = [_read_log(logs[name], name, system, int(seed)) for name, system, seed in runs]
    return validate_rows(pd.concat(rows, ignore_index=True), str(folder or ARCHIVE))


def is_log_format(rows: pd.DataFrame) -> bool:
    """Whether rows record what released logs do: the norm of the stored perturbation, none of the last iterate."""
    return (
        "stored_l2" in rows
        and bool(rows["stored_l2"].notna().all())
        and bool(rows[["l2", "linf"]].isna().all(axis=None))
        and bool(rows["protocol"].astype(str).str.startswith(RELEASED_PROTOCOL).all())
    )


def stated_budgets(
    folder: str | Path | None = None, runs_file: str | Path | None = None
) -> dict[str, float | None]:
    """The L-infinity budget that the settings of each log state, by run; None where they state none.

    Args and errors as `read_logs`.
    """
    logs = _logs(folder, runs_file, list(_runs(runs_file)["folder"]))
    return {name: _clip_eps(log) for name, log in logs.items()}


def _logs(folder: str | Path | None, runs_file: str | Path | None, names: list[str]) -> dict[str, Log]:
    """The logs of these names, from a folder or from the archive. Raises `FileError` where names do not agree."""
    if folder is None:
        logs = _archived()
        folder = ARCHIVE
    else:
        paths = _log_folders(Path(folder), set(names))
        logs = {
            name: Log(str(path), *(read_text(path / file) for file in LOG_FILES))
            for name, path in paths.items()
        }
    if unknown := sorted(logs.keys() - set(names)):
        raise FileError(
            f"{folder}: {_few(unknown)} {'is' if len(unknown) == 1 else 'are'} not in the table of runs. "
            "Pass `runs_file=FILE`, a CSV with the columns folder,system,seed."
        )
    if absent := [name for name in names if name not in logs]:
        hint = (
            ""
            if runs_file
            else ", or pass `runs_file=FILE` (a CSV folder,system,seed) if these are other logs"
        )
        raise FileError(
            f"{folder}: {len(absent)} of {len(names)} logs are missing ({_few(absent)}). Download them{hint}."
        )
    return logs


def _archived() -> dict[str, Log]:
    """The logs in the package, read in memory; nothing is extracted."""
    content = io.BytesIO(resources.files("tenuto.store").joinpath(ARCHIVE).read_bytes())
    with zipfile.ZipFile(content) as archive:
        folders = [name.removesuffix("/log.csv") for name in archive.namelist() if name.endswith("/log.csv")]
        texts = {
            folder: [archive.read(f"{folder}/{name}").decode() for name in LOG_FILES] for folder in folders
        }
    return {folder.rpartition("/")[2]: Log(f"{ARCHIVE}/{folder}", *both) for folder, both in texts.items()}


def _few(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _runs(runs_file: str | Path | None) -> pd.DataFrame:
    """Which folder is which system and seed; the released ones by default."""
    text, integers = ("folder", "system"), ("seed",)
    if runs_file is None:
        with resources.as_file(resources.files("tenuto.store") / "released_runs.csv") as path:
            return read_csv(path, text=text, integers=integers)
    table = read_csv(runs_file, columns=("folder", "system", "seed"), text=text, integers=integers)
    for columns in (["folder"], ["system", "seed"]):
        repeated = table[table.duplicated(columns)]
        if not repeated.empty:
            listing = ", ".join(f"{column} {repeated.iloc[0][column]}" for column in columns)
            raise FileError(f"{runs_file}: {listing} is listed twice. Keep one of the lines.")
    return table


def _log_folders(folder: Path, log_names: set[str]) -> dict[str, Path]:
    """Folder name -> folder of every log below; logs of another format are ignored unless `log_names` has them."""
    if not folder.is_dir():
        raise FileError(
            f"{folder}: no such folder. Give the folder of the logs, or of a clone of their repository."
        )
    folders: dict[str, Path] = {}
    for log in sorted(folder.resolve().rglob("log.csv")):
        name = log.parent.name
        if name not in log_names and not read_bytes(log).startswith(",".join(LOG_COLUMNS[:3]).encode()):
            continue
        if name in folders:
            raise FileError(
                f"{log.parent}: the same log is also in {folders[name].parent}. Keep one of the two."
            )
        folders[name] = log.parent
    return folders


def _read_log(files: Log, run: str, system: str, seed: int) -> pd.DataFrame:
    """Rows of one log."""
    path = f"{files.path}/log.csv"
    text = ("file", "converged", *ARRAYS.values())
    log = read_csv(path, columns=LOG_COLUMNS, text=text, content=files.table)
    settings = _settings(files)
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
        table |= {f"{kind}_{name}": matrix[:, index] for index, name in enumerate(RELEASED_EMOTIONS)}
    return pd.DataFrame(table)


def _settings(files: Log) -> dict[str, Any]:
    """The settings of a log. Raises `FileError` where they are missing or of another attack."""
    path = f"{files.path}/hparams.yaml"
    try:
        settings = parse_yaml(files.settings, path)
    except ConfigError as error:
        raise FileError(f"{error} Download the log again.") from error
    missing_keys = [key for key in LOG_SETTINGS if key not in settings]
    if missing_keys:
        raise FileError(f"{path}: no {', '.join(missing_keys)}. Download the log again.")
    if settings["conv_method"] not in list(RELEASED_OBJECTIVES):
        raise FileError(
            f"{path}: conv_method is {quote(settings['conv_method'])}; it must be {' or '.join(RELEASED_OBJECTIVES)}."
        )
    return dict(settings)


def _clip_eps(files: Log) -> float | None:
    """The budget that the settings of a log state, None for none."""
    value = _settings(files)["clip_eps"]
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise FileError(
            f"{files.path}/hparams.yaml: clip_eps is {quote(value)}; it must be a number or null. "
            "Download the log again."
        ) from error


def _protocol(settings: Mapping[str, Any]) -> str:
    """The protocol's name, with every setting in which this log deviates from what was published."""
    changes = [
        f"{name}={settings[key]}" for name, (key, value) in PUBLISHED.items() if settings[key] != value
    ]
    return "+".join([RELEASED_PROTOCOL, *changes])


def _numbers(log: pd.DataFrame, column: str, path: str) -> NDArray[Any]:
    """A column of finite numbers."""
    values = log[column]
    if not pd.api.types.is_numeric_dtype(values) or not np.isfinite(values).all():
        raise FileError(f"{path}: the column {column} has a cell that is no number. Download the log again.")
    return values.to_numpy()


def _truth(word: str, path: str) -> bool:
    if word not in ("True", "False"):
        raise FileError(
            f"{path}: converged is {quote(word)}; it must be True or False. Download the log again."
        )
    return word == "True"


def _clip(printed: str, path: str) -> str:
    """``['146.mp3.spec']`` -> ``146``."""
    match = re.fullmatch(r"\[(['\"])(.+)\1\]", printed)
    if match is None:
        raise FileError(
            f"{path}: file is {quote(printed)}; it must be a name as in ['146.mp3.spec']. Download the log again."
        )
    return match[2].removesuffix(".mp3.spec")


def _array(printed: str, path: str) -> list[float]:
    """``[[0.1 0.2 ...]]`` -> eight numbers. Nothing is evaluated: every token must look like a float."""
    tokens = printed.replace("[", " ").replace("]", " ").split()
    if len(tokens) != len(RELEASED_EMOTIONS) or not all(_FLOAT.fullmatch(token) for token in tokens):
        raise FileError(
            f"{path}: {printed[:40]!r} is not {len(RELEASED_EMOTIONS)} finite numbers. Download the log again."
        )
    return [float(token) for token in tokens]


def write_log(rows: pd.DataFrame, folder: str | Path, settings: Mapping[str, Any]) -> Path:
    """Write the rows of one run in the released format; `read_logs` gives the same numbers back.

    ``db`` stays empty (it needs an inversion of the spectrogram that says nothing about audio), and what the
    format has no place for is lost: split, norms of the last iterate, concepts.

    Args:
        rows: Rows of one run under the released attack, any order.
        folder: Gets ``log.csv`` and ``hparams.yaml``.
        settings: The keys `LOG_SETTINGS`.

    Returns:
        The path of ``log.csv``.

    Raises:
        ConfigError: A setting is missing.
        DataError: Other emotions than the format has, several runs, or rows of another attack.
    """
    folder = Path(folder)
    if missing_keys := [key for key in LOG_SETTINGS if key not in settings]:
        raise ConfigError(
            f"{folder}: no setting {', '.join(missing_keys)}. The released format needs all of its keys."
        )
    if emotion_names(rows) != RELEASED_EMOTIONS:
        names = ", ".join(emotion_names(rows))
        raise DataError(
            f"{folder}: the released format has the emotions {', '.join(RELEASED_EMOTIONS)}; the rows have {names}."
        )
    if rows["run"].nunique() != 1 or not {"threshold", "stored_l2"} <= set(rows.columns):
        raise DataError(
            f"{folder}: the rows must be those of one run under the released attack. Select them first."
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LOG_COLUMNS)
    writer.writerows(_line(row) for _, row in rows.iterrows())
    write_text(folder / "hparams.yaml", yaml.safe_dump({key: settings[key] for key in LOG_SETTINGS}))
    return write_text(folder / "log.csv", text.getvalue())


def _line(row: pd.Series[Any]) -> list[str]:
    """One line of ``log.csv``; every number with the digits it needs to be read back unchanged."""
    arrays = (" ".join(str(row[f"{kind}_{name}"]) for name in RELEASED_EMOTIONS) for kind in ARRAYS)
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
