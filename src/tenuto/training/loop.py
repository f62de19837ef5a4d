"""The training loop: one run from its configuration to its checkpoint, resumable after any epoch.

All randomness of an epoch (order of clips, excerpts, dropout) is a pure function of the seed and the epoch's number,
so the state on disk needs no generator states, and an interrupted run ends with the numbers of an undisturbed one.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tenuto import metrics
from tenuto.config import RunConfig, signature, to_yaml
from tenuto.data.batches import Batch, Material, check, check_labels, check_split
from tenuto.data.cache import Prepared
from tenuto.data.splits import split_identity, write_split
from tenuto.devices import (
    Precision,
    allowing_tf32,
    arithmetic,
    compute_repeatably,
    computing_in,
    require,
    require_precision,
)
from tenuto.errors import FileError, TenutoError
from tenuto.files import read_safetensors, write_csv, write_json, write_safetensors, write_text
from tenuto.models import checkpoint
from tenuto.models.heads import Prediction
from tenuto.models.recogniser import Recogniser, predict
from tenuto.models.systems import CONCEPTS_WITHOUT_RATINGS, NETWORKS, Network, build, check_network
from tenuto.store.run import RunFolder, check_readable, is_file
from tenuto.training.adversarial import check_attack, is_attacked, perturbed

Progress = Callable[[dict[str, Any]], None]
"""Called after every epoch with that epoch's row of history."""


PROGRESS = ("epoch", "best_epoch", "best_score", "history")
"""Fields of `State` that are saved as JSON, apart from the tensors."""


@dataclasses.dataclass
class State:
    """The state of a run after an epoch."""

    network: Network
    optimizer: torch.optim.Adam
    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    precision: Precision = "float32"

    def is_done(self, config: RunConfig) -> bool:
        """True after the last epoch, or the last of ``patience`` epochs in a row without improvement."""
        return self.epoch >= config.train.epochs or self.epoch - self.best_epoch >= config.train.patience


def run_folder(runs: Path, config: RunConfig, prepared: Prepared) -> Path:
    """``runs/<system>-<seed>-<signature>``; the signature covers the resolved configuration and the data."""
    resolved = config.resolved()
    return runs / f"{resolved.system}-{resolved.train.seed}-{run_signature(resolved, prepared)}"


def run_signature(config: RunConfig, prepared: Prepared) -> str:
    """The signature of a configuration and its data; a split from a file counts by its content, not its path."""
    if content := split_identity(config.data.split):
        data = config.data.model_copy(update={"split": content})
        config = config.model_copy(update={"data": data})
    return signature(config, prepared.fingerprint)


def remarks(folder: Path) -> list[str]:
    """Sentences about the training of a finished run, for readers of its results."""
    result = RunFolder(folder).read_training()
    measure, sign = result.get("select", "score"), -1 if "select" in result else 1
    stopped = (
        f"best epoch {result['best_epoch']} of {result['epochs']}, validation {measure} "
        f"{sign * result['best_score']:.4f}"
    )
    return [stopped, *([result["note"]] if "note" in result else [])]


