"""Names of files, runs, clips and emotions are text in every figure: a dollar begins no formula."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from matplotlib.text import Text

from tenuto.reporting.figures import clip as clips
from tenuto.reporting.figures import curves as curve_figures
from tenuto.reporting.figures import explanation as panels
from tenuto.reporting.figures import smc2025 as figures
from tenuto.reporting.page import blocks as report_parts
from tests.analysis import test_curves
from tests.reporting import made_up, test_clips, test_panels

NAME = r"Ke$ha & Ty $ign \frac{"


def renamed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the emotion ``tender`` called by `NAME`."""
    told = rows["objective"].str.replace("tender", NAME, regex=False)
    return rows.assign(objective=told).rename(columns=lambda column: column.replace("tender", NAME))


def explanation() -> Any:
    found = test_panels.explained()
    effects = {NAME: {NAME: 0.1, "mode": -0.2}}
    curve = dataclasses.replace(found.curve, emotions={NAME: found.curve.emotions["valence"]})
    return dataclasses.replace(
        found,
        source=f"songs/{NAME}.mp3",
        emotions={NAME: 0.5},
        places=None,
        concepts=effects[NAME],
        effects=effects,
        curve=curve,
    )


def curves(rows: pd.DataFrame) -> Any:
    return test_curves.measured(renamed(test_curves.pushing(rows)))


FIGURES: dict[str, Callable[[], Any]] = {
    "figure 3": lambda: figures.figure3(
        pd.DataFrame({"system": [NAME], "seed": [6], "difference": [0.1]}),
    ),
    "figure 4": lambda: figures.figure4(renamed(made_up.run(NAME)), 6, (NAME,), (NAME,)),
    "curve": lambda: curve_figures.curve(curves(test_curves.run(NAME))),
    "pushed": lambda: curve_figures.emotions(curves(test_curves.run())),
    "explanation": lambda: panels.explanation_figure(explanation()),
    "intervention": lambda: panels.intervention_figure(test_panels.corrected(run=NAME)),
    "clip": lambda: clips.witness_figure(
        test_clips.made_up(test_clips.states((NAME,)), clip=NAME, emotions=test_clips.states((NAME,)))
    ),
    "concepts": lambda: report_parts.concept_figure(
        pd.DataFrame({"concept": [NAME], "spread": [0.1], "moved": [0.2]})
    ),
}


@pytest.mark.parametrize("kind", FIGURES)
@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_a_dollar_in_a_name_is_drawn_as_it_is(kind, ending, tmp_path):
    figure = FIGURES[kind]()
    assert figures.write_figure(figure, tmp_path / f"figure.{ending}").stat().st_size > 1000
    named = [text for text in figure.findobj(Text) if NAME in text.get_text()]
    assert named
    assert not any(text.get_parse_math() for text in named)
