"""`tenuto explain` and `tenuto intervene`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.cli.screen import grid
from tenuto.errors import ConfigError, FileError
from tenuto.store.run import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from tenuto.evaluation.explanation import Background, Explanation
    from tenuto.evaluation.intervention import Intervention
    from tenuto.models.recogniser import Recogniser

BAR = 24
"""Characters of a full bar."""

HALF = 8
"""The same to either side of a middle line."""

OptionalRoot = Annotated[
    Path | None,
    typer.Option("--root", envvar="TENUTO_DATA", help="Folder of the data set.", show_default=False),
]


def explain(
    run: Annotated[Path, typer.Argument(help="Run folder or checkpoint file.")],
    audio: Annotated[Path, typer.Argument(help="An mp3, ogg, flac or wav file of any length.")],
    root: OptionalRoot = None,
    hop: Annotated[float, typer.Option(help="Seconds between the windows of the curve.")] = 1.0,
    plot: Annotated[Path | None, typer.Option(help="Also draw it: FILE.png or FILE.pdf.")] = None,
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """Say what a run hears in a recording and why: emotions, their place among the training clips, concepts' effects.

    Places need the predictions of the training clips: given --root once, they are kept in the run's folder.

    Example: tenuto explain runs/A2M2E-21-1a2b3c4d song.mp3 --root soundtracks --plot song.png
    """
    from tenuto.evaluation.explanation import explain as explained
    from tenuto.models.checkpoint import load
    from tenuto.reporting.figures import check_ending, write_figure
    from tenuto.reporting.figures.explanation import explanation_figure

    if plot is not None:
        check_ending(plot)
    recogniser = load(run)
    background = _background(run, recogniser, root, cache)
    with common.audio_warnings():
        explanation = explained(recogniser, audio, hop, background)
    if as_json:
        common.print_json(dataclasses.asdict(explanation))
    else:
        _show(explanation)
    if plot is not None:
        notes.print(f"{write_figure(explanation_figure(explanation), plot)}: the figure")


def _background(
    run: Path, recogniser: Recogniser, root: Path | None, cache: Path | None
) -> Background | None:
    """Predictions of the training clips: kept ones, or made now from the data where a root is known."""
    from tenuto.evaluation.explanation import Background
    from tenuto.evaluation.runs import open_run

    folder = run if run.is_dir() else run.parent
    kept = Background.read(folder, recogniser)
    if kept is not None or root is None or not run.is_dir():
        return kept
    part = open_run(run, common.prepare_data(RunFolder(run).read_config().data, root, cache)).part("train")
    background = Background.of(recogniser, part.clips, part.inputs)
    try:
        notes.print(
            f"{background.write(folder, recogniser)}: predictions of {len(part)} training clips, kept"
        )
    except FileError as error:  # somebody else's run: the explanation itself needs no writing
        notes.print(str(error))
    return background


def _show(explanation: Explanation) -> None:
    """The explanation as tables, and the sentences that say what is missing from it."""
    headings = ["emotion", "value", *(["above"] if explanation.places else []), ""]
    table = grid(
        f"{explanation.source}, heard by {explanation.system}", *headings, names=["emotion"], bars=""
    )
    for name, value in explanation.emotions.items():
        place = [f"{explanation.places[name]:.0f} %"] if explanation.places else []
        table.add_row(escape(name), f"{value:.3f}", *place, "█" * round(BAR * min(max(value, 0.0), 1.0)))
    if explanation.places:
        table.caption = (
            f"above: percent of the {explanation.training_clips} training clips with a lower prediction"
        )
    out.print(table)
    if explanation.effects is None:
        out.print(f"{explanation.system} has no concepts between music and emotions: no effects to show.")
    else:
        out.print(_concepts_table(explanation))
        out.print(_effects_table(explanation))
    if not explanation.training_clips:
        out.print(
            "No place among the training clips: give --root DATA and the run's folder once, it is then kept."
        )


def _concepts_table(explanation: Explanation) -> Table:
    """Each concept's value beside that of the average training clip."""
    average = ["training mean"] if explanation.training_clips else []
    table = grid("concepts", "concept", "value", *average, names=["concept"])
    for name, value in (explanation.concepts or {}).items():
        mean = [f"{(explanation.centre or {})[name]:.3f}"] if average else []
        table.add_row(escape(name), f"{value:.3f}", *mean)
    return table


