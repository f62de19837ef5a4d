"""Robust training: what an update costs, in updates of plain training."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.comparison import Comparison, seconds
from benchmarks.measure import Sizes
from tenuto.config import DataConfig, RobustConfig
from tenuto.data import Prepared
from tenuto.data.batches import Batch, Material
from tenuto.devices import compute_repeatably
from tenuto.models.systems import build
from tenuto.training.averaging import Average
from tenuto.training.robust import build as build_method
from tenuto.training.update import Trainee

BATCH_SIZE = 8

COSTS: dict[str, float | None] = {"noise": None, "pgd": 6.0, "fast": 2.0, "free": None, "trades": None}
"""Promised times of an update with default settings, in plain updates: at most (steps + 1) where clips are attacked."""


def robust_training(prepared: Prepared, sizes: Sizes, device: str) -> list[Comparison]:
    """Seconds per update of one batch: every method of robust training with its defaults, and averaged weights."""
    place = torch.device(device)
    clips = Material(prepared, DataConfig()).part("train").take(torch.arange(BATCH_SIZE)).to(place)
    methods: dict[str, Callable[[], object]] = {
        name: _updates(_trainee(prepared, sizes, place), clips, name) for name in COSTS
    }
    methods["average"] = _plain(_trainee(prepared, sizes, place, average=True), clips)
    plain = _plain(_trainee(prepared, sizes, place), clips)
    with compute_repeatably(torch.get_num_threads()):
        return [
            _compared(f"{name} update, s", device, update, plain, sizes.pairs, COSTS.get(name))
            for name, update in methods.items()
        ]


def _trainee(prepared: Prepared, sizes: Sizes, place: torch.device, average: bool = False) -> Trainee:
    """A network of its own in float32 training."""
    network = build("A2E", len(prepared.index.emotions), width=sizes.width).train().to(place)
    return Trainee(
        network,
        torch.optim.Adam(network.parameters(), lr=5e-4),
        lambda prediction, batch: torch.nn.functional.mse_loss(prediction.emotions, batch.labels),
        average=Average(network, 0.99) if average else None,
    )


def _plain(trainee: Trainee, clips: Batch) -> Callable[[], object]:
    return lambda: float(trainee.step(lambda: trainee.loss(trainee.predict(clips.inputs), clips)))


def _updates(trainee: Trainee, clips: Batch, name: str) -> Callable[[], object]:
    method = build_method(RobustConfig(method=name))
    return lambda: float(method.update(trainee, clips))


def _compared(
    name: str,
    device: str,
    update: Callable[[], object],
    plain: Callable[[], object],
    pairs: int,
    cost: float | None,
) -> Comparison:
    update()  # warms up
    plain()
    times = [(seconds(update), seconds(plain)) for _ in range(pairs)]
    return Comparison(
        name=name,
        device=device,
        baseline=f"one update of plain training, {BATCH_SIZE} clips",
        ours=tuple(ours for ours, _ in times),
        plain=tuple(other for _, other in times),
        target=None if cost is None else 1 / cost,
    )
