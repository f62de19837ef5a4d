"""Sphinx: the pages of this folder, and the API reference from docstrings."""

from __future__ import annotations

import tenuto

project = "Tenuto"
author = "The Tenuto authors"
copyright = "The Tenuto authors. MIT licence"
version = release = tenuto.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
templates_path = ["templates"]
autosummary_generate = True

autodoc_typehints = "description"
autodoc_member_order = "bysource"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "Tenuto"
suppress_warnings = ["ref.python"]  # one short name may mean several classes; the link is then left out
