"""ONNX graphs as torch modules, so that gradients exist.

The table of operators is our own: the converters that exist depend on torchvision, which is not needed here. Nothing is
believed: `tenuto.models.foreign.opening` compares every converted model with onnxruntime, and keeps the latter as a
black box where the two differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tenuto.models.foreign.onnx_layers import OPERATORS
from tenuto.models.foreign.onnx_operators import Node, UnsupportedError

MOST_LISTED = 8
"""Unknown operators that a message lists."""


class OnnxGraph(nn.Module):
    """An ONNX graph whose nodes are computed by torch, one after the other.

    Attributes:
        dtype: Type of the input.
        nodes: The nodes that depend on the input; those that do not are computed once.

    Shape:
        - input: as the graph says
        - output: a dictionary of the graph's outputs

    Raises:
        UnsupportedError: An operator or one of its settings is not in the table.
    """

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        super().__init__()
        model = _inlined(model)
        graph = model.graph
        opsets = {item.domain: int(item.version) for item in model.opset_import}
        nodes = [_node(proto, opsets) for proto in graph.node]
        if unknown := sorted({node.operator for node in nodes if node.operator not in OPERATORS}):
            more = "" if len(unknown) <= MOST_LISTED else f" and {len(unknown) - MOST_LISTED} more"
            raise UnsupportedError(
                f"the operators {', '.join(unknown[:MOST_LISTED])}{more} have no equivalent here"
            )
        constants = {item.name: _tensor(item) for item in graph.initializer}
        self.dtype = dtype
        self.inputs = [item.name for item in graph.input if item.name not in constants]
        self.outputs = [item.name for item in graph.output]
        self.nodes = _fold(nodes, constants)
        self.integers: dict[str, Tensor] = {}
        self.names: dict[str, str] = {}
        used_names = {name for node in self.nodes for name in node.inputs} | set(self.outputs)
        for number, name in enumerate(name for name in constants if name in used_names):
            if constants[name].is_floating_point():
                self.names[name] = f"{number}_{name.replace('.', '_')}"
                self.register_buffer(self.names[name], constants[name])
            else:  # sizes and indices stay on the CPU
                self.integers[name] = constants[name]
        self.last_uses = _last_uses(self.nodes, self.outputs)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {**self.integers}
        values.update({name: self.get_buffer(buffer) for name, buffer in self.names.items()})
        values[self.inputs[0]] = inputs.to(self.dtype)
        for node, finished in zip(self.nodes, self.last_uses, strict=True):
            _compute(node, values)
            for name in finished:
                values.pop(name, None)
        return {name: values[name] for name in self.outputs}


def _compute(node: Node, values: dict[str, Tensor]) -> None:
    result = OPERATORS[node.operator](node, *(values[name] if name else None for name in node.inputs))
    results = result if isinstance(result, list | tuple) else [result]
    if len(results) < sum(bool(name) for name in node.outputs):
        raise UnsupportedError(f"{node.operator} has {len(node.outputs)} outputs")
    values.update({name: value for name, value in zip(node.outputs, results, strict=False) if name})


def _fold(nodes: Sequence[Node], constants: dict[str, Tensor]) -> list[Node]:
    """Compute the nodes that depend on constants alone, into ``constants``; return the others."""
    others = []
    with torch.no_grad():
        for node in nodes:
            if all(name in constants for name in node.inputs if name):
                _compute(node, constants)
            else:
                others.append(node)
    return others


def _last_uses(nodes: Sequence[Node], outputs: Sequence[str]) -> list[list[str]]:
    """For each node the values that no later node reads."""
    names_seen = set(outputs)
    finished: list[list[str]] = []
    for node in reversed(nodes):
        names = {name for name in (*node.inputs, *node.outputs) if name} - names_seen
        names_seen |= names
        finished.append(sorted(names))
    return finished[::-1]


def _inlined(model: Any) -> Any:
    if not model.functions:
        return model
    import onnx.inliner

    return onnx.inliner.inline_local_functions(model)


def _node(proto: Any, opsets: dict[str, int]) -> Node:
    from onnx.helper import get_attribute_value

    domain = "" if proto.domain == "ai.onnx" else proto.domain
    attributes = {item.name: _attribute(get_attribute_value(item)) for item in proto.attribute}
    opset = opsets.get(domain, opsets.get("ai.onnx", 1))
    operator = f"{domain}.{proto.op_type}" if domain else proto.op_type
    return Node(operator, tuple(proto.input), tuple(proto.output), attributes, opset)


def _attribute(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, int | float | str):
        return value
    if hasattr(value, "data_type"):
        return _tensor(value)
    if isinstance(value, Sequence) or hasattr(value, "__iter__"):
        return [_attribute(item) for item in value]
    return value  # a graph, which no operator of the table has


def _tensor(proto: Any) -> Tensor:
    from onnx.numpy_helper import to_array

    array = to_array(proto)
    if array.dtype.kind not in "fiub":
        raise UnsupportedError(f"{proto.name} has the type {array.dtype}")
    return torch.from_numpy(np.array(array))
