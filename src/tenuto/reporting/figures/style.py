"""One style for all figures: colour says which system, shape says which state; drawing ignores the user's settings."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import numpy as np

from tenuto.errors import ConfigError
from tenuto.files import write_bytes
from tenuto.registry import Registry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase
    from matplotlib.layout_engine import LayoutEngine
    from matplotlib.transforms import BboxBase

FIGURES: Registry[Callable[..., Any]] = Registry("figure", "tenuto.figures", Callable)
"""Name -> function that draws the figure."""

INK, GREY, BACKGROUND_COLOUR = "#222222", "#999999", "#ffffff"
SYSTEM_COLOURS = {
    "A2E": "#d55e00",
    "A2B2E": "#cc79a7",
    "A2M2E": "#009e73",
    "aA2E": "#0072b2",
    "aA2B2E": "#56b4e9",
}
"""The colour of each system of the study in every figure (Okabe and Ito: distinct to every eye)."""

OTHER_COLOURS = ("#e69f00", "#7f5fb0", "#8c6d31", "#b8a800", "#5b6c7f", "#2e8b9a", "#c0392b")
"""Colours of other systems, in their order."""

DARK_COLOURS = {
    INK: "#ebe8e1",
    GREY: "#8d9197",
    BACKGROUND_COLOUR: "#16181b",
    "#d55e00": "#ef7f2d",
    "#009e73": "#22c294",
    "#0072b2": "#4aa3e0",
    "#7f5fb0": "#a98ad6",
    "#8c6d31": "#b8975a",
    "#56b4e9": "#a6dcff",
    "#5b6c7f": "#8fa2b7",
}
"""What a colour becomes on a dark page; the others are the same on both."""

SYSTEM_WORDS = {
    "A2E": "audio to emotions, directly",
    "A2B2E": "audio to emotions through a bottleneck of free units",
    "A2M2E": "audio to emotions through a bottleneck of musical concepts",
    "aA2E": "A2E trained on attacked clips (adversarial training)",
    "aA2B2E": "A2B2E trained on attacked clips (adversarial training)",
}
"""What each system of the study is."""

DRAWN_SCALE = (0.0, 1.0)
"""The rating scale of the study's data; see `tenuto.analysis.systems.label_scale` for others."""

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
    "text.usetex": False,
    "text.parse_math": False,  # a file or a run may be called $x
    "svg.hashsalt": "tenuto",
    "savefig.dpi": 200,
}

COLOUR_STEPS = 33
"""Few colours make small files."""

PANELS_PER_LINE = 4
"""Emotions side by side where each has a panel of its own."""

PANEL_TITLE_LETTERS = 20
"""Of a line above such a panel, at most."""

SAFE = " !$()*+,-./:;=?@[]_~{}|\n"
"""Characters that need no escape in a data URI."""

FIGURE_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None},
}
"""Endings a figure can have, and the metadata without which the same figure has the same bytes."""


def _import_matplotlib() -> None:
    """Import matplotlib, without ``MPLBACKEND`` where that names a backend which is not installed."""
    try:
        import matplotlib
    except ValueError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]  # half imported
        backend = os.environ.pop("MPLBACKEND", None)
        try:
            import matplotlib  # noqa: F401
        finally:
            if backend is not None:
                os.environ["MPLBACKEND"] = backend


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Draw with matplotlib's defaults and `STYLE`, whatever the user's matplotlibrc and environment say.

    Works as a decorator too. The caller's settings are restored. Characters that the font lacks are drawn as boxes: no
    warning for each of them.
    """
    _import_matplotlib()
    from matplotlib import style

    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, of no window and no pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def few_colours(name: str) -> Any:
    """A colour map of matplotlib in `COLOUR_STEPS` steps."""
    from matplotlib import colormaps

    return colormaps[name].resampled(COLOUR_STEPS)


def fitted(figure: Figure, text: str, size: float) -> str:
    """A text of this font size in lines as wide as the figure; words that are longer are broken."""
    letters = int(72 * figure.get_figwidth() / (0.588 * size))
    return "\n".join(textwrap.fill(line, letters) for line in text.splitlines())


_COLOURED: ContextVar[Sequence[str]] = ContextVar("coloured", default=())


@contextlib.contextmanager
def coloured(systems: Sequence[str]) -> Iterator[None]:
    """Figures drawn inside give each of these systems one colour, whichever of them a figure shows."""
    token = _COLOURED.set(systems)
    try:
        yield
    finally:
        _COLOURED.reset(token)


def system_colours(systems: Sequence[str]) -> dict[str, str]:
    """System -> colour; systems of the study always have the same one, others that of their place (`coloured`)."""
    others = [name for name in dict.fromkeys((*_COLOURED.get(), *systems)) if name not in SYSTEM_COLOURS]
    cycle = {name: OTHER_COLOURS[place % len(OTHER_COLOURS)] for place, name in enumerate(others)}
    return {name: SYSTEM_COLOURS.get(name) or cycle[name] for name in systems}


def system_colour(system: str) -> str:
    """The colour of one system."""
    return system_colours([system])[system]


def hollow(colour: str) -> dict[str, Any]:
    """The style of an open mark: of what is before an attack, or of a single value."""
    return {"markerfacecolor": BACKGROUND_COLOUR, "markeredgecolor": colour}


def open_axes(axes: Axes, grid: Literal["x", "y"] = "y") -> None:
    """Remove the upper and right edge and draw a faint grid along one axis."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=GREY, alpha=0.25, linewidth=0.6)


