"""One call for each method of a run. Every function takes an open run or the path of its folder.

Longer than other files: a function, with its arguments, for everything that can be done with a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.api.datasets import find_data
from tenuto.api.outcomes import ClipsShown, Metrics
from tenuto.api.progress import SILENT, Progress
from tenuto.api.runs import Run, Source, open_run
from tenuto.api.single_attacks import Domain
from tenuto.arguments import as_list, checked, checked_with
from tenuto.attacks import Attack, Budget, Objective, Protocol
from tenuto.config import DataConfig
from tenuto.errors import ConfigError
from tenuto.evaluation import (
    explanation,
    intervention,
    leakage as leaking,
    runs,
)
from tenuto.evaluation.attribution import Attribution
from tenuto.evaluation.universal import UniversalResult
from tenuto.models.checkpoint import load
from tenuto.models.foreign.code import is_code
from tenuto.models.recogniser import Recogniser
from tenuto.sinks import Sink
from tenuto.store.exported import ModelFolder
from tenuto.store.location import locate_model
from tenuto.store.rows import NATURAL_PROTOCOL
from tenuto.store.run import RunFolder

OPENING = ("data", "model", "front_end", "trust")
"""Arguments of `open_run` that a call passes to it, in addition to ``root`` and ``cache``."""

LOADING = ("model", "front_end", "trust")
"""Those of them that `load` takes."""


def as_run(run: Run | Source, root: Source | None, progress: Progress, **opening: Any) -> Run:
    """A run as it is, or opened.

    Raises:
        ConfigError: An open run and arguments of `open_run`, or something else than a run.
    """
    if not isinstance(run, Run):
        return open_run(run, root, progress=progress, **opening)
    refuse(root=root, **opening)
    return run


def refuse(**opening: Any) -> None:
    """Raise `ConfigError` for arguments that would open a run or model, where an open one is given."""
    for name, value in opening.items():
        if value is not None and value is not False:
            raise ConfigError(f"{name}: the run or model is open already. Leave {name} out.")


def opening_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Those of some settings that `open_run` takes; they are removed from the settings."""
    return {name: settings.pop(name) for name in OPENING if name in settings}


@checked
def evaluate(
    run: Run | Source,
    root: Source | None = None,
    *,
    cache: Source | None = None,
    progress: Progress = SILENT,
    **opening: Any,
) -> Metrics:
    """Metrics of a run's clean predictions on training, validation and test clips; also written to ``metrics.json``.

    Args:
        run: An open run, or its folder.
        root, cache, progress, opening: Of `open_run`; left out where the run is open.

    Raises:
        ConfigError: Not a run, its data are not found, or an open run and arguments that open one.
        CheckpointError: The run was trained on other data, or has changed.
    """
    return as_run(run, root, progress, cache=cache, **opening).evaluate()


@checked_with(attack="Give one such as APGD(Linf(0.05)).")
def attack(
    run: Run | Source,
    attack: str | Protocol | Attack | None = None,
    part: str = "test",
    *,
    root: Source | None = None,
    cache: Source | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
    inputs: Domain | None = None,
    trace: bool = False,
    log: str | Sink | None = None,
    progress: Progress = SILENT,
    **settings: Any,
) -> pd.DataFrame:
    """Attack the clips of one part of a run's split. Rows and perturbations are written to ``attacks`` in its folder.

    Args:
        run: An open run, or its folder.
        attack: Name of a protocol, a protocol, one attack such as ``APGD(Linf(0.05))``, or the name of one, such as
            ``APGD``; default: the study's for its systems, else ``standard-1``.
        part: ``train``, ``validation`` or ``test``.
        device: ``cpu`` or ``cuda``.
        batch_size: Clips attacked together; default: 6, on a GPU 64.
        inputs: What is perturbed, ``waveform`` or ``spectrogram``; default: what the budget is for, else what the model
            takes.
        trace: Also write what every search evaluated.
        log: Where the traces are reported, see `Run.attack`.
        root, cache, progress: Of `open_run`; left out where the run is open.
        settings: Settings of a named protocol, such as ``iterations=100``, or of an attack by its name, such as
            ``epsilon=0.05`` and ``objective="happy+"``, see `Run.attack`; and ``data``, ``model``, ``front_end`` and
            ``trust`` of `open_run`.

    Returns:
        One row per clip, attack and budget, see `tenuto.store.rows`. Epsilon and norms are in the unit of the inputs.

    Raises:
        ConfigError: Not a run, its data are not found, or a setting or input that cannot be.
        AttackError: A clip cannot be attacked.
        AudioError: A clip is too short to be attacked on its waveform.
        CheckpointError: The run was trained on other data, or has changed.
    """
    opening = opening_of(settings)
    if isinstance(attack, str) and (is_code(attack) or isinstance(settings.get("source"), str | Path)):
        settings["trust"] = opening.get("trust", False)
        if isinstance(run, Run):  # trust is for the attack alone
            opening.pop("trust", None)
    run = as_run(run, root, progress, cache=cache, **opening)
    return run.attack(attack, part, device, batch_size, inputs, trace, log, **settings)


