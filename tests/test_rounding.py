"""Bfloat16 by rounding: what a processor with bfloat16 computes, on any processor."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from tenuto import devices
from tenuto.devices import computing_in
from tenuto.errors import PrecisionWarning
from tenuto.models.systems import build


@pytest.fixture
def without_bfloat16(monkeypatch):
    monkeypatch.setattr(devices, "fast_bfloat16", lambda device: False)


def rounded(numbers):
    return numbers.bfloat16().double()


def assert_within_one_step(found, expected):
    """Bfloat16 has 8 bits: neighbours differ by up to 1/128, and sums near the middle may be rounded to either."""
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected.bfloat16().double(), rtol=1 / 128, atol=1e-6)


PRODUCTS = {
    "convolution": (
        lambda x, w, b: nn.functional.conv2d(x, w, b, padding=1),
        (2, 3, 9, 8),
        (4, 3, 3, 3),
        (4,),
    ),
    "transposed": (nn.functional.conv_transpose1d, (2, 3, 9), (3, 4, 5), (4,)),
    "linear": (nn.functional.linear, (5, 6), (3, 6), (3,)),
    "bias by name": (lambda x, w, b: nn.functional.linear(input=x, weight=w, bias=b), (5, 6), (3, 6), (3,)),
    "matmul": (lambda x, w, b: x @ w + 0 * b.sum(), (5, 6), (6, 2), (1,)),
    "method": (lambda x, w, b: x.bmm(w) + 0 * b.sum(), (2, 5, 6), (2, 6, 2), (1,)),
    "linalg": (lambda x, w, b: torch.linalg.matmul(x, w) + 0 * b.sum(), (5, 6), (6, 2), (1,)),
    "addmm": (lambda x, w, b: torch.addmm(b, x, w), (5, 6), (6, 2), (2,)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_those_of_rounded_numbers(without_bfloat16, name):
    function, *shapes = PRODUCTS[name]
    draws = torch.Generator().manual_seed(0)
    numbers = [torch.randn(shape, generator=draws) for shape in shapes]
    with computing_in("bfloat16", "cpu"):
        found = function(*numbers)
    assert_within_one_step(found, function(*(rounded(each) for each in numbers)))


@pytest.mark.parametrize("name", ["convolution", "linear"])
def test_gradients_are_rounded_too_also_outside(without_bfloat16, name):
    function, *shapes = PRODUCTS[name]
    draws = torch.Generator().manual_seed(0)
    numbers = [torch.randn(shape, generator=draws, requires_grad=True) for shape in shapes]
    with computing_in("bfloat16", "cpu"):
        found = function(*numbers)
    upstream = torch.randn(found.shape, generator=draws)
    exact = [rounded(each.detach()).requires_grad_() for each in numbers]
    gradients = torch.autograd.grad(found.float(), numbers, upstream)
    oracles = torch.autograd.grad(function(*exact), exact, rounded(upstream))
    for gradient, oracle in zip(gradients, oracles, strict=True):
        assert_within_one_step(gradient.bfloat16(), oracle)
        assert torch.equal(gradient, gradient.bfloat16().float())


def test_an_lstm_computes_and_has_gradients(without_bfloat16):
    layer, inputs = nn.LSTM(4, 3), torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(0))
    inputs.requires_grad_()
    with computing_in("bfloat16", "cpu"):
        found = layer(inputs)[0]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), layer(inputs)[0], rtol=0, atol=0.02)
    (gradient,) = torch.autograd.grad(found.float().sum(), inputs)
    assert gradient.isfinite().all()
    assert gradient.any()


def packed(inputs):
    return nn.utils.rnn.pack_padded_sequence(inputs, [5, 4])


class Written(nn.Module):
    """Fills a tensor of its own, as loops over the steps of a recurrent cell do."""

    def forward(self, inputs):
        product = torch.zeros(5, 5)
        torch.matmul(inputs[:, 0], inputs[:, 0].T, out=product)
        product[torch.arange(5)] = nn.functional.bilinear(inputs[:, 0], inputs[:, 1], torch.ones(5, 4, 4))
        return product


@pytest.mark.parametrize(
    "model",
    [
        nn.GRU(4, 3),
        nn.RNN(4, 3),
        nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0),
        nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Linear(4, 2)).eval(),
        nn.Linear(4, 2).half(),
        lambda inputs: nn.LSTM(4, 3)(packed(inputs))[0].data,
        lambda inputs: nn.LSTMCell(4, 3)(inputs[0])[0],
        lambda inputs: torch.einsum("ijk->k", inputs),
        Written(),
    ],
    ids=["gru", "rnn", "attention", "spectral norm", "half", "packed", "cell", "sum", "written"],
)
def test_what_is_no_product_is_as_under_autocast_of_torch(without_bfloat16, model):
    inputs = torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(0))
    with computing_in("bfloat16", "cpu"), torch.random.fork_rng():
        ours = model(inputs)
    with torch.autocast("cpu", torch.bfloat16), torch.random.fork_rng():
        theirs = model(inputs)
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.01)


def test_autocast_to_another_type_is_left_alone(without_bfloat16):
    with computing_in("bfloat16", "cpu"), torch.autocast("cpu", torch.float16):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float16


def test_a_model_that_turns_autocast_off_or_computes_in_float64_keeps_its_precision(without_bfloat16):
    inputs, weights = torch.tensor([[1.001, 1.0]]), torch.ones(1, 2)
    with computing_in("bfloat16", "cpu"):
        with torch.autocast("cpu", enabled=False):
            assert torch.equal(nn.functional.linear(inputs, weights), inputs.sum(1, keepdim=True))
        assert nn.functional.linear(inputs, weights) == 2
        exact = nn.functional.linear(inputs.double(), weights.double())
    assert torch.equal(exact, inputs.double().sum(1, keepdim=True))
    assert nn.functional.linear(inputs, weights) > 2


def test_a_network_predicts_as_with_bfloat16_of_torch(without_bfloat16):
    torch.manual_seed(0)
    network = build("A2M2E", width=1 / 16).eval()
    inputs = torch.randn(2, 1, 64, 149)
    found, expected = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    with computing_in("bfloat16", "cpu"):
        ours = network(found).emotions
    with torch.autocast("cpu", torch.bfloat16):
        theirs = network(expected).emotions
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.002)
    ours.float().sum().backward()
    theirs.float().sum().backward()
    assert torch.nn.functional.cosine_similarity(found.grad.flatten(), expected.grad.flatten(), dim=0) > 0.99


def test_an_exported_model_is_rounded_too(without_bfloat16, monkeypatch):
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(12, 2)).eval()
    inputs = torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(0))
    exported = torch.export.export(model, (inputs,)).module()
    with computing_in("bfloat16", "cpu"):
        expected = model(inputs)
        monkeypatch.setattr("tenuto.rounding._round", lambda numbers: numbers.bfloat16().float() * 2)
        assert torch.equal(exported(inputs), model(inputs))
        assert not torch.equal(exported(inputs), expected)


@pytest.mark.parametrize("fast", [True, False])
def test_a_processor_without_bfloat16_is_named_once(monkeypatch, fast):
    monkeypatch.setattr(devices, "fast_bfloat16", lambda device: fast)
    devices._warn_of_rounding.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            with computing_in("bfloat16", "cpu"):
                pass
    assert [each.category for each in caught] == ([] if fast else [PrecisionWarning])
    devices._warn_of_rounding.cache_clear()
