"""One run: evaluate it, attack it, and look inside. `tenuto.api.calls` has each method as one call.

Longer than other files: a method for everything that can be done with a run.

Example:
    >>> run = tenuto.open_run("demo/runs/A2E-21-1a2b3c4d")  # doctest: +SKIP
    >>> rows = run.attack("standard-1")  # doctest: +SKIP
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.analysis.natural import summary
from tenuto.analysis.systems import label_scale
from tenuto.api.attributing import attribute_clip
from tenuto.api.auditing import Audit, audit_run
from tenuto.api.certificates import Certificates, certify_run
from tenuto.api.datasets import as_data_config, find_data, prepare
from tenuto.api.outcomes import ClipsShown, Metrics, attack_name, file_names, write_clip, write_intervention
from tenuto.api.progress import SILENT, Progress
from tenuto.api.single_attacks import (
    Domain,
    as_protocol,
    attack_on_run,
    check_domain,
    in_domain,
    is_single,
    with_siblings,
)
from tenuto.arguments import as_list, checked, checked_methods, checked_with
from tenuto.attacks import Attack, Budget, Objective, Protocol, Region, parse_objective, protocol
from tenuto.attacks.registry import check_settings
from tenuto.attacks.universal import Universal
from tenuto.config import SYSTEMS, DataConfig, RunConfig, to_yaml
from tenuto.data import Prepared, draw_split, write_split
from tenuto.data.inputs import LogSpectrogramInputs
from tenuto.data.splits import PARTS
from tenuto.devices import require
from tenuto.display import Displayed, Element
from tenuto.errors import ConfigError, DataError, FileError, counted
from tenuto.evaluation import (
    explanation,
    intervention,
    leakage as leaking,
    natural as variation,
    resynthesis,
    robustness,
    runs,
)
from tenuto.evaluation.attribution import SEGMENTS, Attribution
from tenuto.evaluation.attribution_attack import DEFAULT_STEPS
from tenuto.evaluation.certifying import Numbers, Request
from tenuto.evaluation.universal import UniversalResult, default_name, default_shifts, universal
from tenuto.files import check_writable, write_text
from tenuto.models.adoption import FrontEnd, Model
from tenuto.models.checkpoint import read_fingerprint
from tenuto.models.recogniser import Profile
from tenuto.sinks import Sink, open_sink
from tenuto.store.location import locate_run
from tenuto.store.natural import GRADED_PROTOCOL, check_protocol
from tenuto.store.perturbations import saved_rows
from tenuto.store.rows import NATURAL_PROTOCOL, RELEASED_PROTOCOL
from tenuto.store.run import RunFolder, stem
from tenuto.store.traces import log_traces, read_traces

Source = str | Path
ADOPTED_PROTOCOL = "standard-1"
"""The default protocol of models that are none of the study's."""


