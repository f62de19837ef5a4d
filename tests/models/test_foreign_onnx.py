"""ONNX models: converted to torch they predict what onnxruntime predicts, or onnxruntime runs them."""

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


def model_file(
    path, nodes, constants, shape, *, opset=17, outputs=("y",), kind=TensorProto.FLOAT, domain_ml=False
):
    """Write a graph from x (clips, *shape) to the outputs."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid("ai.onnx.ml", 3)] * domain_ml
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def node(operator, inputs, outputs="y", **attributes):
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def example(*shape):
    return torch.from_numpy(RANDOM.uniform(-1, 1, (2, *shape)).astype(np.float32))


AXES = np.array([2])
SHAPES = {"line": (3, 20), "plane": (3, 12, 10)}
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
DOUBLED = np.array([1, 1, 2.5], np.float32)
ONES = {"w": weights(4, 3, 3), "b": weights(4)}

# name: shape of a clip, nodes from x to h, constants, opset
GRAPHS = {
    "Conv": ("line", [node("Conv", "x w b", "h", pads=[1, 1])], ONES, 11),
    "Conv, unequal pads": ("line", [node("Conv", "x w b", "h", pads=[0, 2], strides=[2])], ONES, 11),
    "Conv, SAME_UPPER": ("line", [node("Conv", "x w b", "h", auto_pad="SAME_UPPER", strides=[2])], ONES, 11),
    "Conv, SAME_LOWER": ("line", [node("Conv", "x w b", "h", auto_pad="SAME_LOWER", strides=[3])], ONES, 11),
    "Conv, dilated": ("line", [node("Conv", "x w b", "h", auto_pad="VALID", dilations=[2])], ONES, 11),
    "Conv, groups": ("line", [node("Conv", "x w", "h", group=3)], {"w": weights(6, 1, 3)}, 11),
    "Conv, plane": ("plane", [node("Conv", "x w", "h", pads=[1, 0, 0, 1])], {"w": weights(4, 3, 3, 2)}, 17),
    "ConvTranspose": (
        "line",
        [node("ConvTranspose", "x w b", "h", strides=[2], pads=[1, 0], output_padding=[1])],
        {"w": weights(3, 4, 3), "b": weights(4)},
        17,
    ),
    "BatchNormalization": (
        "line",
        [node("BatchNormalization", "x s b m v", "h", epsilon=1e-3)],
        {"s": weights(3), "b": weights(3), "m": weights(3), "v": np.abs(weights(3))},
        11,
    ),
    "InstanceNormalization": (
        "line",
        [node("InstanceNormalization", "x s b", "h")],
        {"s": weights(3), "b": weights(3)},
        11,
    ),
    "LayerNormalization": (
        "plane",
        [node("LayerNormalization", "x s b", "h", axis=2)],
        {"s": weights(12, 10), "b": weights(12, 10)},
        17,
    ),
    "GroupNormalization": (
        "line",
        [node("GroupNormalization", "x s b", "h", num_groups=3)],
        {"s": weights(3), "b": weights(3)},
        21,
    ),
    "MaxPool": (
        "plane",
        [node("MaxPool", "x", "h", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1)],
        {},
        17,
    ),
    "MaxPool, unequal pads": (
        "line",
        [node("MaxPool", "x", "h", kernel_shape=[3], pads=[0, 2], strides=[2])],
        {},
        11,
    ),
    "AveragePool": (
        "line",
        [node("AveragePool", "x", "h", kernel_shape=[4], pads=[2, 2], strides=[2])],
        {},
        11,
    ),
    "AveragePool, unequal pads": (
        "line",
        [node("AveragePool", "x", "h", kernel_shape=[4], pads=[0, 2])],
        {},
        11,
    ),
    "AveragePool, with pads": (
        "line",
        [node("AveragePool", "x", "h", kernel_shape=[4], pads=[0, 2], count_include_pad=1)],
        {},
        11,
    ),
    "GlobalMaxPool": ("plane", [node("GlobalMaxPool", "x", "h")], {}, 11),
    "GlobalAveragePool": ("plane", [node("GlobalAveragePool", "x", "h")], {}, 11),
    "Gemm": (
        "line",
        [node("Flatten", "x", "f"), node("Gemm", "f w b", "h", transB=1, alpha=0.5, beta=2.0)],
        {"w": weights(5, 60), "b": weights(5)},
        13,
    ),
    "Clip": (
        "line",
        [node("Clip", "x low high", "h")],
        {"low": np.float32(-0.4), "high": np.float32(0.3)},
        13,
    ),
    "PRelu": ("line", [node("PRelu", "x w", "h")], {"w": weights(3, 1)}, 13),
    "Softmax, opset 11": ("plane", [node("Softmax", "x", "h", axis=2)], {}, 11),
    "Softmax": ("plane", [node("Softmax", "x", "h", axis=1)], {}, 13),
    "LogSoftmax": ("plane", [node("LogSoftmax", "x", "h")], {}, 13),
    "arithmetic": (
        "line",
        [
            *(
                node("Mul", "x x", "a"),
                node("Add", "a w", "b"),
                node("Pow", "b two", "c"),
                node("Sqrt", "c", "d"),
            ),
            *(
                node("Div", "d w2", "e"),
                node("Sub", "e x", "f"),
                node("Abs", "f", "g"),
                node("Log", "b2", "i"),
            ),
            *(node("Add", "a one", "b2"), node("Max", "g i", "h")),
        ],
        {
            "w": np.abs(weights(3, 1)),
            "w2": 1 + np.abs(weights(20)),
            "two": np.float32(2),
            "one": np.float32(1),
        },
        13,
    ),
    "activations": (
        "line",
        [
            *(
                node("Elu", "x", "a"),
                node("LeakyRelu", "a", "b"),
                node("HardSigmoid", "b", "c"),
                node("Selu", "c", "d"),
            ),
            *(
                node("Softplus", "d", "e"),
                node("HardSwish", "e", "f"),
                node("Erf", "f", "g"),
                node("Gelu", "g", "h"),
            ),
        ],
        {},
        20,
    ),
    "Reduce": (
        "plane",
        [
            *(node("ReduceMean", "x", "a", axes=[3]), node("ReduceL2", "x", "b", axes=[3])),
            *(node("ReduceMax", "x", "c", axes=[-1]), node("ReduceLogSumExp", "x", "d", axes=[-1])),
            *(node("ReduceProd", "x", "e", axes=[3]), node("Sum", "a b c d e", "h")),
        ],
        {},
        13,
    ),
    "ReduceSum, axes as an input": (
        "plane",
        [node("ReduceSum", "x axes", "h", keepdims=0)],
        {"axes": AXES},
        18,
    ),
    "shapes": (
        "plane",
        [
            *(node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Concat", "n rest", "t", axis=0)),
            *(
                node("Reshape", "x t", "a"),
                node("Transpose", "a", "b", perm=[0, 2, 1]),
                node("Unsqueeze", "b axes", "c"),
            ),
            *(
                node("Squeeze", "c axes", "d"),
                node("Split", "d", "e f", axis=1),
                node("Concat", "f e", "h", axis=2),
            ),
        ],
        {"zero": np.array([0]), "rest": np.array([-1, 12]), "axes": AXES},
        13,
    ),
    "Slice": (
        "plane",
        [node("Slice", "x starts ends axes steps", "h")],
        {
            "starts": np.array([-1, 1]),
            "ends": np.array([-99, 2**62]),
            "axes": np.array([2, 3]),
            "steps": np.array([-2, 3]),
        },
        13,
    ),
    "Gather": ("line", [node("Gather", "x i", "h", axis=2)], {"i": np.array([[0, -1], [3, 2]])}, 13),
    "Expand, Tile": (
        "line",
        [node("ReduceMean", "x", "m", axes=[2]), node("Expand", "m size", "a"), node("Tile", "a times", "h")],
        {"size": np.array([1, 3, 4]), "times": np.array([1, 2, 1])},
        13,
    ),
    "Pad": (
        "line",
        [node("Pad", "x p v", "h")],
        {"p": np.array([0, 0, 1, 0, 1, 2]), "v": np.float32(0.5)},
        13,
    ),
    "Pad, reflect": (
        "line",
        [node("Pad", "x p", "h", mode="reflect")],
        {"p": np.array([0, 0, 3, 0, 0, 2])},
        13,
    ),
    "Pad, edge": ("line", [node("Pad", "x p", "h", mode="edge")], {"p": np.array([0, 0, 3, 0, 0, 2])}, 13),
    "Where, Range, Cast": (
        "line",
        [
            *(
                node("Range", "from to step", "r"),
                node("Cast", "r", "c", to=1),
                node("Greater", "c five", "g"),
            ),
            *(node("Where", "g x zero", "w"), node("CumSum", "w axis", "h")),
        ],
        {
            "from": np.int64(0),
            "to": np.int64(20),
            "step": np.int64(1),
            "five": np.float32(5),
            "zero": np.float32(0),
            "axis": np.int64(2),
        },
        13,
    ),
    "ConstantOfShape": (
        "line",
        [
            *(
                node("Shape", "x", "s"),
                node("ConstantOfShape", "s", "c", value=helper.make_tensor("v", 1, [1], [2.0])),
            ),
            node("Mul", "c x", "h"),
        ],
        {},
        13,
    ),
    "Resize": ("line", [helper.make_node("Resize", ["x", "", "s"], ["h"], **NEAREST)], {"s": DOUBLED}, 13),
    "STFT": (
        "flat",
        [
            *(
                node("Unsqueeze", "x axes", "u"),
                node("STFT", "u step w", "c"),
                node("ReduceSumSquare", "c", "h", axes=[-1]),
            ),
        ],
        {"axes": AXES, "step": np.int64(8), "w": np.hanning(16).astype(np.float32)},
        17,
    ),
    "LSTM": (
        "sequence",
        [
            node("LSTM", "t w r b", "o", hidden_size=4, direction="bidirectional"),
            node("Transpose", "x", "t", perm=[2, 0, 1]),
            node("Transpose", "o", "h", perm=[2, 0, 1, 3]),
        ],
        {"w": weights(2, 16, 3), "r": weights(2, 16, 4), "b": weights(2, 32)},
        14,
    ),
    "GRU": (
        "sequence",
        [
            node("GRU", "t w r b", "o", hidden_size=4, direction="reverse", linear_before_reset=1),
            node("Transpose", "x", "t", perm=[2, 0, 1]),
            node("Transpose", "o", "h", perm=[2, 0, 1, 3]),
        ],
        {"w": weights(1, 12, 3), "r": weights(1, 12, 4), "b": weights(1, 24)},
        14,
    ),
}
SHAPES |= {"flat": (64,), "sequence": (3, 20)}


def sorted_nodes(nodes, constants):
    """In the order in which they can be computed."""
    known, waiting, result = {"x", "", *constants}, list(nodes), []
    while waiting:
        ready = next(item for item in waiting if set(item.input) <= known)
        waiting.remove(ready)
        known |= set(ready.output)
        result.append(ready)
    return result


@pytest.mark.parametrize("name", GRAPHS)
def test_operators(tmp_path, name):
    kind, nodes, constants, opset = GRAPHS[name]
    shape = SHAPES[kind]
    constants = {"flat_shape": np.array([0, -1]), **constants}
    nodes = sorted_nodes([*nodes, node("Reshape", "h flat_shape")], constants)
    file = model_file(tmp_path / "model.onnx", nodes, constants, ["clips", *shape], opset=opset)
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
GEMM = [node("Gemm", "x w b")]


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
    nodes = [node("Det", "r", "d"), node("Reshape", "d s")]
    constants = {"m": np.array([0, 2, 2]), "s": np.array([-1, 1])}
    nodes = [node("Reshape", "x m", "r"), *nodes]
    file = model_file(tmp_path / "model.onnx", nodes, constants, ["n", 4])
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


def test_a_tree_is_a_black_box_and_a_linear_pipeline_is_not(tmp_path):
    nodes = [
        helper.make_node("Scaler", ["x"], ["h"], domain="ai.onnx.ml", offset=[0.5] * 3, scale=[2.0] * 3),
        helper.make_node(
            *("LinearRegressor", ["h"], ["y"]),
            domain="ai.onnx.ml",
            coefficients=[1.0, 2, 3, 4, 5, 6],
            intercepts=[0.1, 0.2],
            targets=2,
        ),
    ]
    linear = open_foreign(
        model_file(tmp_path / "a.onnx", nodes, {}, ["n", 3], domain_ml=True), example=example(3)
    )
    assert (linear.has_gradient, linear.outputs) == (True, 2)
    tree = helper.make_node(
        *("TreeEnsembleRegressor", ["x"], ["y"]),
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[1, 0, 0],
        nodes_values=[0.0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[0.2, 0.7],
    )
    box = open_foreign(
        model_file(tmp_path / "b.onnx", [tree], {}, ["n", 3], domain_ml=True), example=example(3)
    )
    assert not box.has_gradient
    assert "TreeEnsembleRegressor" in box.note


def test_several_outputs_are_named(tmp_path):
    nodes = [node("Gemm", "x w b", "scores"), node("Relu", "x", "hidden")]
    file = model_file(tmp_path / "model.onnx", nodes, MLP, ["n", 6], outputs=("scores", "hidden"))
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


@pytest.mark.parametrize(
    "location", ["../weights.bin", "link.bin", "missing.bin", "{folder}/weights.bin", ""]
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
            *(model, (torch.randn(3, 800),), str(tmp_path / "model.onnx")),
            input_names=["x"],
            dynamo=is_new,
            **options,
        )
    inputs = example(800)
    foreign = open_foreign(tmp_path / "model.onnx", example=inputs)
    assert (foreign.note, foreign.has_gradient) == ("", True)
    torch.testing.assert_close(foreign.module(inputs), model(inputs), rtol=1e-4, atol=1e-5)
    inputs.requires_grad_(True)
    ours, theirs = (torch.autograd.grad(m(inputs).sum(), inputs)[0] for m in (foreign.module, model))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
