"""A study on disk and clips in memory, as a report reads them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tenuto.evaluation.audit.findings import judge, not_recorded
from tenuto.files import write_csv
from tenuto.reporting.page.inputs import PageInputs, gather
from tenuto.store.rows import write_rows
from tests.analysis import test_curves
from tests.reporting import made_up, test_clip, test_explanation

PROTOCOL = "paper-2025-released"
CONCEPTS = ("dissonance", "modality")
DRAWS = 100
FINDINGS = [
    judge("budget", 0.5, 0.0, "one norm exceeds its budget.", fail=True),
    judge("ranking", 0.2, 1.0, "two measures disagree.", warn=True),
    judge("same-iterate", 0.0, 0.0, "norm and prediction belong together."),
    not_recorded("monotone", "there is one budget only."),
]
WEIGHTS = {
    "valence": {"dissonance": 0.5, "modality": -1.0},
    "tension": {"dissonance": 2.0, "modality": 1.0},
}


def bottleneck(seed: int = 6, moved: float = 0.25, **changes: Any) -> pd.DataFrame:
    """An A2M2E run whose concepts the attack moves by ``moved`` and minus twice that."""
    rows = made_up.run("A2M2E", seed, **changes)
    values = np.linspace(0.0, 0.4, len(rows))
    for name, factor in zip(CONCEPTS, (1, -2), strict=True):
        rows[f"clean_{name}"] = values
        rows[f"adversarial_{name}"] = values + factor * moved
    return rows


def plain(seeds: tuple[int, ...] = (6, 21, 42)) -> list[pd.DataFrame]:
    """A2E with an error of 0.75 and more; A2M2E with one of 0.54 and more, predictions falling with the rating."""
    return [
        run
        for place, seed in enumerate(seeds)
        for run in (
            made_up.run("A2E", seed, attacked=0.75 + 0.02 * place),
            bottleneck(seed, attacked=0.3 + 0.01 * place, falling=True),
        )
    ]


def stored(folder: Path, tables: list[pd.DataFrame]) -> Path:
    """A study's folder with these rows."""
    for table in tables:
        own = folder / "runs" / str(table["run"].iloc[0]) / "attacks"
        write_rows(own / f"{table['protocol'].iloc[0]}.csv", table)
    return folder


def whole(folder: Path) -> Path:
    """A study with everything: three seeds, a curve, natural changes, interventions."""
    stored(folder, [*plain(), test_curves.pushing(test_curves.run()), test_curves.natural()])
    corrected(folder)
    return folder


def corrected(folder: Path, run: str = "A2M2E-6", **columns: Any) -> Path:
    """What `tenuto intervene` leaves in a run that was attacked with the released protocol."""
    attack = {"protocol": PROTOCOL, "attack": "ReleasedAttack", "norm": "none", "run": run} | columns
    rows = [test_explanation.corrected(**attack), test_explanation.corrected("clean", "annotation", run=run)]
    path = folder / "runs" / run / "interventions" / "intervention.csv"
    return write_csv(path, pd.concat(rows).assign(**{k: v for k, v in columns.items() if k == "checkpoint"}))


def resynthesis(clip: str = "055", seconds: float = 1.0, seed: int = 0) -> Any:
    """A clip with two concepts and with noise for a sound."""
    noise = np.random.default_rng(seed).normal(0, 2000, (2, int(22050 * seconds))).astype(np.int16)
    concepts = test_clip.states(CONCEPTS)
    samples = {"samples_before": noise[0], "samples_after": noise[0] + noise[1]}
    return test_clip.made_up(concepts, clip=clip, system="A2M2E", run="A2M2E-6", **samples)


def inputs(folder: Path, **changes: Any) -> PageInputs:
    """What `gather` returns, with few draws; keywords replace parts of it."""
    return dataclasses.replace(gather(folder, PROTOCOL, draws=DRAWS), **changes)


def complete(folder: Path) -> PageInputs:
    """A study whose report has every section."""
    gains = {
        f"{system}-{seed}": {"largest": 1.25 + seed / 100, "rank": 7, "features": 32}
        for system in ("A2E", "A2M2E")
        for seed in (6, 21, 42)
    }
    resyntheses = [resynthesis("055"), resynthesis("064", seed=1)]
    return inputs(whole(folder), findings=FINDINGS, gains=gains, resyntheses=resyntheses, weights=WEIGHTS)
