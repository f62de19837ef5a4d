"""Where training and attacks report their numbers while they run: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tenuto.errors import ConfigError, one_line
from tenuto.registry import Registry

PROJECT = "tenuto"
"""Project of Weights & Biases and experiment of MLflow."""


@runtime_checkable
class Sink(Protocol):
    """What receives numbers."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of one step (an epoch of training, an evaluation of an attack), by their names."""

    def close(self) -> None:
        """End the report; nothing is logged afterwards."""


SINKS: Registry[type[Any]] = Registry("sink", "tenuto.sinks", type)
"""Every sink by its name. A class is made with the folder of the run, the name of the run, and what of it is reported:
``training``, or a protocol, with the part of the split unless that is test. The traces of an attack are reported at
once, after it, and replace those that were reported under this name before."""


@SINKS.register("none")
class Nothing:
    """Reports nothing, also where TensorBoard is installed."""

    def __init__(self, folder: Path, run: str, part: str) -> None:
        pass

    def log(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


@SINKS.register("tensorboard")
class TensorBoard:
    """Event files below ``tensorboard`` in the folder of the run, those of attacks in a folder of their own."""

    def __init__(self, folder: Path, run: str, part: str) -> None:
        with _requires("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

        place = folder / "tensorboard"
        if part == "training":
            self._writer: Any = SummaryWriter(str(place))
        else:  # the earlier events of a repeated call are not shown
            self._writer = SummaryWriter(str(place / part), purge_step=0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


@SINKS.register("wandb")
class WeightsAndBiases:
    """A run of Weights & Biases in the project ``tenuto``; an interrupted one is continued.

    Where and whether it uploads follows from the environment variables of wandb, such as ``WANDB_MODE=offline``.
    """

    def __init__(self, folder: Path, run: str, part: str) -> None:
        with _requires("wandb"):
            import wandb

        name = run if part == "training" else f"{run}-{part}"
        identity = re.sub(r"[^\w.=+-]", "-", name)
        self._run = wandb.init(
            project=PROJECT, name=name, id=identity, resume="allow", dir=str(folder), config={"run": run}
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


@SINKS.register("mlflow")
class MLflow:
    """A run of MLflow in the experiment ``tenuto``; interrupted training is continued.

    Where it is stored follows from the environment variables of MLflow, such as ``MLFLOW_TRACKING_URI``.
    """

    def __init__(self, folder: Path, run: str, part: str) -> None:
        with _requires("mlflow"):
            from mlflow import MlflowClient

        name = run if part == "training" else f"{run}-{part}"
        self._client = MlflowClient()
        experiment = self._client.get_experiment_by_name(PROJECT)
        identity = self._client.create_experiment(PROJECT) if experiment is None else experiment.experiment_id
        same = self._client.search_runs([identity], filter_string=f"attributes.run_name = '{name}'")
        if part != "training":  # points cannot be replaced, only the run of a repeated call
            for earlier in same:
                self._client.delete_run(earlier.info.run_id)
            same = []
        entry = same[0] if same else self._client.create_run(identity, run_name=name)
        self._identity = entry.info.run_id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            # Names have letters, digits and few other characters.
            self._client.log_metric(self._identity, re.sub(r"[^\w\-. /]", "_", name), value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._identity)


@contextmanager
def _requires(extra: str) -> Iterator[None]:
    """Import an optional package in this block. Raises `ConfigError` where it is not installed."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"`log` {extra} needs a package that is not installed: pip install tenuto[{extra}]."
        ) from error


def _begun(name: str, folder: Path, run: str, part: str) -> Sink:
    """A sink by its name. Raises `ConfigError` also for what its package raises: no account, server or store."""
    kind = SINKS[name]
    try:
        sink: Sink = kind(folder, run, part)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"`log` {name} cannot begin: {one_line(error)}. Set up {name} as its documentation says, such as the "
            "environment variable of its server."
        ) from error
    return sink


@contextmanager
def open_sink(log: str | Sink | None, folder: Path, run: str, part: str) -> Iterator[Sink]:
    """A sink by its name, or one that is there already; it is closed at the end.

    Args:
        log: A key of `SINKS`, or a sink; None for TensorBoard where that is installed, else nothing.
        folder: Of the run.
        run: Name of the run.
        part: ``training``, or the protocol of an attack and its part of the split (`tenuto.store.run.stem`).

    Raises:
        ConfigError: No such sink, or a package that is not installed.
    """
    sink: Sink
    if log is None:
        try:
            sink = TensorBoard(folder, run, part)
        except ConfigError:
            sink = Nothing(folder, run, part)
    else:
        sink = _begun(log, folder, run, part) if isinstance(log, str) else log
    try:
        yield sink
    finally:
        sink.close()
