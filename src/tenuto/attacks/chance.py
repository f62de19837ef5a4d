"""Random numbers that belong to an example: they depend on a seed and on its content, not on its place in a batch."""

from __future__ import annotations

import hashlib

import numpy as np
from torch import Tensor


def generator_of(example: Tensor, *seeds: int) -> np.random.Generator:
    """The random generator of an example (...)."""
    content = hashlib.sha256(example.detach().cpu().contiguous().numpy().tobytes()).digest()
    return np.random.default_rng([*seeds, *np.frombuffer(content[:16], np.uint32).tolist()])
