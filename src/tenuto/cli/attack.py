"""`tenuto attack`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.cli.groups import grouped
from tenuto.cli.predict import PREDICTING_MODEL
from tenuto.cli.screen import attack_table, changes_table, print_natural
from tenuto.cli.single_attack import SingleAttack
from tenuto.errors import ConfigError
from tenuto.store.location import is_recording

if TYPE_CHECKING:
    import pandas as pd

    from tenuto.api import RecordingAttack, Run
    from tenuto.attacks import Protocol

RELEASED = "paper-2025-released"
paper_option = functools.partial(typer.Option, rich_help_panel="Settings of the paper's protocols")
recording_option = functools.partial(typer.Option, rich_help_panel="An attack on a recording")
Measure = StrEnum("Measure", ["corr", "mse"])
Precision = StrEnum("Precision", ["float32", "bfloat16"])
Optimizer = StrEnum("Optimizer", {"Adam": "Adam", "SGD": "SGD"})  # a list would make them lower-case


@dataclasses.dataclass(frozen=True)
class PaperSettings:
    """Settings of the paper's protocols."""

    iterations: Annotated[int | None, paper_option(help="Iterations per clip.", show_default="1000")] = None
    measure: Annotated[
        Measure | None, paper_option(help="Quantity the thresholds are defined on.", show_default="corr")
    ] = None
    optimizer: Annotated[Optimizer | None, paper_option(help="Optimizer.", show_default="Adam")] = None
    step_size: Annotated[
        float | None,
        paper_option(
            help="Step size, in standard deviations of the normalised log spectrogram (std).",
            show_default="0.002",
        ),
    ] = None
    alpha: Annotated[
        float | None, paper_option(help="Weight of the error against the size; 0 is off.", show_default="off")
    ] = None
    sign: Annotated[
        bool | None,
        paper_option("--sign/--no-sign", help="Use the sign of the gradient.", show_default="sign"),
    ] = None

    def chosen(self) -> dict[str, Any]:
        """Those that were given, as plain values."""
        values = {
            name: value.value if isinstance(value, StrEnum) else value for name, value in vars(self).items()
        }
        return {name: value for name, value in values.items() if value is not None}


@grouped
def attack(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="run [audio]",
            help="Folder of a run. With a recording: a run, an exported model or a pretrained model.",
            show_default=False,
        ),
    ],
    root: common.RunRoot = None,
    data: common.OtherData = None,
    trust: common.Trust = False,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Named, versioned set of attacks and budgets.",
            show_default=f"{RELEASED} for the study's systems, else standard-1",
        ),
    ] = None,
    split: common.Part = common.PartName.test,
    paper: PaperSettings = PaperSettings(),
    single: SingleAttack = SingleAttack(),
    start: Annotated[
        float | None,
        recording_option(help="Second at which the attacked excerpt begins.", show_default="in the middle"),
    ] = None,
    folder: Annotated[
        Path | None,
        recording_option("--out", help="Folder for rows, picture and sounds.", show_default="none"),
    ] = None,
    released_log: Annotated[
        Path | None, typer.Option(help="Folder for log.csv and hparams.yaml in the released format.")
    ] = None,
    natural: Annotated[
        bool,
        typer.Option(
            "--natural/--no-natural",
            help="Also report changes under natural variation (excerpt, mp3, gain, noise).",
        ),
    ] = True,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Also write what every search evaluated, step by step; --log does too."),
    ] = False,
    log: common.Log = None,
    domain: common.Domain = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Precision of the search; results are in float32.", show_default="float32"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Clips attacked together.", show_default="6; GPU: 64")
    ] = None,
    cache: common.Cache = None,
    device: common.Device = "cpu",
    as_json: common.AsJson = False,
) -> None:
    """Attack a run's clips with a protocol or a single attack. Rows and perturbations are written to the run's folder.

    Settings that differ from the protocol's become part of the file name. An interrupted call is resumed.

    With a recording, one excerpt of it is attacked. It has no ratings, so errors are measured
    from the clean prediction.

    Example: tenuto attack runs/A2E-6-1a2b3c4d --protocol standard-1 --root soundtracks

    Example: tenuto attack runs/A2E-6-1a2b3c4d --attack APGD --epsilon 0.05 --objective happy=0.8 --root soundtracks

    Example: tenuto attack runs/A2E-6-1a2b3c4d --attack APGD --epsilon 0.05 --seconds 2 4 --bands 200 2000

    Example: tenuto attack runs/A2E-6-1a2b3c4d --attack my_attack.py:shake --epsilon 0.05 --trust

    Example: tenuto attack a2e-soundtracks song.mp3 --objective happy+ --epsilon 0.05 --out attacked

    Example: tenuto attack a2e-soundtracks song.mp3 --objective happy+ --db 40 --out attacked
    """
    from tenuto import api

    settings = paper.chosen()
    searched_in = precision and precision.value
    inputs: Any = domain and domain.value
    if len(words) > 1 or is_recording(words[0]):
        clips = {
            **{name.replace("_", "-"): value for name, value in settings.items()},
            **{"root": root, "data": data, "protocol": protocol, "cache": cache, "source": single.source},
            **{"released-log": released_log, "batch-size": batch_size, "trace": trace or None, "log": log},
            "split": None if split is common.PartName.test else split,
        }
        _refuse(clips, "only for attacks on the clips of a run. Leave it out, or leave out the recording.")
        run, files = common.model_and_recordings(words, PREDICTING_MODEL)
        attacked = api.attack_recording(
            run,
            common.one_recording(files),
            single.family,
            objective=single.aim,
            epsilon=single.epsilon,
            db=single.db,
            norm=single.norm,
            scale=single.clipped,
            start=start,
            inputs=inputs,
            out=folder,
            device=device,
            trust=trust,
            progress=common.TERMINAL,
            **single.settings(searched_in),
        )
        if as_json:
            common.print_json(_of_recording(attacked))
        else:
            out.print(changes_table(attacked))
        return
    _refuse({"start": start, "out": folder}, "only for an attack on a recording. Name one after the run.")
    single.check(protocol is not None or bool(settings))
    if searched_in and not single.family:
        settings["precision"] = searched_in
    opened_run = api.open_run(words[0], root, data=data, trust=trust, cache=cache, progress=common.TERMINAL)
    if single.family:
        chosen = single.protocol(opened_run, searched_in, trust)
    else:
        chosen = _named_protocol(opened_run, protocol, settings)
    if released_log is not None and chosen.name != RELEASED:
        raise ConfigError(f"--released-log is for {RELEASED}: other attacks have no such log.")
    rows = opened_run.attack(chosen, split.value, device, batch_size, inputs, trace, log)
    path = opened_run.files.rows(rows["protocol"].iloc[0], split.value)
    if trace or log:
        notes.print(str(opened_run.files.trace(rows["protocol"].iloc[0], split.value)))
    if released_log is not None:
        _write_log(opened_run, chosen, rows, released_log)
    if as_json:
        changes = opened_run.natural(split.value).to_dict("records") if natural else None
        common.print_json({**_of_rows(rows), "natural": changes, "rows": str(path)})
        return
    out.print(attack_table(rows))
    typer.echo(str(path))
    if natural:
        print_natural(opened_run.natural(split.value), "The same clips under natural variation")


