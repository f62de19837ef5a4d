"""Models from elsewhere: every kind opens, predicts (clips, outputs), and leaves what it was given untouched."""

from __future__ import annotations

import collections
import copy
import dataclasses
import types
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from tenuto.errors import ModelError
from tenuto.models.foreign import identify, open_foreign, weights_sha256
from tests.models.conftest import Waves

pytestmark = pytest.mark.usefixtures("state")

EXAMPLE = torch.randn(2, 400, generator=torch.Generator().manual_seed(0))

NETWORK = """
import torch
from torch import nn

class Waves(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Conv1d(1, 4, 9, stride=4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(4, 2)

    def forward(self, waveforms):
        return torch.tanh(self.head(self.layers(waveforms.unsqueeze(1)).mean(-1)))

def build():
    return Waves()

def predict(waveforms):
    import numpy as np
    return np.stack([waveforms.mean(-1), waveforms.std(-1)], axis=1)
"""


def opened(model, **more):
    return open_foreign(model, example=more.pop("example", EXAMPLE), **more)


def code(tmp_path, text=NETWORK, name="mine.py"):
    file = tmp_path / name
    file.write_text(text)
    return file


def test_code_that_builds_a_module(tmp_path):
    file = code(tmp_path)
    foreign = opened(f"{file}:build", trust=True, outputs=2)
    assert (foreign.kind, foreign.has_gradient, foreign.outputs, foreign.note) == ("module", True, 2, "")
    assert foreign.source == f"{file}:build"
    assert foreign.module(EXAMPLE).shape == (2, 2)


def test_a_named_function_of_a_batch_is_the_model(tmp_path):
    foreign = opened(f"{code(tmp_path)}:predict", trust=True)
    assert (foreign.kind, foreign.has_gradient, foreign.weights_sha256) == ("callable", False, "")
    expected = np.stack([EXAMPLE.numpy().mean(-1), EXAMPLE.numpy().std(-1)], axis=1)
    np.testing.assert_allclose(foreign.module(EXAMPLE).numpy(), expected)


def saved_script(waves, file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(waves), file)


def test_torchscript(tmp_path, waves):
    file = tmp_path / "model.pt"
    saved_script(waves, file)
    foreign = opened(file, trust=True)
    assert (foreign.kind, foreign.has_gradient, foreign.outputs) == ("torchscript", True, 2)
    assert foreign.content == file.read_bytes()
    torch.testing.assert_close(foreign.module(EXAMPLE), waves(EXAMPLE))
    assert foreign.weights_sha256 == weights_sha256(waves.state_dict())


