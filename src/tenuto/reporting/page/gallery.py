"""A gallery: attacked clips of several runs on one page that plays them, as one HTML file that loads nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from tenuto.reporting.figures import clip as clips
from tenuto.reporting.figures.style import coloured
from tenuto.reporting.page.blocks import ClipBlock, Section, TableBlock, sortable
from tenuto.reporting.page.clips import clip_block, player
from tenuto.reporting.tables import Columns

if TYPE_CHECKING:
    from tenuto.evaluation.resynthesised_clip import Resynthesis

CLIP_COLUMNS: Columns = {
    "System": ("system", ""),
    "Run": ("run", ""),
    "Clip": ("clip", ""),
    "Budget": ("budget", ""),
    "Emotions move by": ("moved", ".3f"),
    "Moves most": ("most", ""),
    "SNR": ("snr_db", clips.decibels),
    "Noise to mask": ("nmr_db", clips.decibels),
    "Score": ("perceptual", ".2f"),
}
"""The table of clips as text cells."""


@dataclass(frozen=True)
class Shown:
    """One attacked clip and the rating scale on which its predictions are drawn."""

    resynthesis: Resynthesis
    scale: tuple[float, float]


@dataclass(frozen=True)
class GalleryPage:
    """What the template shows.

    Attributes:
        title: Of the page.
        introduction: Paragraphs.
        table: A line per attacked clip.
        sections: One per clip and budget, with the systems one after the other.
    """

    title: str
    introduction: tuple[str, ...]
    table: TableBlock
    sections: tuple[Section, ...]


def make_gallery(figures: Sequence[Shown], remarks: Sequence[str] = ()) -> GalleryPage:
    """Everything a gallery says about attacked clips, in the order given within each clip and budget."""
    groups: dict[tuple[str, str], list[Shown]] = {}
    for one in figures:
        groups.setdefault((one.resynthesis.clip, clips.budget(one.resynthesis)), []).append(one)
    names = list(dict.fromkeys(one.resynthesis.system for one in figures))
    with coloured(names):
        sections = [
            Section(f"clip-{place}", f"Clip {clip}, {budget}", tuple(_clip(one) for one in own))
            for place, ((clip, budget), own) in enumerate(groups.items(), 1)
        ]
    introduction = (
        "Each clip is played before and after the attack, with the same gain, and then what the attack adds, "
        "amplified. Switch while a sound plays: the position stays.",
        "SNR: signal-to-noise ratio. Noise to mask: the largest ratio of the added power to the masking threshold over "
        "critical bands and frames; above 0 dB it can be audible. Score: perceptual opinion score, 5 is inaudible, 1 "
        "very annoying.",
        *remarks,
    )
    caption = "What the attacks do to the predictions, and how audible they are. Click a heading to sort."
    numbers = pd.DataFrame([_line(one.resynthesis) for one in figures])
    table = sortable(numbers, caption, CLIP_COLUMNS)
    return GalleryPage(f"Attacked clips of {', '.join(names)}", introduction, table, tuple(sections))


def _clip(one: Shown) -> ClipBlock:
    resynthesis = one.resynthesis
    most = clips.most_moved(resynthesis)
    before, after = (resynthesis.emotions[state][most] for state in ("before", "after"))
    text = (
        f"The emotions move by {resynthesis.effect['after']:.3f}; {most} moves most, from {before:z.2f} to "
        f"{after:z.2f}."
    )
    labels = {
        "before": "Before the attack",
        "after": "After the attack",
        "amplified": f"Difference, {20 * math.log10(resynthesis.difference_gain):.0f} dB louder",
    }
    sounds = player(resynthesis, f"Clip {resynthesis.clip}, {resynthesis.system}", labels)
    return clip_block(resynthesis, f"{resynthesis.system} ({resynthesis.run})", [text], sounds, one.scale)


def _line(resynthesis: Resynthesis) -> dict[str, Any]:
    most, score = clips.most_moved(resynthesis), resynthesis.perceptual
    change = resynthesis.emotions["after"][most] - resynthesis.emotions["before"][most]
    return {
        "system": resynthesis.system,
        "run": resynthesis.run,
        "clip": resynthesis.clip,
        "budget": clips.budget(resynthesis),
        "moved": resynthesis.effect["after"],
        "most": f"{most} {change:+z.2f}".replace("-", "−"),
        "snr_db": resynthesis.snr_db,
        "nmr_db": resynthesis.nmr_db,
        "perceptual": math.nan if score is None else score,
    }
