"""The file of traces next to the rows: what every search evaluated, step by step."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import pandas as pd

from tenuto.errors import FileError
from tenuto.files import own_table, read_bytes, read_csv, write_bytes
from tenuto.sinks import Sink
from tenuto.store.budgets import norm_of

LARGEST_TRACES = 2**30
"""Bytes of a table of traces."""

TRACE_NUMBERS = ("loss", "best", "size", "moved")
NO_TRACES = pd.DataFrame(columns=["clip", "step", *TRACE_NUMBERS, "settings"]).astype(
    {"step": "int64", **dict.fromkeys(TRACE_NUMBERS, "float64")}
)
"""Of attacks that have no search."""


def read_traces(path: Path) -> pd.DataFrame:
    """The traces in a file: the column ``settings`` of the rows, and the columns of `tenuto.attacks.Trace.frame`.

    Raises:
        FileError: No such file, or a damaged one.
    """
    content = read_bytes(path)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            text = stream.read(LARGEST_TRACES + 1).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise FileError(
            f"{path}: is damaged ({error}). Delete it and its rows, then attack the run again."
        ) from error
    if len(text) > LARGEST_TRACES:
        raise FileError(
            f"{path}: larger than {LARGEST_TRACES} bytes when it is unpacked. Delete it and its rows."
        )
    columns = tuple(map(str, NO_TRACES))
    if text.strip() == ",".join(columns):
        return NO_TRACES.copy()
    with own_table(path):
        return read_csv(
            path,
            columns=columns,
            text=("settings", "clip"),
            integers=("step",),
            numbers=TRACE_NUMBERS,
            content=text,
        )


def log_traces(traces: pd.DataFrame, rows: pd.DataFrame, sink: Sink) -> None:
    """Report every attack of some rows: at each step the means over clips of loss, best loss, size and change.

    A clip that has ended counts with its last value. All attacks are reported together, step by step: Weights & Biases
    ignores a step that is smaller than the last one.
    """
    by_step: dict[int, dict[str, float]] = {}
    for settings, own in traces.groupby("settings", sort=False):
        row = rows[rows["settings"] == settings].iloc[0]
        budget = (
            "" if pd.isna(row["epsilon"]) else f" {norm_of(str(row['norm'])).label(float(row['epsilon']))}"
        )
        name = f"{row['attack']} {row['objective']}{budget}"
        tables = [own.pivot(index="step", columns="clip", values=measure) for measure in TRACE_NUMBERS]
        means = pd.concat([table.ffill().mean(axis=1) for table in tables], axis=1, keys=TRACE_NUMBERS)
        for step, values in means.iterrows():
            at_step = by_step.setdefault(int(str(step)), {})
            at_step |= {f"{name}/{measure}": values[measure] for measure in TRACE_NUMBERS}
    for step in sorted(by_step):
        sink.log(step, by_step[step])


def write_traces(path: Path, traces: pd.DataFrame) -> Path:
    """Write traces, compressed; the same traces give the same bytes."""
    text = traces.to_csv(index=False, lineterminator="\n")
    return write_bytes(path, gzip.compress(text.encode(), mtime=0))
