"""What natural changes do to the predictions of every run, and the corruption error of every system.

The corruption error of a system is the mean of its mean absolute error over the kinds of natural-2 and, within a kind,
over its strengths:

    CE = 1/K sum_k 1/S sum_s MAE(k, s)

This is the mean over corruptions and severities of Hendrycks and Dietterich (2019, ICLR, "Benchmarking neural network
robustness to common corruptions and perturbations"), with MAE for their top-1 error and not divided by the errors of a
reference model, since there is none for music. It has the unit of the ratings. The increase is CE minus the error on
clean clips.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from tenuto import metrics
from tenuto.analysis import statistics
from tenuto.analysis.comparison import check_same_labels
from tenuto.analysis.systems import ordered_systems
from tenuto.errors import DataError
from tenuto.store.natural import GRADED_CHANGES, GRADED_PROTOCOL, NATURAL_KINDS as GRADED_KINDS
from tenuto.store.rows import VALUE_KINDS, emotion_names, require_columns, row_errors, values_of

OTHER_EXCERPT = "other excerpt"
"""The natural change that no clip may have: clips shorter than about 12.5 s hold no second excerpt."""

CORRUPTION = (
    *("system", "seeds", "clips", "clean_mae"),
    *("corruption_error", "corruption_error_low", "corruption_error_high"),
    *("increase", "increase_low", "increase_high", "moved", "resampled"),
)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """What every change does to every run.

    Args:
        rows: Rows of `natural`.

    Returns:
        One line per run and change: ``run system seed change clips skipped moved`` (mean absolute change of a
        prediction, rating units) ``clean_mae mae clean_correlation correlation``, all on the clips that have that
        change. Where none has it numbers are NaN, and so are correlations of a single clip. Changes of natural-2 have
        their ``kind``, ``strength`` and ``value`` too.
    """
    lines: list[dict[str, Any]] = []
    is_graded = set(rows["protocol"]) == {GRADED_PROTOCOL}
    changes = GRADED_CHANGES if is_graded else dict.fromkeys((OTHER_EXCERPT, *rows["objective"]))
    for run, own in rows.groupby("run", sort=False):
        about = {"run": run, "system": own["system"].iloc[0], "seed": own["seed"].iloc[0]}
        for change in changes:
            group = own[own["objective"] == change]
            skipped = own["clip"].nunique() - len(group)
            grade = _grade(change) if is_graded else {}
            counts = {"clips": len(group), "skipped": skipped}
            lines.append({**about, "change": change, **grade, **counts, **_movement(group)})
    return pd.DataFrame(lines)


def lacking(changes: pd.DataFrame) -> list[str]:
    """A sentence on every change of `summary` that only some of the runs have, and that does not need long clips."""
    sentences = []
    for change, own in changes.groupby("change", sort=False) if len(changes) else ():
        if change != OTHER_EXCERPT and (runs := own.loc[own["clips"] == 0, "run"].tolist()):
            sentences.append(
                f"No rows of {change} of {', '.join(runs)}; its means leave them out: `tenuto natural RUN` adds them."
            )
    return sentences


def _grade(change: str) -> dict[str, Any]:
    kind, strength = GRADED_CHANGES[change]
    return {"kind": kind, "strength": strength, "value": GRADED_KINDS[kind].label(strength)}


def corruption(rows: pd.DataFrame, draws: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """The corruption error of every system, and its increase over the clean error.

    A clip that is too short for some excerpts has the mean over the others, and over the other kinds where it has none.

    Args:
        rows: Rows of natural-2.
        draws: Bootstrap resamplings of every interval.
        seed: Of the bootstrap.

    Returns:
        One line per system, columns `CORRUPTION`: means over seeds and clips with 95 % bootstrap intervals over both
        (``resampled``: what there are several of). ``moved`` is the mean absolute change of a prediction.

    Raises:
        DataError: Rows of another protocol or of several parts of the split, two runs of one system and seed, or runs
            on other clips or with other labels.
    """
    table = _graded(rows)
    kinds = table["objective"].map(lambda change: GRADED_CHANGES[change][0])
    values = ["moved", "error", "clean_error"]
    of_kinds = table.groupby(["system", "seed", "clip", kinds], sort=False)[values].mean()
    of_clips = of_kinds.groupby(["system", "seed", "clip"]).mean().reset_index()
    return pd.DataFrame(
        [_corruption(of_clips, system, draws, seed) for system in ordered_systems(table)],
        columns=list(CORRUPTION),
    )


def _corruption(of_clips: pd.DataFrame, system: str, draws: int, seed: int) -> dict[str, Any]:
    """A line of `corruption`."""
    own = of_clips[of_clips["system"] == system]
    tables = {
        name: own.pivot(index="seed", columns="clip", values=name)
        for name in ("moved", "error", "clean_error")
    }
    if gaps := [str(clip) for clip in tables["error"] if tables["error"][clip].isna().any()]:
        raise DataError(
            f"{system}: not every run has natural-2 rows of clip {gaps[0]}. Measure the same clips of every run, or "
            "leave a run out."
        )
    error, clean, movement = (tables[name].to_numpy() for name in ("error", "clean_error", "moved"))
    total, increase = (statistics.crossed_interval(values, draws, seed) for values in (error, error - clean))
    return {
        "system": system,
        "seeds": len(error),
        "clips": error.shape[1],
        "clean_mae": float(clean.mean()),
        "corruption_error": total.mean,
        "corruption_error_low": total.low,
        "corruption_error_high": total.high,
        "increase": increase.mean,
        "increase_low": increase.low,
        "increase_high": increase.high,
        "moved": float(movement.mean()),
        "resampled": total.resampled,
    }


def _graded(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of natural-2 with the mean over emotions of what they measure."""
    require_columns(rows)
    if others := sorted(set(rows["protocol"]) - {GRADED_PROTOCOL}):
        raise DataError(f"the rows are of {', '.join(others)}; strengths are those of {GRADED_PROTOCOL}.")
    if rows.empty:
        raise DataError(
            f"there are no rows of {GRADED_PROTOCOL}; `tenuto natural RUN --protocol {GRADED_PROTOCOL}` makes them."
        )
    if unknown := sorted(set(rows["objective"]) - GRADED_CHANGES.keys()):
        raise DataError(
            f"{unknown[0]} is not a change of {GRADED_PROTOCOL}. Delete the rows and measure them again."
        )
    if len(parts := sorted(set(rows["split"]))) > 1:
        raise DataError(
            f"the rows are of several parts of the split ({', '.join(parts)}); choose one of them."
        )
    for (system, seed), own in rows.groupby(["system", "seed"]):
        if (count := own["run"].nunique()) > 1:
            raise DataError(f"{system} has {count} runs of seed {seed}; leave all but one of them out.")
    check_same_labels(rows)
    movement = np.abs(values_of(rows, "adversarial") - values_of(rows, "clean")).mean(axis=1)
    return rows.assign(moved=movement, error=row_errors(rows), clean_error=row_errors(rows, "clean"))


