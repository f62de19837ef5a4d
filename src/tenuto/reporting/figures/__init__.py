"""Figures, one file per family, in one style."""
