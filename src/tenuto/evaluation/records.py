"""Results of an attack as rows and as arrays to save."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tenuto import __version__
from tenuto.attacks import Attack, AttackResult, Protocol
from tenuto.audio.masking import band_powers, ear, threshold
from tenuto.data.batches import Batch
from tenuto.devices import arithmetic
from tenuto.evaluation.runs import OpenedRun
from tenuto.files import Array, sha256_file
from tenuto.models.recogniser import Recogniser, predict
from tenuto.models.systems import Network
from tenuto.store.perturbations import key_of
from tenuto.store.result_rows import array, attack_columns, result_columns, value_columns

Origin = dict[str, str]


def origin_of(run: OpenedRun, device: str = "cpu") -> Origin:
    """Two columns of every row: ``checkpoint``, the SHA-256 of the weights, and ``versions`` of what computed."""
    return {"checkpoint": sha256_file(run.files.checkpoint), "versions": versions(device)}


def versions(device: str = "cpu") -> str:
    """What computed: versions of Tenuto and PyTorch, and the device."""
    return f"tenuto {__version__}, torch {torch.__version__}, {arithmetic(device)}"


def perturbations(attacker: Attack, clips: Batch, result: AttackResult) -> dict[str, Array]:
    """Arrays by attack and clip: ``perturbation`` and, of the released attack, ``stored``.

    They have the shape of the input, without a first axis of length one: (313, 149) for a log spectrogram.
    """
    kinds = {"perturbation": result.perturbation, **result.extra_perturbations()}
    return {
        key_of(repr(attacker), clip, kind): without_channel(values[row])
        for kind, values in kinds.items()
        for row, clip in enumerate(clips.clips)
    }


def without_channel(value: Tensor) -> Array:
    """A perturbation of one input as it is saved, without a first axis of length one."""
    result: Array = array(value[0] if value.ndim > 1 and len(value) == 1 else value)
    return result


def records(
    run: OpenedRun,
    protocol: Protocol | str,
    part: str,
    attacker: Attack,
    model: Network,
    clips: Batch,
    result: AttackResult,
    audibility: Audibility | None = None,
) -> pd.DataFrame:
    """One row per clip. Norms and the adversarial prediction belong to the same perturbation."""
    measured = measurements(run.recogniser, attacker, model, clips, result, audibility)
    return pd.DataFrame({**identity(run, clips, part, str(protocol)), **measured})


def measurements(
    recogniser: Recogniser,
    attacker: Attack,
    model: Network,
    clips: Batch,
    result: AttackResult,
    audibility: Audibility | None = None,
) -> dict[str, Any]:
    """The columns of a result: the attack, its cost, norms and predictions, a value per clip."""
    emotions, units = recogniser.emotions, recogniser.concepts
    table = result_columns(attack_columns(attacker, emotions, units), result, emotions, clips.labels)
    if result.clean_concepts is None and units:  # the attack evaluates emotions alone
        for kind, inputs in (("clean", clips.inputs), ("adversarial", result.adversarial)):
            table |= value_columns(kind, units, predict(model, inputs).concepts)
    table |= value_columns("clean", units, result.clean_concepts)
    table |= value_columns("adversarial", units, result.adversarial_concepts)
    return table if audibility is None else table | audibility(result.perturbation)


class Audibility:
    """How loud perturbations of waveforms are, measured in float64.

    Args:
        waveforms: (n, samples).
        sample_rate: In Hz.
    """

    def __init__(self, waveforms: Tensor, sample_rate: int) -> None:
        self.energy = waveforms.double().square().sum(dim=1)
        self.threshold = threshold(waveforms, sample_rate)
        self.ear = ear(sample_rate, str(waveforms.device))

    @classmethod
    def of(cls, recogniser: Recogniser, clips: Batch) -> Audibility | None:
        """That of clips as a recogniser takes them; None where it does not take waveforms."""
        inputs = recogniser.inputs
        return cls(clips.inputs, inputs.sample_rate) if inputs.is_sound else None

    def __call__(self, perturbations: Tensor) -> dict[str, Any]:
        """The columns ``snr_db`` and ``nmr_db`` of perturbations (n, samples); NaN where there is none."""
        delta = perturbations.detach().double()
        noise_to_mask = (band_powers(delta, self.ear) / self.threshold).flatten(1).amax(dim=1)
        ratios = {"snr_db": self.energy / delta.square().sum(dim=1), "nmr_db": noise_to_mask}
        decibels = {name: 10 * ratio.log10() for name, ratio in ratios.items()}
        return {name: array(level.where(level.isfinite(), math.nan)) for name, level in decibels.items()}


def identity(run: OpenedRun, clips: Batch, part: str, protocol: str) -> dict[str, Any]:
    """The columns that say whose rows these are, and in which units."""
    low, high = run.material.prepared.index.label_scale
    return {
        "run": run.name,
        "system": run.config.system,
        "seed": run.config.train.seed,
        "clip": clips.clips,
        "split": part,
        "protocol": protocol,
        "unit": run.recogniser.inputs.unit,
        "scale_low": low,
        "scale_high": high,
    }
