"""A gallery: attacked clips of several runs on one page that plays them, as one HTML file that loads nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenuto.analysis.words import NOTHING
from tenuto.reporting.figures import clip as clips
from tenuto.reporting.figures.style import coloured
from tenuto.reporting.page.blocks import Cell, ClipBlock, Player, Section, TableBlock, picture
from tenuto.reporting.page.inside import CAPTIONS, player, predicted

if TYPE_CHECKING:
    from tenuto.evaluation.resynthesised_clip import Resynthesis

HEADINGS = (
    "System",
    "Run",
    "Clip",
    "Budget",
    "Emotions move by",
    "Moves most",
    "SNR",
    "Noise to mask",
    "Score",
)
WORD_COLUMNS = 4
"""How many of them hold words, besides the one that moves most."""


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


def make_gallery(shown: Sequence[Shown], remarks: Sequence[str] = ()) -> GalleryPage:
    """Everything a gallery says about attacked clips, in the order given within each clip and budget."""
    groups: dict[tuple[str, str], list[Shown]] = {}
    for one in shown:
        groups.setdefault((one.resynthesis.clip, clips.budget(one.resynthesis)), []).append(one)
    names = list(dict.fromkeys(one.resynthesis.system for one in shown))
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
    return GalleryPage(f"Attacked clips of {', '.join(names)}", introduction, _table(shown), tuple(sections))


def _clip(one: Shown) -> ClipBlock:
    resynthesis = one.resynthesis
    effect, most = resynthesis.effect, clips.most_moved(resynthesis)
    before, after = (resynthesis.emotions[state][most] for state in ("before", "after"))
    return ClipBlock(
        title=f"{resynthesis.system} ({resynthesis.run})",
        sentences=(
            f"The emotions move by {effect['after']:.3f}; {most} moves most, from {before:z.2f} to {after:z.2f}.",
            clips.sentence(resynthesis),
        ),
        player=_player(resynthesis),
        picture=picture(
            clips.clip_figure(resynthesis, one.scale),
            clips.words(resynthesis),
            f"{clips.title(resynthesis)}. {CAPTIONS[resynthesis.is_played]}",
            scrolls=True,
        ),
        table=predicted(resynthesis),
    )


def _player(resynthesis: Resynthesis) -> Player:
    louder = 20 * math.log10(resynthesis.difference_gain)
    labels = {
        "before": "Before the attack",
        "after": "After the attack",
        "amplified": f"Difference, {louder:.0f} dB louder",
    }
    return player(resynthesis, f"Clip {resynthesis.clip}, {resynthesis.system}", labels)


def _table(shown: Sequence[Shown]) -> TableBlock:
    lines = tuple(_line(one.resynthesis) for one in shown)
    words = (True,) * WORD_COLUMNS + (False, True) + (False,) * (len(HEADINGS) - WORD_COLUMNS - 2)
    caption = "What the attacks do to the predictions, and how audible they are. Click a heading to sort."
    return TableBlock(caption, HEADINGS, words, lines, sortable=True)


def _line(resynthesis: Resynthesis) -> tuple[Cell, ...]:
    most, moved, score = clips.most_moved(resynthesis), resynthesis.effect["after"], resynthesis.perceptual
    change = resynthesis.emotions["after"][most] - resynthesis.emotions["before"][most]
    return (
        *(Cell(text) for text in (resynthesis.system, resynthesis.run, resynthesis.clip)),
        Cell(clips.budget(resynthesis)),
        Cell(f"{moved:.3f}", repr(moved)),
        Cell(f"{most} {change:+z.2f}".replace("-", "−")),
        _decibels(resynthesis.snr_db),
        _decibels(resynthesis.nmr_db),
        Cell(NOTHING) if score is None else Cell(f"{score:.2f}", repr(score)),
    )


def _decibels(value: float) -> Cell:
    return Cell(clips.decibels(value), repr(value) if math.isfinite(value) else "")
