"""What an audit reads: rows with their perturbations and settings, the data, and attacks rebuilt from JSON."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.analysis.systems import STUDY_SCALE, is_paper_data, label_scale, recorded_constant
from tenuto.config import DataConfig
from tenuto.data.base import Index
from tenuto.data.excerpts import SPECTROGRAM_UNIT, WAVEFORM_UNIT
from tenuto.data.splits import PARTS, Split, draw
from tenuto.errors import AttackError, ConfigError, DataError, FileError, TenutoError
from tenuto.evaluation.audit.data import Data
from tenuto.evaluation.audit.findings import NOT_EVALUATED, OBJECT_NOT_EVALUATED, Finding
from tenuto.files import read_json
from tenuto.store.released_logs import is_log_format, read_logs, stated_budgets
from tenuto.store.rows import emotion_names, read_rows, scale_of, unit_of, units_of, validate_rows
from tenuto.store.run import TRACE, RunFolder, is_natural, protocol_and_part
from tenuto.store.study import StudyFolder, check_distinct

if TYPE_CHECKING:
    from tenuto.attacks import Attack
    from tenuto.evaluation.runs import OpenedRun

Values = NDArray[np.float64]
Find = Callable[["Evidence"], dict[str, Finding]]


@dataclasses.dataclass(frozen=True)
class Source:
    """Rows of one protocol on one part of the split.

    Attributes:
        name: What findings call it.
        rows: Of one run or several, see `tenuto.store.rows`.
        kind: ``run`` (some rows inside run folders), ``table`` (rows alone) or ``logs`` (released logs).
        folders: Run -> its folder, as far as rows are inside one.
        saved: Run -> the file of its perturbations, where it exists.
        traces: Run -> the file of its traces, where it exists.
        about: Run -> the JSON file that describes its attacks, where it exists.
        attacks: The attacks themselves, where the rows were made in Python.
        stated: Run -> the L-infinity budget in the settings of its released log, None for none.
    """

    name: str
    rows: pd.DataFrame
    kind: Literal["run", "table", "logs"] = "table"
    folders: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    saved: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    traces: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    about: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    attacks: Sequence[Attack] = ()
    stated: Mapping[str, float | None] = dataclasses.field(default_factory=dict)

    @cached_property
    def released(self) -> bool:
        """Whether these are released logs, or their rows."""
        return self.kind == "logs" or is_log_format(self.rows)


class Evidence:
    """One source and the data, with everything that several checks use computed once.

    Args:
        source: The audited rows.
        data: The data set.
        find_in_models: Check -> its finding from models, or why there is none; see `model_checks.Models.findings`.
    """

    def __init__(self, source: Source, data: Data, find_in_models: Find) -> None:
        self.source, self.data, self.find_in_models = source, data, find_in_models
        self._findings: dict[Find, dict[str, Finding]] = {}
        self._attacked: dict[str, OpenedRun] = {}

    @property
    def rows(self) -> pd.DataFrame:
        """The audited rows."""
        return self.source.rows

    @property
    def unit(self) -> str:
        """What the perturbations are measured in."""
        return unit_of(self.rows)

    @cached_property
    def runs(self) -> list[str]:
        """Names of the runs, sorted."""
        return sorted(set(self.rows["run"].astype(str)))

    def open(self, run: str) -> OpenedRun:
        """A run with the prepared data. Raises `CheckpointError` where it was trained on other data."""
        from tenuto.evaluation.runs import open_run

        folder, prepared = self.source.folders[run], self.data.prepared
        assert prepared is not None
        return self.data.opened.get(folder.resolve()) or open_run(folder, prepared)

    def open_attacked(self, run: str) -> OpenedRun:
        """A run with the inputs that were attacked: waveforms, or what its model takes. Errors as `open`."""
        if run not in self._attacked:
            self._attacked[run] = self.open(run).in_unit(self.unit)
        return self._attacked[run]

    def config(self, run: str) -> DataConfig | None:
        """Settings of the data a run was trained on; None where nothing records them."""
        folder = self.source.folders.get(run)
        return self.data.config if folder is None else RunFolder(folder).read_config().data

    def split(self, run: str) -> Split | None:
        """The split a run was trained with: its own file, the given one, or the one its configuration draws."""
        folder, index = self.source.folders.get(run), self.data.known()
        own = None if folder is None else RunFolder(folder).read_split()
        if own is not None or self.data.split is not None or folder is None or index is None:
            return own or self.data.split
        settings = RunFolder(folder).read_config().data
        return draw(index, settings.split, settings.split_seed)

    def checkpoint(self, run: str) -> Path | None:
        """The file of a run's weights, where it exists."""
        folder = self.source.folders.get(run)
        path = None if folder is None else RunFolder(folder).checkpoint
        return path if path is not None and path.is_file() else None

    @cached_property
    def scale(self) -> tuple[float, float] | None:
        """Range of the labels; None where neither the rows nor the data set record it, or where several differ."""
        if (recorded := scale_of(self.rows)) is not None:
            return recorded
        if self.source.released:
            return STUDY_SCALE
        scales = {label_scale(self.config(run)) for run in self.runs}
        return scales.pop() if len(scales) == 1 else None

    @cached_property
    def rating_range(self) -> tuple[float, float] | None:
        """Lowest and highest label that a rating of Soundtracks can become, where rows on it do not record a scale."""
        from tenuto.data.soundtracks import DIVISOR, Soundtracks

        on_paper_data = self.source.released or all(is_paper_data(self.config(run)) for run in self.runs)
        if not on_paper_data or scale_of(self.rows) is not None:
            return None
        low, high = Soundtracks.card.emotion_scale
        return low / DIVISOR, high / DIVISOR

    def labels_of(self, clips: Sequence[str]) -> Values | None:
        """Labels of clips in the data, (clips, emotions of the rows); None where the data are not known."""
        index, names = self.data.known(), emotion_names(self.rows)
        if index is None or not set(names) <= set(index.emotions):
            return None
        place = {clip: row for row, clip in enumerate(index.clips)}
        places = [place[clip] for clip in aligned(clips, index)]
        return np.asarray(index.labels[np.ix_(places, [index.emotions.index(name) for name in names])])

    @cached_property
    def training_means(self) -> dict[str, Values] | None:
        """Run -> mean label of its training clips, (emotions,); None where data or a split are not known."""
        means: dict[str, Values] = {}
        for run in self.runs:
            split = self.split(run)
            labels = None if split is None else self.labels_of(split.train)
            if labels is None:
                return None
            means[run] = labels.mean(axis=0)
        return means

    @cached_property
    def recorded_constant(self) -> float | None:
        """MAE of the mean training label on test clips, mean over runs, as their metrics.json has it; else None."""
        if set(self.rows["split"]) != {"test"} or not set(self.runs) <= set(self.source.folders):
            return None
        return recorded_constant([RunFolder(self.source.folders[run]) for run in self.runs])

    @cached_property
    def attacks(self) -> dict[str, Attack]:
        """Text in the column ``settings`` -> the attack it describes, as far as that is recorded.

        Attacks are rebuilt from the JSON file of the rows; without one the members of the protocol of that name
        are known. Text is never parsed, only compared.
        """
        emotions = len(emotion_names(self.rows))
        attacks = {repr(attack): attack for attack in self.source.attacks}
        for name in dict.fromkeys(self.rows["protocol"].astype(str)):
            attacks |= {repr(attack): attack for attack in protocol_attacks(name, emotions)}
        for path in dict.fromkeys(self.source.about.values()):
            attacks |= described_attacks(path)
        return attacks

    @cached_property
    def row_attacks(self) -> list[Attack | None]:
        """The attack of every row; None where it is not recorded."""
        if self.source.released:
            from tenuto.attacks import ReleasedAttack

            return [ReleasedAttack()] * len(self.rows)
        if "settings" not in self.rows.columns:
            return [None] * len(self.rows)
        return [self.attacks.get(str(text)) for text in self.rows["settings"]]

    @property
    def can_evaluate(self) -> bool:
        """Whether models could be evaluated: their folders and the data are known."""
        return bool(self.source.folders) and (self.data.spared or self.data.prepared is not None)

    @cached_property
    def has_object(self) -> bool:
        """Whether the model of a run was given as a Python object, so that only Python can audit it."""
        adopted = [RunFolder(folder).home.read_config().adopted for folder in self.source.folders.values()]
        return any(one is not None and one.is_object for one in adopted)

    @property
    def not_evaluated(self) -> str:
        """Why models were spared, and what evaluates them."""
        return OBJECT_NOT_EVALUATED if self.has_object else NOT_EVALUATED

    def once(self, find: Find) -> dict[str, Finding]:
        """Check -> finding of a function that answers several checks together; computed at the first of them."""
        if find not in self._findings:
            self._findings[find] = find(self)
        return self._findings[find]


