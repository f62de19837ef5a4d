"""Is a short APGD as strong as a thousand iterations of the study's attack, and what does standard-1 cost?

Run as ``python -m benchmarks.strength RUN --root DATA``; it takes minutes a clip.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from tenuto.attacks import APGD, AttackResult, Described, Linf, SquaredError, climb, protocol
from tenuto.data import open_dataset, prepare
from tenuto.data.batches import Batch
from tenuto.evaluation.runs import OpenedRun, open_run
from tenuto.models.systems import Network, for_attack
from tenuto.store.run import RunFolder

command = typer.Typer(add_completion=False)


@command.command()
def main(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    root: Annotated[Path, typer.Option(help="Folder of its data set.")],
    cache: Annotated[Path | None, typer.Option(help="Folder for spectrograms.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="Test clips, the first ones.")] = 4,
    epsilon: Annotated[list[float] | None, typer.Option(help="Budgets.", show_default="0.02, 0.1")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of APGD.")] = 60,
    iterations: Annotated[int, typer.Option(min=2, help="Of the described attack.")] = 1000,
) -> None:
    """Mean absolute errors of both attacks at each budget, and seconds per clip of standard-1.

    Example: python -m benchmarks.strength runs/A2E-6-1a2b3c4d --root soundtracks --clips 4
    """
    opened = open_run(run, prepare(open_dataset(RunFolder(run).read_config().data, root), cache))
    part = opened.part("test")
    batch = part.take(torch.arange(min(clips, len(part))))
    model = for_attack(opened.recogniser.network)
    for size in epsilon or [0.02, 0.1]:
        short = APGD(budget=Linf(size), objective=SquaredError(), steps=steps)
        long = Described(budget=Linf(size), iterations=iterations)
        errors = [_error(attack(model, batch.inputs, batch.labels), batch) for attack in (short, long)]
        print(
            f"linf {size:g}: APGD, {steps} steps {errors[0]:.4f}; described, {iterations} iterations "
            f"{errors[1]:.4f}; ratio {errors[0] / errors[1]:.3f}",
            flush=True,
        )
    print(f"standard-1: {_seconds(opened, model, batch) / len(batch):.1f} s a clip", flush=True)


def _error(result: AttackResult, batch: Batch) -> float:
    return float((result.adversarial_prediction - batch.labels).abs().mean())


def _seconds(run: OpenedRun, model: Network, batch: Batch) -> float:
    """Wall-clock seconds of the whole protocol on a batch."""
    begun = time.perf_counter()
    for member in protocol("standard-1").members(len(run.recogniser.emotions)):
        for _ in climb(
            member, model, batch.inputs, batch.labels, valid_range=run.recogniser.inputs.valid_range
        ):
            pass
    return time.perf_counter() - begun


if __name__ == "__main__":
    command()
