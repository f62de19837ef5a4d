"""What rows support, in plain sentences, and nothing more. Ties follow the one rule of `systems`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from tenuto.analysis import smc2025, words
from tenuto.analysis.statistics import mean_of_all
from tenuto.analysis.systems import (
    FEWEST_SEEDS,
    RESOLUTION,
    Ranking,
    errors_per_clip,
    ordered_systems,
    reversals,
    run_metrics,
    seed_values,
    selection,
)
from tenuto.errors import counted
from tenuto.store.rows import outside, scale_of, unit_of, values_of

VERDICTS = {
    -1: ("more robust than", "more robust"),
    0: ("not distinguishable from", "not distinguishable"),
    1: ("less robust than", "less robust"),
}
"""What a system is in comparison: followed by the other's name, and without it."""


@dataclass(frozen=True)
class Effects:
    """What an attack does to every system.

    Attributes:
        runs: One line per run: `run_metrics` with ``difference`` (MAE that the attack adds) and ``lost`` (correlation
            that it takes).
    """

    runs: pd.DataFrame

    @cached_property
    def means(self) -> pd.DataFrame:
        """One line per system, means over seeds: ``clean_corr clean_mae corr mae difference lost``.

        NaN where a seed is: a correlation that one seed lacks is not averaged over the others.
        """
        names = {"clean_corr_avg": "clean_corr", "clean_mae": "clean_mae", "adversarial_corr_avg": "corr"}
        names |= {"adversarial_mae": "mae", "difference": "difference", "lost": "lost"}
        means = self.runs.groupby("system")[list(names)].agg(mean_of_all)
        return means.rename(columns=names).loc[ordered_systems(self.runs)]

    def ranking(self, column: str, sign: float = 1.0) -> Ranking:
        """Systems by a column of ``runs`` times a sign, least first."""
        return Ranking(seed_values(self.runs.assign(value=sign * self.runs[column]), "value"))

    @cached_property
    def by_error(self) -> Ranking:
        """Systems by the MAE that the attack adds."""
        return self.ranking("difference")

    @cached_property
    def by_correlation(self) -> Ranking:
        """Systems by the correlation that the attack takes, where it is defined."""
        return self.ranking("lost")

    @property
    def is_zero(self) -> bool:
        """Whether no system changes by more than `RESOLUTION`; an undefined change counts as one."""
        return bool((self.means[["difference", "lost"]].abs() <= RESOLUTION).all(axis=None))

    def of(self, *systems: str) -> Effects:
        """The effects on some of the systems."""
        return Effects(self.runs[self.runs["system"].isin(systems)])


def run_means(rows: pd.DataFrame) -> Effects:
    """What the attack of these rows does to every system. Raises `DataError`, see `systems.selection`."""
    measured = run_metrics(rows)
    difference = measured["adversarial_mae"] - measured["clean_mae"]
    losses = measured["clean_corr_avg"] - measured["adversarial_corr_avg"]
    return Effects(measured.assign(difference=difference, lost=losses))


def summarise(rows: pd.DataFrame, scale: tuple[float, float] | None = None) -> list[str]:
    """Four to seven sentences on what an attack did to the systems.

    Args:
        rows: Rows of one attack; only test clips count.
        scale: Range of the labels, where the rows do not record it; None where it is not known.

    Raises:
        DataError: See `systems.selection`.
    """
    chosen = selection(rows)
    effects = run_means(chosen)
    sentences = [_clean(effects), movement(effects), _ranking(effects), _levels(effects)]
    sentences += [_outside(chosen, effects, scale_of(chosen) or scale), _size(chosen), _caution(chosen)]
    return [sentence for sentence in sentences if sentence]


def _clean(effects: Effects) -> str:
    each = "; ".join(
        f"{name} {words.number(line['clean_corr'], 'z.2f')} and {line['clean_mae']:.3f}"
        for name, line in effects.means.iterrows()
    )
    return f"On clean test clips, mean correlation with the ratings and MAE are: {each}."


