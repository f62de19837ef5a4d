"""Is standard-1 a standard? Run it and thorough-1 on the same clips, and state what the longer one finds beyond it.

Run as ``python -m benchmarks.standard MODEL --root DATA --out FOLDER``. Every clip is a file in FOLDER, so an
interrupted call goes on where it was.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

import tenuto
from tenuto.attacks import Protocol, climb, protocol
from tenuto.config import RunConfig, parse_yaml
from tenuto.data.batches import Batch
from tenuto.devices import repeatable
from tenuto.evaluation.runs import OpenedRun, assembled
from tenuto.files import read_text
from tenuto.models.systems import Network, for_attack
from tenuto.reporting import write_optimality
from tenuto.store.exported import ModelFolder
from tenuto.store.location import locate_model
from tenuto.store.rows import read_rows, write_rows
from tenuto.store.run import RunFolder

command = typer.Typer(add_completion=False)


@command.command()
def main(
    model: Annotated[str, typer.Argument(help="A run, or a pretrained or exported model.")],
    root: Annotated[Path, typer.Option(help="Folder of its data set.")],
    out: Annotated[Path, typer.Option(help="Folder for rows and tables.")],
    cache: Annotated[Path | None, typer.Option(help="Folder of spectrograms.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="Test clips, evenly spaced over the part.")] = 6,
    names: Annotated[str, typer.Option("--protocols", help="Comma-separated.")] = "standard-1,thorough-1",
    precision: Annotated[str, typer.Option(help="Of the searches: float32 or bfloat16.")] = "float32",
    batch_size: Annotated[int, typer.Option(min=1, help="Clips attacked together.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Optimality of every attack, and what the best of all finds beyond each protocol, at every budget.

    Example: python -m benchmarks.standard runs/A2E-6-1a2b3c4d --root soundtracks --out standard/A2E --clips 6
    """
    run = _open(model, root, cache)
    part = run.part("test")
    chosen = torch.linspace(0, len(part) - 1, min(clips, len(part))).round().long()
    network = for_attack(run.recogniser.network).to(device)
    tables = []
    for name in names.split(","):
        published = protocol(name, **({} if precision == "float32" else {"precision": precision}))
        for first in range(0, len(chosen), batch_size):
            batch = part.take(chosen[first : first + batch_size]).to(torch.device(device))
            path = out / f"{published}-{'-'.join(batch.clips)}.csv"
            if not path.is_file():
                begun = time.perf_counter(), time.process_time()
                write_rows(path, _rows(run, network, published, batch, name))
                wall, cpu = time.perf_counter() - begun[0], time.process_time() - begun[1]
                print(f"{path.name}: {wall:.0f} s, {cpu:.0f} CPU seconds", flush=True)
            tables.append(read_rows(path))
    result = tenuto.optimality(pd.concat(tables, ignore_index=True))
    for path in write_optimality(result, out).values():
        if path.suffix == ".md":
            print(path.read_text("utf-8"))


def _open(model: str, root: Path, cache: Path | None) -> OpenedRun:
    """A run, or an exported model with the clips of the data and split it was trained on."""
    folder = RunFolder(locate_model(model))
    if folder.config.is_file():
        return tenuto.open_run(folder.path, root, cache=cache)
    path = ModelFolder(folder.path).settings
    config = RunConfig.parse(parse_yaml(read_text(path), str(path)), str(path))
    return assembled(folder, config, tenuto.load(folder.path), tenuto.prepare(root, config.data, cache=cache))


@repeatable
def _rows(run: OpenedRun, model: Network, published: Protocol, batch: Batch, name: str) -> pd.DataFrame:
    """Rows of every member of a protocol on a few clips."""
    emotions = run.recogniser.emotions
    inputs = run.recogniser.inputs
    return pd.concat(
        [
            tenuto.rows(
                result,
                attack=attack,
                labels=batch.labels,
                clips=batch.clips,
                emotions=emotions,
                system=run.config.system,
                run=run.name,
                protocol=name,
                unit=inputs.unit,
            )
            for member in published.members(len(emotions))
            for attack, result in climb(
                member,
                model,
                batch.inputs,
                batch.labels,
                valid_range=inputs.valid_range,
                names=batch.clips,
                batch_size=len(batch.clips),
            )
        ],
        ignore_index=True,
    )


if __name__ == "__main__":
    command()
