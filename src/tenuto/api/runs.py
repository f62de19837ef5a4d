"""One trained run: evaluate it, attack it, and look inside. Every function takes an open run or the path of its folder.

Example:
    >>> run = tenuto.open_run("demo/runs/A2E-21-1a2b3c4d")  # doctest: +SKIP
    >>> rows = run.attack("standard-1")  # doctest: +SKIP
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.analysis.natural import summary
from tenuto.analysis.systems import label_scale
from tenuto.api.auditing import Audit, audit_run
from tenuto.api.datasets import find_data, prepare
from tenuto.api.outcomes import ClipsShown, Metrics, attack_name, write_clip, write_intervention
from tenuto.api.progress import SILENT, Progress
from tenuto.attacks import BoundedAttack, Protocol, protocol
from tenuto.attacks.parsing import single
from tenuto.errors import AudioError, ConfigError, FileError
from tenuto.evaluation import explanation, intervention, resynthesis, robustness, runs
from tenuto.evaluation import natural as variation
from tenuto.models.checkpoint import load
from tenuto.models.recogniser import Profile
from tenuto.reporting.figures.style import SCALE
from tenuto.store.perturbations import saved_rows
from tenuto.store.run import RunFolder, is_file

Source = str | Path


@dataclasses.dataclass(frozen=True)
class Run(runs.Run):
    """A trained run with the clips it was trained and is tested on; `open_run` makes it.

    Attributes:
        folder: The run's folder.
        config: The configuration it was trained with.
        recogniser: The model.
        material: Its clips.
        progress: Receives progress of long work.
    """

    progress: Progress = dataclasses.field(default=SILENT, repr=False, compare=False)

    def predict(self, source: Source) -> Profile:
        """Predict a recording of any length. Raises `AudioError`."""
        return self.recogniser.predict(source)

    def evaluate(self) -> Metrics:
        """Metrics of clean predictions on training, validation and test clips; also written to ``metrics.json``."""
        return Metrics(robustness.evaluate(self))

    def attack(
        self,
        attack: str | Protocol | BoundedAttack = "paper-2025-released",
        part: str = "test",
        device: str = "cpu",
        batch_size: int | None = None,
        **settings: Any,
    ) -> pd.DataFrame:
        """Attack the clips of one part of the split. Rows and perturbations are written to ``attacks``.

        Args:
            attack: Name of a protocol, a protocol, or one attack such as ``APGD(Linf(0.05))``.
            part: ``train``, ``validation`` or ``test``.
            device: ``cpu`` or ``cuda``.
            batch_size: Clips attacked together; default: 6, on a GPU 64.
            settings: Settings of a named protocol that differ from the published ones, such as ``iterations=100``.

        Returns:
            One row per clip, attack and budget.

        Raises:
            ConfigError: An unknown protocol, part or setting.
            AttackError: A clip cannot be attacked.
        """
        chosen = as_protocol(attack, **settings)
        self.progress.note(f"{chosen}: {chosen.description}")
        for omission in chosen.omissions(len(self.recogniser.emotions)):
            self.progress.note(omission)
        total = len(self.part(part)) * chosen.iterations(len(self.recogniser.emotions))
        with self.progress.bar("attack", total) as advance:
            return robustness.attack(self, chosen, part, device, batch_size, advance)

    def natural(self, part: str = "test") -> pd.DataFrame:
        """How predictions change under natural variation: another excerpt, mp3, gain, noise. One line per variation."""
        with self.progress.bar("natural variation", len(self.part(part))) as advance:
            return summary(variation.natural(self, part, advance))

    def audit(self, siblings: Sequence[Source] = (), clips: int | None = None) -> Audit:
        """Audit all attacks of this run; the model is evaluated too."""
        return audit_run(self, siblings, clips, self.progress)

    def explain(
        self, source: Source, hop_seconds: float = explanation.HOP_SECONDS
    ) -> explanation.Explanation:
        """Explain the prediction for a recording. Raises `AudioError` or `ConfigError`."""
        background = explanation.Background.read(self.folder, self.recogniser)
        if background is None:
            background = self._predict_training_clips()
        return explanation.explain(self.recogniser, source, hop_seconds, background)

    def _predict_training_clips(self) -> explanation.Background:
        """Predictions for the training clips, written to the run folder where that is possible."""
        part = self.part("train")
        background = explanation.Background.of(self.recogniser, part.clips, part.inputs)
        try:
            path = background.write(self.folder, self.recogniser)
            self.progress.note(f"{path}: saved predictions for {len(part)} training clips")
        except FileError as error:  # another user's run: an explanation needs no writing
            self.progress.note(str(error))
        return background

    def intervene(self, protocol: str | None = None, out: Source | None = None) -> intervention.Intervention:
        """Correct the concepts of the test clips one after the other and measure the error of the emotions.

        Args:
            protocol: The attack whose saved perturbations are corrected; default: all in the run folder.
            out: Folder for the table and the figure; default: ``interventions`` in the run folder.
        """
        result = intervention.intervene(self, protocol)
        folder = self.folder / "interventions" if out is None else Path(out)
        for path in write_intervention(result, folder):
            self.progress.note(str(path))
        return result

    def set_concepts(self, values: Mapping[str, float]) -> intervention.Change:
        """Emotions of the clean test clips, on average, before and after concepts are set to ``values``."""
        before, after = intervention.set_concepts(self, values)
        source = f"{self.name}, mean of {len(self.part('test'))} test clips"
        names = self.recogniser.emotions
        return intervention.Change.of(source, names, values, before.mean(axis=0), after.mean(axis=0))

    def show(
        self,
        clips: str | Sequence[str] = (),
        protocol: str | None = None,
        epsilon: float | None = None,
        out: Source | None = None,
    ) -> ClipsShown:
        """Draw attacked clips and render them as sound. Files are written to ``out``.

        Args:
            clips: Names of clips of one part of the split; default: all test clips.
            protocol: The attack; may be left out where the run has one.
            epsilon: The budget; may be left out where the protocol has one.
            out: Folder for pictures and sounds; default: ``shown`` in the run folder.
        """
        names = [clips] if isinstance(clips, str) else list(clips)
        rows = saved_rows(self.files, self._part_of(names), protocol, epsilon)
        names = names or list(rows["clip"])
        results, files = [], {}
        scale = rating_scale(self)
        with self.progress.bar("clips", len(names)) as advance:
            for result in resynthesis.resynthesise_clips(self, rows, names):
                folder = self.folder / "shown" / attack_name(result) if out is None else Path(out)
                files[result.clip] = write_clip(result, folder, scale)
                results.append(result)
                advance(1)
        return ClipsShown(self.name, tuple(results), files, scale)

    def _part_of(self, clips: Sequence[str]) -> str:
        """The part of the split that all clips are in; test where none is named. Raises `ConfigError`."""
        parts = {clip: self.part_of(clip) for clip in clips}
        if len(set(parts.values())) > 1:
            named = ", ".join(f"{clip} ({part})" for clip, part in parts.items())
            raise ConfigError(f"clips of several parts of the split: {named}. Show one part at a time.")
        return next(iter(parts.values()), "test")


def as_protocol(attack: str | Protocol | BoundedAttack, **settings: Any) -> Protocol:
    """A protocol by its name and settings, or of a single attack. Raises `ConfigError`."""
    if isinstance(attack, str):
        return protocol(attack, **settings)
    if settings:
        raise ConfigError(
            f"{', '.join(settings)}: settings belong to a protocol given by its name. Set them in {attack!r} instead."
        )
    return attack if isinstance(attack, Protocol) else single(attack)


def open_run(
    folder: Source,
    root: Source | None = None,
    *,
    cache: Source | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Open a run with the data it was trained on.

    Args:
        folder: The run's folder.
        root: Folder of the data set; default: the corpus of the run's study, else ``$TENUTO_DATA``.
        cache: Folder of spectrograms; default: that of the run's study, else the user's cache.
        progress: Receives progress of this and later calls.

    Raises:
        ConfigError: Not a run folder, or the data are not found.
        CheckpointError: The model was trained on other data.
    """
    folder = Path(folder)
    config = RunFolder(folder).read_config()
    root, cache = find_data(folder, config.data, root, cache)
    opened = runs.open_run(folder, prepare(root, config.data, cache=cache, progress=progress))
    fields = {field.name: getattr(opened, field.name) for field in dataclasses.fields(opened)}
    return Run(**fields, progress=progress)


