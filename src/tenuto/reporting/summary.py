"""What rows support, in plain sentences, and nothing more."""

from __future__ import annotations

import pandas as pd

from tenuto import results
from tenuto.reporting import paper, tables

RATINGS = (0.0, 1.0)
"""Annotations are ratings scaled into this range."""


def summarise(rows: pd.DataFrame) -> list[str]:
    """Four to seven sentences on what an attack did to the systems.

    Args:
        rows: Rows of one attack; only test clips count.

    Raises:
        DataError: See `paper.selection`.
    """
    chosen = paper.selection(rows)
    means = run_means(chosen)
    found = [_clean(means), _moved(means), _ranking(means), _outside(chosen), _size(chosen), _caution(chosen)]
    return [sentence for sentence in found if sentence]


def run_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, one line per system: ``clean_corr clean_mae corr mae difference clipped`` (MAE of
    predictions clipped to 0-1)."""
    measured = paper.run_metrics(rows)
    measured["difference"] = measured["adversarial_mae"] - measured["clean_mae"]
    names = {"clean_corr_avg": "clean_corr", "clean_mae": "clean_mae", "adversarial_corr_avg": "corr"}
    names |= {"adversarial_mae": "mae", "difference": "difference"}
    means = measured.groupby("system")[list(names)].agg(_mean).rename(columns=names)
    means["clipped"] = paper.clip_errors(rows, *RATINGS).groupby("system")["attacked"].mean()
    return means.loc[paper.systems(measured)]


def _mean(values: pd.Series[float]) -> float:
    """NaN where a value is: a correlation that one seed lacks is not averaged over the others."""
    return float(values.mean(skipna=False))


def _clean(means: pd.DataFrame) -> str:
    each = "; ".join(
        f"{name} {tables.number(correlation, 'z.2f')} and {error:.3f}"
        for name, correlation, error in zip(means.index, means["clean_corr"], means["clean_mae"], strict=True)
    )
    return f"On clean test clips, mean correlation with the ratings and MAE are: {each}."


def _moved(means: pd.DataFrame) -> str:
    """Who is moved least, by either measure."""
    by_error = means["difference"].dropna().sort_values()
    if len(by_error) == 1:
        name, line = means.index[0], means.iloc[0]
        return (
            f"The attack changes the MAE of {name} by {line['difference']:+z.2f} to {line['mae']:.2f} "
            f"and leaves a correlation of {tables.number(line['corr'], 'z.2f')}."
        )
    said = (
        f"By MAE the attack moves {by_error.index[0]} least ({by_error.iloc[0]:+z.2f}) "
        f"and {by_error.index[-1]} most ({by_error.iloc[-1]:+z.2f})"
    )
    by_correlation = means["corr"].dropna().sort_values(ascending=False)
    if len(by_correlation) < 2:
        return f"{said}."
    best, worst = by_correlation.index[0], by_correlation.index[-1]
    return (
        f"{said}; the correlation it leaves is highest for {best} ({by_correlation[best]:z.2f}) "
        f"and lowest for {worst} ({by_correlation[worst]:z.2f})."
    )


def _ranking(means: pd.DataFrame) -> str:
    """Do the two measures put the systems in the same order?"""
    both = means.dropna(subset=["difference", "corr"])
    if len(both) < 2:
        return ""
    by_error = list(both.sort_values("difference").index)
    by_correlation = list(both.sort_values("corr", ascending=False).index)
    if by_error == by_correlation:
        return f"Both measures rank the systems alike, most robust first: {', '.join(by_error)}."
    return (
        f"The two rankings do not agree (most robust first, by MAE: {', '.join(by_error)}; by correlation: "
        f"{', '.join(by_correlation)}): which system is called robust depends on the measure."
    )


def _outside(rows: pd.DataFrame) -> str:
    """How much of the error lies where no rating can be."""
    low, high = RATINGS
    label, attacked = results.values(rows, "label"), results.values(rows, "adversarial")
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
    tests = paper.significance(rows)
    over_seeds = tests[tests["unit"] == "seed"]
    if seeds < paper.FEWEST_SEEDS:
        return f"{basis}: too few seeds to test."
    if over_seeds.empty:
        return f"{basis}; the systems of the published comparisons share too few seeds to test."
    each = ", ".join(f"{line.comparison} p = {line.p:.2g}" for line in over_seeds.itertuples())
    return f"{basis}: paired tests of the MAE after the attack with seeds as the unit give {each}."
