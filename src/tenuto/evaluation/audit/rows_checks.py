"""What rows alone show about one attack: budget, whether norm and prediction belong together, goal, records."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd

from tenuto.analysis import words
from tenuto.data.excerpts import EXCERPT_FRAMES
from tenuto.errors import counted
from tenuto.evaluation.audit.findings import Finding, check, judge, not_recorded, worst
from tenuto.evaluation.audit.sources import Evidence, Source, Values
from tenuto.files import read_safetensors
from tenuto.store.budgets import norm_of
from tenuto.store.rows import emotion_names, unit_of, values_of

ENTRY_BANDS = 149
EXCESS = 1e-6
"""Relative excess over a budget that rounding to float32 may cause, as the attacks themselves allow."""

MASKED_EXCESS = 10 ** (0.1 / 20) - 1
"""The same for a noise-to-mask ratio, which is projected by repeated clipping: 0.1 dB, as the attack itself allows."""

MOVED = 1e-3
"""Largest difference of a prediction that batch size and folding of batch norm may cause (DESIGN, promises)."""

REACHED = 0.95
"""Share of clips that must reach the goal for a PASS: with it, the iteration cap decides about few of them."""

HALF_REACHED = 0.5
"""Below it the median clip is decided by the iteration cap: FAIL."""

FEWEST_OUTPUTS = 3
"""Outputs from which on a correlation across them can take other values than -1 and 1."""


@check("budget", "Does the stated budget bind?")
def budget(evidence: Evidence) -> Finding:
    """Compare the recorded norms with the budget in the rows, or in the settings of a released log."""
    if evidence.source.stated:
        return _released_budget(evidence.source)
    rows = evidence.rows
    bounded = rows[np.isfinite(rows["epsilon"].astype(float))]
    if bounded.empty:
        return _without_budget(rows)
    without = len(rows) - len(bounded)
    others = f" {counted(without, 'row states', 'rows state')} no budget." if without else ""
    norms = dict.fromkeys(bounded["norm"])
    findings = [
        (name if len(norms) > 1 else "", _of_norm(bounded[bounded["norm"] == name], others)) for name in norms
    ]
    return worst(findings)


def _of_norm(rows: pd.DataFrame, others: str) -> Finding:
    """The finding on rows that state a budget in one norm."""
    norm = norm_of(str(rows["norm"].iloc[0]))
    if norm.column not in rows or (norm.in_db and rows[norm.column].isna().all()):
        return not_recorded("budget", f"the rows record no size in the norm of their budget, {norm.name}.")
    recorded = rows[rows[norm.column].notna()] if norm.in_db else rows
    sizes = np.array([norm.epsilon(value) for value in recorded[norm.column].astype(float)])
    allowed = MASKED_EXCESS if norm.name == "masked" else EXCESS
    outside, largest = outside_budget(sizes, recorded["epsilon"].to_numpy(np.float64), allowed)
    empty = len(rows) - len(recorded)
    none = f"{counted(empty, 'row records', 'rows record')} none."
    unmeasured = int((rows.drop(recorded.index)["l2"] != 0).sum())  # a perturbation of 0 has no ratio
    return judge(
        "budget",
        largest,
        allowed,
        f"{outside} of {counted(len(recorded), 'recorded norm lies', 'recorded norms lie')} outside the stated "
        f"budget; the largest is {max(largest, 0):.2g} times epsilon above it.{f' {none}' if empty else ''}{others}",
        fail=outside > 0,
        warn=unmeasured > 0 or bool(others),
    )


def _without_budget(rows: pd.DataFrame) -> Finding:
    """What rows without a budget record of the size of their perturbations."""
    changes, stored_norms = rows["linf"].dropna().astype(float), _stored_norms(rows).dropna()
    if len(changes):
        size = words.after_number(unit_of(rows))
        value, recorded = changes.max(), f"the largest change of one entry is {changes.max():.4g} {size}"
    elif len(stored_norms):
        value, recorded = stored_norms.max(), f"the stored perturbations have {_norms(stored_norms)}"
    else:
        return not_recorded("budget", "the rows record neither a budget nor a norm.")
    sentence = (
        f"no budget is stated; {recorded}, so the errors cannot be compared with those inside a budget."
    )
    return judge("budget", value, None, sentence, warn=True)


def _stored_norms(rows: pd.DataFrame) -> pd.Series[float]:
    """L2 norm of the perturbation that an attack stored, which need not be the one of the prediction."""
    return pd.Series(rows.get("stored_l2", np.nan), rows.index, dtype=float)


def _norms(values: pd.Series[float]) -> str:
    return f"a median L2 norm of {values.median():.3g} and a largest of {values.max():.3g}"


def outside_budget(sizes: Values, epsilon: Values, allowed: float = EXCESS) -> tuple[int, float]:
    """How many sizes (n,) exceed their epsilon (n,) by more than is allowed, and the largest relative excess."""
    with np.errstate(divide="ignore", invalid="ignore"):  # of a budget of 0
        excess = np.where(sizes == epsilon, 0.0, sizes / epsilon - 1)
    return int((~(excess <= allowed)).sum()), float(np.nan_to_num(excess, nan=math.inf).max())


def _released_budget(source: Source) -> Finding:
    """Released logs state an L-infinity budget and record an L2 norm: compare with the largest L2 norm it allows."""
    stored_norms = _stored_norms(source.rows)
    norms = stored_norms.to_numpy(np.float64)
    stated = np.array([source.stated.get(run) for run in source.rows["run"]], np.float64)  # NaN for None
    entries = EXCERPT_FRAMES * ENTRY_BANDS
    if np.isnan(stated).all():
        sentence = f"the settings state no budget; the stored perturbations have {_norms(stored_norms)}."
        return judge("budget", norms.max(), None, sentence, warn=True)
    allowed = stated * math.sqrt(entries)
    outside = int((norms > allowed * (1 + EXCESS)).sum())
    epsilon = float(np.nanmin(stated))
    return judge(
        "budget",
        outside / len(norms),
        0.0,
        f"{outside} of {counted(len(norms), 'stored perturbation has', 'stored perturbations have')} an L2 norm "
        f"above {epsilon * math.sqrt(entries):.3f}, the largest that {epsilon:g} in each of {EXCERPT_FRAMES} x "
        f"{ENTRY_BANDS} entries allows (median {np.median(norms):.3g}, largest {norms.max():.3g}; "
        f"{int((norms == 0).sum())} are 0): the budget never binds.",
        fail=outside > 0,
    )


@check("same-iterate", "Do norm and prediction belong to the same perturbation?")
def same_iterate(evidence: Evidence) -> Finding:
    """Look for rows of norm 0 whose prediction moved: their norm and prediction are of two iterates."""
    norms = evidence.rows["l2"].astype(float).fillna(_stored_norms(evidence.rows)).to_numpy()
    gaps = int(np.isnan(norms).sum())
    if gaps == len(norms):
        return not_recorded("same-iterate", "the rows record no norm of a perturbation.")
    without = f" {counted(gaps, 'row records', 'rows record')} no norm." if gaps else ""
    change = values_of(evidence.rows, "adversarial") - values_of(evidence.rows, "clean")
    movement = np.abs(change).max(axis=1)
    is_zero = norms == 0
    if not is_zero.any():
        sentence = (
            f"none of {counted(len(norms) - gaps, 'perturbation')} has norm 0: no row contradicts.{without}"
        )
        return judge("same-iterate", 0.0, MOVED, sentence, warn=gaps > 0)
    wrong = is_zero & (movement > MOVED)
    largest = float(movement[is_zero].max())
    return judge(
        "same-iterate",
        largest,
        MOVED,
        f"{int(wrong.sum())} of {counted(int(is_zero.sum()), 'row with norm 0 has', 'rows with norm 0 have')} a "
        f"moved prediction (by up to {largest:.3g}): "
        + (
            "their norm and prediction belong to two iterates, so the size of the perturbation behind an error is "
            "unknown in every row."
            if wrong.any()
            else "where nothing was added, nothing moved."
        )
        + without,
        fail=bool(wrong.any()),
        warn=gaps > 0,
    )


@check("convergence", "Does the attack reach its goal before its last iteration?")
def convergence(evidence: Evidence) -> Finding:
    """Count attacks that reached their goal, among those that have one and no budget."""
    rows, attacks = evidence.rows, evidence.row_attacks
    aims = np.array([attack is not None and attack.has_goal for attack in attacks], bool)
    limited = aims & np.isfinite(rows["epsilon"].to_numpy(np.float64))
    if not (aims & ~limited).any():
        reason = "no attack here has a goal at which it would end"
        if limited.any():
            reason = "a budget limits these attacks and can keep them from their goal"
        elif None in attacks:
            reason = "the rows do not record every attack, so it is unknown which of them have a goal"
        return not_recorded("convergence", f"{reason}; see longer-search instead.")
    aims &= ~limited
    converged = rows.loc[aims, "converged"].astype(bool).to_numpy()
    share = float(converged.mean())
    most = int(rows.loc[aims, "iterations"].max())
    return judge(
        "convergence",
        share,
        REACHED,
        f"{int(converged.sum())} of {counted(len(converged), 'attack reached its', 'attacks reached their')} goal "
        f"within {counted(most, 'iteration')}"
        + (
            ": the others ended at the cap, so the error depends on the number of iterations."
            if share < 1
            else "."
        ),
        fail=share < HALF_REACHED,
        warn=share < REACHED,
    )


@check("few-outputs", "Is a correlation across outputs attacked only where there are three or more outputs?")
def few_outputs(evidence: Evidence) -> Finding:
    """Look for attacks whose objective is not usable with so few outputs, such as Pearson's r across two."""
    count = len(emotion_names(evidence.rows))
    if count >= FEWEST_OUTPUTS:
        return judge("few-outputs", count, FEWEST_OUTPUTS, f"the model has {count} outputs.")
    attacks = evidence.row_attacks
    refused = sum(attack is not None and attack.refusal(count) is not None for attack in attacks)
    outputs = f"the model has {counted(count, 'output')}"
    if not refused and None in attacks:
        return not_recorded(
            "few-outputs", f"{outputs} and the rows do not record every attack, so its objective is unknown."
        )
    if not refused:
        return judge("few-outputs", count, count, f"{outputs}; no attack uses a correlation across them.")
    return judge(
        "few-outputs",
        count,
        FEWEST_OUTPUTS,
        f"{outputs}, and {refused} of {counted(len(attacks), 'attack uses', 'attacks use')} a correlation across "
        "them. It is always -1 or 1 and has no gradient: these attacks do nothing and count as converged. Attack "
        "an error instead.",
        fail=True,
    )


