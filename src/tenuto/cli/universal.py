"""`tenuto universal`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tenuto.cli import common
from tenuto.cli.attack import Precision
from tenuto.cli.common import out

if TYPE_CHECKING:
    from tenuto.evaluation.universal import UniversalResult


def universal(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    root: common.RunRoot = None,
    data: common.OtherData = None,
    trust: common.Trust = False,
    norm: Annotated[
        str | None,
        typer.Option(
            help="snr or amplitude, of the waveform; linf or l2.", show_default="snr with --db, else linf"
        ),
    ] = None,
    db: Annotated[float | None, typer.Option(help="Signal-to-noise ratio in dB.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Size of the budget for the other norms.")] = None,
    domain: common.Domain = None,
    aim: Annotated[
        str, typer.Option("--objective", help="What is increased on average, as in `tenuto attack`.")
    ] = "squared-error",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training clips.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order of the clips and of the noise.")] = 0,
    shifts: Annotated[
        list[float] | None,
        typer.Option(
            "--shift",
            help="Seconds by which the perturbation is moved when it is judged; may be repeated.",
            show_default="0, 2.5, 5, 7.5",
        ),
    ] = None,
    split: Annotated[
        common.PartName,
        typer.Option(metavar="PART", help=f"Judged on this part of the split: {', '.join(common.PartName)}."),
    ] = common.PartName.test,
    precision: Annotated[
        Precision, typer.Option(metavar="NAME", help="Precision of the search: float32 or bfloat16.")
    ] = Precision.float32,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for rows, perturbation and sound.", show_default="RUN/universal/NAME"
        ),
    ] = None,
    cache: common.Cache = None,
    device: common.Device = "cpu",
    as_json: common.AsJson = False,
) -> None:
    """Fit one perturbation for all clips: on training clips, judged on test clips and at shifted places.

    The epoch is chosen on validation clips. Under a signal-to-noise ratio one shape is scaled to each clip's level.
    Writes rows.csv, perturbation.safetensors, about.json and, of a waveform, perturbation.wav, scaled to full scale.

    Example: tenuto universal runs/A2E-6-1a2b3c4d --db 40 --root soundtracks

    Example: tenuto universal runs/A2E-6-1a2b3c4d --epsilon 0.05 --root soundtracks
    """
    from tenuto import api
    from tenuto.attacks import parse_budget

    budget = parse_budget(norm, epsilon, db)
    opened_run = api.open_run(run, root, data=data, trust=trust, cache=cache, progress=common.TERMINAL)
    result = opened_run.universal(
        budget,
        aim,
        None if domain is None else "waveform" if domain is common.DomainName.waveform else "spectrogram",
        shifts=shifts,
        part=split.value,
        out=folder,
        device=device,
        epochs=epochs,
        seed=seed,
        precision=precision.value,
    )
    if as_json:
        lines = result.table.reset_index().to_dict("records")
        common.print_json(
            {"run": result.run, "fit": repr(result.fit), "placements": lines, "gain": result.gain}
        )
        return
    out.print(_table(result))
    if result.sample_rate is not None:
        out.print(
            f"In the wav file the perturbation is multiplied by {result.gain:.4g}, so that it has full scale."
        )


def _table(result: UniversalResult) -> Table:
    """A line per placement."""
    from tenuto.cli.screen import grid
    from tenuto.store.budgets import norm_of

    headings = ("placement", "clips", "|Δ prediction|", "MAE, clean → perturbed", "clips that\nget worse")
    budget = result.fit.budget
    title = f"{result.run}, one perturbation for all clips, {norm_of(budget.norm).label(budget.epsilon)}"
    table = grid(title, *headings, names=["placement"])
    for name, line in result.table.iterrows():
        table.add_row(
            str(name),
            f"{line['clips']:.0f}",
            f"{line['moved']:.4f}",
            f"{line['clean_mae']:.4f} → {line['mae']:.4f}",
            f"{100 * line['worse']:.0f} %",
        )
    table.caption = "Noise shared: a random perturbation of the same size."
    return table
