"""Command line of the benchmarks: options, the measurements in a row, a table or JSON."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import measure
from benchmarks.comparison import Comparison
from benchmarks.material import LEAST_CLIPS, recordings


def main(
    clips: Annotated[int, typer.Option(min=LEAST_CLIPS, help="Recordings; at most 12 are attacked.")] = 40,
    steps: Annotated[int, typer.Option(min=1, help="Attack iterations timed per pair.")] = 4,
    width: Annotated[float, typer.Option(min=0.05, max=4, help="Factor on the network's channels.")] = 1.0,
    pairs: Annotated[int, typer.Option(min=1, help="Measurements of each kind, ours and plain in turn.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Time front end, attack and training beside plain implementations of the same.

    Example: python -m benchmarks --clips 20 --steps 2 --json
    """
    sizes = measure.Sizes(clips, steps, width, pairs)
    notes = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory() as folder, notes.status("measuring"):
        torch.manual_seed(0)
        source, index = recordings(clips, Path(folder))
        comparisons = [measure.front_end(index, sizes)]
        prepared = measure.prepared_from(index)
        for device in devices():
            comparisons.append(measure.attack(prepared, sizes, device))
            comparisons.append(measure.training(prepared, sizes, device))
    facts = {**machine(), "recordings": f"{len(index)} {source}", "width": f"{width:g}"}
    if as_json:
        print(json.dumps({"facts": facts, "results": [each.as_json() for each in comparisons]}, indent=2))
    else:
        Console(highlight=False).print(table(comparisons, facts))


def devices() -> list[str]:
    """The CPU, and the GPU where there is one."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def machine() -> dict[str, str]:
    """What the times depend on: cores, threads, versions, load at the end, GPU."""
    facts = {
        "cores": str(os.cpu_count()),
        "threads": f"{torch.get_num_threads()} (front end 1)",
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "load": f"{os.getloadavg()[0]:.2f}",
    }
    return {**facts, "gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else facts


def table(comparisons: list[Comparison], facts: dict[str, str]) -> Table:
    """One row per quantity: times, speed-ups, the promise, and what the plain implementation is."""
    shown = Table(title="Tenuto beside a plain implementation (medians)", title_justify="left")
    shown.add_column("what")
    for heading in ("ours", "plain", "plain / ours", "reference", "reference / ours", "promised"):
        shown.add_column(heading, justify="right")
    shown.add_column("plain is")
    for each in comparisons:
        over = each.speedup_over_reference
        shown.add_row(
            each.name,
            f"{statistics.median(each.ours):.3g} {each.unit}",
            f"{statistics.median(each.plain):.3g} {each.unit}",
            f"{each.speedup:.2f}",
            _span(each.reference, each.unit),
            "-" if over is None else f"{over:.2f}",
            "-" if each.target is None else f"{each.target:g}",
            each.baseline,
        )
    shown.caption = ", ".join(f"{name} {value}" for name, value in facts.items()) + (
        ". Reference: the study's released code on a 2-core CPU, measured elsewhere."
    )
    return shown


def _span(reference: tuple[float, float] | None, unit: str) -> str:
    if reference is None:
        return "-"
    low, high = reference
    return f"{low:g} {unit}" if low == high else f"{low:g}-{high:g} {unit}"


def run() -> None:
    """Entry of ``python -m benchmarks``."""
    typer.run(main)
