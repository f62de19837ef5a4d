"""What is measured on: real recordings where they lie on this machine, else synthesized ones."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tenuto.data import Index, Soundtracks, Synthetic
from tenuto.data.synthesis import synthesize

LEAST_CLIPS = 20
"""Fewer would leave less than two validation clips, and those have no correlation."""

SECONDS = 18.0
"""Length of a synthesized clip: about the mean of the real ones."""


def real_recordings() -> Path | None:
    """The Soundtracks folder below ``$TENUTO_SHARED``, else below ``shared`` beside the repository, else None."""
    named = os.environ.get("TENUTO_SHARED")
    shared = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    folder = shared / "soundtracks"
    return folder if (folder / "Set1").is_dir() else None


def recordings(clips: int, folder: Path) -> tuple[str, Index]:
    """Which recordings, in words, and their index with labels; ``folder`` takes them if they must be made."""
    real = real_recordings()
    if real is None:
        return "synthesized", Synthetic(synthesize(folder, clips=clips, seconds=SECONDS)).index
    return "Soundtracks", _first(Soundtracks(real).index, clips)


def _first(index: Index, clips: int) -> Index:
    return dataclasses.replace(
        index,
        clips=index.clips[:clips],
        paths=index.paths[:clips],
        labels=index.labels[:clips],
        albums=None,
    )
