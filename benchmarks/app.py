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
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks import measure
from benchmarks.certification import certification
from benchmarks.comparison import Comparison
from benchmarks.material import LEAST_CLIPS, recordings
from benchmarks.robust import robust_training
from tenuto.devices import Precision, fast_bfloat16

TRAINING_ITERATIONS = 10
"""Of the attack in adversarial training, as in paper-2025-quick; an epoch of 50 is more of the same."""

command = typer.Typer(add_completion=False)


@command.command()
def main(
    clips: Annotated[
        int, typer.Option(min=LEAST_CLIPS, help="Recordings; one batch of them is attacked.")
    ] = 30,
    steps: Annotated[int, typer.Option(min=1, help="Attack iterations timed per pair.")] = 3,
    width: Annotated[float, typer.Option(min=0.05, max=4, help="Factor on the network's channels.")] = 1.0,
    pairs: Annotated[int, typer.Option(min=1, help="Measurements of each kind, ours and plain in turn.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Time front end, masking threshold, attack, certification and training against plain implementations of the same.

    Example: python -m benchmarks --clips 30 --steps 2 --json
    """
    sizes = measure.Sizes(clips, steps, width, pairs)
    notes = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory() as folder, notes.status("measuring"):
        torch.manual_seed(0)
        source, index = recordings(clips, Path(folder))
        comparisons = [measure.front_end(index, sizes), measure.masking(index, sizes)]
        prepared = measure.prepared_from(index)
        for device in devices():
            comparisons.append(measure.waveform(prepared, sizes, device))
            comparisons += robust_training(prepared, sizes.halved, device)
            precisions: tuple[Precision, ...] = (
                ("float32", "bfloat16") if fast_bfloat16(device) else ("float32",)
            )
            for precision in precisions:
                comparisons.append(measure.attack(prepared, sizes, device, precision))
                comparisons.append(certification(sizes, device, precision))
                comparisons.append(measure.training(prepared, sizes, device, precision))
                comparisons.append(
                    measure.training(prepared, sizes.halved, device, precision, TRAINING_ITERATIONS)
                )
    facts = {**machine(), "recordings": f"{len(index)} {source}", "width": f"{width:g}"}
    if as_json:
        print(json.dumps({"facts": facts, "results": [each.as_json() for each in comparisons]}, indent=2))
    else:
        out = Console(highlight=False, soft_wrap=True)
        out.print(table(comparisons), *remarks(comparisons, facts), sep="\n")


def devices() -> list[str]:
    """The CPU, and the GPU where there is one."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def machine() -> dict[str, str]:
    """What the times depend on: cores, threads, versions, load at the end, GPU."""
    facts = {
        "cores": str(os.cpu_count()),
        "threads": f"{torch.get_num_threads()} (front end, masking 1)",
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "load": f"{os.getloadavg()[0]:.2f}",
    }
    return {**facts, "gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else facts


def table(comparisons: list[Comparison]) -> Table:
    """One row per quantity: median times, speed-ups, and what was promised."""
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("medians", "on"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("ours", "plain", "plain/\nours", "ref.", "ref./\nours", "goal"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for each in comparisons:
        over = each.speedup_over_reference
        shown.add_row(
            each.name,
            each.device,
            f"{statistics.median(each.ours):.3g}",
            f"{statistics.median(each.plain):.3g}",
            f"{each.speedup:.2f}",
            _span(each.reference),
            "-" if over is None else f"{over:.2f}",
            "-" if each.target is None else f"{each.target:.3g}",
        )
    return shown


def remarks(comparisons: list[Comparison], facts: dict[str, str]) -> list[str]:
    """What a reader of the table must know, a line each: the plain implementations, the reference, the machine."""
    plain = {each.name.partition(",")[0]: each.baseline for each in comparisons}
    return [
        *(f"plain {name}: {baseline}" for name, baseline in plain.items()),
        f"attack: one iteration of one clip; epochs: {measure.STUDY_TRAINING_CLIPS} clips, scaled from fewer",
        *(
            f"bfloat16: not measured, this {device} does not compute in it by itself"
            for device in dict.fromkeys(each.device for each in comparisons)
            if not fast_bfloat16(device)
        ),
        "goal: for plain/ours or, in the front end, for either ratio",
        *(
            f"{each.name.partition(',')[0]} on {each.device}: {each.peak_share:.0%} of the operations a second of a "
            "large matrix product there"
            for each in comparisons
            if each.peak_share is not None
        ),
        "ref.: the study's released code, measured elsewhere on 2 CPU cores with the network at width 1",
        "here: " + ", ".join(f"{name} {value}" for name, value in facts.items()),
    ]


def _span(reference: tuple[float, float] | None) -> str:
    if reference is None:
        return "-"
    low, high = reference
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"
