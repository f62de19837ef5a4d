"""Tables of a comparison of systems, as text cells with captions and as files, and its figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tenuto.analysis.comparison import QUANTITIES, Comparison
from tenuto.analysis.words import NOTHING, number
from tenuto.reporting.figures.style import save_figure
from tenuto.reporting.figures.tradeoff import tradeoff
from tenuto.reporting.tables import GROUP, numbers, probabilities, write


def show_systems(comparison: Comparison) -> pd.DataFrame:
    """`Comparison.systems` as text cells."""
    table = comparison.systems
    shown = {
        GROUP: table["quantity"],
        "System": table["system"],
        "Error": table["quantity"].map(QUANTITIES),
        "Seeds": table["seeds"].map(str),
        "Mean": numbers(table["mean"]),
        **_interval(comparison, table),
    }
    return pd.DataFrame(shown, dtype=str)


def show_pairs(comparison: Comparison) -> pd.DataFrame:
    """`Comparison.pairs` as text cells, seeds as the unit."""
    table = comparison.pairs
    shown = {
        **_pair(table),
        "Seeds": table["seeds"].map(str),
        "Difference": numbers(table["difference"]),
        **_interval(comparison, table),
        "t": numbers(table["t"], "z.2f"),
        "p (Holm)": probabilities(table["p_holm"]),
        "g": numbers(table["g_z"], "z.2f"),
        "Detectable": numbers(table["detectable"]),
    }
    return pd.DataFrame(shown, dtype=str)


def show_pooled(comparison: Comparison) -> pd.DataFrame:
    """The pooled t-tests of `Comparison.pairs` as text cells, clip and seed as the unit."""
    table = comparison.pairs
    shown = {
        **_pair(table),
        "n": [NOTHING if pd.isna(n) else str(n) for n in table["pooled_n"]],
        "Pooled t": numbers(table["pooled_t"], "z.2f"),
        "Pooled p": probabilities(table["pooled_p"]),
    }
    return pd.DataFrame(shown, dtype=str)


def show_mixed(comparison: Comparison) -> pd.DataFrame:
    """`Comparison.mixed` as text cells; variances as standard deviations, in the unit of the errors."""
    table = comparison.mixed
    variances = {"Seed": "seed", "Clip": "clip", "Both": "system_clip", "Rest": "residual"}
    shown = {
        **_pair(table),
        "Diff.": numbers(table["difference"], "z.3f"),
        **_interval(comparison, table, "z.3f"),
        "z": numbers(table["z"], "z.2f"),
        "p (Holm)": probabilities(table["p_holm"]),
        **{
            heading: numbers(np.sqrt(table[f"variance_{name}"]), ".3f") for heading, name in variances.items()
        },
    }
    return pd.DataFrame(shown, dtype=str)


def show_matched(comparison: Comparison) -> pd.DataFrame:
    """`Comparison.matched` as text cells."""
    table = comparison.matched
    shown = {
        **_pair(table),
        "Clean A": numbers(table["clean_first"], "z.3f"),
        "Clean B": numbers(table["clean_second"], "z.3f"),
        "Matched A": numbers(table["adjusted_first"], "z.3f"),
        "Matched B": numbers(table["adjusted_second"], "z.3f"),
        "Diff.": numbers(table["difference"], "z.3f"),
        **_interval(comparison, table, "z.3f"),
        "t": numbers(table["t"], "z.2f"),
        "p (Holm)": probabilities(table["p_holm"]),
    }
    return pd.DataFrame(shown, dtype=str)


COMPARISON_TABLES = {
    "systems": show_systems,
    "pairs": show_pairs,
    "pooled": show_pooled,
    "mixed": show_mixed,
    "matched": show_matched,
}
"""The tables in their order."""


def _pair(table: pd.DataFrame) -> dict[str, Any]:
    return {
        GROUP: table["quantity"],
        "Pair": table["first"] + ":" + table["second"],
        "Error": table["quantity"].map(QUANTITIES),
    }


def _interval(comparison: Comparison, table: pd.DataFrame, pattern: str = "z.4f") -> dict[str, list[str]]:
    """Both ends of an interval under their percentiles."""
    tail = 50 * (1 - comparison.settings.level)
    ends = {f"{tail:.4g} %": table["low"], f"{100 - tail:.4g} %": table["high"]}
    return {heading: numbers(values, pattern) for heading, values in ends.items()}


def tested_pairs(table: pd.DataFrame) -> str:
    """For how many tests of one kind of error p is adjusted: the planned pairs that could be tested."""
    count = max(table.groupby("quantity")["p"].count(), default=0)
    return f"{count} tested pair{'s' * (count > 1)}" if count else "the planned pairs"


def captions(comparison: Comparison) -> dict[str, str]:
    """Captions of the tables of `COMPARISON_TABLES`, without the sentence on the unit."""
    settings = comparison.settings
    bootstrap = (
        "Intervals: two-way bootstrap, seeds and clips resampled independently "
        f"({settings.draws} draws, seed {settings.seed})."
    )
    tests, fits = (tested_pairs(table) for table in (comparison.pairs, comparison.mixed))
    counts = sorted(set(comparison.pairs["pooled_n"].dropna()))
    pooled = f"{' or '.join(map(str, counts))} pairs" if counts else "pairs"
    return {
        "systems": f"Mean error of each system. {bootstrap}",
        "pairs": (
            f"Difference of mean errors: A:B is A minus B, positive where the error of A is larger. {bootstrap} "
            "t, p, g and detectable: paired test with the seed as the unit (the mean over the clips of a run). "
            f"p by Holm over {tests} of one kind of error. g: standardised mean difference with Hedges' correction. "
            "Detectable: the smallest true difference that this test finds with power 0.8 at level 0.05."
        ),
        "pooled": (
            f"The paired t-test of the SMC 2025 paper. It counts {pooled} of clip and seed as "
            "independent although the clips of one seed share a network (pseudo-replication)."
        ),
        "mixed": (
            "Linear mixed model of each pair (REML), A:B is A minus B: system fixed; seed (nested in system), "
            f"clip (crossed) and system x clip (both) random. Interval and p by Wald. "
            f"p by Holm over {fits} of one kind of error. "
            "Seed, clip, both, rest: standard deviations of the random effects and of the residual."
        ),
        "matched": _caption_matched(comparison),
    }


def _caption_matched(comparison: Comparison) -> str:
    runs, fitted = comparison.runs, comparison.matched.dropna(subset="slope")
    caption = (
        "Error after the attack at matched clean error, A:B is A minus B. Clean: mean clean errors. Matched: mean "
        "errors after the attack, adjusted to the same clean error by an analysis of covariance with runs as the unit"
    )
    if fitted.empty:
        return f"{caption}."
    line = fitted.iloc[0]
    slope, error = number(line["slope"], "z.2f"), number(line["slope_error"], ".2f")
    return (
        f"{caption}. {len(runs)} runs of {runs['system'].nunique()} systems leave {line['degrees_of_freedom']} degrees "
        f"of freedom; common slope {slope} (standard error {error}); clean error {line['clean_matched']:.4f}. Interval "
        "and p by t. p by Holm over the planned pairs."
    )


def write_comparison(comparison: Comparison, out: str | Path) -> dict[str, Path]:
    """Write the tables ``stats_systems``, ``stats_pairs``, ``stats_mixed`` and ``stats_matched``, and a figure.

    Tables are CSV in full digits, Markdown and LaTeX; ``stats_pooled`` has the pooled tests of ``stats_pairs.csv`` as
    Markdown and LaTeX. The figure is ``stats_tradeoff`` as PNG and PDF. Returns file name -> path.
    """
    texts = captions(comparison)
    written: dict[str, Path] = {}
    for name, show in COMPARISON_TABLES.items():
        table = None if name == "pooled" else getattr(comparison, name)
        caption = f"{texts[name]} {comparison.unit}"
        written |= write(Path(out) / f"stats_{name}", table, show(comparison), caption)
    return written | save_figure(tradeoff(comparison), Path(out) / "stats_tradeoff")
