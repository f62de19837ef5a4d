"""Curves as figures: error and movement over epsilon, and how far each emotion can be pushed."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from tenuto.analysis import words
from tenuto.analysis.curves import Curves
from tenuto.analysis.emotion_curves import DIRECTIONS
from tenuto.analysis.natural import natural_means
from tenuto.analysis.systems import ordered_systems
from tenuto.reporting.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_GAP = 0.065
"""Least distance of two labels to the right of the axis, as a share of its height."""


@style.FIGURES.register("curve")
@style.drawing()
def curve_figure(curves: Curves) -> Figure:
    """Error (above) and movement of predictions (below) over the size: a line with its interval per system.

    Attacks get stronger to the right. Above, clean errors are ringed at the left edge, and lines mark the error of
    always predicting the mean rating and the corruption error. Below, lines mark natural changes. The corruption error
    and natural changes are means over the systems.
    """
    room = 0.17 * max(0, len(curves.summary) - 8)  # for a long legend
    figure = style.new_figure(4.8, 5.6 + room)
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, quantity, label in (
        (above, "error", "MAE, worst case"),
        (below, "moved", "Mean |Δ prediction|"),
    ):
        _bands(axes, curves, quantity)
        axes.set_ylabel(label)
        style.open_axes(axes)
    below.set_xlabel(_size_title(curves))
    _size_axis(below, curves, numbers=4)
    corruption = float(curves.corruption["corruption_error"].mean())
    levels = [("predict the mean", curves.mean_mae), ("corruption error", corruption)]
    _named_lines(above, [level for level in levels if not math.isnan(level[1])])
    means = natural_means(curves.natural).groupby("change", sort=False)["moved"].mean()
    _named_lines(below, [(str(change), float(movement)) for change, movement in means.items()])
    style.legend(figure, [above], "upper")
    return figure


def _size_title(curves: Curves) -> str:
    """What the axis of sizes shows, and its unit."""
    if curves.axis.in_db:
        return f"{curves.axis.title} (dB)"
    titles = {
        "linf": f"Largest change of {words.entry(curves.unit)}, ε",
        "l2": "Euclidean norm of the change, ε",
    }
    return f"{titles.get(curves.norm, curves.axis.title)} ({words.short_unit(curves.unit)})"


def _places(curves: Curves, epsilons: pd.Series[float]) -> pd.Series[float]:
    """Where epsilons are on the axis.

    An axis in dB cannot show epsilon 0: the clean clip is one step to the left of the smallest budget.
    """
    if not curves.axis.in_db:
        return epsilons
    sizes = sorted(set(curves.runs["epsilon"]) - {0.0})
    values = [curves.axis.value(size) for size in sizes]
    step = (values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else curves.axis.db * 10.0
    return epsilons.map({0.0: values[0] - step, **dict(zip(sizes, values, strict=True))})


def _size_axis(axes: Axes, curves: Curves, numbers: int) -> None:
    """An axis from the clean clip to the largest budget, with few and short numbers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    sizes = pd.Series(sorted(set(curves.runs["epsilon"])))
    places = _places(curves, sizes)
    axes.set_xlim(places.iloc[0], places.iloc[-1])
    if not curves.axis.in_db:
        axes.xaxis.set_major_locator(MaxNLocator(numbers))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        return
    every = max(1, round((len(places) - 1) / numbers))
    has_room = every == 1 or len(places) < 5  # for a number next to the word "clean"
    labelled = [place for place in range(len(places) - 1, 0, -every) if place > 1 or has_room]
    labels = [curves.axis.number(sizes[place]).replace("-", "−") for place in labelled]
    axes.set_xticks([places[0], *places[labelled]], ["clean", *labels])


def _line(
    axes: Axes, curves: Curves, epsilons: pd.Series[float], heights: pd.Series[float], **line: Any
) -> None:
    """A line over sizes; on an axis in dB it is dashed from the clean clip to the smallest budget."""
    places = _places(curves, epsilons)
    if not curves.axis.in_db:
        axes.plot(places, heights, "o-", **line)
        return
    axes.plot(places.iloc[1:], heights.iloc[1:], "o-", **line)
    axes.plot(
        places.iloc[:2], heights.iloc[:2], **line | {"label": None, "linestyle": (0, (2, 2)), "marker": ""}
    )


