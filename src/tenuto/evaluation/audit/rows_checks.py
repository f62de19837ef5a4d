"""What rows alone can show about one attack: its budget, whether norm and prediction belong together, its goal."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd

from tenuto.data.excerpts import EXCERPT_FRAMES
from tenuto.evaluation.audit.evidence import Source, Values, checkpoint
from tenuto.evaluation.audit.findings import Finding, Verdict, judged, not_recorded
from tenuto.files import read_safetensors
from tenuto.store.rows import values_of

BANDS = 149
EXCESS = 1e-6
"""Relative excess over a budget that rounding to float32 may cause, as the attacks themselves allow."""

MOVED = 1e-3
"""Largest difference of a prediction that batch size and folding of batch norm may cause (DESIGN, promises)."""

REACHED = 0.95
"""Share of clips that must reach the goal for a PASS: with it, the iteration cap decides about few of them."""

HALF = 0.5
"""Below it the median clip is decided by the iteration cap: FAIL."""

WITH_A_GOAL = ("ReleasedAttack", "Described", "Minimal")
"""Attacks that end by themselves; others have a goal where their settings name ``stop_at``."""


def budget(source: Source) -> Finding:
    """Are the recorded norms inside the budget that rows, or the settings of a released log, state?"""
    if source.released:
        return _released_budget(source)
    rows = source.rows
    bounded = rows[np.isfinite(rows["epsilon"].astype(float))]
    if bounded.empty:
        largest = rows["linf"].astype(float).max()
        return Finding(
            "budget",
            Verdict.WARN,
            float(largest),
            None,
            f"no budget is stated; the largest change of one entry is {largest:.4g} deviations, so the errors "
            "cannot be compared with those inside a budget.",
        )
    sizes = _recorded(bounded)
    excess = sizes / bounded["epsilon"].to_numpy(np.float64) - 1
    outside = int((~(excess <= EXCESS)).sum())
    largest = float(np.nan_to_num(excess, nan=math.inf).max())
    without = len(rows) - len(bounded)
    aside = f" {without} rows state none." if without else ""
    return judged(
        "budget",
        largest,
        EXCESS,
        f"{outside} of {len(bounded)} recorded norms lie outside the stated budget; the largest is "
        f"{max(largest, 0):.2g} times epsilon above it.{aside}",
        fail=outside > 0,
    )


def _recorded(bounded: pd.DataFrame) -> Values:
    """The recorded norm that each row's budget speaks of."""
    is_l2 = (bounded["norm"] == "l2").to_numpy()
    sizes: Values = np.where(is_l2, bounded["l2"], bounded["linf"]).astype(np.float64)
    return sizes


def _released_budget(source: Source) -> Finding:
    """Released logs state an L-infinity budget and record an L2 norm: the largest one that budget allows decides."""
    norms = source.rows["stored_l2"].to_numpy(np.float64)
    stated = np.array([source.stated.get(run) or math.nan for run in source.rows["run"]], np.float64)
    entries = EXCERPT_FRAMES * BANDS
    if np.isnan(stated).all():
        return Finding(
            "budget",
            Verdict.WARN,
            float(norms.max()),
            None,
            f"the settings state no budget; the stored perturbations have a median L2 norm of "
            f"{np.median(norms):.3g} and a largest of {norms.max():.3g}.",
        )
    allowed = stated * math.sqrt(entries)
    outside = int((norms > allowed * (1 + EXCESS)).sum())
    epsilon = float(np.nanmin(stated))
    return judged(
        "budget",
        outside / len(norms),
        0.0,
        f"{outside} of {len(norms)} stored perturbations have an L2 norm above {epsilon * math.sqrt(entries):.3f}, "
        f"the largest that {epsilon:g} in each of {EXCERPT_FRAMES} x {BANDS} entries allows (median "
        f"{np.median(norms):.3g}, largest {norms.max():.3g}; {int((norms == 0).sum())} are 0): the budget never binds.",
        fail=outside > 0,
    )


