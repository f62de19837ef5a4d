"""Figures, one file per family, in one style (`tenuto.reporting.figures.style`)."""

from tenuto.reporting.figures import attribution, certificates, clip, curves, explanation, smc2025, tradeoff
from tenuto.reporting.figures.style import FIGURES, check_ending, save_figure, write_figure

__all__ = [
    "FIGURES",
    "attribution",
    "certificates",
    "check_ending",
    "clip",
    "curves",
    "explanation",
    "save_figure",
    "smc2025",
    "tradeoff",
    "write_figure",
]