def _opened(run: Run | Source, root: Source | None, cache: Source | None, progress: Progress) -> Run:
    return run if isinstance(run, Run) else open_run(run, root, cache=cache, progress=progress)


def rating_scale(run: Run | Source) -> tuple[float, float]:
    """Lowest and highest label of a run's data set; 0 to 1 where it is not recorded, as for a checkpoint file."""
    files = run.files if isinstance(run, Run) else RunFolder(run)
    return (label_scale(files.read_config().data) if is_file(files.config) else None) or SCALE


def evaluate(
    run: Run | Source, root: Source | None = None, *, cache: Source | None = None, progress: Progress = SILENT
) -> Metrics:
    """Metrics of a run's clean predictions, see `Run.evaluate` and `open_run`."""
    return _opened(run, root, cache, progress).evaluate()


def attack(
    run: Run | Source,
    attack: str | Protocol | BoundedAttack = "paper-2025-released",
    part: str = "test",
    *,
    root: Source | None = None,
    cache: Source | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
    progress: Progress = SILENT,
    **settings: Any,
) -> pd.DataFrame:
    """Attack a run's clips and return the rows, see `Run.attack` and `open_run`."""
    opened = _opened(run, root, cache, progress)
    return opened.attack(attack, part, device, batch_size, **settings)


