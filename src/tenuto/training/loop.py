"""The training loop: one run from its configuration to its checkpoint, resumable after any epoch.

All randomness of an epoch (order of clips, excerpts, dropout) is a pure function of the seed and the epoch's number,
so the state on disk needs no generator states, and an interrupted run ends with the numbers of an undisturbed one.
"""

from __future__ import annotations

import dataclasses
import functools
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
from tenuto.data.inputs import FramedWaveformInputs, LogSpectrogramInputs
from tenuto.data.splits import split_identity, write_split
from tenuto.devices import Precision, arithmetic, compute_repeatably, require, require_precision
from tenuto.errors import TenutoError
from tenuto.files import write_csv, write_json, write_text
from tenuto.models import checkpoint
from tenuto.models.heads import Prediction
from tenuto.models.recogniser import Recogniser, predict
from tenuto.models.sound import SoundNetwork
from tenuto.models.systems import CONCEPTS_WITHOUT_RATINGS, NETWORKS, Network, build, check_network
from tenuto.sinks import Sink, open_sink
from tenuto.store.result_rows import array
from tenuto.store.run import RunFolder
from tenuto.training import robust
from tenuto.training.adversarial import check_attack, is_attacked, perturb
from tenuto.training.averaging import Average
from tenuto.training.bottleneck import check_bottleneck, fit_emotions
from tenuto.training.state import State, resume, save
from tenuto.training.update import Trainee

Progress = Callable[[dict[str, Any]], None]
"""Called after every epoch with that epoch's row of history."""


def run_folder(runs: Path, config: RunConfig, prepared: Prepared) -> Path:
    """``runs/<system>-<seed>-<signature>``; the signature covers the resolved configuration and the data."""
    resolved = complete_config(config)
    return runs / f"{resolved.system}-{resolved.train.seed}-{run_signature(resolved, prepared)}"


def complete_config(config: RunConfig) -> RunConfig:
    """The same with the defaults of this machine and of its method of robust training. Raises `ConfigError`."""
    config = config.resolved()
    if config.train.robust is None:
        return config
    train = config.train.model_copy(update={"robust": robust.complete_settings(config.train.robust)})
    return config.model_copy(update={"train": train})


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
    log: str | Sink | None = None,
) -> Path:
    """Train one run, or finish one that was interrupted; a finished one is returned as it is.

    Args:
        config: The run. Its early stopping score is the mean over emotions of Pearson's r on the validation clips
            plus, for a bottleneck that is scored, the mean over concepts (the study, section on training); with
            ``select`` mae or loss, minus the same sum of mean absolute errors, or minus the training loss there. A
            sequential or independent bottleneck is scored on its concepts alone, since its emotions are fitted after
            the last epoch, on the concepts of the best one.
        prepared: The data set.
        runs: Folder of all runs.
        device: Where to compute, ``cpu`` or ``cuda``.
        progress: Called after every epoch.
        log: Where every epoch is reported, see `tenuto.sinks.open_sink`; default: TensorBoard where it is installed.

    Returns:
        The run's folder, with config.yaml, split.csv, checkpoint.safetensors, history.csv, training.json.

    Raises:
        ConfigError: The data do not support this configuration, or the device is not available.
        DataError: Fewer than two validation or test clips, or a column that is constant in the training or
            validation clips.
        TenutoError: Training diverged.
    """
    check_network(config)
    check_bottleneck(config)
    check(config, prepared)
    require(device)
    require_precision(config.train.precision, device)
    run, config = RunFolder(run_folder(runs, config, prepared)), complete_config(config)
    if run.is_trained():
        return run.path
    material = Material(prepared, config.data)
    check_split(material.split)
    check_labels(prepared.index, material.split, scored_concepts(config), config.train.select is None)
    check_attack(config.train.adversarial, prepared.index, material.split)
    robust.check(config.train.robust, prepared, material.split)
    write_text(run.config, to_yaml(config))
    write_split(run.split, material.split)
    with compute_repeatably(config.train.threads), torch.random.fork_rng():
        state = _new_state(config, prepared, torch.device(device))
        if not resume(run.state, state):
            state = _new_state(config, prepared, torch.device(device))
        with open_sink(log, run.path, run.name, "training") as sink:
            _run_epochs(config, material, run, state, sink, progress)
        if config.train.bottleneck is not None and state.best_epoch:
            _fit_emotions(config, material, run, state)
    _finish(config, prepared, run, state)
    return run.path


