"""The figures of the SMC 2025 study, in one style; colours of Okabe and Ito, told apart by every eye."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.analysis.words import attacked_pair
from tenuto.config import SYSTEMS
from tenuto.errors import ConfigError, DataError
from tenuto.files import write_bytes
from tenuto.store.rows import KINDS, values_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase
    from matplotlib.layout_engine import LayoutEngine
    from matplotlib.transforms import BboxBase

Values = NDArray[np.float64]

BLUE, VERMILLION, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#999999", "#222222"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "pdf.fonttype": 42,  # text stays text
    "text.parse_math": False,  # a file or a run may be called $x
    "savefig.dpi": 200,
}

METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None},
}
"""Endings a figure can have, and the metadata without which the same figure has the same bytes."""

FIGURE_3_ORDER = ("A2E", "aA2E", "A2B2E", "aA2B2E", "A2M2E")
FEWEST_FOR_BOX = 5
"""Below this many values quartiles say nothing: single values and their median are drawn instead of a box."""

WHISKER = 1.5
BREAK_FROM = 0.35
"""The axis is broken where an outlier lies further above all boxes than this share of their height."""

INSET = 0.31
"""Width and height of the inset as a share of its panel."""

CORNERS = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
"""Where the inset may lie (right, top), most wanted first."""


def save(figure: Figure, stem: Path) -> dict[str, Path]:
    """Write ``<stem>.png`` and ``.pdf`` atomically. Name -> path."""
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in METADATA]
    return {path.name: write_figure(figure, path) for path in paths}


def write_figure(figure: Figure, path: Path) -> Path:
    """Write one figure atomically as PNG or PDF, by the ending; without a date: same figure, same bytes.

    Raises:
        ConfigError: Another ending.
    """
    from matplotlib import rc_context

    check_ending(path)
    kind, stream = path.suffix[1:], io.BytesIO()
    figure.set_layout_engine(_steady_layout())
    with rc_context(STYLE):
        figure.savefig(stream, format=kind, metadata=METADATA[kind], facecolor="white")
    return write_bytes(path, stream.getvalue())


def _steady_layout() -> LayoutEngine:
    """Constrained layout whose result is rounded: the last digits of its solver change from call to call."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.transforms import Bbox

    def rounded(box: BboxBase) -> Bbox:
        return Bbox(np.round(box.get_points(), 9) + 0.0)  # + 0.0 turns -0 into 0

    def steady(figure: FigureBase) -> None:
        for part in figure.subfigs:
            part.bbox_relative.set(rounded(part.bbox_relative))
            steady(part)

    class SteadyLayout(ConstrainedLayoutEngine):
        def execute(self, fig: Figure) -> None:
            super().execute(fig)
            steady(fig)
            for axes in fig.get_axes():
                movable = axes.get_in_layout()
                axes.set_position(rounded(axes.get_position(original=True)))
                axes.set_in_layout(movable)

    return SteadyLayout()


def check_ending(path: Path) -> None:
    """Raises `ConfigError` for a figure that is neither PNG nor PDF, before any work is done for it."""
    if path.suffix[1:] not in METADATA:
        raise ConfigError(
            f"{path}: a figure ends in {' or '.join('.' + kind for kind in METADATA)}. Name it so."
        )


def _colour(system: str) -> str:
    """Free networks vermillion, adversarially trained ones blue, the concept bottleneck green."""
    if system in SYSTEMS and SYSTEMS[system].adversarial:
        return BLUE
    return GREEN if system in SYSTEMS and SYSTEMS[system].task_loss_weight < 1 else VERMILLION


