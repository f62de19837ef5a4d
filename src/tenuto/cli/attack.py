"""`tenuto attack`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.cli.natural import measured as natural_changes
from tenuto.cli.natural import show as show_natural
from tenuto.errors import ConfigError
from tenuto.store.run import RunFolder

if TYPE_CHECKING:
    from tenuto.evaluation.runs import Run

RELEASED = "paper-2025-released"
PAPER, OWN = "Settings of the paper's protocols", "An attack of your own"
Measure = StrEnum("Measure", ["corr", "mse"])
Optimizer = StrEnum("Optimizer", {"Adam": "Adam", "SGD": "SGD"})  # a list would make them lower-case


def attack(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    root: common.Root,
    protocol: Annotated[
        str | None,
        typer.Option(help="Named, versioned bundle of attacks.", show_default=RELEASED),
    ] = None,
    split: Annotated[
        common.PartName, typer.Option(metavar="PART", help=f"Whose clips: {', '.join(common.PartName)}.")
    ] = common.PartName.test,
    iterations: Annotated[
        int | None, typer.Option(help="Iterations per clip.", show_default="1000", rich_help_panel=PAPER)
    ] = None,
    measure: Annotated[
        Measure | None,
        typer.Option(help="What the thresholds speak of.", show_default="corr", rich_help_panel=PAPER),
    ] = None,
    optimizer: Annotated[
        Optimizer | None, typer.Option(help="Who steps.", show_default="Adam", rich_help_panel=PAPER)
    ] = None,
    step_size: Annotated[
        float | None,
        typer.Option(help="Its step, normalised units.", show_default="0.002", rich_help_panel=PAPER),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="Weigh error against size; 0 is off.", show_default="off", rich_help_panel=PAPER),
    ] = None,
    sign: Annotated[
        bool | None,
        typer.Option("--sign/--no-sign", help="Feed signs.", show_default="sign", rich_help_panel=PAPER),
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
        float | None, typer.Option(help="Size of the budget, normalised units.", rich_help_panel=OWN)
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
        bool, typer.Option("--from-clean", help="Error from the clean prediction.", rich_help_panel=OWN)
    ] = False,
    clipped: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Clip to this scale before.", rich_help_panel=OWN),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="steps=100, restarts=5, goal=0.2 ...", rich_help_panel=OWN),
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="Run that Transfer attacks instead.", rich_help_panel=OWN)
    ] = None,
    released_log: Annotated[
        Path | None, typer.Option(help="Also write log.csv and hparams.yaml of the released format here.")
    ] = None,
    natural: Annotated[
        bool, typer.Option("--natural/--no-natural", help="Show what music does by itself beside it.")
    ] = True,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Clips attacked together.", show_default="6; GPU: 64")
    ] = None,
    cache: common.Cache = None,
    device: common.Device = "cpu",
) -> None:
    """Attack a run's clips, by a protocol or by one attack of your own; rows and perturbations go to the run's folder.

    A setting that differs from the protocol's becomes part of the file's name.
    An interrupted call goes on where it stopped.

    Example: tenuto attack runs/A2E-6-1a2b3c4d --protocol standard-1 --root soundtracks

    Example: tenuto attack runs/A2E-6-1a2b3c4d --attack APGD --epsilon 0.05 --objective happy=0.8 --root soundtracks
    """
    from tenuto.attacks import parse_attack, parse_objective
    from tenuto.attacks import protocol as named_protocol
    from tenuto.cli.screen import attack_table
    from tenuto.evaluation import robustness
    from tenuto.evaluation.runs import open_run
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
    prepared = common.prepare_data(RunFolder(run).read_config().data, root, cache)
    opened = open_run(run, prepared)
    emotions = opened.recogniser.emotions
    if family is None:
        if any((norm, epsilon is not None, aim, from_clean, clipped, setting, source)):
            raise ConfigError(
                "--norm, --epsilon, --objective, --from-clean, --clipped, --setting and --source go with an attack "
                "of your own: name it by --attack."
            )
        chosen = named_protocol(protocol or RELEASED, **settings)
    else:
        if protocol is not None or settings:
            raise ConfigError("--attack is one attack of your own: leave out --protocol and its settings.")
        given = aim or ("squared-error" if from_clean or clipped else None)
        goal = parse_objective(given, emotions, from_clean=from_clean, scale=clipped) if given else None
        own = _own_settings(opened, setting or [], source)
        chosen = parse_attack(family, norm or "linf", epsilon, goal, own)
    if released_log is not None and chosen.name != RELEASED:
        raise ConfigError(f"--released-log is for {RELEASED}: other attacks have no such log.")
    notes.print(f"{chosen}: {chosen.description}")
    for omission in chosen.omissions(len(emotions)):
        notes.print(omission)
    total = len(opened.part(split.value)) * chosen.iterations(len(emotions))
    with common.bar("attack", total) as advance:
        rows = robustness.attack(opened, chosen, split.value, device, batch_size, advance)
    out.print(attack_table(rows))
    typer.echo(str(opened.files.rows(chosen, split.value)))
    if released_log is not None:
        write_log(rows, released_log, robustness.released_settings(opened, chosen))
        notes.print(f"{released_log}: log.csv and hparams.yaml in the released format")
    if natural:
        show_natural(natural_changes(opened, split.value), "The same clips under changes that nobody planned")


def _own_settings(run: Run, given: list[str], source: Path | None) -> dict[str, object]:
    """What ``--setting`` and ``--source`` say, by the names of the attack's settings."""
    settings: dict[str, object] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--setting {text}: wanted NAME=VALUE, such as steps=100.")
        settings[name.strip().replace("-", "_")] = value.strip()
    if source is not None:
        from tenuto.evaluation.runs import Sibling
        from tenuto.models.checkpoint import load

        settings |= {"source": Sibling(run, load(source)), "name": source.name}
    return settings
