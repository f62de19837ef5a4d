"""Attacks on recordings of the user's own, without a data set."""

from __future__ import annotations

import dataclasses
import html
from functools import cached_property
from pathlib import Path
from typing import Any

from tenuto.api.calls import model_of
from tenuto.api.outcomes import clip_html, write_clip
from tenuto.api.progress import SILENT, Progress
from tenuto.api.runs import Run, Source
from tenuto.api.single_attacks import Domain, as_protocol, family_of, in_domain, single_attack
from tenuto.arguments import checked_with
from tenuto.attacks import ATTACKS, OBJECTIVES, Attack, Objective, Protocol, Transfer
from tenuto.attacks.objectives import Distance
from tenuto.attacks.parsing import parse_objective
from tenuto.attacks.registry import setting_names
from tenuto.data.inputs import FeatureInputs
from tenuto.devices import require
from tenuto.errors import CheckpointError, ConfigError
from tenuto.evaluation import recording
from tenuto.files import check_writable, write_csv, write_safetensors
from tenuto.models.recogniser import Recogniser
from tenuto.store.location import locate_model


class RecordingAttack(recording.AttackedRecording):
    """An attacked recording that displays and plays itself in a notebook."""

    @cached_property
    def no_sound(self) -> str:
        """Why the attack has no picture and no sound, a sentence; empty where it has."""
        if isinstance(self.recogniser.inputs, FeatureInputs):
            return f"{self.model}: takes features, which cannot be drawn and played."
        try:
            _ = self.resynthesis
        except CheckpointError:  # the model is in memory: it has not changed
            return (
                f"{self.model}: does not repeat its predictions, so the attack is not drawn and not played."
            )
        return ""

    def write(self, folder: Source) -> list[Path]:
        """Write rows, perturbation, picture and sounds (before, after, difference), all named RECORDING-attack.

        Files of an earlier attack on a recording of this name are replaced. Where there is a reason in `no_sound`,
        rows and perturbation are all.

        Raises:
            FileError: The folder cannot be written.
        """
        folder, name = Path(folder), f"{self.row['clip']}-attack"
        paths = [] if self.no_sound else write_clip(self.resynthesis, folder, name, self.scale)
        rows = write_csv(folder / f"{name}.csv", self.rows)
        return [rows, write_safetensors(folder / f"{name}.safetensors", self.arrays, {}), *paths]

    def _repr_html_(self) -> str:
        """Return picture and players, or the reason and the table where there is no sound."""
        if self.no_sound:
            return f"<p>{html.escape(self.no_sound)}</p>{self.table.to_html(float_format='{:.3f}'.format)}"
        return clip_html(self.resynthesis, self.scale)