def train(
    config: RunConfig,
    prepared: Prepared,
    runs: Path,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Path:
    """Train one run, or finish one that was interrupted; a finished one is returned as it is.

    Args:
        config: The run. Its early stopping score is the mean over emotions of Pearson's r on the validation clips
            plus, for a bottleneck that is scored, the mean over concepts (the study, section on training); with
            ``select`` mae or loss, minus the same sum of mean absolute errors, or minus the training loss there.
        prepared: The data set.
        runs: Folder of all runs.
        device: Where to compute, ``cpu`` or ``cuda``.
        progress: Called after every epoch.

    Returns:
        The run's folder, with config.yaml, split.csv, checkpoint.safetensors, history.csv, training.json.

    Raises:
        ConfigError: The data do not support this configuration, or the device is not available.
        DataError: Fewer than two validation or test clips, or a column that is constant in the training or
            validation clips.
        TenutoError: Training diverged.
    """
    check_network(config)
    check(config, prepared)
    require(device)
    require_precision(config.train.precision, device)
    run, config = RunFolder(run_folder(runs, config, prepared)), config.resolved()
    if run.is_trained():
        return run.path
    material = Material(prepared, config.data)
    check_split(material.split)
    check_labels(prepared.index, material.split, scored_concepts(config), config.train.select is None)
    check_attack(config.train.adversarial, prepared.index, material.split)
    write_text(run.config, to_yaml(config))
    write_split(run.split, material.split)
    with compute_repeatably(config.train.threads), torch.random.fork_rng():
        state = _new_state(config, prepared, torch.device(device))
        if not _resume(run.state, state):
            state = _new_state(config, prepared, torch.device(device))
        _run_epochs(config, material, run, state, progress)
    _finish(config, prepared, run, state)
    return run.path


def _run_epochs(
    config: RunConfig, material: Material, run: RunFolder, state: State, progress: Progress | None
) -> None:
    device = next(state.network.parameters()).device
    validation = material.part("validation").to(device)
    board = _tensorboard(run.tensorboard)
    while not state.is_done(config):
        state.epoch += 1
        batches = _shuffled(material, config, state.epoch)
        loss = _epoch(state, [batch.to(device) for batch in batches], config)
        row = {"epoch": state.epoch, "loss": loss, **_validate(state.network, validation, config)}
        improved = row["score"] >= state.best_score  # an equal score counts, NaN does not
        if improved:
            state.best_epoch, state.best_score = state.epoch, row["score"]
            checkpoint.save(
                run.checkpoint,
                _recogniser(state.network, config, material),
                {"epoch": state.epoch, "arithmetic": arithmetic(str(device))},
            )
        state.history.append(row)
        write_csv(run.history, pd.DataFrame(state.history))
        _save(run.state, state)
        if board is not None:
            for name in row.keys() - {"epoch"}:
                board.add_scalar(name, row[name], state.epoch)
        if progress:
            progress({**row, "best_epoch": state.best_epoch, "epochs": config.train.epochs})
    if board is not None:
        board.close()


def _epoch(state: State, batches: list[Batch], config: RunConfig) -> float:
    """One pass over the training clips; the mean loss of its normal updates."""
    train = config.train
    with_attack = is_attacked(train.adversarial, state.epoch)
    total = torch.zeros((), device=batches[0].inputs.device)
    state.network.train()
    for batch in batches:
        total += _update(state, batch.inputs, batch, train.task_loss_weight)
        if with_attack and train.adversarial is not None:
            inputs = perturbed(state.network, batch, train.adversarial, state.precision)
            _update(state, inputs, batch, 1.0)
    return float(total) / len(batches)


def _update(state: State, inputs: Tensor, batch: Batch, weight: float) -> Tensor:
    """One optimiser step on w * emotion MSE + (1 - w) * concept MSE; Adam and its moments are float32."""
    state.optimizer.zero_grad(set_to_none=True)
    with allowing_tf32(state.precision == "tf32"):
        # One block per update: autocast caches lowered weights until its block ends, even after an optimiser step.
        with computing_in(state.precision, inputs.device.type):
            loss = _loss(state.network(inputs), batch, weight)
        loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()
    return loss.detach()


def _loss(prediction: Prediction, batch: Batch, weight: float) -> Tensor:
    emotion = nn.functional.mse_loss(prediction.emotions, batch.labels)
    if weight == 1.0 or prediction.concepts is None or batch.concepts is None:
        return emotion
    return weight * emotion + (1 - weight) * nn.functional.mse_loss(prediction.concepts, batch.concepts)


def _shuffled(material: Material, config: RunConfig, epoch: int) -> list[Batch]:
    """The epoch's batches in its own order; the last incomplete one is dropped. Also seeds dropout."""
    seed = int(np.random.SeedSequence((config.train.seed, epoch)).generate_state(1)[0])
    torch.manual_seed(seed)
    clips = material.training(config.train.seed, epoch)
    order = torch.randperm(len(clips))
    size = min(config.train.batch_size, len(clips))
    return [clips.take(order[start : start + size]) for start in range(0, len(clips) - size + 1, size)]


def _validate(network: Network, clips: Batch, config: RunConfig) -> dict[str, float]:
    """Validation scores of an epoch: correlations of emotions, and of concepts if they count, and the score.

    The score, of which more is better, is the sum of the correlations, or minus the error that ``select`` names.
    """
    size = config.train.batch_size
    count = (
        len(clips) // size * size if config.train.drop_last_evaluated and len(clips) >= size else len(clips)
    )
    prediction = predict(network, clips.inputs[:count], size)
    pairs = {"validation_emotions": (clips.labels[:count], prediction.emotions)}
    if scored_concepts(config) and prediction.concepts is not None and clips.concepts is not None:
        pairs["validation_concepts"] = (clips.concepts[:count], prediction.concepts)
    scores = {name: _correlation(label, values) for name, (label, values) in pairs.items()}
    if config.train.select is None:
        return {**scores, "score": sum(scores.values())}
    differences = [_array(label) - _array(values) for label, values in pairs.values()]
    if config.train.select == "mae":
        error = sum(float(np.abs(difference).mean()) for difference in differences)
    else:
        weight = config.train.task_loss_weight
        weights = (weight, 1 - weight) if len(differences) > 1 else (1.0,)
        error = sum(w * float(np.square(d).mean()) for w, d in zip(weights, differences, strict=True))
    return {**scores, f"validation_{config.train.select}": error, "score": -error}


def _correlation(label: Tensor, prediction: Tensor) -> float:
    """Mean over columns of Pearson's r; NaN, which is never the best score, where a prediction is not finite."""
    if not torch.isfinite(prediction).all():
        return math.nan
    return float(metrics.pearson(_array(label), _array(prediction)).mean())


def scored_concepts(config: RunConfig) -> bool:
    """Whether the bottleneck's correlation with the concepts is part of the early stopping score."""
    train = config.train
    return NETWORKS[config.model.network].has_concepts and (
        train.task_loss_weight < 1 or train.score_free_units
    )


def _new_state(config: RunConfig, prepared: Prepared, device: torch.device) -> State:
    torch.manual_seed(config.train.seed)
    units = len(prepared.index.concepts) or CONCEPTS_WITHOUT_RATINGS
    network = build(config.model.network, len(prepared.index.emotions), units, config.model.width).to(device)
    chosen = config.train.precision
    precision: Precision = "float32" if chosen is None or chosen == "auto" else chosen
    if precision == "bfloat16":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=config.train.learning_rate)
    return State(network, optimizer, precision=precision)


