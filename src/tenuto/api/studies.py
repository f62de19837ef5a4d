"""Whole studies: systems x seeds x protocols."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.api.datasets import with_folder_file
from tenuto.api.progress import SILENT, Progress
from tenuto.arguments import checked
from tenuto.config import StudyConfig, merge, read_study
from tenuto.study.engines import Engine, Local, StudyReport, run_study as carry_out
from tenuto.study.journal import require, standing_records
from tenuto.study.plan import Plan, plan_study as plan


def study_config(
    study: str | StudyConfig, root: str | Path | None = None, settings: Mapping[str, Any] | None = None
) -> StudyConfig:
    """The configuration of a study: a preset or file, then settings of every run.

    A study that reads recordings takes ``tenuto.yaml`` in their folder, as training does, unless it names another data
    set. Arguments and errors are those of `run_study`.
    """
    is_named = isinstance(study, str)
    content = read_study(study) if isinstance(study, str) else study.model_dump(mode="json")
    content = merge(content, {"run": settings or {}})
    if root is not None and content.get("corpus") is None and is_named:
        content["run"]["data"] = with_folder_file(content["run"].get("data") or {}, root)
    return StudyConfig.parse(content, study if isinstance(study, str) else "the study")


@checked
def plan_study(
    study: str | StudyConfig,
    out: str | Path,
    root: str | Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Plan:
    """Every stage of a study: its inputs and outputs, whether it is done, and its expected seconds. Nothing is written.

    Arguments and errors are those of `run_study`.
    """
    folder = None if root is None else Path(root)
    return plan(study_config(study, root, settings), Path(out), folder, trust)


@checked
def study_status(out: str | Path) -> pd.DataFrame:
    """The progress of every run of a study, while it runs or later.

    Args:
        out: The study's folder.

    Returns:
        A line per run, in the order of the plan: ``stage`` (``waiting``, the current one, ``stopped``, ``done`` or
        ``failed``), ``epoch`` of ``epochs``, ``best_score`` on validation clips, ``seconds`` of all calls, ``error``.

    Raises:
        ConfigError: The folder holds no study with a journal.
    """
    study, records = standing_records(Path(out))
    require(Path(out), study)
    columns = ("stage", "epoch", "best_score", "error")
    lines = [
        {name: getattr(record, name) for name in columns}
        | {"epochs": study.notes["runs"][record.name], "seconds": sum(record.seconds.values())}
        for record in records
    ]
    index = pd.Index([record.name for record in records], name="run")
    order = ["stage", "epoch", "epochs", "best_score", "seconds", "error"]
    return pd.DataFrame(lines, index, columns=order)


@checked
def run_study(
    study: str | StudyConfig,
    out: str | Path,
    root: str | Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    engine: Engine | None = None,
    device: str = "cpu",
    trust: bool = False,
    time_limit: str | float | None = None,
    progress: Progress = SILENT,
) -> StudyReport:
    """Run a study, or resume an interrupted one. Finished work is not repeated.

    Args:
        study: Name of a preset such as ``demo``, path of a YAML file, or a configuration.
        out: The study's folder.
        root: Folder of the data set; default: the study's own generated corpus.
        settings: Settings of every run that differ, such as ``{"train": {"epochs": 5}}``.
        engine: What runs it; default: this process, one run after the other.
        device: ``cpu`` or ``cuda``.
        trust: Whether the code of the models it adopts is trusted; code that was named on this machine before is.
        time_limit: How long this call may take, such as ``"12m"``, or seconds. Then it ends before the next epoch or
            piece of an attack, and an equal call continues.
        progress: Receives a note whenever a stage is finished.

    Returns:
        How many runs there are, which failed and why, which are unfinished, and the seconds of every stage.

    Raises:
        ConfigError: An unknown study or setting.
        TenutoError: Data that cannot be used.
    """
    config = study_config(study, root, settings)
    folder = None if root is None else Path(root)
    return carry_out(config, Path(out), folder, engine or Local(), progress.note, device, trust, time_limit)
