"""The sections of a report that need models or sound: concepts, the head's gain, and clips to see and hear."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from tenuto import metrics
from tenuto.analysis.systems import ordered_systems, rating_scale, run_metrics
from tenuto.reporting.figures.clip import most_moved
from tenuto.reporting.figures.explanation import concept_figure, intervention_figure
from tenuto.reporting.figures.style import DRAWN_SCALE
from tenuto.reporting.page.blocks import Block, ClipBlock, Player, Section, Text, picture, points, sortable
from tenuto.reporting.page.clips import clip_block, has_named_concepts, player
from tenuto.reporting.page.inputs import PageInputs, Weights
from tenuto.reporting.tables import Columns
from tenuto.store.rows import concept_names, values_of

if TYPE_CHECKING:
    from tenuto.evaluation.resynthesised_clip import Resynthesis

SOUND_LABELS = {"before": "Before the attack", "after": "After the attack", "difference": "Difference alone"}


def concept_shifts(rows: pd.DataFrame) -> pd.DataFrame:
    """How far an attack moves each named concept: ``system concept spread moved``, means over runs.

    ``spread`` is the standard deviation (n) over clean clips. Free units are left out: nobody named them, and they are
    other units in every network.
    """
    lines = []
    for system in ordered_systems(rows):
        if not has_named_concepts(system):
            continue
        own = rows[rows["system"] == system]
        for name in concept_names(rows):
            before, after = own[f"clean_{name}"], own[f"adversarial_{name}"]
            if before.notna().all():
                spread = before.groupby(own["run"]).std(ddof=0).mean()
                shift = (after - before).abs().groupby(own["run"]).mean().mean()
                lines.append((system, name, float(spread), float(shift)))
    return pd.DataFrame(lines, columns=["system", "concept", "spread", "moved"])


def concepts(inputs: PageInputs) -> Section | str:
    """How far concepts move, and what correcting them repairs."""
    shifts = concept_shifts(inputs.rows)
    blocks: list[Block] = []
    for system, own in shifts.groupby("system", sort=False):
        changes = "; ".join(
            f"{str(line['concept']).replace('_', ' ')} {line['moved']:.3f} against {line['spread']:.3f}"
            for line in own.to_dict("records")
        )
        blocks.append(
            picture(
                concept_figure(own, str(system)),
                f"Mean absolute change of each concept against the deviation of clean clips, {system}: {changes}.",
                f"{system}: how far the attack moves each concept, and how far clean clips differ in it; means over "
                "seeds. Where the lower bar is longer, the attack moves the concept further than that.",
            )
        )
    for run, rows in inputs.interventions.items():
        blocks.append(_intervention(run, rows))
    remarks = inputs.remarks_on("concepts")
    if not blocks:
        return (
            "Concepts: no system with named concepts was attacked. For any bottleneck, `tenuto intervene RUN "
            f"--root DATA` measures the effect of corrected units. {' '.join(remarks)}"
        ).rstrip()
    if not inputs.interventions and not remarks:
        remarks = (
            "The effect of corrected concepts was not measured. Run `tenuto intervene RUN --root DATA`.",
        )
    return Section("concepts", "Through the concepts", (*blocks, *points(remarks)))


def _intervention(run: str, rows: pd.DataFrame) -> Block:
    changes = []
    for (inputs, target), own in rows.groupby(["inputs", "target"], sort=False):
        ends = own.groupby("k")["mae"].max()
        changes.append(f"{inputs}, set to {target}: MAE {ends.iloc[0]:.3f} to {ends.iloc[-1]:.3f}")
    return picture(
        intervention_figure(rows),
        f"Error over the number of corrected concepts, none to all. {'; '.join(changes)}.",
        f"{run}: concepts corrected one after the other. Solid lines follow the order decided on validation clips, "
        "dashed ones are the mean of every choice, bands reach from the best to the worst one.",
    )


GAIN_COLUMNS: Columns = {
    "Run": ("folder", ""),
    "System": ("system", ""),
    "Head gain": ("largest", ".2f"),
    "Rank": ("rank", ".0f"),
    "Moves by": ("moved", ".3f"),
    "Clips differ by": ("spread", ".3f"),
    "Quotient": ("quotient", ".2f"),
    "Added MAE": ("added", "+z.3f"),
    "r after": ("adversarial_corr_avg", "z.3f"),
}
"""The table of head gains as text cells."""


def gain(inputs: PageInputs) -> Section | str:
    """Head gain and what the attack did to every run."""
    remarks = inputs.remarks_on("gain")
    if not inputs.gains:
        return f"Head gain: {' '.join(remarks) or 'these runs have no checkpoint.'}"
    lines = []
    for line in run_metrics(inputs.rows).to_dict("records"):
        if (head := inputs.gains.get(str(line["folder"]))) is not None:
            movements, spread = movement(inputs.rows[inputs.rows["run"] == line["folder"]])
            quotient = movements / spread if spread else math.nan
            added = line["adversarial_mae"] - line["clean_mae"]
            measured = {"moved": movements, "spread": spread, "quotient": quotient, "added": added}
            lines.append(line | dict(head) | measured)
    caption = (
        "Head gain and robustness. Gain: the largest singular value of the linear layers, which bounds the "
        "change of the emotions per change of the features; rank: how many directions of the features they see. "
        "Feature scale is arbitrary, so gains are not comparable across networks. Comparable is the quotient of how "
        "far the attack moves the emotions (Euclidean, mean over clips) and how far those of clean clips lie from "
        "their mean. A model whose predictions are nearly the same for all clips is insensitive, not robust."
    )
    block = sortable(pd.DataFrame(lines), caption, GAIN_COLUMNS)
    return Section("gain", "Robust or insensitive?", (block, *points(remarks)))


def movement(rows: pd.DataFrame) -> tuple[float, float]:
    """How far an attack moves the emotions of a run's clips, and how far those of clean clips lie from their mean.

    Both are means over clips of `metrics.distances`.
    """
    distance, spread = metrics.distances(values_of(rows, "clean"), values_of(rows, "adversarial"))
    return float(distance.mean()), float(spread.mean())


def listen(inputs: PageInputs) -> Player | None:
    """The clip that the attack moves most, before and after it; None without clips."""
    return _player(inputs.resyntheses[0]) if inputs.resyntheses else None


def _player(resynthesis: Resynthesis) -> Player:
    return player(resynthesis, f"Clip {resynthesis.clip}", SOUND_LABELS)


def gallery(inputs: PageInputs) -> Section | str:
    """Clips to see and to hear."""
    remarks = inputs.remarks_on("gallery")
    if not inputs.resyntheses:
        return f"Gallery: {' '.join(remarks) or 'to play clips, name the data set with --root DATA.'}"
    first = inputs.resyntheses[0]
    way = (
        "The attack changes the waveform, which is played as it is, in 16 bits."
        if first.is_played
        else "The attack changes a spectrogram, which is rendered to sound with the phase of the recording."
    )
    introduction = Text(
        f"Clips of {first.run}, from the one whose emotions the attack moves most to the one it moves least. {way} All "
        "sounds of a clip have the same gain. A noise-to-mask ratio above 0 dB is above the masking threshold in some "
        "critical band of some frame; the perceptual score falls from 5, inaudible, to 1, very annoying."
    )
    clips = (_clip(resynthesis, inputs, place > 0) for place, resynthesis in enumerate(inputs.resyntheses))
    return Section("gallery", "Clips to see and hear", (introduction, *points(remarks), *clips))


def _clip(resynthesis: Resynthesis, inputs: PageInputs, with_player: bool) -> ClipBlock:
    effect = resynthesis.effect
    way = "in 16 bits" if resynthesis.is_played else "through sound"
    sentences = [f"The emotions move by {effect['after']:.3f}, {way} by {effect['heard']:.3f}."]
    if inputs.weights is not None:
        sentences.append(because_of(resynthesis, inputs.weights))
    sounds = _player(resynthesis) if with_player else None
    scale = rating_scale(inputs.rows, inputs.data) or DRAWN_SCALE
    return clip_block(resynthesis, f"Clip {resynthesis.clip}", sentences, sounds, scale)


def because_of(resynthesis: Resynthesis, weights: Weights) -> str:
    """The emotion an attack moves most, and what each concept adds to that: the parts add up to the whole.

    Between concepts and emotions there is a linear layer, so a change is the sum of weight x change of the concept.
    """
    before, after, units = (
        resynthesis.emotions["before"],
        resynthesis.emotions["after"],
        resynthesis.concepts or {},
    )
    emotion = most_moved(resynthesis)
    parts = {
        name: weight * (units["after"][name] - units["before"][name])
        for name, weight in weights[emotion].items()
    }
    ordered = sorted(parts, key=lambda name: -abs(parts[name]))
    largest = [f"{name.replace('_', ' ')} {parts[name]:+z.2f}" for name in ordered[:3]]
    others = [f"others {sum(parts[name] for name in ordered[3:]):+z.2f}"] if ordered[3:] else []
    change = after[emotion] - before[emotion]
    return (
        f"{emotion} {before[emotion]:z.2f} → {after[emotion]:z.2f}, {change:+z.2f}: {', '.join(largest + others)}."
    ).replace("-", "−")
