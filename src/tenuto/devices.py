"""Where and in which precision networks compute."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from tenuto.errors import ConfigError, PrecisionWarning

P = ParamSpec("P")
Result = TypeVar("Result")
Precision = Literal["float32", "bfloat16", "tf32"]

BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")
"""Flags of processors with bfloat16 multiplication."""

MOST_THREADS = 1024
"""More crash the process, on any machine."""


def require(device: str) -> str:
    """Return the device's name if this machine has it. Raises `ConfigError`."""
    if device == "cpu":
        return device
    if not device.startswith("cuda"):
        raise ConfigError(f"device {device}: unknown. Use `device=cpu` or `device=cuda`.")
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(f"device {device}: this machine has no usable GPU. Use `device=cpu`.")
    return device


def require_precision(precision: str | None, device: str) -> None:
    """Refuse TF32 where it would silently be float32. Raises `ConfigError`."""
    if precision == "tf32" and device == "cpu":
        raise ConfigError(
            "precision tf32: only GPUs compute in TF32. Use `device=cuda`, or another `precision`."
        )


@contextlib.contextmanager
def compute_repeatably(threads: int) -> Iterator[None]:
    """Inside, the same work gives the same numbers, and float32 is float32; afterwards all is as it was.

    Sums on a CPU depend on the number of threads. cuDNN otherwise chooses convolutions by timing them, and some of
    those add up in an order that varies. TF32, PyTorch's default for convolutions on a GPU, keeps 10 of 23 bits.

    Args:
        threads: CPU threads, 1 to 1024.

    Raises:
        ConfigError: ``threads`` is out of range.
    """
    import torch

    if not 1 <= threads <= MOST_THREADS:
        raise ConfigError(f"threads must be 1 to {MOST_THREADS}, got {threads}.")
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before, is_off = torch.get_num_threads(), {"benchmark": False, "allow_tf32": False}
    try:
        torch.set_num_threads(threads)
        with _having(cudnn, deterministic=True, **is_off), _having(matmul, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _having(settings: Any, **values: bool) -> Iterator[None]:
    """Inside, settings of a backend have these values."""
    before = {name: getattr(settings, name) for name in values}
    try:
        for name, value in values.items():
            setattr(settings, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)


def repeatable(
    function: Callable[Concatenate[Any, P], Result],
) -> Callable[Concatenate[Any, P], Result]:
    """Decorate a function of a run: it computes as `compute_repeatably` does, with the threads of the run."""

    @functools.wraps(function)
    def compute(run: Any, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        with compute_repeatably(run.threads):
            return function(run, *args, **kwargs)

    return compute


def arithmetic(device: str) -> str:
    """Name what decides how sums are rounded: the widest instructions of a CPU or the GPU, such as ``cpu AVX512``."""
    import torch

    if device != "cpu":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"


@functools.cache
def fast_bfloat16(device: str = "cpu") -> bool:
    """Whether the device multiplies in bfloat16 natively."""
    if device != "cpu":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return any(flag in flags for flag in BFLOAT16_FLAGS)


def computing_in(precision: Precision, device: str) -> AbstractContextManager[Any]:
    """Inside, networks compute in this precision; weights and sums over them stay float32.

    A backward pass outside computes as its forward pass did, except in tf32: see `allowing_tf32`.

    Args:
        precision: float32 changes nothing; tf32 is TF32 in convolutions and matrix products on a GPU.
        device: ``cpu`` or ``cuda``, a type without a number.

    Warns:
        PrecisionWarning: The device does not compute in bfloat16, which is no faster than float32; once per process.
    """
    if precision == "float32":
        return contextlib.nullcontext()
    if precision == "tf32":
        return allowing_tf32(True)
    import torch

    autocast = torch.autocast(device, torch.bfloat16)
    if fast_bfloat16(device):
        return autocast
    _warn_of_rounding(device)
    return _rounding(autocast) if device == "cpu" else autocast


@contextlib.contextmanager
def _rounding(autocast: AbstractContextManager[Any]) -> Iterator[None]:
    from tenuto.rounding import RoundedProducts

    with autocast, RoundedProducts():
        yield


@functools.cache
def _warn_of_rounding(device: str) -> None:
    warnings.warn(
        f"precision bfloat16: {device} has no such arithmetic, so it is no faster than float32.",
        PrecisionWarning,
        stacklevel=3,
    )


@contextlib.contextmanager
def allowing_tf32(is_allowed: bool) -> Iterator[None]:
    """Inside, convolutions and matrix products on a GPU compute in TF32 where ``is_allowed``; else nothing changes."""
    import torch

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    with (
        _having(cudnn, allow_tf32=cudnn.allow_tf32 or is_allowed),
        _having(matmul, allow_tf32=matmul.allow_tf32 or is_allowed),
    ):
        yield


@contextlib.contextmanager
def full_precision(device: str) -> Iterator[None]:
    """Switch off the caller's autocast, and TF32 in the convolutions of a GPU, which keeps 10 bits of 23."""
    import torch

    with _having(torch.backends.cudnn, allow_tf32=False), torch.autocast(device, enabled=False):
        yield
