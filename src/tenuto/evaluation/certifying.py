"""Certify clips: draw noisy predictions, keep them in the run folder, and compute bounds from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tenuto.analysis.certificates import ATTACKED
from tenuto.attacks.budgets import LARGEST_DB
from tenuto.attacks.calling import left_as_found
from tenuto.attacks.checks import is_number, require_number, require_whole
from tenuto.attacks.registry import check_settings
from tenuto.data.batches import Batch
from tenuto.devices import repeatable, require
from tenuto.errors import CheckpointError, ConfigError, DataError
from tenuto.evaluation.certificates import NOISE_SOURCE, Smoothing, Values, certificate, noisy_predictions
from tenuto.evaluation.records import origin_of
from tenuto.evaluation.runs import OpenedRun
from tenuto.evaluation.smoothed_attack import attacked_predictions, interval
from tenuto.files import Array, check_writable, read_safetensors, write_csv, write_safetensors
from tenuto.models.recogniser import Recogniser, predict
from tenuto.models.systems import for_attack
from tenuto.store.certificates import with_other_sizes
from tenuto.store.result_rows import array

Progress = Callable[[int], None]
Numbers = float | Sequence[float]


@dataclasses.dataclass(frozen=True)
class Radii:
    """Radii of certificates: L2 sizes, the same for every clip, or distances in dB below each clip.

    Args:
        sizes: In the unit of the input.
        snr_db: 20 log10(||x||_2 / radius), for waveforms.

    Raises:
        ConfigError: No radius, one below 0, or dB that are no level of a budget (`tenuto.attacks.SNR`).
    """

    sizes: tuple[float, ...] = ()
    snr_db: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for size in self.sizes:
            if not is_number(size) or size < 0:
                raise ConfigError(f"radius must be a number of at least 0, got {size!r}.")
        for decibels in self.snr_db:
            require_number("snr_db", decibels, -LARGEST_DB, LARGEST_DB)
        if not self.sizes and not self.snr_db:
            raise ConfigError("radius is empty: give at least one, such as 0.05, or snr_db for waveforms.")

    def of(self, example: Tensor, clip: str) -> list[tuple[float, float]]:
        """(radius, dB) of one clip (1, ...); the dB are NaN where a size was given. Raises `DataError` for silence."""
        norm = float(example.double().norm())
        if self.snr_db and norm == 0:
            raise DataError(
                f"The waveform of clip {clip} is silent and has no signal-to-noise ratio: leave it out, or give radius."
            )
        return [
            *((size, np.nan) for size in self.sizes),
            *((norm * 10 ** (-decibels / 20), decibels) for decibels in self.snr_db),
        ]


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be certified, checked: see `tenuto.certify` for its arguments. Every smoothing has its radii.

    Raises:
        ConfigError: A setting out of range.
    """

    smoothings: tuple[Smoothing, ...]
    radii: tuple[Radii, ...]
    clips: int | None = None
    device: str = "cpu"
    batch_size: int | None = None
    attack_steps: int = 0

    @classmethod
    def of(
        cls,
        sigma: Numbers,
        radius: Numbers,
        snr_db: Numbers,
        clips: int | None,
        device: str,
        batch_size: int | None,
        attack_steps: int,
        **settings: Any,
    ) -> Request:
        """The request with its defaults."""
        check_settings(Smoothing, settings)
        smoothings = tuple(Smoothing(sigma=one, **settings) for one in _numbers("sigma", sigma))
        if not smoothings:
            raise ConfigError("sigma is empty: give at least one, such as 0.216.")
        sizes, decibels = _numbers("radius", radius), _numbers("snr_db", snr_db)
        for name, value in (("batch_size", batch_size), ("clips", clips)):
            if value is not None:
                require_whole(name, value, 1)
        require_whole("attack_steps", attack_steps, 0)
        radii = tuple(
            Radii(sizes, decibels) if sizes or decibels else Radii((one.sigma / 4, one.sigma / 2, one.sigma))
            for one in smoothings
        )
        return cls(smoothings, radii, clips, require(device), batch_size, attack_steps)

    @property
    def in_db(self) -> bool:
        """Whether radii are in dB."""
        return any(one.snr_db for one in self.radii)

    def check(self, model: Recogniser) -> None:
        """Raise `ConfigError` for a model that cannot be attacked, before anything is drawn."""
        if self.attack_steps and not model.has_gradient:
            raise ConfigError(
                f"`attack_steps` needs a model with a gradient, and {model.system} has none. Leave it out."
            )

    def first(self, clips: Batch) -> Batch:
        """Those of some clips that are to be certified."""
        return clips if self.clips is None else clips.take(torch.arange(min(self.clips, len(clips))))

    def total(self, clips: int) -> int:
        """Steps of the progress bar."""
        attacked = sum(len(one.sizes) + len(one.snr_db) for one in self.radii) if self.attack_steps else 0
        return clips * (len(self.smoothings) + attacked)


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    """The different numbers of Python, NumPy or torch, as floats: 1 and 1.0 are one attack. Raises `ConfigError`."""
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "iuf" or numbers.ndim > 1:
        raise ConfigError(f"{name} must be a number or several, got {value!r}.")
    return tuple(dict.fromkeys(map(float, numbers.reshape(-1))))


