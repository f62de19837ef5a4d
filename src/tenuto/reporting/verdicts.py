"""What an audit reads and what it leaves: sources from paths, findings as tables and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tenuto.analysis import words
from tenuto.errors import ConfigError, FileError
from tenuto.evaluation.audit.evidence import Source
from tenuto.evaluation.audit.findings import CHECKS, Finding, counted
from tenuto.files import read_text, write_json
from tenuto.reporting import tables
from tenuto.store.released_logs import OTHER_PARTS, read_logs
from tenuto.store.rows import NATURAL, read_rows, validate_rows

CAPTION = (
    "PASS, WARN and FAIL follow from figure and threshold, as the page of each check says. NOT RECORDED: the source "
    "cannot show it."
)


def open_sources(paths: Sequence[str | Path], runs_file: str | Path | None = None) -> list[Source]:
    """Everything that can be audited at the given places, rows of one protocol and part together.

    Args:
        paths: Each a CSV of rows, a run folder, a study folder, or a folder of released logs.
        runs_file: For logs other than the released ones, see `released.read_logs`.

    Raises:
        FileError: Nothing there that could be audited.
        DataError: Rows that contradict themselves, or that were named twice.
        ConfigError: A table of runs where there are no logs.
    """
    found: list[Source] = []
    csvs: list[Path] = []
    for place in map(Path, paths):
        own = _tables(place)
        attacks = [path for path in own if not path.stem.startswith(NATURAL)]
        if attacks:
            csvs += attacks
        elif own:
            raise FileError(
                f"{place}: holds natural changes ({own[0].name}) and no attack. `tenuto attack` makes rows to audit."
            )
        elif place.is_dir() and next(place.rglob("log.csv"), None) is not None:
            found.append(_logs(place, runs_file))
        else:
            raise FileError(
                f"{place}: nothing to audit. Wanted a CSV of rows, a run with attacks, a study, or released logs; "
                "`tenuto attack` makes rows."
            )
    if runs_file is not None and not found:
        raise ConfigError(
            "--runs belongs to released logs; rows and runs say themselves what they are. Leave it out."
        )
    return found + _own(list(dict.fromkeys(csvs)))


def _tables(place: Path) -> list[Path]:
    """The rows at a place: the file itself, or ``attacks/<protocol>.csv`` of test clips at any depth."""
    if place.is_file():
        return [place]
    below = (path for path in sorted(place.rglob("*.csv")) if path.parent.name == "attacks")
    return [path for path in below if not path.stem.endswith(OTHER_PARTS)]


def _own(paths: Sequence[Path]) -> list[Source]:
    """Tenuto's own rows, gathered by protocol, part, and whether a run folder surrounds them."""
    parts: dict[tuple[str, str, bool], list[tuple[Path, pd.DataFrame]]] = {}
    for path in paths:
        rows = read_rows(path)
        inside = path.parent.name == "attacks" and (path.parent.parent / "config.yaml").is_file()
        for (protocol, part), some in rows.groupby(["protocol", "split"]):
            parts.setdefault((str(protocol), str(part), inside), []).append((path, some))
    return [_gathered(*key, tables) for key, tables in sorted(parts.items())]


def _gathered(protocol: str, part: str, inside: bool, parts: list[tuple[Path, pd.DataFrame]]) -> Source:
    rows = pd.concat([some for _, some in parts], ignore_index=True)
    by_run = {str(run): path for path, some in parts for run in some["run"].unique()}
    saved = {run: path.with_suffix(".safetensors") for run, path in by_run.items()}
    return Source(
        name=protocol if part == "test" else f"{protocol}, {part} clips",
        rows=validate_rows(rows, protocol),
        kind="run" if inside else "table",
        folders={run: path.parent.parent for run, path in by_run.items()} if inside else {},
        saved={run: path for run, path in saved.items() if path.is_file()},
    )


def _logs(folder: Path, runs_file: str | Path | None) -> Source:
    rows = read_logs(folder, runs_file)
    wanted = set(rows["run"])
    stated = {
        path.parent.name: _clip_eps(path)
        for path in sorted(folder.rglob("hparams.yaml"))
        if path.parent.name in wanted
    }
    name = ", ".join(sorted(set(rows["protocol"])))
    return Source(name=f"{name} (released logs)", rows=rows, kind="logs", stated=stated)


def _clip_eps(path: Path) -> float | None:
    """The budget a released log's settings state, None for none."""
    value: Any = yaml.safe_load(read_text(path))["clip_eps"]
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise FileError(
            f"{path}: clip_eps is {value!r}, wanted a number or null. Fetch the log again."
        ) from error


def table(findings: Sequence[Finding]) -> pd.DataFrame:
    """One line per finding: ``source check verdict figure threshold sentence page``."""
    return pd.DataFrame([finding.as_json() for finding in findings])


def shown(findings: Sequence[Finding]) -> pd.DataFrame:
    """The same as text cells, with the question each check answers."""
    return pd.DataFrame(
        {
            tables.GROUP: [finding.source for finding in findings],
            "Check": [finding.check for finding in findings],
            "Verdict": [str(finding.verdict) for finding in findings],
            "Figure": [number(finding.figure) for finding in findings],
            "Threshold": [number(finding.threshold) for finding in findings],
            "Question": [CHECKS[finding.check] for finding in findings],
            "Found": [finding.sentence for finding in findings],
        },
        dtype=str,
    )


def number(value: float | None) -> str:
    """Three digits, a dash where there is no number."""
    return words.NOTHING if value is None else f"{value:.3g}"


def summary(findings: Sequence[Finding]) -> str:
    """``3 FAIL, 2 WARN, 8 PASS, 10 NOT RECORDED``, most severe first."""
    return ", ".join(f"{count} {verdict}" for verdict, count in counted(findings).items())


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Counts of the verdicts and all findings, for programs."""
    counts = {str(verdict): count for verdict, count in counted(findings).items()}
    return {"verdicts": counts, "findings": [finding.as_json() for finding in findings]}


def write(findings: Sequence[Finding], out: str | Path) -> dict[str, Path]:
    """``audit.json``, and the table as ``audit.csv``, ``audit.md``, ``audit.tex``. File name -> path."""
    out = Path(out)
    written = {"audit.json": write_json(out / "audit.json", as_json(findings))}
    several = len({finding.source for finding in findings}) > 1
    cells = shown(findings)
    if several:
        cells.insert(1, "Rows", cells[tables.GROUP])
    return written | tables.write(out / "audit", table(findings), cells, CAPTION)


__all__ = ["as_json", "open_sources", "shown", "summary", "table", "write"]
