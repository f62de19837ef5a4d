"""What is measured on: real recordings where they lie on this machine, else synthesized ones."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from tenuto.data import Index, Soundtracks, Synthetic
from tenuto.data.synthesis import synthesize

LEAST_CLIPS = 30
"""Fewer would leave less than three validation clips, and equal ratings of two have no correlation."""

SECONDS = 18.0
"""Length of a synthesized clip: about the mean of the real ones."""


def real_recordings() -> Path | None:
    """The Soundtracks folder below ``$TENUTO_SHARED``, else below ``shared`` next to the repository, else None."""
    named = os.environ.get("TENUTO_SHARED")
    shared = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    folder = shared / "soundtracks"
    return folder if (folder / "Set1").is_dir() else None


def recordings(clips: int, folder: Path) -> tuple[str, Index]:
    """Which recordings, in words, and their index with labels; ``folder`` takes them if they must be made."""
    real = real_recordings()
    if real is None:
        return "synthesized", Synthetic(synthesize(folder, clips=clips, seconds=SECONDS)).index
    return "Soundtracks", _spread(Soundtracks(real).index, clips)


def _spread(index: Index, clips: int) -> Index:
    """That many clips, evenly spread over the data set: it is sorted by emotion."""
    rows = np.linspace(0, len(index) - 1, min(clips, len(index))).astype(int)
    return dataclasses.replace(
        index,
        clips=tuple(index.clips[row] for row in rows),
        paths=tuple(index.paths[row] for row in rows),
        labels=index.labels[rows],
        albums=None,
    )
