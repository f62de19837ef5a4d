"""Atomic writes, checksums, and the three file formats Tenuto leaves behind: JSON, CSV, safetensors.

Every write goes to a temporary file in the same folder, is flushed to disk and then renamed, so that a
reader (or a resumed run) sees either the old content or the new one, never half of it.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.errors import FileError

Array = NDArray[Any]


@contextlib.contextmanager
def naming(path: Path, action: str) -> Iterator[None]:
    """Turn an ``OSError`` inside the block into a `FileError` that names the file and the mend."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FileError(
                f"{path}: the disk is full. Free some space and run the same command again; "
                "what was finished is kept."
            ) from error
        mend = (
            "Check the path, or fetch the data first."
            if error.errno == errno.ENOENT
            else "Check its permissions."
        )
        raise FileError(f"{path}: cannot {action} ({error.strerror or error}). {mend}") from error


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write ``content`` to ``path`` atomically, creating its folder. Raises `FileError`."""
    path = Path(path)
    with naming(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    return path


def read_bytes(path: str | Path) -> bytes:
    """The content of ``path``. Raises `FileError` that names it."""
    path = Path(path)
    with naming(path, "read"):
        return path.read_bytes()


def write_text(path: str | Path, content: str) -> Path:
    """Write UTF-8 text atomically."""
    return write_bytes(path, content.encode("utf-8"))


def read_text(path: str | Path) -> str:
    """UTF-8 text, with or without a byte-order mark."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not UTF-8 text ({error.reason}). Save the file as UTF-8.") from error


def write_json(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON object atomically, keys in the order given."""
    return write_text(path, json.dumps(content, indent=2, allow_nan=True) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object. Raises `FileError` where the file holds anything else."""
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise FileError(
            f"{path}: not JSON ({error}). Delete it and run the command that wrote it."
        ) from error
    if not isinstance(content, dict):
        raise FileError(f"{path}: holds a JSON {type(content).__name__}, wanted an object.")
    return content


def write_csv(path: str | Path, table: pd.DataFrame) -> Path:
    """Write a table atomically; floats keep every digit that is needed to read them back unchanged."""
    return write_text(path, table.to_csv(index=False, lineterminator="\n"))


def read_csv(
    path: str | Path, *, columns: tuple[str, ...] = (), separator: str = ",", text: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Read a table and insist on its columns.

    Args:
        path: A delimited text file with one header line.
        columns: Columns that must be there; others are kept.
        separator: The separator the format prescribes.
        text: Columns kept as text, so that ``001`` stays ``001``.

    Raises:
        FileError: Missing file, other separator, missing column, ragged or empty table.
    """
    content = read_text(path)
    header = next(csv.reader(io.StringIO(content), delimiter=separator), [])
    other = next((mark for mark in ",;\t" if mark != separator and mark in content[:1000]), None)
    if len(header) == 1 and len(columns) > 1 and other:
        raise FileError(
            f"{path}: columns are separated by '{other}', wanted '{separator}'. Save it with '{separator}'."
        )
    missing = [name for name in columns if name not in header]
    if missing:
        raise FileError(f"{path}: no column {', '.join(missing)}. It has: {', '.join(header) or 'nothing'}.")
    try:
        table = pd.read_csv(
            io.StringIO(content),
            sep=separator,
            dtype=dict.fromkeys(text, str),
            keep_default_na=False,  # a clip may be called NA
            na_values={name: ["", "nan", "NaN"] for name in header if name not in text},
        )
    except (pd.errors.ParserError, ValueError) as error:
        raise FileError(f"{path}: not a table ({str(error).strip()}). Mend that line.") from error
    if table.empty:
        raise FileError(f"{path}: has a header but no rows.")
    return table


def write_safetensors(path: str | Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> Path:
    """Write named arrays and text metadata atomically as safetensors (no pickle)."""
    from safetensors.numpy import save

    return write_bytes(path, save({k: np.asarray(v, order="C") for k, v in arrays.items()}, dict(metadata)))


def read_safetensors(path: str | Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Named arrays and metadata of a safetensors file. Raises `FileError` for anything damaged or foreign."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file.")
    try:
        with safe_open(path, framework="numpy") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}, dict(stream.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FileError(f"{path}: cut off or not a safetensors file ({error}).") from error


def sha256_bytes(content: bytes) -> str:
    """Hexadecimal SHA-256 of a byte string."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's content. Raises `FileError`."""
    path = Path(path)
    with naming(path, "read"), open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