def _save(path: Path, state: State) -> None:
    arrays = {f"network.{name}": _array(tensor) for name, tensor in state.network.state_dict().items()}
    for number, moments in state.optimizer.state_dict()["state"].items():
        arrays |= {f"adam.{number}.{name}": _array(tensor) for name, tensor in moments.items()}
    progress = {name: getattr(state, name) for name in PROGRESS}
    write_safetensors(path, arrays, {"state": json.dumps(progress)})


def _resume(path: Path, state: State) -> bool:
    """Continue from the state on disk. False if there is none or it is damaged: ``state`` must then be made again."""
    if not is_file(path):
        return False
    check_readable(path)
    try:
        arrays, metadata = read_safetensors(path)
        parts = {"network": dict[str, Tensor](), "adam": dict[str, Tensor]()}
        for key, array in arrays.items():
            part, _, name = key.partition(".")
            parts[part][name] = torch.from_numpy(array)
        state.network.load_state_dict(parts["network"])
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in parts["adam"].items():
            number, _, name = key.partition(".")
            moments.setdefault(int(number), {})[name] = tensor
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        progress = json.loads(metadata["state"])
        for name in PROGRESS:
            setattr(state, name, progress[name])
    except (FileError, KeyError, TypeError, ValueError, RuntimeError):
        return False
    return True


def _finish(config: RunConfig, prepared: Prepared, run: RunFolder, state: State) -> None:
    if state.best_epoch == 0:
        raise TenutoError(
            f"{run.name}: no epoch had a defined validation score, since predictions were constant or infinite. "
            "Choose another split or lower the learning rate."
        )
    result: dict[str, Any] = {
        "best_epoch": state.best_epoch,
        "best_score": state.best_score,
        "epochs": state.epoch,
        "scored": ["emotions", *(["concepts"] if "validation_concepts" in state.history[-1] else [])],
    }
    if config.train.select is not None:
        result["select"] = config.train.select
    if (
        config.train.score_free_units
        and NETWORKS[config.model.network].has_concepts
        and prepared.index.concept_labels is None
    ):
        result["note"] = "no concept ratings: the score of this bottleneck model is its emotion part alone"
    write_json(run.training, result)
    run.state.unlink(missing_ok=True)


def _recogniser(network: Network, config: RunConfig, material: Material) -> Recogniser:
    index = material.prepared.index
    return Recogniser(
        network=network,
        system=config.system,
        emotions=index.emotions,
        concepts=checkpoint.unit_names(config, index.concepts),
        inputs=material.inputs,
        fingerprint=material.prepared.fingerprint,
        width=config.model.width,
        scale=index.label_scale,
    )


def _tensorboard(folder: Path) -> Any:
    """A TensorBoard writer where TensorBoard is installed, else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()