def natural(
    run: Run | Source,
    part: str = "test",
    *,
    root: Source | None = None,
    cache: Source | None = None,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """How a run's predictions change under natural variation, see `Run.natural` and `open_run`."""
    return _opened(run, root, cache, progress).natural(part)


def predict(run: Run | Source, audio: Source | Sequence[Source]) -> pd.DataFrame:
    """Predict recordings of any length.

    Args:
        run: An open run, a run folder, or a checkpoint file. No data set is needed.
        audio: One audio file or several.

    Returns:
        A line per file and a column per emotion; concepts follow as ``concept NAME``.

    Raises:
        AudioError: A recording cannot be used, or something else than a file is given.
    """
    recogniser = run.recogniser if isinstance(run, Run) else load(run)
    files = [audio] if isinstance(audio, str | Path) else list(audio)
    for file in files:
        if not isinstance(file, str | Path):
            raise AudioError(
                f"audio must be one audio file or several, got {type(audio).__name__}. "
                "Predict a waveform with `tenuto.load(run).predict(waveform)`."
            )
    lines = []
    for file in files:
        profile = recogniser.predict(file)
        concepts = {f"concept {name}": value for name, value in (profile.concepts or {}).items()}
        lines.append({**profile.emotions, **concepts})
    return pd.DataFrame(lines, index=pd.Index([str(file) for file in files], name="file"))


def explain(
    run: Run | Source,
    audio: Source,
    root: Source | None = None,
    *,
    hop_seconds: float = explanation.HOP_SECONDS,
    cache: Source | None = None,
    progress: Progress = SILENT,
) -> explanation.Explanation:
    """Explain the prediction for a recording.

    Without saved predictions for the training clips, these are made where the data set is found; else the
    explanation has no places and counts effects from 0.

    Args:
        run: An open run, a run folder, or a checkpoint file.
        audio: An audio file of any length.
        root: Folder of the data set; default: as in `open_run`.
        hop_seconds: Distance between the windows of the curve.
        cache: Folder of spectrograms.
        progress: Receives progress.

    Raises:
        AudioError: The recording cannot be used.
        ConfigError: ``hop_seconds`` is out of range.
    """
    if isinstance(run, Run):
        return run.explain(audio, hop_seconds)
    explanation.check_hop(hop_seconds)
    recogniser, folder = load(run), Path(run)
    if not folder.is_dir():
        return explanation.explain(recogniser, audio, hop_seconds)
    is_known = explanation.Background.read(folder, recogniser) is not None
    if is_known or not (root is not None or _has_data(folder)):
        return explanation.explain(recogniser, audio, hop_seconds)
    return open_run(folder, root, cache=cache, progress=progress).explain(audio, hop_seconds)


def _has_data(folder: Path) -> bool:
    """Whether the data of a run are found without a ``root``."""
    try:
        find_data(folder, RunFolder(folder).read_config().data, None, None)
    except ConfigError:
        return False
    return True


def intervene(
    run: Run | Source,
    protocol: str | None = None,
    *,
    out: Source | None = None,
    root: Source | None = None,
    cache: Source | None = None,
    progress: Progress = SILENT,
) -> intervention.Intervention:
    """Correct a run's concepts, see `Run.intervene` and `open_run`."""
    return _opened(run, root, cache, progress).intervene(protocol, out)


def show(
    run: Run | Source,
    clips: str | Sequence[str] = (),
    protocol: str | None = None,
    epsilon: float | None = None,
    *,
    out: Source | None = None,
    root: Source | None = None,
    cache: Source | None = None,
    progress: Progress = SILENT,
) -> ClipsShown:
    """Draw attacked clips of a run and render them as sound, see `Run.show` and `open_run`."""
    return _opened(run, root, cache, progress).show(clips, protocol, epsilon, out)


def set_concepts(
    run: Run | Source,
    values: Mapping[str, float],
    audio: Source | None = None,
    *,
    root: Source | None = None,
    cache: Source | None = None,
    progress: Progress = SILENT,
) -> intervention.Change:
    """Emotions before and after concepts are set, of one recording or, on average, of the clean test clips.

    Raises:
        ConfigError: No such concept, or a value that is not finite.
        CheckpointError: The system has no concepts.
    """
    if audio is None:
        return _opened(run, root, cache, progress).set_concepts(values)
    recogniser = run.recogniser if isinstance(run, Run) else load(run)
    return intervention.set_concepts_of_recording(recogniser, audio, values)
