"""`tenuto explain`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.cli.screen import bar, grid
from tenuto.files import followed

if TYPE_CHECKING:
    from tenuto.evaluation.explanation import Explanation

EXPLAINED_MODEL = "a2m2e-soundtracks"
"""The model that is explained where none is named."""

HALF_BAR = 8
"""Characters of a full bar to either side of a middle line."""


def explain(
    audio: Annotated[
        list[str],
        typer.Argument(
            metavar="[run] audio",
            help="An audio file of any length (mp3, ogg, opus, flac, wav, aiff); before it a run, an exported model or "
            "a checkpoint in place of the pretrained model.",
            show_default=False,
        ),
    ],
    root: common.RunRoot = None,
    trust: common.Trust = False,
    hop: Annotated[float, typer.Option(help="Seconds between the windows of the curve.")] = 1.0,
    plot: Annotated[Path | None, typer.Option(help="Also draw it: FILE.png or FILE.pdf.")] = None,
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """Explain a prediction: emotions, their place among the training clips, and the effect of every concept.

    Without a run, the pretrained model a2m2e-soundtracks is explained. The beginning of a run's name is enough.

    Places need predictions for the training clips. They are computed once where the data set is found, and saved in
    the run's folder.

    Example: tenuto explain song.mp3

    Example: tenuto explain runs/A2M2E-21-1a2b3c4d song.mp3 --root soundtracks --plot song.png
    """
    from tenuto import api
    from tenuto.reporting.figures.explanation import explanation_figure
    from tenuto.reporting.figures.style import check_ending, write_figure

    if plot is not None:
        check_ending(plot)
    run, files = common.model_and_recordings(audio, EXPLAINED_MODEL)
    explanation = api.explain(
        run,
        common.one_recording(files),
        root,
        hop_seconds=hop,
        cache=cache,
        progress=common.TERMINAL,
        trust=trust,
    )
    if as_json:
        common.print_json(dataclasses.asdict(explanation))
    else:
        _print(explanation)
    if plot is not None:
        notes.print(
            f"{write_figure(explanation_figure(explanation, explanation.scale), followed(plot))}: the figure"
        )


def _print(explanation: Explanation) -> None:
    """Print the explanation as tables, and what is missing from it."""
    headings = ["emotion", "value", *(["above"] if explanation.places else []), ""]
    table = grid(f"{explanation.source}, {explanation.system}", *headings, names=["emotion"], bars="")
    for name, value in explanation.emotions.items():
        place = [f"{explanation.places[name]:.0f} %"] if explanation.places else []
        table.add_row(escape(name), f"{value:.3f}", *place, bar(value, explanation.scale))
    if explanation.places:
        table.caption = (
            f"above: percent of the {explanation.training_clips} training clips with a lower prediction"
        )
    out.print(table)
    if explanation.effects is None:
        reason = "has no linear layer behind its concepts" if explanation.concepts else "has no concepts"
        out.print(f"{explanation.system} {reason}, so there are no effects to show.")
    else:
        out.print(_concepts_table(explanation))
        out.print(_effects_table(explanation))
    if not explanation.training_clips:
        out.print(
            "No places among the training clips: give --root once, the predictions for them are then saved."
        )


def _concepts_table(explanation: Explanation) -> Table:
    """Each concept's value and its mean over the training clips."""
    average = ["training mean"] if explanation.training_clips else []
    table = grid("concepts", "concept", "value", *average, names=["concept"])
    for name, value in (explanation.concepts or {}).items():
        mean = [f"{(explanation.centre or {})[name]:.3f}"] if average else []
        table.add_row(escape(name), f"{value:.3f}", *mean)
    return table


def _effects_table(explanation: Explanation) -> Table:
    """The strongest effects on each emotion as bars, and the sum of the others."""
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
    length = min(HALF_BAR, round(HALF_BAR * abs(share)))
    left, right = ("█" * length, "") if share < 0 else ("", "█" * length)
    return f"{left:>{HALF_BAR}}│{right}"
