"""A study at full size on a borrowed GPU that has no recordings, in sittings of some minutes.

``pack`` writes everything that training and attacks read into one file of some 34 MB. ``run`` carries out runs from it,
several at a time on one GPU, and writes one archive with configurations, histories, metrics and rows of the complete
runs; weights stay there. ``merge`` puts an archive into the folder of the study; the next ``pack`` leaves its runs out.

Spectrograms are stored as multiples of 2^-14 in 16 bits, so an entry differs by at most 0.00003. Ratings, split,
excerpts and the names of the runs are those of the recordings. Outside the excerpt, entries have the mean and deviation
that the normalisation needs. Natural variations need recordings, and are left out.

Example:
    python -m benchmarks.sitting pack --root soundtracks --out sitting/study.safetensors
    python -m benchmarks.sitting run sitting/study.safetensors --out results --device cuda --workers 6 --time-limit 9m
    python -m benchmarks.sitting merge results/runs.tar.gz --out paper-2025
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tarfile
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from tenuto.api.studies import study_config
from tenuto.config import StudyConfig, parse_yaml, to_yaml
from tenuto.data import Index, Prepared, prepare
from tenuto.data.excerpts import EXCERPT_FRAMES, fixed_starts
from tenuto.evaluation import robustness
from tenuto.evaluation.runs import open_run
from tenuto.files import read_safetensors, write_bytes, write_json, write_safetensors
from tenuto.store.study import StudyFolder
from tenuto.study.limit import Limit, OutOfTime, Pace, parse_time
from tenuto.study.plan import Planned, dataset_of, planned, protocols, settled
from tenuto.training import loop

STEP = 2.0**-14
"""Unit of stored log magnitudes, which are below 4."""
WORK = Path("runs") / "sitting"
"""Where runs are trained; a later call on the same machine continues there."""
RETURNED = ("*.yaml", "*.csv", "*.json", "attacks/*.csv", "attacks/*.json")

command = typer.Typer(add_completion=False)


@command.command()
def pack(
    root: Annotated[Path, typer.Option(help="Folder of the recordings.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    cache: Annotated[Path | None, typer.Option(help="Folder of spectrograms.")] = None,
    study: Annotated[str, typer.Option(help="A preset or a YAML file.")] = "paper-2025",
    concepts: Annotated[str | None, typer.Option(help="signal, midlevel, or none.")] = "signal",
    precision: Annotated[str, typer.Option(help="float32, tf32 or bfloat16.")] = "float32",
    threads: Annotated[int, typer.Option(help="CPU threads of each run.")] = 2,
    done: Annotated[
        Path | None, typer.Option(help="The folder that earlier sittings were merged into.")
    ] = None,
) -> None:
    """Write the data and the runs that are left into one file."""
    settings = {
        "data": {"concepts": None if concepts == "none" else concepts},
        "train": {"threads": threads, "precision": precision},
    }
    config = settled(study_config(study, root, settings), out.parent)
    if config.run.data.excerpts != "fixed":
        raise typer.BadParameter("only studies with fixed excerpts can be packed", param_hint="--study")
    prepared = prepare(dataset_of(config, out.parent, root), cache)
    write_pack(out, config, prepared, [] if done is None else complete_runs(done, config))
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {len(read_pack(out)[2])} runs are left")


def complete_runs(folder: Path, study: StudyConfig) -> list[str]:
    """Names of the runs whose rows of every protocol were returned."""
    runs = StudyFolder(folder).runs()
    return [run.name for run in runs if all(run.is_attacked(each) for each in protocols(study))]


def write_pack(path: Path, study: StudyConfig, prepared: Prepared, done: list[str]) -> None:
    """Write a study, its data, and the names of runs that are done."""
    frames = [len(clip) for clip in prepared.spectrograms]
    stored = np.zeros((len(frames), EXCERPT_FRAMES, prepared.spectrograms[0].shape[1]), np.uint16)
    outside = np.zeros((len(frames), 2))
    for place, (clip, start) in enumerate(zip(prepared.spectrograms, fixed_starts(frames), strict=True)):
        excerpt = np.rint(clip[start : start + EXCERPT_FRAMES] / STEP)
        stored[place, : len(excerpt)] = excerpt
        outside[place] = _outside(clip.astype(np.float64), excerpt * STEP)
    index = prepared.index
    arrays = {"frames": np.array(frames), "excerpts": stored, "outside": outside, "labels": index.labels}
    if index.concept_labels is not None:
        arrays["concept_labels"] = index.concept_labels
    about = {
        "name": prepared.name,
        "fingerprint": prepared.fingerprint,
        **{name: getattr(index, name) for name in ("clips", "emotions", "concepts", "albums", "label_scale")},
    }
    text = {"study": to_yaml(study), "about": json.dumps(about), "done": json.dumps(done)}
    write_safetensors(path, arrays, text)


def _outside(clip: Any, excerpt: Any) -> tuple[float, float]:
    """Mean and deviation of the entries outside the excerpt, such that those of the whole clip stay what they are."""
    count = clip.size - excerpt.size
    if count <= 0:
        return 0.0, 0.0
    mean = (clip.sum() - excerpt.sum()) / count
    return mean, np.sqrt(max((np.square(clip).sum() - np.square(excerpt).sum()) / count - mean**2, 0.0))


def read_pack(path: Path) -> tuple[StudyConfig, Prepared, list[Planned]]:
    """The study, its data, and the runs that are left: every system with the first seed, then with the second, ..."""
    arrays, text = read_safetensors(path)
    about = json.loads(text["about"])
    known: dict[str, Any] = {
        name: value if value is None else tuple(value)
        for name, value in about.items()
        if isinstance(value, list)
    }
    frames = arrays["frames"].tolist()
    spectrograms = []
    for count, start, excerpt, (mean, deviation) in zip(
        frames, fixed_starts(frames), arrays["excerpts"], arrays["outside"], strict=True
    ):
        clip = np.full((count, excerpt.shape[1]), mean - deviation, np.float32)
        clip.reshape(-1)[::2] = mean + deviation
        inside = clip[start : start + EXCERPT_FRAMES]
        inside[:] = excerpt[: len(inside)] * np.float32(STEP)
        spectrograms.append(clip)
    index = Index(
        paths=tuple(Path(f"{clip}.mp3") for clip in known["clips"]),
        labels=arrays["labels"],
        concept_labels=arrays.get("concept_labels"),
        **known,
    )
    prepared = Prepared(about["name"], index, tuple(spectrograms), about["fingerprint"])
    study = StudyConfig.parse(parse_yaml(text["study"], str(path)), str(path))
    left = [one for one in planned(study, prepared) if one.run not in json.loads(text["done"])]
    return study, prepared, sorted(left, key=lambda one: study.seeds.index(one.config.train.seed))


@command.command()
def run(
    path: Annotated[Path, typer.Argument(help="What `pack` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of runs.tar.gz and sitting.json.")],
    time_limit: Annotated[str, typer.Option(help="Such as 9m.")],
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    workers: Annotated[int, typer.Option(help="Runs at a time.")] = 1,
) -> None:
    """Carry out as many runs as there is time for. A run that is not complete at the end returns nothing."""
    limit = Limit(WORK, parse_time(time_limit))
    _, _, left = read_pack(path)
    seconds: dict[str, dict[str, float]] = {}
    with _pool(workers, (path, device, limit)) as pool:
        for ended in as_completed([pool.submit(_complete, one) for one in left]):
            name, spent = ended.result()
            if spent:
                seconds[name] = spent
                print(
                    f"{name}: {', '.join(f'{stage} {each:.0f} s' for stage, each in spent.items())}",
                    flush=True,
                )
                _archive(out / "runs.tar.gz", sorted(seconds))
                write_json(out / "sitting.json", {"device": device, "workers": workers, "seconds": seconds})
    print(f"{len(seconds)} of {len(left)} runs are complete after {time.time() - limit.begun:.0f} s")


def _pool(workers: int, arguments: tuple[Any, ...]) -> Executor:
    """Processes, or a thread of this one for a single worker."""
    if workers == 1:
        return ThreadPoolExecutor(1, initializer=_load, initargs=arguments)
    # Spawned, not forked: neither CUDA nor torch's thread pool survives a fork.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_load, initargs=arguments)


_loaded: dict[str, Any] = {}
"""What a worker reads once: study, data, device, limit."""


def _load(path: Path, device: str, limit: Limit) -> None:
    study, prepared, _ = read_pack(path)
    _loaded.update(study=study, prepared=prepared, device=device, limit=limit)


def _complete(one: Planned) -> tuple[str, dict[str, float]]:
    """The name of a run and the seconds of its stages; none where the time is over first."""
    return one.run, complete(one, **_loaded)


def complete(
    one: Planned, study: StudyConfig, prepared: Prepared, device: str, limit: Limit
) -> dict[str, float]:
    """Train, evaluate and attack one run in `WORK`; the seconds of every stage, none where the time is over first."""
    spent: dict[str, float] = {}
    if limit.is_reached():
        return {}
    try:
        begun, pace = time.monotonic(), Pace(limit)
        pace.begin()
        folder = loop.train(one.config, prepared, WORK, device, lambda row: pace.check())
        opened = open_run(folder, prepared)
        robustness.evaluate(opened)
        spent["train"] = time.monotonic() - begun
        for protocol in protocols(study):
            begun, pace = time.monotonic(), Pace(limit)
            robustness.attack(opened, protocol, device=device, before_piece=pace.check)
            spent[f"attack {protocol}"] = time.monotonic() - begun
    except OutOfTime:
        return {}
    return spent


def _archive(path: Path, names: list[str]) -> None:
    """Write the files of complete runs that are returned, whole after every run: the call may be killed."""
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(part, "w:gz", compresslevel=6) as archive:
        for file in (
            file for name in names for kind in RETURNED for file in sorted((WORK / name).glob(kind))
        ):
            archive.add(file, file.relative_to(WORK).as_posix())
    os.replace(part, path)


@command.command()
def merge(
    archive: Annotated[Path, typer.Argument(help="What `run` returned.")],
    pack_path: Annotated[Path, typer.Option("--pack", help="What `pack` wrote.")],
    out: Annotated[Path, typer.Option(help="The folder of the study.")],
) -> None:
    """Put the returned runs into the folder of a study, whose rows `tenuto stats`, `curve` and `paper` read."""
    study, folder = read_pack(pack_path)[0], StudyFolder(out)
    with tarfile.open(archive) as stream:
        stream.extractall(folder.runs_folder, filter="data")
    write_bytes(folder.settings, to_yaml(study).encode())
    print(f"{len(complete_runs(out, study))} of {len(study.systems) * len(study.seeds)} runs are complete")


if __name__ == "__main__":
    command()
