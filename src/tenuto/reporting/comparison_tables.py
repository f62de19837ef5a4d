"""The tables of a comparison as they are printed: text cells, and captions that say what the unit is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from tenuto.analysis import statistics, words
from tenuto.analysis.comparison import QUANTITIES, Comparison
from tenuto.reporting import tables


def show_systems(comparison: Comparison) -> pd.DataFrame:
    """`Comparison.systems` as text cells."""
    table = comparison.systems
    return pd.DataFrame(
        {
            tables.GROUP: table["quantity"],
            "System": table["system"],
            "Error": table["quantity"].map(QUANTITIES),
            "Seeds": table["seeds"].map(str),
            "Mean": _numbers(table["mean"]),
            **_interval(comparison, table),
        },
        dtype=str,
    )


def show_pairs(comparison: Comparison) -> pd.DataFrame:
    """`Comparison.pairs` as text cells."""
    table = comparison.pairs
    return pd.DataFrame(
        {
            tables.GROUP: table["quantity"],
            "Pair": table["first"] + ":" + table["second"],
            "Error": table["quantity"].map(QUANTITIES),
            "Seeds": table["seeds"].map(str),
            "Difference": _numbers(table["difference"]),
            **_interval(comparison, table),
            "Paired t": _statistics(table["t"], table["degrees_of_freedom"]),
            "p": _probabilities(table["p"]),
            "p, Holm": _probabilities(table["p_holm"]),
            "g": _numbers(table["g_z"], "z.2f"),
            "Detectable": _numbers(table["detectable"]),
            "Pooled t": _statistics(table["pooled_t"], table["pooled_degrees_of_freedom"]),
            "Pooled p": _probabilities(table["pooled_p"]),
        },
        dtype=str,
    )


def show_mixed(comparison: Comparison) -> pd.DataFrame:
    """`Comparison.mixed` as text cells; variances as deviations, in the unit of the errors."""
    table = comparison.mixed
    deviations = {
        f"SD {name.replace('_', ' x ')}": _numbers(np.sqrt(table[f"variance_{name}"]))
        for name in (*statistics.COMPONENTS, "residual")
    }
    return pd.DataFrame(
        {
            tables.GROUP: table["quantity"],
            "Pair": table["first"] + ":" + table["second"],
            "Error": table["quantity"].map(QUANTITIES),
            "Difference": _numbers(table["difference"]),
            "SE": _numbers(table["standard_error"]),
            **_interval(comparison, table),
            "z": _numbers(table["z"], "z.2f"),
            "p": _probabilities(table["p"]),
            "p, Holm": _probabilities(table["p_holm"]),
            **deviations,
        },
        dtype=str,
    )


def _interval(comparison: Comparison, table: pd.DataFrame) -> dict[str, list[str]]:
    """Both ends of an interval, headed by the percentiles that they are."""
    tail = 50 * (1 - comparison.settings.level)
    return {f"{tail:.4g} %": _numbers(table["low"]), f"{100 - tail:.4g} %": _numbers(table["high"])}


def _numbers(values: pd.Series[float], pattern: str = "z.4f") -> list[str]:
    return [words.number(value, pattern) for value in values]


def _probabilities(values: pd.Series[float]) -> list[str]:
    return [words.number(p, ".3e" if p < 1e-3 else ".4f") for p in values]


def _statistics(values: pd.Series[float], degrees: pd.Series[int]) -> list[str]:
    return [
        words.NOTHING if math.isnan(t) else f"t({freedom})={t:.2f}"
        for t, freedom in zip(values, degrees, strict=True)
    ]


def captions(comparison: Comparison) -> dict[str, str]:
    """What each table shows, in words: ``systems``, ``pairs``, ``mixed``; without the sentence on the unit."""
    settings = comparison.settings
    bootstrap = (
        "Intervals: two-way bootstrap, seeds and clips resampled independently "
        f"({settings.draws} draws, seed {settings.seed})."
    )
    family = "Holm: over the planned pairs of one kind of error."
    return {
        "systems": f"Mean error of each system. {bootstrap}",
        "pairs": (
            f"Difference of mean errors: A:B is A minus B, positive where A errs more. {bootstrap} "
            "Paired t, p, g and detectable have the seed as their unit (the mean over the clips of a run, paired "
            "by seed). g: mean difference over the deviation of the differences, with Hedges' correction. "
            "Detectable: the smallest true difference that this test finds with power 0.8 at level 0.05. "
            f"{family} Pooled: the paired t-test as the SMC 2025 paper has it, which counts {_pooled(comparison)} as "
            "independent although the clips of one seed share a network (pseudo-replication)."
        ),
        "mixed": (
            "Linear mixed model of each pair (REML), A:B is A minus B: system fixed; seed (nested in system), "
            "clip (crossed) and system x clip random. Interval and p are Wald's, by the normal distribution. "
            f"{family} SD: deviations of the random effects."
        ),
    }


def _pooled(comparison: Comparison) -> str:
    """How many pairs the pooled test takes for independent."""
    counts = sorted(set(comparison.pairs["pooled_n"].dropna()))
    return f"{' or '.join(map(str, counts))} pairs of clip and seed" if counts else "pairs of clip and seed"


def write(comparison: Comparison, out: str | Path) -> dict[str, Path]:
    """``stats_systems``, ``stats_pairs`` and ``stats_mixed``: CSV in full digits, Markdown, LaTeX. Name -> path."""
    words = captions(comparison)
    written: dict[str, Path] = {}
    for name, table, shown in (
        ("systems", comparison.systems, show_systems(comparison)),
        ("pairs", comparison.pairs, show_pairs(comparison)),
        ("mixed", comparison.mixed, show_mixed(comparison)),
    ):
        written |= tables.write(Path(out) / f"stats_{name}", table, shown, f"{words[name]} {comparison.unit}")
    return written
