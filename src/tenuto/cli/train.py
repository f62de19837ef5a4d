"""`tenuto train` and `tenuto import-reference`."""

from __future__ import annotations

import functools
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tenuto.cli import common
from tenuto.cli.common import notes
from tenuto.cli.groups import Columns, grouped
from tenuto.config import SYSTEMS

SelectName = StrEnum("SelectName", ["correlation", "mae", "loss"])
setting_option = functools.partial(
    typer.Option, rich_help_panel="Single settings, which override --system and --preset"
)
robust_option = functools.partial(typer.Option, rich_help_panel="Settings of --robust")
ExcerptName = StrEnum("ExcerptName", ["fixed", "fresh"])
RobustDomain = StrEnum("RobustDomain", ["waveform"])
BottleneckName = StrEnum("BottleneckName", ["joint", "sequential", "independent"])


@grouped
def train(
    root: common.Root,
    system: Annotated[str | None, typer.Option(help=f"One of {', '.join(SYSTEMS)}.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="paper-2025, robust-fast or another preset, or a YAML file.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order, excerpts, dropout.")] = None,
    adversarial: Annotated[
        bool | None, typer.Option(help="With or without adversarial training.", show_default=False)
    ] = None,
    robust: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="Robust training in every epoch: noise, pgd, fast, free, trades, or a registered method.",
            show_default=False,
        ),
    ] = None,
    bottleneck: Annotated[
        BottleneckName | None,
        typer.Option(
            metavar="KIND",
            help="joint: concepts and emotions together; sequential or independent: concepts first, then a linear "
            "fit of emotions on predicted or true concepts.",
            show_default="joint",
        ),
    ] = None,
    network: Annotated[
        str | None, setting_option(help="a2e, a2m2e, or a registered network, for combinations of your own.")
    ] = None,
    task_loss_weight: Annotated[
        float | None, setting_option(help="w in w * emotion MSE + (1 - w) * concept MSE, 0 to 1.")
    ] = None,
    learning_rate: Annotated[
        float | None, setting_option(help="Adam's step size.", show_default="0.0005")
    ] = None,
    epochs: Annotated[
        int | None, setting_option(help="Maximum number of epochs.", show_default="199")
    ] = None,
    patience: Annotated[
        int | None,
        setting_option(
            help="Number of epochs without improvement after which training ends.", show_default="50"
        ),
    ] = None,
    batch_size: Annotated[int | None, setting_option(help="Clips per update.", show_default="8")] = None,
    width: Annotated[float | None, setting_option(help="Factor on the channels.", show_default="1.0")] = None,
    split: Annotated[
        str | None, setting_option(metavar="KIND", help=common.SPLIT_HELP, show_default="paper")
    ] = None,
    split_seed: Annotated[
        int | None, setting_option(help="Seed of what a split draws.", show_default="42")
    ] = None,
    excerpts: Annotated[
        ExcerptName | None, setting_option(help="fixed: one excerpt per clip; fresh: redrawn every epoch.")
    ] = None,
    select: Annotated[
        SelectName | None,
        setting_option(
            metavar="MEASURE",
            help="Validation measure that chooses the checkpoint: correlation, mae or loss.",
            show_default="correlation",
        ),
    ] = None,
    threads: Annotated[int | None, setting_option(help="CPU threads (default: all cores).")] = None,
    precision: common.TrainPrecision = None,
    average: Annotated[
        float | None,
        setting_option(
            help="Decay of a moving average of the weights, such as 0.99, which is evaluated and saved.",
            show_default="no average",
        ),
    ] = None,
    sigma: Annotated[
        float | None, robust_option(help="noise: its standard deviation.", show_default="0.25")
    ] = None,
    epsilon: Annotated[
        float | None,
        robust_option(
            help="Largest change of an entry, in standard deviations of the log spectrogram, or of a sample.",
            show_default="0.05",
        ),
    ] = None,
    db: Annotated[
        float | None, robust_option(help="Signal-to-noise ratio of attacked waveforms.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, robust_option(help="pgd, trades: steps of the attack.", show_default="5")
    ] = None,
    step_size: Annotated[
        float | None,
        robust_option(
            help="Size of a step, in the unit of the budget.", show_default="from budget and steps"
        ),
    ] = None,
    replays: Annotated[
        int | None, robust_option(help="free: updates on the same clips.", show_default="4")
    ] = None,
    weight: Annotated[
        float | None, robust_option(help="trades: weight of the change of the prediction.", show_default="6")
    ] = None,
    domain: Annotated[
        RobustDomain | None,
        robust_option(metavar="NAME", help="waveform: perturb the sound.", show_default="spectrogram"),
    ] = None,
    data: common.Data = None,
    columns: Columns = Columns(),
    runs: common.Runs = Path("runs"),
    cache: common.Cache = None,
    log: common.Log = None,
    device: common.Device = "cpu",
) -> None:
    """Train one run, or resume an interrupted one, and print its folder.

    Example: tenuto train --system A2E --preset paper-2025 --seed 6 --root soundtracks
    """
    from tenuto import api
    from tenuto.api.training import run_config

    robust_settings = {
        "method": robust,
        "sigma": sigma,
        "epsilon": epsilon,
        "db": db,
        "steps": steps,
        "step_size": step_size,
        "replays": replays,
        "weight": weight,
        "domain": domain,
    }
    settings = {
        "data": {**columns.settings(data), "split": split, "split_seed": split_seed, "excerpts": excerpts},
        "model": {"network": network, "width": width},
        "train": {
            "seed": seed,
            "task_loss_weight": task_loss_weight,
            "learning_rate": learning_rate,
            "epochs": epochs,
            "patience": patience,
            "batch_size": batch_size,
            "select": select,
            "bottleneck": bottleneck,
            "threads": threads,
            "precision": precision,
            "average": average,
            "robust": robust_settings if set(robust_settings.values()) != {None} else None,
        },
    }
    config = run_config(system, preset, settings, adversarial, root)
    folder = api.train(
        root,
        config,
        runs=runs,
        cache=cache,
        device=device,
        progress=common.TERMINAL,
        report=_print_epoch,
        log=log,
    )
    typer.echo(str(folder))


def _print_epoch(row: dict[str, Any]) -> None:
    notes.print(
        f"epoch {row['epoch']:3d}  loss {row['loss']:.4f}  validation r {_correlation(row):.4f}"
        f"  score {row['score']:.4f}  best epoch {row['best_epoch']}"
    )


def _correlation(row: dict[str, Any]) -> float:
    """Correlation of what is trained: the emotions, or the concepts alone."""
    return float(row["validation_emotions" if "validation_emotions" in row else "validation_concepts"])


def import_reference(
    state: Annotated[Path, typer.Argument(help="Released-style .pt file of weights.")],
    system: Annotated[str, typer.Option(help="System of the weights.")],
    seed: Annotated[int, typer.Option(help="Seed it was trained with, for the run's name.")],
    runs: common.Runs = Path("runs"),
) -> None:
    """Convert a released .pt file to a run folder. Nothing in the file is executed.

    The study's normalisation, split and excerpts are assumed, since the file records none.

    Example: tenuto import-reference best_model.pt --system A2M2E --seed 21 --runs runs
    """
    from tenuto import api

    typer.echo(str(api.import_reference(state, system, seed, runs)))