def _movement(group: pd.DataFrame) -> dict[str, float]:
    names = ("moved", "clean_mae", "mae", "clean_correlation", "correlation")
    if group.empty:
        return dict.fromkeys(names, math.nan)
    label, clean, after = (values_of(group, kind) for kind in VALUE_KINDS)
    errors = [float(np.abs(a - b).mean()) for a, b in ((after, clean), (clean, label), (after, label))]
    r = [float(metrics.pearson(label, one).mean()) for one in (clean, after)]
    return dict(zip(names, [*errors, *r], strict=True))


def natural_means(changes: pd.DataFrame) -> pd.DataFrame:
    """Natural changes of a system, means over its runs: ``system change moved mae``; what no clip has is left out."""
    if changes.empty:
        return pd.DataFrame(columns=["system", "change", "moved", "mae"])
    nonempty = changes[changes["clips"] > 0]
    return nonempty.groupby(["system", "change"], sort=False)[["moved", "mae"]].mean().reset_index()


def emotion_changes(rows: pd.DataFrame) -> dict[str, float]:
    """Emotion -> mean absolute change, over clips and then runs, under the change where that is largest."""
    if rows.empty:
        return {}
    change = np.abs(values_of(rows, "adversarial") - values_of(rows, "clean"))
    table = pd.DataFrame(change, index=rows.index, columns=list(emotion_names(rows)))
    each = table.groupby([rows["run"], rows["objective"]]).mean()
    return {str(emotion): float(most) for emotion, most in each.groupby("objective").mean().max().items()}


def of_same_weights(natural: pd.DataFrame, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Natural changes without those of other weights than were attacked, and a sentence for each run that has some."""
    if not ("checkpoint" in natural and "checkpoint" in rows):
        return natural, []
    attacked = rows[["run", "checkpoint"]].dropna().drop_duplicates()
    measured = natural[["run", "checkpoint"]]
    is_same = pd.MultiIndex.from_frame(measured).isin(pd.MultiIndex.from_frame(attacked))
    is_other = measured["run"].isin(attacked["run"]) & measured["checkpoint"].notna() & ~is_same
    others = natural.loc[is_other, ["protocol", "run"]].drop_duplicates().sort_values(["protocol", "run"])
    sentences = [
        f"{protocol} of {run} was measured with other weights than were attacked: left out."
        for protocol, run in others.itertuples(index=False)
    ]
    return natural[~is_other], sentences


def of_same_clips(natural: pd.DataFrame, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Natural changes without those of clips that were not attacked, and a sentence where there are some."""
    attacked, measured = (
        pd.MultiIndex.from_frame(table[["run", "clip"]].astype(str)) for table in (rows, natural)
    )
    is_same = measured.isin(attacked)
    count = natural.loc[~is_same, "clip"].nunique()
    if not count:
        return natural, []
    sentence = f"Natural changes of {count} clip{'s'[: count > 1]} that were not attacked: left out."
    return natural[is_same], [sentence]
