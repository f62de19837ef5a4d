"""Measure a trained run, clean and under attack: metrics of all parts, and rows of a protocol."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tenuto import metrics
from tenuto.attacks import Attack, Protocol
from tenuto.attacks.base import default_batch_size
from tenuto.attacks.checks import require_whole
from tenuto.attacks.protocols import climb
from tenuto.data.base import DATASETS
from tenuto.data.batches import Batch
from tenuto.data.splits import PARTS
from tenuto.devices import repeatable
from tenuto.errors import ConfigError, FileError, FolderWarning
from tenuto.evaluation.locking import one_process
from tenuto.evaluation.records import Audibility, Origin, origin_of, perturbations, records
from tenuto.evaluation.runs import OpenedRun
from tenuto.evaluation.survival import of_saved
from tenuto.files import Array, join_safetensors, read_json, read_safetensors, write_json, write_safetensors
from tenuto.models.recogniser import predict
from tenuto.models.systems import Network, for_attack
from tenuto.store.perturbations import key_of
from tenuto.store.result_rows import array
from tenuto.store.rows import mark_worst, read_own_rows, validate_rows, write_rows
from tenuto.store.run import TRACE
from tenuto.store.traces import NO_TRACES, read_traces, write_traces

Progress = Callable[[int], None]


def evaluate(run: OpenedRun) -> dict[str, Any]:
    """Metrics of the clean predictions on train, validation and test clips; also written to metrics.json.

    Warns where the file cannot be written, for example on a read-only disk.

    Returns:
        What `measure` returns, and ``checkpoint``, the SHA-256 of the weights.
    """
    report = measure(run) | {"checkpoint": origin_of(run)["checkpoint"]}
    try:
        write_json(run.files.metrics, report)
    except FileError as error:
        warnings.warn(f"{error} The metrics are not saved.", FolderWarning, stacklevel=2)
    return report


@repeatable
def measure(run: OpenedRun) -> dict[str, Any]:
    """Metrics of the clean predictions on train, validation and test clips.

    Returns:
        Part -> `metrics.evaluate` (R2, correlation, RMSE, MSE, MAE, for tags also PR-AUC and ROC-AUC; overall and per
        emotion), for bottlenecks that learned the concepts that the data rate also ``<part>_concepts``; where the
        deviations of the raters are known, with ``rmse_in_rater_sd``. ``mean_predictor`` holds the test metrics of
        always predicting the mean label of the training clips.
    """
    report: dict[str, Any] = {"run": run.name, "system": run.config.system, "seed": run.config.train.seed}
    source = run.material.prepared.name
    kind = DATASETS[source].card.kind if source in DATASETS else "ratings"
    for name in PARTS:
        part = run.part(name)
        prediction = predict(run.recogniser.network, part.inputs)
        report[name] = _measured(run, name, array(part.labels), array(prediction.emotions), kind)
        if run.has_concept_ratings and run.config.train.task_loss_weight < 1:
            report[f"{name}_concepts"] = metrics.evaluate(
                array(part.concepts), array(prediction.concepts), run.recogniser.concepts
            )
    test, mean = array(run.part("test").labels), array(run.part("train").labels).mean(axis=0)
    report["mean_predictor"] = _measured(run, "test", test, np.broadcast_to(mean, test.shape), kind)
    return report


def _measured(
    run: OpenedRun, part: str, label: Array, prediction: Array, kind: str
) -> dict[str, dict[str, float]]:
    """The metrics of predictions of one part, in units of the raters' disagreement too where the data have it."""
    names, prepared = run.recogniser.emotions, run.material.prepared
    measured = metrics.evaluate(label, prediction, names, kind)
    if prepared.index.deviations is not None:
        columns = [prepared.index.emotions.index(name) for name in names]
        places = prepared.places(run.material.split.part(part))
        deviations = prepared.index.deviations[places][:, columns]
        measured["rmse_in_rater_sd"] = metrics.rmse_in_rater_sd(label, prediction, deviations, names)
    return measured


