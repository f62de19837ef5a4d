"""`tenuto attack`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tenuto.cli import common
from tenuto.cli.common import notes, out

Measure = StrEnum("Measure", ["corr", "mse"])
Optimizer = StrEnum("Optimizer", {"Adam": "Adam", "SGD": "SGD"})  # a list would make them lower-case


def attack(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    root: common.Root,
    protocol: Annotated[
        str, typer.Option(help="Named, versioned bundle of attacks.")
    ] = "paper-2025-released",
    split: Annotated[
        common.PartName, typer.Option(metavar="PART", help=f"Whose clips: {', '.join(common.PartName)}.")
    ] = common.PartName.test,
    iterations: Annotated[int | None, typer.Option(help="Iterations per clip.", show_default="1000")] = None,
    measure: Annotated[
        Measure | None, typer.Option(help="What the thresholds speak of.", show_default="corr")
    ] = None,
    optimizer: Annotated[Optimizer | None, typer.Option(help="Who steps.", show_default="Adam")] = None,
    step_size: Annotated[
        float | None, typer.Option(help="Its step, normalised units.", show_default="0.002")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Weigh error against size; 0 is off.", show_default="off")
    ] = None,
    sign: Annotated[
        bool | None, typer.Option("--sign/--no-sign", help="Feed signs.", show_default="sign")
    ] = None,
    released_log: Annotated[
        Path | None, typer.Option(help="Also write log.csv and hparams.yaml of the released format here.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Clips attacked together.", show_default="6")] = None,
    cache: common.Cache = None,
    device: common.Device = "cpu",
) -> None:
    """Attack a run's clips; rows and perturbations go to the run's folder.

    A setting that differs from the protocol's becomes part of the file's name.
    An interrupted call goes on where it stopped.

    Example: tenuto attack runs/A2E-6-1a2b3c4d --split test --iterations 100 --root soundtracks
    """
    from tenuto.attacks import protocol as named_protocol
    from tenuto.cli.screen import attack_table
    from tenuto.evaluation import robustness
    from tenuto.evaluation.runs import open_run, read_config
    from tenuto.reporting.released import write_log

    given = {
        "iterations": iterations,
        "measure": measure.value if measure else None,
        "optimizer": optimizer.value if optimizer else None,
        "step_size": step_size,
        "alpha": alpha,
        "sign": sign,
    }
    chosen = named_protocol(protocol, **{name: value for name, value in given.items() if value is not None})
    prepared = common.prepare_data(read_config(run).data, root, cache)
    opened = open_run(run, prepared)
    total = len(opened.part(split.value)) * chosen.iterations(len(opened.recogniser.emotions))
    with common.bar("attack", total) as advance:
        rows = robustness.attack(opened, chosen, split.value, device, batch_size, advance)
    out.print(attack_table(rows))
    path = robustness.rows_path(run, chosen, split.value)
    typer.echo(str(path))
    if released_log is not None:
        write_log(rows, released_log, robustness.released_settings(opened, chosen))
        notes.print(f"{released_log}: log.csv and hparams.yaml in the released format")
