"""`tenuto attack`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.cli.screen import attack_table, print_natural
from tenuto.errors import ConfigError

if TYPE_CHECKING:
    from tenuto.api import Run

RELEASED = "paper-2025-released"
PAPER, OWN = "Settings of the paper's protocols", "A single attack"
Measure = StrEnum("Measure", ["corr", "mse"])
Optimizer = StrEnum("Optimizer", {"Adam": "Adam", "SGD": "SGD"})  # a list would make them lower-case


def attack(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
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
            help="APGD, PGD, FGSM, Minimal, Square, Noise, Transfer, Described.",
            rich_help_panel=OWN,
        ),
    ] = None,
    norm: Annotated[
        str | None, typer.Option(help="linf, l2 or none.", show_default="linf", rich_help_panel=OWN)
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="Size of the budget, in std.", rich_help_panel=OWN)
    ] = None,
    aim: Annotated[
        str | None,
        typer.Option(
            "--objective",
            help="squared-error, absolute-error, correlation, huber, happy+, happy-alone, happy=0.8,sad=0.1, "
            "each-emotion, concepts-move, emotions-move.",
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
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Clips attacked together.", show_default="6; GPU: 64")
    ] = None,
    cache: common.Cache = None,
    device: common.Device = "cpu",
) -> None:
    """Attack a run's clips with a protocol or a single attack. Rows and perturbations are written to the run's folder.

    Settings that differ from the protocol's become part of the file name. An interrupted call is resumed.

    Example: tenuto attack runs/A2E-6-1a2b3c4d --protocol standard-1 --root soundtracks

    Example: tenuto attack runs/A2E-6-1a2b3c4d --attack APGD --epsilon 0.05 --objective happy=0.8 --root soundtracks
    """
    from tenuto import api
    from tenuto.api.runs import as_protocol
    from tenuto.attacks import parse_attack, parse_objective
    from tenuto.evaluation import robustness
    from tenuto.store.released_logs import write_log

    settings = {
        "iterations": iterations,
        "measure": measure.value if measure else None,
        "optimizer": optimizer.value if optimizer else None,
        "step_size": step_size,
        "alpha": alpha,
        "sign": sign,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    own = (norm, epsilon, aim, clipped, setting, source)
    if family is None and (from_clean or any(value is not None for value in own)):
        raise ConfigError(
            "--norm, --epsilon, --objective, --from-clean, --clipped, --setting and --source need --attack, the "
            "name of a single attack."
        )
    if family is not None and (protocol is not None or settings):
        raise ConfigError("--attack is a single attack: leave out --protocol and its settings.")
    opened = api.open_run(run, root, data=data, trust=trust, cache=cache, progress=common.TERMINAL)
    if family is None:
        chosen = as_protocol(protocol or (RELEASED if settings else opened.protocol), **settings)
    else:
        word, emotions = (
            aim or ("squared-error" if from_clean or clipped else None),
            opened.recogniser.emotions,
        )
        goal = parse_objective(word, emotions, from_clean=from_clean, scale=clipped) if word else None
        own_settings = _own_settings(opened, setting or [], source)
        chosen = parse_attack(family, norm or "linf", epsilon, goal, own_settings)
    if released_log is not None and chosen.name != RELEASED:
        raise ConfigError(f"--released-log is for {RELEASED}: other attacks have no such log.")
    rows = opened.attack(chosen, split.value, device, batch_size)
    out.print(attack_table(rows))
    typer.echo(str(opened.files.rows(chosen, split.value)))
    if released_log is not None:
        write_log(rows, released_log, robustness.released_settings(opened, chosen))
        notes.print(f"{released_log}: log.csv and hparams.yaml in the released format")
    if natural:
        print_natural(opened.natural(split.value), "The same clips under natural variation")


def _own_settings(run: Run, given: list[str], source: Path | None) -> dict[str, object]:
    """The settings in ``--setting`` and ``--source``, by the names the attack gives them."""
    settings: dict[str, object] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--setting {text}: must be NAME=VALUE, such as steps=100.")
        settings[name.strip().replace("-", "_")] = value.strip()
    if source is not None:
        from tenuto import api
        from tenuto.evaluation.runs import Sibling

        settings |= {"source": Sibling(run, api.load(source)), "name": source.name}
    return settings