@repeatable
def attack(
    run: OpenedRun,
    protocol: Protocol,
    part: str = "test",
    device: str = "cpu",
    batch_size: int | None = None,
    progress: Progress | None = None,
    before_piece: Callable[[], None] = lambda: None,
    trace: bool = False,
) -> pd.DataFrame:
    """Attack the clips of one part with every attack of a protocol.

    Rows go to ``attacks/<protocol>.csv``. The column ``settings`` identifies the attack, ``worst`` marks the row with
    a clip's largest mean absolute error at that budget. The perturbations of these rows go to the safetensors file
    of the same name (`tenuto.store.perturbations`), the exact settings of every attack to the JSON file
    (`tenuto.store.run.RunFolder.read_attacks`). A later call continues interrupted work, and returns finished rows.

    Args:
        run: The model and its clips.
        protocol: What to run, in the domain that it names, else on what the model takes.
        part: ``test`` or another part of the split.
        device: ``cpu`` or ``cuda``.
        batch_size: Clips attacked together; bounds the memory.
        progress: Called with the number of clip-iterations done.
        before_piece: Called before each attack on ``batch_size`` clips. What it raises ends the call; the pieces before
            are kept.
        trace: Also write what every search evaluated, step by step (`RunFolder.trace`).

    Raises:
        AttackError: A clip cannot be attacked; its name is in the message.
        AudioError: A clip is too short to be attacked on its waveform.
        CheckpointError: There are rows of this protocol that belong to earlier weights of the run.
        ConfigError: A trace of rows that were made without one, or rows of this protocol with other attacks.
        TenutoError: Another process is running this protocol on this run.
    """
    size = default_batch_size(torch.device(device)) if batch_size is None else batch_size
    require_whole("batch_size", size, 1)
    if protocol.domain == "waveform":
        run = run.in_sound()
    for one in protocol.attacks:
        run.recogniser.inputs.check_region(getattr(one, "region", None))
    origin = origin_of(run, device)
    if run.files.is_attacked(protocol, part):
        return _finished(run, protocol, part, trace)
    with one_process(run, protocol, part):
        if run.files.is_attacked(protocol, part):  # by the process that had the lock
            return _finished(run, protocol, part, trace)
        clips = run.part(part).to(torch.device(device))
        model = for_attack(run.recogniser.network).to(device)
        report = progress or (lambda done: None)
        work = _Work(run, protocol, part, model, origin, report, before_piece, trace)
        for start in range(work.finished(), len(clips), size):
            stop = min(start + size, len(clips))
            work.attack(clips.take(torch.arange(start, stop)), f"{start:05d}-{stop:05d}")
        return work.join()


def _finished(run: OpenedRun, protocol: Protocol, part: str, trace: bool) -> pd.DataFrame:
    """Rows that an earlier call has written. Raises `ConfigError` for another protocol, or traces that are missing."""
    rows = run.files.read_rows(protocol, part)
    if not protocol.matches(run.files.read_protocol(protocol, part)):
        raise ConfigError(
            f"{run.files.rows(protocol, part)}: {protocol} had other attacks or budgets when these rows were made. "
            "Give the changed protocol another version, or delete the file and attack again."
        )
    if trace and not run.files.trace(protocol, part).is_file():
        raise ConfigError(
            f"{run.files.rows(protocol, part)}: was made without `trace`. Delete it, or keep it and leave out `trace`."
        )
    return rows


