"""Tables, figures and the report, from rows and numbers; torch is not needed, and matplotlib is imported to draw."""

from tenuto.reporting.certificates import write_sandwich
from tenuto.reporting.comparison import write_comparison
from tenuto.reporting.figures.attribution import attribution_figure
from tenuto.reporting.figures.clip import clip_figure
from tenuto.reporting.figures.curves import curve_figure, emotion_figure
from tenuto.reporting.figures.explanation import concept_figure, explanation_figure, intervention_figure
from tenuto.reporting.figures.smc2025 import figure3, figure4, overview
from tenuto.reporting.figures.style import FIGURES, drawing, new_figure, save_figure, write_figure
from tenuto.reporting.optimality import write_optimality
from tenuto.reporting.page.inputs import PageInputs, gather, read_findings
from tenuto.reporting.page.report import Page, make_page, render, write_report
from tenuto.reporting.paper import (
    write_all,
    write_curves,
    write_figure3,
    write_figure4,
    write_significance,
    write_table1,
)
from tenuto.reporting.tables import latex, markdown

__all__ = [
    "FIGURES",
    "Page",
    "PageInputs",
    "attribution_figure",
    "clip_figure",
    "concept_figure",
    "curve_figure",
    "drawing",
    "emotion_figure",
    "explanation_figure",
    "figure3",
    "figure4",
    "gather",
    "intervention_figure",
    "latex",
    "make_page",
    "markdown",
    "new_figure",
    "overview",
    "read_findings",
    "render",
    "save_figure",
    "write_all",
    "write_comparison",
    "write_curves",
    "write_figure",
    "write_figure3",
    "write_figure4",
    "write_optimality",
    "write_report",
    "write_sandwich",
    "write_significance",
    "write_table1",
]
