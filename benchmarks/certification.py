"""What certification costs above plain forward passes."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.comparison import Comparison, seconds
from benchmarks.measure import Sizes
from tenuto.attacks.base import default_batch_size
from tenuto.devices import Precision, compute_repeatably, computing_in
from tenuto.evaluation.certificates import Smoothing, noisy_predictions
from tenuto.models.systems import build, for_attack

BATCHES = 4
"""Of noisy inputs, timed together."""

SIGMA = 0.216


def certification(sizes: Sizes, device: str, precision: Precision = "float32") -> Comparison:
    """Milliseconds per noisy prediction of one excerpt, and per plain forward pass at the same batch size."""
    torch.manual_seed(0)
    network = for_attack(build("A2E", width=sizes.width)).to(device)
    example, like = torch.randn(1, 1, 313, 149, device=device), torch.zeros(1, 8, device=device)
    count = default_batch_size(torch.device(device))
    smoothing = Smoothing(sigma=SIGMA, draws=BATCHES * count, precision=precision)
    batch = example.expand(count, -1, -1, -1).contiguous()

    def plain() -> list[Tensor]:
        with torch.no_grad(), computing_in(precision, torch.device(device).type):
            return [network(batch).emotions.cpu() for _ in range(BATCHES)]

    def ours() -> object:
        return noisy_predictions(network, example, like, smoothing)

    with compute_repeatably(torch.get_num_threads()):  # as runs are certified
        ours(), plain()
        pairs = [(seconds(ours), seconds(plain)) for _ in range(sizes.pairs)]
    ours_ms, plain_ms = ([1000 * pair[side] / smoothing.draws for pair in pairs] for side in (0, 1))
    return Comparison(
        name=f"certificate{' bf16' if precision == 'bfloat16' else ''}, ms a draw",
        device=device,
        baseline="forward passes of one batch, without noise",
        ours=tuple(ours_ms),
        plain=tuple(plain_ms),
        target=1 / 1.1,
    )
