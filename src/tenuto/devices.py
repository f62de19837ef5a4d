"""Where and in which precision networks compute."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from tenuto.errors import ConfigError

Precision = Literal["float32", "bfloat16"]

BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")
"""Flags of processors that multiply in bfloat16; others imitate it, slower than they compute in float32."""


def require(device: str) -> str:
    """The device's name, where this machine has it. Raises `ConfigError`."""
    if device == "cpu":
        return device
    if not device.startswith("cuda"):
        raise ConfigError(f"device {device}: unknown. Use --device cpu or --device cuda.")
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(f"device {device}: this machine has no usable GPU. Use --device cpu.")
    return device


def compute_repeatably(threads: int) -> None:
    """From here on this process gives the same numbers for the same work, and float32 is float32.

    CPU sums depend on the number of threads; cuDNN else chooses convolutions by timing them, and some of those add up
    in an order that changes. TF32, PyTorch's choice for the convolutions of a GPU, keeps 10 bits of 23: bfloat16 is
    for those who want fewer, and say so.
    """
    import torch

    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def convolves_by_nnpack() -> bool:
    """Whether training and attacks convolve by NNPACK here: one thread, nothing wider than AVX2, and NNPACK there.

    NNPACK knows nothing wider than AVX2: with AVX-512 plain convolutions are quicker. Several threads it takes from a
    pool of its own, which the waiting threads of OpenMP slow down.
    """
    import torch

    return (
        torch.get_num_threads() == 1
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
        and bool(torch.backends.nnpack.is_available())  # type: ignore[no-untyped-call]
    )


def arithmetic(device: str) -> str:
    """What decides how sums are rounded there: ``cpu AVX2 NNPACK``, ``cpu AVX512``, ``cuda NVIDIA H200``."""
    import torch

    if device != "cpu":
        return f"{device} {torch.cuda.get_device_name(device)}"
    widest = torch.backends.cpu.get_cpu_capability()
    return f"cpu {widest} NNPACK" if convolves_by_nnpack() else f"cpu {widest}"


def fast_bfloat16(device: str = "cpu") -> bool:
    """Whether the device computes in bfloat16 by itself."""
    if device != "cpu":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return any(flag in flags for flag in BFLOAT16_FLAGS)


def computing_in(precision: Precision, device: str) -> AbstractContextManager[Any]:
    """Inside, networks compute in this precision; their weights, and what is added up over them, stay float32.

    Args:
        precision: float32 changes nothing.
        device: ``cpu`` or ``cuda``, a type without a number.
    """
    if precision == "float32":
        return contextlib.nullcontext()
    import torch

    return torch.autocast(device, torch.bfloat16)
