"""Clean error against the error after the attack, run by run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenuto.analysis.comparison import ERROR_MEASURES, Comparison
from tenuto.analysis.systems import ordered_systems
from tenuto.reporting.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "os^D"
"""Of systems that have the same colour, in turn."""


@style.FIGURES.register("tradeoff")
@style.drawing()
def tradeoff(comparison: Comparison) -> Figure:
    """A small mark per run and a large one at the mean of its system; the dotted line is an attack without effect."""
    runs = comparison.runs
    figure = style.new_figure(6.6, 4.0)
    axes = figure.subplots()
    colours = style.system_colours(ordered_systems(runs))
    for place, (system, colour) in enumerate(colours.items()):
        own = runs.loc[runs["system"] == system, ["clean", "attacked"]]
        marker = MARKERS[list(colours.values())[:place].count(colour) % len(MARKERS)]
        mark: dict[str, Any] = {"marker": marker, "linestyle": "", "color": colour}
        axes.plot(own["clean"], own["attacked"], markersize=4, alpha=0.6, markeredgewidth=0, **mark)
        edge = {"markersize": 8, "markeredgecolor": style.INK, "markeredgewidth": 0.8}
        axes.plot(*own.mean(), label=system, zorder=3, **mark | edge)
    axes.set_ylim(0, 1.08 * float(runs[["clean", "attacked"]].max().max()))
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=6)
    limits = axes.get_xlim()
    axes.plot(
        limits, limits, color=style.GREY, linewidth=1.2, linestyle=(0, (1, 1.2)), zorder=1, label="no effect"
    )
    axes.plot([], [], "o", color=style.GREY, markersize=4, label="one run")
    axes.set_xlim(limits)
    error = ERROR_MEASURES[comparison.settings.measure][0].capitalize()
    axes.set_xlabel(f"{error} error on clean clips")
    axes.set_ylabel(f"{error} error after the attack")
    style.open_axes(axes)
    style.legend(figure, [axes], "right", columns=1)
    return figure