def _effects_table(explanation: Explanation) -> Table:
    """What moves each emotion: its strongest concepts as bars, the others summed."""
    where = (
        "the average training clip"
        if explanation.training_clips
        else "all concepts at 0 (training clips unknown)"
    )
    headings, bars = ("emotion", "value", "effect", "concept"), "lowers / raises"
    table = grid(f"effects, counted from {where}", *headings, bars, names=("emotion", "concept"), bars=bars)
    effects, baseline = explanation.effects or {}, explanation.baseline or {}
    largest = max(abs(effect) for parts in effects.values() for effect in parts.values()) or 1.0
    for emotion, parts in effects.items():
        total, (first, others) = sum(parts.values()), explanation.strongest(emotion)
        value = f"{baseline[emotion]:.2f} → {baseline[emotion] + total:.2f}"
        table.add_row(escape(emotion), value, f"{total:+.2f}", "together", "")
        for name, effect in [*first, *([("others", others)] if len(parts) > len(first) else [])]:
            table.add_row("", "", f"{effect:+.2f}", escape(name), _diverging(effect / largest))
        table.add_section()
    return table


def _diverging(share: float) -> str:
    """A bar to the left or right of a middle line, for -1 to 1."""
    length = min(HALF, round(HALF * abs(share)))
    left, right = ("█" * length, "") if share < 0 else ("", "█" * length)
    return f"{left:>{HALF}}│{right}"


