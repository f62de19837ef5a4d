"""The SMC 2025 study's tables and figures from rows, be they of the released logs or of own runs.

How each number is formed follows the study's analysis (its Table 1, Figures 3 and 4, and the two t-tests).
Clean values belong to the clean test clips, attacked ones to the last iterate the attack evaluated. Columns named
``paper_...`` hold the paper's values, where the rows are of its data; four of its cells differ from its own logs by
0.01.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.analysis.statistics import differences_vary, paired_t_test
from tenuto.analysis.systems import FEWEST_SEEDS, errors_per_clip, ordered_systems, run_metrics, selection
from tenuto.config import SYSTEMS
from tenuto.errors import ConfigError, did_you_mean
from tenuto.store.rows import emotion_names

FIGURE_4_SEED = 21
FIGURE_4_EMOTIONS = ("tension", "tender")
FIGURE_4_SYSTEMS = ("A2B2E", "A2M2E", "aA2B2E")
COMPARISONS = (("A2E", "A2M2E"), ("A2B2E", "A2M2E"))
TABLE_1 = ("group", "system", "seeds", "correlation_mean", "correlation_std", "mae_mean", "mae_std")
PRINTED_COLUMNS = ("paper_correlation_mean", "paper_correlation_std", "paper_mae_mean", "paper_mae_std")
PRINTED_TABLE_1 = {
    "A2E": (0.73, 0.02, 0.10, 0.01),
    "A2B2E": (0.70, 0.02, 0.11, 0.01),
    "A2M2E": (0.67, 0.02, 0.11, 0.01),
    "aA2E": (0.67, 0.03, 0.10, 0.00),
    "aA2B2E": (0.66, 0.03, 0.10, 0.00),
}
"""System -> values of `PRINTED_COLUMNS`."""

PRINTED_ORIGINAL = {"A2E (orig.)": 0.76, "A2M2E (orig.)": 0.75}
"""Mean correlation of the original work (ISMIR 2019), as the study prints it."""

PRINTED_TESTS = {"A2E": (13.035200610, 4.567e-32), "A2B2E": (12.099034452, 1.695e-28)}
"""First of the pair -> t(359), p as printed."""


def table1(rows: pd.DataFrame, paper_data: bool = False) -> pd.DataFrame:
    """Correlation and MAE on clean test clips, mean and deviation (n) over seeds (NaN of one).

    Args:
        rows: Rows of one attack; only test clips count.
        paper_data: Whether the rows are of the paper's data, see `systems.is_paper_data`: its values are added.

    Returns:
        One line per system; columns ``group system seeds correlation_mean correlation_std mae_mean mae_std``. With
        ``paper_data`` also the systems of the original work, first, and columns ``paper_correlation_mean`` and so on.
    """
    measured = run_metrics(rows)
    lines: list[dict[str, Any]] = [
        {"group": "original", "system": name, "paper_correlation_mean": value}
        for name, value in (PRINTED_ORIGINAL.items() if paper_data else ())
    ]
    for system in ordered_systems(measured):
        own = measured[measured["system"] == system]
        line: dict[str, Any] = {"group": _group(system), "system": system, "seeds": len(own)}
        for name, column in (("correlation", "clean_corr_avg"), ("mae", "clean_mae")):
            line |= {
                f"{name}_mean": own[column].mean(skipna=False),
                f"{name}_std": own[column].std(ddof=0, skipna=False) if len(own) > 1 else np.nan,
            }
        if paper_data:
            line |= dict(zip(PRINTED_COLUMNS, PRINTED_TABLE_1.get(system, ()), strict=False))
        lines.append(line)
    table = pd.DataFrame(lines)
    table["seeds"] = table["seeds"].astype("Int64")
    return table.reindex(columns=[*TABLE_1, *(PRINTED_COLUMNS if paper_data else ())])


def _group(system: str) -> str:
    if system not in SYSTEMS:
        return "other"
    return "adversarial training" if SYSTEMS[system].adversarial else "plain training"


def difference(rows: pd.DataFrame) -> pd.DataFrame:
    """MAE after minus MAE before the attack, one line per run: ``system seed difference`` (Figure 3)."""
    measured = run_metrics(rows)
    table = measured[["system", "seed"]].copy()
    table["difference"] = measured["adversarial_mae"] - measured["clean_mae"]
    return table


def pairs(
    errors: pd.DataFrame, first: str, second: str, unit: str = "clip x seed"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Attacked errors of two systems, paired by clip and seed, or (``unit="seed"``) means per seed, paired by seed.

    Pairs that only one of the two systems has are left out.
    """
    sides = [errors[errors["system"] == system] for system in (first, second)]
    both = sides[0].merge(sides[1], on=["seed", "clip"], suffixes=("_first", "_second"))
    if unit == "seed":
        both = both.groupby("seed")[["attacked_first", "attacked_second"]].mean()
    return both["attacked_first"].to_numpy(), both["attacked_second"].to_numpy()


