"""`tenuto data ...` and `tenuto prepare`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tenuto import api
from tenuto.analysis.words import number
from tenuto.api.datasets import data_config
from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.cli.groups import Columns, grouped
from tenuto.data import DATASETS, Validation
from tenuto.errors import counted

if TYPE_CHECKING:
    from tenuto.api.datasets import DataReport
    from tenuto.data.signal import Description

app = typer.Typer(
    help="Data sets: list, info, download, validate, synthesize, concepts.", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(help="Data set, see `tenuto data list`.", callback=common.data_set)]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Threads.", show_default="all cores")]
EXIT_PROBLEMS = 1
MOST_WARNINGS = 20
"""Warnings printed in full."""


@app.command("list")
def list_(as_json: common.AsJson = False) -> None:
    """List all data sets with their titles; as JSON with their identity cards.

    Example: tenuto data list
    """
    if as_json:
        common.print_json({name: dataclasses.asdict(dataset.card) for name, dataset in DATASETS.items()})
        return
    for name, dataset in DATASETS.items():
        out.print(f"[bold]{name:12s}[/bold] {escape(dataset.card.title)}")


@app.command()
def info(name: Name, as_json: common.AsJson = False) -> None:
    """Show the identity card of a data set: origin, licence, size, citation, rating scales.

    Example: tenuto data info soundtracks
    """
    card = dataclasses.asdict(DATASETS[name].card)
    if as_json:
        common.print_json(card)
        return
    for key, value in card.items():
        text = " to ".join(f"{end:g}" for end in value) if isinstance(value, tuple) else value
        out.print(f"[bold]{key.replace('_', ' '):14s}[/bold] {escape(text)}")


@app.command()
def download(name: Name, root: common.Root) -> None:
    """Download a data set; interrupted files are resumed and every file is checked.

    Example: tenuto data download midlevel --root soundtracks
    """
    api.download(name, root, progress=common.TERMINAL)
    typer.echo(f"{root}: downloaded. Compare it with its card: tenuto data validate {name} --root {root}")


@app.command()
@grouped
def validate(
    name: Name,
    root: common.Root,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Also look for the same recordings in this folder; may be repeated."),
    ] = None,
    columns: Columns = Columns(),
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """List everything that is missing, altered or inconsistent in a copy of a data set; exit code 1 for any problem.

    Warns of recordings with the same sound, within the data set or in another folder, and of columns of valence and
    arousal that may be exchanged.

    Example: tenuto data validate soundtracks --root soundtracks
    """
    config = data_config(root, **columns.settings(name))
    report = api.validate(root, config, against=against or (), cache=cache, progress=common.TERMINAL)
    if as_json:
        common.print_json(report.as_dict())
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(EXIT_PROBLEMS)


def _print_report(report: DataReport) -> None:
    def line(kind: str, sentence: str) -> None:
        out.print(f"[bold]{kind}[/bold]: {escape(sentence)}")

    for kind in ("missing", "altered", "inconsistent"):
        for sentence in getattr(report.validation, kind):
            line(kind, sentence)
    for sentence in report.warnings[:MOST_WARNINGS]:
        line("warning", sentence)
    if len(report.warnings) > MOST_WARNINGS:
        line("warning", f"and {len(report.warnings) - MOST_WARNINGS} more; --json lists all.")
    if not report.duplicates:
        line("duplicates", f"none among {counted(report.recordings, 'recording')}")
    for order in report.label_orders:
        if not order.is_exchanged:
            line("label order", str(order))
    if report.rater_deviations:
        listing = ", ".join(f"{name} {value:.3f}" for name, value in report.rater_deviations.items())
        line("raters", f"mean standard deviation, in units of the labels: {listing}")
    typer.echo(f"{report.root}: {_verdict(report.validation, report.has_checksums)}")


@app.command()
def synthesize(
    root: common.Root,
    clips: Annotated[int, typer.Option(min=15, help="Number of clips.")] = 360,
    seconds: Annotated[float, typer.Option(min=11, help="Length of each.")] = 15.0,
    seed: Annotated[int, typer.Option(help="Seed of music and ratings.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes (default: all cores).")] = None,
) -> None:
    """Generate the synthetic corpus: music with known concepts, in the file formats of the real data sets.

    Example: tenuto data synthesize --root synthetic --clips 360
    """
    corpus = api.synthesize(root, clips, seconds, seed, workers=workers, progress=common.TERMINAL)
    typer.echo(str(corpus))


@app.command("concepts")
@grouped
def concepts_(
    name: Name,
    root: common.Root,
    to: Annotated[Path | None, typer.Option("--out", help="CSV to write: clip, seven columns.")] = None,
    columns: Columns = Columns(),
    cache: common.Cache = None,
    workers: Workers = None,
    as_json: common.AsJson = False,
) -> None:
    """Compute seven descriptors of the audio, proxies of the seven concepts, for every clip.

    Prints their 5th, 50th and 95th percentile and, where the data set has ratings of the same concepts, Spearman's rank
    correlation with them.

    Example: tenuto data concepts synthetic --root synthetic --out concepts.csv
    """
    config = data_config(root, **columns.settings(name))
    description = api.describe(root, config, out=to, cache=cache, workers=workers, progress=common.TERMINAL)
    if as_json:
        common.print_json({"clips": len(description.clips), "concepts": _summary(description)})
        return
    out.print(_table(description))
    about = "proxies computed from the audio" + (
        "" if description.correlations else "; no ratings to compare with"
    )
    out.print(f"{counted(len(description.clips), 'clip')} of {name}: {about}.")
    if to is not None:
        out.print(str(to), markup=False)


def _summary(description: Description) -> dict[str, dict[str, Any]]:
    """Percentiles and rank correlation (None without ratings) of each descriptor."""
    from tenuto.audio.descriptors import DESCRIPTORS
    from tenuto.data.signal import PERCENTILES

    each = zip(DESCRIPTORS, description.percentiles().T.tolist(), strict=True)
    return {
        name: {
            **{f"p{rank}": value for rank, value in zip(PERCENTILES, values, strict=True)},
            "spearman": description.correlations.get(name),
        }
        for name, values in each
    }


def _table(description: Description) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("descriptor", no_wrap=True)
    for heading in ("5 %", "50 %", "95 %", "rank correlation"):
        table.add_column(heading, justify="right")
    for name, row in _summary(description).items():
        *percentiles, rho = row.values()
        text = "" if rho is None else number(rho, ".2f")
        table.add_row(name, *(f"{value:.2f}" for value in percentiles), text)
    return table


@grouped
def prepare(
    root: common.Root,
    data: common.Data = None,
    columns: Columns = Columns(),
    cache: common.Cache = None,
    workers: Workers = None,
) -> None:
    """Compute and cache all log spectrograms (with --concepts signal, also descriptors) for the other commands.

    Example: tenuto prepare --data soundtracks --root soundtracks
    """
    from tenuto.data.excerpts import measure

    config = data_config(root, **columns.settings(data))
    prepared = api.prepare(root, config, cache=cache, workers=workers, progress=common.TERMINAL)
    normalisation = measure(prepared.spectrograms)
    frames = [len(spectrogram) for spectrogram in prepared.spectrograms]
    out.print(
        f"{counted(len(frames), 'clip')} of {prepared.name}, {min(frames)} to {max(frames)} frames, "
        f"mean {normalisation.mean:.6f}, deviation {normalisation.deviation:.6f} (all clips), "
        f"fingerprint {prepared.fingerprint[:8]}"
    )
    notes.print("normalisation for training is measured on training clips, unless the preset says otherwise")


def _verdict(validation: Validation, published: bool) -> str:
    problems = len(validation.missing) + len(validation.altered) + len(validation.inconsistent)
    if problems:
        return f"{counted(problems, 'problem')} found"
    return "as published" if published else "complete, every recording can be read"