def intervene(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    audio: Annotated[
        Path | None,
        typer.Argument(help="With --set: one recording instead of the test clips.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="CONCEPT=VALUE", help="Set a concept; may be given several times."),
    ] = None,
    root: OptionalRoot = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Attack whose saved perturbations are repaired.", show_default="all in RUN/attacks"
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Where table and figures go.", show_default="RUN/interventions"),
    ] = None,
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """Correct concepts and see the emotions follow: how much of an attack's damage does a person repair?

    Without --set, the error of the emotions after 0 to all concepts of the test clips are corrected, clean and
    attacked, with the head's gain beside it.

    Example: tenuto intervene runs/A2M2E-21-1a2b3c4d --root soundtracks

    Example: tenuto intervene runs/A2M2E-21-1a2b3c4d song.mp3 --set dissonance=0.7
    """
    values = _settings(settings or [])
    if values and protocol is not None:
        raise ConfigError(
            f"--set shows clean clips and --protocol {protocol} attacked ones; leave one of them out."
        )
    if audio is not None:
        if not values:
            raise ConfigError(f"{audio}: say which concept to set, for instance --set dissonance=0.7.")
        content = _on_recording(run, audio, values)
    else:
        content = _on_clips(run, root, cache, values, protocol, folder, as_json)
    if as_json:
        common.print_json(content)
    elif values:
        out.print(_change_table(content))


def _settings(given: list[str]) -> dict[str, float]:
    """``["dissonance=0.7"]`` as a mapping. Raises `ConfigError`."""
    values = {}
    for text in given:
        name, _, value = text.partition("=")
        if name.strip() in values:
            raise ConfigError(f"--set {text}: {name.strip()} is set twice; give it one value.")
        try:
            values[name.strip()] = float(value)
        except ValueError:
            raise ConfigError(
                f"--set {text}: wanted CONCEPT=VALUE, for instance --set dissonance=0.7."
            ) from None
    return values


def _on_recording(run: Path, audio: Path, values: Mapping[str, float]) -> dict[str, Any]:
    """Emotions of one recording before and after concepts are set."""
    from tenuto.evaluation.explanation import linear_head
    from tenuto.evaluation.intervention import follow
    from tenuto.models.checkpoint import load

    recogniser = load(run)
    with common.audio_warnings():
        profile = recogniser.predict(audio)
    concepts = list((profile.concepts or {}).values())
    after = follow(linear_head(recogniser.network), recogniser.concepts, concepts, values)
    named = dict(zip(recogniser.emotions, after.tolist(), strict=True))
    return {"source": str(audio), "set": dict(values), "before": profile.emotions, "after": named}


def _on_clips(
    run: Path,
    root: Path | None,
    cache: Path | None,
    values: Mapping[str, float],
    protocol: str | None,
    folder: Path | None,
    as_json: bool,
) -> dict[str, Any]:
    """The test clips with concepts set to values, or corrected one after the other."""
    from tenuto.evaluation.intervention import intervene as corrected
    from tenuto.evaluation.intervention import set_concepts
    from tenuto.evaluation.runs import open_run

    if root is None:
        raise ConfigError("the test clips are needed: name the data set's folder with --root DATA.")
    opened = open_run(run, common.prepare_data(RunFolder(run).read_config().data, root, cache))
    if values:
        means = [emotions.mean(axis=0).tolist() for emotions in set_concepts(opened, values)]
        before, after = (dict(zip(opened.recogniser.emotions, mean, strict=True)) for mean in means)
        source = f"{opened.name}, mean of {len(opened.part('test'))} test clips"
        return {"source": source, "set": dict(values), "before": before, "after": after}
    found = corrected(opened, protocol)
    if not as_json:
        _show_corrections(opened.name, found)
    _write(found, folder or run / "interventions")
    return {"run": opened.name, **dataclasses.asdict(found), "rows": found.rows.to_dict("records")}


def _write(found: Intervention, folder: Path) -> None:
    """The rows as CSV and the figure; nothing for a system without bottleneck."""
    from tenuto.files import write_csv
    from tenuto.reporting.figures import save
    from tenuto.reporting.figures.explanation import intervention_figure

    if found.rows.empty:
        return
    notes.print(str(write_csv(folder / "intervention.csv", found.rows)))
    for path in save(intervention_figure(found.rows), folder / "intervention").values():
        notes.print(str(path))


def _show_corrections(name: str, found: Intervention) -> None:
    """Errors by number of corrected concepts, in which order, and what the head lets through."""
    from tenuto.reporting.figures.explanation import TARGETS, attack_name

    if found.rows.empty:
        out.print(escape(f"{name} has no concepts to correct; its head, and what attacks do to it:"))
    kinds = ["protocol", "attack", "norm", "epsilon", "target"]
    for _, rows in found.rows.groupby(kinds, sort=False, dropna=False):
        inputs = attack_name(rows.iloc[0].to_dict()) if rows["protocol"].iloc[0] else "clean"
        target = TARGETS[str(rows["target"].iloc[0])]
        out.print(_corrections_table(f"{name}, {inputs}: MAE with k concepts set {target}", rows))
    for reason in dict.fromkeys(
        f"order to {order['target']} decided by: {order['by']}" for order in found.orders
    ):
        out.print(reason)
    gain = found.gain
    layers = "; ".join(f"{layer} {values[0]:.3g}" for layer, values in gain["singular_values"].items())
    out.print(
        f"Head gain (largest singular value): {layers}; rank {gain['rank']} of {gain['features']} features. "
        "Networks scale their features as they like: compare gains only beside how far the features of clips differ."
    )
    for attack in found.attacks:
        out.print(escape(f"{attack_name(attack)}: {_movement(attack)}"))


def _corrections_table(title: str, rows: pd.DataFrame) -> Table:
    """A line per number of corrected concepts: which was the last, the error of this and of any order, what is
    repaired of the damage."""
    there = rows["repaired"].notna().all()
    headings = ["k", "the last", "largest first", "any order, mean", *(["repaired"] if there else [])]
    table = grid(title, *headings, names=["the last"])
    for row in rows.to_dict("records"):
        repaired = [f"{100 * row['repaired']:.0f} %"] if there else []
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
    """A change beside how far clean clips differ: free of the scale that a network gives its features."""
    return f"{change:.3g} (clips differ by {spread:.3g}" + (
        f": {change / spread:.2f} times)" if spread else ")"
    )


def _change_table(content: Mapping[str, Any]) -> Table:
    """Emotions before and after concepts were set."""
    settings = ", ".join(f"{name} = {value:g}" for name, value in content["set"].items())
    headings = ("emotion", "before", "after", "change")
    table = grid(f"{content['source']}: {settings}", *headings, names=["emotion"])
    for name, before in content["before"].items():
        after = content["after"][name]
        table.add_row(escape(name), f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}")
    return table
