"""The measurements: front end, masking threshold, attack, training, and training on attacked clips."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import plain, plain_masking, roofline
from benchmarks.comparison import Comparison, Rounds, seconds
from tenuto.attacks import L2, PGD, SNR, Attack, Budget, Linf, ReleasedAttack
from tenuto.attacks.base import default_batch_size
from tenuto.audio import SAMPLE_RATE, load_audio
from tenuto.audio.masking import threshold
from tenuto.audio.spectrogram import filterbank
from tenuto.config import AdversarialConfig, RunConfig, merge, read_preset
from tenuto.data import Index, Prepared
from tenuto.data.batches import Material
from tenuto.data.cache import compute
from tenuto.devices import Precision, compute_repeatably
from tenuto.models.recogniser import Recogniser
from tenuto.models.systems import Network, build, for_attack
from tenuto.training.loop import train

STUDY_TRAINING_CLIPS = 288


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured: recordings, attack iterations, width of the network, pairs of measurements."""

    clips: int
    steps: int
    width: float
    pairs: int

    @property
    def halved(self) -> Sizes:
        """The same with half the pairs, for what takes long."""
        return dataclasses.replace(self, pairs=(self.pairs + 1) // 2)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes with one thread inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def front_end(index: Index, sizes: Sizes) -> Comparison:
    """Seconds per clip from file to log spectrogram, one thread."""
    filters, window = filterbank(), np.hanning(plain.FRAME_SIZE)
    ours, others = [], []
    with one_thread():
        compute(index.paths[0])
        plain.spectrogram(index.paths[0], window, filters)
        for _ in range(sizes.pairs):
            ours.append(seconds(lambda: [compute(path) for path in index.paths]) / len(index))
            others.append(
                seconds(lambda: [plain.spectrogram(path, window, filters) for path in index.paths])
                / len(index)
            )
    return Comparison(
        name="front end, s a clip",
        device="cpu",
        baseline="soundfile, soxr, NumPy FFT frame by frame",
        ours=tuple(ours),
        plain=tuple(others),
        reference=(0.098, 0.098),
        target=2.0,
    )


def masking(index: Index, sizes: Sizes) -> Comparison:
    """Seconds per 10 s of sound from waveform to masking threshold, one thread."""
    wave = np.resize(load_audio(index.paths[0]), 10 * SAMPLE_RATE)
    sound, second = torch.from_numpy(wave), wave[:SAMPLE_RATE].astype(np.float64)
    ours, others = [], []
    with one_thread():
        threshold(sound)
        for _ in range(sizes.pairs):
            ours.append(seconds(lambda: threshold(sound)))
            others.append(10 * seconds(lambda: plain_masking.threshold_db(second)))
    return Comparison(
        name="masking threshold of 10 s, s",
        device="cpu",
        baseline="one frame and masker at a time (measured on 1 s)",
        ours=tuple(ours),
        plain=tuple(others),
        target=16.0,
    )


def attack(prepared: Prepared, sizes: Sizes, device: str, precision: Precision = "float32") -> Comparison:
    """Milliseconds per iteration and clip: one batch of frozen, folded weights.

    The released attack in float32, and PGD in bfloat16, whose steps cost the same. A round runs from one evaluation to
    the next, so it holds one gradient, one update and one evaluation.
    """
    network = build("A2E", len(prepared.index.emotions), width=sizes.width).eval().to(device)
    frozen = for_attack(network)
    clips = Material(prepared, _config(sizes).data).part("train")
    count = min(len(clips), default_batch_size(torch.device(device)))
    batch = clips.take(torch.arange(count)).to(torch.device(device))
    attacker: Attack = ReleasedAttack(iterations=sizes.steps + 1)
    if precision == "bfloat16":
        attacker = PGD(budget=Linf(0.1), steps=sizes.steps + 1, precision=precision)

    def ours() -> float:
        rounds = Rounds()
        attacker(frozen, batch.inputs, batch.labels, batch_size=count, progress=rounds)
        return 1000 * rounds.seconds / count

    def others() -> float:
        times = []
        for clip, label in zip(batch.inputs.unsqueeze(1), batch.labels, strict=True):
            rounds = Rounds()
            plain.attack(network, clip, label, sizes.steps + 1, rounds)
            times.append(1000 * rounds.seconds)
        return float(np.mean(times))

    with compute_repeatably(torch.get_num_threads()):  # as runs are attacked
        attacker(frozen, batch.inputs, batch.labels, batch_size=count)
        plain.attack(network, batch.inputs[:1], batch.labels[0], 2, Rounds())
        pairs = [(ours(), others()) for _ in range(sizes.pairs)]
    taken = statistics.median(pair[0] for pair in pairs) / 1000
    operations = roofline.step(len(prepared.index.emotions), sizes.width)
    return Comparison(
        name=f"attack{_suffix(precision)}, ms a step",
        device=device,
        baseline="one clip at a time, plain network, weights collect gradients",
        ours=tuple(pair[0] for pair in pairs),
        plain=tuple(pair[1] for pair in pairs),
        reference=_reference(sizes, device, (135.0, 147.0)),
        target=1.8 if precision == "float32" else 3.5,
        peak_share=roofline.share(operations, taken, device, precision),
    )


def waveform(prepared: Prepared, sizes: Sizes, device: str) -> Comparison:
    """Milliseconds per iteration and clip of the same attack on the waveform and on the spectrogram, at equal batch."""
    torch.manual_seed(0)
    material = Material(prepared, _config(sizes).data)
    names, clips = prepared.index.emotions, material.part("train")
    count = min(len(clips), default_batch_size(torch.device(device)))
    clips = clips.take(torch.arange(count)).to(torch.device(device))
    own = Recogniser(
        build("A2E", len(names), width=sizes.width).eval(), "A2E", names, (), material.inputs, "benchmark"
    )
    sound = own.in_sound()
    paths = [prepared.index.paths[place] for place in prepared.places(clips.clips)]
    windows = [sound.inputs.cut(load_audio(path), 0) for path in paths]
    samples = torch.from_numpy(np.stack(windows)).to(device)

    def step(network: Network, budget: Budget, inputs: Tensor) -> Callable[[], float]:
        frozen, attacker = for_attack(network).to(device), PGD(budget=budget, steps=sizes.steps + 1)

        def timed() -> float:
            rounds = Rounds()
            attacker(frozen, inputs, clips.labels, batch_size=len(inputs), progress=rounds)
            return 1000 * rounds.seconds / len(inputs)

        return timed

    with compute_repeatably(torch.get_num_threads()):  # as runs are attacked
        ours, others = step(sound.network, SNR(40), samples), step(own.network, L2(1.0), clips.inputs)
        ours(), others()
        pairs = [(ours(), others()) for _ in range(sizes.pairs)]
    return Comparison(
        name="waveform attack, ms a step",
        device=device,
        baseline="the same attack on the spectrogram, same batch",
        ours=tuple(pair[0] for pair in pairs),
        plain=tuple(pair[1] for pair in pairs),
        target=1 / 1.35,
    )


def training(
    prepared: Prepared, sizes: Sizes, device: str, precision: Precision = "float32", iterations: int = 0
) -> Comparison:
    """Seconds per epoch, scaled to the study's 288 training clips: updates, validation, saved state.

    The plain epoch runs in the callback that follows each of ours: ours, plain, ours, plain. The first pair
    warms up and does not count.

    Args:
        prepared: The data set.
        sizes: How much is measured.
        device: ``cpu`` or ``cuda``.
        precision: Of our updates and attacks; the plain epoch computes in float32.
        iterations: Of the attack on every training clip, as in every fifth epoch of adversarial training; 0 for none.
    """
    config = _config(sizes, precision, iterations)
    material = Material(prepared, config.data)
    scale = STUDY_TRAINING_CLIPS / len(material.split.train)
    network = build("A2E", len(prepared.index.emotions), width=sizes.width).to(device)
    pairs: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        parts = material.part("train"), material.part("validation")
        other = plain.Training(network, *parts, Path(folder), iterations)
        started = time.perf_counter()

        def epoch_done(_: dict[str, Any]) -> None:
            nonlocal started
            ours = time.perf_counter() - started
            pairs.append((scale * ours, scale * seconds(other.epoch)))
            started = time.perf_counter()

        train(config, prepared, Path(folder), device, epoch_done)
    ours, others = zip(*pairs[1:], strict=True)
    operations = _epoch_operations(len(prepared.index.emotions), sizes.width, iterations)
    share = roofline.share(operations, statistics.median(ours), device, precision)
    if iterations:
        return Comparison(
            name=f"attacked epoch{_suffix(precision)}, s",
            device=device,
            baseline=f"the plain attack on one clip after the other, {iterations} iterations, in plain training",
            ours=ours,
            plain=others,
            target=1 / 0.3,
            peak_share=share,
        )
    return Comparison(
        name=f"training epoch{_suffix(precision)}, s",
        device=device,
        baseline="DataLoader, same batch size",
        ours=ours,
        plain=others,
        reference=_reference(sizes, device, (36.0, 36.0)),
        target=1 / 0.6,
        peak_share=share,
    )


def _epoch_operations(emotions: int, width: float, iterations: int) -> int:
    """Of the study's training clips: one update each, and for attacked ones the attack and a second update."""
    update, step = roofline.update(emotions, width), roofline.step(emotions, width)
    return STUDY_TRAINING_CLIPS * (2 * update + iterations * step if iterations else update)


def prepared_from(index: Index) -> Prepared:
    """The recordings in memory, without a cache on disk."""
    return Prepared("benchmark", index, tuple(compute(path) for path in index.paths), "benchmark")


def _config(sizes: Sizes, precision: Precision = "float32", iterations: int = 0) -> RunConfig:
    attacked = AdversarialConfig(every=1, iterations=iterations).model_dump() if iterations else None
    changes = {
        "model": {"width": sizes.width},
        "train": {
            "epochs": sizes.pairs + 1,
            "threads": torch.get_num_threads(),
            "precision": precision,
            "adversarial": attacked,
        },
    }
    return RunConfig.parse(merge(read_preset("paper-2025"), changes), "the benchmark")


def _suffix(precision: Precision) -> str:
    return " bf16" if precision == "bfloat16" else ""


def _reference(sizes: Sizes, device: str, times: tuple[float, float]) -> tuple[float, float] | None:
    """The reference's times compare with the full network on a CPU alone."""
    return times if sizes.width == 1.0 and device == "cpu" else None