def scale_axis(axes: Axes, values: Sequence[float], scale: tuple[float, float]) -> None:
    """Shade the rating scale along x and show all of it; more only where a value lies outside, by halves of it."""
    low, high = scale
    half = (high - low) / 2
    below = np.ceil(max(low - min(values, default=low), 0) / half - 0.1)
    above = np.ceil(max(max(values, default=high) - high, 0) / half - 0.1)
    axes.axvspan(low, high, color=GREY, alpha=0.12, linewidth=0, zorder=0)
    axes.set_xlim(low - half * (max(below, 0) + 0.1), high + half * (max(above, 0) + 0.1))


def legend(figure: Any, panels: Sequence[Axes], place: str = "lower", columns: int = 5) -> None:
    """One legend outside all panels, each label once, in at most so many columns as the figure is wide enough for."""
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    for count in range(min(columns, max(len(handles), 1)), 0, -1):
        legend_box = figure.legend(
            list(handles.values()), list(handles), loc=f"outside {place} center", ncols=count, fontsize=8
        )
        if count == 1 or legend_box.get_window_extent().width <= figure.bbox.width:
            return
        legend_box.remove()


def save_figure(figure: Figure, stem: Path) -> dict[str, Path]:
    """Write ``<stem>.png`` and ``.pdf`` atomically. Name -> path."""
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in FIGURE_METADATA]
    return {path.name: write_figure(figure, path) for path in paths}


def write_figure(figure: Figure, path: Path) -> Path:
    """Write one figure atomically as PNG or PDF, by the ending; without a date: same figure, same bytes.

    Raises:
        ConfigError: Another ending.
    """
    check_ending(path)
    kind = path.suffix[1:]
    return write_bytes(path, _rendered(figure, kind, FIGURE_METADATA[kind], facecolor="white"))


def check_ending(path: Path) -> None:
    """Raise `ConfigError` for a figure that is neither PNG nor PDF, before any work is done for it."""
    if path.suffix[1:] not in FIGURE_METADATA:
        raise ConfigError(
            f"{path}: a figure ends in {' or '.join('.' + kind for kind in FIGURE_METADATA)}. Rename the file."
        )


def svg(figure: Figure) -> str:
    """The figure as SVG without background; on a dark page its colours are those of `DARK_COLOURS`."""
    metadata = {"Date": None, "Creator": None}
    source = _rendered(figure, "svg", metadata, transparent=True).decode("utf-8")
    rules = "".join(
        f'[style*="{part}: {light}"]{{{part}:{dark} !important}}'
        for light, dark in DARK_COLOURS.items()
        for part in ("fill", "stroke")
    )
    # A spectrogram is dark on light: inverted it is light on dark, and red stays red.
    rules += "image{filter:invert(1) hue-rotate(180deg)}"
    return source.replace("</style>", f"@media (prefers-color-scheme: dark){{{rules}}}</style>", 1)


def svg_uri(figure: Figure) -> str:
    """The same as a URI, which may stand between double quotes."""
    return f"data:image/svg+xml,{quote(svg(figure), safe=SAFE)}"


def _rendered(figure: Figure, kind: str, metadata: dict[str, Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    figure.set_layout_engine(_steady_layout())
    with drawing():
        figure.savefig(stream, format=kind, metadata=metadata, **options)
    return stream.getvalue()


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
