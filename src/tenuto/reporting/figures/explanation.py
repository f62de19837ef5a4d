"""Figures of an explanation, of interventions, and of what an attack does to concepts."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tenuto.errors import DataError
from tenuto.reporting.figures import style
from tenuto.store.budgets import norm_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tenuto.evaluation.explanation import Explanation

SHORTEST_CURVE = 2.5
"""Seconds between the first and the last window below which a curve shows nothing."""

TARGETS = {"annotation": "to their labels", "clean": "to the clean clip's values"}
"""What concepts can be set to, in the words of a title."""

DRAWN_COLUMNS = (
    *("run", "system", "protocol", "attack", "norm", "epsilon", "inputs", "target"),
    *("k", "mae", "mean_mae", "lowest_mae", "highest_mae"),
)
"""Columns of interventions that are drawn."""


@style.FIGURES.register("explanation")
@style.drawing()
def explanation_figure(explanation: Explanation, scale: tuple[float, float] = style.DRAWN_SCALE) -> Figure:
    """An explanation on one page: emotions on the rating scale, their curves along the recording, and the concepts.

    Curves are left out for a short recording, effects of concepts where there is no bottleneck.

    Args:
        explanation: See `tenuto.evaluation.explanation`.
        scale: Lowest and highest rating.
    """
    names, effects = list(explanation.emotions), explanation.effects or {}
    lines = -(-len(names) // style.PANELS_PER_LINE) if effects else 0
    top, below = 0.7 + 0.28 * len(names), lines * (0.55 + 0.19 * len(explanation.concepts or ()))
    seconds = explanation.curve.seconds
    curves = seconds[-1] - seconds[0] >= SHORTEST_CURVE
    figure = style.new_figure(8.4 if curves or effects else 5.2, 0.4 + top + below)
    upper, *rest = figure.subfigures(
        1 + bool(lines), 1, height_ratios=[top, below][: 1 + bool(lines)], squeeze=False
    )[:, 0]
    title = f"Predictions of {explanation.system} for {Path(explanation.source).name}"
    figure.suptitle(style.fitted(figure, title, 11), fontsize=11)
    colour = style.system_colour(explanation.system)
    panels = upper.subplots(1, 1 + curves, squeeze=False)[0]
    _profile(panels[0], explanation, colour, scale)
    if curves:
        _curves(panels[1], explanation, colour, scale)
    for lower in rest:
        _effects(lower, effects, lines, explanation.training_clips > 0, colour)
    return figure


def _profile(axes: Axes, explanation: Explanation, colour: str, scale: tuple[float, float]) -> None:
    """A bar per emotion, from above, with its value and its place among the training clips."""
    names, values = list(explanation.emotions), list(explanation.emotions.values())
    places = np.arange(len(names))[::-1]
    axes.barh(places, values, height=0.6, color=colour)
    style.scale_axis(axes, values, scale)
    for place, name, value in zip(places, names, values, strict=True):
        rank = f" (above {explanation.places[name]:.0f} %)" if explanation.places else ""
        axes.text(axes.get_xlim()[1], place, f"{value:z.2f}{rank}", va="center", fontsize=8)
    axes.set(ylim=(-0.6, len(names) - 0.4), xlabel="prediction")
    axes.set_yticks(places, names)
    compared = (
        f", above how many of {explanation.training_clips} training clips" if explanation.places else ""
    )
    axes.set_title(f"Emotions{compared}", fontsize=8, loc="left")
    style.open_axes(axes, "x")


def _curves(axes: Axes, explanation: Explanation, colour: str, scale: tuple[float, float]) -> None:
    """A strip per emotion, in the order of the bars: its curve between the lowest and the highest of all values."""
    series = {name: np.asarray(values) for name, values in explanation.curve.emotions.items()}
    joined = np.concatenate([*series.values(), scale])
    low, height = float(joined.min()), float(np.ptp(joined))
    for place, name in zip(range(len(series))[::-1], explanation.emotions, strict=True):
        strip = place - 0.4 + 0.8 * (series[name] - low) / height
        axes.fill_between(
            explanation.curve.seconds, place - 0.4, strip, color=colour, alpha=0.15, linewidth=0
        )
        axes.plot(explanation.curve.seconds, strip, color=colour, linewidth=1.4)
    axes.set(ylim=(-0.6, len(series) - 0.4), yticks=[], xlabel="centre of the window (s)")
    note = f"Along the recording: 10 s windows, each strip from {low:.2g} to {low + height:.2g}"
    axes.set_title(textwrap.fill(note, 57), fontsize=8, loc="left")
    style.open_axes(axes, "x")
    axes.spines["left"].set_visible(False)


def _effects(
    figure: Any, effects: Mapping[str, Mapping[str, float]], lines: int, centred: bool, colour: str
) -> None:
    """A panel per emotion: one bar per concept, to the right where it raises the emotion."""
    start = "the average training clip" if centred else "all concepts at 0"
    figure.suptitle(f"What each concept adds to the prediction for {start}", fontsize=9)
    panels = figure.subplots(lines, style.PANELS_PER_LINE, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(effects) :]:
        axes.set_axis_off()
    for axes, (emotion, parts) in zip(panels.flat, effects.items(), strict=False):
        concepts, values = list(parts)[::-1], list(parts.values())[::-1]
        axes.barh(range(len(values)), values, color=colour)
        axes.axvline(0, color=style.INK, linewidth=0.8)
        axes.set_yticks(range(len(values)), [name.replace("_", " ") for name in concepts], fontsize=7)
        title = f"{emotion} {sum(values):+z.2f}".replace("-", "−")
        axes.set_title(textwrap.fill(title, style.PANEL_TITLE_LETTERS), fontsize=9)
        axes.tick_params(axis="x", labelsize=7)
        style.open_axes(axes, "x")


@style.FIGURES.register("intervention")
@style.drawing()
def intervention_figure(rows: pd.DataFrame) -> Figure:
    """Error of the emotions over the number of corrected concepts, a panel per target.

    Lines are the order decided on validation clips; the band reaches from the best to the worst choice of k concepts,
    the dashed line is their mean. Of several attacks the one with the largest error is drawn.

    Args:
        rows: The rows of one run that `tenuto intervene` wrote.

    Raises:
        DataError: No rows, a column is missing, or rows of several runs.
    """
    if missing_columns := [name for name in DRAWN_COLUMNS if name not in rows.columns]:
        raise DataError(
            f"no column {', '.join(missing_columns)} in the interventions; `tenuto intervene` writes them."
        )
    if rows["run"].nunique() != 1:
        raise DataError(f"{rows['run'].nunique()} runs in the interventions, expected the rows of one run.")
    strongest, title = _strongest(rows)
    targets = [name for name in TARGETS if (strongest["target"] == name).any()]
    colour = style.system_colour(str(rows["system"].iloc[0]))
    marks = {"clean": ("s", style.INK), "attacked": ("o", colour)}
    figure = style.new_figure(3.6 * len(targets) + 1.0, 3.9)
    panels = figure.subplots(1, len(targets), sharey=True, squeeze=False)[0]
    for axes, target in zip(panels, targets, strict=True):
        for inputs, (marker, colour) in marks.items():
            part = strongest[(strongest["target"] == target) & (strongest["inputs"] == inputs)].sort_values(
                "k"
            )
            if len(part):
                _corrected(axes, part, inputs, marker, colour)
        axes.set_title(f"Concepts set {TARGETS[target]}")
        axes.set_xlabel("concepts corrected")
        axes.set_xticks(sorted(strongest["k"].unique()))
        style.open_axes(axes)
    panels[0].set_ylabel("MAE of the emotions")
    panels[0].set_ylim(bottom=0)
    style.legend(figure, panels, columns=2)
    figure.suptitle(style.fitted(figure, title, 9), fontsize=9)
    return figure


def attack_name(row: Mapping[Any, Any]) -> str:
    """Protocol, attack and budget of a row of interventions: ``standard-1, worst, linf 0.02``."""
    budget = f", {norm_of(row['norm']).label(row['epsilon'])}" if math.isfinite(row["epsilon"]) else ""
    return f"{row['protocol']}, {row['attack']}{budget}"


def _strongest(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Clean rows and those of the attack with the largest uncorrected error, and a title that says which it is."""
    run, attacked = rows["run"].iloc[0], rows[rows["inputs"] == "attacked"]
    clean = rows[rows["inputs"] == "clean"]
    if attacked.empty:
        return clean, f"{run}, clean test clips"
    names = attacked.apply(lambda row: attack_name(row.to_dict()), axis=1)
    worst = attack_name(attacked[attacked["k"] == 0].nlargest(1, "mae").iloc[0].to_dict())
    strongest = "" if names.nunique() == 1 else f" (the strongest of {names.nunique()})"
    return pd.concat([clean, attacked[names == worst]]), f"{run}\n{worst}{strongest}"


