"""A study at full size on a borrowed GPU that has no recordings, in sittings of some minutes.

``pack`` writes everything that training and attacks read into one file of some 34 MB. ``run`` carries out runs from it,
several at a time on one GPU, and writes one archive with configurations, histories, metrics and rows of the complete
runs; weights stay there. ``merge`` puts an archive into the folder of the study; the next ``pack`` leaves its runs out.

Spectrograms are stored as multiples of 2^-14 in 16 bits, so an entry differs by at most 0.00003. Ratings, split,
excerpts and the names of the runs are those of the recordings. Outside the excerpt, entries have the mean and deviation
that the normalisation needs. ``--natural`` adds the test clips under natural variation, some 20 MB.

Example:
    python -m benchmarks.sitting pack --root soundtracks --out sitting/study.safetensors
    python -m benchmarks.sitting run sitting/study.safetensors --out results --device cuda --workers 6 --time-limit 9m
    python -m benchmarks.sitting merge results/runs.tar.gz --pack sitting/study.safetensors --out paper-2025
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import tarfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from tenuto.analysis.natural import OTHER_EXCERPT
from tenuto.api.studies import study_config
from tenuto.attacks import Protocol
from tenuto.config import StudyConfig, parse_yaml, to_yaml
from tenuto.data import Index, Prepared, prepare
from tenuto.data.batches import Material
from tenuto.data.excerpts import EXCERPT_FRAMES, fixed_starts
from tenuto.data.inputs import LogSpectrogramInputs
from tenuto.errors import DataError, counted
from tenuto.evaluation import leakage, natural, robustness
from tenuto.evaluation.certificates import Smoothing
from tenuto.evaluation.certifying import Radii, Request, certify
from tenuto.evaluation.runs import OpenedRun, open_run
from tenuto.files import Array, read_safetensors, write_bytes, write_csv, write_json, write_safetensors
from tenuto.models.systems import NETWORKS
from tenuto.store.study import StudyFolder
from tenuto.study.limit import Limit, OutOfTime, Pace, parse_time
from tenuto.study.plan import Planned, dataset_of, planned, protocols, settled
from tenuto.training import loop

STEP = 2.0**-14
"""Unit of stored log magnitudes, which are below 4."""
WORK = Path("runs") / "sitting"
"""Where runs are trained; a later call on the same machine continues there."""
RETURNED = ("*.yaml", "*.csv", "*.json", "attacks/*.csv", "attacks/*.json", "certificates/*.csv")
RADII = Radii((0.05, 0.216, 0.5, 1.0))
"""Of certificates, L2: the second contains the stated budget of the study, L-infinity 0.001."""

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
    with_natural: Annotated[
        bool, typer.Option("--natural", help="Add natural variations of test clips.")
    ] = False,
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
    arrays, text = packed_changes(config, prepared) if with_natural else ({}, {})
    write_pack(out, config, prepared, [] if done is None else complete_runs(done, config), arrays, text)
    print(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, {counted(len(read_pack(out)[2]), 'run is', 'runs are')} left"
    )


def complete_runs(folder: Path, study: StudyConfig) -> list[str]:
    """Names of the runs whose rows of every protocol were returned."""
    runs = StudyFolder(folder).runs()
    return [run.name for run in runs if all(run.is_attacked(each) for each in protocols(study))]


def packed_changes(study: StudyConfig, prepared: Prepared) -> tuple[dict[str, Array], dict[str, str]]:
    """The test clips under natural variation, as arrays and text of a pack."""
    material = Material(prepared, study.run.data)
    inputs = material.inputs
    assert isinstance(inputs, LogSpectrogramInputs)
    names = [OTHER_EXCERPT, *natural.NATURAL_CHANGES]
    changed = natural.changes(prepared, inputs, material.split.test, names)
    flat = [(name, *change) for name, each in changed.items() for change in each]
    scale = inputs.normalisation
    levels = np.stack([values[0] for _, _, values, _ in flat]) * scale.deviation + scale.mean
    about = [(name, row, settings) for name, row, _, settings in flat]
    return {"changes": np.rint(levels / STEP).astype(np.uint16)}, {"changes": json.dumps(about)}


def read_changes(path: Path, inputs: LogSpectrogramInputs) -> dict[str, list[natural.Changed]]:
    """The test clips under natural variation, as `natural.changes` has them; empty where none were packed."""
    arrays, text = read_safetensors(path)
    changed: dict[str, list[natural.Changed]] = {}
    for levels, (name, row, settings) in zip(
        arrays.get("changes", ()), json.loads(text.get("changes", "[]")), strict=True
    ):
        values = inputs.of_window(levels * np.float32(STEP))
        changed.setdefault(name, []).append((row, values, settings))
    return changed


def write_pack(
    path: Path,
    study: StudyConfig,
    prepared: Prepared,
    done: list[str],
    more: Mapping[str, Array],
    about_more: Mapping[str, str],
) -> None:
    """Write a study, its data, the names of runs that are done, and what `packed_changes` returned."""
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
    write_safetensors(path, {**arrays, **more}, {**text, **about_more})


def _outside(clip: Any, excerpt: Any) -> tuple[float, float]:
    """Mean and deviation of the entries outside the excerpt, such that those of the whole clip stay what they are."""
    count = clip.size - excerpt.size
    if count <= 0:
        return 0.0, 0.0
    mean = (clip.sum() - excerpt.sum()) / count
    return mean, np.sqrt(max((np.square(clip).sum() - np.square(excerpt).sum()) / count - mean**2, 0.0))


def read_pack(path: Path) -> tuple[StudyConfig, Prepared, list[Planned]]:
    """The study, its data, and the runs that are left, systems outermost."""
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
    done = json.loads(text["done"])
    return study, prepared, [one for one in planned(study, prepared) if one.run not in done]


@command.command()
def run(
    path: Annotated[Path, typer.Argument(help="What `pack` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of runs.tar.gz and sitting.json.")],
    time_limit: Annotated[str, typer.Option(help="Such as 9m.")],
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    workers: Annotated[int, typer.Option(help="Runs at a time.")] = 1,
    systems_first: Annotated[
        bool,
        typer.Option(help="All seeds of the first system before the next one, not all systems of a seed."),
    ] = False,
    sigma: Annotated[
        list[float] | None, typer.Option(help="Certify the test clips; repeat for more.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Of a certificate.")] = 1000,
) -> None:
    """Carry out as many runs as there is time for. A run that is not complete at the end returns nothing."""
    limit = Limit(WORK, parse_time(time_limit))
    study, _, left = read_pack(path)
    if not systems_first:
        left = sorted(left, key=lambda one: study.seeds.index(one.config.train.seed))
    smoothings = [Smoothing(sigma=each, draws=draws, precision="bfloat16") for each in sigma or ()]
    seconds: dict[str, dict[str, float]] = {}
    with _pool(workers, (path, device, limit, smoothings)) as pool:
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
    print(
        f"{len(seconds)} of {counted(len(left), 'run is', 'runs are')} complete after {time.time() - limit.begun:.0f} s"
    )


def _pool(workers: int, arguments: tuple[Any, ...]) -> Executor:
    """Processes, or a thread of this one for a single worker."""
    if workers == 1:
        return ThreadPoolExecutor(1, initializer=_load, initargs=arguments)
    # Spawned, not forked: neither CUDA nor torch's thread pool survives a fork.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_load, initargs=arguments)


@dataclass(frozen=True)
class Sitting:
    """What a worker reads once, and carries out runs with.

    Attributes:
        study: The study.
        prepared: Its data.
        changed: Its test clips under natural variation.
        device: ``cpu`` or ``cuda``.
        limit: When the sitting ends.
        smoothings: Of certificates.
    """

    study: StudyConfig
    prepared: Prepared
    changed: dict[str, list[natural.Changed]]
    device: str
    limit: Limit
    smoothings: Sequence[Smoothing]

    @classmethod
    def read(cls, path: Path, device: str, limit: Limit, smoothings: Sequence[Smoothing]) -> Sitting:
        """With what `pack` wrote."""
        study, prepared, _ = read_pack(path)
        inputs = Material(prepared, study.run.data).inputs
        assert isinstance(inputs, LogSpectrogramInputs)
        return cls(study, prepared, read_changes(path, inputs), device, limit, smoothings)

    def complete(self, one: Planned) -> dict[str, float]:
        """Carry out all stages of one run in `WORK`; the seconds of each, none where the time is over first."""
        spent: dict[str, float] = {}
        try:
            for stage, work in self._stages(one):
                if self.limit.is_reached():
                    return {}
                begun = time.monotonic()
                work(self._pace())
                spent[stage] = time.monotonic() - begun
        except OutOfTime:
            return {}
        return spent

    def _pace(self) -> Callable[..., None]:
        """What ends a stage before an epoch, a piece of an attack, or a clip for which there is no time."""
        pace = Pace(self.limit)
        pace.begin()
        return lambda *progress: pace.check()

    def _stages(self, one: Planned) -> Iterator[tuple[str, Callable[[Callable[..., None]], Any]]]:
        """What is to be done for a run, by name."""
        device = self.device
        yield "train", lambda check: loop.train(one.config, self.prepared, WORK, device, check)
        opened = open_run(WORK / one.run, self.prepared)
        yield "evaluate", lambda check: robustness.evaluate(opened)
        if self.changed:
            yield "natural", lambda check: natural.write_changes(opened, "test", self.changed, device)
        for protocol in protocols(self.study):
            yield f"attack {protocol}", functools.partial(self._attack, opened, protocol)
        if self.smoothings:
            request = Request(tuple(self.smoothings), (RADII,) * len(self.smoothings), device=device)
            yield "certify", lambda check: certify(opened, "test", request, check)
        if NETWORKS[one.config.model.network].has_concepts and self.prepared.index.concepts:
            yield "leakage", lambda check: _write_leakage(opened)

    def _attack(self, run: OpenedRun, protocol: Protocol, check: Callable[[], None]) -> None:
        robustness.attack(run, protocol, device=self.device, before_piece=check)


def _write_leakage(run: OpenedRun) -> None:
    try:
        write_csv(run.files.path / "leakage.csv", leakage.measure(run).summary)
    except DataError as error:  # too few clips, for which rows and certificates are no worse
        print(error)


_loaded: list[Sitting] = []
"""The sitting of this worker."""


def _load(*arguments: Any) -> None:
    _loaded[:] = [Sitting.read(*arguments)]


def _complete(one: Planned) -> tuple[str, dict[str, float]]:
    """The name of a run and the seconds of its stages; none where the time is over first, or the run failed."""
    try:
        return one.run, _loaded[0].complete(one)
    except Exception:
        traceback.print_exc()  # the other runs go on: the machine is only lent
        return one.run, {}


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
    expected = counted(len(study.systems) * len(study.seeds), "run is", "runs are")
    print(f"{len(complete_runs(out, study))} of {expected} complete")


if __name__ == "__main__":
    command()
