"""The SMC 2025 study's tables and figures from rows, be they of the released logs or of own runs.

How each number is formed follows the study's analysis (its Table 1, Figures 3 and 4, and the two t-tests).
Clean values belong to the clean test clips, attacked ones to the last iterate the attack evaluated. What the
study printed stands beside ours in columns named ``print``; four of its cells differ from its own logs by
0.01.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto import metrics, results
from tenuto.config import SYSTEMS
from tenuto.errors import ConfigError, DataError, did_you_mean
from tenuto.evaluation.statistics import paired_t_test
from tenuto.files import write_csv
from tenuto.reporting import figures, tables

FIGURE_4_SEED = 21
FIGURE_4_EMOTIONS = ("tension", "tender")
FIGURE_4_SYSTEMS = ("A2B2E", "A2M2E", "aA2B2E")
COMPARISONS = (("A2E", "A2M2E"), ("A2B2E", "A2M2E"))
FEWEST_SEEDS = 3
"""Below this a test with seeds as the unit says nothing."""

PRINTED_COLUMNS = ("print_correlation_mean", "print_correlation_std", "print_mae_mean", "print_mae_std")
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

NUMBERS = {"db": "db", "norm": "stored_l2", "iterations": "iterations"}
"""Released name -> column of the rows, for numbers that are summarised over clips."""

TEST_IDENTITY = ["protocol", "attack", "objective", "norm", "epsilon"]


def selection(rows: pd.DataFrame) -> pd.DataFrame:
    """The test clips, insisting on one attack and on one run per system and seed.

    Raises:
        DataError: No test clips, several attacks side by side, or two runs of one system and seed.
    """
    chosen = rows[rows["split"] == "test"]
    if chosen.empty:
        raise DataError("the rows hold no test clips; attack the test split first.")
    attacks = chosen[TEST_IDENTITY].drop_duplicates()
    if len(attacks) > 1:
        listed = "; ".join(
            " ".join(str(value) for value in attack) for attack in attacks.itertuples(index=False)
        )
        raise DataError(f"the rows hold {len(attacks)} attacks ({listed}); select the rows of one.")
    named = chosen[["system", "seed", "run"]].drop_duplicates()
    twice = named[named.duplicated(["system", "seed"])]
    if not twice.empty:
        system, seed = twice.iloc[0]["system"], twice.iloc[0]["seed"]
        runs = named[(named["system"] == system) & (named["seed"] == seed)]["run"]
        raise DataError(
            f"{system} with seed {seed} has {len(runs)} runs ({', '.join(runs)}); keep one of them."
        )
    return chosen


def systems(rows: pd.DataFrame) -> list[str]:
    """Systems there are rows of: the study's five in its order, then others by name."""
    there = set(rows["system"])
    return [name for name in SYSTEMS if name in there] + sorted(there - SYSTEMS.keys())


