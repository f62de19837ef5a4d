"""What an attack did to one clip, on one page: spectrograms, where the change sits, emotions and concepts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tenuto.reporting.figures.smc2025 import BLUE, GREEN, GREY, INK, STYLE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tenuto.evaluation.resynthesis import Witness

SHOWN: dict[str, tuple[str, str]] = {
    "before": ("before", BLUE),
    "after": ("after the attack", VERMILLION),
    "heard": ("after, through sound", GREEN),
}
"""The states that get a bar, in this order from above: label and colour."""

TICKS_HZ = (100, 200, 500, 1000, 2000, 5000, 10000)


def witness_figure(witness: Witness) -> Figure:
    """The clean and the attacked spectrogram and their difference above, emotions and concepts below.

    Beside the difference stand the shares of the squared perturbation per band and per second. Bars are predictions
    before the attack, after it, and after it has gone through sound; a black line is the annotation.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    groups = {"emotions": witness.emotions} | ({"concepts": witness.concepts} if witness.concepts else {})
    lines = max(len(states["before"]) for states in groups.values())
    below = 0.7 + 0.3 * lines
    with rc_context(STYLE):
        figure = Figure(figsize=(9.2, 4.0 + below), layout="constrained")
        upper, lower = figure.subfigures(2, 1, height_ratios=[3.5, below], squeeze=False)[:, 0]
        figure.suptitle(f"{title(witness)}\n{sentence(witness)}", fontsize=9)
        _spectrograms(upper, witness)
        panels = lower.subplots(1, len(groups), squeeze=False)[0]
        for axes, (name, states) in zip(panels, groups.items(), strict=True):
            _bars(axes, name, states)
        _legend(lower, panels)
    return figure


def title(witness: Witness) -> str:
    """Clip, run, attack and budget: ``clip 055, A2E-6-1a2b3c4d under APGD-df4f2415 (APGD, linf 0.1)``."""
    attack = witness.attack
    size = f"{attack['norm']} {attack['epsilon']:g}" if attack["epsilon"] is not None else "no budget"
    return f"clip {witness.clip}, {witness.run} under {attack['protocol']} ({attack['attack']}, {size})"


def sentence(witness: Witness) -> str:
    """What became of the attack as sound, in one sentence."""
    if not np.any(witness.perturbation):
        return "The attack changed nothing."
    effect = (
        "The attack does not move the emotions"
        if witness.survival is None
        else f"{percent(witness.survival)} of the attack's effect on the emotions survives as sound"
    )
    if not math.isfinite(witness.snr_db):
        return f"{effect}; in 16 bits there is nothing of it to hear."
    return (
        f"{effect}; the signal-to-noise ratio of the samples that are played is {decibels(witness.snr_db)}."
    )


def words(witness: Witness) -> str:
    """What the picture of a clip shows, for those who do not see it."""
    before, after = witness.emotions["before"], witness.emotions["after"]
    most = most_moved(witness)
    second = witness.strongest_second
    where = (
        ""
        if witness.median_hz is None or second is None
        else f" Half of the change lies in bands up to {witness.median_hz:.0f} Hz; second {second[0] + 1} of "
        f"{len(witness.second_shares)} holds the largest part, {percent(second[1])}."
    )
    return (
        f"Log spectrograms of clip {witness.clip} before and after the attack and their difference; bars of its "
        f"emotions before, after, and after the way through sound.{where} {most} moves most, from {before[most]:.2f} "
        f"to {after[most]:.2f}. {sentence(witness)}"
    )


def most_moved(witness: Witness) -> str:
    """The emotion that the attack moves most."""
    before, after = witness.emotions["before"], witness.emotions["after"]
    return max(before, key=lambda name: abs(after[name] - before[name]))


def percent(share: float) -> str:
    """A share in percent, with a true minus: ``-0.05`` is ``−5 %``."""
    return f"{100 * share:.0f} %".replace("-", "−")


def decibels(value: float) -> str:
    """Decibels with one decimal and a true minus."""
    return f"{value:.1f} dB".replace("-", "−")


