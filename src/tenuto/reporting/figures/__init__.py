"""Figures, one file per family, in one style (`tenuto.reporting.figures.style`)."""
