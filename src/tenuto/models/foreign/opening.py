"""Open a model from elsewhere: find out how it is called, how many outputs it has, and whether gradients exist."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tenuto.attacks.parsing import required_arguments
from tenuto.errors import ModelError, one_line
from tenuto.models.foreign.adopted import (
    LAYOUTS,
    Adopted,
    BlackBox,
    TensorFunction,
    copy_module,
    describe,
    quiet,
)
from tenuto.models.foreign.code import Code
from tenuto.models.foreign.identity import Identity, Kind, identify, weights_sha256
from tenuto.models.foreign.onnx_file import OnnxSession, parse
from tenuto.models.foreign.onnx_graph import OnnxGraph
from tenuto.models.foreign.onnx_operators import UnsupportedError
from tenuto.models.foreign.outputs import UnfitOutputError
from tenuto.models.foreign.trust import check_trust

ONNX_TOLERANCE = 1e-4
"""Largest difference to onnxruntime, relative to the largest prediction, of a model that is converted to torch."""

BATCH_TOLERANCE = 1e-3
"""Largest relative difference of a clip's prediction alone and in a batch, above rounding by far."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForeignModel(Identity):
    """A model from elsewhere, ready to predict.

    Attributes:
        kind: ``module`` or ``callable`` (Python), ``torchscript``, ``export`` or ``onnx``.
        module: Inputs (clips, ...) to float32 (clips, outputs), see `tenuto.models.foreign.adopted.Adopted`.
        has_gradient: Whether a backward pass gave a finite gradient that is not zero everywhere.
        weights_sha256: SHA-256 of the weights; empty where there are none that can be seen.
        outputs: Number of outputs.
        note: What the user should know, in sentences; empty if nothing.
    """

    module: Adopted
    has_gradient: bool
    weights_sha256: str
    outputs: int
    note: str


def open_foreign(
    model: str | Path | nn.Module | Callable[..., Any],
    *,
    example: Tensor,
    output: str | int | None = None,
    outputs: int | None = None,
    trust: bool = False,
) -> ForeignModel:
    """Open a model from elsewhere.

    A named function without required parameters is called and must return the model: an ``nn.Module``, a callable, or
    an object with a method ``predict``. A named function with one required parameter is the model itself. A callable
    gets a Tensor if it returns one with a gradient, else a NumPy array (a black box).

    Args:
        model: ``package.module:function``, ``file.py:function``, a file of TorchScript (.pt), torch.export (.pt2) or
            ONNX (.onnx), or the module or callable itself.
        example: Inputs (clips, ...), at least one, on the CPU: the model is tried on them.
        output: Key, attribute or index of the predictions in what the model returns; ``a,b`` joins several.
        outputs: Number of outputs that are named; None: any.
        trust: Whether the user names this code now; it is then recorded. Else it must have been recorded before.

    Raises:
        TrustError: Code would be executed that the user did not name on this machine.
        ModelError: Not a model, it fails on the example, or has another number of outputs.
        FileError: A file cannot be read.
    """
    identity = identify(model)
    module, sizes = _load(identity, model, trust)
    trial = _Trial(identity.source, _batch(example), None if output is None else str(output), outputs, sizes)
    adopted = trial.adopt(module)
    kind: Kind = identity.kind
    if kind in ("code", "object"):
        kind = "callable" if isinstance(adopted.model, BlackBox) else "module"
    return ForeignModel(
        **{**vars(identity), "kind": kind},
        module=adopted,
        has_gradient=trial.has_gradient(adopted),
        weights_sha256=weights_sha256(adopted.model.state_dict()),
        outputs=int(adopted.outputs or 0),
        note=" ".join(trial.notes),
    )


