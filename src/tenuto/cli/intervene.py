"""`tenuto intervene`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tenuto.cli import common
from tenuto.cli.common import out
from tenuto.cli.screen import grid
from tenuto.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from tenuto.evaluation.intervention import Change, Intervention


def intervene(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    audio: Annotated[
        Path | None,
        typer.Argument(help="With --set: one recording instead of the test clips.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="CONCEPT=VALUE", help="Set a concept; may be repeated."),
    ] = None,
    root: common.RunRoot = None,
    data: common.OtherData = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Attack whose saved perturbations are corrected.", show_default="all in RUN/attacks"
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for table and figures.", show_default="RUN/interventions"),
    ] = None,
    cache: common.Cache = None,
    trust: common.Trust = False,
    as_json: common.AsJson = False,
) -> None:
    """Correct concepts and measure how the emotions change: how much of an attack's damage can be repaired?

    Without --set: the error of the emotions after 0 to all concepts of the test clips are corrected, clean and
    attacked, and the gain of the head.

    Example: tenuto intervene runs/A2M2E-21-1a2b3c4d --root soundtracks

    Example: tenuto intervene runs/A2M2E-21-1a2b3c4d song.mp3 --set dissonance=0.7
    """
    from tenuto import api

    values = _values(settings or [])
    if values and protocol is not None:
        raise ConfigError(
            f"--set changes clean clips and --protocol {protocol} attacked ones; leave one of them out."
        )
    if audio is not None and not values:
        raise ConfigError(f"{audio}: name a concept to set, such as --set dissonance=0.7.")
    if values:
        of_data = {} if data is None else {"data": data}
        change = api.set_concepts(
            run, values, audio, root=root, cache=cache, progress=common.TERMINAL, trust=trust, **of_data
        )
        if as_json:
            common.print_json(dataclasses.asdict(change))
        else:
            out.print(_change_table(change))
        return
    opened_run = api.open_run(run, root, data=data, trust=trust, cache=cache, progress=common.TERMINAL)
    intervention = opened_run.intervene(protocol, folder)
    if as_json:
        rows = intervention.rows.to_dict("records")
        common.print_json({"run": opened_run.name, **dataclasses.asdict(intervention), "rows": rows})
    else:
        _print(opened_run.name, intervention)


def _values(words: list[str]) -> dict[str, float]:
    """``["dissonance=0.7"]`` as a mapping. Raises `ConfigError`."""
    values: dict[str, float] = {}
    for text in words:
        name, _, value = text.partition("=")
        if name.strip() in values:
            raise ConfigError(f"--set {text}: {name.strip()} is set twice; give it one value.")
        try:
            values[name.strip()] = float(value)
        except ValueError:
            raise ConfigError(f"--set {text}: must be CONCEPT=VALUE, such as --set dissonance=0.7.") from None
    return values


def _print(name: str, intervention: Intervention) -> None:
    """Print errors by number of corrected concepts, the order of correction, and the gain of the head."""
    from tenuto.reporting.figures.explanation import TARGETS, attack_name

    if intervention.rows.empty:
        out.print(escape(f"{name} has no concepts to correct. Its head, and the effect of attacks on it:"))
    kinds = ["protocol", "attack", "norm", "epsilon", "target"]
    for _, rows in intervention.rows.groupby(kinds, sort=False, dropna=False):
        inputs = attack_name(rows.iloc[0].to_dict()) if rows["protocol"].iloc[0] else "clean"
        target = TARGETS[str(rows["target"].iloc[0])]
        out.print(_corrections_table(f"{name}, {inputs}: MAE with k concepts set {target}", rows))
    for reason in dict.fromkeys(
        f"order to {order['target']} decided by: {order['by']}" for order in intervention.orders
    ):
        out.print(reason)
    gain = intervention.gain
    layers = "; ".join(f"{layer} {values[0]:.3g}" for layer, values in gain["singular_values"].items())
    out.print(
        f"Head gain (largest singular value): {layers}; rank {gain['rank']} of {gain['features']} features. "
        "The scale of features is arbitrary: compare gains of networks only together with how far their clips differ."
    )
    for attack in intervention.attacks:
        out.print(escape(f"{attack_name(attack)}: {_movement(attack)}"))


def _corrections_table(title: str, rows: pd.DataFrame) -> Table:
    """A line per number of corrected concepts: the last one, the error of this and of any order, the repaired share."""
    attacked = rows["repaired"].notna().all()
    headings = ["k", "the last", "largest first", "any order, mean", *(["repaired"] if attacked else [])]
    table = grid(title, *headings, names=["the last"])
    for row in rows.to_dict("records"):
        repaired = [f"{100 * row['repaired']:.0f} %"] if attacked else []
        errors = (f"{row[name]:.4f}" for name in ("mae", "mean_mae"))
        table.add_row(str(row["k"]), escape(str(row["concept"])), *errors, *repaired)
    return table


def _movement(attack: Mapping[str, Any]) -> str:
    """How far an attack moves features and emotions, in two lines."""
    features = _times(attack["feature_change"], attack["clip_feature_spread"])
    emotions = _times(attack["emotion_change"], attack["clip_emotion_spread"])
    return (
        f"MAE {attack['mae']:.4f} ({attack['damage']:+.4f}).\n"
        f"  Features move by {features}, {100 * attack['seen']:.0f} % of it seen by the head; emotions by {emotions}; "
        f"gain {attack['gain']:.3g} (clips {attack['clip_gain']:.3g})."
    )


def _times(change: float, spread: float) -> str:
    """A change, and its ratio to how far clean clips differ, which does not depend on the scale of features."""
    return f"{change:.3g} (clips differ by {spread:.3g}" + (
        f": {change / spread:.2f} times)" if spread else ")"
    )


def _change_table(change: Change) -> Table:
    """Emotions before and after concepts were set."""
    settings = ", ".join(f"{name} = {value:g}" for name, value in change.set.items())
    headings = ("emotion", "before", "after", "change")
    table = grid(f"{change.source}: {settings}", *headings, names=["emotion"])
    for name, line in change.table.iterrows():
        before, after, difference = line
        table.add_row(escape(str(name)), f"{before:.3f}", f"{after:.3f}", f"{difference:+.3f}")
    return table