def protocol_attacks(name: str, emotions: int) -> list[Attack]:
    """The attacks of a registered protocol, changes included (``paper-2025-released+iterations=100``); else none."""
    from tenuto.attacks import protocol

    base, *changes = name.split("+")
    with contextlib.suppress(TenutoError, ValueError):
        settings = {key: _plain(value) for key, value in (change.split("=") for change in changes)}
        return [attack for member in protocol(base, **settings).members(emotions) for attack in member]
    return []


def _plain(text: str) -> object:
    """The value that prints as this text: a number, True, False, None, or the text itself."""
    constants: dict[str, object] = {"True": True, "False": False, "None": None}
    if text in constants:
        return constants[text]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def described_attacks(path: Path) -> dict[str, Attack]:
    """Settings -> attack, from the JSON file of some rows.

    An attack that cannot be rebuilt, since its package is not installed, is left out.
    """
    from tenuto.attacks import from_dict

    described = read_json(path).get("attacks")
    attacks: dict[str, Attack] = {}
    for text, description in described.items() if isinstance(described, dict) else ():
        # The description of `Transfer` has no model, and that of `Foreign` no function.
        for parts in ({}, {"source": _no_source}, {"call": _no_source}):
            with contextlib.suppress(TenutoError):
                attacks[text] = from_dict(description, **parts)
                break
    return attacks