def _spectrograms(figure: Any, witness: Witness) -> None:
    """Three pictures with one time and one frequency axis, and the shares at the edges of the third."""
    grid = figure.add_gridspec(2, 4, width_ratios=(1, 1, 1, 0.22), height_ratios=(1, 0.17))
    clean, attacked, change = (figure.add_subplot(grid[0, column]) for column in range(3))
    place: dict[str, Any] = {
        "origin": "lower",
        "aspect": "auto",
        "interpolation": "nearest",
        "extent": (0, len(witness.second_shares), -0.5, len(witness.band_hz) - 0.5),
    }
    top = float(max(witness.clean.max(), witness.attacked.max(), 1e-6))
    for axes, values, name in ((clean, witness.clean, "before"), (attacked, witness.attacked, "after")):
        picture = axes.imshow(values.T, cmap="Greys", vmin=0, vmax=top, **place)
        axes.set_title(name)
    reach = float(np.abs(witness.perturbation).max()) or 1.0
    difference = change.imshow(witness.perturbation.T, cmap="RdBu_r", vmin=-reach, vmax=reach, **place)
    change.set_title("difference (deviations)")
    figure.colorbar(difference, ax=change, location="right", aspect=30, pad=0.02)
    room = figure.add_subplot(grid[1, :2])
    room.set_axis_off()
    scale = room.inset_axes((0.3, 0.55, 0.4, 0.25))
    figure.colorbar(picture, cax=scale, orientation="horizontal")
    scale.set_xlabel("log10(1 + magnitude)", fontsize=8)
    for axes in (clean, attacked, change):
        _frequencies(axes, witness.band_hz)
        axes.set_xlabel("time (s)", fontsize=8)
        axes.tick_params(labelleft=axes is clean)
    clean.set_ylabel("frequency (Hz)", fontsize=8)
    _per_band(figure.add_subplot(grid[0, 3]), witness)
    _per_second(figure.add_subplot(grid[1, 2]), witness)


def _frequencies(axes: Axes, band_hz: tuple[float, ...]) -> None:
    """Ticks in Hz on an axis of bands; a frequency between two centres lies between their numbers."""
    inside = [tick for tick in TICKS_HZ if band_hz[0] <= tick <= band_hz[-1]]
    axes.set_yticks(np.interp(inside, band_hz, np.arange(len(band_hz))), [f"{tick}" for tick in inside])
    axes.set_ylim(-0.5, len(band_hz) - 0.5)
    axes.tick_params(labelsize=8)


def _per_band(axes: Axes, witness: Witness) -> None:
    """Share of the squared perturbation in each band, in percent, on the frequency axis."""
    shares = 100 * np.asarray(witness.band_shares)
    axes.fill_betweenx(np.arange(len(shares)), shares, color=VERMILLION, alpha=0.75, linewidth=0, step="mid")
    _frequencies(axes, witness.band_hz)
    axes.tick_params(labelleft=False)
    axes.set_xlim(left=0)
    axes.set_title("% per band", fontsize=8, loc="right")
    axes.spines[["top", "right"]].set_visible(False)


def _per_second(axes: Axes, witness: Witness) -> None:
    """Share of the squared perturbation in each second, in percent, on the time axis."""
    shares = 100 * np.asarray(witness.second_shares)
    axes.bar(np.arange(len(shares)) + 0.5, shares, width=0.9, color=VERMILLION, alpha=0.75)
    axes.set_xlim(0, len(shares))
    axes.tick_params(labelsize=8, labelbottom=False, bottom=False)
    axes.set_title("% per second", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _bars(axes: Axes, name: str, states: Mapping[str, Mapping[str, float]]) -> None:
    """Three bars per emotion or concept, and a black line at its annotation."""
    labels = list(states["before"])
    places, height = np.arange(len(labels))[::-1], 0.25
    for number, state in enumerate(SHOWN):
        text, colour = SHOWN[state]
        values = [states[state][label] for label in labels]
        axes.barh(places + height * (1 - number), values, height=height, color=colour, label=text)
    if "annotation" in states:
        values = [states["annotation"][label] for label in labels]
        axes.vlines(values, places - 0.45, places + 0.45, color=INK, linewidth=1.6, label="annotation")
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [label.replace("_", " ") for label in labels])
    axes.set_title(name)
    axes.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Any, panels: Any) -> None:
    """One legend for all panels of bars."""
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles), frameon=False
    )