def _load(identity: Identity, model: Any, trust: bool) -> tuple[Any, tuple[int | None, ...]]:
    """The model as a module or callable, and the numbers of clips to try at a time; None: any."""
    if identity.kind == "code":
        return _built(Code(str(model)), trust), (None, 1)
    if identity.kind == "object":
        if isinstance(model, nn.Module):
            return _on_cpu(copy_module(model), identity.source), (None, 1)
        return _callable(model, identity.source), (None, 1)
    assert identity.content is not None
    if identity.kind == "onnx":
        session = OnnxSession(identity.content, identity.source)
        return session, _sizes(session.shape)
    check_trust(identity.source_sha256, identity.source, trust=trust, is_complete=True)
    try:
        with quiet():
            if identity.kind == "torchscript":
                script: Any = torch.jit.load(io.BytesIO(identity.content), map_location="cpu")  # type: ignore[no-untyped-call]
                return script.eval(), (None, 1)
            program: Any = torch.export.load(io.BytesIO(identity.content))
            values = [
                node.meta["val"]
                for node in program.graph.nodes
                if node.name in program.graph_signature.user_inputs
            ]
            return program.module(), _sizes(values[0].shape if values else ())
    except Exception as error:
        raise ModelError(
            f"{identity.source}: cannot be loaded ({describe(error)}). Save it again with the installed version of "
            f"PyTorch, {torch.__version__}."
        ) from error


def _sizes(shape: Sequence[Any]) -> tuple[int | None, ...]:
    """The fixed number of clips of a file's input, or any."""
    return (shape[0],) if len(shape) and isinstance(shape[0], int) else (None, 1)


def _built(code: Code, trust: bool) -> Any:
    """The module or callable that named code is or returns."""
    factory = code.load(trust=trust)
    with code.running("building the model"):
        value = (
            factory()
            if callable(factory) and not isinstance(factory, nn.Module) and _is_factory(factory)
            else factory
        )
    return _on_cpu(value, code.source) if isinstance(value, nn.Module) else _callable(value, code.source)


def _is_factory(function: Callable[..., Any]) -> bool:
    """Whether it can be called without arguments; a class always builds."""
    try:
        return isinstance(function, type) or not required_arguments(function)
    except (TypeError, ValueError):
        return False


def _callable(value: Any, source: str) -> Callable[..., Any]:
    if isinstance(value, type):
        raise ModelError(f"{source}: is a class, must be a model. Give an instance of it.")
    method = getattr(value, "predict", None)
    if callable(value):
        return value  # type: ignore[no-any-return]
    if callable(method):
        return method  # type: ignore[no-any-return]
    raise ModelError(
        f"{source}: gives {type(value).__name__}, must be an nn.Module, a function of a batch, or an object with a "
        "method predict. Return the model."
    )


def _on_cpu(module: nn.Module, source: str) -> nn.Module:
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(value) or value.is_meta:
            raise ModelError(
                f"{source}: {name} has no values yet. Load the trained weights before it is adopted."
            )
    return module.to("cpu").eval()


def _batch(example: Tensor) -> Tensor:
    """At least three different clips, so that the axis of clips is not mistaken for another."""
    example = example.detach().to("cpu", torch.float32)
    return torch.cat([example, example.flip(-1), example * 0.5])[: max(3, len(example))]


