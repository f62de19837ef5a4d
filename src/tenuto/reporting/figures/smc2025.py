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
from tenuto.reporting.figures import style
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


@style.FIGURES.register("overview")
@style.drawing()
def overview(means: pd.DataFrame) -> Figure:
    """Error and correlation of every system: an open circle before the attack, a filled one after it.

    Args:
        means: One line per system (index), columns ``clean_mae mae clean_corr corr``.
    """
    systems = list(means.index)
    colours, places = style.system_colours(systems), range(len(systems))[::-1]
    wide = 0.075 * max(0, max(map(len, systems)) - 26)  # names that are longer leave no room for the titles
    figure = style.new_figure(7.2 + wide, 1.3 + 0.38 * len(systems))
    error, correlation = figure.subplots(1, 2, sharey=True)
    for place, name in zip(places, systems, strict=True):
        line, colour = means.loc[name], colours[name]
        _change(error, place, line["clean_mae"], line["mae"], colour)
        _change(correlation, place, line["clean_corr"], line["corr"], colour)
    error.set_title("Mean absolute error (0 is best)", fontsize=9)
    error.set_yticks(list(places), systems)
    error.set_ylim(-0.6, len(systems) - 0.4)
    error.set_xlim(0, 1.08 * max(float(means[["clean_mae", "mae"]].max().max()), 1e-6))
    correlation.set_title("Correlation with the ratings (1 is best)", fontsize=9)
    correlation.set_xlim(-1.05, 1.05)
    correlation.axvline(0, color=style.INK, linewidth=0.8)
    error.plot([], [], "o", label="before the attack", **style.hollow(style.INK))
    error.plot([], [], "o", label="after the attack", color=style.INK)
    for axes in (error, correlation):
        style.open_axes(axes, "x")
    style.legend(figure, [error])
    return figure


def _change(axes: Axes, place: float, before: float, after: float, colour: str) -> None:
    axes.annotate("", (after, place), (before, place), arrowprops={"arrowstyle": "-", "color": colour})
    axes.plot(before, place, "o", markersize=7, zorder=3, **style.hollow(colour))
    axes.plot(after, place, "o", markersize=7, zorder=4, color=colour)


@style.FIGURES.register("figure3")
@style.drawing()
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
    colours = style.system_colours(systems)
    longest = max(map(len, systems))
    is_crowded = longest * len(systems) > 60  # letters below the axis
    figure = style.new_figure(6.4, 4.4 + 0.17 * len(systems) + 0.06 * longest * is_crowded)
    axes = figure.add_subplot()
    for position, name in enumerate(systems):
        values = differences.loc[differences["system"] == name, "difference"].to_numpy(np.float64)
        _distribution(axes, position, values, colours[name])
        label = f"{name}: {style.SYSTEM_WORDS[name]}" if name in style.SYSTEM_WORDS else name
        axes.plot([], [], "s", color=colours[name], label=label)
    low, high = float(differences["difference"].min()), float(differences["difference"].max())
    margin = 0.06 * (max(high, 0.0) - min(low, 0.0)) or 1.0
    axes.set_ylim(min(0.0, low) - margin * (low < 0), max(0.0, high) + margin)
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if is_crowded else {}
    axes.set_xticks(range(len(systems)), systems, **turned)
    axes.set_xlim(-0.6, len(systems) - 0.4)
    axes.set_ylabel("ΔMAE (after − before)")
    axes.set_title("Error added by the attack: one dot per seed, bar at the median")
    style.open_axes(axes)
    style.legend(figure, [axes], columns=1)
    return figure


def _distribution(axes: Axes, position: int, sample: Values, colour: str) -> None:
    """Box (or median alone) and dots of one system."""
    box = len(sample) >= FEWEST_FOR_BOX
    if box:
        low, high = np.percentile(sample, [25, 75])
        reach = WHISKER * (high - low)
        inside = sample[(sample >= low - reach) & (sample <= high + reach)]
        ends = [inside.min(), inside.max()]
        axes.bar(position, high - low, 0.6, bottom=low, facecolor=(colour, 0.45), edgecolor=style.INK)
        axes.vlines([position, position], ends, [low, high], color=style.INK, linewidth=1)
        axes.hlines(ends, position - 0.15, position + 0.15, color=style.INK, linewidth=1)
    axes.hlines(np.median(sample), position - 0.3, position + 0.3, color=style.INK, linewidth=2.0)
    # by rank: keeps close values apart, and the figure the same on every call
    rank = np.argsort(np.argsort(sample))
    shift = rank % 3 - 1 if box else rank - (len(sample) - 1) / 2
    dots = style.hollow(colour) | {"markersize": 4.5, "markeredgewidth": 1.2}
    axes.plot(position + 0.09 * shift, sample, "o", zorder=3, **dots)


