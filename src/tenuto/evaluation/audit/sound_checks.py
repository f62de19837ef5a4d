"""What attacks on the waveform show: their budgets in dB measured again, and how much of their effect can be stored."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tenuto.analysis.survival import STORAGE, survival
from tenuto.analysis.systems import at_budgets
from tenuto.data.excerpts import WAVEFORM_UNIT
from tenuto.errors import counted
from tenuto.evaluation.audit.findings import Finding, check, judge, not_recorded, worst
from tenuto.evaluation.audit.sources import Evidence, Values
from tenuto.files import Array
from tenuto.store.budgets import norm_of

if TYPE_CHECKING:
    from tenuto.evaluation.runs import OpenedRun

EXCESS_DB = {"snr": 1e-5, "masked": 0.1}
"""By how many dB a budget may be exceeded: rounding to float32 changes a ratio by 1e-6; a noise-to-mask ratio is
projected by repeated clipping, and the attack itself allows 0.1 dB."""

SAME_DB = 0.01
"""Largest difference between a recorded ratio and the measured one that another order of summing can cause."""

STORED = 0.9
"""Share of the effect that must survive 16 bits for a PASS: their quantisation noise is about 98 dB below full scale,
far below the perturbations of all usual budgets."""

HALF_SURVIVING = 0.5
"""Below it most of the effect is lost. In 16 bits, the format of a CD, that is a FAIL: no file can hold the attack. As
mp3 it is a warning: the attack exists, and listeners to compressed music do not receive it."""


def sound_budget(
    run: OpenedRun, rows: pd.DataFrame, delta_of: Callable[[int], Array], absent: str
) -> Finding:
    """Measure perturbations of waveforms against their recordings in float64.

    Args:
        run: The run, with waveforms as inputs.
        rows: Of this run, with budgets in dB and without.
        delta_of: Position of a row -> its perturbation, (samples,).
        absent: What is missing in the file, a sentence; empty for nothing.
    """
    batch = run.part(str(rows["split"].iloc[0]))
    place = {clip: row for row, clip in enumerate(batch.clips)}
    if unknown := sorted(set(rows["clip"]) - set(place)):
        return judge(
            "sound-budget", math.inf, 0.0, f"clip {unknown[0]} is not in the run's split.", fail=True
        )
    findings = []
    for norm in sorted(set(rows["norm"]) & set(EXCESS_DB)):
        own = [int(row) for row in np.flatnonzero(rows["norm"] == norm)]
        waveforms = (batch.inputs[place[rows["clip"].iloc[row]]].numpy() for row in own)
        rate = run.recogniser.inputs.sample_rate
        ratios = [
            _ratio_db(norm, waveform, delta_of(row), rate)
            for row, waveform in zip(own, waveforms, strict=True)
        ]
        findings.append((norm, _of_norm(rows.iloc[own], norm, np.array(ratios), absent)))
    return worst(findings)


def _of_norm(rows: pd.DataFrame, norm: str, measured: Values, absent: str) -> Finding:
    """The finding on rows of one norm, from their ratios in dB, measured again."""
    norm_name = norm_of(norm)
    budget = np.array([norm_name.value(epsilon) for epsilon in rows["epsilon"].astype(float)])
    excess = np.nan_to_num(norm_name.db * (measured - budget), nan=math.inf)
    outside, differing = int((excess > EXCESS_DB[norm]).sum()), _differing(rows, norm_name.column, measured)
    largest = float(excess.max())
    rows_give = counted(differing, "row gives", "rows give")
    others = f" {rows_give} another ratio than was measured." if differing else ""
    return judge(
        "sound-budget",
        largest,
        EXCESS_DB[norm],
        f"{outside} of {len(rows)} perturbations, measured again in float64 against their recordings, exceed their "
        f"budget, the largest by {max(largest, 0):.2g} dB.{others} {absent}".rstrip(),
        fail=bool(outside or differing),
        warn=bool(absent),
    )


def _ratio_db(norm: str, waveform: Array, delta: Array, rate: int) -> float:
    """Signal-to-noise ratio or largest noise-to-mask ratio of a perturbation in dB, in float64."""
    if norm == "snr":
        signal, noise = (float(np.linalg.norm(values.astype(np.float64))) for values in (waveform, delta))
        return 20 * math.log10(signal / noise) if noise else math.inf
    import torch

    from tenuto.audio.masking import noise_to_mask_db

    change, music = (torch.from_numpy(values).double() for values in (delta, waveform))
    return float(noise_to_mask_db(change, music, rate))


def _differing(rows: pd.DataFrame, column: str, measured: Values) -> int:
    """How many rows record another ratio than was measured, or none where others do."""
    if column not in rows:
        return 0
    recorded = rows[column].to_numpy(np.float64)
    # Rows without a perturbation have no ratio, and the measured one is infinite.
    is_same = np.where(np.isfinite(measured), np.abs(recorded - measured) <= SAME_DB, ~np.isfinite(recorded))
    return int((~is_same).sum())


@check("survival", "Does the effect survive 16 bits and mp3?", less_is_worse=True)
def survives(evidence: Evidence) -> Finding:
    """Look at the share of the effect that was left where the attacked waveform was stored and read back."""
    if evidence.unit != WAVEFORM_UNIT:
        return not_recorded(
            "survival",
            "the attack enters at a spectrogram or at features, which are no sound; `tenuto show` renders it as sound.",
        )
    findings = [(title, finding) for title, rows in at_budgets(evidence.rows) if (finding := _survival(rows))]
    if not findings:
        return not_recorded(
            "survival", "the rows do not record what survives; attack the waveform of a run again."
        )
    return worst(findings)


def _survival(rows: pd.DataFrame) -> Finding | None:
    """The finding on rows of one budget; None where nothing is recorded."""
    shares = {words: survival(rows, column) for column, words in STORAGE.items()}
    known_shares = {words: share for words, share in shares.items() if math.isfinite(share)}
    if not known_shares:
        return None
    bits, least = shares[STORAGE["survives_16_bit"]], min(known_shares.values())
    listed = " and ".join(f"{share:.0%} in {words}" for words, share in known_shares.items())
    value, threshold = (
        (bits, STORED) if bits < STORED and least >= HALF_SURVIVING else (least, HALF_SURVIVING)
    )
    return judge(
        "survival",
        value,
        threshold,
        f"of the effect on the emotions survive {listed}.",
        fail=bits < HALF_SURVIVING,
        warn=bits < STORED or least < HALF_SURVIVING,
    )