def significance(rows: pd.DataFrame, paper_data: bool = False) -> pd.DataFrame:
    """Paired t-tests of the error after the attack, as published and with seeds as the unit.

    The published tests pair clips and pool seeds; clips of one seed share a model, so those pairs are not
    independent. From three seeds on, the test over seeds (each the mean over its clips) follows.

    Args:
        rows: Rows of one attack; only test clips count.
        paper_data: Whether the rows are of the paper's data, see `systems.is_paper_data`: its values are added.

    Returns:
        ``comparison unit n degrees_of_freedom t p``, with ``paper_data`` also ``paper_t paper_p``. Comparisons
        whose systems share no pair, and tests that are not defined, are left out; `remarks` names them.
    """
    errors = errors_per_clip(rows)
    lines = []
    for unit in ("clip x seed", "seed"):
        for first, second in COMPARISONS:
            a, b = pairs(errors, first, second, unit)
            if len(a) < (FEWEST_SEEDS if unit == "seed" else 2) or not differences_vary(a, b):
                continue
            test = paired_t_test(a, b)
            printed = PRINTED_TESTS[first] if unit != "seed" else (np.nan, np.nan)
            title = f"{first} against {second}"
            lines.append((title, unit, test.n, test.degrees_of_freedom, test.t, test.p, *printed))
    columns = ["comparison", "unit", "n", "degrees_of_freedom", "t", "p", "paper_t", "paper_p"]
    table = pd.DataFrame(lines, columns=columns)
    return table if paper_data else table.drop(columns=["paper_t", "paper_p"])


def figure4_seed(rows: pd.DataFrame, seed: int | None = None) -> int:
    """The given seed, else the study's, else the smallest. Raises `ConfigError` if it has no rows."""
    seeds = sorted({int(value) for value in rows["seed"]})
    if seed is None:
        return FIGURE_4_SEED if FIGURE_4_SEED in seeds else seeds[0]
    if seed not in seeds:
        raise ConfigError(
            f"no run has seed {seed}; seeds of the runs: {', '.join(map(str, seeds))}. Choose one with `seed`."
        )
    return seed


def check_emotions(rows: pd.DataFrame, emotions: Sequence[str]) -> tuple[str, ...]:
    """Check the given emotions. Raises `ConfigError` for none, one that is listed twice, or one without ratings."""
    names = emotion_names(rows)
    for name in emotions:
        if name not in names:
            raise ConfigError(f"there is no emotion '{name}' in these rows. {did_you_mean(name, names)}")
    if not emotions or len(set(emotions)) < len(emotions):
        raise ConfigError(
            f"got emotions {','.join(emotions)!r}; list each once, as in tension,tender. Valid: {', '.join(names)}."
        )
    return tuple(emotions)


def figure4_emotions(rows: pd.DataFrame) -> tuple[str, ...]:
    """The study's two emotions, or the first two of a data set that rates others."""
    names = emotion_names(rows)
    return FIGURE_4_EMOTIONS if set(FIGURE_4_EMOTIONS) <= set(names) else names[:2]


def figure4_systems(rows: pd.DataFrame, seed: int) -> list[str]:
    """The study's three systems as far as this seed has them; where it has none, its own first three."""
    systems = ordered_systems(rows[rows["seed"] == seed])
    return [name for name in FIGURE_4_SYSTEMS if name in systems] or systems[:3]


def remarks(rows: pd.DataFrame, seed: int | None = None) -> list[str]:
    """What these rows lack for the study's tables and figures, one sentence each (none for the logs)."""
    chosen, sentences = selection(rows), []
    systems = ordered_systems(chosen)
    if not (has_own := any(name in SYSTEMS for name in systems)):
        sentences.append(
            f"No system of the SMC 2025 study ({', '.join(SYSTEMS)}) is among these rows: Table 1 and the figures show "
            f"{', '.join(systems)}, and the t-tests of the study are left out."
        )
    elif absent := [name for name in SYSTEMS if name not in systems]:
        sentences.append(f"No rows of {', '.join(absent)}: left out of tables and figures.")
    tested = set(significance(rows)["comparison"])
    for first, second in COMPARISONS:
        if has_own and f"{first} against {second}" not in tested:
            sentences.append(
                f"No t-test of {first} against {second}: they share too few seeds and clips, or all differ equally."
            )
    seed_used = figure4_seed(chosen, seed)
    if seed is None and seed_used != FIGURE_4_SEED:
        sentences.append(f"Figure 4 shows seed {seed_used}: there is no run with seed {FIGURE_4_SEED}.")
    if has_own and (systems_drawn := figure4_systems(chosen, seed_used)):
        absent = [name for name in FIGURE_4_SYSTEMS if name not in systems_drawn]
        if absent:
            sentences.append(
                f"Figure 4 shows {', '.join(systems_drawn)}: no rows of {', '.join(absent)} with seed {seed_used}."
            )
    return sentences
