"""Rows whose metrics are known without computing them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tenuto.data.excerpts import WAVEFORM_UNIT
from tenuto.store.released_logs import RELEASED_EMOTIONS

SYSTEMS = ("A2E", "A2B2E", "A2M2E", "aA2E", "aA2B2E")
SEEDS = (6, 21, 42)
CLIPS = 5


def labels(clips: int = CLIPS) -> np.ndarray:
    """(clips, 8) ratings between 0.1 and 0.9, each emotion in another order of clips, with one mean."""
    ratings = np.linspace(0.1, 0.9, clips)
    return np.stack([np.roll(ratings, shift) for shift in range(len(RELEASED_EMOTIONS))], axis=1)


def run(system="A2E", seed=6, clean=0.125, attacked=1.0, falling=False, clips=CLIPS, **columns):
    """One run: MAE before is ``clean`` and r is 1; after, every value is ``attacked`` too high.

    ``falling`` makes the attacked prediction ``1 - label + attacked``, so that r is -1 after the attack.
    """
    label = labels(clips)
    values = {
        "label": label,
        "clean": label + clean,
        "adversarial": (1 - label if falling else label) + attacked,
    }
    table = {
        "run": f"{system}-{seed}",
        "system": system,
        "seed": seed,
        "clip": [f"{clip:03d}" for clip in range(clips)],
        "split": "test",
        "protocol": "paper-2025-released",
        "attack": "ReleasedAttack",
        "objective": "correlation",
        "norm": "none",
        "epsilon": np.nan,
        "iterations": 40,
        "forward_passes": 40,
        "gradient_passes": 40,
        "l2": 3.0,
        "linf": 0.05,
        "converged": False,
        "threshold": 0.7000000000000001,
        "stored_l2": np.arange(clips, dtype=float),
        "db": np.nan,
    } | columns
    for kind, matrix in values.items():
        table |= {f"{kind}_{name}": matrix[:, index] for index, name in enumerate(RELEASED_EMOTIONS)}
    return pd.DataFrame(table)


def study(systems=SYSTEMS, seeds=SEEDS):
    """Several systems: the attack adds 1, 2, 3, ... in the order of ``systems``, a little more per seed."""
    return pd.concat(
        [
            run(system, seed, attacked=1.0 + rank + 0.01 * (rank + 1) * seed / 10)
            for rank, system in enumerate(systems)
            for seed in seeds
        ],
        ignore_index=True,
    )


def renamed(rows, name):
    """The rows with the emotion ``tender`` called by another name."""
    objectives = rows["objective"].str.replace("tender", name, regex=False)
    return rows.assign(objective=objectives).rename(columns=lambda column: column.replace("tender", name))


SOUND = {"snr": {40: 0.1875, 20: 0.375}, "masked": {-6: 0.1875, 6: 0.75}}
"""Norm -> dB -> error of the worst attack there: the rows of `sound`."""


def epsilon_of(norm: str, db: float) -> float:
    """The epsilon of a budget in dB."""
    return 10 ** ({"snr": -1, "masked": 1}[norm] * db / 20)


def sound(system="A2E", seed=6, ladders=None, clean=0.125, protocol="sound-1", **columns):
    """Rows of the waveform domain in two norms: a strong attack with these errors, and noise that adds nothing."""
    rows = pd.concat(
        [
            run(system, seed, clean, error, protocol=protocol, attack=attack, objective="squared error",
                norm=norm, epsilon=epsilon_of(norm, db), unit=WAVEFORM_UNIT, l2=0.5, linf=0.01,
                snr_db=float(db) if norm == "snr" else 33.0, nmr_db=float(db) if norm == "masked" else 3.0, **columns)
            for norm, steps in (ladders or SOUND).items()
            for db, worst in steps.items()
            for attack, error in (("Noise", clean), ("APGD", worst))
        ],
        ignore_index=True,
    )  # fmt: skip
    return rows