def saved_export(waves, file, clips=None):
    axes = None if clips else {"waveforms": {0: torch.export.Dim("clips", min=1, max=64)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(waves, (torch.zeros(clips or 3, 400),), dynamic_shapes=axes)
        torch.export.save(program, file)


@pytest.mark.parametrize("clips", [None, 1, 4])
def test_torch_export(tmp_path, waves, clips):
    file = tmp_path / "model.pt2"
    saved_export(waves, file, clips)
    foreign = opened(file, trust=True)
    assert (foreign.kind, foreign.has_gradient, foreign.outputs, foreign.note) == ("export", True, 2, "")
    inputs = torch.cat([EXAMPLE, EXAMPLE.flip(0), EXAMPLE[:1]])
    torch.testing.assert_close(foreign.module(inputs), waves(inputs))
    torch.testing.assert_close(
        copy.deepcopy(foreign.module).eval().requires_grad_(False)(inputs), waves(inputs)
    )


def test_a_traced_or_frozen_script(tmp_path, waves):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(waves, EXAMPLE), tmp_path / "traced.pt")
        torch.jit.save(torch.jit.freeze(torch.jit.script(waves)), tmp_path / "frozen.pt")
    for name in ("traced.pt", "frozen.pt"):
        foreign = opened(tmp_path / name, trust=True)
        assert (foreign.kind, foreign.has_gradient) == ("torchscript", True)
        torch.testing.assert_close(copy.deepcopy(foreign.module)(EXAMPLE), waves(EXAMPLE))


def test_a_module_is_copied_and_left_alone(waves):
    waves.train()
    before = copy.deepcopy(waves.state_dict())
    foreign = opened(waves)
    assert foreign.kind == "module"
    assert waves.training
    assert all(parameter.requires_grad for parameter in waves.parameters())
    assert foreign.module.train().training is False
    torch.testing.assert_close(foreign.module(EXAMPLE), waves.eval()(EXAMPLE))
    torch.testing.assert_close(dict(waves.state_dict()), dict(before))
    foreign.module.requires_grad_(False)
    assert all(parameter.requires_grad for parameter in waves.parameters())


def test_weight_normalisation_can_be_copied():
    layer = nn.Linear(400, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.nn.utils.weight_norm(layer)
    layer(EXAMPLE)
    foreign = opened(layer)
    torch.testing.assert_close(copy.deepcopy(foreign.module)(EXAMPLE), layer(EXAMPLE))


def test_inputs_are_not_changed():
    inputs = EXAMPLE.clone()
    foreign = opened(Acting(lambda x: x.sub_(x.mean()).abs_()[:, :2]), example=inputs)
    foreign.module(inputs)
    assert torch.equal(inputs, EXAMPLE)
    assert foreign.has_gradient


class Acting(nn.Module):
    """A module that does what a function does."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, inputs):
        return self.function(inputs)


class ModelOutput(collections.OrderedDict[str, object]):
    """As large libraries return it: a dictionary whose keys are attributes."""

    def __getattr__(self, name):
        if name in self:
            return self[name]
        raise AttributeError(name)


@dataclasses.dataclass
class Both:
    valence: torch.Tensor
    arousal: torch.Tensor
    comment: str = ""


Pair = collections.namedtuple("Pair", "emotions hidden")


def pair(x):
    return torch.stack([x.mean(-1), x.std(-1)], 1)


OUTPUTS = {
    "matrix": (pair, None),
    "singleton axes": (lambda x: pair(x)[:, None, :, None], None),
    "leading axis": (lambda x: pair(x)[None], None),
    "tuple of one": (lambda x: (pair(x),), None),
    "tuple and None": (lambda x: (pair(x), None), None),
    "tuple": (lambda x: (x, pair(x)), 1),
    "text index": (lambda x: [x, pair(x)], "1"),
    "last of a list": (lambda x: [x, pair(x)], -1),
    "dictionary of one": (lambda x: {"scores": pair(x)}, None),
    "dictionary": (lambda x: {"scores": pair(x), "hidden": x}, "scores"),
    "model output": (lambda x: ModelOutput(logits=pair(x), hidden_states=(x, x)), "logits"),
    "namedtuple": (lambda x: Pair(pair(x), x), "emotions"),
    "namedtuple by index": (lambda x: Pair(pair(x), x), 0),
    "object": (lambda x: types.SimpleNamespace(scores=pair(x), hidden=x), "scores"),
    "path": (lambda x: {"heads": {"mood": pair(x), "genre": x}}, "heads.mood"),
    "two keys": (lambda x: {"v": x.mean(-1), "a": x.std(-1)}, "v,a"),
    "dataclass": (lambda x: Both(x.mean(-1), x.std(-1)[:, None]), "valence, arousal"),
    "double": (lambda x: pair(x).double(), None),
    "squeezed": (lambda x: pair(x).squeeze(), None),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs(name):
    function, output = OUTPUTS[name]
    foreign = opened(Acting(function), output=output, outputs=2)
    assert (foreign.outputs, foreign.has_gradient, foreign.note) == (2, True, "")
    for clips in (1, 2):
        rows = foreign.module(EXAMPLE[:clips])
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows, pair(EXAMPLE[:clips]))


@pytest.mark.parametrize("shape", [lambda x: x, lambda x: x[:, None], lambda x: x[:, None, None]])
def test_one_output(shape):
    foreign = opened(Acting(lambda x: shape(x.mean(-1))))
    assert foreign.outputs == 1
    assert foreign.module(EXAMPLE[:1]).shape == (1, 1)


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (lambda x: {"scores": pair(x), "hidden": x}, {}, ["scores", "hidden", "`output='scores'`"]),
        (lambda x: (pair(x), x), {}, ["2 outputs", "`output=0`"]),
        (lambda x: {"scores": pair(x)}, {"output": "score"}, ["'score'", "scores"]),
        (lambda x: (pair(x), x), {"output": 2}, ["'2'", "0", "1"]),
        (pair, {"output": "scores"}, ["'scores'", "leave the output out"]),
        (pair, {"outputs": 3}, ["2 outputs", "3 are named"]),
        (pair, {"outputs": 1}, ["2 outputs", "1 is named"]),
        (lambda x: x[:, :400].reshape(len(x), 4, 100), {}, ["(3, 4, 100)", "clips"]),
        (lambda x: "happy", {}, ["str"]),
        (lambda x: None, {}, ["NoneType"]),
        (lambda x: torch.fft.rfft(x)[:, :2], {}, ["complex"]),
        (lambda x: {}["clips"], {}, ["KeyError", "clips"]),
    ],
)
def test_what_is_refused(function, options, words):
    with pytest.raises(ModelError) as caught:
        opened(Acting(function), **options)
    assert all(word in str(caught.value) for word in words), caught.value


def test_values_that_are_not_finite_are_counted_at_prediction():
    module = opened(Acting(pair)).module
    with pytest.raises(ModelError, match="2 of 4 predictions are not finite"):
        module(torch.stack([EXAMPLE[0], torch.full((400,), torch.nan)]))


@pytest.mark.parametrize(
    ("function", "has_gradient"),
    [
        (lambda x: torch.softmax(pair(x), 1), True),
        (lambda x: pair(x).detach(), False),
        (lambda x: pair(x).round(), False),
        (lambda x: torch.sqrt(x * 0).sum(-1, keepdim=True) + pair(x), False),
    ],
)
def test_the_gradient_is_measured(function, has_gradient):
    foreign = opened(Acting(function))
    assert foreign.has_gradient is has_gradient
    assert bool(foreign.note) is not has_gradient


def test_functions():
    assert opened(pair).has_gradient
    numpy = opened(lambda x: np.stack([x.mean(-1), x.std(-1)], 1))
    assert (numpy.kind, numpy.has_gradient) == ("callable", False)
    assert opened(lambda x: [[float(row[0]), float(row[1])] for row in x]).outputs == 2
    with pytest.raises(ModelError, match="ZeroDivisionError"):
        opened(lambda x: 1 / 0)


def test_a_class_is_refused():
    with pytest.raises(ModelError, match="instance"):
        opened(Waves)


@pytest.mark.parametrize("layer", [nn.LazyLinear(2), nn.Linear(400, 2, device="meta")])
def test_weights_without_values_are_refused(layer):
    with pytest.raises(ModelError, match=r"Sequential: 0\.weight has no values yet"):
        opened(nn.Sequential(layer))


class Pipeline:
    """As scikit-learn's: not callable, with a method predict."""

    def predict(self, rows):
        assert isinstance(rows, np.ndarray)
        return rows[:, :2]


def test_an_object_with_predict():
    foreign = opened(Pipeline())
    assert (foreign.kind, foreign.has_gradient) == ("callable", False)
    copy.deepcopy(foreign.module)


@pytest.mark.parametrize("shape", [(400,), (1, 30, 20)])
def test_the_channel_axis_is_added_or_removed(shape):
    example = torch.randn(2, *shape)
    layer = nn.Conv1d(1, 2, 9) if len(shape) == 1 else nn.Conv1d(30, 2, 9)
    foreign = opened(nn.Sequential(layer, nn.AdaptiveAvgPool1d(1)), example=example)
    assert foreign.outputs == 2
    assert foreign.module(example[:1]).shape == (1, 2)


def test_a_model_that_mixes_clips_is_called_clip_by_clip():
    foreign = opened(Acting(lambda x: pair(x - x.mean(0, keepdim=True) / 2)))
    assert "one by one" in foreign.note
    both = foreign.module(EXAMPLE)
    torch.testing.assert_close(both[:1], foreign.module(EXAMPLE[:1]))


def test_double_precision(waves):
    torch.testing.assert_close(opened(waves.double()).module(EXAMPLE), waves(EXAMPLE.double()).float())


def test_identity(tmp_path, waves):
    file = code(tmp_path)
    one, two = (opened(f"{file}:build", trust=True) for _ in range(2))
    assert one.weights_sha256 == two.weights_sha256 != ""
    assert one.source_sha256 == identify(f"{file}:build").source_sha256
    assert identify("json:loads").version is None
    assert identify("numpy.linalg:norm").version == np.__version__
    with torch.no_grad():
        waves.head.bias[0] += 1e-3
    assert opened(waves).weights_sha256 != one.weights_sha256
    assert weights_sha256({"a": torch.zeros(2)}) != weights_sha256({"a": torch.zeros(1, 2)})
    assert weights_sha256({"a": torch.zeros(2)}) != weights_sha256({"a": torch.zeros(2).int()})
    assert weights_sha256({"a": torch.zeros(1), "b": torch.ones(())}) == weights_sha256(
        {"b": torch.ones(()), "a": torch.zeros(1)}
    )
    assert weights_sha256({"a": torch.zeros(3, dtype=torch.bfloat16)})