def _run_epochs(
    config: RunConfig,
    material: Material,
    run: RunFolder,
    state: State,
    sink: Sink,
    progress: Progress | None,
) -> None:
    device = next(state.network.parameters()).device
    validation = material.part("validation").to(device)
    trainee, training = _trainee(state, config, material)
    while not state.is_done(config):
        state.epoch += 1
        batches = _shuffled(training, config, state.epoch)
        loss = _epoch(state, [batch.to(device) for batch in batches], config, trainee)
        row = {"epoch": state.epoch, "loss": loss, **_validate(state.evaluated, validation, config)}
        improved = row["score"] >= state.best_score  # an equal score counts, NaN does not
        if improved:
            state.best_epoch, state.best_score = state.epoch, row["score"]
            checkpoint.save(
                run.checkpoint,
                _recogniser(state.evaluated, config, material),
                {"epoch": state.epoch, "arithmetic": arithmetic(str(device))},
            )
        state.history.append(row)
        write_csv(run.history, pd.DataFrame(state.history))
        save(run.state, state)
        sink.log(state.epoch, {name: row[name] for name in row.keys() - {"epoch"}})
        if progress:
            progress({**row, "best_epoch": state.best_epoch, "epochs": config.train.epochs})


def _fit_emotions(config: RunConfig, material: Material, run: RunFolder, state: State) -> None:
    """Fit the emotions of the best epoch's network to its concepts, and replace the checkpoint."""
    assert config.train.bottleneck is not None
    device = next(state.network.parameters()).device
    recogniser, clips = checkpoint.load(run.checkpoint), material.part("train").to(device)
    fit_emotions(recogniser.network.to(device), clips, config.train.bottleneck, config.train.batch_size)
    notes = {"epoch": state.best_epoch, "arithmetic": arithmetic(str(device))}
    checkpoint.save(run.checkpoint, recogniser, notes)


def _trainee(state: State, config: RunConfig, material: Material) -> tuple[Trainee, Material]:
    """What is trained, and on what: on waveforms where robust training perturbs them."""
    trainee = Trainee(
        state.network,
        state.optimizer,
        functools.partial(_loss, weight=config.train.task_loss_weight),
        state.precision,
        state.average,
        valid_range=material.inputs.valid_range,
    )
    if config.train.robust is None or config.train.robust.domain != "waveform":
        return trainee, material
    assert isinstance(material.inputs, LogSpectrogramInputs)
    sound = SoundNetwork(state.network, material.inputs.normalisation)
    sound.to(next(state.network.parameters()).device)
    inputs = FramedWaveformInputs()
    waveforms = Material(material.prepared, config.data, material.split, inputs)
    return dataclasses.replace(trainee, sound=sound, valid_range=inputs.valid_range), waveforms


def _epoch(state: State, batches: list[Batch], config: RunConfig, trainee: Trainee) -> float:
    """One pass over the training clips; the mean loss of its normal updates."""
    train = config.train
    method = None if train.robust is None else robust.build(train.robust)
    total = torch.zeros((), device=batches[0].inputs.device)
    state.network.train()
    for batch in batches:
        if method is not None:
            total += method.update(trainee, batch)
            continue
        total += trainee.learn(batch.inputs, batch)
        if train.adversarial is not None and is_attacked(train.adversarial, state.epoch):
            inputs = perturb(state.network, batch, train.adversarial, state.precision)
            dataclasses.replace(trainee, loss=functools.partial(_loss, weight=1.0)).learn(inputs, batch)
    return float(total) / len(batches)


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
    """Validation scores of an epoch: correlations of emotions and concepts, as far as they count, and the score.

    The score, of which more is better, is the sum of the correlations, or minus the error that ``select`` names.
    """
    size = config.train.batch_size
    count = (
        len(clips) // size * size if config.train.drop_last_evaluated and len(clips) >= size else len(clips)
    )
    prediction = predict(network, clips.inputs[:count], size)
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    if config.train.bottleneck is None:
        pairs["validation_emotions"] = (clips.labels[:count], prediction.emotions)
    if scored_concepts(config) and prediction.concepts is not None and clips.concepts is not None:
        pairs["validation_concepts"] = (clips.concepts[:count], prediction.concepts)
    scores = {name: _correlation(label, values) for name, (label, values) in pairs.items()}
    if config.train.select is None:
        return {**scores, "score": sum(scores.values())}
    differences = [array(label) - array(values) for label, values in pairs.values()]
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
    return float(metrics.pearson(array(label), array(prediction)).mean())


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
    average = None if config.train.average is None else Average(network, config.train.average)
    return State(network, optimizer, precision=precision, average=average)


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
        "scored": [name for name in ("emotions", "concepts") if f"validation_{name}" in state.history[-1]],
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
        settings=config,
    )
