"""`tenuto attack`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.cli.screen import attack_table, changes_table, print_natural
from tenuto.cli.single_attack import SingleAttack
from tenuto.errors import ConfigError
from tenuto.store.location import is_recording

if TYPE_CHECKING:
    import pandas as pd

    from tenuto.api import Run
    from tenuto.attacks import Protocol

RELEASED = "paper-2025-released"
PRETRAINED = "a2e-soundtracks"
"""The model that is attacked on a recording where none is named."""

PAPER, OWN, RECORDING = "Settings of the paper's protocols", "A single attack", "An attack on a recording"
PART = "Region and transformations of a single attack"
Measure = StrEnum("Measure", ["corr", "mse"])
Precision = StrEnum("Precision", ["float32", "bfloat16"])
Optimizer = StrEnum("Optimizer", {"Adam": "Adam", "SGD": "SGD"})  # a list would make them lower-case


def attack(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN [AUDIO]",
            help="Folder of a run. With a recording: a run, an exported model or a pretrained model.",
            show_default=False,
        ),
    ],
    root: common.RunRoot = None,
    data: common.OtherData = None,
    trust: common.Trust = False,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Named, versioned set of attacks and budgets.",
            show_default=f"{RELEASED} for the study's systems, else standard-1",
        ),
    ] = None,
    split: Annotated[
        common.PartName,
        typer.Option(metavar="PART", help=f"Part of the split: {', '.join(common.PartName)}."),
    ] = common.PartName.test,
    iterations: Annotated[
        int | None, typer.Option(help="Iterations per clip.", show_default="1000", rich_help_panel=PAPER)
    ] = None,
    measure: Annotated[
        Measure | None,
        typer.Option(
            help="Quantity the thresholds are defined on.", show_default="corr", rich_help_panel=PAPER
        ),
    ] = None,
    optimizer: Annotated[
        Optimizer | None, typer.Option(help="Optimizer.", show_default="Adam", rich_help_panel=PAPER)
    ] = None,
    step_size: Annotated[
        float | None,
        typer.Option(
            help="Step size, in standard deviations of the normalised log spectrogram (std).",
            show_default="0.002",
            rich_help_panel=PAPER,
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            help="Weight of the error against the size; 0 is off.", show_default="off", rich_help_panel=PAPER
        ),
    ] = None,
    sign: Annotated[
        bool | None,
        typer.Option(
            "--sign/--no-sign",
            help="Use the sign of the gradient.",
            show_default="sign",
            rich_help_panel=PAPER,
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--attack",
            help="APGD, PGD, FGSM, DDN, Minimal, Imperceptible, Square, Noise, Transfer, Described, or "
            "FILE.py:FUNCTION of your own.",
            rich_help_panel=OWN,
        ),
    ] = None,
    norm: Annotated[
        str | None,
        typer.Option(
            help="linf, l2 or none; of the waveform: snr, amplitude or masked.",
            show_default="snr with --db, else linf",
            rich_help_panel=OWN,
        ),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Size of the budget, in std; of amplitude: full scale is 1.", rich_help_panel=OWN),
    ] = None,
    db: Annotated[
        float | None, typer.Option(help="Size of the budget in dB, for snr and masked.", rich_help_panel=OWN)
    ] = None,
    aim: Annotated[
        str | None,
        typer.Option(
            "--objective",
            help="squared-error, absolute-error, correlation, huber, happy+, happy-alone, happy=0.8,sad=0.1, "
            "each-emotion, concepts-move, emotions-move, concept:modality+.",
            show_default="squared-error",
            rich_help_panel=OWN,
        ),
    ] = None,
    from_clean: Annotated[
        bool,
        typer.Option("--from-clean", help="Measure errors from the clean prediction.", rich_help_panel=OWN),
    ] = False,
    clipped: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Clip predictions to this scale first.", rich_help_panel=OWN),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="steps=100, restarts=5, goal=0.2 ...", rich_help_panel=OWN),
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="Run whose network Transfer attacks.", rich_help_panel=OWN)
    ] = None,
    seconds: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="FROM TO",
            help="Perturb these seconds of the excerpt only.",
            show_default="all",
            rich_help_panel=PART,
        ),
    ] = None,
    bands: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH",
            help="Perturb these frequencies only, in Hz.",
            show_default="all",
            rich_help_panel=PART,
        ),
    ] = None,
    robust_to: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Average over random changes of the sound: gain, shift, noise, low-pass, room, mp3, comma-separated.",
            show_default="none",
            rich_help_panel=PART,
        ),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Random draws per step; without --robust-to for a model that is random itself.",
            show_default="8 with --robust-to",
            rich_help_panel=PART,
        ),
    ] = None,
    start: Annotated[
        float | None,
        typer.Option(
            help="Second at which the attacked excerpt begins.",
            show_default="in the middle",
            rich_help_panel=RECORDING,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for rows, picture and sounds.",
            show_default="none",
            rich_help_panel=RECORDING,
        ),
    ] = None,
    released_log: Annotated[
        Path | None, typer.Option(help="Folder for log.csv and hparams.yaml in the released format.")
    ] = None,
    natural: Annotated[
        bool,
        typer.Option(
            "--natural/--no-natural",
            help="Also report changes under natural variation (excerpt, mp3, gain, noise).",
        ),
    ] = True,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Also write what every search evaluated, step by step; --log does too."),
    ] = False,
    log: common.Log = None,
    domain: common.Domain = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Precision of the search; results are in float32.", show_default="float32"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Clips attacked together.", show_default="6; GPU: 64")
    ] = None,
    cache: common.Cache = None,
    device: common.Device = "cpu",
) -> None:
    """Attack a run's clips with a protocol or a single attack. Rows and perturbations are written to the run's folder.

    Settings that differ from the protocol's become part of the file name. An interrupted call is resumed.

    With a recording, one excerpt of it is attacked. It has no ratings, so errors are measured
    from the clean prediction.

    Example: tenuto attack runs/A2E-6-1a2b3c4d --protocol standard-1 --root soundtracks

    Example: tenuto attack runs/A2E-6-1a2b3c4d --attack APGD --epsilon 0.05 --objective happy=0.8 --root soundtracks

    Example: tenuto attack runs/A2E-6-1a2b3c4d --attack APGD --epsilon 0.05 --seconds 2 4 --bands 200 2000

    Example: tenuto attack runs/A2E-6-1a2b3c4d --attack my_attack.py:shake --epsilon 0.05 --trust

    Example: tenuto attack a2e-soundtracks song.mp3 --objective happy+ --epsilon 0.05 --out attacked

    Example: tenuto attack a2e-soundtracks song.mp3 --objective happy+ --db 40 --out attacked
    """
    settings = {
        "iterations": iterations,
        "measure": measure.value if measure else None,
        "optimizer": optimizer.value if optimizer else None,
        "step_size": step_size,
        "alpha": alpha,
        "sign": sign,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    searched_in = precision and precision.value
    inputs: Any = domain and domain.value
    single = SingleAttack(
        *(family, norm, epsilon, db, aim, from_clean, clipped, setting, source, searched_in),
        *(seconds, bands, robust_to, draws),
    )
    if len(words) > 1 or is_recording(words[0]):
        clips = {
            **{name.replace("_", "-"): value for name, value in settings.items()},
            **{"root": root, "data": data, "protocol": protocol, "cache": cache, "source": source},
            **{"released-log": released_log, "batch-size": batch_size, "trace": trace or None, "log": log},
            "split": None if split is common.PartName.test else split,
        }
        _refuse(clips, "only for attacks on the clips of a run. Leave it out, or leave out the recording.")
        run, files = common.model_and_recordings(words, PRETRAINED)
        _attack_recording(run, common.one_recording(files), single, start, inputs, folder, device, trust)
        return
    _refuse({"start": start, "out": folder}, "only for an attack on a recording. Name one after the run.")
    single.check(protocol is not None or bool(settings))
    if searched_in and not family:
        settings["precision"] = searched_in
    from tenuto import api

    opened = api.open_run(words[0], root, data=data, trust=trust, cache=cache, progress=common.TERMINAL)
    chosen = single.protocol(opened, inputs, trust) if family else _named_protocol(opened, protocol, settings)
    if released_log is not None and chosen.name != RELEASED:
        raise ConfigError(f"--released-log is for {RELEASED}: other attacks have no such log.")
    rows = opened.attack(chosen, split.value, device, batch_size, inputs, trace, log)
    out.print(attack_table(rows))
    typer.echo(str(opened.files.rows(rows["protocol"].iloc[0], split.value)))
    if trace or log:
        notes.print(str(opened.files.trace(rows["protocol"].iloc[0], split.value)))
    if released_log is not None:
        _write_log(opened, chosen, rows, released_log)
    if natural:
        print_natural(opened.natural(split.value), "The same clips under natural variation")


def _refuse(options: Mapping[str, object], reason: str) -> None:
    """Raise `ConfigError` where one of these options is given."""
    if given := [f"--{name}" for name, value in options.items() if value is not None]:
        raise ConfigError(f"{', '.join(given)}: {reason}")


def _named_protocol(run: Run, protocol: str | None, settings: dict[str, Any]) -> Protocol:
    from tenuto.api.runs import as_protocol

    released = RELEASED if settings.keys() - {"precision"} else run.protocol
    return as_protocol(protocol or released, **settings)


def _write_log(run: Run, protocol: Protocol, rows: pd.DataFrame, folder: Path) -> None:
    from tenuto.evaluation import robustness
    from tenuto.store.released_logs import write_log

    write_log(rows, folder, robustness.released_settings(run, protocol))
    notes.print(f"{folder}: log.csv and hparams.yaml in the released format")


def _attack_recording(
    model: str,
    recording: Path,
    single: SingleAttack,
    start: float | None,
    inputs: Any,
    folder: Path | None,
    device: str,
    trust: bool,
) -> None:
    """Attack a recording and print its prediction before and after."""
    from tenuto import api

    attacked = api.attack_recording(
        model,
        recording,
        single.family,
        objective=single.aim,
        epsilon=single.epsilon,
        db=single.db,
        norm=single.norm,
        scale=single.clipped,
        start=start,
        inputs=inputs,
        out=folder,
        device=device,
        trust=trust,
        progress=common.TERMINAL,
        **single.settings,
    )
    out.print(changes_table(attacked))