def _bands(axes: Axes, curves: Curves, quantity: str) -> None:
    """One line per system with its interval; the error of clean clips is ringed."""
    for system, colour in style.system_colours(ordered_systems(curves.summary)).items():
        chosen = (curves.bands["system"] == system) & (curves.bands["quantity"] == quantity)
        own = curves.bands[chosen]
        places = _places(curves, own["epsilon"])
        line: dict[str, Any] = {"color": colour, "linewidth": 1.5, "markersize": 3.5, "clip_on": False}
        _line(axes, curves, own["epsilon"], own["mean"], label=system, zorder=3, **line)
        axes.fill_between(places, own["low"], own["high"], color=colour, alpha=0.13, linewidth=0)
        if quantity == "error":
            clean = own["mean"].iloc[0]
            axes.plot(
                places.iloc[0], clean, "o", markersize=6, zorder=4, clip_on=False, **style.hollow(colour)
            )
    axes.set_ylim(0, None)


def _named_lines(axes: Axes, lines: Sequence[tuple[str, float]]) -> None:
    """Horizontal lines named right of the axis, names moved apart where lines lie close."""
    if not lines:
        return
    ordered = sorted(lines, key=lambda line: line[1])
    top = max(axes.get_ylim()[1], 1.05 * ordered[-1][1])
    axes.set_ylim(0, top)
    places = spread([height / top for _, height in ordered], LABEL_GAP)
    leader = {"arrowstyle": "-", "color": style.GREY, "linewidth": 0.7, "relpos": (0, 0.5)}
    leader |= {"shrinkA": 0, "shrinkB": 0}
    for (name, height), place in zip(ordered, places, strict=True):
        axes.axhline(height, color=style.GREY, linewidth=0.9, linestyle=(0, (1, 1.2)), zorder=1)
        axes.annotate(
            name,
            xy=(1.0, height / top),
            xytext=(1.045, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=7.5,
            arrowprops=leader,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Rising places moved apart to at least ``gap``, from below, within 0 and 1 where they fit.

    >>> spread([0.5, 0.5], 0.25)
    [0.5, 0.75]
    >>> spread([0.9, 0.95], 0.25)
    [0.75, 1.0]
    """
    positions: list[float] = []
    for place in places:
        positions.append(max(place, positions[-1] + gap) if positions else place)
    ceiling = 1.0
    for number in reversed(range(len(positions))):
        positions[number] = min(positions[number], ceiling)
        ceiling = positions[number] - gap
    return positions


@style.FIGURES.register("emotions")
@style.drawing()
def emotion_figure(curves: Curves) -> Figure:
    """One panel per emotion: how far the attacks on it alone move it up and down, a line per system.

    Lines are means over seeds and clips. The grey band reaches as far as the natural change that moves the emotion
    most, in either direction.
    """
    names = list(dict.fromkeys(curves.emotions["emotion"]))
    colours = style.system_colours(ordered_systems(curves.emotions))
    columns = min(style.PANELS_PER_LINE, len(names))
    lines = math.ceil(len(names) / columns)
    figure = style.new_figure(max(1.75 * columns + 0.6, 3.6), 1.9 * lines + 0.9)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for emotion, axes in zip(names, panels, strict=False):
        _pushed(axes, curves, emotion, colours)
        axes.set_title(textwrap.fill(emotion, style.PANEL_TITLE_LETTERS))
        if reach := curves.natural_emotions.get(emotion):
            axes.axhspan(
                -reach, reach, color=style.GREY, alpha=0.22, linewidth=0, label="natural changes", zorder=0
            )
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    farthest = max(float(curves.emotions["change"].abs().max()), *curves.natural_emotions.values(), 1e-6)
    panels[0].set_ylim(-1.08 * farthest, 1.08 * farthest)
    _size_axis(panels[0], curves, numbers=2)
    style.legend(figure, [panels[0]], "upper", columns=6)
    figure.supxlabel(_size_title(curves), fontsize=9)
    figure.supylabel("Δ prediction, mean over clips", fontsize=9)
    return figure


def _pushed(axes: Axes, curves: Curves, emotion: str, colours: dict[str, str]) -> None:
    """Up and down lines of every system in one emotion's panel."""
    axes.axhline(0, color=style.INK, linewidth=0.6)
    own = curves.emotions[curves.emotions["emotion"] == emotion]
    for system, colour in colours.items():
        for direction in DIRECTIONS:
            chosen = own[(own["system"] == system) & (own["direction"] == direction)]
            means = chosen.groupby("epsilon")["change"].mean().reset_index()
            label = system if direction == "up" else None
            line: dict[str, Any] = {"color": colour, "markersize": 2.5, "linewidth": 1.2, "clip_on": False}
            _line(axes, curves, means["epsilon"], means["change"], label=label, **line)
    style.open_axes(axes)
