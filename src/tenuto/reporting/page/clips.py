"""Attacked clips on a page: which are shown, and what is heard, seen and predicted of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tenuto.analysis import words
from tenuto.config import SYSTEMS
from tenuto.reporting.figures import clip as figure
from tenuto.reporting.page.blocks import ClipBlock, Player, PlayerSound, TableBlock, audio_uri, picture, table
from tenuto.store.rows import values_of

if TYPE_CHECKING:
    from tenuto.evaluation.resynthesised_clip import Resynthesis

CAPTIONS = {
    True: "Noise-to-mask ratio: power of the change over the masking threshold; red can be audible.",
    False: "Changes in standard deviations (std) of the normalised log spectrogram.",
}
"""Below the picture of a clip whose attacked waveform is played, and of one whose attack was rendered to sound."""


def has_named_concepts(system: str) -> bool:
    """Whether a system's units were trained to be concepts; systems that are not the study's may have any."""
    return system not in SYSTEMS or SYSTEMS[system].task_loss_weight < 1


def runs_to_show(rows: pd.DataFrame) -> list[str]:
    """Runs in the order in which their clips are worth a look: named concepts first, then by seed and name."""
    runs = rows[["run", "system", "seed"]].drop_duplicates()
    free = [not has_named_concepts(system) for system in runs["system"]]
    return [str(run) for run in runs.assign(free=free).sort_values(["free", "seed", "run"])["run"]]


def clips_to_show(rows: pd.DataFrame, count: int) -> list[str]:
    """Names of ``count`` clips, evenly from the one whose emotions move most to the one whose emotions move least.

    Args:
        rows: Of one run under one attack, one per clip.
        count: How many; all where there are fewer.
    """
    change = values_of(rows, "adversarial") - values_of(rows, "clean")
    order = np.argsort(-np.linalg.norm(change, axis=1), kind="stable")
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [str(rows["clip"].iloc[place]) for place in order[places]]


def player(resynthesis: Resynthesis, title: str, labels: Mapping[str, str]) -> Player:
    """Sounds of a clip, each with its label."""
    sounds = (
        PlayerSound(label, f"{title}: {label[0].lower()}{label[1:]}", audio_uri(resynthesis.sound(which)))
        for which, label in labels.items()
    )
    return Player(title, tuple(sounds))


def clip_block(
    resynthesis: Resynthesis,
    title: str,
    sentences: Sequence[str],
    sounds: Player | None,
    scale: tuple[float, float],
) -> ClipBlock:
    """One clip before and after an attack; its predictions are drawn on this rating scale."""
    return ClipBlock(
        title=title,
        sentences=(*sentences, figure.sentence(resynthesis)),
        player=sounds,
        picture=picture(
            figure.clip_figure(resynthesis, scale),
            figure.words(resynthesis),
            f"{figure.title(resynthesis)}. {CAPTIONS[resynthesis.is_played]}",
            scrolls=True,
        ),
        table=predicted(resynthesis),
    )


def predicted(resynthesis: Resynthesis) -> TableBlock:
    """Emotions and concepts of a clip in every state."""
    names = {"annotation": "label"} | figure.state_names(resynthesis)
    lines = []
    for states in (resynthesis.emotions, resynthesis.concepts or {}):
        for name in states.get("before", {}):
            values = (states.get(state, {}).get(name) for state in names)
            texts = (words.NOTHING if value is None else f"{value:z.3f}" for value in values)
            lines.append((name.replace("_", " "), *texts))
    cells = pd.DataFrame(lines, columns=["", *(name.capitalize() for name in names.values())])
    return table(cells, f"What {resynthesis.run} predicts of clip {resynthesis.clip}.")
