"""Atomic writes, checksums, and the three file formats Tenuto leaves behind: JSON, CSV, safetensors.

Every write goes to a temporary file in the same folder, is flushed to disk and then renamed, so that a
reader (or a resumed run) sees either the old content or the new one, never half of it.

Longer than other files: every cell of every table passes this one door.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import dataclasses
import errno
import functools
import hashlib
import io
import itertools
import json
import math
import os
import re
import socket
import stat
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.errors import DataError, FileError, Problems, counted, explain, one_line, quote

Array = NDArray[Any]

UMASK = os.umask(0)
"""Permissions that new files of this process lack; it can only be read by setting it."""
os.umask(UMASK)

STALE_SECONDS = 24 * 3600
"""Age from which a temporary file is removed, whoever wrote it."""


@contextlib.contextmanager
def naming(path: Path, action: str) -> Iterator[None]:
    """Turn an ``OSError`` inside the block into a `FileError` that names the file, the reason and the fix."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FileError(f"{path}: {explain(error)}") from error
        raise FileError(f"{path}: cannot {action}: {explain(error)}") from error
    except ValueError as error:
        if "\0" not in str(path):
            raise
        raise FileError(
            f"{one_line(path)}: cannot {action}: the name contains a NUL character. Correct the name."
        ) from error


