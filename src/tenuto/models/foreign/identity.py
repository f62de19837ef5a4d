"""What a foreign model is, before any of its code is executed: its kind, its source and their SHA-256."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, MethodType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tenuto.errors import ModelError, TenutoError
from tenuto.files import read_bytes, sha256_bytes
from tenuto.models.foreign.code import Code, is_code
from tenuto.models.foreign.onnx_file import self_contained

Kind = Literal["code", "object", "module", "callable", "torchscript", "export", "onnx"]

FORMS = "package.module:function, file.py:function, or a file .pt (TorchScript), .pt2 (torch.export) or .onnx"


@dataclasses.dataclass(frozen=True)
class Identity:
    """A foreign model by name and content.

    Attributes:
        kind: ``code`` (Python, the kind is known when it is loaded), ``object`` (given from Python), or the format
            of the file.
        source: What was named, with the whole path; the class of an object.
        version: Version of the package that contains the code, if it was installed.
        source_sha256: Of the file with the code, or of the model file; empty for an object without a file.
        content: A model file as bytes, ONNX with its external data inside; None for code.
    """

    kind: Kind
    source: str
    version: str | None
    source_sha256: str
    content: bytes | None = dataclasses.field(default=None, repr=False)


def identify(model: Any) -> Identity:
    """Tell what a model is without executing anything of it.

    Args:
        model: As for `tenuto.models.foreign.open_foreign`.

    Raises:
        ModelError: Not a model, or a file of an unknown format.
        FileError: The file cannot be read.
    """
    if isinstance(model, str) and is_code(model):
        code = Code(model)
        return Identity("code", code.source, code.version, code.sha256)
    if isinstance(model, str | Path):
        return _identify_file(Path(model).expanduser())
    kind = type(model) if hasattr(type(model), "forward") or not hasattr(model, "__qualname__") else model
    source = f"{kind.__module__}.{kind.__qualname__}"
    try:
        file = inspect.getsourcefile(kind)
        sha256 = sha256_bytes(read_bytes(file)) if file else ""
    except (TypeError, OSError, TenutoError):  # built in, or defined in a notebook, whose cells are no files
        sha256 = ""
    return Identity("object", source, None, sha256)


def _identify_file(path: Path) -> Identity:
    suffix = path.suffix.lower()
    if suffix == ".py":
        raise ModelError(
            f"{path}: names no function. Write {path}:FUNCTION, a function that returns the model."
        )
    if suffix not in (".onnx", ".pt", ".pt2", ".pth", ".ts", ".jit"):
        raise ModelError(f"{path}: not a model. Name {FORMS}.")
    content = self_contained(path) if suffix == ".onnx" else read_bytes(path)
    kind: Any = "onnx" if suffix == ".onnx" else _format(path, content)
    return Identity(kind, str(path.resolve()), None, sha256_bytes(content), content)


def _format(path: Path, content: bytes) -> Literal["torchscript", "export"]:
    """TorchScript or torch.export, by the names inside the archive. Raises `ModelError` for anything else."""
    try:
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ModelError(f"{path}: damaged, or not written by PyTorch. Name {FORMS}.") from error
    if any("/code/" in name for name in names):  # first, since TorchScript may have JSON files of the user's
        return "torchscript"
    if any(name.endswith((".json", "archive_format")) for name in names):
        return "export"
    raise ModelError(
        f"{path}: contains weights, but no network. Write a function that builds the network and loads them, and name "
        "it as file.py:function; or save the network with torch.jit.save or torch.export.save."
    )


def weights_sha256(weights: Mapping[str, Any]) -> str:
    """SHA-256 over the names, shapes, types and bytes of weights, sorted by name; empty where there are none.

    >>> import torch
    >>> weights_sha256({"a": torch.zeros(2)})[:8]
    'badda66c'
    """
    tensors = {name: value for name, value in weights.items() if isinstance(value, Tensor)}
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        tensor = (
            tensor.int_repr() if tensor.is_quantized else tensor.to_dense() if tensor.is_sparse else tensor
        )
        digest.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest() if tensors else ""


def content_sha256(part: Any, depth: int = 3) -> str:
    """SHA-256 that tells a model or function from another, in every process the same.

    It is taken over weights and plain attributes of a network, or over the code of a function and the values it refers
    to, which are followed to a depth. Anything else counts by its text without addresses.
    """
    texts, values = [type(part).__qualname__], []
    code = part if isinstance(part, CodeType) else getattr(part, "__code__", None)
    if isinstance(part, nn.Module):
        texts += [weights_sha256(part.state_dict()), *map(_attributes, part.modules())]
        values = [getattr(type(part), "forward", None)]
    elif isinstance(part, Tensor | np.ndarray):
        texts.append(weights_sha256({"": torch.as_tensor(part)}))
    elif isinstance(code, CodeType):
        texts += [code.co_code.hex(), repr(code.co_names)]
        values = [*code.co_consts, *(getattr(part, "__defaults__", None) or ()), *_enclosed(part)]
    elif isinstance(part, MethodType):
        values = [part.__func__, part.__self__]
    elif isinstance(part, frozenset | set):
        texts += sorted(map(repr, part))
    elif callable(part) and hasattr(part, "__dict__") and not isinstance(part, type):
        texts.append(_text(part))  # the arguments of functools.partial, which are no attributes
        values = [type(part).__call__, *vars(part).values()]
    else:
        texts.append(_text(part))
    if depth:
        texts += [content_sha256(value, depth - 1) for value in values]
    return sha256_bytes("\0".join(texts).encode())


def _text(part: object) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", repr(part))


def _attributes(module: nn.Module) -> str:
    """Class and plain attributes of a layer, such as a factor that is no weight."""
    plain = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, bool | int | float | str | tuple) and name != "training"
    }
    return f"{type(module).__qualname__} {sorted(plain.items())!r}"


def _enclosed(function: Any) -> Iterator[Any]:
    """The values of a function's closure that are set."""
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # not set yet
            yield cell.cell_contents


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