@checked_with(attack="Give one such as APGD(Linf(0.05)).")
def attack_recording(
    run: Run | Recogniser | Source,
    audio: Source,
    attack: str | Protocol | Attack | None = None,
    *,
    objective: str | Objective | None = None,
    epsilon: float | None = None,
    db: float | None = None,
    norm: str | None = None,
    scale: tuple[float, float] | None = None,
    start: float | None = None,
    inputs: Domain | None = None,
    out: Source | None = None,
    device: str = "cpu",
    trust: bool = False,
    progress: Progress = SILENT,
    **settings: Any,
) -> RecordingAttack:
    """Attack a recording: one excerpt, as long as the window that the model sees.

    A recording has no ratings. Objectives that are errors are measured from the clean prediction.

    Args:
        run: An open run, a model, or what `load` takes, such as ``a2e-soundtracks``.
        audio: An audio file.
        attack: Name of a single attack, ``file.py:function`` of your own (see docs/attacks.md), or an attack; default:
            ``APGD``, without a gradient ``Square``.
        objective: What it increases, for an attack by its name: ``happy+``, ``happy=0.8,sad=0.1``, ``squared-error``
            (the default) and others, see docs/attack.md.
        epsilon: Size of the budget, in the unit of the perturbed input.
        db: Size of a budget in dB, for ``snr`` and ``masked``.
        norm: ``linf``, ``l2`` or ``none``; of the waveform: ``snr``, ``amplitude`` or ``masked``. Default: ``snr`` with
            ``db``, else ``linf``.
        scale: Clip predictions to this scale before an error is measured.
        start: Second at which the excerpt begins; default: in the middle of the recording.
        inputs: What is perturbed, ``waveform`` or ``spectrogram``; default: what the budget is for, else what the model
            takes.
        out: Folder for rows, perturbation, picture and sounds; default: nothing is written.
        device: ``cpu`` or ``cuda``.
        trust: Whether you trust the code of an adopted run, see `open_run`, and of an attack of your own.
        progress: Receives progress.
        settings: Further settings of an attack by its name, such as ``steps=100``.

    Raises:
        AudioError: The recording cannot be used.
        ConfigError: An unknown attack, objective or setting, or an attack that needs ratings.
        FileError: The folder cannot be written.

    Example:
        >>> result = tenuto.attack_recording(  # doctest: +SKIP
        ...     "a2e-soundtracks", "song.mp3", objective="happy+", epsilon=0.05
        ... )
    """
    require(device)
    if out is not None:
        check_writable(out)
    recogniser = model_of(run, trust=trust)
    if isinstance(attack, str) or attack is None:
        family = attack or ("APGD" if recogniser.has_gradient else "Square")
        aim = _objective(objective, family_of(family), recogniser, scale)
        chosen = single_attack(family, norm, epsilon, aim, settings, db=db, trust=trust)
    else:
        options = {
            "objective": objective,
            "epsilon": epsilon,
            "db": db,
            "norm": norm,
            "scale": scale,
            **settings,
        }
        if names := [name for name, value in options.items() if value is not None]:
            raise ConfigError(
                f"{', '.join(names)}: belong to an attack by its name. Set them in {attack!r} instead."
            )
        chosen = as_protocol(attack)
    chosen = in_domain(chosen, recogniser, inputs)
    for one in chosen.attacks:
        if (
            isinstance(one, Transfer)
            and getattr(one.source, "inputs", recogniser.inputs) != recogniser.inputs
        ):
            raise ConfigError(
                f"the source of {one.title} takes other inputs than {recogniser.system}, or normalises them otherwise. "
                "Attack clips of a run, which converts them: `run.attack(Transfer(...))`."
            )
    total = chosen.iterations(len(recogniser.emotions), recogniser.has_gradient)
    with progress.bar("attack", total) as advance:
        result = recording.attack_recording(
            recogniser, _name(run, recogniser), audio, chosen, start, device, advance
        )
    fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    outcome = RecordingAttack(**fields)
    if out is not None:
        for path in outcome.write(out):
            progress.note(str(path))
        if outcome.no_sound:
            progress.note(outcome.no_sound)
    return outcome


def _objective(
    objective: str | Objective | None, family: str, recogniser: Recogniser, scale: tuple[float, float] | None
) -> Objective | None:
    """The objective, errors measured from the clean prediction; None for an attack that has its own."""
    if isinstance(objective, Objective):
        if scale is not None:
            raise ConfigError(f"scale is for an objective given by name. Set it in {objective!r} instead.")
        return objective
    if objective is None and "objective" not in setting_names(ATTACKS[family]):
        return None
    word = objective or "squared-error"
    is_error = word in OBJECTIVES and issubclass(OBJECTIVES[word], Distance)
    concepts = recogniser.concepts
    return parse_objective(word, recogniser.emotions, from_clean=is_error, scale=scale, concepts=concepts)


def _name(run: Run | Recogniser | Source, recogniser: Recogniser) -> str:
    """What rows call the model: the name of the run, of the pretrained model or of the checkpoint."""
    if isinstance(run, Run):
        return run.name
    if isinstance(run, Recogniser):
        return run.system
    path = locate_model(run)
    return path.resolve().name if path.is_dir() else recogniser.system