def _no_source(*arguments: Any) -> Any:
    """In place of the model that a transfer attack was made on, and of the function of a foreign attack."""
    raise AttackError(
        "the model or function of this attack is not recorded, so the attack cannot be repeated."
    )


def aligned(clips: Sequence[str], index: Index) -> tuple[str, ...]:
    """The index's names of clips, which may be written without leading zeros. Raises `DataError` for an unknown one."""
    own = {clip: clip for clip in index.clips}
    short = {clip.lstrip("0"): clip for clip in index.clips}
    names = tuple(own.get(clip) or short.get(clip.lstrip("0"), "") for clip in clips)
    if "" in names:
        raise DataError(
            f"clip {clips[names.index('')]} is not in the data set, whose first clip is {index.clips[0]}. "
            "Name the data and the split that these rows were made with."
        )
    return names


def open_sources(paths: Sequence[str | Path], runs_file: str | Path | None = None) -> list[Source]:
    """Everything that can be audited at the given paths, rows of one protocol and part together.

    Args:
        paths: Each a CSV of rows, a run folder, a study folder, or a folder of released logs.
        runs_file: For logs other than the released ones, see `read_logs`.

    Raises:
        FileError: A path with nothing to audit.
        DataError: Rows that contradict themselves, or the same rows in two files.
        ConfigError: A table of runs where there are no logs.
    """
    logs: list[Source] = []
    files: list[Path] = []
    for path in map(Path, paths):
        tables = [path] if path.is_file() else _tables(path)
        attacks = [table for table in tables if not is_natural(protocol_and_part(table.stem)[0])]
        if attacks:
            files += attacks
        elif tables:
            raise FileError(
                f"{path}: holds natural changes ({tables[0].name}) and no attack. `tenuto attack` makes rows to audit."
            )
        elif path.is_dir() and next(path.rglob("log.csv"), None) is not None:
            logs.append(_logs(path, runs_file))
        else:
            raise FileError(
                f"{path}: nothing to audit. Give a CSV of rows, an attacked run, a study, or a folder of released "
                "logs; `tenuto attack` makes rows."
            )
    if runs_file is not None and not logs:
        raise ConfigError(
            "`runs_file` belongs to released logs; rows and runs name their system and seed. Leave it out."
        )
    return logs + _own(list(dict.fromkeys(files)))