class _Work:
    """A protocol in progress: every member's climb over a few clips is one piece, and finished pieces stay."""

    def __init__(
        self,
        run: OpenedRun,
        protocol: Protocol,
        part: str,
        model: Network,
        origin: Origin,
        progress: Progress,
        before_piece: Callable[[], None],
        trace: bool,
    ) -> None:
        protocol = protocol.at_sample_rate(run.recogniser.inputs.sample_rate)
        self.run, self.protocol, self.part = run, protocol, part
        self.model, self.origin, self.progress = model, origin, progress
        self.before_piece, self.trace = before_piece, trace
        # Pieces of other weights are in another folder: training may have gone on between two calls.
        self.pieces = run.files.pieces(protocol, part, origin["checkpoint"], trace)
        described = self.pieces / "protocol.json"
        if described.is_file() and not protocol.matches(read_json(described)):
            shutil.rmtree(self.pieces)  # of a protocol that has changed under its name
        write_json(described, protocol.to_dict())
        self.members = protocol.members(len(run.recogniser.emotions), run.recogniser.has_gradient)
        self.valid_range = run.recogniser.inputs.valid_range if protocol.silence else None

    def finished(self) -> int:
        """How many clips an interrupted call has finished, the first ones: pieces are made in order."""
        whole = [piece.stem.split("-") for piece in self.pieces.glob("*.csv")]
        passes = max((int(name[1]) for name in whole if len(name) == 2), default=0)
        self.progress(passes * sum(attacker.iterations for member in self.members for attacker in member))
        return passes

    def attack(self, clips: Batch, name: str) -> None:
        """Run all members on a few clips and keep their rows, and the worst perturbations."""
        parts: list[Path] = []
        tables: list[pd.DataFrame] = []
        for number, member in enumerate(self.members):
            parts.append(self._climb(member, clips, f"{name}-{number:03d}", tables))
            tables.append(read_own_rows(parts[-1]))
        rows = mark_worst(pd.concat(tables, ignore_index=True))
        arrays: dict[str, Array] = {}
        for part in parts:
            if part.with_suffix(".safetensors").is_file():
                arrays |= _of_worst(rows, read_safetensors(part.with_suffix(".safetensors"))[0])
        if self.run.recogniser.inputs.is_sound:
            rows = rows.assign(**self._in_files(rows, arrays))
        if self.trace:
            traces = pd.concat([read_traces(part.with_suffix(TRACE)) for part in parts])
            write_traces(self.pieces / f"{name}{TRACE}", traces)
        write_safetensors(self.pieces / f"{name}.safetensors", arrays, {})
        write_rows(self.pieces / f"{name}.csv", rows)
        for part in parts:
            part.with_suffix(".safetensors").unlink(missing_ok=True)
            part.with_suffix(TRACE).unlink(missing_ok=True)
            part.unlink()

    def _in_files(self, rows: pd.DataFrame, perturbations: dict[str, Array]) -> dict[str, Array]:
        """The columns of saved perturbations: what survives in files, and how audible they are."""
        columns: dict[str, Array] = {}
        for place in np.flatnonzero(rows["worst"]):
            row = rows.iloc[place]
            recording = self.run.material.recording(row["clip"])
            delta = perturbations[key_of(row["settings"], row["clip"])]
            for name, value in of_saved(self.model, self.run.recogniser.inputs, *recording, delta).items():
                columns.setdefault(name, np.full(len(rows), np.nan))[place] = value
        return columns

    def _climb(
        self, member: tuple[Attack, ...], clips: Batch, name: str, earlier: list[pd.DataFrame]
    ) -> Path:
        """One member over its budgets, each starting from the result of the one before.

        Only perturbations that are worse than those of earlier members are written.
        """
        piece = self.pieces / f"{name}.csv"
        if piece.is_file():
            self.progress(len(clips) * sum(attacker.iterations for attacker in member))
            return piece
        self.before_piece()
        tables: list[pd.DataFrame] = []
        arrays: dict[str, Array] = {}
        traces: list[pd.DataFrame] = []
        audibility = Audibility.of(self.run.recogniser, clips)
        for attacker, result in climb(
            member,
            self.model,
            clips.inputs,
            clips.labels,
            valid_range=self.valid_range,
            axes=self.run.recogniser.inputs.axes,
            names=clips.clips,
            batch_size=len(clips),
            progress=self.progress,
            trace=self.trace,
        ):
            rows = records(
                self.run, self.protocol, self.part, attacker, self.model, clips, result, audibility
            )
            tables.append(rows.assign(**self.origin))
            arrays |= perturbations(attacker, clips, result)
            if result.trace is not None:
                trace = result.trace.frame(self.run.recogniser.emotions)
                traces.append(trace.assign(settings=repr(attacker)))
        if self.trace:
            write_traces(piece.with_suffix(TRACE), pd.concat(traces) if traces else NO_TRACES)
        rows = mark_worst(pd.concat([*earlier, *tables], ignore_index=True))
        if worst := _of_worst(rows, arrays):
            write_safetensors(piece.with_suffix(".safetensors"), worst, {})
        return write_rows(piece, pd.concat(tables, ignore_index=True))

    def join(self) -> pd.DataFrame:
        """Gather the finished pieces into one table and one file of perturbations, then remove them."""
        pieces = sorted(piece for piece in self.pieces.glob("*.csv") if piece.stem.count("-") == 1)
        rows = validate_rows(pd.concat([read_own_rows(piece) for piece in pieces], ignore_index=True))
        files, name = self.run.files, (self.protocol, self.part)
        attackers = [attacker for member in self.members for attacker in member]
        about = {
            "protocol": self.protocol.to_dict(),
            "part": self.part,
            **self.origin,
            "attacks": {repr(attacker): attacker.to_dict() for attacker in attackers},
        }
        if self.trace:
            traces = [read_traces(piece.with_suffix(TRACE)) for piece in pieces]
            write_traces(files.trace(*name), pd.concat(traces, ignore_index=True))
        else:  # those of rows that were deleted
            files.trace(*name).unlink(missing_ok=True)
        join_safetensors(files.perturbations(*name), [piece.with_suffix(".safetensors") for piece in pieces])
        write_json(files.about(*name), about)
        write_rows(files.rows(*name), rows)
        for folder in files.all_pieces(*name):
            shutil.rmtree(folder)
        return rows


def _of_worst(rows: pd.DataFrame, arrays: dict[str, Array]) -> dict[str, Array]:
    """Those of some perturbations that belong to rows marked as the worst."""
    worst = set(rows.loc[rows["worst"], "settings"] + "/" + rows.loc[rows["worst"], "clip"])
    return {key: values for key, values in arrays.items() if key.rpartition("/")[0] in worst}


def released_settings(run: OpenedRun, protocol: Protocol) -> dict[str, Any]:
    """The keys of the released ``hparams.yaml`` for a log in that format.

    ``clip_eps`` is null: the released code computes a budget and never applies it, and neither do we.
    """
    attacker: Any = protocol.attacks[0]
    return {
        "alpha": attacker.alpha,
        "architecture": run.config.model.network,
        "clip_eps": None,
        "conv_method": attacker.measure,
        "lr": attacker.step_size,
        "max_iters": attacker.iterations,
        "mode": "untargeted",
        "model": run.name,
        "optimiser": attacker.optimizer,
        "sign": attacker.sign,
        "target": None,
    }
