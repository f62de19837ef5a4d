"""One attacked clip on one page: spectrograms, the change per band and second, emotions and concepts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenuto.analysis.words import NOTHING
from tenuto.reporting.figures import style
from tenuto.store.budgets import norm_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tenuto.evaluation.resynthesised_clip import Resynthesis

STATE_NAMES = {"before": "before", "after": "after the attack", "heard": "after, through sound"}
"""The states that are drawn, and their names; see `shown`."""

AUDIBLE_DB = 20
"""Noise-to-mask ratio, in dB, at the ends of the colours."""

TICKS_HZ = (100, 200, 500, 1000, 2000, 5000, 10000)


def state_names(resynthesis: Resynthesis) -> dict[str, str]:
    """The states that are drawn, and their names: an attacked waveform is only rounded to 16 bits."""
    return STATE_NAMES | {"heard": "after, in 16 bits"} if resynthesis.is_played else STATE_NAMES


@style.FIGURES.register("clip")
@style.drawing()
def clip_figure(resynthesis: Resynthesis, scale: tuple[float, float] = style.DRAWN_SCALE) -> Figure:
    """The clean and the attacked spectrogram and what the attack changed above, emotions and concepts below.

    The change of a spectrogram is drawn in its unit, that of a sound as its noise-to-mask ratio: red is above the
    masking threshold, blue is below it. Next to it are the shares of the squared perturbation of the spectrogram per
    band and per second. Below, predictions lie on the rating scale: an open circle before the attack, a filled one
    after it, a diamond after the attack has gone through sound, and a line at the annotation.

    Args:
        resynthesis: What an attack did to a clip, see `tenuto.evaluation.resynthesis`.
        scale: Lowest and highest rating.
    """
    groups = {"emotions": resynthesis.emotions} | (
        {"concepts": resynthesis.concepts} if resynthesis.concepts else {}
    )
    below = 0.9 + 0.28 * max(len(states["before"]) for states in groups.values())
    figure = style.new_figure(9.2, 4.15 + below)
    upper, lower = figure.subfigures(2, 1, height_ratios=[3.5, below], squeeze=False)[:, 0]
    figure.suptitle(style.fitted(figure, f"{title(resynthesis)}\n{sentence(resynthesis)}", 9), fontsize=9)
    _spectrograms(upper, resynthesis)
    panels = lower.subplots(1, len(groups), squeeze=False)[0]
    for axes, (name, states) in zip(panels, groups.items(), strict=True):
        axes.set_title(name)
        _changes(axes, states, resynthesis, scale)
    style.legend(lower, panels)
    return figure


def title(resynthesis: Resynthesis) -> str:
    """Clip, run, attack and budget: ``clip 055, A2E-6-1a2b3c4d under APGD-df4f2415 (APGD, linf 0.1)``."""
    attack = resynthesis.attack
    return (
        f"clip {resynthesis.clip}, {resynthesis.run} under {attack['protocol']} ({attack['attack']}, "
        f"{budget(resynthesis)})"
    )


def budget(resynthesis: Resynthesis) -> str:
    """The budget of the attack: ``linf 0.1``, ``40 dB SNR``."""
    norm, epsilon = resynthesis.attack["norm"], resynthesis.attack["epsilon"]
    return norm_of(norm).label(epsilon) if epsilon is not None else "no budget"


def sentence(resynthesis: Resynthesis) -> str:
    """What became of the attack as sound, in one sentence."""
    if not np.any(resynthesis.perturbation):
        return "The attack changed nothing."
    way = "in 16 bits" if resynthesis.is_played else "as sound"
    effect = (
        "The attack does not move the emotions"
        if resynthesis.survival is None
        else f"{percent(resynthesis.survival)} of the attack's effect on the emotions survives {way}"
    )
    if not math.isfinite(resynthesis.snr_db):
        return f"{effect}; in 16 bits there is nothing of it to hear."
    parts = [
        f"signal-to-noise ratio {decibels(resynthesis.snr_db)}",
        f"largest noise-to-mask ratio {decibels(resynthesis.nmr_db)}",
    ]
    if resynthesis.perceptual is not None:
        parts.append(f"perceptual score {resynthesis.perceptual:.2f} of 5 (5 is inaudible)")
    return f"{effect}. What is played: {', '.join(parts)}."


def words(resynthesis: Resynthesis) -> str:
    """What the picture of a clip shows, for those who do not see it."""
    before, after = resynthesis.emotions["before"], resynthesis.emotions["after"]
    most = most_moved(resynthesis)
    third = "the noise-to-mask ratio of the change" if resynthesis.is_played else "their difference"
    second = resynthesis.strongest_second
    where = (
        ""
        if resynthesis.median_hz is None or second is None
        else f" Half of the change is in bands up to {resynthesis.median_hz:.0f} Hz; second {second[0] + 1} of "
        f"{len(resynthesis.second_shares)} holds the largest part, {percent(second[1])}."
    )
    return (
        f"Log spectrograms of clip {resynthesis.clip} before and after the attack and {third}; marks of its "
        f"emotions before, after, and {state_names(resynthesis)['heard']}.{where} {most} moves most, from "
        f"{before[most]:z.2f} to {after[most]:z.2f}. {sentence(resynthesis)}"
    )


def most_moved(resynthesis: Resynthesis) -> str:
    """The emotion that the attack moves most."""
    before, after = resynthesis.emotions["before"], resynthesis.emotions["after"]
    return max(before, key=lambda name: abs(after[name] - before[name]))


def percent(share: float) -> str:
    """A share in percent, with a true minus: ``-0.05`` is ``−5 %``."""
    return f"{100 * share:z.0f} %".replace("-", "−")


def decibels(value: float) -> str:
    """Decibels with one decimal and a true minus; a dash where nothing changes."""
    return NOTHING if math.isinf(value) else f"{value:z.1f} dB".replace("-", "−")


def _spectrograms(figure: Any, resynthesis: Resynthesis) -> None:
    """Three pictures with one time and one frequency axis, and the shares at the edges of the third."""
    grid = figure.add_gridspec(2, 4, width_ratios=(1, 1, 1, 0.22), height_ratios=(1, 0.17))
    top = float(max(resynthesis.clean.max(), resynthesis.attacked.max(), 1e-6))
    change, reach, name = _change(resynthesis)
    greys = style.few_colours("Greys")
    images: list[Any] = []
    for title, values, colours, limits in (
        ("before", resynthesis.clean, greys, (0, top)),
        ("after", resynthesis.attacked, greys, (0, top)),
        (name, change, _change_colours(resynthesis), (-reach, reach)),
    ):
        axes = figure.add_subplot(grid[0, len(images)])
        extent = (0, len(resynthesis.second_shares), -0.5, len(resynthesis.band_hz) - 0.5)
        image = axes.imshow(
            values.T, colours, extent=extent, origin="lower", aspect="auto", interpolation="none"
        )
        image.set_clim(*limits)
        images.append(image)
        axes.set_title(title)
        axes.set_xlabel("time (s)", fontsize=8)
        _frequencies(axes, resynthesis.band_hz)
        axes.tick_params(labelleft=len(images) == 1)
    images[0].axes.set_ylabel("frequency (Hz)", fontsize=8)
    bars = [figure.colorbar(images[2], ax=images[2].axes, location="right", aspect=30, pad=0.02)]
    room = figure.add_subplot(grid[1, :2])
    room.set_axis_off()
    scale = room.inset_axes((0.3, 0.55, 0.4, 0.25))
    bars.append(figure.colorbar(images[1], cax=scale, orientation="horizontal"))
    scale.set_xlabel("log10(1 + magnitude)", fontsize=8)
    for bar in bars:
        bar.solids.set_rasterized(True)
    shares = {"color": style.system_colour(resynthesis.system), "alpha": 0.75}
    _per_band(figure.add_subplot(grid[0, 3]), resynthesis, **shares)
    _per_second(figure.add_subplot(grid[1, 2]), resynthesis, **shares)


def _change(resynthesis: Resynthesis) -> tuple[NDArray[Any], float, str]:
    """What the third picture shows, (frames, bands), its largest value, and its title."""
    if not resynthesis.is_played:
        change = resynthesis.perturbation
        return change, float(np.abs(change).max()) or 1.0, f"difference ({resynthesis.unit})"
    critical = np.searchsorted(resynthesis.critical_hz, resynthesis.band_hz, side="right") - 1
    ratio = resynthesis.noise_to_mask[:, critical]
    levels = 10 * np.log10(np.maximum(ratio, 1e-12))
    return levels.clip(-AUDIBLE_DB, AUDIBLE_DB), AUDIBLE_DB, "noise-to-mask ratio (dB)"


def _change_colours(resynthesis: Resynthesis) -> Any:
    """Red and blue for a difference; for a noise-to-mask ratio blues below the masking threshold, reds above it."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    if not resynthesis.is_played:
        return style.few_colours("RdBu_r")
    half = np.linspace(0, 1, style.COLOUR_STEPS // 2)
    below, above = colormaps["Blues"](0.6 * half), colormaps["Reds"](0.5 + 0.5 * half)
    return ListedColormap(np.concatenate([below, above]))


def _frequencies(axes: Axes, band_hz: tuple[float, ...]) -> None:
    """Ticks in Hz on an axis of bands; a frequency between two centres is placed between their ticks."""
    inside = [tick for tick in TICKS_HZ if band_hz[0] <= tick <= band_hz[-1]]
    axes.set_yticks(np.interp(inside, band_hz, np.arange(len(band_hz))), [f"{tick}" for tick in inside])
    axes.set_ylim(-0.5, len(band_hz) - 0.5)
    axes.tick_params(labelsize=8)


def _per_band(axes: Axes, resynthesis: Resynthesis, **bars: Any) -> None:
    """Share of the squared perturbation in each band, in percent, on the frequency axis."""
    shares = 100 * np.asarray(resynthesis.band_shares)
    axes.fill_betweenx(np.arange(len(shares)), shares, linewidth=0, step="mid", **bars)
    _frequencies(axes, resynthesis.band_hz)
    axes.tick_params(labelleft=False)
    axes.set_xlim(left=0)
    axes.set_title("% per band", fontsize=8, loc="right")
    style.open_axes(axes, "x")


def _per_second(axes: Axes, resynthesis: Resynthesis, **bars: Any) -> None:
    """Share of the squared perturbation in each second, in percent, on the time axis."""
    shares = 100 * np.asarray(resynthesis.second_shares)
    axes.bar(np.arange(len(shares)) + 0.5, shares, width=0.9, **bars)
    axes.set_xlim(0, len(shares))
    axes.tick_params(labelsize=8, labelbottom=False, bottom=False)
    axes.set_title("% per second", fontsize=8)
    style.open_axes(axes)


def _changes(
    axes: Axes,
    states: Mapping[str, Mapping[str, float]],
    resynthesis: Resynthesis,
    scale: tuple[float, float],
) -> None:
    """A line per emotion or concept, from its prediction before the attack to that after it, on the rating scale."""
    colour, names, labels = (
        style.system_colour(resynthesis.system),
        state_names(resynthesis),
        list(states["before"]),
    )
    places = np.arange(len(labels))[::-1]
    values = {state: [states[state][label] for label in labels] for state in states}
    marks: dict[str, dict[str, Any]] = {
        "before": {"marker": "o", "markersize": 6, **style.hollow(colour)},
        "after": {"marker": "o", "markersize": 6, "color": colour},
        "heard": {"marker": "D", "markersize": 4, **style.hollow(style.INK)},
    }
    axes.hlines(places, values["before"], values["after"], color=colour, linewidth=2, alpha=0.6)
    for state, mark in marks.items():
        axes.plot(values[state], places, linestyle="none", label=names[state], **mark)
    heights = [value for state in marks for value in values[state]]
    if "annotation" in values:
        ratings = values["annotation"]
        axes.vlines(ratings, places - 0.35, places + 0.35, color=style.INK, linewidth=1.6, label="annotation")
        heights += ratings
    axes.set_yticks(places, [label.replace("_", " ") for label in labels])
    axes.set_ylim(-0.7, len(labels) - 0.3)
    style.scale_axis(axes, heights, scale)
    style.open_axes(axes, "x")