def same_iterate(source: Source) -> Finding:
    """Does any row of norm 0 have a prediction that moved? Then norm and prediction are of two iterates."""
    column = "stored_l2" if source.released else "l2"
    norms = source.rows[column].to_numpy(np.float64)
    moved = np.abs(values_of(source.rows, "adversarial") - values_of(source.rows, "clean")).max(axis=1)
    nothing = norms == 0
    if not nothing.any():
        return judged(
            "same-iterate", 0.0, MOVED, f"none of {len(norms)} perturbations has norm 0: no row contradicts."
        )
    wrong = nothing & (moved > MOVED)
    return judged(
        "same-iterate",
        moved[nothing].max(),
        MOVED,
        f"{int(wrong.sum())} of {int(nothing.sum())} rows with norm 0 have a moved prediction (by up to "
        f"{moved[nothing].max():.3g}): "
        + (
            "their norm and their prediction belong to two iterates, so for no row is it known how large a "
            "perturbation the error took."
            if wrong.any()
            else "where nothing was added, nothing moved."
        ),
        fail=bool(wrong.any()),
    )


def convergence(source: Source) -> Finding:
    """Does an attack that has a goal reach it before its last iteration?"""
    rows = source.rows
    aims = rows["attack"].isin(WITH_A_GOAL)
    if "settings" in rows.columns:
        aims |= rows["settings"].astype(str).str.contains("stop_at=")
    limited = aims & np.isfinite(rows["epsilon"].astype(float))
    if not (aims & ~limited).any():
        reason = (
            "a budget limits these attacks and may keep them from their goal"
            if limited.any()
            else "no attack here has a goal at which it would end"
        )
        return not_recorded("convergence", f"{reason}; see longer-search instead.")
    aims &= ~limited
    converged = rows.loc[aims, "converged"].astype(bool).to_numpy()
    share = float(converged.mean())
    most = int(rows.loc[aims, "iterations"].max())
    return judged(
        "convergence",
        share,
        REACHED,
        f"{int(converged.sum())} of {len(converged)} attacks reached their goal within {most} iterations"
        + (": the others ended by the cap, so the error depends on how long they ran." if share < 1 else "."),
        fail=share < HALF,
        warn=share < REACHED,
    )


def provenance(source: Source) -> Finding:
    """Which of six records are there for every run, the first four from the rows themselves."""
    records = {
        "run": True,
        "settings": _has_settings(source),
        "versions": _all_told(source, "versions"),
        "weights": _all_told(source, "checkpoint"),
        "data": all(_data_known(source, run) for run in sorted(set(source.rows["run"]))),
        "perturbations": bool(source.saved) and set(source.saved) == set(source.rows["run"]),
    }
    missing = [name for name, there in records.items() if not there]
    have = len(records) - len(missing)
    return judged(
        "provenance",
        have,
        len(records),
        f"{have} of {len(records)} records are there"
        + (f"; not recorded: {', '.join(missing)}." if missing else f": {', '.join(records)}."),
        fail="settings" in missing,
        warn=bool(missing),
    )


def _has_settings(source: Source) -> bool:
    """Released logs have their settings beside them, rows a column of them."""
    if source.released:
        return True
    rows = source.rows
    return "settings" in rows.columns and bool(rows["settings"].astype(str).str.endswith(")").all())


def _all_told(source: Source, column: str) -> bool:
    """Whether every row says it."""
    return column in source.rows.columns and bool(source.rows[column].notna().all())


def _data_known(source: Source, run: str) -> bool:
    """Whether a run's checkpoint has the fingerprint of the data it was trained on."""
    path = checkpoint(source, run)
    if path is None:
        return False
    from tenuto.models.checkpoint import IMPORTED

    about: dict[str, object] = json.loads(read_safetensors(path)[1].get("tenuto", "{}"))
    return about.get("fingerprint", IMPORTED) != IMPORTED