def _corrected(axes: Axes, part: pd.DataFrame, inputs: str, marker: str, colour: str) -> None:
    """The curves of clean or attacked clips with one target."""
    k = part["k"]
    axes.fill_between(k, part["lowest_mae"], part["highest_mae"], color=colour, alpha=0.15, linewidth=0)
    axes.plot(k, part["mean_mae"], "--", color=colour, linewidth=1, label=f"{inputs}, any order (mean)")
    line: dict[str, Any] = {"color": colour, "linewidth": 1.6, "marker": marker, "markersize": 3.5}
    axes.plot(k, part["mae"], label=f"{inputs}, largest first", **line)


@style.FIGURES.register("concepts")
@style.drawing()
def concept_figure(shifts: pd.DataFrame, system: str) -> Figure:
    """How far an attack moves each concept, and how far clean clips differ in it.

    Args:
        shifts: ``concept spread moved``, a line per concept.
        system: Whose colour is used.
    """
    places = np.arange(len(shifts))[::-1]
    figure = style.new_figure(6.4, 0.9 + 0.42 * len(shifts))
    axes = figure.add_subplot()
    spread, movements = shifts["spread"].to_list(), shifts["moved"].to_list()
    label = "clean clips differ by (standard deviation)"
    axes.barh(places + 0.2, spread, height=0.38, color=style.GREY, label=label)
    label = "the attack moves it by (mean absolute change)"
    axes.barh(places - 0.2, movements, height=0.38, color=style.system_colour(system), label=label)
    axes.set_yticks(places, [str(name).replace("_", " ") for name in shifts["concept"]])
    axes.set_xlabel("predicted rating")
    style.open_axes(axes, "x")
    style.legend(figure, [axes], columns=2)
    return figure
