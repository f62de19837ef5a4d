"""The figures of the SMC 2025 paper, and their overview: what an attack does to every system."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.analysis.smc2025 import FIGURE_4_EMOTIONS, FIGURE_4_SEED, FIGURE_4_SYSTEMS
from tenuto.analysis.systems import ordered_systems
from tenuto.analysis.words import attacked_pair
from tenuto.errors import DataError
from tenuto.reporting.figures.style import (
    BACKGROUND_COLOUR,
    DRAWN_SCALE,
    FIGURES,
    GREY,
    INK,
    SYSTEM_WORDS,
    drawing,
    fitted,
    legend,
    new_figure,
    open_axes,
    system_colours,
)
from tenuto.store.rows import VALUE_KINDS, scale_of, values_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = NDArray[np.float64]
Limits = tuple[float, float]
Points = tuple[Values, Values, Values]
"""Annotation, clean and attacked prediction of one emotion, (clips,) each."""

FEWEST_FOR_BOX = 5
"""Below this many values quartiles say nothing: single values and their median are drawn instead of a box."""

WHISKER = 1.5
"""Whiskers reach to the last value within so many box heights of the box."""

FIGURE4_TITLE_LETTERS = 28
"""Of a line above a panel of Figure 4, at most."""

INSET = 0.31
"""Width and height of the inset as a share of its panel."""

CORNERS = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
"""Where the inset may lie (right, top), in order of preference."""


@FIGURES.register("overview")
@drawing()
def overview(means: pd.DataFrame) -> Figure:
    """Error and correlation of every system: an open circle before the attack, a filled one after it.

    Args:
        means: One line per system (index), columns ``clean_mae mae clean_corr corr``.
    """
    systems = list(means.index)
    colours, places = system_colours(systems), range(len(systems))[::-1]
    wide = 0.075 * max(0, max(map(len, systems)) - 26)  # names that are longer leave no room for the titles
    figure = new_figure(7.2 + wide, 1.3 + 0.38 * len(systems))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (before, after), title in zip(
        panels,
        (("clean_mae", "mae"), ("clean_corr", "corr")),
        ("Mean absolute error (0 is best)", "Correlation with the ratings (1 is best)"),
        strict=True,
    ):
        for place, name in zip(places, systems, strict=True):
            _change(axes, place, means.loc[name, before], means.loc[name, after], colours[name])
        axes.set_title(title, fontsize=9)
        open_axes(axes, "x")
    panels[0].set_yticks(list(places), systems)
    panels[0].set_ylim(-0.6, len(systems) - 0.4)
    panels[0].set_xlim(0, 1.08 * max(float(means[["clean_mae", "mae"]].max().max()), 1e-6))
    panels[1].set_xlim(-1.05, 1.05)
    panels[1].axvline(0, color=INK, linewidth=0.8)
    for filled, label in ((False, "before the attack"), (True, "after the attack")):
        face = INK if filled else BACKGROUND_COLOUR
        panels[0].plot([], [], "o", markerfacecolor=face, markeredgecolor=INK, label=label)
    legend(figure, panels)
    return figure


def _change(axes: Axes, place: float, before: float, after: float, colour: str) -> None:
    axes.annotate("", (after, place), (before, place), arrowprops={"arrowstyle": "-", "color": colour})
    axes.plot(
        before, place, "o", markersize=7, markerfacecolor=BACKGROUND_COLOUR, markeredgecolor=colour, zorder=3
    )
    axes.plot(after, place, "o", markersize=7, color=colour, zorder=4)


@FIGURES.register("figure3")
@drawing()
def figure3(differences: pd.DataFrame) -> Figure:
    """Figure 3 of the paper: per system a box plot of MAE after minus MAE before the attack, a value per seed.

    Boxes reach from the first to the third quartile, whiskers to the last value within 1.5 times that
    distance; every seed is a dot.

    Args:
        differences: Columns ``system seed difference``.

    Raises:
        DataError: No values.
    """
    if differences.empty:
        raise DataError("Figure 3 has no runs to show. Attack some runs first.")
    systems = ordered_systems(differences)
    colours = system_colours(systems)
    longest = max(map(len, systems))
    is_crowded = longest * len(systems) > 60  # letters below the axis
    figure = new_figure(6.4, 4.4 + 0.17 * len(systems) + 0.06 * longest * is_crowded)
    axes = figure.add_subplot()
    for position, name in enumerate(systems):
        values = differences.loc[differences["system"] == name, "difference"].to_numpy(np.float64)
        _distribution(axes, position, values, colours[name])
        label = f"{name}: {SYSTEM_WORDS[name]}" if name in SYSTEM_WORDS else name
        axes.plot([], [], "s", color=colours[name], label=label)
    low, high = float(differences["difference"].min()), float(differences["difference"].max())
    margin = 0.06 * (max(high, 0.0) - min(low, 0.0)) or 1.0
    axes.set_ylim(min(0.0, low) - margin * (low < 0), max(0.0, high) + margin)
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if is_crowded else {}
    axes.set_xticks(range(len(systems)), systems, **turned)
    axes.set_xlim(-0.6, len(systems) - 0.4)
    axes.set_ylabel("ΔMAE (after − before)")
    axes.set_title("Error added by the attack: one dot per seed, bar at the median")
    open_axes(axes)
    legend(figure, [axes], columns=1)
    return figure


def _distribution(axes: Axes, position: int, sample: Values, colour: str) -> None:
    """Box (or median alone) and dots of one system."""
    box = len(sample) >= FEWEST_FOR_BOX
    if box:
        low, high = np.percentile(sample, [25, 75])
        reach = WHISKER * (high - low)
        inside = sample[(sample >= low - reach) & (sample <= high + reach)]
        ends = [inside.min(), inside.max()]
        axes.bar(position, high - low, 0.6, bottom=low, facecolor=(colour, 0.45), edgecolor=INK)
        axes.vlines([position, position], ends, [low, high], color=INK, linewidth=1)
        axes.hlines(ends, position - 0.15, position + 0.15, color=INK, linewidth=1)
    axes.hlines(np.median(sample), position - 0.3, position + 0.3, color=INK, linewidth=2.0)
    # by rank: keeps close values apart, and the figure the same on every call
    rank = np.argsort(np.argsort(sample))
    shift = rank % 3 - 1 if box else rank - (len(sample) - 1) / 2
    dots: dict[str, Any] = {
        "markerfacecolor": BACKGROUND_COLOUR,
        "markeredgecolor": colour,
        "markeredgewidth": 1.2,
    }
    axes.plot(position + 0.09 * shift, sample, "o", markersize=4.5, zorder=3, **dots)


@FIGURES.register("figure4")
@drawing()
def figure4(
    rows: pd.DataFrame,
    seed: int = FIGURE_4_SEED,
    emotions: Sequence[str] = FIGURE_4_EMOTIONS,
    systems: Sequence[str] = FIGURE_4_SYSTEMS,
) -> Figure:
    """Figure 4 of the paper: predictions over annotations of one seed, systems in columns, emotions in rows.

    Crosses are clean predictions, circles attacked ones, the dashed line is a perfect prediction, the inset
    shows the clean points alone; all over the rating scale of the rows. The y axis is shared, so that systems compare.

    Raises:
        DataError: None of these systems has rows of this seed.
    """
    chosen = rows[rows["seed"] == seed]
    shown = [name for name in systems if (chosen["system"] == name).any()]
    if not shown:
        raise DataError(
            f"Figure 4 has no rows of {', '.join(systems)} with seed {seed}. Choose another seed."
        )
    grid = [[_points(chosen[chosen["system"] == name], emotion) for name in shown] for emotion in emotions]
    scale = _joined(_scale(chosen), *(label for line in grid for label, *_ in line))
    across, up, corner = _frame([points for line in grid for points in line], scale)
    figure = new_figure(max(2.6 * len(shown) + 0.9, 4.4), 2.2 * len(emotions) + 1.1)
    panels = figure.subplots(len(emotions), len(shown), sharex=True, sharey=True, squeeze=False)
    colours = system_colours(ordered_systems(rows))
    for line, emotion, row in zip(grid, emotions, panels, strict=True):
        for points, name, axes in zip(line, shown, row, strict=True):
            _predictions(axes, points, colours[name], scale)
            axes.set(xlim=across, ylim=up)
            axes.set_title(textwrap.fill(f"{name}: {emotion}", FIGURE4_TITLE_LETTERS))
            _inset(axes, points, corner, scale)
    for axes in panels[-1]:
        axes.set_xlabel("Annotation")
    for axes in panels[:, 0]:
        axes.set_ylabel("Prediction")
    legend(figure, [panels[0, 0]], "upper")
    pair = attacked_pair(chosen)
    note = f"Seed {seed}, one point per test clip. Attacked predictions {pair}. Inset: clean points."
    figure.supxlabel(fitted(figure, note, 7), fontsize=7)
    return figure


def _points(rows: pd.DataFrame, emotion: str) -> Points:
    label, clean, attacked = (values_of(rows, kind, (emotion,))[:, 0] for kind in VALUE_KINDS)
    return label, clean, attacked


def _scale(rows: pd.DataFrame) -> Limits:
    """The rating scale of the rows, or 0 to 1 as in the paper where that holds all of it."""
    low, high = scale_of(rows) or DRAWN_SCALE
    return DRAWN_SCALE if DRAWN_SCALE[0] <= low and high <= DRAWN_SCALE[1] else (low, high)


def _joined(scale: Limits, *values: Values) -> Limits:
    """A scale, and more where a value lies outside."""
    joined = np.concatenate([np.asarray(scale), *values])
    return float(joined.min()), float(joined.max())


def _predictions(axes: Axes, points: Points, colour: str, scale: Limits) -> None:
    label, clean, attacked = points
    axes.plot(label, clean, "x", color=INK, markersize=4.5, zorder=3, label="clean")
    axes.plot(label, attacked, "o", color=colour, markersize=5.5, fillstyle="none", label="attacked")
    axes.plot(scale, scale, color=GREY, linestyle="--", linewidth=1.2, zorder=1, label="perfect prediction")


def _frame(points: Sequence[Points], scale: Limits) -> tuple[Limits, Limits, tuple[float, float]]:
    """Limits shared by all panels, and a corner free of points: the y axis grows until there is one."""
    margin = 0.05 * (scale[1] - scale[0])
    across = (scale[0] - margin, scale[1] + margin)
    low, high = _joined(scale, *(values for _, *pair in points for values in pair))
    low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)
    for growth in np.arange(0.0, 0.7, 0.05):
        for right, top in CORNERS:
            room = growth * (high - low)
            up = (low, high + room) if top else (low - room, high)
            if not _covered(points, across, up, (right, top), scale):
                return across, up, (right, top)
    return across, (low, high + 0.7 * (high - low)), CORNERS[0]


def _covered(
    points: Sequence[Points], across: Limits, up: Limits, corner: tuple[float, float], scale: Limits
) -> bool:
    """Does an inset in this corner hide a point or the end of the diagonal in any panel?"""
    reach = INSET + 0.05
    for label, *predictions in points:
        for values in predictions:
            x = (np.append(label, scale) - across[0]) / (across[1] - across[0])
            y = (np.append(values, scale) - up[0]) / (up[1] - up[0])
            near_x = x > 1 - reach if corner[0] else x < reach
            near_y = y > 1 - reach if corner[1] else y < reach
            if (near_x & near_y).any():
                return True
    return False


def _inset(axes: Axes, points: Points, corner: tuple[float, float], scale: Limits) -> None:
    """The clean points alone, with the same unit on both axes of the scale (more where a point needs it)."""
    label, clean, _ = points
    margin = 0.025
    left, bottom = (1 - INSET - margin if side else margin for side in corner)
    inset = axes.inset_axes((left, bottom, INSET, INSET))
    inset.plot(scale, scale, color=GREY, linestyle="--", linewidth=0.9)
    inset.plot(label, clean, "x", color=INK, markersize=2.6, markeredgewidth=0.7)
    low, high = _joined(scale, label, clean)
    reach = (low - 0.06 * (scale[1] - scale[0]), high + 0.06 * (scale[1] - scale[0]))
    inset.set(xlim=reach, ylim=reach, xticks=[], yticks=[])
    for spine in inset.spines.values():
        spine.set_linewidth(0.6)