class Draws:
    """Noisy predictions of clips, (draws, outputs) each, in a file of a run where one is named.

    Args:
        path: The file; None keeps them in memory.
        identity: What they were made with; a file that was made with something else is refused.

    Raises:
        CheckpointError: The file belongs to other weights or settings.
    """

    def __init__(self, path: Path | None = None, identity: dict[str, str] | None = None) -> None:
        self.path, self.identity = path, identity or {}
        self.predictions: dict[str, Array] = {}
        if path is not None and path.is_file():
            self.predictions, recorded = read_safetensors(path)
            if recorded != self.identity:
                raise CheckpointError(
                    f"{path}: holds predictions of earlier weights of this run, or with noise of an earlier version of "
                    "Tenuto. Delete the file and run the same command again."
                )

    def keep(self, clip: str, predictions: Values) -> None:
        """Keep the predictions of one more clip."""
        self.predictions[clip] = predictions
        if self.path is not None:
            write_safetensors(self.path, self.predictions, self.identity)


def certify_clips(
    model: torch.nn.Module,
    clips: Batch,
    emotions: Sequence[str],
    smoothing: Smoothing,
    radii: Radii,
    *,
    scale: tuple[float, float] | None = None,
    rated: bool = True,
    draws: Draws | None = None,
    attack_steps: int = 0,
    attacked: Draws | None = None,
    batch_size: int | None = None,
    progress: Progress = lambda done: None,
) -> pd.DataFrame:
    """Rows of the certificates of some clips, a line per clip, radius and output.

    Args:
        model: Inputs to `Prediction`.
        clips: The clips.
        emotions: Names of the outputs.
        smoothing: The noise, and what is claimed.
        radii: Of the certificates.
        scale: Lowest and highest rating; None where it is not known.
        rated: Whether the labels are ratings.
        draws: Predictions that were drawn before.
        attack_steps: Of an attack on the smoothed model at every radius; 0 for none.
        attacked: Predictions that were drawn under this attack before.
        batch_size: Noisy inputs predicted together; default: 6, on a GPU 64.
        progress: Called with 1 after every clip and, with an attack, every radius.
    """
    draws_known, searched, tables = draws or Draws(), attacked or Draws(), []
    with left_as_found(model):
        clean = array(predict(model, clips.inputs).emotions)
    for row, clip in enumerate(clips.clips):
        example, label = clips.inputs[row : row + 1], clips.labels[row : row + 1]
        if clip not in draws_known.predictions:
            draws_known.keep(clip, noisy_predictions(model, example, label, smoothing, batch_size))
        sizes = radii.of(example, clip)
        certified = certificate(
            draws_known.predictions[clip], [size for size, _ in sizes], smoothing, len(clips), scale
        )
        progress(1)
        for bound, (radius, decibels) in zip(certified, sizes, strict=True):
            table: dict[str, Any] = {
                "clip": clip,
                "sigma": smoothing.sigma,
                "radius": radius,
                "snr_db": decibels,
                "output": list(emotions),
                **bound,
                "clean": clean[row],
            }
            if attack_steps:
                target = label if rated else torch.from_numpy(bound["median"])[None].to(label)
                if (key := f"{clip}/{radius!r}") not in searched.predictions:
                    searched.keep(
                        key,
                        attacked_predictions(
                            model, example, target, radius, smoothing, attack_steps, batch_size
                        ),
                    )
                predictions = smoothing.clipped(searched.predictions[key], scale)
                columns = (np.median(predictions, axis=0), *interval(predictions))
                table |= dict(zip(ATTACKED, columns, strict=True))
                progress(1)
            tables.append(pd.DataFrame(table | ({"label": array(label[0])} if rated else {})))
    return pd.concat(tables, ignore_index=True)


