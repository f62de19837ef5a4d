"""ONNX files: read with the data next to them, and run by onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tenuto.errors import ModelError, one_line, quote
from tenuto.files import read_bytes

LARGEST_FILE = 2**31
"""Bytes of a model with its data; protobuf allows fewer."""

TOO_LARGE = "larger than 2 GB with its data. Use a TorchScript or torch.export file."
INSTALL_ONNXRUNTIME = (
    'ONNX needs the packages onnx and onnxruntime. Install them: pip install "tenuto[onnx]".'
)


def self_contained(path: Path) -> bytes:
    """The bytes of an ONNX model; weights in other files are read into it.

    Raises:
        ModelError: Damaged, or it names a data file that is not in its own folder.
        FileError: The file cannot be read.
    """
    content = read_bytes(path)
    model = parse(content, str(path))
    parts = (model.graph, *model.functions)
    external = [tensor for part in parts for tensor in _tensors(part) if tensor.external_data]
    if not external:
        return content
    from onnx.external_data_helper import load_external_data_for_tensor

    size = len(content)
    for tensor in external:
        about = {entry.key: entry.value for entry in tensor.external_data}
        size += _size(path, about)
        if size >= LARGEST_FILE:
            raise ModelError(f"{path}: {TOO_LARGE}")
        try:
            load_external_data_for_tensor(tensor, str(path.resolve().parent))
        except Exception as error:
            raise ModelError(
                f"{path}: cannot read the data of {quote(tensor.name)} ({type(error).__name__}: {one_line(error)}). "
                "Export the model again."
            ) from error
        tensor.data_location = tensor.DEFAULT
        del tensor.external_data[:]
    try:
        return bytes(model.SerializeToString(deterministic=True))
    except Exception as error:  # protobuf's own error is no ValueError
        raise ModelError(f"{path}: {TOO_LARGE}") from error


def _size(path: Path, about: Mapping[str, str]) -> int:
    """Bytes of a tensor's data in another file. Raises `ModelError` for a file outside the model's folder."""
    location, folder = about.get("location", ""), path.resolve().parent
    try:
        file = (folder / location).resolve()
        is_inside = location and not Path(location).is_absolute() and file.is_relative_to(folder)
        if is_inside and file.is_file():
            size = int(about.get("length") or file.stat().st_size - int(about.get("offset") or 0))
            if size >= 0:
                return size
    except (OSError, ValueError):  # no name that a file can have, or no number
        pass
    raise ModelError(
        f"{path}: its weights are in {quote(location)}, which is no file in the folder of the model. Put the "
        "data file into that folder, under the name it was exported with."
    )


def parse(content: bytes, source: str) -> Any:
    """The ``onnx.ModelProto`` of a file's content. Raises `ModelError`."""
    try:
        import onnx
    except ImportError as error:
        raise ModelError(f"{source}: {INSTALL_ONNXRUNTIME}") from error
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception as error:
        raise ModelError(f"{source}: damaged, or not an ONNX file. Export the model again.") from error
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{source}: an ONNX file without a graph. Export the model again.")
    return model


def _tensors(part: Any) -> Iterator[Any]:
    """All tensors with data of a graph, or of a function, and of the graphs inside it."""
    yield from getattr(part, "initializer", ())
    for sparse in getattr(part, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in part.node:
        for attribute in node.attribute:
            yield from [attribute.t] if attribute.HasField("t") else attribute.tensors
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _tensors(inner)


class OnnxSession(nn.Module):
    """An ONNX model run by onnxruntime: nothing flows back through it. Copies and pickles are rebuilt from its bytes.

    Attributes:
        name: Of its input.
        dtype: Of its input.
        shape: Of its input; None for axes of any length.

    Shape:
        - input: as the model says
        - output: a dictionary of its outputs
    """

    def __init__(self, content: bytes, source: str) -> None:
        super().__init__()
        self.content, self.source = content, source
        self.session = _session(content, source)
        inputs = self.session.get_inputs()
        if len(inputs) != 1:
            names = one_line(", ".join(item.name for item in inputs))
            raise ModelError(
                f"{source}: it has {len(inputs)} inputs ({names}), must have one. Export it with one."
            )
        self.name = str(inputs[0].name)
        self.shape = [size if isinstance(size, int) else None for size in inputs[0].shape]
        if inputs[0].type not in INPUT_TYPES:
            raise ModelError(
                f"{source}: its input has the type {inputs[0].type}, must be float. Export it with float."
            )
        self.dtype = INPUT_TYPES[inputs[0].type]

    def forward(self, inputs: Tensor) -> dict[str, Any]:
        array = inputs.detach().cpu().numpy().astype(self.dtype)
        names = [item.name for item in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, {self.name: array}), strict=True))

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxSession:
        return OnnxSession(self.content, self.source)

    def __reduce__(self) -> Any:
        return OnnxSession, (self.content, self.source)


INPUT_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


def _session(content: bytes, source: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"{source}: {INSTALL_ONNXRUNTIME}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors become exceptions
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(
            f"{source}: onnxruntime cannot run it ({type(error).__name__}: {one_line(error)}). Export it again."
        ) from error
