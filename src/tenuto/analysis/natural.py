"""What natural changes do to the predictions of every run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from tenuto import metrics
from tenuto.store.rows import KINDS, emotion_names, values_of

OTHER_EXCERPT = "other excerpt"
"""The natural change that no clip may have: clips shorter than about 12.5 s hold no second excerpt."""


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """What every change does to every run.

    Args:
        rows: Rows of `natural`.

    Returns:
        One line per run and change: ``run system seed change clips skipped moved`` (mean absolute change of a
        prediction, rating units) ``clean_mae mae clean_correlation correlation``, all on the clips that have that
        change. Where none has it numbers are NaN, and so are correlations of a single clip.
    """
    lines: list[dict[str, Any]] = []
    changes = dict.fromkeys((OTHER_EXCERPT, *rows["objective"]))
    for run, own in rows.groupby("run", sort=False):
        about = {"run": run, "system": own["system"].iloc[0], "seed": own["seed"].iloc[0]}
        for change in changes:
            group = own[own["objective"] == change]
            skipped = own["clip"].nunique() - len(group)
            lines.append(
                {**about, "change": change, "clips": len(group), "skipped": skipped, **_moved(group)}
            )
    return pd.DataFrame(lines)


def _moved(group: pd.DataFrame) -> dict[str, float]:
    names = ("moved", "clean_mae", "mae", "clean_correlation", "correlation")
    if group.empty:
        return dict.fromkeys(names, math.nan)
    label, clean, changed = (values_of(group, kind) for kind in KINDS)
    errors = [float(np.abs(a - b).mean()) for a, b in ((changed, clean), (clean, label), (changed, label))]
    several = len(group) > 1
    r = [float(metrics.pearson(label, one).mean()) if several else math.nan for one in (clean, changed)]
    return dict(zip(names, [*errors, *r], strict=True))


def natural_means(changes: pd.DataFrame) -> pd.DataFrame:
    """Natural changes of a system, means over its runs: ``system change moved mae``; what no clip has is left out."""
    if changes.empty:
        return pd.DataFrame(columns=["system", "change", "moved", "mae"])
    made = changes[changes["clips"] > 0]
    return made.groupby(["system", "change"], sort=False)[["moved", "mae"]].mean().reset_index()


def emotion_changes(rows: pd.DataFrame) -> dict[str, float]:
    """Emotion -> mean absolute change, over clips and then runs, under the change where that is largest."""
    if rows.empty:
        return {}
    change = np.abs(values_of(rows, "adversarial") - values_of(rows, "clean"))
    table = pd.DataFrame(change, index=rows.index, columns=list(emotion_names(rows)))
    each = table.groupby([rows["run"], rows["objective"]]).mean()
    return {str(emotion): float(most) for emotion, most in each.groupby("objective").mean().max().items()}
