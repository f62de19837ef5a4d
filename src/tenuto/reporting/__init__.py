"""Tables, figures and the report, from rows and numbers; torch is not needed, and matplotlib is imported to draw."""

from tenuto.reporting.certificates import write_sandwich
from tenuto.reporting.comparison import write_comparison
from tenuto.reporting.curves import write_curves
from tenuto.reporting.figures.attribution import attribution_figure
from tenuto.reporting.figures.clip import clip_figure
from tenuto.reporting.figures.curves import curve_figure, emotion_figure
from tenuto.reporting.figures.explanation import concept_figure, explanation_figure, intervention_figure
from tenuto.reporting.figures.smc2025 import figure3, figure4, overview
from tenuto.reporting.figures.style import FIGURES, drawing, new_figure, save_figure, write_figure
from tenuto.reporting.optimality import write_optimality
from tenuto.reporting.paper import write_paper

__all__ = [
    "FIGURES",
    "attribution_figure",
    "clip_figure",
    "concept_figure",
    "curve_figure",
    "drawing",
    "emotion_figure",
    "explanation_figure",
    "figure3",
    "figure4",
    "intervention_figure",
    "new_figure",
    "overview",
    "save_figure",
    "write_comparison",
    "write_curves",
    "write_figure",
    "write_optimality",
    "write_paper",
    "write_sandwich",
]
