"""ONNX models: converted to torch they predict what onnxruntime predicts, or onnxruntime runs them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from tenuto.models.foreign import open_foreign

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
    "Resize": (
        "line",
        [
            node(
                "Resize",
                "x  s",
                "h",
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        ],
        {},
        13,
    ),
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
    if name == "Resize":
        constants["s"] = np.array([1, 1, 2.5], np.float32)
        nodes = [
            helper.make_node(
                "Resize",
                ["x", "", "s"],
                ["h"],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        ]
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
