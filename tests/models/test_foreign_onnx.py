"""ONNX models: converted to torch they predict what onnxruntime predicts, or onnxruntime runs them.

Longer than other files: a table has a small model for every operator.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tenuto.errors import ModelError
from tenuto.models.foreign import identify, open_foreign

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

RANDOM = np.random.default_rng(0)


def weights(*shape):
    return (RANDOM.standard_normal(shape) / 2).astype(np.float32)


def nodes_of(text):
    """The nodes of a graph that is written in the text form of ONNX."""
    return onnx.parser.parse_graph(f"graph (float[n] x) => (float[n] y) {{ {text} }}").node


def model_file(path, text, constants, shape, *, opset=17, outputs=("y",), kind=TensorProto.FLOAT):
    """Write a graph from x (clips, *shape) to the outputs."""
    graph = helper.make_graph(
        nodes_of(text),
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return path


def example(*shape):
    return torch.from_numpy(RANDOM.uniform(-1, 1, (2, *shape)).astype(np.float32))


SHAPES = {"line": (3, 20), "plane": (3, 12, 10), "flat": (64,)}
AXES = {"axes": np.array([2])}
ONES = {"w": weights(4, 3, 3), "b": weights(4)}
NORMS = {"s": weights(3), "b": weights(3), "m": weights(3), "v": np.abs(weights(3))}
TURNED, BACK = "t = Transpose <perm=[2, 0, 1]> (x)", "h = Transpose <perm=[2, 0, 1, 3]> (o)"

# name: shape of a clip, nodes from x to h, constants, opset
GRAPHS: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "Conv": ("line", "h = Conv <pads=[1, 1]> (x, w, b)", ONES, 11),
    "Conv, unequal pads": ("line", "h = Conv <pads=[0, 2], strides=[2]> (x, w, b)", ONES, 11),
    "Conv, SAME_UPPER": ("line", 'h = Conv <auto_pad="SAME_UPPER", strides=[2]> (x, w, b)', ONES, 11),
    "Conv, SAME_LOWER": ("line", 'h = Conv <auto_pad="SAME_LOWER", strides=[3]> (x, w, b)', ONES, 11),
    "Conv, dilated": ("line", 'h = Conv <auto_pad="VALID", dilations=[2]> (x, w, b)', ONES, 11),
    "Conv, groups": ("line", "h = Conv <group=3> (x, w)", {"w": weights(6, 1, 3)}, 11),
    "Conv, plane": ("plane", "h = Conv <pads=[1, 0, 0, 1]> (x, w)", {"w": weights(4, 3, 3, 2)}, 17),
    "ConvTranspose": (
        "line",
        "h = ConvTranspose <strides=[2], pads=[1, 0], output_padding=[1]> (x, w, b)",
        {"w": weights(3, 4, 3), "b": weights(4)},
        17,
    ),
    "BatchNormalization": ("line", "h = BatchNormalization <epsilon=0.001> (x, s, b, m, v)", NORMS, 11),
    "InstanceNormalization": ("line", "h = InstanceNormalization (x, s, b)", NORMS, 11),
    "LayerNormalization": (
        "plane",
        "h = LayerNormalization <axis=2> (x, s, b)",
        {"s": weights(12, 10), "b": weights(12, 10)},
        17,
    ),
    "GroupNormalization": ("line", "h = GroupNormalization <num_groups=3> (x, s, b)", NORMS, 21),
    "MaxPool": ("plane", "h = MaxPool <kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1> (x)", {}, 17),
    "MaxPool, unequal pads": ("line", "h = MaxPool <kernel_shape=[3], pads=[0, 2], strides=[2]> (x)", {}, 11),
    "AveragePool": ("line", "h = AveragePool <kernel_shape=[4], pads=[2, 2], strides=[2]> (x)", {}, 11),
    "AveragePool, unequal pads": ("line", "h = AveragePool <kernel_shape=[4], pads=[0, 2]> (x)", {}, 11),
    "AveragePool, with pads": (
        "line",
        "h = AveragePool <kernel_shape=[4], pads=[0, 2], count_include_pad=1> (x)",
        {},
        11,
    ),
    "GlobalMaxPool": ("plane", "h = GlobalMaxPool (x)", {}, 11),
    "GlobalAveragePool": ("plane", "h = GlobalAveragePool (x)", {}, 11),
    "Gemm": (
        "line",
        "f = Flatten (x) h = Gemm <transB=1, alpha=0.5, beta=2.0> (f, w, b)",
        {"w": weights(5, 60), "b": weights(5)},
        13,
    ),
    "Clip": ("line", "h = Clip (x, low, high)", {"low": np.float32(-0.4), "high": np.float32(0.3)}, 13),
    "PRelu": ("line", "h = PRelu (x, w)", {"w": weights(3, 1)}, 13),
    "Softmax, opset 11": ("plane", "h = Softmax <axis=2> (x)", {}, 11),
    "Softmax": ("plane", "h = Softmax <axis=1> (x)", {}, 13),
    "LogSoftmax": ("plane", "h = LogSoftmax (x)", {}, 13),
    "arithmetic": (
        "line",
        """a = Mul (x, x) b = Add (a, w) c = Pow (b, two) d = Sqrt (c) e = Div (d, w2) f = Sub (e, x)
        g = Abs (f) b2 = Add (a, one) i = Log (b2) h = Max (g, i)""",
        {
            **{"w": np.abs(weights(3, 1)), "w2": 1 + np.abs(weights(20))},
            **{"two": np.float32(2), "one": np.float32(1)},
        },
        13,
    ),
    "activations": (
        "line",
        """a = Elu (x) b = LeakyRelu (a) c = HardSigmoid (b) d = Selu (c) e = Softplus (d) f = HardSwish (e)
        g = Erf (f) h = Gelu (g)""",
        {},
        20,
    ),
    "Reduce": (
        "plane",
        """a = ReduceMean <axes=[3]> (x) b = ReduceL2 <axes=[3]> (x) c = ReduceMax <axes=[-1]> (x)
        d = ReduceLogSumExp <axes=[-1]> (x) e = ReduceProd <axes=[3]> (x) h = Sum (a, b, c, d, e)""",
        {},
        13,
    ),
    "ReduceSum, axes as an input": ("plane", "h = ReduceSum <keepdims=0> (x, axes)", AXES, 18),
    "shapes": (
        "plane",
        """s = Shape (x) n = Gather (s, zero) t = Concat <axis=0> (n, rest) a = Reshape (x, t)
        b = Transpose <perm=[0, 2, 1]> (a) c = Unsqueeze (b, axes) d = Squeeze (c, axes)
        e, f = Split <axis=1> (d) h = Concat <axis=2> (f, e)""",
        {"zero": np.array([0]), "rest": np.array([-1, 12]), **AXES},
        13,
    ),
    "Slice": (
        "plane",
        "h = Slice (x, starts, ends, axes, steps)",
        {
            **{"starts": np.array([-1, 1]), "ends": np.array([-99, 2**62])},
            **{"axes": np.array([2, 3]), "steps": np.array([-2, 3])},
        },
        13,
    ),
    "Gather": ("line", "h = Gather <axis=2> (x, i)", {"i": np.array([[0, -1], [3, 2]])}, 13),
    "Expand, Tile": (
        "line",
        "m = ReduceMean <axes=[2]> (x) a = Expand (m, size) h = Tile (a, times)",
        {"size": np.array([1, 3, 4]), "times": np.array([1, 2, 1])},
        13,
    ),
    "Pad": ("line", "h = Pad (x, p, v)", {"p": np.array([0, 0, 1, 0, 1, 2]), "v": np.float32(0.5)}, 13),
    "Pad, reflect": ("line", 'h = Pad <mode="reflect"> (x, p)', {"p": np.array([0, 0, 3, 0, 0, 2])}, 13),
    "Pad, edge": ("line", 'h = Pad <mode="edge"> (x, p)', {"p": np.array([0, 0, 3, 0, 0, 2])}, 13),
    "Where, Range, Cast": (
        "line",
        """r = Range (from, to, step) c = Cast <to=1> (r) g = Greater (c, five) w = Where (g, x, zero)
        h = CumSum (w, axis)""",
        {
            **{"from": np.int64(0), "to": np.int64(20), "step": np.int64(1), "axis": np.int64(2)},
            **{"five": np.float32(5), "zero": np.float32(0)},
        },
        13,
    ),
    "ConstantOfShape": (
        "line",
        "s = Shape (x) c = ConstantOfShape <value=float[1] {2.0}> (s) h = Mul (c, x)",
        {},
        13,
    ),
    "Resize": (
        "line",
        """h = Resize <mode="nearest", coordinate_transformation_mode="asymmetric",
        nearest_mode="floor"> (x, , s)""",
        {"s": np.array([1, 1, 2.5], np.float32)},
        13,
    ),
    "STFT": (
        "flat",
        "u = Unsqueeze (x, axes) c = STFT (u, step, w) h = ReduceSumSquare <axes=[-1]> (c)",
        {**AXES, "step": np.int64(8), "w": np.hanning(16).astype(np.float32)},
        17,
    ),
    "LSTM": (
        "line",
        f'{TURNED} o = LSTM <hidden_size=4, direction="bidirectional"> (t, w, r, b) {BACK}',
        {"w": weights(2, 16, 3), "r": weights(2, 16, 4), "b": weights(2, 32)},
        14,
    ),
    "GRU": (
        "line",
        f"""{TURNED} o = GRU <hidden_size=4, direction="reverse", linear_before_reset=1> (t, w, r, b)
        {BACK}""",
        {"w": weights(1, 12, 3), "r": weights(1, 12, 4), "b": weights(1, 24)},
        14,
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_operators(tmp_path, name):
    kind, text, constants, opset = GRAPHS[name]
    shape = SHAPES[kind]
    constants = {"flat_shape": np.array([0, -1]), **constants}
    text += " y = Reshape (h, flat_shape)"
    file = model_file(tmp_path / "model.onnx", text, constants, ["clips", *shape], opset=opset)
    inputs = example(*shape)
    foreign = open_foreign(file, example=inputs)
    assert (foreign.kind, foreign.has_gradient, foreign.note) == ("onnx", True, "")
    expected = onnx_predictions(file, inputs)
    torch.testing.assert_close(foreign.module(inputs), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(copy.deepcopy(foreign.module)(inputs), expected, rtol=1e-4, atol=1e-5)


def onnx_predictions(file, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(file.read_bytes())
    values = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0]
    return torch.from_numpy(values.reshape(len(inputs), -1))


MLP = {"w": weights(6, 2), "b": weights(2)}
GEMM = "y = Gemm (x, w, b)"


def predicted(inputs):
    return inputs @ torch.from_numpy(MLP["w"]) + torch.from_numpy(MLP["b"])


def test_a_batch_of_fixed_size(tmp_path):
    file = model_file(tmp_path / "model.onnx", GEMM, MLP, [4, 6])
    foreign = open_foreign(file, example=example(6))
    inputs = torch.cat([example(6), example(6), example(6)])
    assert (foreign.has_gradient, foreign.note) == (True, "")
    torch.testing.assert_close(foreign.module(inputs), predicted(inputs))


def test_double_precision(tmp_path):
    constants = {name: value.astype(np.float64) for name, value in MLP.items()}
    file = model_file(tmp_path / "model.onnx", GEMM, constants, ["n", 6], kind=TensorProto.DOUBLE)
    foreign = open_foreign(file, example=example(6))
    assert foreign.has_gradient
    assert foreign.module(example(6)).dtype == torch.float32


def test_an_unknown_operator_is_run_by_onnxruntime(tmp_path):
    constants = {"m": np.array([0, 2, 2]), "s": np.array([-1, 1])}
    text = "r = Reshape (x, m) d = Det (r) y = Reshape (d, s)"
    file = model_file(tmp_path / "model.onnx", text, constants, ["n", 4])
    inputs = example(4)
    foreign = open_foreign(file, example=inputs)
    assert (foreign.kind, foreign.has_gradient) == ("onnx", False)
    assert "Det" in foreign.note
    assert "black box" in foreign.note
    expected = torch.linalg.det(inputs.reshape(-1, 2, 2))[:, None]
    for module in (foreign.module, copy.deepcopy(foreign.module), pickle.loads(pickle.dumps(foreign.module))):
        torch.testing.assert_close(module(inputs), expected)


def test_a_conversion_that_differs_is_not_used(tmp_path, monkeypatch):
    from tenuto.models.foreign import onnx_layers

    monkeypatch.setitem(onnx_layers.OPERATORS, "Gemm", lambda node, x, w, b: (x @ w + b) * 1.001)
    inputs = example(6)
    foreign = open_foreign(model_file(tmp_path / "model.onnx", GEMM, MLP, ["n", 6]), example=inputs)
    assert not foreign.has_gradient
    assert "onnxruntime" in foreign.note
    torch.testing.assert_close(foreign.module(inputs), predicted(inputs))


LINEAR = """h = ai.onnx.ml.Scaler <offset=[0.5, 0.5, 0.5], scale=[2.0, 2.0, 2.0]> (x)
y = ai.onnx.ml.LinearRegressor
    <coefficients=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], intercepts=[0.1, 0.2], targets=2> (h)"""
TREE = """y = ai.onnx.ml.TreeEnsembleRegressor <
    n_targets=1, nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[1, 0, 0],
    nodes_values=[0.0, 0.0, 0.0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
    nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
    target_treeids=[0, 0], target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[0.2, 0.7]> (x)"""


def test_a_tree_is_a_black_box_and_a_linear_pipeline_is_not(tmp_path):
    linear, box = (
        open_foreign(model_file(tmp_path / "model.onnx", text, {}, ["n", 3]), example=example(3))
        for text in (LINEAR, TREE)
    )
    assert (linear.has_gradient, linear.outputs) == (True, 2)
    assert not box.has_gradient
    assert "TreeEnsembleRegressor" in box.note


def test_several_outputs_are_named(tmp_path):
    text = "scores = Gemm (x, w, b) hidden = Relu (x)"
    file = model_file(tmp_path / "model.onnx", text, MLP, ["n", 6], outputs=("scores", "hidden"))
    with pytest.raises(ModelError, match=r"scores.*hidden"):
        open_foreign(file, example=example(6))
    assert open_foreign(file, example=example(6), output="scores").outputs == 2


def with_external_data(folder, location):
    file = model_file(folder / "model.onnx", GEMM, MLP, ["n", 6])
    model = onnx.load(file)
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    file.write_bytes(model.SerializeToString())
    return file


def test_external_data_beside_the_file(tmp_path):
    file = with_external_data(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(MLP["w"].tobytes())
    foreign = open_foreign(file, example=example(6))
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "model.onnx").write_bytes(foreign.content)
    inputs = example(6)
    torch.testing.assert_close(
        open_foreign(alone / "model.onnx", example=inputs).module(inputs), foreign.module(inputs)
    )
    assert identify(alone / "model.onnx").source_sha256 == foreign.source_sha256
    before = foreign.source_sha256
    (tmp_path / "weights.bin").write_bytes((MLP["w"] + 1).tobytes())
    assert identify(file).source_sha256 != before


def test_external_data_of_a_function_are_beside_the_file(tmp_path, monkeypatch):
    """onnxruntime would look for them in the current folder."""
    model = onnx.load(with_external_data(tmp_path, "weights.bin"), load_external_data=False)
    weight = model.graph.initializer.pop(0)
    body = (
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("Gemm", ["x", "w", "b"], ["y"]),
    )
    model.functions.append(helper.make_function("own", "F", ["x", "b"], ["y"], body, model.opset_import[:1]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[0].CopyFrom(helper.make_node("F", ["x", "b"], ["y"], domain="own"))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "weights.bin").write_bytes(MLP["w"].tobytes())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "weights.bin").write_bytes((MLP["w"] + 1).tobytes())
    inputs = example(6)
    foreign = open_foreign(tmp_path / "model.onnx", example=inputs)
    torch.testing.assert_close(foreign.module(inputs), predicted(inputs))


def test_external_data_are_counted_before_they_are_read(tmp_path, monkeypatch):
    path = with_external_data(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(MLP["w"].tobytes())
    monkeypatch.setattr("tenuto.models.foreign.onnx_file.LARGEST_FILE", path.stat().st_size + MLP["w"].nbytes)
    with pytest.raises(ModelError, match="larger than 2 GB with its data"):
        open_foreign(path, example=example(6))


@pytest.mark.parametrize(
    "location", ["../weights.bin", "link.bin", "missing.bin", "{folder}/weights.bin", "", "\0", "x" * 300]
)
def test_external_data_elsewhere_is_refused(tmp_path, location):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(MLP["w"].tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(ModelError, match="folder of the model"):
        open_foreign(with_external_data(folder, location.format(folder=tmp_path)), example=example(6))


def test_what_is_refused(tmp_path):
    file = tmp_path / "model.onnx"
    for content in (b"", b"hello", b"\x00" * 100):
        file.write_bytes(content)
        with pytest.raises(ModelError, match="ONNX"):
            open_foreign(file, example=example(6))
    file.write_bytes(model_file(file, GEMM, MLP, ["n", 6]).read_bytes()[:-20])
    with pytest.raises(ModelError, match="model"):
        open_foreign(file, example=example(6))
    with pytest.raises(ModelError, match="5"):  # the shape of the input is named
        open_foreign(model_file(file, GEMM, MLP, ["n", 6]), example=example(5))
    model = onnx.load(model_file(file, GEMM, MLP, ["n", 6]))
    model.graph.input.append(helper.make_tensor_value_info("lengths", TensorProto.INT64, ["n"]))
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="2 inputs"):
        open_foreign(file, example=example(6))


class Waves(nn.Module):
    """A convolutional front end, attention and a head, as people export them."""

    def __init__(self):
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(1, 8, 16, stride=8), nn.BatchNorm1d(8), nn.GELU(), nn.MaxPool1d(2)
        )
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.recurrent = nn.GRU(8, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, waveforms):
        values = self.attention(self.front(waveforms.unsqueeze(1)).transpose(1, 2))
        return torch.tanh(self.head(self.recurrent(values)[0].mean(1)))


@pytest.mark.parametrize("is_new", [False, True], ids=["TorchScript exporter", "torch.export exporter"])
def test_models_exported_by_torch(tmp_path, is_new):
    if is_new:
        pytest.importorskip("onnxscript", reason="the new exporter of torch needs onnxscript")
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model = Waves().eval()
        options: Any = {"dynamic_axes": {"x": {0: "n"}}, "opset_version": 17}
        if is_new:
            options = {"dynamic_shapes": ({0: torch.export.Dim("n", min=1, max=64)},), "verbose": False}
        torch.onnx.export(
            *(model, (torch.randn(3, 64),), str(tmp_path / "model.onnx")),
            input_names=["x"],
            dynamo=is_new,
            **options,
        )
    inputs = example(64)
    foreign = open_foreign(tmp_path / "model.onnx", example=inputs)
    assert (foreign.note, foreign.has_gradient) == ("", True)
    torch.testing.assert_close(foreign.module(inputs), model(inputs), rtol=1e-4, atol=1e-5)
    inputs.requires_grad_(True)
    ours, theirs = (torch.autograd.grad(m(inputs).sum(), inputs)[0] for m in (foreign.module, model))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
