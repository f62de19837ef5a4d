"""`tenuto train` and `tenuto evaluate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.config import (
    SYSTEMS,
    RunConfig,
    describes_study,
    merge,
    read_preset,
    with_adversarial,
    with_system,
)
from tenuto.errors import ConfigError, did_you_mean
from tenuto.store.run import RunFolder

SplitName = StrEnum("SplitName", ["paper", "album", "random"])
SETTINGS = "Single settings, which win over --system and --preset"
ExcerptName = StrEnum("ExcerptName", ["fixed", "fresh"])


def train(
    root: common.Root,
    system: Annotated[str | None, typer.Option(help=f"One of {', '.join(SYSTEMS)}.")] = None,
    preset: Annotated[str | None, typer.Option(help="paper-2025, or a YAML file.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order, excerpts, dropout.")] = None,
    adversarial: Annotated[
        bool | None, typer.Option(help="With or without adversarial training.", show_default=False)
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(rich_help_panel=SETTINGS, help="a2e, a2m2e, or a registered network."),
    ] = None,
    task_loss_weight: Annotated[
        float | None,
        typer.Option(rich_help_panel=SETTINGS, help="w in w * emotion MSE + (1 - w) * concept MSE, 0 to 1."),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(rich_help_panel=SETTINGS, help="Adam's step size.", show_default="0.0005")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(rich_help_panel=SETTINGS, help="At most so many epochs.", show_default="199")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(rich_help_panel=SETTINGS, help="Epochs without improvement.", show_default="50"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(rich_help_panel=SETTINGS, help="Clips per update.", show_default="8")
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(rich_help_panel=SETTINGS, help="Factor on the channels.", show_default="1.0"),
    ] = None,
    split: Annotated[
        SplitName | None,
        typer.Option(
            rich_help_panel=SETTINGS,
            metavar="KIND",
            help=f"Split: {', '.join(SplitName)}.",
            show_default="paper",
        ),
    ] = None,
    split_seed: Annotated[
        int | None,
        typer.Option(rich_help_panel=SETTINGS, help="Seed of album and random splits.", show_default="42"),
    ] = None,
    excerpts: Annotated[
        ExcerptName | None, typer.Option(rich_help_panel=SETTINGS, help="One excerpt per clip, or new ones.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(rich_help_panel=SETTINGS, help="CPU threads (default: all cores).")
    ] = None,
    precision: common.TrainPrecision = None,
    data: common.Data = None,
    ratings: common.Ratings = None,
    id_column: common.IdColumn = None,
    emotions: common.Emotions = None,
    concepts: common.Concepts = None,
    scale: common.Scale = None,
    album_column: common.AlbumColumn = None,
    runs: common.Runs = Path("runs"),
    cache: common.Cache = None,
    device: common.Device = "cpu",
) -> None:
    """Train one run, or finish one that was interrupted, and print its folder.

    Example: tenuto train --system A2E --preset paper-2025 --seed 6 --root soundtracks
    """
    from tenuto.models import check_network
    from tenuto.training import loop

    settings = {
        "data": {
            **common.data_settings(data, ratings, id_column, emotions, concepts, scale, album_column),
            "split": split,
            "split_seed": split_seed,
            "excerpts": excerpts,
        },
        "model": {"network": network, "width": width},
        "train": {
            "seed": seed,
            "task_loss_weight": task_loss_weight,
            "learning_rate": learning_rate,
            "epochs": epochs,
            "patience": patience,
            "batch_size": batch_size,
            "threads": threads,
            "precision": precision,
        },
    }
    config = configure(system, preset, settings, adversarial)
    check_network(config)
    prepared = common.prepare_data(config.data, root, cache)
    notes.print(f"{config.system}, seed {config.train.seed}, {len(prepared.index)} clips of {prepared.name}")
    with common.bar("epochs", config.train.epochs) as advance:
        done = 0

        def report(row: dict[str, Any]) -> None:
            nonlocal done
            advance(row["epoch"] - done)  # a run that was interrupted goes on in the middle of the bar
            done = row["epoch"]
            notes.print(
                f"epoch {row['epoch']:3d}  loss {row['loss']:.4f}  validation r {row['validation_emotions']:.4f}"
                f"  score {row['score']:.4f}  best epoch {row['best_epoch']}"
            )

        folder = loop.train(config, prepared, runs, device, report)
    for remark in loop.remarks(folder):
        notes.print(remark)
    typer.echo(str(folder))


def configure(
    system: str | None, preset: str | None, settings: dict[str, Any], adversarial: bool | None
) -> RunConfig:
    """The configuration of one run: preset, then the named system, then single options, later ones winning."""
    content: dict[str, Any] = read_preset(preset) if preset else {}
    if system is not None:
        if system not in SYSTEMS:
            raise ConfigError(f"system {system!r} is unknown. {did_you_mean(system, SYSTEMS)}")
        content = with_system(content, system)
    elif preset and describes_study(preset) and adversarial is None:
        # What a study says of adversarial training holds for the systems that are trained so.
        content = with_adversarial(content, False)
    content = merge(content, settings)
    if adversarial is not None:
        content = with_adversarial(content, adversarial)
    return RunConfig.parse(content, preset or "the options").named()


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    root: common.Root,
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """R2, correlation, RMSE, MSE and MAE of a run, per emotion and overall, on train, validation and test clips.

    Example: tenuto evaluate runs/A2E-6-1a2b3c4d --root soundtracks
    """
    from tenuto.cli.screen import metrics_tables
    from tenuto.evaluation.robustness import evaluate as measure
    from tenuto.evaluation.runs import open_run

    prepared = common.prepare_data(RunFolder(run).read_config().data, root, cache)
    report = measure(open_run(run, prepared))
    if as_json:
        common.print_json(report)
        return
    for table in metrics_tables(report):
        out.print(table)