@checked_methods
@dataclasses.dataclass(frozen=True, repr=False)
class Run(Displayed, runs.OpenedRun):
    """A run with the clips its model was trained or is judged on; `open_run` and `adopt` make it.

    Attributes:
        folder: The run's folder.
        config: The configuration it was trained with.
        recogniser: The model as it is judged: the emotions that the data rate, on the scale of the labels.
        material: Its clips.
        own: The model itself, with all its outputs on its own scale.
        remarks: What was matched and converted, a sentence each.
        progress: Receives progress of long work.
    """

    progress: Progress = dataclasses.field(default=SILENT, repr=False, compare=False)

    def _elements(self) -> list[Element]:
        split = self.material.split
        parts = ", ".join(f"{len(split.part(name))} {name}" for name in PARTS)
        return [
            f"{self.folder}: {self.config.system}, seed {self.config.train.seed}, {parts} clips",
            *self.remarks,
        ]

    def predict(self, source: Source) -> Profile:
        """Predict a recording of any length, on the model's own scale. Raises `AudioError`."""
        return self.model.predict(source)

    def evaluate(self) -> Metrics:
        """Metrics of clean predictions on training, validation and test clips; also written to ``metrics.json``."""
        return Metrics(robustness.evaluate(self))

    @checked_with(attack="Give one such as APGD(Linf(0.05)).")
    def attack(
        self,
        attack: str | Protocol | Attack | None = None,
        part: str = "test",
        device: str = "cpu",
        batch_size: int | None = None,
        inputs: Domain | None = None,
        trace: bool = False,
        log: str | Sink | None = None,
        **settings: Any,
    ) -> pd.DataFrame:
        """Attack the clips of one part of the split. Rows and perturbations are written to ``attacks``.

        Args:
            attack: Name of a protocol, a protocol, one attack such as ``APGD(Linf(0.05))``, or the name of one, such
                as ``APGD``; default: `protocol`.
            part: ``train``, ``validation`` or ``test``.
            device: ``cpu`` or ``cuda``.
            batch_size: Clips attacked together; default: 6, on a GPU 64.
            inputs: What is perturbed, ``waveform`` or ``spectrogram``; default: what the budget is for, else what the
                model takes.
            trace: Also write what every search evaluated, step by step; `traces` reads it.
            log: Where the traces are reported in the end: ``tensorboard``, ``wandb``, ``mlflow``, or a
                `tenuto.sinks.Sink`; default: nowhere. It makes a trace.
            settings: Settings of a named protocol that differ from the published ones, such as ``iterations=100``. Of
                an attack by its name ``epsilon``, ``db``, ``norm``, ``objective`` (such as ``happy+``), ``from_clean``,
                ``scale``, and its own, such as ``steps=100``; of ``FILE.py:FUNCTION``, or with a run as
                ``source``, also ``trust``.

        Returns:
            One row per clip, attack and budget.

        Raises:
            ConfigError: An unknown protocol, part or setting, or inputs that the model or the budget does not allow.
            AttackError: A clip cannot be attacked.
            AudioError: A clip is too short to be attacked on its waveform.
        """
        require(device)
        if isinstance(attack, str) and is_single(attack):
            chosen = attack_on_run(self, attack, **settings)
        else:
            chosen = as_protocol(self.protocol if attack is None else attack, **settings)
        chosen = with_siblings(in_domain(chosen, self.recogniser, inputs), self)
        kind = len(self.recogniser.emotions), self.recogniser.has_gradient
        total = len(self.material.split.part(part)) * chosen.iterations(
            *kind
        )  # raises where no attack is left
        self.progress.note(f"{chosen}: {chosen.description}")
        for omission in chosen.omissions(*kind):
            self.progress.note(omission)
        with contextlib.ExitStack() as stack:
            # What cannot report says so before the attack.
            sink = None if log is None else open_sink(log, self.folder, self.name, stem(chosen, part))
            report = None if sink is None else stack.enter_context(sink)
            with self.progress.bar("attack", total) as advance:
                traced = trace or report is not None
                rows = robustness.attack(self, chosen, part, device, batch_size, advance, trace=traced)
            if report is not None:
                log_traces(self.traces(str(chosen), part), rows, report)
        return rows

    def traces(self, protocol: str, part: str = "test") -> pd.DataFrame:
        """What the searches of a protocol evaluated, as ``attack(..., trace=True)`` has written it.

        Returns:
            A line per attack (``settings``, as in the rows), clip and point, see `tenuto.attacks.Trace.frame`.

        Raises:
            FileError: No traces of this protocol, or a damaged file.
        """
        return read_traces(self.files.trace(protocol, part))

    def certify(
        self,
        inputs: str | None = None,
        *,
        sigma: Numbers,
        radius: Numbers = (),
        snr_db: Numbers = (),
        part: str = "test",
        clips: int | None = None,
        device: str = "cpu",
        batch_size: int | None = None,
        attack_steps: int = 0,
        **settings: Any,
    ) -> Certificates:
        """Certify clips by median smoothing, see `tenuto.certify`. Rows are written to ``certificates``."""
        request = Request.of(sigma, radius, snr_db, clips, device, batch_size, attack_steps, **settings)
        check_domain(self.recogniser, inputs)
        run = self.in_sound() if inputs == "waveform" or (inputs is None and request.in_db) else self
        return certify_run(run, part, request, self.progress)

    @checked_with(budget="Give one such as Linf(0.05).")
    def universal(
        self,
        budget: Budget,
        objective: str | Objective = "squared-error",
        inputs: Domain | None = None,
        shifts: Sequence[float] | None = None,
        part: str = "test",
        out: Source | None = None,
        device: str = "cpu",
        **settings: Any,
    ) -> UniversalResult:
        """Fit one perturbation on the training clips and judge it on the test clips.

        The epoch is chosen on validation clips. Test clips are judged at every shift of the perturbation, and under
        random noise of the same size.

        Args:
            budget: How large the perturbation is. Under ``SNR`` one shape is scaled to the level of each clip.
            objective: What is increased on average, see docs/attack.md.
            inputs: ``waveform`` or ``spectrogram``; default: where the budget belongs, else the model's own input.
            shifts: Seconds by which the perturbation is moved in time, circularly; default: 0, 2.5, 5 and 7.5, as far
                as they are shorter than the input.
            part: Whose clips are judged: ``test``, ``validation`` or ``train``.
            out: Folder for rows, perturbation and sound; default: ``universal/NAME`` in the run folder.
            device: ``cpu`` or ``cuda``.
            settings: Settings of `tenuto.attacks.universal.Universal`, such as ``epochs=5``.

        Raises:
            AttackError: A clip cannot be attacked.
            ConfigError: A setting out of range, or a budget that a universal perturbation cannot keep.
        """
        check_domain(self.recogniser, inputs)
        if budget.needs_sound and inputs == "spectrogram":
            raise ConfigError(f"{budget!r} is a budget of waveforms. Leave out `inputs`, or use Linf or L2.")
        run = self.in_sound() if budget.needs_sound or inputs == "waveform" else self
        require(device)
        model = run.recogniser
        if isinstance(objective, str):
            objective = parse_objective(objective, model.emotions, concepts=model.concepts)
        check_settings(Universal, settings)
        fit = Universal(budget, objective=objective, **settings)
        shifts = default_shifts(model.inputs) if shifts is None else shifts
        name = default_name(fit, model.inputs.unit, part, shifts)
        folder = run.files.universal(name) if out is None else Path(out)
        with self.progress.bar("universal perturbation", fit.steps(len(run.part("train")))) as advance:
            result = universal(run, fit, folder, part, shifts, device, advance)
        self.progress.note(f"{folder}: rows, perturbation{' and sound' if result.sample_rate else ''}")
        return result

    @property
    def protocol(self) -> str:
        """The protocol that is run by default: the study's where the model is one of the study's, else standard-1."""
        released = protocol(RELEASED_PROTOCOL)
        is_usable = not any(attack.refusal(len(self.recogniser.emotions)) for attack in released.attacks)
        return RELEASED_PROTOCOL if self.config.system in SYSTEMS and is_usable else ADOPTED_PROTOCOL

    def natural(self, part: str = "test", protocol: str = NATURAL_PROTOCOL) -> pd.DataFrame:
        """How predictions change under natural variation: another excerpt, mp3, gain, noise. One line per variation.

        Args:
            part: ``train``, ``validation`` or ``test``.
            protocol: ``natural-1``, or ``natural-2``: eleven kinds of change with five strengths each.

        Raises:
            ConfigError: An unknown part or protocol.
        """
        from tenuto.evaluation.graded import graded  # needs SciPy's filters

        measure = graded if check_protocol(protocol) == GRADED_PROTOCOL else variation.natural
        with self.progress.bar("natural variation", len(self.part(part))) as advance:
            return summary(measure(self, part, advance))

    def audit(
        self,
        siblings: Source | Sequence[Source] = (),
        clips: int | None = None,
        budget: Budget | None = None,
        rerun: bool = False,
    ) -> Audit:
        """Audit all attacks of this run; the model is evaluated too. See `tenuto.audit` for the arguments."""
        return audit_run(self, siblings, clips, budget, rerun, self.progress)

    def explain(
        self, source: Source, hop_seconds: float = explanation.HOP_SECONDS
    ) -> explanation.Explanation:
        """Explain the prediction for a recording. Raises `AudioError` or `ConfigError`."""
        files = self.files
        background = explanation.Background.read(files.home.path, self.model)
        if background is None and files.home is files:  # other data do not hold the training clips
            background = self._predict_training_clips()
        return explanation.explain(self.model, source, hop_seconds, background)

    def _predict_training_clips(self) -> explanation.Background:
        """Predictions for the training clips, written to the run folder where that is possible."""
        part = self.part("train")
        background = explanation.Background.of(self.model, part.clips, part.inputs)
        try:
            path = background.write(self.folder, self.model)
            self.progress.note(f"{path}: saved predictions for {counted(len(part), 'training clip')}")
        except FileError as error:  # another user's run: an explanation needs no writing
            self.progress.note(str(error))
        return background

    def intervene(self, protocol: str | None = None, out: Source | None = None) -> intervention.Intervention:
        """Correct the concepts of the test clips one after the other and measure the error of the emotions.

        Args:
            protocol: The attack whose saved perturbations are corrected; default: all in the run folder.
            out: Folder for the table and the figure; default: ``interventions`` in the run folder.
        """
        folder = self.files.interventions if out is None else Path(out)
        if self.recogniser.concepts:  # else nothing is written
            check_writable(folder)
        result = intervention.intervene(self, protocol)
        for path in write_intervention(result, folder):
            self.progress.note(str(path))
        return result

    def attribute(
        self,
        clip: str,
        emotion: str | None = None,
        method: str = "integrated-gradients",
        budget: Budget | None = None,
        region: Region | None = None,
        segments: tuple[int, int] = SEGMENTS,
        steps: int = DEFAULT_STEPS,
        seed: int = 0,
    ) -> Attribution:
        """Attribute the prediction for a clip to parts of its input, and attack the attribution.

        Args:
            clip: Name of a clip of the run's data.
            emotion: Whose prediction is attributed; default: the one with the largest prediction.
            method: ``integrated-gradients``, ``gradient-input`` or ``occlusion``.
            budget: Also attack the attribution within this budget, such as ``Linf(0.05)``, while the emotions stay.
            region: Also attack the emotion in this part of the input alone: does the attribution find it?
            segments: Number of segments of time and of frequency.
            steps: Of each attack.
            seed: Of the attacks and of the noise that they are compared with.

        Raises:
            ConfigError: An unknown emotion or method, a region without a budget, outside the clip, as large as it, or
                of features, or a model without gradients.
            DataError: The clip is in no part of the split.
        """
        settings: dict[str, Any] = {"segments": segments, "steps": steps, "seed": seed}
        return attribute_clip(self, clip, emotion, method, budget, region, **settings, progress=self.progress)

    def leakage(
        self,
        part: str = "test",
        black_box: runs.OpenedRun | Source | None = None,
        seed: int = 0,
        trust: bool = False,
    ) -> leaking.Leakage:
        """What the units of a bottleneck say beyond their concepts, and what they leave out.

        Args:
            part: ``test``, ``validation`` or ``train``.
            black_box: A run on the same data, such as an A2E run, that completeness compares with; default: a fit on
                the features in front of the bottleneck. Named by its folder it is judged on the data of this run.
            seed: Of the bootstrap.
            trust: Whether you trust the code of an adopted black box, which is then executed, now and later.

        Raises:
            ConfigError: No bottleneck, no concept ratings, or a black box on other data.
            DataError: Too few clips.
            TrustError: A black box with code that was not named on this machine.
        """
        if black_box is not None and not isinstance(black_box, runs.OpenedRun):
            black_box = self._alongside(locate_run(black_box), trust)
        return leaking.measure(self, part, black_box, seed)

    def _alongside(self, folder: Path, trust: bool) -> runs.OpenedRun:
        """Another run on the clips of this one: where those are other data, judged on the same ones."""
        prepared, files = self.material.prepared, self.files
        if files.home is not files:
            home = RunFolder(folder).home
            folder = _on(home, home.read_config(), self.config.data, prepared)
        return runs.open_run(folder, prepared, trust=trust)

    def set_concepts(self, values: Mapping[str, float]) -> intervention.Change:
        """Emotions of the clean test clips, on average, before and after concepts are set to ``values``."""
        before, after = intervention.set_concepts(self, values)
        source = f"{self.name}, mean of {counted(len(self.part('test')), 'test clip')}"
        names = self.recogniser.emotions
        return intervention.Change.of(source, names, values, before.mean(axis=0), after.mean(axis=0))

    def show(
        self,
        clips: str | Sequence[str] = (),
        protocol: str | None = None,
        epsilon: float | None = None,
        out: Source | None = None,
        *,
        db: float | None = None,
        norm: str | None = None,
    ) -> ClipsShown:
        """Draw attacked clips and render them as sound. Files are written to ``out``.

        Args:
            clips: Names of clips of one part of the split; default: all test clips.
            protocol: The attack; may be left out where the run has one.
            epsilon: The budget; may be left out where the protocol has one.
            out: Folder for pictures and sounds; default: ``shown/PROTOCOL-BUDGET`` in the run folder.
            db: The budget in dB, such as 40 for a signal-to-noise ratio of 40 dB.
            norm: Which norm, where several have this budget.
        """
        names = as_list(clips)
        check_writable(self.files.shown if out is None else out)
        rows = saved_rows(self.files, self._part_of(names), protocol, epsilon, db=db, norm=norm)
        names = names or list(rows["clip"])
        results, files, stems = [], {}, file_names(self.material.prepared.index.clips)
        scale = label_scale(self.config.data) or self.material.prepared.index.label_scale
        with self.progress.bar("clips", len(names)) as advance:
            for result in resynthesis.resynthesise_clips(self, rows, names):
                folder = self.files.shown / attack_name(result) if out is None else Path(out)
                files[result.clip] = write_clip(result, folder, stems[result.clip], scale)
                results.append(result)
                advance(1)
        return ClipsShown(self.name, tuple(results), files, scale)

    def _part_of(self, clips: Sequence[str]) -> str:
        """The part of the split that all clips are in; test where none is named. Raises `ConfigError`."""
        parts = {clip: self.part_of(clip) for clip in clips}
        if len(set(parts.values())) > 1:
            listing = ", ".join(f"{clip} ({part})" for clip, part in parts.items())
            raise ConfigError(f"clips of several parts of the split: {listing}. Show one part at a time.")
        return next(iter(parts.values()), "test")


