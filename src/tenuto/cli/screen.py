"""Tables for the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.markup import escape
from rich.table import Table

from tenuto import metrics
from tenuto.analysis.survival import STORAGE, survival
from tenuto.analysis.systems import at_budgets, mean_change
from tenuto.analysis.words import number, upper_bound
from tenuto.cli.common import notes, out
from tenuto.cli.options import with_options
from tenuto.errors import counted
from tenuto.store.budgets import norm_of
from tenuto.store.rows import concept_names, emotion_names, has_thresholds, values_of, worst_case

if TYPE_CHECKING:
    from tenuto.api.outcomes import ClipsShown
    from tenuto.api.recordings import RecordingAttack
    from tenuto.evaluation.audit import Finding
    from tenuto.evaluation.resynthesised_clip import Resynthesis

BAR = 24
"""Characters of a full bar."""

VERDICT_COLOURS = {"FAIL": "bold red", "WARN": "yellow", "PASS": "green"}
CHANGES = ("moved", "clean_mae", "mae", "clean_correlation", "correlation")


def grid(title: str, *columns: str, names: Iterable[str], bars: str | None = None) -> Table:
    """An empty table for the terminal, of which a narrow one breaks names and never numbers.

    Args:
        title: Stands above it.
        columns: Headings in their order; they may have two lines.
        names: Those of the columns that hold names.
        bars: That of the columns that holds bars; all others hold numbers.
    """
    table, column_names = Table(title=escape(title), title_justify="left"), set(names)
    for heading in columns:
        if heading in column_names:
            table.add_column(heading, overflow="fold", min_width=8)
        else:
            table.add_column(heading, justify="left" if heading == bars else "right", no_wrap=True)
    return table


def print_cells(cells: pd.DataFrame, title: str, caption: str = "") -> None:
    """Print a table of text cells, a line between groups, and its caption. No cell is cut or broken.

    A table wider than the terminal is printed in parts that repeat the first column.
    """
    from tenuto.reporting.tables import GROUP

    ungrouped = cells.drop(columns=GROUP, errors="ignore")
    parts: list[list[str]] = [[]]
    for name in ungrouped.columns[1:]:
        if parts[-1] and _width(ungrouped[[ungrouped.columns[0], *parts[-1], name]]) > out.width:
            parts.append([])
        parts[-1].append(name)
    for place, names in enumerate(parts):
        part = ungrouped[[ungrouped.columns[0], *names]]
        out.print(_cells_table(part, cells.get(GROUP), title if place == 0 else f"{title}, continued"))
    if caption:
        out.print(caption, soft_wrap=False)


def _width(cells: pd.DataFrame) -> int:
    """Columns of the terminal that a table takes."""
    widths = (max(map(len, [*_heading(cells[name]).splitlines(), *cells[name]])) for name in cells.columns)
    return sum(width + 3 for width in widths) - 1  # without blanks at the outer edges


def _heading(column: pd.Series[str]) -> str:
    """The heading of a column, broken at spaces where it is wider than the cells."""
    return textwrap.fill(str(column.name), max([8, *column.map(len)]), break_long_words=False)


def _cells_table(cells: pd.DataFrame, groups: pd.Series[str] | None, title: str) -> Table:
    table = Table(title=escape(title), title_justify="left", width=_width(cells), pad_edge=False)
    for position, name in enumerate(cells.columns):
        table.add_column(escape(_heading(cells[name])), justify="right" if position else "left", no_wrap=True)
    for position, line in enumerate(cells.itertuples(index=False)):
        if position and groups is not None and groups.iloc[position] != groups.iloc[position - 1]:
            table.add_section()
        table.add_row(*(escape(str(cell)) for cell in line))
    return table


def bar(value: float, scale: tuple[float, float] = (0.0, 1.0)) -> str:
    """A bar for a value on a scale; values outside are drawn as the nearest end."""
    low, high = scale
    return "█" * round(BAR * min(max((value - low) / (high - low), 0.0), 1.0))


def metrics_table(run: str, part: str, metrics_of_part: pd.DataFrame) -> Table:
    """Metrics of one part of the split: a line per emotion or concept and one for all."""
    kind = "concept" if part.endswith("_concepts") else "emotion"
    table = grid(f"{run}, {part.replace('_', ' ')}", kind, *metrics_of_part.columns, names=[kind])
    for name, line in metrics_of_part.iterrows():
        table.add_row(escape(str(name)), *(number(value, ".4f") for value in line))
    return table


def attack_table(rows: pd.DataFrame) -> Table:
    """What a protocol did on average: error and correlation, clean and at every budget, and what it cost."""
    worst = worst_case(rows)
    first, clips = rows.iloc[0], worst["clip"].nunique()
    heading = f"{first['run']}, {first['protocol']}, {counted(clips, 'clip')}"
    table = Table(title=escape(heading), title_justify="left")
    budgets, concepts = list(at_budgets(rows)), concept_names(rows)
    moving = {"|Δ prediction|": emotion_names(rows)} | ({"|Δ concept|": concepts} if concepts else {})
    for heading in ("", *moving, "MAE", "correlation"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("clean", *[""] * len(moving), *_scores(budgets[0][1], "clean"))
    norms = [part["norm"].iloc[0] for _, part in budgets]
    for place, (title, part) in enumerate(budgets):
        if place and norms[place] != norms[place - 1]:
            table.add_section()
        movements = (f"{mean_change(part, names):.4f}" for names in moving.values())
        table.add_row(_attacked(title, part), *movements, *_scores(part, "adversarial"))
    if rows["objective"].nunique() == 1 and "loss" in rows:
        table.add_section()
        # The released attack ascends the squared error; its objective is what the thresholds are defined on.
        aim = "squared error" if has_thresholds(rows) else first["objective"]
        table.add_row(escape(f"objective: {aim}, mean {rows['loss'].mean():.4f}"))
    cost = rows.groupby("clip")[["forward_passes", "gradient_passes"]].sum().max()
    table.caption = (
        f"largest change of one entry {worst['linf'].max():.4g}, median L2 norm {worst['l2'].median():.4g}, "
        f"converged {int(worst['converged'].sum())} of {len(worst)}; at most {cost['forward_passes']} forward and "
        f"{cost['gradient_passes']} gradient passes a clip{_audibility(worst)}{_limited(worst)}"
    )
    return table


def _audibility(rows: pd.DataFrame) -> str:
    """How loud attacks on waveforms are, and which share of their effect survives in files."""
    ratios = {"SNR": "snr_db", "noise-to-mask ratio": "nmr_db"}
    medians = {name: rows[column].median() for name, column in ratios.items() if column in rows}
    loud = [f"median {name} {value:z.1f} dB" for name, value in medians.items() if math.isfinite(value)]
    shares = {name: survival(rows, column) for column, name in STORAGE.items()}
    names = [f"{name} {share:.0%}" for name, share in shares.items() if math.isfinite(share)]
    parts = [", ".join(loud)] if loud else []
    parts += [f"share of the effect that survives in a file: {', '.join(names)}"] if names else []
    return "".join(f"; {part}" for part in parts)


def _limited(rows: pd.DataFrame) -> str:
    """What leaks out of the frequencies of a region, and the effect on fresh draws of transformations."""
    text = ""
    if "leakage_db" in rows:
        text += f"; power outside the frequencies {rows['leakage_db'].median():.1f} dB of the whole (median)"
    if "fresh_error" in rows:
        error, clean, movement = (rows[f"fresh_{name}"].mean() for name in ("error", "clean_error", "moved"))
        text += f"; on fresh draws MAE {error:.4f} (clean {clean:.4f}), |Δ prediction| {movement:.4f}"
    return text


def _scores(rows: pd.DataFrame, kind: str) -> tuple[str, str]:
    label, values = values_of(rows, "label"), values_of(rows, kind)
    correlation = float(metrics.pearson(label, values).mean())
    return number(float(np.abs(label - values).mean()), ".4f"), number(correlation, ".4f")


def _attacked(budget: str, rows: pd.DataFrame) -> str:
    """Which pair a line shows."""
    if has_thresholds(rows):
        return "attacked, last evaluated iterate"
    worst = "worst of all" if (rows["attack"] == "worst").all() else "attacked"
    return worst if rows["epsilon"].isna().all() else escape(f"{worst}, {budget}")


BOUNDS = ("certified_mae", "moved")
"""Columns of the summary of certificates that nothing exceeds."""


def certificate_table(summary: pd.DataFrame, title: str) -> Table:
    """A line per sigma and radius: errors and largest changes of the smoothed model."""
    names = [
        name
        for name in ("clean_mae", "attacked_mae", "certified_mae", "attack_moved", "moved")
        if name in summary
    ]
    table = Table(title=escape(title), title_justify="left")
    for heading in ("sigma", "radius", *(name.replace("_", " ") for name in names), "clips"):
        table.add_column(heading, justify="right")
    for line in summary.to_dict("records"):
        decibels = line["snr_db"]
        radius = f"{line['radius']:g}" if decibels != decibels else f"{decibels:g} dB SNR"
        values = (
            upper_bound(line[name], 4) if name in BOUNDS else number(line[name], ".4f") for name in names
        )
        table.add_row(f"{line['sigma']:g}", radius, *values, str(line["clips"]))
    table.caption = "certified mae and moved: no perturbation inside the radius can do more; rounded up"
    return table


def profile_table(
    name: str, emotions: Mapping[str, float], concepts: Mapping[str, float], scale: tuple[float, float]
) -> Table:
    """Emotions of one recording as bars on the rating scale, and concepts as bars from 0 to 1."""
    table = Table(title=escape(name), title_justify="left", show_header=False)
    for kind, ends in ((emotions, scale), (concepts, (0.0, 1.0))):
        for word, value in kind.items():
            table.add_row(escape(word), f"{value:6.3f}", bar(value, ends))
        table.add_section()
    return table


def changes_table(attacked: RecordingAttack) -> Table:
    """Emotions and concepts of an attacked recording, before and after; bars show the result."""
    row, recogniser = attacked.row, attacked.recogniser
    budget = norm_of(row["norm"]).label(row["epsilon"]) if row["epsilon"] == row["epsilon"] else "no budget"
    begin, seconds = attacked.start_seconds, recogniser.inputs.window / recogniser.inputs.steps_per_second
    title = (
        f"{attacked.source}, {begin:.1f} to {begin + seconds:.1f} s, {attacked.model} under {row['attack']}, "
        f"{row['objective']}, {budget}"
    )
    table = grid(title, "output", "before", "after", "change", "", names=["output"], bars="")
    for place, (name, (before, after, change)) in enumerate(attacked.table.iterrows()):
        is_emotion = place < len(recogniser.emotions)
        if place == len(recogniser.emotions):
            table.add_section()
        values = (f"{before:z.3f}", f"{after:z.3f}", f"{change:+z.3f}")
        table.add_row(escape(str(name)), *values, bar(after, attacked.scale if is_emotion else (0.0, 1.0)))
    worst = attacked.rows[attacked.rows["worst"]]
    table.caption = (
        f"largest change of one entry {row['linf']:.4g}, in {recogniser.inputs.unit}{_audibility(worst)}"
        f"{_limited(worst)}{attacked.reached and f'; {attacked.reached}'}"
    )
    return table


def print_natural(changes: pd.DataFrame, title: str) -> None:
    """Print natural variations, and how many clips are too short for one."""
    out.print(_natural_table(changes, title))
    _print_skipped(changes)


def _print_skipped(changes: pd.DataFrame) -> None:
    for change, skipped in zip(changes["change"], changes["skipped"], strict=True):
        if skipped:
            words = counted(skipped, "clip is too short for it and is", "clips are too short for it and are")
            notes.print(f"{change}: {words} left out.")


def print_strengths(changes: pd.DataFrame, corruption: pd.Series[Any], title: str) -> None:
    """Print the error under every kind and strength of natural-2, and the corruption error in a sentence.

    Args:
        changes: Lines of one run, see `tenuto.analysis.natural.summary`.
        corruption: A line of `tenuto.analysis.natural.corruption`.
        title: Stands above the table.
    """
    cells = []
    for kind, own in changes.groupby("kind", sort=False):
        first, *_, last = own["value"]
        errors = {str(line["strength"]): number(line["mae"], ".3f") for line in own.to_dict("records")}
        strengths = f"{first.split()[0]} to {last}"
        cells.append(
            {"change": kind, "strengths": strengths, **errors, "mean": number(own["mae"].mean(), ".3f")}
        )
    print_cells(pd.DataFrame(cells), title, corruption_sentence(corruption))
    _print_skipped(changes)


def corruption_sentence(corruption: pd.Series[Any]) -> str:
    """The corruption error of a system with its interval, and the increase over the clean error."""
    values = []
    for name in ("corruption_error", "increase"):
        low, high = (number(corruption[f"{name}_{end}"], ".3f") for end in ("low", "high"))
        values.append(f"{number(corruption[name], '.3f')} [{low}, {high}]")
    return (
        f"Corruption error {values[0]}: mean MAE over all kinds and strengths. Clean MAE "
        f"{corruption['clean_mae']:.3f}, increase {values[1]}, mean change of a prediction {corruption['moved']:.3f}. "
        f"95 % intervals over {corruption['resampled']}."
    )


def _natural_table(changes: pd.DataFrame, title: str) -> Table:
    """One line per variation; clean values are those of the same clips."""
    table = Table(title=escape(title), title_justify="left")
    table.add_column("change")
    for heading in ("clips", "|Δ prediction|", "MAE, clean → changed", "correlation, clean → changed"):
        table.add_column(heading, justify="right")
    for line in changes.to_dict("records"):
        movement, *rest = (number(line[name], ".4f") for name in CHANGES)
        table.add_row(
            line["change"], str(line["clips"]), movement, f"{rest[0]} → {rest[1]}", f"{rest[2]} → {rest[3]}"
        )
    return table


def print_findings(findings: Sequence[Finding]) -> None:
    """Print a table per source, and below it what is not recorded."""
    from tenuto.reporting.tables import text_cell

    for source in dict.fromkeys(finding.source for finding in findings):
        own = [finding for finding in findings if finding.source == source]
        table = Table(title=escape(f"Audit of {source}"), title_justify="left")
        for heading in ("verdict", "check"):
            table.add_column(heading, no_wrap=True)
        for heading in ("value", "threshold"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("result", min_width=30, overflow="fold")
        for finding in own:
            if (verdict := str(finding.verdict)) in VERDICT_COLOURS:
                numbers = (text_cell(value, ".3g") for value in (finding.value, finding.threshold))
                word = f"[{VERDICT_COLOURS[verdict]}]{verdict}[/]"
                table.add_row(word, finding.check, *numbers, escape(with_options(finding.sentence)))
        out.print(table)
        reasons = [finding for finding in own if str(finding.verdict) not in VERDICT_COLOURS]
        for reason in dict.fromkeys(finding.sentence for finding in reasons):
            checks = ", ".join(finding.check for finding in reasons if finding.sentence == reason)
            out.print(f"NOT RECORDED  {checks}: {escape(reason)}", soft_wrap=False)


def print_clips(result: ClipsShown) -> None:
    """Print one attacked clip in detail, or a line per clip."""
    if len(result.clips) == 1:
        _print_clip(result.clips[0])
    else:
        out.print(_clips_table(result))


def _clip_table(resynthesis: Resynthesis) -> Table:
    """Emotions and concepts of one clip, before and after."""
    from tenuto.reporting.figures.clip import state_names, title

    names = state_names(resynthesis)
    headings = ["annotation", *(text.replace(", ", ",\n") for text in names.values())]
    table = grid(title(resynthesis), "", *headings, names=[""])
    for states in (resynthesis.emotions, resynthesis.concepts or {}):
        for name in states.get("before", {}):
            values = [states.get(state, {}).get(name) for state in ("annotation", *names)]
            table.add_row(escape(name), *("" if value is None else f"{value:z.3f}" for value in values))
        table.add_section()
    return table


def _print_clip(resynthesis: Resynthesis) -> None:
    """One clip: its table, where the perturbation sits, and what becomes of it as sound."""
    from tenuto.reporting.figures.clip import percent, sentence

    out.print(_clip_table(resynthesis))
    out.print(sentence(resynthesis))
    second = resynthesis.strongest_second
    if resynthesis.median_hz is not None and second is not None:
        out.print(
            f"Half of the squared perturbation is in bands up to {resynthesis.median_hz:.0f} Hz; "
            f"second {second[0] + 1} of {len(resynthesis.second_shares)} holds the largest part, {percent(second[1])}."
        )
    effect = resynthesis.effect
    way = "rounding to 16 bits" if resynthesis.is_played else "the way through sound"
    out.print(
        f"Emotions move by {effect['after']:.3f}, after {way} by {effect['heard']:.3f}; by {way} alone, without an "
        f"attack, by {effect['rendered']:.2g}."
    )
    if resynthesis.below_silence:
        out.print(
            f"{percent(resynthesis.below_silence)} of the attacked spectrogram is below silence, which no sound has."
        )


def _clips_table(result: ClipsShown) -> Table:
    """A line per clip, and the mean."""
    from tenuto.api.outcomes import attack_name
    from tenuto.reporting.figures.clip import decibels, percent

    first = result.clips[0]
    way = "in 16\nbits" if first.is_played else "through\nsound"
    headings = ("clip", "emotions\nmove by", way, "survives", "SNR", "noise\nto mask", "score")
    table = grid(f"{result.run}, {attack_name(first)}", *headings, names=["clip"])
    for resynthesis in result.clips:
        table.add_row(
            escape(resynthesis.clip),
            f"{resynthesis.effect['after']:.3f}",
            f"{resynthesis.effect['heard']:.3f}",
            "" if resynthesis.survival is None else percent(resynthesis.survival),
            decibels(resynthesis.snr_db),
            decibels(resynthesis.nmr_db),
            "" if resynthesis.perceptual is None else f"{resynthesis.perceptual:.2f}",
        )
    survival = result.survival
    without = f"; {survival['without_effect']} without effect" if survival["without_effect"] else ""
    mean = percent(survival["mean"]) if survival["clips"] else "none"
    table.caption = f"survives: mean {mean} of {counted(survival['clips'], 'clip')}{without}"
    return table
