"""What rows support, in plain sentences, and nothing more."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from tenuto.analysis import smc2025, words
from tenuto.analysis.systems import FEWEST_SEEDS, errors_per_clip, ordered_systems, run_metrics, selection
from tenuto.store.rows import values_of

RATINGS = (0.0, 1.0)
"""Annotations are ratings scaled into this range."""

DECIMALS = 3
"""Of every change that is told; systems whose changes look alike in them are not put in an order."""

HARMS = ["difference", "lost"]
"""Columns of `run_means` that say what an attack does to a system, by error and by correlation."""

VERDICTS = {1: ("more robust than", "more robust"), 0: ("as robust as", "equally robust")}
VERDICTS |= {-1: ("less robust than", "less robust")}
"""What a system is beside another one: followed by its name, and without it."""


def summarise(rows: pd.DataFrame) -> list[str]:
    """Four to seven sentences on what an attack did to the systems.

    Args:
        rows: Rows of one attack; only test clips count.

    Raises:
        DataError: See `systems.selection`.
    """
    chosen = selection(rows)
    means = run_means(chosen)
    found = [_clean(means), moved(means), _ranking(means), _left(means)]
    found += [_outside(chosen), _size(chosen), _caution(chosen)]
    return [sentence for sentence in found if sentence]


def run_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, one line per system: ``clean_corr clean_mae corr mae``, the changes ``difference`` (MAE that
    the attack adds) and ``lost`` (correlation that it takes), and ``clipped`` (MAE of predictions clipped to 0-1)."""
    measured = run_metrics(rows)
    measured["difference"] = measured["adversarial_mae"] - measured["clean_mae"]
    measured["lost"] = measured["clean_corr_avg"] - measured["adversarial_corr_avg"]
    names = {"clean_corr_avg": "clean_corr", "clean_mae": "clean_mae", "adversarial_corr_avg": "corr"}
    names |= {"adversarial_mae": "mae", "difference": "difference", "lost": "lost"}
    means = measured.groupby("system")[list(names)].agg(_mean).rename(columns=names)
    means["clipped"] = errors_per_clip(rows, *RATINGS).groupby("system")["attacked"].mean()
    return means.loc[ordered_systems(measured)]


def _mean(values: pd.Series[float]) -> float:
    """NaN where a value is: a correlation that one seed lacks is not averaged over the others."""
    return float(values.mean(skipna=False))


def _clean(means: pd.DataFrame) -> str:
    each = "; ".join(
        f"{name} {words.number(correlation, 'z.2f')} and {error:.3f}"
        for name, correlation, error in zip(means.index, means["clean_corr"], means["clean_mae"], strict=True)
    )
    return f"On clean test clips, mean correlation with the ratings and MAE are: {each}."


def moved(means: pd.DataFrame) -> str:
    """Whom the attack harms least and most, by the changes of both measures, clean -> attacked.

    Args:
        means: What `run_means` gave.
    """
    if _unmoved(means):
        return (
            f"The attack changes neither the MAE nor the correlation with the ratings of {', '.join(means.index)} in "
            f"{DECIMALS} decimals{'' if len(means) == 1 else ': it does not tell which is more robust'}."
        )
    undefined = list(means.index[means["lost"].isna()])
    known = means.drop(index=undefined)
    parts = [f"By MAE the attack changes {_ends(means, 'difference', error_change)}"]
    if len(known):
        parts.append(f"by correlation {_ends(known, 'lost', correlation_change)}")
    if undefined:
        parts.append(f"the correlation of {', '.join(undefined)} is not defined")
    return f"{'; '.join(parts)}."


def against(means: pd.DataFrame, first: str, second: str) -> str:
    """Is a system with the concepts more robust than one without them? By changes: both differ before the attack too.

    Args:
        means: What `run_means` gave.
        first: The system without the concepts.
        second: The system with them.
    """
    if _unmoved(means.loc[[first, second]]):
        return moved(means.loc[[first, second]])
    plain, concepts = (means.loc[name].to_dict() for name in (first, second))
    left = f" {_left(means.loc[[first, second]])}".rstrip()
    error = _better(concepts["difference"], plain["difference"])
    said = f"Here {second} (with the concepts) is {VERDICTS[error][0]} {first} (without)"
    numbers = f"the attack changes its mean absolute error by {error_change(concepts)} against {error_change(plain)}"
    if math.isnan(concepts["lost"]) or math.isnan(plain["lost"]):
        return f"{said} by error; the correlation is not defined: {numbers}.{left}"
    lost = _better(concepts["lost"], plain["lost"])
    by = "by both measures" if error == lost else f"by error and {VERDICTS[lost][1]} by correlation"
    return (
        f"{said} {by}: {numbers}, and its correlation with the ratings by {correlation_change(concepts)} against "
        f"{correlation_change(plain)}.{left}"
    )


def ends(means: pd.DataFrame) -> tuple[str, str]:
    """The systems to which the attack adds least and most error, of what `run_means` gave."""
    ordered = means.sort_values("difference", kind="stable").index
    return str(ordered[0]), str(ordered[-1])


def error_change(line: Mapping[Any, float]) -> str:
    """What an attack does to the MAE in a line of `run_means`: ``+0.415 (0.125 → 0.540)``."""
    return f"{line['difference']:+z.3f} ({line['clean_mae']:.3f} → {line['mae']:.3f})"


def correlation_change(line: Mapping[Any, float]) -> str:
    """What it does to the correlation, where that is defined: ``-0.300 (0.700 → 0.400)``."""
    return f"{-line['lost']:+z.3f} ({line['clean_corr']:z.3f} → {line['corr']:z.3f})"