@checked
def natural(
    run: Run | Source,
    part: str = "test",
    *,
    protocol: str = NATURAL_PROTOCOL,
    root: Source | None = None,
    cache: Source | None = None,
    progress: Progress = SILENT,
    **opening: Any,
) -> pd.DataFrame:
    """How a run's predictions change under natural variation: another excerpt, mp3, gain, noise.

    Args:
        run: An open run, or its folder.
        part: ``train``, ``validation`` or ``test``.
        protocol: ``natural-1``, or ``natural-2``: eleven kinds of change with five strengths each.
        root, cache, progress, opening: Of `open_run`; left out where the run is open.

    Returns:
        One line per variation, means over clips, in units of the labels.

    Raises:
        ConfigError: Not a run, its data are not found, or an unknown part or protocol.
        AudioError: A recording cannot be decoded.
        CheckpointError: The run was trained on other data, or has changed.
    """
    return as_run(run, root, progress, cache=cache, **opening).natural(part, protocol)


@checked_with(budget="Give one such as Linf(0.05).")
def universal(
    run: Run | Source,
    budget: Budget,
    objective: str | Objective = "squared-error",
    *,
    root: Source | None = None,
    cache: Source | None = None,
    progress: Progress = SILENT,
    **settings: Any,
) -> UniversalResult:
    """Fit one perturbation on a run's training clips and judge it on its test clips.

    Args:
        run: An open run, or its folder.
        budget: How large the perturbation is, such as ``Linf(0.05)`` or ``SNR(40)``.
        objective: What is increased on average, see docs/attack.md.
        root, cache, progress: Of `open_run`; left out where the run is open.
        settings: Further arguments of `Run.universal`, such as ``epochs=5``; and ``data``, ``model``, ``front_end`` and
            ``trust`` of `open_run`.

    Raises:
        ConfigError: Not a run, its data are not found, or a setting out of range.
        AttackError: A clip cannot be attacked.
        CheckpointError: The run was trained on other data, or has changed.
    """
    return as_run(run, root, progress, cache=cache, **opening_of(settings)).universal(
        budget, objective, **settings
    )


@checked_with(audio="Predict a waveform with `tenuto.load(run).predict(waveform)`.")
def predict(run: Run | Recogniser | Source, audio: Source | Sequence[Source], **opening: Any) -> pd.DataFrame:
    """Predict recordings of any length.

    Args:
        run: An open run, a model, or what `load` takes, such as ``a2e-soundtracks``. No data set is needed.
        audio: One audio file or several.
        opening: ``model``, ``front_end`` and ``trust`` of an adopted run, see `open_run`.

    Returns:
        A line per file and a column per emotion, on the model's own scale; concepts follow as ``concept NAME``.

    Raises:
        AudioError: A recording cannot be used.
        ConfigError: Something else than files is given.
    """
    recogniser = model_of(run, **opening)
    files, lines = as_list(audio, "audio"), []
    for file in files:
        profile = recogniser.predict(file)
        concepts = {f"concept {name}": value for name, value in (profile.concepts or {}).items()}
        lines.append({**profile.emotions, **concepts})
    return pd.DataFrame(lines, index=pd.Index([str(file) for file in files], name="file"))


