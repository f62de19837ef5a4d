"""The figure of an attribution: the input, and the shares of its parts before and after an attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tenuto.reporting.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tenuto.evaluation.attribution import Attribution, Values

CLIPPED = 0.995
"""Quantile of the sizes of shares at the ends of the colours: single entries would hide all others."""


@style.FIGURES.register("attribution")
@style.drawing()
def attribution_figure(attribution: Attribution) -> Figure:
    """The input and the share of every entry in the prediction; after an attack on the attribution too.

    Red raises the prediction, blue lowers it. Both attributions have the same colours.

    Args:
        attribution: See `tenuto.evaluation.attribution`.
    """
    change = attribution.moved
    maps = {f"{attribution.method}": attribution.values}
    if change is not None:
        maps["after the attack on the attribution"] = change.values
    figure = style.new_figure(8.4, 1.0 + 1.7 * (1 + len(maps)))
    title = f"{attribution.source}, {attribution.run}: {attribution.output} {attribution.prediction:.3f}"
    figure.suptitle(style.fitted(figure, title, 10), fontsize=10)
    panels = figure.subplots(1 + len(maps), 1, sharex=True, squeeze=False)[:, 0]
    along = "seconds" if "to_seconds" in attribution.segments else "row"
    length = float(attribution.segments[f"to_{along}"].max())
    _draw(panels[0], attribution.inputs, length, attribution, "input", None)
    sizes = np.concatenate([np.abs(values).ravel() for values in maps.values()])
    limit = float(np.quantile(sizes, CLIPPED)) or float(sizes.max()) or 1.0
    for axes, (name, values) in zip(panels[1:], maps.items(), strict=True):
        image = _draw(axes, values, length, attribution, name, limit)
    bar: Any = figure.colorbar(image, ax=panels[1:].tolist(), label="share of an entry", fraction=0.03)
    bar.solids.set_rasterized(True)
    panels[-1].set_xlabel(along)
    return figure


def _draw(
    axes: Any, values: Values, length: float, attribution: Attribution, name: str, limit: float | None
) -> Any:
    """One picture of (steps, bands): time to the right, frequency upwards; a waveform as a line."""
    axes.set_title(name, fontsize=8, loc="left")
    if values.shape[1] == 1:
        (line,) = axes.plot(np.linspace(0, length, len(values), endpoint=False), values[:, 0], linewidth=0.5)
        axes.set_xlim(0, length)
        return line if limit is None else _scale(axes, limit)
    greys, signed = style.few_colours("Greys"), style.few_colours("RdBu_r")
    colours = {"cmap": greys} if limit is None else {"cmap": signed, "vmin": -limit, "vmax": limit}
    extent = (0, length, 0, values.shape[1])
    image = axes.imshow(
        values.T, origin="lower", aspect="auto", extent=extent, interpolation="nearest", **colours
    )
    if "from_hz" in attribution.segments:
        edges = attribution.segments.drop_duplicates("from_hz")
        count = len(edges)
        places = np.linspace(0, values.shape[1], count + 1)[:-1]
        axes.set_yticks(places, [f"{hz:.0f}" for hz in edges["from_hz"]])
        axes.set_ylabel("Hz")
    elif "from_column" in attribution.segments:
        axes.set_ylabel("column")
    return image


def _scale(axes: Any, limit: float) -> Any:
    """A colour scale for a line, which has none."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes.set_ylim(-limit, limit)
    return ScalarMappable(Normalize(-limit, limit), style.few_colours("RdBu_r"))
