"""Figures of an explanation and of interventions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tenuto.errors import DataError
from tenuto.reporting.figures.smc2025 import BLUE, GREY, INK, STYLE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tenuto.evaluation.explanation import Explanation

COLUMNS = 4
"""Emotions side by side where each has a panel of its own."""

TARGETS = {"annotation": "to their labels", "clean": "to the clean clip's values"}
"""What concepts can be set to, as a title says it."""

NEEDED = (
    *("run", "protocol", "attack", "norm", "epsilon", "inputs", "target"),
    *("k", "mae", "mean_mae", "lowest_mae", "highest_mae"),
)


def explanation_figure(explanation: Explanation) -> Figure:
    """An explanation on one page.

    On top each emotion's value with its place among the training clips, and its curve along the recording; below, where
    there is a bottleneck, what each concept adds to each emotion.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    count = len(explanation.emotions)
    lines = -(-count // COLUMNS) if explanation.effects else 0
    units = len(explanation.concepts or ())
    top, below = 0.6 + 0.42 * count, lines * (0.55 + 0.19 * units)
    with rc_context(STYLE):
        figure = Figure(figsize=(8.4, 0.4 + top + below), layout="constrained")
        upper, *rest = figure.subfigures(
            1 + bool(lines), 1, height_ratios=[top, below][: 1 + bool(lines)], squeeze=False
        )[:, 0]
        figure.suptitle(f"{Path(explanation.source).name}, heard by {explanation.system}", fontsize=11)
        _profile(upper, explanation)
        for lower in rest:
            _effects(lower, explanation.effects or {}, lines, explanation.training_clips > 0)
    return figure


def _profile(figure: Any, explanation: Explanation) -> None:
    """Bars of the emotions on the left, a strip of each emotion's curve on the right, line by line."""
    names, seconds = list(explanation.emotions), explanation.curve.seconds
    strips = figure.subplots(len(names), 2, sharex="col", width_ratios=(1, 1.4), squeeze=False)
    series = [value for name in names for value in explanation.curve.emotions[name]]
    series += explanation.emotions.values()
    low, high = min(-0.05, *series), max(1.05, *series)
    for name, (bar, curve) in zip(names, strips, strict=True):
        value = explanation.emotions[name]
        bar.barh(0, value, height=0.6, color=BLUE)
        bar.set(ylim=(-0.5, 0.5), xlim=(low, high * 1.12), yticks=[0], yticklabels=[name])
        place = f"  (above {explanation.places[name]:.0f} %)" if explanation.places else ""
        bar.text(max(value, 0) + 0.015, 0, f"{value:.2f}{place}", va="center", fontsize=8)
        curve.plot(
            seconds,
            explanation.curve.emotions[name],
            color=BLUE,
            linewidth=1.4,
            marker="." if len(seconds) < 3 else "",
        )
        curve.axhline(value, color=GREY, linewidth=0.7, linestyle=":")
        curve.set(ylim=(low, high), yticks=[0, 1], yticklabels=["0", "1"])
        curve.tick_params(labelsize=7)
        for axes in (bar, curve):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(axis="x", bottom=name == names[-1])
    against = f", above how many of {explanation.training_clips} training clips" if explanation.places else ""
    strips[0, 0].set_title(f"Emotions{against}", fontsize=8, loc="left")
    strips[0, 1].set_title("Along the recording: 10 s windows", fontsize=8, loc="left")
    strips[-1, 1].set_xlabel("centre of the window (s)", fontsize=8)
    strips[-1, 0].set_xlabel("prediction", fontsize=8)


def _effects(figure: Any, effects: Mapping[str, Mapping[str, float]], lines: int, centred: bool) -> None:
    """A panel per emotion: one bar per concept, to the right where it raises the emotion."""
    from_where = "the average training clip" if centred else "all concepts at 0"
    figure.suptitle(f"What each concept adds to the prediction for {from_where}", fontsize=9)
    panels = figure.subplots(lines, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, (emotion, parts) in zip(panels.flat, effects.items(), strict=False):
        axes.set_axis_on()
        concepts, values = list(parts)[::-1], list(parts.values())[::-1]
        axes.barh(range(len(values)), values, color=[VERMILLION if value > 0 else BLUE for value in values])
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(values)), [name.replace("_", " ") for name in concepts], fontsize=7)
        axes.set_title(f"{emotion} {sum(values):+.2f}".replace("-", "−"), fontsize=9)
        axes.tick_params(axis="x", labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)


def intervention_figure(rows: pd.DataFrame) -> Figure:
    """Error of the emotions over the number of corrected concepts, a panel per target.

    Lines are the order decided on validation clips; the band reaches from the best to the worst choice of k concepts,
    the dashed line is their mean. Of several attacks the one with the largest error is drawn.

    Args:
        rows: The rows of one run that `tenuto intervene` wrote.

    Raises:
        DataError: No rows, a column is missing, or rows of several runs.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if missing := [name for name in NEEDED if name not in rows.columns]:
        raise DataError(
            f"no column {', '.join(missing)} in the interventions; `tenuto intervene` writes them."
        )
    if rows["run"].nunique() != 1:
        raise DataError(f"{rows['run'].nunique()} runs in the interventions, wanted the rows of one.")
    shown, title = _strongest(rows)
    targets = [name for name in TARGETS if (shown["target"] == name).any()]
    with rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(targets) + 1.0, 3.9), layout="constrained")
        panels = figure.subplots(1, len(targets), sharey=True, squeeze=False)[0]
        for axes, target in zip(panels, targets, strict=True):
            _corrected(axes, shown[shown["target"] == target])
            axes.set_title(f"Concepts set {TARGETS[target]}")
            axes.set_xlabel("concepts corrected")
        panels[0].set_ylabel("MAE of the emotions")
        panels[0].set_ylim(bottom=0)
        handles = {
            label: line
            for axes in panels
            for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=2,
            frameon=False,
            fontsize=8,
        )
        figure.suptitle(title, fontsize=9)
    return figure


def attack_name(row: Mapping[Any, Any]) -> str:
    """Protocol, attack and budget of a row of interventions: ``standard-1, worst, linf 0.02``."""
    budget = f", {row['norm']} {row['epsilon']:g}" if math.isfinite(row["epsilon"]) else ""
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


def _corrected(axes: Axes, rows: pd.DataFrame) -> None:
    """The curves of one target: clean clips and attacked ones."""
    for kind, colour, marker in (("clean", BLUE, "s"), ("attacked", VERMILLION, "o")):
        part = rows[rows["inputs"] == kind].sort_values("k")
        if part.empty:
            continue
        axes.fill_between(
            part["k"], part["lowest_mae"], part["highest_mae"], color=colour, alpha=0.15, linewidth=0
        )
        axes.plot(
            part["k"],
            part["mean_mae"],
            color=colour,
            linewidth=1,
            linestyle="--",
            label=f"{kind}, any order (mean)",
        )
        axes.plot(
            part["k"],
            part["mae"],
            color=colour,
            linewidth=1.6,
            marker=marker,
            markersize=3.5,
            label=f"{kind}, largest first",
        )
    axes.set_xticks(sorted(rows["k"].unique()))
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