def model_of(run: Run | Recogniser | Source, **opening: Any) -> Recogniser:
    """The model itself, on its own scale. Raises `ConfigError` for arguments that `load` does not take or need."""
    if unknown := [name for name in opening if name not in LOADING]:
        raise ConfigError(f"{', '.join(unknown)}: a model is opened without a data set. Leave it out.")
    if not isinstance(run, Recogniser | Run):
        return load(run, **opening)
    refuse(**opening)
    return run.model if isinstance(run, Run) else run


@checked
def explain(
    run: Run | Recogniser | Source,
    audio: Source,
    root: Source | None = None,
    *,
    hop_seconds: float = explanation.HOP_SECONDS,
    cache: Source | None = None,
    progress: Progress = SILENT,
    **opening: Any,
) -> explanation.Explanation:
    """Explain the prediction for a recording.

    Without saved predictions for the training clips, these are made where the data set is found; else the
    explanation has no places and counts effects from 0.

    Args:
        run: An open run, a model, or what `load` takes, such as ``a2m2e-soundtracks``.
        audio: An audio file of any length.
        root: Folder of the data set; default: as in `open_run`.
        hop_seconds: Distance between the windows of the curve.
        cache: Folder of spectrograms.
        progress: Receives progress.
        opening: ``model``, ``front_end`` and ``trust`` of an adopted run, see `open_run`.

    Raises:
        AudioError: The recording cannot be used.
        ConfigError: ``hop_seconds`` is out of range, or the configuration of the run is missing or damaged.
    """
    if isinstance(run, Run):
        return as_run(run, root, progress, cache=cache, **opening).explain(audio, hop_seconds)
    explanation.check_hop(hop_seconds)
    if isinstance(run, Recogniser):
        refuse(root=root, cache=cache, **opening)
        return explanation.explain(run, audio, hop_seconds)
    recogniser, folder = model_of(run, **opening), locate_model(run)
    if not folder.is_dir() or ModelFolder(folder).exists():
        if root is not None:
            raise ConfigError(f"root: {run} is no run, so its data are not read. Leave it out.")
        return explanation.explain(recogniser, audio, hop_seconds)
    config = RunFolder(folder).read_config()  # of a damaged run, not even a prediction is explained
    is_known = explanation.Background.read(folder, recogniser) is not None
    if is_known or not (root is not None or _has_data(folder, config.data)):
        return explanation.explain(recogniser, audio, hop_seconds)
    return open_run(folder, root, cache=cache, progress=progress, **opening).explain(audio, hop_seconds)


def _has_data(folder: Path, config: DataConfig) -> bool:
    """Whether the data of a run are found without a ``root``."""
    try:
        find_data(folder, config, None, None)
    except ConfigError:
        return False
    return True


@checked
def intervene(
    run: Run | Source,
    protocol: str | None = None,
    *,
    out: Source | None = None,
    root: Source | None = None,
    cache: Source | None = None,
    progress: Progress = SILENT,
    **opening: Any,
) -> intervention.Intervention:
    """Correct the concepts of clean and attacked test clips one after another, and measure the emotions.

    Args:
        run: An open run, or its folder.
        protocol: Whose saved perturbations are used, by the name of the file in ``attacks``; default: all.
        out: Folder for a table and a figure; default: ``interventions`` in the run's folder.
        root, cache, progress, opening: Of `open_run`; left out where the run is open.

    Raises:
        ConfigError: Not a run, its data are not found, or no perturbations of that protocol.
        CheckpointError: The run was trained on other data, or has changed.
    """
    return as_run(run, root, progress, cache=cache, **opening).intervene(protocol, out)