def figure3(differences: pd.DataFrame) -> Figure:
    """The study's Figure 3: per system a box plot of MAE after minus MAE before the attack, a value per seed.

    Boxes reach from the first to the third quartile, whiskers to the last value within 1.5 times that
    distance; every seed is a dot. The axis is broken only where an outlier would press the boxes flat.

    Args:
        differences: Columns ``system seed difference``.

    Raises:
        DataError: No values.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    there = dict.fromkeys(differences["system"])
    order = [name for name in FIGURE_3_ORDER if name in there] + sorted(there.keys() - set(FIGURE_3_ORDER))
    if not order:
        raise DataError("Figure 3 has no runs to show; attack some runs first.")
    values = [
        differences.loc[differences["system"] == name, "difference"].to_numpy(np.float64) for name in order
    ]
    gap = break_between(values)
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        panels = _panels(figure, values, gap)
        for axes in panels:
            for position, (name, sample) in enumerate(zip(order, values, strict=True)):
                _distribution(axes, position, sample, _colour(name))
        panels[-1].set_xticks(range(len(order)), order)
        panels[-1].set_xlim(-0.6, len(order) - 0.4)
        panels[0].set_title("Error added by the attack: one dot per seed, bar at the median")
        figure.supylabel("ΔMAE (after − before)", fontsize=10)
    return figure


def break_between(values: Sequence[Values]) -> tuple[float, float] | None:
    """Highest value of the boxes and lowest outlier above the break; None where no break is needed."""
    tops, outliers = [], []
    for sample in values:
        low, high = np.percentile(sample, [25, 75])
        outer = (
            sample > high + WHISKER * (high - low)
            if len(sample) >= FEWEST_FOR_BOX
            else np.zeros(len(sample), bool)
        )
        tops.append(sample[~outer].max())
        outliers.extend(sample[outer])
    top = max(tops)
    above = [value for value in outliers if value > top]
    if not above:
        return None
    height = top - min(0.0, *(sample.min() for sample in values))
    return (float(top), float(min(above))) if min(above) - top > BREAK_FROM * height else None


def _panels(figure: Figure, values: Sequence[Values], gap: tuple[float, float] | None) -> list[Axes]:
    """One axis, or two around the gap, upper one first; both with the same number of units per inch."""
    from matplotlib.ticker import MultipleLocator

    joined = np.concatenate(values)
    low, high = min(0.0, float(joined.min()) * 1.06), max(0.0, float(joined.max()))
    if gap is None:
        axes = figure.add_subplot()
        axes.set_ylim(low, (high or 1.0) * 1.06)
        axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
        return [axes]
    top, outlier = gap
    pad = 0.06 * (top - low)
    lower, upper = (low, top + 2 * pad), (outlier - 2.5 * pad, high + 2.5 * pad)
    heights = [upper[1] - upper[0], lower[1] - lower[0]]
    grid = figure.add_gridspec(2, 1, height_ratios=heights, hspace=0.08)
    panels = [figure.add_subplot(grid[row]) for row in (0, 1)]
    for axes, limits in zip(panels, (upper, lower), strict=True):
        axes.set_ylim(*limits)
        axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    ticks = panels[1].get_yticks()
    panels[0].yaxis.set_major_locator(MultipleLocator(ticks[1] - ticks[0]))
    panels[0].sharex(panels[1])
    panels[0].spines["bottom"].set_visible(False)
    panels[0].tick_params(bottom=False, labelbottom=False)
    panels[1].spines["top"].set_visible(False)
    slash: dict[str, Any] = {
        "marker": [(-1, -0.6), (1, 0.6)],
        "markersize": 9,
        "linestyle": "none",
        "color": INK,
        "clip_on": False,
    }
    panels[0].plot([0, 1], [0, 0], transform=panels[0].transAxes, **slash)
    panels[1].plot([0, 1], [1, 1], transform=panels[1].transAxes, **slash)
    return panels


def _distribution(axes: Axes, position: int, sample: Values, colour: str) -> None:
    """Box (or median alone) and dots of one system."""
    if len(sample) >= FEWEST_FOR_BOX:
        axes.boxplot(
            [sample],
            positions=[position],
            widths=0.6,
            whis=WHISKER,
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": (colour, 0.45), "edgecolor": INK},
            whiskerprops={"color": INK},
            capprops={"color": INK},
            medianprops={"color": INK, "linewidth": 2.0},
        )
    else:
        axes.hlines(np.median(sample), position - 0.3, position + 0.3, color=INK, linewidth=2.0)
    # by rank: keeps close values apart, and the figure the same on every call
    rank = np.argsort(np.argsort(sample))
    shift = rank % 3 - 1 if len(sample) >= FEWEST_FOR_BOX else rank - (len(sample) - 1) / 2
    axes.plot(
        position + 0.09 * shift,
        sample,
        linestyle="none",
        marker="o",
        markersize=4.5,
        markerfacecolor="white",
        markeredgecolor=colour,
        markeredgewidth=1.2,
        zorder=3,
    )


def figure4(
    rows: pd.DataFrame,
    seed: int = 21,
    emotions: Sequence[str] = ("tension", "tender"),
    systems: Sequence[str] = ("A2B2E", "A2M2E", "aA2B2E"),
) -> Figure:
    """The study's Figure 4: predictions over annotations of one seed, systems in columns, emotions in rows.

    Blue crosses are clean predictions, vermillion circles attacked ones, the dashed line is a perfect
    prediction, the inset shows the clean points alone. The y axis is shared, so that systems compare.

    Raises:
        DataError: None of these systems has rows of this seed.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    chosen = rows[rows["seed"] == seed]
    shown = [name for name in systems if (chosen["system"] == name).any()]
    if not shown:
        raise DataError(
            f"Figure 4 has no rows of {', '.join(systems)} with seed {seed}; choose another seed."
        )
    grid = [[_points(chosen[chosen["system"] == name], emotion) for name in shown] for emotion in emotions]
    points = [panel for line in grid for panel in line]
    across, up, corner = _frame(points)
    with rc_context(STYLE):
        size = (max(2.6 * len(shown) + 0.9, 4.4), 2.2 * len(emotions) + 1.1)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(emotions), len(shown), sharex=True, sharey=True, squeeze=False)
        for line, emotion, row in zip(grid, emotions, panels, strict=True):
            for panel, name, axes in zip(line, shown, row, strict=True):
                _panel(axes, panel, across, up)
                _inset(axes, panel, corner)
                axes.set_title(f"{name}: {emotion}")
        _explain(figure, panels)
        pair = attacked_pair(chosen)
        note = f"Seed {seed}, one point per test clip. Attacked predictions {pair}. Inset: clean points."
        figure.supxlabel(note, fontsize=7)
    return figure


