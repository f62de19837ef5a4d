"""The error of smoothed models over the radius, between an attack and a certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from tenuto.analysis import words
from tenuto.analysis.certificates import Sandwich
from tenuto.reporting.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGMA_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Of the sigmas, in turn."""


@style.FIGURES.register("certificates")
@style.drawing()
def sandwich(both: Sandwich) -> Figure:
    """A panel per system and input: for every sigma the certificate (solid), the attack (dashed), and all between."""
    panels = [
        own for _, own in both.table.groupby(["system", "unit", both.table["snr_db"].isna()], sort=False)
    ]
    figure = style.new_figure(max(3.1 * len(panels), 4.8), 3.6)
    sigmas = sorted(both.table["sigma"].unique())
    colours = {sigma: SIGMA_COLOURS[place % len(SIGMA_COLOURS)] for place, sigma in enumerate(sigmas)}
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    top = 1.08 * float(both.table[["clean_mae", "certified_mae", "attacked_mae"]].max().max())
    for axes, own in zip(all_axes, panels, strict=True):
        for sigma, lines in own.groupby("sigma"):
            _between(axes, lines, colours[float(str(sigma))], f"σ = {sigma:g}")
        axes.set_title(own["system"].iloc[0])
        axes.set_ylim(0, top)
        axes.set_xlabel(_size_title(own))
        style.open_axes(axes)
    _align(list(all_axes))
    all_axes[0].set_ylabel("MAE of the smoothed model")
    style.legend(figure, list(all_axes), "upper")
    return figure


def _align(all_axes: list[Axes]) -> None:
    """Give panels over the same quantity the same range."""
    for title in {axes.get_xlabel() for axes in all_axes}:
        same = [axes for axes in all_axes if axes.get_xlabel() == title]
        begins, ends = zip(*(axes.get_xlim() for axes in same), strict=True)
        # An axis in dB begins with its largest value.
        first, last = (max, min) if begins[0] > ends[0] else (min, max)
        for axes in same:
            axes.set_xlim(first(begins), last(ends))


def _size_title(own: pd.DataFrame) -> str:
    if own["snr_db"].notna().all():
        return "Signal-to-noise ratio (dB)"
    return f"L2 norm of the change ({words.short_unit(str(own['unit'].iloc[0]))})"


def _between(axes: Axes, lines: pd.DataFrame, colour: str, label: str) -> None:
    """Both lines of one sigma; attacks get stronger to the right."""
    in_db = lines["snr_db"].notna().all()
    lines = lines.sort_values("snr_db" if in_db else "radius", ascending=not in_db)
    line: dict[str, Any] = {"color": colour, "linewidth": 1.5, "markersize": 3.5}
    if in_db:
        axes.xaxis.set_inverted(True)
        places, clean = lines["snr_db"], lines[:0]
    else:
        # Without a perturbation both lines meet in the error of the smoothed model.
        places = pd.concat([pd.Series([0.0]), lines["radius"]])
        clean = lines[:1].assign(certified_mae=lines["clean_mae"], attacked_mae=lines["clean_mae"])
    curves = pd.concat([clean, lines])
    axes.plot(places, curves["certified_mae"], "o-", label=f"{label}: certificate", **line)
    if lines["attacked_mae"].notna().any():
        axes.plot(places, curves["attacked_mae"], "o--", label=f"{label}: attack", **line)
        axes.fill_between(
            places, curves["attacked_mae"], curves["certified_mae"], color=colour, alpha=0.13, linewidth=0
        )
