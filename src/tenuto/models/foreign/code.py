"""Python code that the user names as ``package.module:function`` or ``file.py:function``."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.metadata
import importlib.util
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from tenuto.errors import ModelError, did_you_mean
from tenuto.files import read_bytes, sha256_bytes
from tenuto.models.foreign.adopted import describe
from tenuto.models.foreign.trust import check_trust

CODE = re.compile(r"(?P<place>.+):(?P<name>[^\W\d]\w*(\.[^\W\d]\w*)*)")
MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_code(spec: str) -> bool:
    """Whether a text has the form ``file.py:function`` or ``package.module:function``."""
    match = CODE.fullmatch(spec)
    return match is not None and (match["place"].endswith(".py") or bool(MODULE.fullmatch(match["place"])))


class Code:
    """A named object of a Python file; nothing is executed before `load`.

    Attributes:
        source: ``/folder/file.py:name`` with the whole path, or ``package.module:name``.
        file: The file.
        name: The object; ``Class.method`` is allowed.
        content: What the file contains.
        version: Version of the package that was installed, if it was.

    Raises:
        ModelError: There is no such file or module, or no such name in it.
        FileError: The file cannot be read.
    """

    def __init__(self, spec: str) -> None:
        match = CODE.fullmatch(spec)
        if match is None:
            raise ModelError(
                f"{spec}: not the name of code. Write package.module:function or file.py:function."
            )
        place, self.name = match["place"], match["name"]
        self.module = None if place.endswith(".py") else place
        self.file = _module_file(place) if self.module else Path(place).expanduser().resolve()
        self.source = f"{self.module or self.file}:{self.name}"
        self.content = read_bytes(self.file)
        self.sha256 = sha256_bytes(self.content)
        self.version = _version(place) if self.module else None

    def load(self, *, trust: bool) -> Any:
        """Import the file and return the object.

        Raises:
            TrustError: The user did not name this code on this machine.
            ModelError: The code fails, or has no such name.
        """
        self._check_name()
        check_trust(self.sha256, self.source, trust=trust, is_complete=False)
        with self.running("its import"):
            value: Any = self._import()
            for part in self.name.split("."):
                value = getattr(value, part)
            return value

    @contextlib.contextmanager
    def running(self, action: str) -> Iterator[None]:
        """Inside, exceptions become one sentence, what is printed goes to standard error, and no state changes."""
        folder = str(self.file.parent)
        try:
            with (
                _state_kept(),
                _importable(folder if self.module is None else None),
                contextlib.redirect_stdout(sys.stderr),
            ):
                yield
        except (Exception, SystemExit) as error:
            reason = describe(error, str(self.file))
            raise ModelError(f"{self.source}: {action} failed ({reason}). Correct {self.file}.") from error

    def _import(self) -> ModuleType:
        if self.module is not None:
            return importlib.import_module(self.module)
        stem = re.sub(r"\W", "_", self.file.stem)
        name = f"tenuto_foreign_{self.sha256[:12]}_{stem}"
        spec = importlib.util.spec_from_file_location(name, self.file)
        assert spec is not None  # the name of the file ends in .py
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            exec(compile(self.content, str(self.file), "exec"), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    def _check_name(self) -> None:
        """Refuse a name that is certainly not in the file, before anything is executed."""
        first = self.name.split(".")[0]
        try:
            tree = ast.parse(self.content)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return  # the import reports it, or it is a compiled module
        defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        is_named = any(first == word for word in re.findall(r"\w+", self.content.decode("utf-8", "replace")))
        has_star = any(
            isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)
        )
        if not is_named and not has_star and first != "__getattr__" and "__getattr__" not in defined:
            choices = did_you_mean(first, defined) if defined else "It defines no function."
            raise ModelError(f"{self.file}: contains no {first}. {choices}")


def import_named(spec: str, *, trust: bool) -> Any:
    """Import what ``package.module:function`` or ``file.py:function`` names.

    Args:
        spec: The name.
        trust: Whether the user names it now; else it must have been named on this machine before.

    Raises:
        TrustError: The user did not name this code on this machine, or it has changed since.
        ModelError: No such code, or it fails.
    """
    return Code(spec).load(trust=trust)


def _module_file(module: str) -> Path:
    """The file of a module, without importing its packages."""
    path = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        spec = next(filter(None, (finder.find_spec(name, path) for finder in sys.meta_path)), None)
        if spec is None:
            file = Path(*parts).with_suffix(".py")
            hint = (
                f"Write {file}:NAME" if file.is_file() else "Install it, or name the file: file.py:function"
            )
            raise ModelError(f"{module}: there is no module {name}. {hint}.")
        path = spec.submodule_search_locations
    assert spec is not None
    if not spec.has_location or spec.origin is None:
        raise ModelError(f"{module}: has no file whose content could be recorded. Name a module with a file.")
    return Path(spec.origin)


def _version(module: str) -> str | None:
    top = module.split(".")[0]
    names = importlib.metadata.packages_distributions().get(top)
    return importlib.metadata.version(names[0]) if names else None


@contextlib.contextmanager
def _importable(folder: str | None) -> Iterator[None]:
    """Inside, files in the folder can be imported; afterwards two folders with a ``layers.py`` do not mix."""
    if folder is None or folder in sys.path:
        yield
        return
    loaded_modules = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
        for name in set(sys.modules) - loaded_modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file and not name.startswith("tenuto_foreign_") and Path(file).is_relative_to(folder):
                del sys.modules[name]


@contextlib.contextmanager
def _state_kept() -> Iterator[None]:
    """Afterwards random states, gradient mode, threads and the default type are as before."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    threads, dtype, has_grad = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        with torch.set_grad_enabled(True):
            yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
        torch.set_grad_enabled(has_grad)
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
