"""What holds for every figure: names are text, colours follow the theme, the user's settings do not matter."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from tenuto.analysis.certificates import sandwich
from tenuto.evaluation.attribution import Attribution
from tenuto.reporting import figures
from tenuto.reporting.figures import style
from tests.analysis import test_certificates, test_curves
from tests.reporting import made_up, test_clip, test_explanation, test_figures

NAME = r"Ke$ha & Ty $ign 音 \frac{"
"""A formula to matplotlib, and a character that its font lacks."""


def explanation() -> Any:
    result = test_explanation.explained()
    effects = {NAME: {NAME: 0.1, "mode": -0.2}}
    curve = dataclasses.replace(result.curve, emotions={NAME: result.curve.emotions["valence"]})
    return dataclasses.replace(
        result,
        source=f"songs/{NAME}.mp3",
        emotions={NAME: 0.5},
        places=None,
        concepts=effects[NAME],
        effects=effects,
        curve=curve,
    )


def attribution() -> Any:
    shares = np.linspace(-1, 1, 20).reshape(5, 4)
    segments = pd.DataFrame({"from_seconds": [0.0], "to_seconds": 10.0, "from_hz": 100.0, "to_hz": 200.0})
    return Attribution(NAME, NAME, NAME, "occlusion", 0.5, 0.1, shares, shares, segments)


def curves(rows: pd.DataFrame) -> Any:
    return test_curves.measured(made_up.renamed(test_curves.pushing(rows), NAME))


EXAMPLES: dict[str, Callable[[], Any]] = {
    "tradeoff": lambda: figures.tradeoff.tradeoff(test_figures.errors((NAME,))),
    "certificates": lambda: figures.certificates.sandwich(sandwich(test_certificates.rows(system=NAME))),
    "overview": lambda: figures.smc2025.overview(
        pd.DataFrame({"clean_mae": [0.1], "mae": [0.2], "clean_corr": [0.9], "corr": [0.1]}, index=[NAME])
    ),
    "figure3": lambda: figures.smc2025.figure3(
        pd.DataFrame({"system": [NAME], "seed": [6], "difference": [0.1]})
    ),
    "figure4": lambda: figures.smc2025.figure4(made_up.renamed(made_up.run(NAME), NAME), 6, (NAME,), (NAME,)),
    "attribution": lambda: figures.attribution.attribution_figure(attribution()),
    "curve": lambda: figures.curves.curve_figure(curves(test_curves.run(NAME))),
    "emotions": lambda: figures.curves.emotion_figure(curves(test_curves.run())),
    "explanation": lambda: figures.explanation.explanation_figure(explanation()),
    "intervention": lambda: figures.explanation.intervention_figure(test_explanation.corrected(run=NAME)),
    "clip": lambda: figures.clip.clip_figure(
        test_clip.made_up(test_clip.states((NAME,)), clip=NAME, emotions=test_clip.states((NAME,)))
    ),
    "concepts": lambda: figures.explanation.concept_figure(
        pd.DataFrame({"concept": [NAME], "spread": [0.1], "moved": [0.2]}), NAME
    ),
}


def test_every_registered_figure_has_an_example():
    assert set(style.FIGURES) == EXAMPLES.keys()


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_dollar_in_a_name_is_drawn_as_it_is(kind, tmp_path):
    figure = EXAMPLES[kind]()
    assert style.write_figure(figure, tmp_path / "figure.pdf").stat().st_size > 1000
    # A long name may be broken into lines.
    named = [text for text in figure.findobj(Text) if NAME in " ".join(text.get_text().split())]
    assert named
    assert not any(text.get_parse_math() for text in named)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_colours_follow_the_theme(kind):
    """Every dark colour of the light page has its counterpart on a dark page, and no background is painted."""
    source = style.svg(EXAMPLES[kind]())
    drawing, rules = re.sub("<style.*?</style>", "", source, flags=re.DOTALL), source.split("</style>")[0]
    for colour in set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", drawing)):
        if luminance(colour) < 0.2:
            assert f'[style*="fill: {colour}"]' in rules, colour
    assert re.search(r'id="patch_1">\s*<path d="[^"]*"\s*style="fill: none', drawing)


def luminance(colour):
    """Relative luminance, WCAG 2.1."""
    channels = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(colour, ground):
    high, low = sorted((luminance(colour), luminance(ground)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_systems_have_distinct_colours_that_do_not_depend_on_the_others():
    others = [f"other_{number}" for number in range(7)]  # as many as robust-2025-quick has
    everyone = style.system_colours([*made_up.SYSTEMS, *others])
    assert len(set(everyone.values())) == 12
    assert style.system_colours(["A2M2E"]) == {"A2M2E": everyone["A2M2E"]}
    dark = [style.DARK_COLOURS.get(colour, colour) for colour in everyone.values()]
    assert len(set(dark)) == 12
    assert min(contrast(colour, style.DARK_COLOURS[style.BACKGROUND_COLOUR]) for colour in dark) > 3


VALUES = {"system": ["A2E"] * 6, "seed": [*range(6)], "difference": [0.1, 0.2, 0.3, 0.1, 0.2, 0.3]}
DRAW = f"""
import pathlib, sys
import pandas as pd
from tenuto.reporting import figure3, save_figure
save_figure(figure3(pd.DataFrame({VALUES})), pathlib.Path(sys.argv[1]))
import matplotlib
print(matplotlib.rcParams["text.usetex"], matplotlib.rcParams["font.size"], "matplotlib.pyplot" in sys.modules)
"""


@pytest.mark.parametrize(
    ("backend", "settings", "kept"),
    [
        ("no such backend", "", "False 10.0 False"),
        (
            "module://matplotlib_inline.backend_inline",
            "text.usetex: True\nfont.size: 30\nsavefig.bbox: tight\naxes.grid: True",
            "True 30.0 False",
        ),
    ],
    ids=["unknown backend", "notebook and matplotlibrc"],
)
def test_the_users_settings_change_no_byte_and_are_kept(tmp_path, backend, settings, kept):
    (tmp_path / "matplotlibrc").write_text(settings)
    environment = os.environ | {"MPLBACKEND": backend, "MPLCONFIGDIR": str(tmp_path)}
    command = [sys.executable, "-c", DRAW, str(tmp_path / "figure3")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.strip()) == (0, kept), ended.stderr
    for path in style.save_figure(figures.smc2025.figure3(pd.DataFrame(VALUES)), tmp_path / "here").values():
        assert (tmp_path / f"figure3{path.suffix}").read_bytes() == path.read_bytes()


def legend(names: list[str]) -> Any:
    """The legend of a figure with a line for every name."""
    figure = style.new_figure(4.8, 3)
    axes = figure.subplots()
    for name in names:
        axes.plot([0, 1], label=name)
    style.legend(figure, [axes])
    return figure.legends[0]


def test_a_legend_has_as_many_columns_as_its_figure_is_wide_enough_for() -> None:
    assert legend(["A2E", "A2M2E"])._ncols == 2
    long = legend([f"A2M2E_sequential_{number}" for number in range(5)])
    assert 1 < long._ncols < 5
    assert long.get_window_extent().width <= long.get_figure().bbox.width
