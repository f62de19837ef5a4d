"""What calls return: objects that hold the numbers and display themselves in a notebook."""

from __future__ import annotations

import dataclasses
import html
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tenuto.analysis.systems import worse_than_constant
from tenuto.data.splits import PARTS
from tenuto.display import Displayed, Element
from tenuto.evaluation.intervention import Intervention
from tenuto.evaluation.resynthesis import mean_survival
from tenuto.evaluation.resynthesised_clip import SOUND_NAMES, Resynthesis
from tenuto.files import write_bytes, write_csv
from tenuto.reporting.figures.clip import clip_figure, words
from tenuto.reporting.figures.explanation import intervention_figure
from tenuto.reporting.figures.style import DRAWN_SCALE, save_figure, svg_uri
from tenuto.reporting.page.blocks import audio_uri
from tenuto.store.budgets import norm_of


@dataclasses.dataclass(frozen=True, repr=False)
class Metrics(Displayed):
    """Metrics of a run's clean predictions.

    Attributes:
        report: As in ``metrics.json``: part of the split (``test``, ``test_concepts``, ...) -> measure -> output ->
            value. ``mean_predictor`` holds the test metrics of always predicting the mean label of the training clips.
    """

    report: dict[str, Any]

    def part(self, name: str) -> pd.DataFrame:
        """A line per emotion or concept and one for all, a column per measure.

        R2, correlation, RMSE, MSE, MAE; for tags also PR-AUC and ROC-AUC.
        """
        return pd.DataFrame(self.report[name])

    @property
    def remarks(self) -> tuple[str, ...]:
        """A sentence where the model is worse than a constant prediction, and where R2 is not defined."""
        sentences = [worse_than_constant(self.report)]
        if math.isnan(self.report["test"]["r2"]["overall"]):
            sentences.append(
                "R2 is not defined on these test clips: they are fewer than two, or all rated alike."
            )
        return tuple(filter(None, sentences))

    @property
    def parts(self) -> tuple[str, ...]:
        """Emotions of every part of the split, then concepts where the model learned them."""
        names = (*PARTS, *(f"{part}_concepts" for part in PARTS))
        return tuple(name for name in names if name in self.report)

    @property
    def table(self) -> pd.DataFrame:
        """All parts in one table, with the part as the first level of the index."""
        return pd.concat({name: self.part(name) for name in self.parts}, names=["part", "output"])

    def _elements(self) -> list[Element]:
        return [self.table, *self.remarks]


@dataclasses.dataclass(frozen=True, repr=False)
class ClipsShown(Displayed):
    """Attacked clips that were drawn and rendered as sound.

    Attributes:
        run: Name of the run.
        clips: One result per clip.
        files: Clip -> its pictures and sounds.
        scale: Lowest and highest rating, on which predictions are drawn.
    """

    run: str
    clips: tuple[Resynthesis, ...]
    files: Mapping[str, list[Path]]
    scale: tuple[float, float] = DRAWN_SCALE

    @property
    def survival(self) -> dict[str, float | int]:
        """The mean share of the attack's effect that remains in sound, see `mean_survival`."""
        return mean_survival(self.clips)

    def as_dict(self) -> dict[str, Any]:
        """All numbers and the names of all files."""
        clips = [
            clip.numbers() | {"files": [str(path) for path in self.files[clip.clip]]} for clip in self.clips
        ]
        return {"run": self.run, "survival": self.survival, "clips": clips}

    def _elements(self) -> list[Element]:
        return [f"{clip}: {', '.join(map(str, paths))}" for clip, paths in self.files.items()]

    def _repr_html_(self) -> str:
        """Return pictures and players that a notebook shows."""
        return "".join(clip_html(clip, self.scale) for clip in self.clips)


def clip_html(clip: Resynthesis, scale: tuple[float, float]) -> str:
    """Picture and players of one clip."""
    players = "".join(
        f'<figure style="display:inline-block"><figcaption>{which}</figcaption>'
        f'<audio controls src="{audio_uri(clip.sound(which))}"></audio></figure>'
        for which in SOUND_NAMES
    )
    image = f'<img alt="{html.escape(words(clip))}" src="{svg_uri(clip_figure(clip, scale))}">'
    return f"<div>{image}<br>{players}</div>"


def attack_name(clip: Resynthesis) -> str:
    """A folder name for the protocol and budget of an attacked clip, such as ``sound-1-snr-40``."""
    epsilon = clip.attack["epsilon"]
    norm = norm_of(clip.attack["norm"])
    budget = f"-{norm.file_name}-{norm.number(epsilon)}" if epsilon is not None else ""
    return f"{clip.attack['protocol']}{budget}"


def file_names(clips: Iterable[str]) -> dict[str, str]:
    """Clip -> a file name without slashes; where several clips would share one, the later are numbered."""
    names: dict[str, str] = {}
    used_names: set[str] = set()
    for clip in clips:
        flat = re.sub(r"[/\\]", "_", clip)
        candidates = itertools.chain([flat], (f"{flat}-{number}" for number in itertools.count(2)))
        names[clip] = next(name for name in candidates if name.casefold() not in used_names)
        used_names.add(names[clip].casefold())
    return names


def write_clip(
    clip: Resynthesis, folder: Path, name: str, scale: tuple[float, float] = DRAWN_SCALE
) -> list[Path]:
    """Write picture, on this rating scale, and sounds of one clip, all called ``name``."""
    pictures = save_figure(clip_figure(clip, scale), folder / name).values()
    sounds = [write_bytes(folder / f"{name}-{which}.wav", clip.sound(which, "wav")) for which in SOUND_NAMES]
    return [*pictures, *sounds]


def write_intervention(intervention: Intervention, folder: Path) -> list[Path]:
    """Write the table as ``intervention.csv`` and the figure; nothing for a system without a bottleneck."""
    if intervention.rows.empty:
        return []
    table = write_csv(folder / "intervention.csv", intervention.rows)
    return [table, *save_figure(intervention_figure(intervention.rows), folder / "intervention").values()]