def run_metrics(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per run: metrics before and after the attack; means, medians, deviations (n) over clips.

    Columns are those of the released analysis: ``folder`` (the run), ``system``, ``seed``, then ``clean_``
    and ``adversarial_`` ``corr_avg r2 rmse mse mae``, then ``_mean _median _std`` of ``db``, ``norm`` (L2
    norm of the stored perturbation; NaN where an attack stores none) and ``iterations``.
    """
    chosen = selection(rows)
    lines = []
    for system in systems(chosen):
        for seed, run in chosen[chosen["system"] == system].groupby("seed"):
            line: dict[str, Any] = {"folder": run["run"].iloc[0], "system": system, "seed": seed}
            for kind in ("clean", "adversarial"):
                line |= _errors(run, kind)
            for name, column in NUMBERS.items():
                values = run[column].astype(float) if column in run else pd.Series([np.nan])
                line |= {f"{name}_mean": values.mean(), f"{name}_median": values.median()}
                line[f"{name}_std"] = values.std(ddof=0)
            lines.append(line)
    return pd.DataFrame(lines)


def _errors(run: pd.DataFrame, kind: str) -> dict[str, float]:
    label, prediction = results.values(run, "label"), results.values(run, kind)
    return {
        f"{kind}_corr_avg": float(metrics.pearson(label, prediction).mean()),
        f"{kind}_r2": float(metrics.r2(label, prediction).mean()),
        f"{kind}_rmse": metrics.rmse(label, prediction),
        f"{kind}_mse": metrics.mse(label, prediction),
        f"{kind}_mae": metrics.mae(label, prediction),
    }


def table1(rows: pd.DataFrame) -> pd.DataFrame:
    """Correlation and MAE on clean test clips, mean and deviation (n) over seeds (NaN of one), with the print beside.

    Returns:
        One line per system, those of the original work (print only) first; columns ``group system seeds
        correlation_mean correlation_std mae_mean mae_std`` and ``print_correlation_mean`` and so on.
    """
    measured = run_metrics(rows)
    lines: list[dict[str, Any]] = [
        {"group": "original", "system": name, "print_correlation_mean": value}
        for name, value in PRINTED_ORIGINAL.items()
    ]
    for system in systems(measured):
        own = measured[measured["system"] == system]
        line: dict[str, Any] = {"group": _group(system), "system": system, "seeds": len(own)}
        for name, column in (("correlation", "clean_corr_avg"), ("mae", "clean_mae")):
            line |= {
                f"{name}_mean": own[column].mean(skipna=False),
                f"{name}_std": own[column].std(ddof=0, skipna=False) if len(own) > 1 else np.nan,
            }
        line |= dict(zip(PRINTED_COLUMNS, PRINTED_TABLE_1.get(system, ()), strict=False))
        lines.append(line)
    table = pd.DataFrame(lines)
    table["seeds"] = table["seeds"].astype("Int64")
    return table.reindex(
        columns=[
            "group",
            "system",
            "seeds",
            "correlation_mean",
            "correlation_std",
            "mae_mean",
            "mae_std",
            *PRINTED_COLUMNS,
        ]
    )


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


def clip_errors(
    rows: pd.DataFrame, low: float = -np.inf, high: float = np.inf, measure: Callable[[Any], Any] = np.abs
) -> pd.DataFrame:
    """``system seed clip attacked clean``: mean over emotions of a clip's error after and before the attack.

    Args:
        rows: Robustness rows.
        low: Predictions are clipped to [low, high].
        high: See ``low``.
        measure: From differences between prediction and label to errors, absolute ones by default.
    """
    chosen = selection(rows)
    label = results.values(chosen, "label")
    table = chosen[["system", "seed", "clip"]].copy()
    for quantity, kind in (("attacked", "adversarial"), ("clean", "clean")):
        table[quantity] = measure(np.clip(results.values(chosen, kind), low, high) - label).mean(axis=1)
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


def significance(rows: pd.DataFrame) -> pd.DataFrame:
    """Paired t-tests of the error after the attack, as published and with seeds as the unit.

    The published tests pair clips and pool seeds; clips of one seed share a model, so those pairs are not
    independent. From three seeds on, the test over seeds (each the mean over its clips) stands below.

    Returns:
        ``comparison unit n degrees_of_freedom t p print_t print_p``. Comparisons whose systems share no pair,
        and tests that are undefined, are left out; `remarks` names them.
    """
    errors = clip_errors(rows)
    lines = []
    for unit in ("clip x seed", "seed"):
        for first, second in COMPARISONS:
            a, b = pairs(errors, first, second, unit)
            if len(a) < (FEWEST_SEEDS if unit == "seed" else 2) or np.ptp(a - b) == 0:
                continue
            test = paired_t_test(a, b)
            print_t, print_p = PRINTED_TESTS[first] if unit != "seed" else (np.nan, np.nan)
            lines.append(
                (
                    f"{first} against {second}",
                    unit,
                    test.n,
                    test.degrees_of_freedom,
                    test.t,
                    test.p,
                    print_t,
                    print_p,
                )
            )
    return pd.DataFrame(
        lines, columns=["comparison", "unit", "n", "degrees_of_freedom", "t", "p", "print_t", "print_p"]
    )


def figure4_seed(rows: pd.DataFrame, seed: int | None = None) -> int:
    """The seed asked for, the study's, or the smallest there is. Raises `ConfigError` if it has no rows."""
    there = sorted({int(value) for value in rows["seed"]})
    if seed is None:
        return FIGURE_4_SEED if FIGURE_4_SEED in there else there[0]
    if seed not in there:
        raise ConfigError(
            f"no run has seed {seed}; there is {', '.join(map(str, there))}. Choose one with --seed."
        )
    return seed


def check_emotions(rows: pd.DataFrame, emotions: Sequence[str]) -> tuple[str, ...]:
    """The emotions asked for. Raises `ConfigError` for none, one named twice, or one without ratings."""
    known = results.emotions(rows)
    for name in emotions:
        if name not in known:
            raise ConfigError(f"there is no emotion '{name}' in these rows. {did_you_mean(name, known)}")
    if not emotions or len(set(emotions)) < len(emotions):
        raise ConfigError(f"wanted emotions, each once, as in tension,tender. Valid: {', '.join(known)}.")
    return tuple(emotions)


def figure4_emotions(rows: pd.DataFrame) -> tuple[str, ...]:
    """The study's two emotions, or the first two of a data set that rates others."""
    known = results.emotions(rows)
    return FIGURE_4_EMOTIONS if set(FIGURE_4_EMOTIONS) <= set(known) else known[:2]


def figure4_systems(rows: pd.DataFrame, seed: int) -> list[str]:
    """The study's three systems as far as this seed has them; where it has none, its own first three."""
    there = systems(rows[rows["seed"] == seed])
    return [name for name in FIGURE_4_SYSTEMS if name in there] or there[:3]


def remarks(rows: pd.DataFrame, seed: int | None = None) -> list[str]:
    """What these rows lack for the study's tables and figures, a sentence each (none for the logs)."""
    chosen, said = selection(rows), []
    there = systems(chosen)
    if absent := [name for name in SYSTEMS if name not in there]:
        said.append(f"No rows of {', '.join(absent)}: left out of tables and figures.")
    tested = set(significance(rows)["comparison"])
    for first, second in COMPARISONS:
        if f"{first} against {second}" not in tested:
            said.append(f"No t-test of {first} against {second}: the two share too few seeds and clips.")
    used = figure4_seed(chosen, seed)
    if seed is None and used != FIGURE_4_SEED:
        said.append(f"Figure 4 shows seed {used}: there is no run with seed {FIGURE_4_SEED}.")
    if shown := figure4_systems(chosen, used):
        absent = [name for name in FIGURE_4_SYSTEMS if name not in shown]
        if absent:
            said.append(
                f"Figure 4 shows {', '.join(shown)}: no rows of {', '.join(absent)} with seed {used}."
            )
    return said


def write_table1(rows: pd.DataFrame, out: Path) -> dict[str, Path]:
    """``table1.csv`` (full digits), ``.md`` and ``.tex`` (as printed)."""
    table = table1(rows)
    return tables.write(
        out / "table1", table, tables.show_table1(table), tables.caption_table1(selection(rows))
    )


def write_significance(rows: pd.DataFrame, out: Path) -> dict[str, Path]:
    """``significance.csv`` (full digits), ``.md`` and ``.tex``."""
    table = significance(rows)
    caption = tables.caption_significance(selection(rows))
    return tables.write(out / "significance", table, tables.show_significance(table), caption)


def write_figure3(rows: pd.DataFrame, out: Path) -> dict[str, Path]:
    """``figure3.png`` and ``.pdf``."""
    return figures.save(figures.figure3(difference(rows)), out / "figure3")


def write_figure4(
    rows: pd.DataFrame, out: Path, seed: int | None = None, emotions: Sequence[str] | None = None
) -> dict[str, Path]:
    """``figure4.png`` and ``.pdf``. Raises `ConfigError` for a seed or emotion without rows."""
    chosen = selection(rows)
    used = figure4_seed(chosen, seed)
    named = figure4_emotions(chosen) if emotions is None else check_emotions(chosen, emotions)
    return figures.save(figures.figure4(chosen, used, named, figure4_systems(chosen, used)), out / "figure4")


def write_all(
    rows: pd.DataFrame, out: str | Path, seed: int | None = None, emotions: Sequence[str] | None = None
) -> dict[str, Path]:
    """Every table and figure of the study.

    Args:
        rows: Rows of one attack; only test clips count.
        out: Folder for the files.
        seed: Whose predictions Figure 4 shows; by default 21, or the smallest there is.
        emotions: What Figure 4 shows; by default tension and tender, or the first two a data set has.

    Returns:
        File name -> path: ``metrics.csv``; ``table1`` and ``significance`` as CSV, Markdown, LaTeX; both
        figures as PNG and PDF.

    Raises:
        DataError: See `selection`.
        ConfigError: A seed or an emotion without rows.
    """
    out = Path(out)
    written = write_figure4(rows, out, seed, emotions)  # first, since it checks the wishes
    written |= {"metrics.csv": write_csv(out / "metrics.csv", run_metrics(rows))}
    written |= write_table1(rows, out) | write_significance(rows, out) | write_figure3(rows, out)
    return dict(sorted(written.items()))
