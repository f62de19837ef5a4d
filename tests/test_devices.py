"""Devices by name, and which of them compute in bfloat16 by themselves."""

from __future__ import annotations

import contextlib

import pytest
import torch

from tenuto.devices import (
    allowing_tf32,
    arithmetic,
    compute_repeatably,
    computing_in,
    fast_bfloat16,
    require,
    require_precision,
)
from tenuto.errors import ConfigError


def test_the_processor_is_always_there():
    assert require("cpu") == "cpu"


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match=r"device tpu: unknown\. Use `device=cpu` or `device=cuda`"):
        require("tpu")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="no usable GPU"):
        require("cuda:1")


@pytest.mark.parametrize(
    ("flags", "expected"), [("avx2 avx512_bf16", True), ("amx_bf16", True), ("avx2 avx512f", False)]
)
def test_a_processor_says_by_its_flags_whether_it_has_bfloat16(monkeypatch, flags, expected):
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_, **__: f"flags : {flags}")
    assert fast_bfloat16.__wrapped__() is expected


def test_a_processor_that_cannot_be_asked_has_none(monkeypatch):
    def unreadable(*_, **__):
        raise OSError

    monkeypatch.setattr("pathlib.Path.read_text", unreadable)
    assert fast_bfloat16.__wrapped__("cpu") is False


@pytest.mark.parametrize(
    ("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_networks_compute_in_the_precision_asked_for(precision, expected):
    layer = torch.nn.Linear(2, 2)
    with computing_in(precision, "cpu"):
        assert layer(torch.ones(1, 2)).dtype == expected
    assert layer.weight.dtype == torch.float32


def flags():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return (
        torch.get_num_threads(),
        (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32),
    )


@pytest.fixture
def callers_flags():
    """Flags other than ours, as a caller may have set them."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = flags()[1]
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = False, True, True, True
    yield flags()
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


def test_repeatable_work_has_its_threads_and_flags_and_leaves_those_of_the_caller(callers_flags):
    threads = callers_flags[0] + 1
    with contextlib.suppress(KeyError), compute_repeatably(threads):
        assert flags() == (threads, (True, False, False, False))
        raise KeyError
    assert flags() == callers_flags


def test_tf32_is_on_where_it_was_chosen_and_refused_on_a_cpu():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    with compute_repeatably(1):
        with computing_in("tf32", "cuda"):
            assert (cudnn.allow_tf32, matmul.allow_tf32) == (True, True)
        with allowing_tf32(False):
            assert (cudnn.allow_tf32, matmul.allow_tf32) == (False, False)
    require_precision("tf32", "cuda")
    require_precision("bfloat16", "cpu")
    with pytest.raises(ConfigError, match="precision tf32: only GPUs compute in TF32"):
        require_precision("tf32", "cpu")


@pytest.mark.parametrize("threads", [0, -1, 1025, 99_999_999])
def test_threads_out_of_range_are_refused(threads):
    with (
        pytest.raises(ConfigError, match=f"threads must be 1 to 1024, got {threads}"),
        compute_repeatably(threads),
    ):
        pass


@pytest.mark.parametrize("widest", ["DEFAULT", "AVX2", "AVX512"])
def test_a_processor_is_known_by_its_widest_instructions(monkeypatch, widest):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: widest)
    assert arithmetic("cpu") == f"cpu {widest}"


def test_a_gpu_is_known_by_its_name(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA H200")
    assert arithmetic("cuda:0") == "cuda:0 NVIDIA H200"
