"""An attack on one recording without ratings: its prediction before and after, as rows and as sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tenuto.attacks import Protocol
from tenuto.attacks.protocols import climb
from tenuto.data.batches import Batch
from tenuto.data.inputs import LogSpectrogramInputs
from tenuto.display import Displayed, Element
from tenuto.errors import AudioError, ConfigError
from tenuto.evaluation.explanation import drawn_scale
from tenuto.evaluation.records import Audibility, measurements, versions, without_channel
from tenuto.evaluation.resynthesis import ResynthesisSubject, play_attack, render_attack
from tenuto.evaluation.resynthesised_clip import Resynthesis
from tenuto.evaluation.survival import of_saved
from tenuto.files import Array, sha256_file
from tenuto.models.recogniser import Recogniser, predict, read_waveform
from tenuto.models.systems import for_attack
from tenuto.store.perturbations import key_of
from tenuto.store.rows import mark_worst, row_errors

Values = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class AttackedRecording(Displayed):
    """What an attack did to the prediction for one excerpt of a recording.

    Attributes:
        source: Name of the recording.
        model: Name of the model.
        recogniser: The model.
        rows: One row per attack and budget, as for the clips of a run. There are no ratings: the columns ``label_`` are
            the clean prediction, so the error of a row is how far the emotions moved.
        row: The one with the largest mean absolute change of the emotions.
        perturbation: Of `row`, in the shape of the network's input and in its unit.
        start_seconds: Where in the recording the excerpt begins, silence at its ends taken off.
        waveform: The recording, (samples,).
        has_goal: Whether the attack seeks a value of its objective.
    """

    source: str
    model: str
    recogniser: Recogniser = dataclasses.field(repr=False)
    rows: pd.DataFrame = dataclasses.field(repr=False)
    row: pd.Series[Any] = dataclasses.field(repr=False)
    perturbation: Values = dataclasses.field(repr=False)
    start_seconds: float
    waveform: Values = dataclasses.field(repr=False)
    _start: int = dataclasses.field(repr=False)
    has_goal: bool = False

    def _elements(self) -> list[Element]:
        return [
            f"{self.source}, predicted by {self.model} before and after {self.row['settings']}",
            self.table,
            *([self.reached] if self.has_goal else []),
        ]

    @property
    def reached(self) -> str:
        """Whether the attack reached its goal, and the value of its objective; empty without a goal."""
        if not self.has_goal:
            return ""
        return f"goal {'' if self.row['converged'] else 'not '}reached, objective {self.row['loss']:.4g}"

    @property
    def table(self) -> pd.DataFrame:
        """A line per emotion, then per concept as ``concept NAME``: before, after and change."""
        emotions, concepts = self.recogniser.emotions, self.recogniser.concepts
        before, after = (
            np.array([float(self.row[f"{kind}_{name}"]) for name in (*emotions, *concepts)])
            for kind in ("clean", "adversarial")
        )
        names = [*emotions, *(f"concept {name}" for name in concepts)]
        table = {"before": before, "after": after, "change": after - before}
        return pd.DataFrame(table, index=pd.Index(names, name="output"))

    @property
    def scale(self) -> tuple[float, float]:
        """On which values are drawn."""
        return drawn_scale(self.recogniser.scale)

    @property
    def arrays(self) -> dict[str, Array]:
        """The perturbation as it is saved for the clips of a run."""
        return {key_of(str(self.row["settings"]), str(self.row["clip"])): self.perturbation}

    @cached_property
    def resynthesis(self) -> Resynthesis:
        """The attack as sound, see `tenuto.evaluation.resynthesis`.

        Raises:
            CheckpointError: The model does not repeat its predictions.
            ConfigError: The network takes features that cannot be turned into sound.
        """
        inputs = self.recogniser.inputs
        subject = ResynthesisSubject(self.recogniser, self.model, Path(self.source), str(self.row["clip"]))
        if inputs.is_sound:
            return play_attack(subject, self.row, self.perturbation, self.waveform, self._start)
        if not isinstance(inputs, LogSpectrogramInputs):
            raise ConfigError(
                f"{self.model}: was attacked in {inputs.unit}, which cannot be turned into sound."
            )
        steps = inputs.steps(self.waveform)
        return render_attack(subject, self.row, self.perturbation, self.waveform, steps, self._start)


def attack_recording(
    recogniser: Recogniser,
    model: str,
    source: str | Path,
    protocol: Protocol,
    start_seconds: float | None = None,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> AttackedRecording:
    """Attack one excerpt of a recording, as long as the network's window, with every attack of a protocol.

    Args:
        recogniser: The model.
        model: Its name in rows.
        source: An audio file.
        protocol: The attacks, none of which may compare predictions with ratings, in the domain that it names.
        start_seconds: Where the excerpt begins; default: in the middle. It is moved forward where the recording ends
            before it.
        device: ``cpu`` or ``cuda``.
        progress: Called with the number of iterations done.

    Raises:
        AudioError: The recording cannot be used, or is too short to be attacked on its waveform.
        ConfigError: The excerpt begins behind the recording, or an attack compares predictions with ratings.
        AttackError: The recording cannot be attacked.
    """
    _refuse_labels(protocol)
    if protocol.domain == "waveform":
        recogniser = recogniser.in_sound()
    inputs = recogniser.inputs
    for one in protocol.attacks:
        inputs.check_region(getattr(one, "region", None))
    waveform = read_waveform(source, inputs.sample_rate)
    steps = inputs.steps(waveform)
    if reason := inputs.refusal(len(steps)):
        raise AudioError(f"{source}: {reason}")
    start = _start(len(steps), inputs.window, inputs.steps_per_second, start_seconds, source)
    excerpt = torch.from_numpy(inputs.cut(steps, start)[None]).to(torch.device(device))
    network = for_attack(recogniser.network).to(device)
    clean = predict(network, excerpt).emotions
    clip = Batch((Path(source).stem,), excerpt, clean, None)
    call: dict[str, Any] = {"axes": inputs.axes, "names": clip.clips, "progress": progress}
    call |= {"valid_range": inputs.valid_range} if protocol.silence else {}
    audibility = Audibility.of(recogniser, clip)
    tables, deltas = [], []
    members = protocol.at_sample_rate(inputs.sample_rate).members
    for member in members(len(recogniser.emotions), recogniser.has_gradient):
        for attacker, result in climb(member, network, excerpt, clean, **call):
            measured = measurements(recogniser, attacker, network, clip, result, audibility)
            tables.append(_row(recogniser, model, protocol, clip, measured, device))
            deltas.append(without_channel(result.perturbation[0]))
    rows = mark_worst(pd.concat(tables, ignore_index=True))
    if inputs.is_sound:
        for place in np.flatnonzero(rows["worst"]):
            values = of_saved(network, inputs, waveform, start, deltas[place])
            rows.loc[place, list(values)] = list(values.values())
    most = int(row_errors(rows).argmax())
    begin = start / inputs.steps_per_second
    return AttackedRecording(
        str(source),
        model,
        recogniser,
        rows,
        rows.iloc[most],
        deltas[most],
        begin,
        waveform,
        start,
        any(attack.has_goal for attack in protocol.attacks),
    )


def _refuse_labels(protocol: Protocol) -> None:
    """Raise `ConfigError` for an attack that compares predictions with ratings, which a recording does not have."""
    for attack in protocol.attacks:
        if attack.uses_label:
            raise ConfigError(
                f"{attack.title} on {attack.objective_title()} compares predictions with ratings, which a recording "
                "does not have. Choose an objective such as happy+, or measure from the clean prediction "
                "(`from_clean`)."
            )


def _start(
    steps: int, window: int, steps_per_second: float, seconds: float | None, source: str | Path
) -> int:
    """First step of the excerpt. Raises `ConfigError`."""
    last = max(0, steps - window)
    if seconds is None:
        return last // 2
    start = round(seconds * steps_per_second) if np.isfinite(seconds) else -1
    if not 0 <= start < steps:
        raise ConfigError(
            f"start must be a second of {source}, which has {steps / steps_per_second:.1f} s without silence at its "
            f"ends, got {seconds:g}."
        )
    return min(start, last)


def _row(
    recogniser: Recogniser,
    model: str,
    protocol: Protocol,
    clip: Batch,
    measured: dict[str, Any],
    device: str,
) -> pd.DataFrame:
    """The row of one attack."""
    low_high = zip(("scale_low", "scale_high"), recogniser.scale or (), strict=False)
    scale: dict[str, float] = dict(low_high)
    checkpoint = "" if recogniser.path is None else sha256_file(recogniser.path)
    return pd.DataFrame(
        {
            "run": model,
            "system": recogniser.system,
            "seed": 0,
            "clip": clip.clips,
            "split": "test",
            "protocol": str(protocol),
            **measured,
            "checkpoint": checkpoint,
            "versions": versions(device),
            "unit": recogniser.inputs.unit,
            **scale,
        }
    )