@checked
def open_run(
    folder: Source,
    root: Source | None = None,
    *,
    data: str | DataConfig | None = None,
    cache: Source | None = None,
    progress: Progress = SILENT,
    model: Model | None = None,
    front_end: FrontEnd | None = None,
    trust: bool = False,
) -> Run:
    """Open a run with the data it was trained on, or with other data to judge it on.

    Args:
        folder: The run's folder, or the beginning of its name.
        root: Folder of the data set; default: the corpus of the run's study, else ``$TENUTO_DATA``.
        data: Another data set, by its name or settings, to judge the run on. Outputs are matched by name, predictions
            converted to the scale of its labels, and results are written to ``on`` in the run's folder.
        cache: Folder of spectrograms; default: that of the run's study, else the user's cache.
        progress: Receives progress of this and later calls.
        model: The model of an adopted run, where it was given as a Python object or has moved since.
        front_end: The same for its front end.
        trust: Whether you trust the code of an adopted run, which is then executed, now and later.

    Raises:
        ConfigError: Not a run folder, several runs with such a name, or the data are not found.
        CheckpointError: The model was trained on other data, shares no emotion with it, or has changed.
        TrustError: An adopted model whose code was not named on this machine.
    """
    folder = locate_run(folder)
    config = RunFolder(folder).read_config()
    settings = config.data if data is None else as_data_config(data, root)
    root, cache = find_data(folder, settings, root, cache, is_own=data is None)
    prepared = prepare(root, settings, cache=cache, progress=progress)
    if data is not None:
        folder = _on(RunFolder(folder).home, config, settings, prepared)
    run = runs.open_run(folder, prepared, model=model, front_end=front_end, trust=trust)
    return with_progress(run, progress)