def movement(effects: Effects) -> str:
    """Which system the attack changes least and most, by both measures, clean -> attacked."""
    means = effects.means
    if effects.is_zero:
        same = "" if len(means) == 1 else ", so it does not show which is more robust"
        return (
            f"The attack changes neither the MAE nor the correlation of {', '.join(means.index)} "
            f"(by more than {RESOLUTION:g}){same}."
        )
    undefined = list(means.index[means["lost"].isna()])
    parts = [_ends(effects.by_error, means, ("MAE", "adds least error to", "most to"), error_change)]
    if len(undefined) < len(means):
        parts.append(
            _ends(
                effects.by_correlation,
                means,
                ("correlation", "takes least correlation from", "most from"),
                correlation_change,
            )
        )
    if undefined:
        parts.append(f"the correlation of {', '.join(undefined)} is not defined")
    return f"The attack {'; '.join(parts)}."


def against(effects: Effects, first: str, second: str) -> str:
    """Whether a system with concepts is more robust than one without, by changes: they also differ when clean.

    Args:
        effects: What `run_means` returned.
        first: The system without concepts.
        second: The system with concepts.
    """
    both = effects.of(first, second)
    if both.is_zero:
        return movement(both)
    plain, concepts = (both.means.loc[name].to_dict() for name in (first, second))
    levels = f" {_levels(both)}".rstrip()
    error = both.by_error.compare(second, first)
    verdict = f"Here {second} (with concepts) is {VERDICTS[error][0]} {first} (without)"
    numbers = f"the attack changes its MAE by {error_change(concepts)} against {error_change(plain)}"
    if math.isnan(concepts["lost"]) or math.isnan(plain["lost"]):
        return f"{verdict} by MAE; the correlation is not defined: {numbers}.{levels}"
    loss = both.by_correlation.compare(second, first)
    by = "by both measures" if error == loss else f"by MAE and {VERDICTS[loss][1]} by correlation"
    return (
        f"{verdict} {by}: {numbers}, and its correlation with the ratings by {correlation_change(concepts)} against "
        f"{correlation_change(plain)}.{levels}"
    )


def ends(effects: Effects) -> tuple[str, str]:
    """The systems to which the attack adds least and most error."""
    ranked = effects.by_error.systems
    return ranked[0], ranked[-1]


def error_change(line: Mapping[Any, float]) -> str:
    """What an attack does to the MAE in a line of `Effects.means`: ``+0.415 (0.125 → 0.540)``."""
    return f"{line['difference']:+z.3f} ({line['clean_mae']:.3f} → {line['mae']:.3f})"


def correlation_change(line: Mapping[Any, float]) -> str:
    """What an attack does to the correlation, where that is defined: ``-0.300 (0.700 → 0.400)``."""
    return f"{-line['lost']:+z.3f} ({line['clean_corr']:z.3f} → {line['corr']:z.3f})"


def _ends(
    ranking: Ranking,
    means: pd.DataFrame,
    words: tuple[str, str, str],
    change: Callable[[Mapping[Any, float]], str],
) -> str:
    """``adds least error to A2M2E, +0.875 (0.125 → 1.000), and most to A2E, +1.889 (0.125 → 2.014)``.

    Changes have a sign: what takes error away adds least. Of one system its change.
    """
    ranked, (measure, least_to, most_to) = ranking.systems, words
    least, most = (change(means.loc[name].to_dict()) for name in (ranked[0], ranked[-1]))
    if len(ranked) == 1:
        return f"changes the {measure} of {ranked[0]} by {least}"
    tie = ", a tie" if ranking.is_tie(ranked[0], ranked[-1]) else ""
    return f"{least_to} {ranked[0]}, {least}, and {most_to} {ranked[-1]}, {most}{tie}"


def _ranking(effects: Effects) -> str:
    """Whether the changes of both measures order the systems alike, as far as both are defined."""
    defined = effects.of(*effects.by_correlation.means)
    by_error, by_correlation = defined.by_error, defined.by_correlation
    if len(by_correlation.means) < 2 or effects.is_zero:
        return ""
    if str(by_error) == str(by_correlation):
        return f"Both measures rank the systems alike, most robust first: {by_error}."
    rankings = f"most robust first, by MAE: {by_error}; by correlation: {by_correlation}; = marks ties"
    if not reversals(by_error, by_correlation):
        return f"The two rankings differ only in ties ({rankings})."
    return f"The two rankings disagree ({rankings}): which system counts as robust depends on the measure."


