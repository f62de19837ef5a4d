"""The folder of one run: the name of every file in it, its content, and which work is done."""

from __future__ import annotations

import glob
import os
import stat
from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.config import RunConfig, parse_yaml
from tenuto.data.splits import PARTS, Split, read_split
from tenuto.errors import CheckpointError, ConfigError, DataError, FileError
from tenuto.files import naming, open_regular, own_table, read_json, read_text, sha256_file
from tenuto.store.folder import BaseFolder, File
from tenuto.store.natural import NATURAL_PROTOCOLS
from tenuto.store.rows import NATURAL_PROTOCOL, check_column, read_own_rows
from tenuto.store.same_attacks import check_same_attacks

ATTACKS_FOLDER = "attacks"
ON = "on"
"""Folder of the results of a run on data it was not trained on."""

TRACE = ".trace.csv.gz"
"""Suffix of the file of traces, next to the rows."""

SUFFIXES = {"torchscript": ".pt", "export": ".pt2", "onnx": ".onnx"}
"""Kind of a model file from elsewhere -> ending of its copy in the run folder."""

CONFIG = "config.yaml"
BACKGROUND = "training_predictions.csv"
"""Predictions for the training clips next to a checkpoint, the background of explanations."""


def is_file(path: Path) -> bool:
    """Whether a regular file exists. Raises `FileError` where that cannot be known, such as in an unreadable folder."""
    with naming(path, "read"):
        try:
            return stat.S_ISREG(path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False


def check_readable(path: Path) -> None:
    """Raise `FileError` where the operating system refuses to read a file, which is therefore not a damaged one."""
    with open_regular(path):
        pass


def listed(folder: Path) -> list[os.DirEntry[str]]:
    """Entries of a folder by name, without hidden ones; none where it does not exist. Raises `FileError`."""
    with naming(folder, "read"):
        try:
            with os.scandir(folder) as entries:
                return sorted(
                    (entry for entry in entries if not entry.name.startswith(".")), key=lambda one: one.name
                )
        except (FileNotFoundError, NotADirectoryError):
            return []


def stem(protocol: object, part: str = "test") -> str:
    """Name, without suffix, of the files of a protocol on one part of the split: other parts than test are named."""
    return str(protocol) if part == "test" else f"{protocol}-{part}"


def protocol_and_part(name: str) -> tuple[str, str]:
    """The inverse of `stem`.

    >>> protocol_and_part("standard-1"), protocol_and_part("standard-1-train")
    (('standard-1', 'test'), ('standard-1', 'train'))
    """
    protocol, _, part = name.rpartition("-")
    return (protocol, part) if part in PARTS and part != "test" else (name, "test")


def is_natural(protocol: str) -> bool:
    """Whether rows of this protocol come from natural variations, not from an attack."""
    return protocol in NATURAL_PROTOCOLS


class RunFolder(BaseFolder):
    """The files of one run. Nothing is read or created when it is made.

    Args:
        path: The folder, which need not exist yet.

    Example:
        >>> run = RunFolder("runs/A2E-6-1a2b3c4d")
        >>> run.rows("standard-1", "train").as_posix()
        'runs/A2E-6-1a2b3c4d/attacks/standard-1-train.csv'
    """

    @property
    def name(self) -> str:
        """The folder's name: system, seed, signature; of a run on other data ``RUN@DATA-FINGERPRINT``."""
        name = super().name
        return name if self.home is self else f"{self.home.name}@{name}"

    @property
    def home(self) -> RunFolder:
        """The run whose model this is: the folder itself, or that of a run on other data (`on`)."""
        path = Path(os.path.abspath(self.path))
        return RunFolder(path.parent.parent) if path.parent.name == ON else self

    def on(self, dataset: str, fingerprint: str) -> RunFolder:
        """The folder of the results of this run's model on other data, with files of the same names.

        Args:
            dataset: Name of the data set.
            fingerprint: Identity of its content.
        """
        return RunFolder(self.home.path / ON / f"{dataset}-{fingerprint[:8]}")

    # Files

    config = File(CONFIG)
    """The resolved configuration."""
    split = File("split.csv")
    """Which clips train, validate and test."""

    @property
    def checkpoint(self) -> Path:
        """Weights of the best epoch, and what is needed to predict with them."""
        return self.home.path / "checkpoint.safetensors"

    def model(self, suffix: str) -> Path:
        """The copy of an adopted model file."""
        return self.home.path / f"model{suffix}"

    state = File("state.safetensors")
    """Where training resumes; removed when it ends."""
    history = File("history.csv")
    """One line per epoch."""

    @property
    def training(self) -> Path:
        """How training ended."""
        return self.home.path / "training.json"

    metrics = File("metrics.json")
    """Metrics of clean predictions."""
    interventions = File("interventions")
    """Folder of what corrected concepts change."""
    intervention_rows = File("interventions/intervention.csv")
    """The table in `interventions`."""
    shown = File("shown")
    """Folder of pictures and sounds of attacked clips."""
    attacks = File(ATTACKS_FOLDER)
    """Folder of rows and perturbations."""

    def rows(self, protocol: object, part: str = "test") -> Path:
        """Rows of a protocol on one part of the split."""
        return self.attacks / f"{stem(protocol, part)}.csv"

    def perturbations(self, protocol: object, part: str = "test") -> Path:
        """The worst perturbation of every clip and budget."""
        return self.attacks / f"{stem(protocol, part)}.safetensors"

    def about(self, protocol: object, part: str = "test") -> Path:
        """What exactly was run: every attack with its settings."""
        return self.attacks / f"{stem(protocol, part)}.json"

    def trace(self, protocol: object, part: str = "test") -> Path:
        """What the searches of a protocol evaluated, step by step; see `tenuto.attacks.trace`."""
        return self.attacks / f"{stem(protocol, part)}{TRACE}"

    def rerun(self, protocol: object, part: str = "test") -> Path:
        """Rows of the attacks that an audit made because a check of these rows failed; a JSON file has the results."""
        return self.path / "audit" / f"{stem(protocol, part)}.csv"

    def lock(self, protocol: object, part: str = "test") -> Path:
        """Locked by the process that runs a protocol."""
        return self.attacks / f".{stem(protocol, part)}.lock"

    def pieces(self, protocol: object, part: str, checkpoint: str, traced: bool = False) -> Path:
        """Folder of an unfinished attack, with or without traces, on the weights with this SHA-256."""
        kind = "traced.pieces" if traced else "pieces"
        folder = self.attacks / f"{stem(protocol, part)}.{checkpoint[:8]}.{kind}"
        if folder.is_symlink():
            raise FileError(f"{folder}: is a link, so pieces would be written elsewhere. Remove it.")
        return folder

    def all_pieces(self, protocol: object, part: str = "test") -> list[Path]:
        """Folders of unfinished attacks on any weights of this run."""
        return sorted(self.attacks.glob(f"{glob.escape(stem(protocol, part))}.*.pieces"))

    def universal(self, name: str) -> Path:
        """Folder of a universal perturbation and its rows."""
        return self.path / "universal" / name

    def natural(self, part: str = "test", protocol: str = NATURAL_PROTOCOL) -> Path:
        """Rows of natural variations."""
        return self.rows(protocol, part)

    def certificates(self, name: str, part: str = "test") -> Path:
        """Rows of the certificates of one smoothing on one part of the split."""
        return self.path / "certificates" / f"{stem(name, part)}.csv"

    def certificate_files(self, part: str = "test") -> list[Path]:
        """Every file of rows of certificates of one part of the split, in the order of their names."""
        paths = (Path(entry) for entry in listed(self.path / "certificates") if entry.name.endswith(".csv"))
        return [path for path in paths if protocol_and_part(path.stem)[1] == part]

    def noisy_predictions(self, name: str, part: str = "test") -> Path:
        """The predictions that certificates are computed from."""
        return self.certificates(name, part).with_name(f"{stem(name, part)}.safetensors")

    # What is done

    def exists(self) -> bool:
        """Whether there is a run here: a configuration, or rows. Raises `FileError` for an unreadable folder."""
        return is_file(self.config) or any(entry.name.endswith(".csv") for entry in listed(self.attacks))

    def is_trained(self) -> bool:
        """Whether training has ended by itself."""
        return is_file(self.training) and is_file(self.checkpoint)

    def is_adopted(self, suffix: str | None) -> bool:
        """Whether all is there that adopting a model leaves; ``suffix`` is that of the file it keeps a copy of."""
        copy = [] if suffix is None else [self.model(suffix)]
        return self.is_trained() and all(map(is_file, (self.config, self.split, *copy)))

    def is_evaluated(self) -> bool:
        """Whether the metrics of clean predictions are written, and of the weights in the folder.

        Files of earlier versions do not record the weights; they count.
        """
        if not is_file(self.metrics) or not is_file(self.checkpoint):
            return False
        weights = sha256_file(self.checkpoint)
        return bool(self.read_metrics().get("checkpoint", weights) == weights)

    def is_attacked(self, protocol: object, part: str = "test") -> bool:
        """Whether all rows of a protocol are written."""
        return is_file(self.rows(protocol, part))

    def has_natural(self, part: str = "test", protocol: str = NATURAL_PROTOCOL) -> bool:
        """Whether the rows of natural variations are written."""
        return self.is_attacked(protocol, part)

    def protocols(self, part: str = "test") -> list[str]:
        """Protocols with rows of one part of the split; natural variations are not among them."""
        return [name for name in self._stems(".csv", part) if not is_natural(name)]

    def perturbed_protocols(self, part: str = "test") -> list[str]:
        """Protocols whose perturbations are saved."""
        return self._stems(".safetensors", part)

    def _stems(self, suffix: str, part: str) -> list[str]:
        names = (entry.name for entry in listed(self.attacks))
        stems = (protocol_and_part(name.removesuffix(suffix)) for name in names if name.endswith(suffix))
        return [protocol for protocol, own in stems if own == part]

    # Content

    def read_config(self) -> RunConfig:
        """The configuration. Raises `ConfigError` where the folder holds no run."""
        if not is_file(self.config):
            raise ConfigError(
                f"{self.path}: not a run folder, it has no {CONFIG}. Name a folder that `tenuto train` or "
                "`tenuto adopt` made."
            )
        return RunConfig.parse(parse_yaml(read_text(self.config), str(self.config)), str(self.config))

    def read_split(self) -> Split | None:
        """The split; None where it is not recorded. Raises `FileError` or `DataError`."""
        if not is_file(self.split):
            return None
        with own_table(self.split):
            return read_split(self.split)

    def _check_weights(self, rows: pd.DataFrame, path: Path) -> None:
        """Raise `CheckpointError` where rows record other weights; without weights, or a record, they count."""
        if "checkpoint" not in rows or not is_file(self.checkpoint):
            return
        if not rows["checkpoint"].dropna().isin([sha256_file(self.checkpoint)]).all():
            raise CheckpointError(
                f"{path}: was made with other weights than those in {self.checkpoint}. If training has gone on since, "
                "delete the rows and run `tenuto attack` or `tenuto natural` again, else restore the weights."
            )

    def read_training(self) -> dict[str, Any]:
        """How training ended. Raises `FileError`."""
        return read_json(self.training)

    def read_metrics(self) -> dict[str, Any]:
        """Metrics of clean predictions. Raises `FileError`."""
        return read_json(self.metrics)

    def read_attacks(self, protocol: object, part: str = "test") -> dict[str, dict[str, Any]]:
        """Every attack of a protocol that was run, by the text of the column ``settings``.

        `tenuto.attacks.from_dict` builds an attack of its description. Runs of earlier versions have no descriptions.

        Raises:
            FileError: A damaged file.
        """
        path = self.about(protocol, part)
        if (about := self._read_about(path)) is None:
            return {}
        attacks = about.get("attacks")
        if not isinstance(attacks, dict) or not all(isinstance(one, dict) for one in attacks.values()):
            raise FileError(f"{path}: describes no attacks. Delete the file, or attack the run again.")
        return attacks

    def read_protocol(self, protocol: object, part: str = "test") -> dict[str, Any]:
        """The protocol as it was when its rows were made; empty where that is not recorded. Raises `FileError`."""
        described = (self._read_about(self.about(protocol, part)) or {}).get("protocol")
        return described if isinstance(described, dict) else {}

    def _read_about(self, path: Path) -> dict[str, Any] | None:
        return read_json(path) if is_file(path) else None

    def read_rows(self, protocol: object, part: str = "test") -> pd.DataFrame:
        """Rows of a protocol.

        Raises:
            CheckpointError: Rows of other weights than those in the folder.
            FileError: No such rows, or a damaged file.
            DataError: Rows that contradict themselves, rows of another protocol or part, clips with different attacks,
                or a clip that is not in this part of the run's split.
        """
        path, split = self.rows(protocol, part), self.read_split()
        rows = read_own_rows(path)
        check_column(rows, "protocol", str(protocol), str(path))
        check_column(rows, "split", part, str(path))
        self._check_weights(rows, path)
        if not is_natural(str(protocol)):
            check_same_attacks(rows, str(path))
        if split is not None:
            part_clips = set(split.part(part))
            for clip in rows["clip"]:
                if clip not in part_clips:
                    raise DataError(
                        f"{path}: clip {clip!r} is not a {part} clip in {self.split}. "
                        "Restore the split, or delete the rows and run `tenuto attack` again."
                    )
        return rows