def _of_rows(rows: pd.DataFrame) -> dict[str, Any]:
    """Plain values of an attack: the worst case of the clips at every budget."""
    from tenuto import metrics
    from tenuto.analysis.systems import at_budgets, mean_change
    from tenuto.store.rows import VALUE_KINDS, concept_names, emotion_names, values_of

    concepts = concept_names(rows)
    lines = []
    for _, part in at_budgets(rows):
        label, clean, attacked = (values_of(part, kind) for kind in VALUE_KINDS)
        line = {"norm": part["norm"].iloc[0], "epsilon": float(part["epsilon"].iloc[0]), "clips": len(part)}
        line |= {"clean_mae": metrics.mae(label, clean), "mae": metrics.mae(label, attacked)}
        for name, values in (("clean_correlation", clean), ("correlation", attacked)):
            line[name] = float(metrics.pearson(label, values).mean())
        line["moved"] = mean_change(part, emotion_names(part))
        lines.append(line | ({"concepts_moved": mean_change(part, concepts)} if concepts else {}))
    first = rows.iloc[0]
    return {"run": first["run"], "protocol": first["protocol"], "split": first["split"], "budgets": lines}


def _of_recording(attacked: RecordingAttack) -> dict[str, Any]:
    """Plain values of an attack on a recording."""
    row = attacked.row
    about = {name: row[name] for name in ("attack", "objective", "norm")}
    numbers = {name: float(row[name]) for name in ("epsilon", "loss", "l2", "linf")}
    return {
        **{"recording": attacked.source, "model": attacked.model, "start": attacked.start_seconds},
        **about,
        **numbers,
        "goal_reached": bool(row["converged"]) if attacked.has_goal else None,
        "outputs": attacked.table.reset_index(names="output").to_dict("records"),
    }


def _refuse(options: Mapping[str, object], reason: str) -> None:
    """Raise `ConfigError` where one of these options is given."""
    if names := [f"--{name}" for name, value in options.items() if value is not None]:
        raise ConfigError(f"{', '.join(names)}: {reason}")


def _named_protocol(run: Run, protocol: str | None, settings: dict[str, Any]) -> Protocol:
    from tenuto.api.single_attacks import as_protocol

    released = RELEASED if settings.keys() - {"precision"} else run.protocol
    return as_protocol(protocol or released, **settings)


def _write_log(run: Run, protocol: Protocol, rows: pd.DataFrame, folder: Path) -> None:
    from tenuto.evaluation import robustness
    from tenuto.store.released_logs import write_log

    write_log(rows, folder, robustness.released_settings(run, protocol))
    notes.print(f"{folder}: log.csv and hparams.yaml in the released format")
