"""Devices by name, and which of them compute in bfloat16 by themselves."""

from __future__ import annotations

import pytest
import torch

from tenuto.devices import (
    arithmetic,
    compute_repeatably,
    computing_in,
    convolves_by_nnpack,
    fast_bfloat16,
    require,
)
from tenuto.errors import ConfigError


def test_the_processor_is_always_there():
    assert require("cpu") == "cpu"


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match=r"device tpu: unknown\. Use --device cpu or --device cuda"):
        require("tpu")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="no usable GPU"):
        require("cuda:1")


@pytest.mark.parametrize(
    ("flags", "wanted"), [("avx2 avx512_bf16", True), ("amx_bf16", True), ("avx2 avx512f", False)]
)
def test_a_processor_says_by_its_flags_whether_it_has_bfloat16(monkeypatch, flags, wanted):
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_, **__: f"flags : {flags}")
    assert fast_bfloat16() is wanted


def test_a_processor_that_cannot_be_asked_has_none(monkeypatch):
    def unreadable(*_, **__):
        raise OSError

    monkeypatch.setattr("pathlib.Path.read_text", unreadable)
    assert fast_bfloat16("cpu") is False


@pytest.mark.parametrize(("precision", "wanted"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_networks_compute_in_the_precision_asked_for(precision, wanted):
    layer = torch.nn.Linear(2, 2)
    with computing_in(precision, "cpu"):
        assert layer(torch.ones(1, 2)).dtype == wanted
    assert layer.weight.dtype == torch.float32


def test_repeatable_work_has_its_threads_and_fixed_convolutions(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = torch.get_num_threads()
    compute_repeatably(1)
    assert torch.get_num_threads() == 1
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == (True, False)
    torch.set_num_threads(before)


def test_float32_is_float32_on_a_gpu_too():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.allow_tf32, matmul.allow_tf32)
    cudnn.allow_tf32 = matmul.allow_tf32 = True
    compute_repeatably(torch.get_num_threads())
    left = (cudnn.allow_tf32, matmul.allow_tf32)
    cudnn.allow_tf32, matmul.allow_tf32 = before
    assert left == (False, False)


@pytest.fixture
def processor(monkeypatch):
    """A function that sets this processor's widest instructions, whether NNPACK is there, and the threads."""

    def have(widest, nnpack, threads):
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: widest)
        monkeypatch.setattr(torch.backends.nnpack, "is_available", lambda: nnpack)

    return have


@pytest.mark.parametrize(
    ("widest", "nnpack", "threads", "gains", "name"),
    [
        ("AVX2", True, 1, True, "cpu AVX2 NNPACK"),
        ("AVX2", True, 2, False, "cpu AVX2"),
        ("AVX2", False, 1, False, "cpu AVX2"),
        ("AVX512", True, 1, False, "cpu AVX512"),
        ("DEFAULT", True, 1, False, "cpu DEFAULT"),
    ],
)
def test_one_thread_convolves_by_nnpack_where_there_is_nothing_wider(
    processor, widest, nnpack, threads, gains, name
):
    processor(widest, nnpack, threads)
    assert convolves_by_nnpack() is gains
    assert arithmetic("cpu") == name


def test_a_gpu_is_known_by_its_name(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA H200")
    assert arithmetic("cuda:0") == "cuda:0 NVIDIA H200"
