"""How much of what a device multiplies at best a measurement reaches."""

from __future__ import annotations

import functools

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.comparison import seconds
from tenuto.devices import Precision
from tenuto.models.systems import Network, build

SIDE, GPU_SIDE = 2048, 8192
"""Of the square matrices whose product is the best that a device does."""


@functools.cache
def peak(device: str, precision: Precision = "float32") -> float:
    """Floating-point operations per second in a large matrix product, the quickest of five."""
    side = SIDE if device == "cpu" else GPU_SIDE
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left, right = (torch.randn(side, side, device=device).to(kind) for _ in range(2))

    def product() -> None:
        torch.mm(left, right)
        if device != "cpu":
            torch.cuda.synchronize()

    product()
    return 2 * side**3 / min(seconds(product) for _ in range(5))


def share(operations: float, taken: float, device: str, precision: Precision) -> float:
    """Operations per second over `peak`; above 1 where fewer multiplications than the counted ones are done."""
    return operations / taken / peak(device, precision)


def update(emotions: int, width: float) -> int:
    """Operations of one clip in an update: forth, and back to the weights."""
    return _operations(build("A2E", emotions, width=width), torch.zeros(1, 1, 313, 149))


def step(emotions: int, width: float) -> int:
    """Operations of one clip in an attack: forth, and back to the input."""
    network = build("A2E", emotions, width=width).requires_grad_(False)
    return _operations(network, torch.zeros(1, 1, 313, 149, requires_grad=True))


def _operations(network: Network, clip: torch.Tensor) -> int:
    """Floating-point operations of a call of the network, backward pass included if an input needs a gradient."""
    with FlopCounterMode(display=False) as counter:
        network.eval()(clip).emotions.sum().backward()
    return int(counter.get_total_flops())