@style.FIGURES.register("figure4")
@style.drawing()
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
    systems_shown = [name for name in systems if (chosen["system"] == name).any()]
    if not systems_shown:
        raise DataError(
            f"Figure 4 has no rows of {', '.join(systems)} with seed {seed}. Choose another seed."
        )
    grid = [
        [_points(chosen[chosen["system"] == name], emotion) for name in systems_shown] for emotion in emotions
    ]
    scale = _joined(_scale(chosen), *(label for line in grid for label, *_ in line))
    across, up, corner = _frame([points for line in grid for points in line], scale)
    figure = style.new_figure(max(2.6 * len(systems_shown) + 0.9, 4.4), 2.2 * len(emotions) + 1.1)
    panels = figure.subplots(len(emotions), len(systems_shown), sharex=True, sharey=True, squeeze=False)
    colours = style.system_colours(ordered_systems(rows))
    for line, emotion, row in zip(grid, emotions, panels, strict=True):
        for points, name, axes in zip(line, systems_shown, row, strict=True):
            _predictions(axes, points, colours[name], scale)
            axes.set(xlim=across, ylim=up)
            axes.set_title(textwrap.fill(f"{name}: {emotion}", FIGURE4_TITLE_LETTERS))
            _inset(axes, points, corner, scale)
    for axes in panels[-1]:
        axes.set_xlabel("Annotation")
    for axes in panels[:, 0]:
        axes.set_ylabel("Prediction")
    style.legend(figure, [panels[0, 0]], "upper")
    pair = attacked_pair(chosen)
    note = f"Seed {seed}, one point per test clip. Attacked predictions {pair}. Inset: clean points."
    figure.supxlabel(style.fitted(figure, note, 7), fontsize=7)
    return figure


def _points(rows: pd.DataFrame, emotion: str) -> Points:
    label, clean, attacked = (values_of(rows, kind, (emotion,))[:, 0] for kind in VALUE_KINDS)
    return label, clean, attacked


def _scale(rows: pd.DataFrame) -> Limits:
    """The rating scale of the rows, or 0 to 1 as in the paper where that holds all of it."""
    low, high = scale_of(rows) or style.DRAWN_SCALE
    return style.DRAWN_SCALE if style.DRAWN_SCALE[0] <= low and high <= style.DRAWN_SCALE[1] else (low, high)


def _joined(scale: Limits, *values: Values) -> Limits:
    """A scale, and more where a value lies outside."""
    joined = np.concatenate([np.asarray(scale), *values])
    return float(joined.min()), float(joined.max())


def _predictions(axes: Axes, points: Points, colour: str, scale: Limits) -> None:
    label, clean, attacked = points
    axes.plot(label, clean, "x", color=style.INK, markersize=4.5, zorder=3, label="clean")
    axes.plot(label, attacked, "o", color=colour, markersize=5.5, fillstyle="none", label="attacked")
    axes.plot(
        scale, scale, color=style.GREY, linestyle="--", linewidth=1.2, zorder=1, label="perfect prediction"
    )


def _frame(points: Sequence[Points], scale: Limits) -> tuple[Limits, Limits, tuple[float, float]]:
    """Limits shared by all panels, and a corner where an inset hides no point and no end of the diagonal in any panel.

    The y axis grows until there is one.
    """
    margin = 0.05 * (scale[1] - scale[0])
    across = (scale[0] - margin, scale[1] + margin)
    x = np.concatenate([np.append(label, scale) for label, *pair in points for _ in pair])
    y = np.concatenate([np.append(values, scale) for _, *pair in points for values in pair])
    low, high = float(y.min()), float(y.max())
    low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)
    for growth in np.arange(0.0, 0.7, 0.05):
        for right, top in CORNERS:
            room = growth * (high - low)
            up = (low, high + room) if top else (low - room, high)
            if not (_near(x, across, right) & _near(y, up, top)).any():
                return across, up, (right, top)
    return across, (low, high + 0.7 * (high - low)), CORNERS[0]


def _near(values: Values, limits: Limits, side: float) -> NDArray[np.bool_]:
    """Which values lie within the reach of an inset from the lower (0) or upper (1) end of an axis."""
    reach = INSET + 0.05
    share = (values - limits[0]) / (limits[1] - limits[0])
    return share > 1 - reach if side else share < reach


def _inset(axes: Axes, points: Points, corner: tuple[float, float], scale: Limits) -> None:
    """The clean points alone, with the same unit on both axes of the scale (more where a point needs it)."""
    label, clean, _ = points
    margin = 0.025
    left, bottom = (1 - INSET - margin if side else margin for side in corner)
    inset = axes.inset_axes((left, bottom, INSET, INSET))
    inset.plot(scale, scale, color=style.GREY, linestyle="--", linewidth=0.9)
    inset.plot(label, clean, "x", color=style.INK, markersize=2.6, markeredgewidth=0.7)
    low, high = _joined(scale, label, clean)
    reach = (low - 0.06 * (scale[1] - scale[0]), high + 0.06 * (scale[1] - scale[0]))
    inset.set(xlim=reach, ylim=reach, xticks=[], yticks=[])
    for spine in inset.spines.values():
        spine.set_linewidth(0.6)
