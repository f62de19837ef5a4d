"""Whether columns of ratings are exchanged: arousal follows how energetic the audio is, valence far less.

Two copies in circulation of DEAM and emoMusic disagree on which column is valence, and no table shows which is right.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping

import numpy as np

from tenuto.data.base import Index, Labels
from tenuto.data.cache import Sound
from tenuto.errors import counted
from tenuto.metrics import spearman

VALENCE = frozenset({"valence", "pleasure", "pleasantness", "positivity"})
AROUSAL = frozenset({"arousal", "energy", "tension", "activation", "activity", "intensity", "excitement"})
"""Words in the names of columns; letter case, digits and punctuation are ignored."""

FEWEST_CLIPS = 30
ORDER_LEVEL = 0.001
"""Clips that are needed, and the p value below which a valence that follows the audio more is reported."""


@dataclasses.dataclass(frozen=True)
class LabelOrder:
    """How closely two ratings follow the audio.

    Attributes:
        valence: Name of a column that should follow it less.
        arousal: Name of a column that should follow it more.
        rho_valence: Spearman's rank correlation of the first with loudness and onset rate.
        rho_arousal: The same of the second.
        p: Probability of so large an excess of ``rho_valence`` where both are equal (one-sided).
        clips: Number of clips compared.
    """

    valence: str
    arousal: str
    rho_valence: float
    rho_arousal: float
    p: float
    clips: int

    @property
    def is_exchanged(self) -> bool:
        """Whether valence follows the audio more, significantly, and not merely less against it."""
        return self.p < ORDER_LEVEL and self.rho_valence > 0

    def __str__(self) -> str:
        numbers = (
            f"rank correlations with loudness and onset rate: {self.valence} {self.rho_valence:+.2f}, "
            f"{self.arousal} {self.rho_arousal:+.2f} ({counted(self.clips, 'clip')})"
        )
        if not self.is_exchanged:
            return numbers
        return (
            f"{self.valence} follows loudness and onset rate more than {self.arousal} does (p = {self.p:.1g}), so the "
            "two columns may be exchanged; compare them with another copy of the ratings. "
            f"{numbers[0].upper()}{numbers[1:]}"
        )


def label_orders(index: Index, sounds: Mapping[str, Sound]) -> list[LabelOrder]:
    """Every column that is called like valence, compared with every one that is called like arousal.

    The energy of a clip is the mean of its ranks by loudness and by onset rate. The two correlations are compared by
    the test of X. Meng, R. Rosenthal and D. Rubin, "Comparing correlated correlation coefficients", Psychological
    Bulletin 111, 1992, with the variance of Spearman's rho (E. Fieller et al., Biometrika 44, 1957).

    Args:
        index: The ratings.
        sounds: Clip -> its sound; others are left out.

    Returns:
        Empty where there are fewer than 30 clips, or no such columns, or they do not vary.
    """
    from scipy.stats import rankdata

    rows = [row for row, clip in enumerate(index.clips) if clip in sounds]
    if len(rows) < FEWEST_CLIPS:
        return []
    clip_sounds = [sounds[index.clips[row]] for row in rows]
    measures = [[sound.loudness for sound in clip_sounds], [sound.onset_rate for sound in clip_sounds]]
    energy = np.mean([rankdata(values) for values in measures], axis=0)
    names = {name: column for column, name in enumerate(index.emotions)}
    varying = [name for name, column in names.items() if np.ptp(index.labels[rows, column]) > 0]
    return [
        _order(valence, arousal, index.labels[rows][:, [names[valence], names[arousal]]], energy)
        for valence in varying
        for arousal in varying
        if _words(valence) & VALENCE and _words(arousal) & AROUSAL and np.ptp(energy) > 0
    ]


def _order(valence: str, arousal: str, labels: Labels, energy: Labels) -> LabelOrder:
    first, second = labels.T
    rho_valence, rho_arousal, between = spearman(
        np.column_stack([first, second, first]), np.column_stack([energy, energy, second])
    ).tolist()
    p = p_value(rho_valence, rho_arousal, between, len(labels))
    return LabelOrder(valence, arousal, rho_valence, rho_arousal, p, len(labels))


def p_value(first: float, second: float, between: float, clips: int) -> float:
    """One-sided p of the first rank correlation being larger, given that of the two columns with each other."""
    from scipy.stats import norm

    limit = 1 - 1e-12
    first, second = (min(max(rho, -limit), limit) for rho in (first, second))
    if between >= limit:
        return 1.0
    mean_square = (first**2 + second**2) / 2
    share = min((1 - between) / (2 * (1 - mean_square)), 1.0)
    spread = (1 - share * mean_square) / (1 - mean_square)
    z = (math.atanh(first) - math.atanh(second)) * math.sqrt(
        (clips - 3) / 1.06 / (2 * (1 - between) * spread)
    )
    return float(norm.sf(z))


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]+", name.casefold()))
