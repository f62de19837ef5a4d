"""Runs from data or from released weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tenuto.api.datasets import prepare, with_folder_file
from tenuto.api.progress import SILENT, Progress
from tenuto.arguments import checked
from tenuto.config import (
    SYSTEMS,
    RunConfig,
    describes_study,
    merge,
    read_preset,
    with_adversarial,
    with_system,
)
from tenuto.devices import require, require_precision
from tenuto.errors import ConfigError, counted, did_you_mean
from tenuto.models import check_network
from tenuto.models.checkpoint import import_run
from tenuto.sinks import Sink
from tenuto.train_config import JOINT
from tenuto.training import loop
from tenuto.training.bottleneck import check_bottleneck


def run_config(
    system: str | None = None,
    preset: str | None = None,
    settings: dict[str, Any] | None = None,
    adversarial: bool | None = None,
    root: str | Path | None = None,
) -> RunConfig:
    """The configuration of a run: a preset, then a named system, then single settings; later ones win.

    Args:
        system: Name of a system, such as ``A2E``.
        preset: Name of a preset, or path of a YAML file.
        settings: Parts ``data``, ``model`` and ``train`` of a `RunConfig`; None leaves a value as it is. Another domain
            or ``db`` of robust training also drops the levels of the preset, which are in another unit.
        adversarial: Whether to train adversarially; default: as the preset and the system say.
        root: Folder of the data set, whose ``tenuto.yaml`` is read.

    Raises:
        ConfigError: An unknown name, key or value.
    """
    content: dict[str, Any] = read_preset(preset) if preset else {}
    if system is not None:
        if system not in SYSTEMS:
            raise ConfigError(f"system {system!r} is unknown. {did_you_mean(system, SYSTEMS)}")
        content = with_system(content, system)
    elif preset and describes_study(preset) and adversarial is None:
        # In a study, settings of adversarial training hold for the systems that are trained so.
        content = with_adversarial(content, False)
    own = (settings or {}).get("train") or {}
    content["train"] = _without_replaced(content.get("train") or {}, own)
    content = merge(content, settings or {})
    content["data"] = with_folder_file(content.get("data") or {}, root)
    if adversarial is not None:
        content = with_adversarial(content, adversarial)
    return RunConfig.parse(content, preset or "the settings").named()


def _without_replaced(train: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of training of a preset and a system, without those of a bottleneck or method that ``own`` replaces."""
    rest = dict(train)
    bottleneck, robust, new = (train.get("bottleneck") or JOINT, train.get("robust"), own.get("robust"))
    if own.get("task_loss_weight") is None and (own.get("bottleneck") or bottleneck) != bottleneck:
        rest.pop("task_loss_weight", None)  # it weighs the loss of the other bottleneck
    if isinstance(robust, str):
        robust = {"method": robust}
    if isinstance(robust, Mapping):
        new_table = new if isinstance(new, Mapping) else {}
        same = new_table.get("method") in (None, robust.get("method"))
        rest["robust"] = _with_levels(robust, new_table) if same else {}
    return rest


def _with_levels(robust: Mapping[str, Any], levels: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a method without the levels that ``given`` replaces, or states in another unit."""
    merged = dict(robust)
    names = {name for name, value in levels.items() if value is not None}
    if merged.get("db") is not None:
        merged["domain"] = "waveform"  # a level in dB implies it, another level of the sound does not
    if "db" in names or ("domain" in names and levels["domain"] != merged.get("domain")):
        dropped: tuple[str, ...] = ("epsilon", "sigma", "step_size", "db")
    else:
        dropped = ("step_size", "db") if "epsilon" in names and merged.get("db") is not None else ()
    return {name: value for name, value in merged.items() if name not in dropped}


@checked
def train(
    root: str | Path,
    config: RunConfig | None = None,
    *,
    system: str | None = None,
    preset: str | None = None,
    adversarial: bool | None = None,
    runs: str | Path = "runs",
    cache: str | Path | None = None,
    device: str = "cpu",
    progress: Progress = SILENT,
    report: Callable[[dict[str, Any]], None] | None = None,
    log: str | Sink | None = None,
    **settings: Any,
) -> Path:
    """Train one run, or resume an interrupted one.

    Args:
        root: Folder of the data set.
        config: The whole configuration, in place of the arguments that follow.
        system: Name of a system, such as ``A2E``.
        preset: Name of a preset, or path of a YAML file.
        adversarial: Whether to train adversarially.
        runs: Folder of all runs.
        cache: Folder of spectrograms; default: the user's cache.
        device: ``cpu`` or ``cuda``.
        progress: Reports epochs.
        log: Where every epoch is reported: ``tensorboard``, ``wandb``, ``mlflow``, ``none``, or a `tenuto.sinks.Sink`;
            default: TensorBoard where it is installed.
        report: Called with the line of ``history.csv`` after every epoch.
        settings: Settings of training, such as ``seed=6`` or ``bottleneck="sequential"``; ``data`` (also the name of a
            data set) and ``model`` are mappings.

    Returns:
        The run's folder; ``tenuto.open_run(folder, root)`` opens it.

    Raises:
        ConfigError: An unknown name or setting, or ``config`` and other settings.
        TenutoError: Data that cannot be used.
    """
    options = {"system": system, "preset": preset, "adversarial": adversarial, **settings}
    if config is not None and (names := [name for name, value in options.items() if value is not None]):
        raise ConfigError(
            f"{', '.join(names)}: `config` is the whole configuration. Set them there, or leave it out."
        )
    if config is None:
        parts: dict[str, Any] = {name: settings.pop(name) for name in ("data", "model") if name in settings}
        if isinstance(parts.get("data"), str):
            parts["data"] = {"dataset": parts["data"]}
        config = run_config(system, preset, {**parts, "train": settings}, adversarial, root)
    check_network(config)
    check_bottleneck(config)
    require(device)
    require_precision(config.train.precision, device)
    config = loop.complete_config(config)
    prepared = prepare(root, config.data, cache=cache, progress=progress)
    progress.note(
        f"{config.system}, seed {config.train.seed}, {counted(len(prepared.index), 'clip')} of {prepared.name}"
    )
    with progress.bar("epochs", config.train.epochs) as advance:
        finished = 0

        def advanced(row: dict[str, Any]) -> None:
            nonlocal finished
            advance(row["epoch"] - finished)  # a resumed run starts in the middle of the bar
            finished = row["epoch"]
            if report is not None:
                report(row)

        folder = loop.train(config, prepared, Path(runs), device, advanced, log)
    for remark in loop.remarks(folder):
        progress.note(remark)
    return folder


@checked
def import_reference(state: str | Path, system: str, seed: int, runs: str | Path = "runs") -> Path:
    """Make a run folder of a released ``.pt`` file of weights. Nothing in the file is executed.

    The study's normalisation, split and excerpts are assumed, since the file records none.

    Args:
        state: The file.
        system: Which system it is.
        seed: The seed it was trained with.
        runs: Folder of all runs.

    Raises:
        CheckpointError: Not such a file, or weights of another system.
        ConfigError: No such system.
    """
    return import_run(state, system, seed, Path(runs))
