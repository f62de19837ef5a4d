"""The judgement of attacks that should be weaker than others, from rows and from models alike."""

from __future__ import annotations

import math

from tenuto.analysis.systems import RESOLUTION
from tenuto.errors import counted
from tenuto.evaluation.audit.findings import Finding, judge
from tenuto.evaluation.audit.sources import Values

OFTEN = 0.1
"""Share of clips on which a weaker family may win before it is a warning: gradients climb to local maxima."""

WEAKER_WORDS = {
    "iterative": "a single step",
    "black-box": "noise or black-box search",
    "transfer": "transfer from a sibling",
}
"""Check -> the attacks that must not be stronger than iterative gradients."""


def weaker(
    name: str, weak: Values, strong: Values, weak_words: str = "", strong_words: str = "iterative gradients"
) -> Finding:
    """A finding from the errors per clip (clips,) of attacks that should be weaker and of stronger ones."""
    ahead = float(weak.mean() - strong.mean())
    share = float((weak > strong + RESOLUTION).mean())
    return judge(
        name,
        ahead if math.isfinite(ahead) else math.inf,
        RESOLUTION,
        f"MAE {weak.mean():.4f} by {weak_words or WEAKER_WORDS[name]}, {strong.mean():.4f} by {strong_words}; "
        f"the former is stronger on {share:.0%} of {counted(len(weak), 'clip')}.",
        fail=not ahead <= RESOLUTION,
        warn=share > OFTEN,
    )