@checked
def attribute(
    run: Run | Source,
    clip: str,
    emotion: str | None = None,
    *,
    root: Source | None = None,
    cache: Source | None = None,
    progress: Progress = SILENT,
    **settings: Any,
) -> Attribution:
    """Attribute the prediction for one emotion of a clip to the entries of its input.

    Args:
        run: An open run, or its folder.
        clip: Name of the clip.
        emotion: Name of the emotion; default: the one with the largest prediction.
        root, cache, progress: Of `open_run`; left out where the run is open.
        settings: Further arguments of `Run.attribute`, such as ``method``; and ``data``, ``model``, ``front_end`` and
            ``trust`` of `open_run`.

    Raises:
        ConfigError: Not a run, its data are not found, or an unknown clip, emotion or setting.
        CheckpointError: The run was trained on other data, or has changed.
    """
    return as_run(run, root, progress, cache=cache, **opening_of(settings)).attribute(
        clip, emotion, **settings
    )


@checked
def leakage(
    run: Run | Source,
    part: str = "test",
    *,
    black_box: runs.OpenedRun | Source | None = None,
    seed: int = 0,
    trust: bool = False,
    root: Source | None = None,
    cache: Source | None = None,
    progress: Progress = SILENT,
    **opening: Any,
) -> leaking.Leakage:
    """What the units of a bottleneck say beyond their concepts, and what they leave out.

    Args:
        run: An open run, or its folder.
        part: ``test``, ``validation`` or ``train``.
        black_box: A run on the same data that completeness compares with; default: a fit on the features in front of
            the bottleneck.
        seed: Of the bootstrap.
        trust: Whether you trust the code of adopted runs, which is then executed, now and later.
        root, cache, progress, opening: Of `open_run`; left out where the run is open.

    Raises:
        ConfigError: Not a run, its data are not found, no bottleneck, or no concept ratings.
        DataError: Too few clips.
        CheckpointError: The run was trained on other data, or has changed.
    """
    if not isinstance(run, Run):
        opening["trust"] = trust
    return as_run(run, root, progress, cache=cache, **opening).leakage(part, black_box, seed, trust)


@checked
def show(
    run: Run | Source,
    clips: str | Sequence[str] = (),
    protocol: str | None = None,
    epsilon: float | None = None,
    *,
    db: float | None = None,
    norm: str | None = None,
    out: Source | None = None,
    root: Source | None = None,
    cache: Source | None = None,
    progress: Progress = SILENT,
    **opening: Any,
) -> ClipsShown:
    """Draw attacked clips of a run and render them as sound; files are written to ``out``.

    Args:
        run: An open run, or its folder.
        clips: Names of clips of one part of the split; default: all test clips.
        protocol: The attack; may be left out where the run has one.
        epsilon: The budget, in the unit of the inputs; may be left out where the protocol has one.
        db: The budget in dB.
        norm: Which norm, where several have this budget.
        out: Folder for pictures and sounds; default: ``shown/PROTOCOL-BUDGET`` in the run's folder.
        root, cache, progress, opening: Of `open_run`; left out where the run is open.

    Raises:
        ConfigError: Not a run, its data are not found, or no perturbations of that attack.
        DataError: No such budget or clip.
    """
    run = as_run(run, root, progress, cache=cache, **opening)
    return run.show(clips, protocol, epsilon, out, db=db, norm=norm)


@checked
def set_concepts(
    run: Run | Source,
    values: Mapping[str, float],
    audio: Source | None = None,
    *,
    root: Source | None = None,
    cache: Source | None = None,
    progress: Progress = SILENT,
    **opening: Any,
) -> intervention.Change:
    """Emotions before and after concepts are set, of one recording or, on average, of the clean test clips.

    Raises:
        ConfigError: No such concept, or a value that is not finite.
        CheckpointError: The system has no concepts.

    Warns:
        ScaleWarning: A value outside the scale of the concepts.
    """
    if audio is None:
        return as_run(run, root, progress, cache=cache, **opening).set_concepts(values)
    if isinstance(run, Run):
        refuse(root=root, cache=cache, **opening)
    return intervention.set_concepts_of_recording(model_of(run, **opening), audio, values)
