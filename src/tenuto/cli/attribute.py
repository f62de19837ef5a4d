"""`tenuto attribute`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.cli.screen import grid
from tenuto.errors import ConfigError
from tenuto.files import followed

if TYPE_CHECKING:
    from tenuto.evaluation.attribution import Attribution

PLACES = (("seconds", "seconds", 1), ("Hz", "hz", 0), ("rows", "row", 0), ("columns", "column", 0))
"""Heading of a column, its name in `Attribution.segments`, and its decimals."""

MethodName = StrEnum("MethodName", ["integrated-gradients", "gradient-input", "occlusion"])
NormName = StrEnum("NormName", ["linf", "l2"])


def attribute(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    clip: Annotated[str, typer.Argument(help="Name of a clip of its data.")],
    emotion: Annotated[
        str | None, typer.Option(help="Emotion to attribute.", show_default="the largest prediction")
    ] = None,
    method: Annotated[
        MethodName, typer.Option(metavar="NAME", help=f"One of {', '.join(MethodName)}.")
    ] = MethodName["integrated-gradients"],
    epsilon: Annotated[
        float | None,
        typer.Option(
            help="Also attack the attribution within this budget while the emotions stay.",
            show_default="no attack",
        ),
    ] = None,
    norm: Annotated[
        NormName, typer.Option(metavar="NAME", help="Norm of the budget: linf or l2.")
    ] = NormName.linf,
    seconds: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="FROM TO",
            help="With --epsilon: also attack the emotion in these seconds alone; does the attribution find them?",
            show_default=False,
        ),
    ] = None,
    bands: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH",
            help="With --epsilon: also attack the emotion at these frequencies alone, in Hz.",
            show_default=False,
        ),
    ] = None,
    segments: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="TIME FREQUENCY",
            help="Number of segments of time and of frequency.",
            show_default="10 8",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Number of steps of each attack.")] = 30,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the attacks, and of the noise they are compared with.")
    ] = 0,
    plot: Annotated[Path | None, typer.Option(help="Also draw it: FILE.png or FILE.pdf.")] = None,
    root: common.RunRoot = None,
    data: common.OtherData = None,
    trust: common.Trust = False,
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """Attribute a prediction to parts of the clip, and test the attribution: can an attack move it, does it find one?

    Example: tenuto attribute runs/A2E-6-1a2b3c4d 055 --emotion tension --epsilon 0.05 --seconds 2 4 --root soundtracks
    """
    from tenuto import api
    from tenuto.attacks import L2, Linf, Region
    from tenuto.evaluation.attribution import SEGMENTS
    from tenuto.reporting.figures.attribution import attribution_figure
    from tenuto.reporting.figures.style import check_ending, write_figure

    if plot is not None:
        check_ending(plot)
    if epsilon is None and (seconds is not None or bands is not None):
        raise ConfigError(
            "--seconds and --bands are what an attack may change: also give its budget, --epsilon."
        )
    budget = None if epsilon is None else (Linf if norm is NormName.linf else L2)(epsilon)
    region = None if seconds is None and bands is None else Region(seconds=seconds, bands=bands)
    parts = SEGMENTS if segments is None else segments
    opened_run = api.open_run(run, root, data=data, trust=trust, cache=cache, progress=common.TERMINAL)
    result = opened_run.attribute(
        clip, emotion, method.value, budget, region, segments=parts, steps=steps, seed=seed
    )
    if as_json:
        common.print_json(_described(result))
    else:
        _print(result)
    if plot is not None:
        notes.print(f"{write_figure(attribution_figure(result), followed(plot))}: the figure")


def _described(result: Attribution) -> dict[str, Any]:
    """Everything but the shares of single entries, which are too many."""
    names = ("source", "run", "output", "method", "prediction", "baseline", "gap", "found")
    about = {name: getattr(result, name) for name in names}
    change = None if result.moved is None else result.moved.table
    return {**about, "moved": change, "segments": result.segments.to_dict("records")}


def _print(result: Attribution) -> None:
    """Print the strongest segments, and what the attacks did."""
    formats = {
        heading: (name, digits) for heading, name, digits in PLACES if f"from_{name}" in result.segments
    }
    title = f"{result.source}, {result.run}: {result.output} by {result.method}"
    table = grid(title, *formats, result.output, names=[])
    for line in result.strongest().to_dict("records"):
        places = (
            f"{line[f'from_{name}']:.{digits}f}-{line[f'to_{name}']:.{digits}f}"
            for name, digits in formats.values()
        )
        table.add_row(*places, f"{line['attribution']:+.3f}")
    table.caption = (
        f"prediction {result.prediction:.3f} = baseline {result.baseline:.3f} + shares "
        f"{result.prediction - result.baseline - result.gap:+.3f} + rest {result.gap:+.3f}"
    )
    out.print(table)
    if result.moved is not None:
        change = result.moved.table
        out.print(
            escape(
                f"An attack within {change['budget']} leaves {100 * change['top_overlap_attacked']:.0f} % of the "
                f"largest shares in place (rank correlation {_number(change, 'rank_correlation_attacked')}) and "
                f"changes {result.output} by {change['prediction_change']:+.4f}, no emotion by more than "
                f"{change['largest_change']:.4f}."
            )
        )
        out.print(
            f"Noise of the same size leaves {100 * change['top_overlap_noise']:.0f} % in place (rank correlation "
            f"{_number(change, 'rank_correlation_noise')}) and changes it by {change['noise_change']:+.4f}."
        )
    if result.found is not None:
        shares = result.found
        out.print(
            f"An attack on the region alone changes {escape(result.output)} by {shares['change']:+.4f}. The "
            f"attribution finds the region with AUC {shares['auc']:.2f} (clean clip {shares['clean_auc']:.2f}, chance "
            f"0.50); {100 * shares['mass']:.0f} % of the shares are in {100 * shares['area']:.0f} % of the input."
        )


def _number(values: Mapping[str, float], name: str) -> str:
    return "undefined" if math.isnan(values[name]) else f"{values[name]:.2f}"