def rows_file(run: OpenedRun, smoothing: Smoothing, part: str = "test", attack_steps: int = 0) -> Path:
    """Where `certify` writes the rows of one smoothing."""
    return run.files.certificates(_name(run, smoothing, attack_steps), part)


def _name(run: OpenedRun, smoothing: Smoothing, attack_steps: int = 0) -> str:
    name = smoothing.name(run.recogniser.inputs.name)
    return f"{name}-attack-{attack_steps}" if attack_steps else name


@repeatable
def certify(
    run: OpenedRun, part: str, request: Request, progress: Progress = lambda done: None
) -> pd.DataFrame:
    """Certify the clips of one part of a run's split. Rows and noisy predictions are written to ``certificates``.

    An interrupted call is continued, and other radii need no further predictions, only further attacks. Rows of other
    radii stay in the file, unless another confidence is asked for, or other clips.

    Args:
        run: The model and its clips.
        part: ``test`` or another part of the split.
        request: What is certified.
        progress: Called with 1 after every clip and sigma and, with an attack, every radius.

    Raises:
        CheckpointError: There are predictions of earlier weights of the run.
        DataError: The part has no clips.
        FileError: The folder cannot be written.
    """
    check_writable(rows_file(run, request.smoothings[0], part).parent)
    model = for_attack(run.recogniser.network).to(request.device)
    chosen = request.first(run.part(part).to(torch.device(request.device)))
    checkpoint, attack_steps, tables = origin_of(run)["checkpoint"], request.attack_steps, []
    for smoothing, sizes in zip(request.smoothings, request.radii, strict=True):
        name, with_attack = _name(run, smoothing), _name(run, smoothing, attack_steps)
        identity = {"checkpoint": checkpoint, "unit": run.recogniser.inputs.unit, "noise": NOISE_SOURCE}
        rows = certify_clips(
            model,
            chosen,
            run.recogniser.emotions,
            smoothing,
            sizes,
            scale=run.material.prepared.index.label_scale,
            draws=Draws(run.files.noisy_predictions(name, part), identity),
            attack_steps=attack_steps,
            attacked=Draws(run.files.noisy_predictions(with_attack, part), identity)
            if attack_steps
            else None,
            batch_size=request.batch_size,
            progress=progress,
        )
        about = {"run": run.name, "system": run.config.system, "seed": run.config.train.seed, "split": part}
        table = pd.DataFrame({**{key: [value] * len(rows) for key, value in about.items()}, **rows})
        table = table.assign(
            draws=smoothing.draws,
            confidence=smoothing.confidence,
            clips_together=smoothing.clips_together,
            clip_to_scale=smoothing.clip_to_scale,
            precision=smoothing.precision,
            unit=run.recogniser.inputs.unit,
            checkpoint=checkpoint,
        )
        path = rows_file(run, smoothing, part, attack_steps)
        write_csv(path, with_other_sizes(path, table))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
