"""Curves as figures: error and movement over epsilon, and how far each emotion can be pushed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from tenuto.analysis.curves import DIRECTIONS, Curves, natural_means
from tenuto.analysis.systems import ordered_systems
from tenuto.config import SYSTEMS
from tenuto.reporting.figures.smc2025 import BLUE, GREEN, GREY, INK, STYLE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXIS = {
    "linf": "Largest change of a spectrogram entry, ε (deviations)",
    "l2": "Euclidean norm of the change, ε (deviations)",
}
LEADER: dict[str, Any] = {
    "arrowstyle": "-",
    "color": GREY,
    "linewidth": 0.7,
    "relpos": (0, 0.5),
    "shrinkA": 0,
    "shrinkB": 0,
}
"""From a line's end to its name."""

LABEL_GAP = 0.065
"""Least distance of two labels beside the axis, as a share of its height."""

PANELS = 4
"""Emotions side by side."""

OTHERS = (VERMILLION, BLUE, GREEN, INK)
"""Colours of systems that are not the study's."""


def _line(system: str, systems: Sequence[str]) -> dict[str, Any]:
    """How a system is drawn: colour by training and concepts as in Figure 3, dashed where it has a bottleneck."""
    if system in SYSTEMS:
        known = SYSTEMS[system]
        colour = GREEN if known.task_loss_weight < 1 else VERMILLION
        colour = BLUE if known.adversarial else colour
        bottleneck = known.network == "a2m2e"
    else:
        place = list(systems).index(system)
        colour, bottleneck = OTHERS[place % len(OTHERS)], place >= len(OTHERS)
    return {
        "color": colour,
        "linestyle": (0, (4, 1.5)) if bottleneck else "-",
        "marker": "s" if bottleneck else "o",
        "markersize": 3.5,
        "linewidth": 1.5,
        "clip_on": False,
    }


def curve(curves: Curves) -> Figure:
    """Error (above) and movement of predictions (below) over epsilon: a line with its interval per system.

    Above, clean errors are ringed at epsilon 0, and a line marks the error of always predicting the mean rating. Below,
    natural changes are lines that the attack should pass, each a mean over the systems.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(4.8, 5.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        for axes, quantity, label in (
            (above, "error", "MAE, worst case"),
            (below, "moved", "Mean |Δ prediction|"),
        ):
            _bands(axes, curves, quantity)
            axes.set_ylabel(label)
            axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        below.set_xlabel(AXIS.get(curves.norm, "ε"))
        _across(below, float(curves.runs["epsilon"].max()), numbers=4)
        _beside(above, [("predict the mean", curves.mean_mae)])
        means = natural_means(curves.natural).groupby("change", sort=False)["moved"].mean()
        _beside(below, [(str(change), float(moved)) for change, moved in means.items()])
        handles, labels = above.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 5), frameon=False)
    return figure


def _across(axes: Axes, largest: float, numbers: int) -> None:
    """An axis from 0 to the largest epsilon, with few and short numbers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlim(0, largest)
    axes.xaxis.set_major_locator(MaxNLocator(numbers))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _bands(axes: Axes, curves: Curves, quantity: str) -> None:
    """One line per system with its interval; the error at epsilon 0 is ringed."""
    systems = ordered_systems(curves.summary)
    for system in systems:
        chosen = (curves.bands["system"] == system) & (curves.bands["quantity"] == quantity)
        own, style = curves.bands[chosen], _line(system, systems)
        axes.plot(own["epsilon"], own["mean"], label=system, zorder=3, **style)
        axes.fill_between(
            own["epsilon"], own["low"], own["high"], color=style["color"], alpha=0.13, linewidth=0
        )
        if quantity == "error":
            ring: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": style["color"]}
            axes.plot(0, own["mean"].iloc[0], style["marker"], markersize=6, clip_on=False, zorder=4, **ring)
    axes.set_ylim(0, None)


def _beside(axes: Axes, lines: Sequence[tuple[str, float]]) -> None:
    """Horizontal lines named right of the axis, names moved apart where lines lie close."""
    if not lines:
        return
    ordered = sorted(lines, key=lambda line: line[1])
    top = max(axes.get_ylim()[1], 1.05 * ordered[-1][1])
    axes.set_ylim(0, top)
    places = spread([height / top for _, height in ordered], LABEL_GAP)
    for (name, height), place in zip(ordered, places, strict=True):
        axes.axhline(height, color=GREY, linewidth=0.9, linestyle=(0, (1, 1.2)), zorder=1)
        axes.annotate(
            name,
            xy=(1.0, height / top),
            xytext=(1.045, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=7.5,
            arrowprops=LEADER,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Rising places moved apart to at least ``gap``, from below, within 0 and 1 where they fit.

    >>> spread([0.5, 0.5], 0.25)
    [0.5, 0.75]
    >>> spread([0.9, 0.95], 0.25)
    [0.75, 1.0]
    """
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + gap) if found else place)
    ceiling = 1.0
    for number in reversed(range(len(found))):
        found[number] = min(found[number], ceiling)
        ceiling = found[number] - gap
    return found


def emotions(curves: Curves) -> Figure:
    """One panel per emotion: how far the attacks on it alone move it up and down, a line per system.

    Lines are means over seeds and clips. The grey band reaches as far as the natural change that moves the emotion
    most, in either direction.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    named = list(dict.fromkeys(curves.emotions["emotion"]))
    systems = ordered_systems(curves.emotions)
    columns = min(PANELS, len(named))
    with rc_context(STYLE):
        lines = math.ceil(len(named) / columns)
        figure = Figure(figsize=(max(1.75 * columns + 0.6, 3.6), 1.9 * lines + 0.9), layout="constrained")
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for emotion, axes in zip(named, panels, strict=False):
            _pushed(axes, curves.emotions[curves.emotions["emotion"] == emotion], systems)
            axes.set_title(emotion)
            if reach := curves.natural_emotions.get(emotion):
                axes.axhspan(
                    -reach, reach, color=GREY, alpha=0.22, linewidth=0, label="natural changes", zorder=0
                )
        for axes in panels[len(named) :]:
            axes.set_visible(False)
        farthest = max(float(curves.emotions["change"].abs().max()), *curves.natural_emotions.values(), 1e-6)
        limits = (-1.08 * farthest, 1.08 * farthest)
        panels[0].set_ylim(limits)
        _across(panels[0], float(curves.emotions["epsilon"].max()), numbers=2)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 6), frameon=False)
        figure.supxlabel(AXIS.get(curves.norm, "ε"), fontsize=9)
        figure.supylabel("Δ prediction, mean over clips", fontsize=9)
    return figure


def _pushed(axes: Axes, own: pd.DataFrame, systems: Sequence[str]) -> None:
    """Up and down lines of every system in one emotion's panel."""
    axes.axhline(0, color=INK, linewidth=0.6)
    for system in systems:
        for direction in DIRECTIONS:
            chosen = own[(own["system"] == system) & (own["direction"] == direction)]
            means = chosen.groupby("epsilon")["change"].mean()
            style = _line(system, systems) | {"markersize": 2.5, "linewidth": 1.2}
            axes.plot(means.index, means.to_numpy(), label=system if direction == "up" else None, **style)
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