def _levels(effects: Effects) -> str:
    """A sentence where the values after the attack rank the systems differently from the changes."""
    if effects.is_zero:
        return ""
    levels = (
        ("MAE", effects.by_error, effects.ranking("adversarial_mae")),
        ("correlation", effects.by_correlation, effects.ranking("adversarial_corr_avg", -1.0)),
    )
    other = [f"by {name}: {level}" for name, change, level in levels if reversals(level, change)]
    if not other:
        return ""
    return (
        f"The values after the attack rank them differently, best first ({'; '.join(other)}): the systems also differ "
        "without an attack."
    )


def _outside(rows: pd.DataFrame, effects: Effects, scale: tuple[float, float] | None) -> str:
    """How many predictions no rating can have, and the MAE with predictions clipped to the scale."""
    if scale is None or outside(values_of(rows, "label"), scale).any():
        return ""
    low, high = scale
    share = float(outside(values_of(rows, "adversarial"), scale).mean())
    clipped = errors_per_clip(rows, low, high).groupby("system")["attacked"].mean()
    text = f"{share:.0%} of attacked predictions lie outside the scale {low:g} to {high:g}"
    if len(clipped) == 1:
        return f"{text}; clipped to it, the MAE is {clipped.iloc[0]:.2f}."
    raw = effects.means["mae"]
    return (
        f"{text}; the MAE after the attack differs between systems by up to {raw.max() - raw.min():.2f}, with "
        f"predictions clipped to the scale by up to {clipped.max() - clipped.min():.2f}."
    )


def _size(rows: pd.DataFrame) -> str:
    """How large the perturbations are, where that was recorded."""
    budget = " The attack has no budget." if (rows["norm"] == "none").all() else ""
    largest, unit = rows["linf"].dropna(), unit_of(rows)
    change = f"The largest change of {words.entry(unit)}"
    if audibility := _audibility(rows):
        return f"The perturbations have {audibility}.{budget}"
    if len(largest):
        return f"{change} has a median of {largest.median():.2g} {words.after_number(unit)}.{budget}"
    stored_norms = rows["stored_l2"].dropna() if "stored_l2" in rows else largest
    stored_norm = (
        f"; the stored perturbations have a median L2 norm of {stored_norms.median():.3g}"
        if len(stored_norms)
        else ""
    )
    return f"{change} was not recorded{stored_norm}.{budget}"


def _audibility(rows: pd.DataFrame) -> str:
    """How loud perturbations of waveforms are, where that was recorded."""
    ratios = {"snr_db": "a median signal-to-noise ratio of", "nmr_db": "a median noise-to-mask ratio of"}
    values = {title: rows[name].dropna() for name, title in ratios.items() if name in rows}
    return " and ".join(f"{title} {value.median():z.1f} dB" for title, value in values.items() if len(value))


def _caution(rows: pd.DataFrame) -> str:
    """How far differences between systems can be trusted."""
    seeds, clips = rows["seed"].nunique(), rows["clip"].nunique()
    basis = f"{counted(seeds, 'seed')}, {counted(clips, 'test clip')}"
    if rows["system"].nunique() < 2:
        return f"One system only ({basis}): there is no comparison."
    over_seeds = smc2025.significance(rows).query("unit == 'seed'")
    if seeds < FEWEST_SEEDS:
        return f"Too few seeds to test ({basis}): differences should not be over-interpreted."
    if not any(set(pair) <= set(rows["system"]) for pair in smc2025.COMPARISONS):
        return f"These are {basis}; the systems that the paper tests are not among them."
    if over_seeds.empty:
        return f"No test of the paper's comparisons is possible ({basis}): differences should not be over-interpreted."
    each = ", ".join(f"{line.comparison} p = {line.p:.2g}" for line in over_seeds.itertuples())
    return f"Paired tests of the MAE after the attack with seeds as the unit, not adjusted ({basis}): {each}."