@check("provenance", "Is it recorded what was attacked, how, and with what?")
def provenance(evidence: Evidence) -> Finding:
    """Count six records that every run should have, the first four in the rows themselves."""
    source = evidence.source
    records = {
        "run": True,
        "settings": source.released or _is_filled(source, "settings"),
        "versions": _is_filled(source, "versions"),
        "weights": _is_filled(source, "checkpoint"),
        "data": all(_knows_data(evidence, run) for run in evidence.runs),
        "perturbations": bool(source.saved) and set(source.saved) == set(evidence.runs),
    }
    missing_records = [name for name, is_recorded in records.items() if not is_recorded]
    have = len(records) - len(missing_records)
    return judge(
        "provenance",
        have,
        len(records),
        f"{have} of {len(records)} records exist"
        + (f"; missing: {', '.join(missing_records)}." if missing_records else f": {', '.join(records)}."),
        fail="settings" in missing_records,
        warn=bool(missing_records),
    )


def _is_filled(source: Source, column: str) -> bool:
    """Whether every row has a value in a column of text."""
    if column not in source.rows.columns:
        return False
    cells = source.rows[column]
    return bool((cells.notna() & (cells.astype(str).str.strip() != "")).all())


def _knows_data(evidence: Evidence, run: str) -> bool:
    """Whether a run's checkpoint holds the fingerprint of the data it was trained on."""
    path = evidence.checkpoint(run)
    if path is None:
        return False
    from tenuto.models.checkpoint import IMPORTED

    try:
        about = json.loads(read_safetensors(path)[1].get("tenuto", "{}"))
    except ValueError:
        return False
    return isinstance(about, dict) and about.get("fingerprint", IMPORTED) != IMPORTED