def _explain(figure: Figure, panels: NDArray[np.object_]) -> None:
    """Axis labels at the outer panels, and one legend for all of them."""
    for axes in panels[-1]:
        axes.set_xlabel("Annotation")
    for axes in panels[:, 0]:
        axes.set_ylabel("Prediction")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)


def _points(rows: pd.DataFrame, emotion: str) -> tuple[Values, Values, Values]:
    """Annotation, clean and attacked prediction of one emotion, shape (clips,) each."""
    label, clean, attacked = (values_of(rows, kind, (emotion,))[:, 0] for kind in KINDS)
    return label, clean, attacked


Limits = tuple[float, float]


def _frame(points: Sequence[tuple[Values, Values, Values]]) -> tuple[Limits, Limits, tuple[float, float]]:
    """Limits shared by all panels, and a corner free of points: the y axis grows until there is one."""
    labels = np.concatenate([label for label, _, _ in points])
    predictions = np.concatenate([values for _, *pair in points for values in pair])
    across = (min(0.0, float(labels.min())) - 0.05, max(1.0, float(labels.max())) + 0.05)
    low, high = min(0.0, float(predictions.min())), max(1.0, float(predictions.max()))
    low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)
    for growth in np.arange(0.0, 0.7, 0.05):
        for right, top in CORNERS:
            room = growth * (high - low)
            up = (low, high + room) if top else (low - room, high)
            if not _covered(points, across, up, (right, top)):
                return across, up, (right, top)
    return across, (low, high + 0.7 * (high - low)), CORNERS[0]


def _covered(
    points: Sequence[tuple[Values, Values, Values]], across: Limits, up: Limits, corner: tuple[float, float]
) -> bool:
    """Does an inset in this corner hide a point or the end of the diagonal in any panel?"""
    reach = INSET + 0.05
    for label, *predictions in points:
        for values in predictions:
            x = (np.append(label, [0, 1]) - across[0]) / (across[1] - across[0])
            y = (np.append(values, [0, 1]) - up[0]) / (up[1] - up[0])
            near_x = x > 1 - reach if corner[0] else x < reach
            near_y = y > 1 - reach if corner[1] else y < reach
            if (near_x & near_y).any():
                return True
    return False


def _panel(axes: Axes, points: tuple[Values, Values, Values], across: Limits, up: Limits) -> None:
    label, clean, attacked = points
    axes.plot(label, clean, "x", color=BLUE, markersize=4.5, zorder=3, label="clean")
    axes.plot(label, attacked, "o", color=VERMILLION, markersize=5.5, fillstyle="none", label="attacked")
    axes.plot(
        [0, 1], [0, 1], color=GREEN, linestyle="--", linewidth=1.2, zorder=1, label="perfect prediction"
    )
    axes.set_xlim(*across)
    axes.set_ylim(*up)


def _inset(axes: Axes, points: tuple[Values, Values, Values], corner: tuple[float, float]) -> None:
    """The clean points alone, with the same unit on both axes of 0 to 1 (more where a point needs it)."""
    label, clean, _ = points
    margin = 0.025
    left, bottom = (1 - INSET - margin if side else margin for side in corner)
    inset = axes.inset_axes((left, bottom, INSET, INSET))
    inset.plot([0, 1], [0, 1], color=GREEN, linestyle="--", linewidth=0.9)
    inset.plot(label, clean, "x", color=BLUE, markersize=2.6, markeredgewidth=0.7)
    both = np.concatenate([label, clean])
    reach = (min(0.0, float(both.min())) - 0.06, max(1.0, float(both.max())) + 0.06)
    inset.set(xlim=reach, ylim=reach, xticks=[], yticks=[])
    for spine in inset.spines.values():
        spine.set_linewidth(0.6)