def _tables(folder: Path) -> list[Path]:
    """Files of rows of the test clips of every run at or below a folder, natural changes last."""
    if not folder.is_dir():
        return []
    paths = []
    for run in StudyFolder(folder).runs():
        paths += [run.rows(protocol) for protocol in run.protocols()]
        paths += [path for part in PARTS if (path := run.natural(part)).is_file()]
    return paths


def _own(paths: Sequence[Path]) -> list[Source]:
    """Tenuto's own rows, gathered by protocol, part and unit."""
    parts: dict[tuple[str, str, str], list[tuple[Path, pd.DataFrame]]] = {}
    for path in paths:
        rows = read_rows(path)
        for (protocol, part, unit), some in rows.groupby(["protocol", "split", units_of(rows)]):
            parts.setdefault((str(protocol), str(part), str(unit)), []).append((path, some))
    return [_gathered(*key, tables) for key, tables in sorted(parts.items())]


def sources_of(table: pd.DataFrame) -> list[Source]:
    """Rows in memory as sources, one per protocol, part of the split and unit. Raises `DataError`."""
    rows = validate_rows(table.reset_index(drop=True))
    rows = rows[~rows["protocol"].map(is_natural)]
    if rows.empty:
        raise DataError("the rows hold no attack. `tenuto attack` makes rows to audit.")
    return [
        Source(source_name(*map(str, key)), own)
        for key, own in rows.groupby(["protocol", "split", units_of(rows)])
    ]


def source_name(protocol: str, part: str, unit: str) -> str:
    """What findings call rows: their protocol, and their part and unit where these are not the usual ones."""
    name = protocol if part == "test" else f"{protocol}, {part} clips"
    if unit == SPECTROGRAM_UNIT:
        return name
    return f"{name} on waveforms" if unit == WAVEFORM_UNIT else f"{name}, epsilon in {unit}"


def _gathered(protocol: str, part: str, unit: str, parts: list[tuple[Path, pd.DataFrame]]) -> Source:
    check_distinct(parts)
    rows = pd.concat([some for _, some in parts], ignore_index=True)
    by_run = {str(run): path for path, some in parts for run in some["run"].unique()}
    homes = {run: RunFolder(path.parent.parent) for run, path in by_run.items()}
    folders = {
        run: home.path
        for run, home in homes.items()
        if by_run[run].parent == home.attacks and home.config.is_file()
    }
    return Source(
        name=source_name(protocol, part, unit),
        rows=validate_rows(rows, protocol),
        kind="run" if folders else "table",
        folders=folders,
        saved=_files_of_rows(by_run, ".safetensors"),
        traces=_files_of_rows(by_run, TRACE),
        about=_files_of_rows(by_run, ".json"),
    )


def _files_of_rows(by_run: Mapping[str, Path], suffix: str) -> dict[str, Path]:
    """Run -> the file of its rows with another suffix, where it exists."""
    paths = {run: path.with_suffix(suffix) for run, path in by_run.items()}
    return {run: path for run, path in paths.items() if path.is_file()}


def _logs(folder: Path, runs_file: str | Path | None) -> Source:
    rows = read_logs(folder, runs_file)
    stated = stated_budgets(folder, runs_file)
    name = ", ".join(sorted(set(rows["protocol"])))
    return Source(name=f"{name} (released logs)", rows=rows, kind="logs", stated=stated)