def followed(path: str | Path) -> Path:
    """The path that a user has typed, or where it leads if it is a link: that file is meant to be written."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)


def write_bytes(path: str | Path, content: bytes | Iterable[bytes]) -> Path:
    """Write ``content`` to ``path`` atomically, creating its folder; a link keeps pointing to the file it names.

    Content in parts is never in memory as a whole.

    Raises:
        FileError: The file cannot be written, is a pipe or device, which the new file would replace, or is a link out
            of its folder, which somebody else may have put there. Paths that the user types are `followed` before.
    """
    path = Path(path)
    with naming(path, "write"):
        target = Path(os.path.realpath(path))
        if path.is_symlink() and not target.is_relative_to(os.path.realpath(path.parent)):
            raise FileError(
                f"{path}: cannot write: it is a link to {target}, out of its folder. Remove the link, or copy the file."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise FileError(f"{path}: cannot write: it is a pipe or device. Give the path of a regular file.")
        _remove_stale_parts(target)
        prefix = f".{target.name}.{_host()}-{os.getpid()}-"
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.writelines([content] if isinstance(content, bytes) else content)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~UMASK)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    return path


def check_writable(folder: str | Path) -> None:
    """Raise `FileError` where no file could be written below a folder, before hours of computing; it is not made."""
    folder = Path(folder)
    with naming(folder, "write"):
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass


@functools.cache
def _host() -> str:
    """What tells the processes of this machine and container from those of others on a shared disk."""
    with contextlib.suppress(OSError):
        return sha256_bytes(f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}".encode())[:16]
    return sha256_bytes(socket.gethostname().encode())[:16]


def _remove_stale_parts(path: Path) -> None:
    """Remove the temporary files that killed processes left of earlier writes to ``path``."""
    prefix = f".{path.name}."
    with os.scandir(path.parent) as entries:
        parts = [entry for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(".part")]
    for part in parts:
        with contextlib.suppress(OSError):  # another process removed it first
            owner = re.fullmatch(rf"{_host()}-(\d+)-.*\.part", part.name.removeprefix(prefix))
            is_ownerless = owner is not None and not _is_running(int(owner[1]))
            if is_ownerless or time.time() - part.stat().st_mtime > STALE_SECONDS:
                os.unlink(part)


def _is_running(pid: int) -> bool:
    if os.name == "nt":  # os.kill would end the process there
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it belongs to another user
        pass
    return True


def read_bytes(path: str | Path) -> bytes:
    """The content of a regular file. Raises `FileError` that names it."""
    with open_regular(Path(path)) as stream:
        return stream.read()


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[io.BufferedReader]:
    """A regular file to be read; a pipe or device, which could block for ever, raises `FileError`."""
    with naming(path, "read"):
        if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
            raise FileError(f"{path}: cannot read: it is a pipe or device. Give the path of a regular file.")
        with open(path, "rb") as stream:
            yield stream


def write_text(path: str | Path, content: str) -> Path:
    """Write UTF-8 text atomically; bytes of file names that are no UTF-8 are escaped."""
    return write_bytes(path, content.encode("utf-8", "backslashreplace"))


def read_text(path: str | Path) -> str:
    """UTF-8 text, with or without a byte-order mark. Raises `FileError`."""
    content = read_bytes(path)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileError(f"{path}: is UTF-16 text. Save the file as UTF-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not UTF-8 text ({error.reason}). Save the file as UTF-8.") from error
    if "\0" in text:
        raise FileError(f"{path}: contains NUL bytes, so it is not UTF-8 text. Save the file as UTF-8.")
    return text


def write_json(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON object atomically, keys in the order given."""
    return write_text(path, json.dumps(content, indent=2, allow_nan=True) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object. Raises `FileError` where the file holds anything else."""
    try:
        content = json.loads(read_text(path), parse_int=_json_number)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and deep nesting
        raise FileError(
            f"{path}: not JSON ({one_line(error)}). Delete it and run the command that wrote it."
        ) from error
    if not isinstance(content, dict):
        raise FileError(f"{path}: contains a JSON {type(content).__name__}; it must be an object.")
    return content


def _json_number(digits: str) -> int | float:
    """A whole number; one that no column or seed can hold becomes a float, which may be infinite."""
    number = int(digits)
    return number if abs(number) < 2**64 else float(digits)


def write_csv(path: str | Path, table: pd.DataFrame) -> Path:
    """Write a table atomically; floats keep every digit that is needed to read them back unchanged."""
    return write_text(path, table.to_csv(index=False, lineterminator="\n"))


MISSING = ("", "nan", "NaN")


def read_csv(
    path: str | Path,
    *,
    columns: Sequence[str] = (),
    text: Sequence[str] = (),
    numbers: Sequence[str] = (),
    integers: Sequence[str] = (),
    flags: Sequence[str] = (),
    optional: Sequence[str] = (),
    separator: str = ",",
    problems: Problems | None = None,
    content: str | None = None,
) -> pd.DataFrame:
    """Read a table and check its columns and every cell of a column whose type is given.

    Lines may end in LF, CR LF or CR. Blanks around the names in the header do not count, nor do composed and
    decomposed accents differ there; a column is called as the arguments spell it. Columns without a name are left out.

    Args:
        path: A delimited text file with one header line.
        columns: Columns that must exist; others are kept.
        text: Columns kept as text, so that ``001`` stays ``001`` and an empty cell stays an empty string. Here and in
            the next four arguments a column need not exist, and ``label_*`` is a prefix of several columns.
        numbers: Columns of finite numbers, float64.
        integers: Columns of whole numbers, int64.
        flags: Columns of ``True`` and ``False``.
        optional: Those of ``numbers``, ``integers`` and ``flags`` whose cells may be empty or ``nan``, which is read as
            NaN (integers become float64, flags object).
        separator: The separator the format prescribes.
        problems: Where given, it takes all problems but the first three below, none of which is then raised; the table
            lacks the columns and rows that have them, a wrong cell is NaN, and the index counts lines of the file.
        content: Text of the file where it was read already; the path is then for messages only.

    Raises:
        FileError: Missing file, another separator, no rows, a column that is missing or occurs twice, a row with more
            or fewer fields than the header, or a cell of the wrong type. The message names file, line and column.
    """
    collected = Problems() if problems is None else problems
    content = read_text(path) if content is None else content
    records = _records(content, separator, path)
    _, header = next(records, (1, []))
    names = _column_names(header, [*columns, *text, *numbers, *integers, *flags])
    _check_separator(names, columns, content, separator, path)
    _check_header(names, columns, path, collected)
    rows = _whole_rows(records, len(names), path, collected)
    kinds: dict[str, Callable[[_Column], Any]] = dict.fromkeys(names, _inferred)
    for listed, reader in (
        (flags, lambda column: column.convert(_flag, "True or False")),
        (integers, lambda column: column.convert(_whole, "a whole number")),
        (numbers, lambda column: column.all_finite() or column.convert(_finite, "a finite number")),
        (text, lambda column: column.cells),
    ):
        kinds.update({name: reader for name in names if _is_listed(name, listed)})
    table: dict[str, Any] = {}
    for name, cells in zip(names, zip(*rows.values(), strict=True), strict=True):
        if name:
            column = _Column(path, name, tuple(rows), cells, _is_listed(name, optional), collected)
            table[name] = kinds[name](column)
    if problems is None:
        collected.raise_all()
    return pd.DataFrame(table, index=None if problems is None else list(rows))


@contextlib.contextmanager
def own_table(path: str | Path) -> Iterator[None]:
    """Inside, a table that Tenuto wrote is read: one that is damaged is to be made again, not to be corrected."""
    try:
        yield
    except (FileError, DataError) as error:
        if isinstance(error.__cause__, OSError):  # such as a file that is missing
            raise
        fact = error.sentences[0].removeprefix(f"{path}: ").partition(". ")[0].rstrip(".")
        raise type(error)(
            f"{path}: is damaged ({fact}). Delete it and run the command that wrote it again."
        ) from error


def _whole_rows(
    records: Iterable[tuple[int, list[str]]], width: int, path: str | Path, problems: Problems
) -> dict[int, list[str]]:
    """The rows that have as many fields as the header, by their line. Raises `FileError` where there are none."""
    rows, is_empty = {}, True
    for line, fields in records:
        is_empty = False
        if len(fields) == width:
            rows[line] = fields
            continue
        problems.add(
            FileError(
                f"{path}: line {line} has {counted(len(fields), 'field')}, the header has {width}. Write one field "
                "for each column, and put fields that contain the separator in quotation marks."
            )
        )
    if is_empty:
        problems.add(FileError(f"{path}: has a header but no rows."))
    if not rows:
        problems.raise_all()
    return rows


def _records(content: str, separator: str, path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every row with a field that is not blank, the header first, see `is_content`."""
    lines = io.StringIO(content, newline=None)  # ends of any kind
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    line = 1
    try:
        for fields in reader:
            if is_content(fields, separator):
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise FileError(
            f"{path}: line {line} is not a row of a table ({error}). Correct its quotation marks."
        ) from error


def is_content(fields: Sequence[str], separator: str) -> bool:
    """Whether a line of a table holds cells: it is not blank, and not ``sep=;``, which names the separator to Excel."""
    return any(map(str.strip, fields)) and not re.fullmatch("sep=.", separator.join(fields), re.IGNORECASE)


def _normalised(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _column_names(header: Sequence[str], requested: Sequence[str]) -> list[str]:
    """Names of the columns, spelt as requested where the spelling differs only in blanks or in composed accents."""
    spellings = {_normalised(name): name for name in requested}
    return [spellings.get(name, name) for name in map(_normalised, header)]


def _check_separator(
    names: Sequence[str], columns: Sequence[str], content: str, separator: str, path: str | Path
) -> None:
    other = next((mark for mark in ",;\t" if mark != separator and mark in content[:1000]), None)
    if len(names) == 1 and len(columns) > 1 and other:
        right = _mark(separator)
        raise FileError(
            f"{path}: columns are separated by {_mark(other)}, they must be separated by {right}. Save it with {right}."
        )


def _check_header(names: Sequence[str], columns: Sequence[str], path: str | Path, problems: Problems) -> None:
    if missing_columns := [name for name in columns if name not in names]:
        listed = one_line(", ".join(filter(None, names))) or "nothing"
        problems.add(
            FileError(f"{path}: no column {one_line(', '.join(missing_columns))}. It has: {listed}.")
        )
    for name in (name for name, count in collections.Counter(filter(None, names)).items() if count > 1):
        problems.add(FileError(f"{path}: two columns are called {quote(name)}. Rename or remove one."))


def _is_listed(name: str, patterns: Sequence[str]) -> bool:
    return any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in patterns
    )


def _mark(separator: str) -> str:
    return "a tab" if separator == "\t" else f"'{separator}'"


def _number(cell: str) -> float:
    if "_" in cell:  # Python reads 1_000 as 1000
        raise ValueError
    return float(cell)


def _finite(cell: str) -> float:
    value = _number(cell)
    if not math.isfinite(value):
        raise ValueError
    return value


def _integer(cell: str) -> int:
    value = int(cell)
    if "_" in cell or abs(value) >= 2**63:
        raise ValueError
    return value


def _whole(cell: str) -> int:
    return _integer(cell.removesuffix(".0"))  # pandas writes 3.0 where other cells of the column are missing


def _flag(cell: str) -> bool:
    if cell.lower() not in ("true", "false"):
        raise ValueError
    return cell.lower() == "true"


@dataclasses.dataclass(frozen=True)
class _Column:
    """The cells of one column with the lines they come from."""

    path: str | Path
    name: str
    lines: tuple[int, ...]
    cells: tuple[str, ...]
    is_optional: bool
    problems: Problems

    def all_finite(self) -> list[float] | None:
        """The values where every cell is a finite number, in a tenth of the time of `convert`; else None."""
        try:
            values = list(map(float, self.cells))
        except ValueError:
            return None
        return None if "_" in "".join(self.cells) or not all(map(math.isfinite, values)) else values

    def convert(self, convert: Callable[[str], Any], kind: str) -> list[Any]:
        """The values; NaN for cells that are missing or wrong."""
        constants: dict[str, Any] = dict.fromkeys(MISSING, math.nan) if self.is_optional else {}
        values = []
        for line, cell in zip(self.lines, map(str.strip, self.cells), strict=True):
            if cell not in constants:
                try:
                    constants[cell] = convert(cell)
                except ValueError:
                    place = f"{self.path}: line {line}, column {one_line(self.name)}"
                    self.problems.add(FileError(f"{place}: {quote(cell)} is not {kind}. Correct that cell."))
            values.append(constants.get(cell, math.nan))
        return values


def _inferred(column: _Column) -> Sequence[Any]:
    """Flags, whole numbers, other numbers or text; missing cells are NaN."""
    stripped = [cell.strip() for cell in column.cells]
    present = dict.fromkeys(cell for cell in stripped if cell not in MISSING)
    for convert in (_flag, _integer, _number):
        try:
            values: dict[str, Any] = {cell: convert(cell) for cell in present}
        except ValueError:
            continue
        return [values.get(cell, math.nan) for cell in stripped]
    return [None if cell in MISSING else cell for cell in column.cells]


def write_safetensors(path: str | Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> Path:
    """Write named arrays and text metadata atomically as safetensors (no pickle)."""
    from safetensors.numpy import save

    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    # For no arrays with empty metadata safetensors writes a header that it cannot read.
    return write_bytes(path, save(contiguous, dict(metadata) if arrays or metadata else None))


class SafetensorsFile(Mapping[str, Array]):
    """The arrays of a safetensors file by name, each read when it is asked for.

    Attributes:
        metadata: Text by name.

    Raises:
        FileError: A damaged or unreadable file.
    """

    def __init__(self, path: str | Path) -> None:
        from safetensors import SafetensorError, safe_open

        with open_regular(Path(path)):  # raises for a file that cannot be opened; below, errors mean damage
            pass
        try:
            stream: Any = safe_open(path, framework="numpy")
        except (SafetensorError, OSError) as error:
            raise FileError(f"{path}: cut off or not a safetensors file ({one_line(error)}).") from error
        self.metadata: dict[str, str] = dict(stream.metadata() or {})
        self._path, self._stream = path, stream
        self._names = dict.fromkeys(stream.keys())

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        try:
            array: Array = self._stream.get_tensor(name)
            # bfloat16 is known to NumPy where another package has registered it
            reason = "" if array.dtype.kind in "biuf" else str(array.dtype)
        except Exception as error:  # bfloat16 and float8 raise TypeError, AttributeError or others
            reason = one_line(error)
        if reason:
            raise FileError(
                f"{self._path}: {quote(name)} has a type NumPy cannot read ({reason}). Save it as float32."
            )
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_safetensors(path: str | Path) -> tuple[dict[str, Array], dict[str, str]]:
    """All arrays and the metadata of a safetensors file. Raises `FileError` for a damaged or unreadable file."""
    file = SafetensorsFile(path)
    return dict(file), file.metadata


SAFETENSORS_TYPES = {"float64": "F64", "float32": "F32", "float16": "F16"}
"""Types of arrays that `join_safetensors` takes, by their name in NumPy and in the file."""


def join_safetensors(path: str | Path, sources: Sequence[Path]) -> Path:
    """Write the arrays of several safetensors files atomically into one, with one array in memory at a time.

    Raises:
        FileError: A damaged or unreadable source.
    """
    files = [SafetensorsFile(source) for source in sources]
    places = {name: file for file in files for name in file}
    described = {name: (file[name].dtype, file[name].shape) for name, file in places.items()}
    # The order of the library itself: larger types first, so that every array is aligned.
    names = sorted(described, key=lambda name: (-described[name][0].itemsize, name))
    header: dict[str, Any] = {}
    end = 0
    for name in names:
        kind, shape = described[name]
        begin, end = end, end + math.prod(shape) * kind.itemsize
        header[name] = {"dtype": SAFETENSORS_TYPES[kind.name], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps({"__metadata__": {}, **header}, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    arrays = (places[name][name].astype(described[name][0].newbyteorder("<")).tobytes() for name in names)
    return write_bytes(path, itertools.chain([len(text).to_bytes(8, "little"), text], arrays))


def sha256_bytes(content: bytes) -> str:
    """Hexadecimal SHA-256 of a byte string."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's content. Raises `FileError`."""
    with open_regular(Path(path)) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
