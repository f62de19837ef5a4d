"""What a trained run is worth, clean and under attack: metrics of all parts, and rows of a protocol."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tenuto import metrics, results
from tenuto.attacks import Protocol
from tenuto.attacks.base import DEFAULT_BATCH_SIZE, AttackResult
from tenuto.attacks.released import ReleasedResult
from tenuto.data.splits import PARTS
from tenuto.evaluation.runs import Run
from tenuto.files import read_safetensors, write_json, write_safetensors
from tenuto.models.systems import Network, for_attack
from tenuto.training.loop import predict
from tenuto.training.material import Batch

Progress = Callable[[int], None]


def evaluate(run: Run) -> dict[str, Any]:
    """Metrics of the clean predictions on train, validation and test clips; also written to metrics.json.

    Returns:
        Part -> `metrics.evaluate` (R2, correlation, RMSE, MSE, MAE, overall and per emotion), for bottlenecks that
        learned concepts also ``<part>_concepts``; ``mean_predictor`` holds the test metrics of always predicting the
        mean label of the training clips.
    """
    report: dict[str, Any] = {"run": run.name, "system": run.config.system, "seed": run.config.train.seed}
    for name in PARTS:
        part = run.part(name)
        prediction = predict(run.recogniser.network, part.inputs)
        report[name] = metrics.evaluate(
            _array(part.labels), _array(prediction.emotions), run.recogniser.emotions
        )
        if (
            part.concepts is not None
            and prediction.concepts is not None
            and run.config.train.task_loss_weight < 1
        ):
            concepts = _array(prediction.concepts)
            report[f"{name}_concepts"] = metrics.evaluate(
                _array(part.concepts), concepts, run.recogniser.concepts
            )
    test, mean = _array(run.part("test").labels), _array(run.part("train").labels).mean(axis=0)
    report["mean_predictor"] = metrics.evaluate(
        test, np.broadcast_to(mean, test.shape), run.recogniser.emotions
    )
    write_json(run.folder / "metrics.json", report)
    return report


def rows_path(folder: Path, protocol: Protocol, part: str = "test") -> Path:
    """Where the rows of a protocol lie: ``attacks/<protocol>.csv``, other parts of the split in their own files."""
    suffix = "" if part == "test" else f"-{part}"
    return folder / "attacks" / f"{protocol}{suffix}.csv"


def attack(
    run: Run,
    protocol: Protocol,
    part: str = "test",
    device: str = "cpu",
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Attack the clips of one part with every attack of a protocol.

    Rows go to ``attacks/<protocol>.csv`` and perturbations to the safetensors file beside it. Clips that an
    interrupted call has finished are not attacked again.

    Args:
        run: The model and its clips.
        protocol: What to run.
        part: ``test`` or another part of the split.
        device: ``cpu`` or ``cuda``.
        batch_size: Clips attacked together; bounds the memory.
        progress: Called with the number of clip-iterations done.

    Raises:
        AttackError: A clip cannot be attacked; its name is in the message.
    """
    torch.set_num_threads(run.config.resolved().train.threads)
    path = rows_path(run.folder, protocol, part)
    if path.is_file():
        return results.read_rows(path)
    clips = run.part(part).to(torch.device(device))
    model = for_attack(run.recogniser.network).to(device)
    size = batch_size or DEFAULT_BATCH_SIZE
    pieces = path.with_suffix(".pieces")
    for number, attacker in enumerate(protocol.attacks):
        done = _finished(pieces, number)
        if done and progress:
            progress(attacker.iterations * done)
        for start in range(done, len(clips), size):
            stop = min(start + size, len(clips))
            piece = pieces / f"{number}-{start:05d}-{stop:05d}.csv"
            chunk = clips.take(torch.arange(start, stop))
            found = attacker(
                model, chunk.inputs, chunk.labels, names=chunk.clips, batch_size=size, progress=progress
            )
            write_safetensors(piece.with_suffix(".safetensors"), _perturbations(attacker, chunk, found), {})
            results.write_rows(piece, _rows(run, protocol, part, attacker, model, chunk, found))
    return _join(pieces, path, {"run": run.name, "protocol": repr(protocol), "part": part})


def _finished(pieces: Path, number: int) -> int:
    """How many clips of an attack an interrupted call has finished, the first ones: pieces are made in order."""
    return max((int(piece.stem.split("-")[2]) for piece in pieces.glob(f"{number}-*.csv")), default=0)


def _join(pieces: Path, path: Path, about: dict[str, str]) -> pd.DataFrame:
    """Gather the finished pieces into one table and one file of perturbations, then remove them."""
    tables: list[pd.DataFrame] = []
    arrays: dict[str, Any] = {}
    for piece in sorted(pieces.glob("*.csv")):
        tables.append(results.read_rows(piece))
        arrays |= read_safetensors(piece.with_suffix(".safetensors"))[0]
    rows = results.validate(pd.concat(tables, ignore_index=True))
    write_safetensors(path.with_suffix(".safetensors"), arrays, {"tenuto": json.dumps(about)})
    results.write_rows(path, rows)
    shutil.rmtree(pieces)
    return rows


def _perturbations(attacker: Any, clips: Batch, found: AttackResult) -> dict[str, Any]:
    """Arrays (313, 149) by attack and clip: ``perturbation`` and, of the released attack, ``stored``."""
    kinds = {"perturbation": found.perturbation}
    if isinstance(found, ReleasedResult):
        kinds["stored"] = found.stored_perturbation
    return {
        f"{attacker!r}/{clip}/{kind}": _array(values[row, 0])
        for kind, values in kinds.items()
        for row, clip in enumerate(clips.clips)
    }


def _rows(
    run: Run, protocol: Protocol, part: str, attacker: Any, model: Network, clips: Batch, found: AttackResult
) -> pd.DataFrame:
    """One row per clip. Norms and the adversarial prediction belong to the same perturbation."""
    delta = _array(found.perturbation.flatten(1)).astype(np.float64)
    table: dict[str, Any] = {
        "run": run.name,
        "system": run.config.system,
        "seed": run.config.train.seed,
        "clip": clips.clips,
        "split": part,
        "protocol": str(protocol),
        "attack": type(attacker).__name__,
        "objective": results.RELEASED_OBJECTIVES[attacker.measure],
        "norm": "none",
        "epsilon": np.nan,
        "iterations": _array(found.iterations),
        "forward_passes": _array(found.forward_passes),
        "gradient_passes": _array(found.gradient_passes),
        "l2": np.linalg.norm(delta, axis=1),
        "linf": np.abs(delta).max(axis=1),
        "converged": False,
    }
    if isinstance(found, ReleasedResult):
        table["converged"] = _array(found.converged)
        table |= {"threshold": _array(found.threshold), "stored_l2": _array(found.stored_l2), "db": np.nan}
    emotions, units = run.recogniser.emotions, run.recogniser.concepts
    table |= _columns("label", emotions, clips.labels)
    table |= _columns("clean", emotions, found.clean_prediction)
    table |= _columns("adversarial", emotions, found.adversarial_prediction)
    if units:
        for kind, inputs in (("clean", clips.inputs), ("adversarial", clips.inputs + found.perturbation)):
            table |= _columns(kind, units, predict(model, inputs).concepts)
    return pd.DataFrame(table)


def _columns(kind: str, names: tuple[str, ...], values: Tensor | None) -> dict[str, Any]:
    if values is None:
        return {}
    return {f"{kind}_{name}": _array(values[:, column]) for column, name in enumerate(names)}


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()


def released_settings(run: Run, protocol: Protocol) -> dict[str, Any]:
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
