"""Whether an attack leaves a certificate, which no attack may do."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tenuto.errors import counted
from tenuto.evaluation.audit.findings import Finding, check, judge, not_recorded, worst
from tenuto.evaluation.audit.sources import Evidence
from tenuto.files import sha256_file
from tenuto.store.certificates import read_certificates
from tenuto.store.run import RunFolder

BROKEN_LEVEL = 0.05
"""Probability below which more broken certificates than the stated confidence allows are no chance."""


@check("certificate", "Does every certificate hold under an attack?")
def certificate(evidence: Evidence) -> Finding:
    """Compare smoothed predictions under an attack with their certificates.

    Raises:
        FileError: A damaged table of certificates.
    """
    attacked, findings = 0, []
    for run in sorted(evidence.source.folders):
        for table in _tables(evidence, run):
            if "attacked" in table:
                attacked += 1
                findings += [(run, _judged(own)) for own in _groups(table)]
    if not attacked:
        return not_recorded(
            "certificate",
            "no certificate of these weights was attacked: `tenuto certify RUN --sigma 0.216 --attack-steps 50`.",
        )
    return worst(findings)


def _tables(evidence: Evidence, run: str) -> list[pd.DataFrame]:
    """The tables of a run on the audited clips and inputs, made with its present weights."""
    weights, part = evidence.checkpoint(run), str(evidence.rows["split"].iloc[0])
    files = RunFolder(evidence.source.folders[run]).certificate_files(part)
    tables = [read_certificates(path) for path in files] if weights is not None else []
    present = sha256_file(weights) if tables and weights is not None else ""
    return [
        table
        for table in tables
        if set(table["checkpoint"]) == {present} and set(table["unit"]) == {evidence.unit}
    ]


def _groups(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows of one sigma and one size each; a radius in dB is another number for every clip."""
    in_db = table["snr_db"].notna()
    sizes = table["radius"].where(~in_db, table["snr_db"])
    return [own for _, own in table.groupby([table["sigma"], in_db, sizes], sort=False)]


def _judged(rows: pd.DataFrame) -> Finding:
    """Count the clips whose smoothed prediction, whatever its sampling error, is outside of its bounds.

    The certificates of different clips are independent, each wrong with the stated probability; where they hold
    together, with that divided by the number of clips.
    """
    from scipy import stats

    if not np.isfinite(rows["attacked_low"]).any():
        return not_recorded(
            "certificate",
            f"{counted(rows['draws'].iloc[0], 'draw gives', 'draws give')} no interval of a prediction: certify "
            "with 1000 draws.",
        )
    first = rows.iloc[0]
    size = f"{first['snr_db']:g} dB SNR" if pd.notna(first["snr_db"]) else f"radius {first['radius']:g}"
    where = f"sigma {first['sigma']:g} and {size}"
    every, rows = rows["clip"].nunique(), rows[rows["bounded"]]
    if rows.empty:
        return not_recorded(
            "certificate",
            f"at {where} {counted(first['draws'], 'draw gives', 'draws give')} no bound: certify with more, or a "
            "larger sigma.",
        )
    broken_rows = (rows["attacked_low"] > rows["high"]) | (rows["attacked_high"] < rows["low"])
    clips, broken = rows["clip"].nunique(), rows.loc[broken_rows, "clip"].nunique()
    together = bool(rows["clips_together"].iloc[0])
    confidence = float(rows["confidence"].iloc[0])
    risk = round(1 - confidence, 12)
    allowed = risk / every if together else risk
    chance = float(stats.binom.sf(broken - 1, clips, allowed))
    return judge(
        "certificate",
        broken / clips,
        allowed,
        f"at {where}, {broken} of {counted(clips, 'certificate does', 'certificates do')} not hold under the "
        f"attack; each {'table ' if together else ''}is stated with confidence {confidence:g}.",
        fail=broken > 0 and chance <= BROKEN_LEVEL + 1e-9,
        warn=broken > 0,
    )