def _on(run: RunFolder, config: RunConfig, settings: DataConfig, prepared: Prepared) -> Path:
    """The folder of a run's results on other data, with its configuration; the run's own for its own data."""
    if prepared.fingerprint == read_fingerprint(run.checkpoint):
        return run.path
    on = run.on(prepared.name, prepared.fingerprint)
    try:
        split = draw_split(prepared.index, settings.split, settings.split_seed)
    except DataError as error:  # its advice is for those who train, where a split is chosen
        raise DataError(
            f"{str(error).partition('. ')[0]}. Add recordings, or name the part of every clip in a CSV and judge the "
            "run in Python, where data is tenuto.api.datasets.data_config(root, split='FILE.csv')."
        ) from error
    if on.config.is_file():
        if on.read_split() != split:
            raise ConfigError(
                f"{on.path}: holds results on another split of these data. Remove the folder, or judge the run on that "
                "split."
            )
    else:
        write_split(on.split, split)
        write_text(on.config, to_yaml(config.model_copy(update={"data": settings})))
    return on.path


def with_progress(run: runs.OpenedRun, progress: Progress) -> Run:
    """An opened run that reports progress; the waveforms that its model takes are in the cache."""
    inputs, prepared = run.recogniser.inputs, run.material.prepared
    if not isinstance(inputs, LogSpectrogramInputs):
        with progress.bar("waveforms", len(prepared.index)) as advance:
            prepared.prepare_waveforms(inputs.sample_rate, progress=advance)
    for remark in run.remarks:
        progress.note(f"{run.name}: {remark}")
    fields = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
    return Run(**fields, progress=progress)