def _unmoved(means: pd.DataFrame) -> bool:
    """Does no change show in the decimals that are told? One that is not defined counts as one."""
    return not means[HARMS].round(DECIMALS).to_numpy().any()


def _better(own: float, other: float) -> int:
    """1 where the own harm is the smaller one, -1 where it is the larger one, 0 where they look alike."""
    return int(np.sign(round(other, DECIMALS) - round(own, DECIMALS)))


def _ends(means: pd.DataFrame, harm: str, told: Callable[[Mapping[Any, float]], str]) -> str:
    """``A2M2E least, +0.875 (0.125 → 1.000), and A2E most, +1.889 (0.125 → 2.014)``; of one system its change."""
    ordered = means.sort_values(harm, kind="stable")
    least, most = (f"{ordered.index[end]} {{}}{told(ordered.iloc[end].to_dict())}" for end in (0, -1))
    if len(means) == 1:
        return least.format("by ")
    if ordered[harm].round(DECIMALS).nunique() == 1:
        return "all alike"
    return f"{least.format('least, ')}, and {most.format('most, ')}"


def _ranking(means: pd.DataFrame) -> str:
    """Do the changes of both measures put the systems in the same order?"""
    both = means.dropna(subset=HARMS)
    if len(both) < 2 or _unmoved(both):
        return ""
    by_error, by_correlation = _order(both["difference"]), _order(both["lost"])
    if by_error == by_correlation:
        return f"Both measures rank the systems alike, most robust first: {by_error}."
    rankings = f"most robust first, by MAE: {by_error}; by correlation: {by_correlation}"
    if not _turned(both["difference"], both["lost"]):
        return f"The two rankings differ in nothing but ties ({rankings})."
    return (
        f"The two rankings do not agree ({rankings}): which system is called robust depends on the measure."
    )


def _left(means: pd.DataFrame) -> str:
    """A sentence where the levels after the attack rank the systems otherwise than the changes do."""
    if _unmoved(means):
        return ""
    other = []
    for name, harm, level, sign in (("MAE", "difference", "mae", 1), ("correlation", "lost", "corr", -1)):
        known = means[means[harm].notna()]
        if _turned(sign * known[level], known[harm]):
            other.append(f"by {name}: {_order(sign * known[level])}")
    if not other:
        return ""
    return (
        f"What is left after the attack ranks them otherwise, best first ({'; '.join(other)}): they differ without an "
        "attack too."
    )


def _turned(first: pd.Series[float], second: pd.Series[float]) -> bool:
    """Do two measures put any two systems the other way round?"""
    one, other = (
        np.sign(np.subtract.outer(*[values.round(DECIMALS).to_numpy()] * 2)) for values in (first, second)
    )
    return bool((one * other < 0).any())


def _order(harm: pd.Series[float]) -> str:
    """Systems, least harm first; those that look alike stand together: ``A2M2E, A2E = A2B2E``."""
    rounded = harm.round(DECIMALS)
    return ", ".join(" = ".join(map(str, alike.index)) for _, alike in rounded.groupby(rounded))


def _outside(rows: pd.DataFrame) -> str:
    """How much of the error lies where no rating can be."""
    low, high = RATINGS
    label, attacked = values_of(rows, "label"), values_of(rows, "adversarial")
    if label.min() < low or label.max() > high:
        return ""
    share = float(((attacked < low) | (attacked > high)).mean())
    means = run_means(rows)
    if len(means) == 1:
        line = means.iloc[0]
        said = f"{share:.0%} of attacked predictions lie outside 0-1"
        return f"{said}; clipped to it, the MAE is {line['clipped']:.2f}."
    spread = means["mae"].max() - means["mae"].min()
    clipped = means["clipped"].max() - means["clipped"].min()
    return (
        f"{share:.0%} of attacked predictions lie outside 0-1, where no rating is; the systems' MAE after "
        f"the attack differ by up to {spread:.2f}, "
        f"by up to {clipped:.2f} when predictions are clipped to 0-1."
    )


def _size(rows: pd.DataFrame) -> str:
    """How large the perturbations are, as far as it was recorded."""
    budget = " The released attack has no budget." if (rows["norm"] == "none").all() else ""
    largest = rows["linf"].dropna()
    if len(largest):
        size = f"{largest.median():.2g} normalised units"
        return f"The median largest change of one spectrogram entry is {size}.{budget}"
    stored = rows["stored_l2"].dropna() if "stored_l2" in rows else largest
    known = (
        f"; the stored perturbations have a median L2 norm of {stored.median():.3g}" if len(stored) else ""
    )
    return f"The largest change of one spectrogram entry was not recorded{known}.{budget}"


def _caution(rows: pd.DataFrame) -> str:
    """How far differences between systems can be trusted."""
    seeds, clips = rows["seed"].nunique(), rows["clip"].nunique()
    basis = f"With {seeds} seed{'s'[: seeds > 1]} and {clips} test clips differences are not to be over-read"
    if rows["system"].nunique() < 2:
        return f"{basis}: there is one system only, nothing to compare it with."
    tests = smc2025.significance(rows)
    over_seeds = tests[tests["unit"] == "seed"]
    if seeds < FEWEST_SEEDS:
        return f"{basis}: too few seeds to test."
    if over_seeds.empty:
        return f"{basis}; the systems of the published comparisons share too few seeds to test."
    each = ", ".join(f"{line.comparison} p = {line.p:.2g}" for line in over_seeds.itertuples())
    return f"{basis}: paired tests of the MAE after the attack with seeds as the unit give {each}."
