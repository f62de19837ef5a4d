"""Fit one perturbation on the training clips of a run and judge it on other clips and at other places."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tenuto.attacks.registry import to_dict
from tenuto.attacks.universal import Part, Placement, Universal
from tenuto.audio.inversion import encode
from tenuto.audio.loading import FULL_SCALE
from tenuto.data.batches import Batch
from tenuto.data.inputs import Inputs, LogSpectrogramInputs
from tenuto.devices import repeatable
from tenuto.errors import ConfigError, FileError
from tenuto.evaluation.records import Audibility, origin_of, records, without_channel
from tenuto.evaluation.runs import OpenedRun
from tenuto.files import (
    check_writable,
    read_json,
    read_safetensors,
    write_bytes,
    write_json,
    write_safetensors,
)
from tenuto.models.systems import Network, for_attack
from tenuto.store.rows import read_own_rows, row_errors, values_of, write_rows

Values = NDArray[np.float32]
Progress = Callable[[int], None]

ABOUT = "about.json"
RESULT_FILES = (ABOUT, "perturbation.safetensors", "rows.csv")
"""What a finished result has, in the order in which it is written."""

DECISIVE_SETTINGS = ("fit", "part", "shifts", "unit")
"""Entries of the description that decide the rows, but for the weights."""

SHIFTS = (0.0, 2.5, 5.0, 7.5)
"""Seconds by which the perturbation is moved, circularly."""


@dataclasses.dataclass(frozen=True, eq=False)
class UniversalResult:
    """One perturbation of all clips, and what it does to the clips of one part of the split.

    Attributes:
        run: Name of the run.
        fit: How it was fitted.
        rows: One row per clip and placement: attack ``Universal``, shifted ``Universal +2.5 s``, and ``Noise shared``,
            a random perturbation of the same size. They are no worst cases: a placement is the same for every clip.
        shape: The perturbation in the unit of the inputs, without an axis of length one; under a budget relative to
            each clip it belongs to a clip whose Euclidean norm is 1.
        noise: The same of the noise.
        sample_rate: Of a perturbation of waveforms; None of others.
    """

    run: str
    fit: Universal
    rows: pd.DataFrame = dataclasses.field(repr=False)
    shape: Values = dataclasses.field(repr=False)
    noise: Values = dataclasses.field(repr=False)
    sample_rate: int | None

    @property
    def table(self) -> pd.DataFrame:
        """A line per placement: ``clips``, mean absolute error before (``clean_mae``) and after (``mae``), ``moved``,
        the mean absolute change of the predictions, and ``worse``, the share of clips whose error increases."""
        lines = {}
        for attack, part in self.rows.groupby("attack", sort=False):
            before, after = row_errors(part, "clean"), row_errors(part)
            change = values_of(part, "adversarial") - values_of(part, "clean")
            lines[str(attack)] = {
                "clips": len(part),
                "clean_mae": before.mean(),
                "mae": after.mean(),
                "moved": np.abs(change).mean(),
                "worse": (after > before).mean(),
            }
        return pd.DataFrame.from_dict(lines, orient="index").rename_axis("attack").astype({"clips": int})

    @property
    def gain(self) -> float:
        """What samples are multiplied by in the wav file, so that the largest has full scale; 1 for silence."""
        return 1 / (float(np.abs(self.shape).max()) or 1.0)

    def sound(self) -> bytes:
        """The perturbation as a 16-bit wav file, scaled by `gain`. Raises `ConfigError` where it is no sound."""
        if self.sample_rate is None:
            raise ConfigError(f"{self.run}: this perturbation is not of a waveform, so it has no sound.")
        samples = np.round(self.shape * np.float64(self.gain) * FULL_SCALE).astype(np.int16)
        return encode(samples, "wav", self.sample_rate)

    def write(self, folder: Path) -> list[Path]:
        """Write the rows, the perturbation as arrays and, of a waveform, as sound. Raises `FileError`."""
        arrays = {"shape": self.shape, "noise": self.noise}
        paths = [write_safetensors(folder / RESULT_FILES[1], arrays, {})]
        if self.sample_rate is not None:
            paths.append(write_bytes(folder / "perturbation.wav", self.sound()))
        return [*paths, write_rows(folder / RESULT_FILES[2], self.rows)]


@repeatable
def universal(
    run: OpenedRun,
    fit: Universal,
    folder: Path | None = None,
    part: str = "test",
    shifts: Sequence[float] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> UniversalResult:
    """Fit one perturbation on training clips, chosen on validation clips, and judge it on the clips of ``part``.

    Args:
        run: The model and its clips.
        fit: How the perturbation is fitted.
        folder: Where the result is written: ``rows.csv``, ``perturbation.safetensors``, ``about.json`` and, of a
            waveform, ``perturbation.wav``. A finished result of the same settings there is read. Default: nowhere.
        part: Whose clips are judged. The perturbation was fitted on ``train`` and chosen on ``validation``.
        shifts: Seconds by which the perturbation is moved in time, circularly, when it is judged; default: those of
            `default_shifts`.
        device: ``cpu`` or ``cuda``.
        progress: Called with the number of training clips whose gradient was computed.

    Raises:
        AttackError: A clip cannot be attacked.
        ConfigError: A model without gradients, a shift outside the perturbation, or a folder with another result.
        FileError: The folder cannot be written.
    """
    inputs = run.recogniser.inputs
    steps = _steps(inputs, default_shifts(inputs) if shifts is None else shifts)
    if not run.recogniser.has_gradient:
        raise ConfigError(
            f"{run.name}: has no gradient, which a universal perturbation is fitted with. Use the attack Square."
        )
    origin = origin_of(run, device)
    about: dict[str, Any] = {
        "run": run.name,
        "fit": to_dict(fit),
        "part": part,
        "shifts": list(steps),
        "unit": inputs.unit,
        **origin,
    }
    if folder is not None and (finished := _read(run, fit, folder, about)):
        return finished
    if folder is not None:
        check_writable(folder)
    model = for_attack(run.recogniser.network).to(device)
    shape = fit.fit(
        model,
        *(Part(one.inputs, one.labels, one.clips) for one in map(run.part, ("train", "validation"))),
        valid_range=inputs.valid_range,
        device=device,
        progress=progress,
    )
    noise, axis = fit.noise(shape), _time_axis(inputs)
    placements = [Placement(fit, shape=noise, kind="noise")]
    for seconds, movements in reversed(steps.items()):
        shifted = shape if axis is None else shape.roll(movements, axis)
        placements.insert(0, Placement(fit, shape=shifted, seconds=seconds))
    clips, name = run.part(part).to(torch.device(device)), default_name(fit, inputs.unit, part, tuple(steps))
    audibility = Audibility.of(run.recogniser, clips)
    tables = [_judged(run, one, model, clips, part, name, audibility) for one in placements]
    rows = pd.concat(tables, ignore_index=True)
    rows = rows.assign(**origin)
    result = UniversalResult(
        run.name, fit, rows, without_channel(shape), without_channel(noise), _sample_rate(inputs)
    )
    if folder is None:
        return result
    write_json(folder / ABOUT, about | {"gain_of_wav": result.gain})
    result.write(folder)
    return _read(run, fit, folder, about) or result  # rounded as a later call reads it


def default_name(fit: Universal, unit: str, part: str, shifts: Sequence[float]) -> str:
    """Name of a perturbation, with eight digits that depend on everything that decides the rows but the weights."""
    settings = [to_dict(fit), unit, part, [float(shift) for shift in shifts]]
    return f"Universal-{hashlib.sha256(repr(settings).encode()).hexdigest()[:8]}"


def _judged(
    run: OpenedRun,
    placement: Placement,
    model: Network,
    clips: Batch,
    part: str,
    protocol: str,
    audibility: Audibility | None,
) -> pd.DataFrame:
    """The rows of one placement."""
    valid_range = run.recogniser.inputs.valid_range
    result = placement(model, clips.inputs, clips.labels, valid_range=valid_range, names=clips.clips)
    return records(run, protocol, part, placement, model, clips, result, audibility)


def default_shifts(inputs: Inputs) -> tuple[float, ...]:
    """Those of `SHIFTS` that are shorter than the input; 0 alone where it has no axis of time."""
    seconds = 0.0 if _time_axis(inputs) is None else inputs.window / inputs.steps_per_second
    return tuple(shift for shift in SHIFTS if shift == 0 or shift < seconds)


def _time_axis(inputs: Inputs) -> int | None:
    """The axis of an input along which a perturbation can be shifted; None where there is none that is known."""
    if inputs.is_sound:
        return -1
    return -2 if isinstance(inputs, LogSpectrogramInputs) else None


def _sample_rate(inputs: Inputs) -> int | None:
    return inputs.sample_rate if inputs.is_sound else None


def _steps(inputs: Inputs, shifts: Sequence[float]) -> dict[float, int]:
    """Shift in seconds -> in steps of the input. Raises `ConfigError`."""
    seconds = inputs.window / inputs.steps_per_second
    for shift in shifts:
        if not (math.isfinite(shift) and 0 <= shift < seconds):
            raise ConfigError(
                f"shifts must be at least 0 and below the {seconds:.2f} s of the perturbation, got {shift:g}."
            )
    if not shifts or len(set(shifts)) < len(shifts):
        raise ConfigError(f"shifts must be one or more different numbers of seconds, got {list(shifts)}.")
    if _time_axis(inputs) is None and any(shifts):
        raise ConfigError(
            f"shifts must be 0 for a model that takes {inputs.unit}, which has no axis of time."
        )
    return {float(shift): round(shift * inputs.steps_per_second) for shift in shifts}


def _read(run: OpenedRun, fit: Universal, folder: Path, about: dict[str, Any]) -> UniversalResult | None:
    """The finished result in a folder; None where there is none. Raises where it is another one."""
    paths = [folder / name for name in RESULT_FILES]
    if not all(path.is_file() for path in paths):
        return None
    earlier = read_json(paths[0])
    for names, what in (
        (("checkpoint",), "of other weights"),
        (("run", *DECISIVE_SETTINGS), "with other settings"),
    ):
        if any(earlier.get(name) != about[name] for name in names):
            raise ConfigError(
                f"{folder}: holds a universal perturbation {what}. Delete the folder, or name another."
            )
    arrays = read_safetensors(paths[1])[0]
    if not {"shape", "noise"} <= set(arrays):
        raise FileError(f"{paths[1]}: holds no arrays shape and noise. Delete it and run the command again.")
    rate = _sample_rate(run.recogniser.inputs)
    return UniversalResult(run.name, fit, read_own_rows(paths[2]), arrays["shape"], arrays["noise"], rate)
