"""The quick convolution beside the plain one, and where it is used."""

import copy
import os
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

from tenuto.models import build, convolution, for_attack
from tenuto.models.convolution import Convolution


@pytest.fixture
def calls(monkeypatch):
    """Counts quick convolutions; the processor gains by them, whatever it is."""
    if not torch.backends.nnpack.is_available():
        pytest.skip("this PyTorch came without NNPACK for this processor")
    plain, counted = convolution._convolve, []

    def counting(*given):
        counted.append(given[0].shape)
        return plain(*given)

    monkeypatch.setattr(convolution, "convolves_by_nnpack", lambda: True)
    monkeypatch.setattr(convolution, "_convolve", counting)
    return counted


def images(count=6, channels=48, seed=0, size=(21, 18)):
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(seed))


def layer(**options):
    torch.manual_seed(1)
    return Convolution(48, 64, 3, padding=1, **options)


def close(found, wanted):
    found, wanted = found.detach().double(), wanted.detach().double()
    assert float((found - wanted).abs().max()) <= 5e-5 * float(wanted.abs().max())


def gradients(of, inputs, weights):
    outputs = of(inputs)
    return [outputs, *torch.autograd.grad(outputs.square().sum(), [inputs, *weights])]


@pytest.mark.parametrize("size", [(21, 18), (78, 37)], ids=["winograd", "fft"])
def test_output_and_gradients_are_those_of_double_precision(calls, size):
    quick, inputs = layer(), images(size=size)
    exact, doubles = copy.deepcopy(quick).double(), inputs.double()
    found = gradients(quick, inputs.requires_grad_(), [quick.weight, quick.bias])
    assert len(calls) == 2
    wanted = gradients(exact, doubles.requires_grad_(), [exact.weight, exact.bias])
    assert len(calls) == 2
    for one, other in zip(found, wanted, strict=True):
        close(one, other)


def test_frozen_layer_gives_the_gradient_of_its_input_alone(calls):
    plain, inputs = layer().eval(), images().requires_grad_()
    frozen = copy.deepcopy(plain)
    frozen.freeze()
    found, wanted = gradients(frozen, inputs, []), gradients(plain, inputs, [])
    assert len(calls) == 2
    for one, other in zip(found, wanted, strict=True):
        close(one, other)
    assert "turned" not in frozen.state_dict()


def test_weights_learn_where_images_need_no_gradient(calls):
    quick, inputs = layer(bias=False), images()
    (found,) = torch.autograd.grad(quick(inputs).square().sum(), quick.weight)
    (wanted,) = torch.autograd.grad(quick.eval()(inputs).square().sum(), quick.weight)
    assert len(calls) == 1
    close(found, wanted)


def test_evaluation_is_plain(calls):
    network = build("A2M2E", width=0.75).eval()
    plain = nn.Conv2d.forward
    first = network.backbone.stages[2][0]
    inputs = images()
    assert torch.equal(first(inputs), plain(first, inputs))
    network(torch.zeros(6, 1, 64, 64))
    assert calls == []


def test_training_and_attacks_are_quick(calls):
    network = build("A2M2E", width=0.75)
    network(torch.zeros(6, 1, 64, 64))
    trained = len(calls)
    with torch.no_grad():
        for_attack(network)(torch.zeros(6, 1, 64, 64))
    assert trained == 7
    assert len(calls) == 2 * trained


@pytest.mark.parametrize(
    "other",
    [
        lambda: (Convolution(48, 64, 1), images()),
        lambda: (Convolution(48, 64, 3), images()),
        lambda: (Convolution(48, 64, 3, stride=2, padding=1), images()),
        lambda: (Convolution(48, 96, 3, padding=1, groups=2), images()),
        lambda: (Convolution(8, 16, 3, padding=1), images(channels=8)),
        lambda: (layer(), images(count=0)),
        lambda: (layer().double(), images().double()),
    ],
    ids=["kernel", "padding", "stride", "groups", "channels", "no-images", "double"],
)
def test_whatever_it_does_not_suit_is_plain(calls, other):
    module, inputs = other()
    assert torch.equal(module(inputs), nn.Conv2d.forward(module, inputs))
    assert calls == []


def test_autocast_stays_in_its_precision(calls):
    with torch.autocast("cpu", torch.bfloat16):
        assert layer()(images()).dtype == torch.bfloat16
    assert calls == []


def test_other_processors_convolve_plainly(calls, monkeypatch):
    monkeypatch.setattr(convolution, "convolves_by_nnpack", lambda: False)
    frozen, inputs = layer(), images()
    frozen.freeze()
    assert torch.equal(frozen(inputs), nn.Conv2d.forward(frozen, inputs))
    assert layer()(inputs).shape == (6, 64, 21, 18)
    assert calls == []


def test_an_image_comes_out_the_same_whatever_the_batch(calls):
    quick, inputs = layer(), images(count=8)
    whole = quick(inputs)
    for count in (1, 2, 5):
        assert torch.equal(quick(inputs[:count]), whole[:count])
    assert len(calls) == 4


def test_bias_learns_beside_frozen_weights(calls):
    quick, inputs = layer(), images()
    quick.weight.requires_grad_(False)
    (found,) = torch.autograd.grad(quick(inputs).square().sum(), quick.bias)
    (wanted,) = torch.autograd.grad(quick.eval()(inputs).square().sum(), quick.bias)
    assert len(calls) == 1
    close(found, wanted)


def test_functional_gradients_are_those_of_autograd(calls):
    frozen, inputs = layer(), images().requires_grad_()
    frozen.freeze()
    (wanted,) = torch.autograd.grad(frozen(inputs).square().sum(), inputs)
    assert torch.equal(torch.func.grad(lambda given: frozen(given).square().sum())(inputs.detach()), wanted)


def test_second_derivatives_are_refused(calls):
    inputs = images().requires_grad_()
    (first,) = torch.autograd.grad(layer()(inputs).square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_frozen_copy_works_in_another_process(calls, tmp_path):
    frozen = layer()
    frozen.freeze()
    assert frozen.turned is not None
    (tmp_path / "frozen").write_bytes(pickle.dumps(frozen))
    code = (
        "import pickle, sys, torch; frozen = pickle.loads(open(sys.argv[1], 'rb').read()); "
        "print(tuple(frozen(torch.zeros(8, 48, 21, 18)).shape))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "frozen"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "(8, 64, 21, 18)"