@dataclasses.dataclass
class _Trial:
    """Calls a model on a batch to find out how it works."""

    source: str
    batch: Tensor
    output: str | None
    outputs: int | None
    sizes: tuple[int | None, ...]
    notes: list[str] = dataclasses.field(default_factory=list)

    def adopt(self, module: Any) -> Adopted:
        """The model with the layout and batch size that work. Raises `ModelError` where none does."""
        find = self._first_that_works if isinstance(module, nn.Module) else self._adopt_callable
        adopted = find(module)
        rows = self._rows(adopted)
        adopted.outputs = rows.shape[1]
        if isinstance(module, OnnxSession):
            adopted = self._converted(adopted, module, rows)
        if adopted.batch is None and not self._is_independent(adopted, rows):
            adopted.batch = 1
            self.notes.append(
                "Its prediction of a clip depends on the other clips in the batch, so clips are predicted one by one."
            )
        return adopted

    def _adopt_callable(self, function: Callable[..., Any]) -> Adopted:
        """A callable with tensors if it returns a gradient, else with NumPy arrays, else with tensors."""
        errors = []
        tensors: Adopted | None = None
        try:
            tensors = self._first_that_works(TensorFunction(function))
            if self._gradient(tensors) is not None:
                return tensors
        except UnfitOutputError as error:
            errors.append(error)
        try:
            return self._first_that_works(BlackBox(function))
        except UnfitOutputError as error:
            if tensors is not None:
                return tensors
            if str(error) == str(errors[0]):
                raise
            raise ModelError(f"{error} With tensors: {errors[0]}") from error

    def _converted(self, adopted: Adopted, session: OnnxSession, rows: Tensor) -> Adopted:
        """An ONNX model as torch computes it, if it predicts what onnxruntime predicts; else as it is, with a note."""
        dtype = torch.from_numpy(np.empty(0, session.dtype)).dtype
        pairs = [(self.batch, rows)]
        noise = torch.randn(self.batch.shape, generator=torch.Generator().manual_seed(0))
        try:
            twin = copy.copy(adopted)
            twin._modules = {"model": OnnxGraph(parse(session.content, self.source), dtype).eval()}
            with torch.no_grad():
                with contextlib.suppress(ModelError):  # noise may be outside the range of its inputs
                    pairs += [(noise, adopted(noise)), (noise[:1], adopted(noise[:1]))]
                answers = [(twin(inputs), expected) for inputs, expected in pairs]
        except Exception as error:
            cause = error.__cause__ or error
            reason = str(cause) if isinstance(cause, UnsupportedError) else describe(cause)
            self.notes.append(
                f"It cannot be converted to torch ({one_line(reason)}), so onnxruntime runs it."
            )
            return adopted
        difference = max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in answers)
        if difference <= ONNX_TOLERANCE:
            return twin
        self.notes.append(
            f"Converted to torch it predicts other values than onnxruntime (by {difference:.1e} relative, at most "
            f"{ONNX_TOLERANCE:.0e} is allowed), so onnxruntime runs it."
        )
        return adopted

    def _first_that_works(self, model: nn.Module) -> Adopted:
        errors = []
        for batch in self.sizes:
            for layout in LAYOUTS:
                adopted = Adopted(
                    model, self.source, output=self.output, outputs=self.outputs, layout=layout, batch=batch
                )
                try:
                    self._rows(adopted)
                except UnfitOutputError as error:
                    errors.append(error)
                else:
                    return adopted
        raise errors[0]

    def _rows(self, adopted: Adopted) -> Tensor:
        with torch.no_grad():
            rows: Tensor = adopted(self.batch)
        return rows

    def _is_independent(self, adopted: Adopted, rows: Tensor) -> bool:
        """Whether clips alone get the predictions they get in a batch; random models are reported elsewhere."""
        try:
            with torch.no_grad():
                alone = torch.cat([adopted(clip) for clip in self.batch.unsqueeze(1)])
        except ModelError:
            return False
        scale = BATCH_TOLERANCE * float(rows.abs().max())
        if float((alone - rows).abs().max()) <= scale:
            return True
        return not torch.equal(rows, self._rows(adopted))

    def has_gradient(self, adopted: Adopted) -> bool:
        """Whether a gradient exists, is finite, and not zero everywhere; else a note says why not."""
        try:
            gradient = self._gradient(adopted)
        except (RuntimeError, ModelError) as error:
            self.notes.append(f"Its gradient fails ({describe(error)}), so it is used as a black box.")
            return False
        if gradient is None:
            self.notes.append("No gradient flows through it: it is a black box.")
        elif not bool(torch.isfinite(gradient).all()):
            self.notes.append("Its gradient is not finite, so it is used as a black box.")
        elif not bool(gradient.any()):
            self.notes.append("Its gradient is zero everywhere, so it is used as a black box.")
        else:
            return True
        return False

    def _gradient(self, adopted: Adopted) -> Tensor | None:
        """Of a sum with unequal weights, since outputs that always add up to one have no gradient of their sum."""
        inputs = self.batch.clone().requires_grad_(True)
        with torch.enable_grad(), quiet():
            rows = adopted(inputs)
            if not rows.requires_grad:
                return None
            weights = torch.cos(torch.arange(rows.numel(), dtype=torch.float32)).reshape(rows.shape)
            return torch.autograd.grad((rows * weights).sum(), inputs, allow_unused=True)[0]
