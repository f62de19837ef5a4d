"""What is known of the data: what the normalisation has seen, albums on both sides of the split, use of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tenuto.data.excerpts import Normalisation, measure
from tenuto.evaluation.audit.evidence import Data, Source, aligned, checkpoint, split_of
from tenuto.evaluation.audit.findings import Finding, judged, not_recorded, worst
from tenuto.store.run import RunFolder

SAME = 1e-6
"""Largest difference of two measurements of one mean or deviation."""

FEW = 0.1
"""Share of test clips from trained albums up to which they can hardly carry a mean over clips."""

LABEL_WORDS = ("squared error", "absolute error", "huber", "correlation", "error")
"""First words of the objectives that compare with a label, unless they say "from clean"."""


def normalisation(source: Source, data: Data) -> Finding:
    """Did the mean and deviation that inputs are normalised with see training clips only?"""
    if not source.folders:
        return not_recorded(
            "normalisation",
            "rows and logs do not say which clips the normalisation was measured on; a run folder does.",
        )
    return worst(
        [(run, _normalisation(source, run, folder, data)) for run, folder in sorted(source.folders.items())]
    )


def _normalisation(source: Source, run: str, folder: Path, data: Data) -> Finding:
    from tenuto.models.checkpoint import load

    told, split = RunFolder(folder).read_config().data.normalisation, split_of(source, run, data)
    if data.prepared is None or split is None or checkpoint(source, run) is None:
        said = f"the configuration says it was measured on {'training' if told == 'train' else 'all'} clips"
        return judged(
            "normalisation", float(told == "all"), 0.0, f"{said} (not measured anew).", warn=told == "all"
        )
    used = load(folder).normalisation
    training = measure([data.prepared.spectrograms[place] for place in data.prepared.places(split.train)])
    apart = _apart(used, training)
    return judged(
        "normalisation",
        apart,
        SAME,
        f"mean {used.mean:.6f} and deviation {used.deviation:.6f} are used, {training.mean:.6f} and "
        f"{training.deviation:.6f} measured on the training clips; the configuration says '{told}'.",
        fail=apart > SAME and told == "train",
        warn=apart > SAME,
    )


def _apart(first: Normalisation, second: Normalisation) -> float:
    return max(abs(first.mean - second.mean), abs(first.deviation - second.deviation))


def albums(source: Source, data: Data) -> Finding:
    """How many test clips come from albums that have training clips too?"""
    index = data.known()
    if index is None or index.albums is None:
        missing = "the data" if index is None else "albums: this data set names none"
        how = "--root" if source.folders else "--data and --root"
        return not_recorded("albums", f"needs {missing}; name the data with {how}.")
    album = dict(zip(index.clips, index.albums, strict=True))
    found = []
    for run in sorted(set(source.rows["run"])) if source.folders else [""]:
        split = split_of(source, run, data)
        if split is None:
            return not_recorded(
                "albums", "the rows do not say which clips were trained on: give --split FILE."
            )
        own = source.rows[source.rows["run"] == run] if run else source.rows
        clips = aligned(tuple(dict.fromkeys(own["clip"].astype(str))), index)
        trained = {album[clip] for clip in aligned(split.train, index)}
        shared = [clip for clip in clips if album[clip] in trained]
        share = len(shared) / len(clips)
        said = (
            f"{len(shared)} of {len(clips)} attacked clips come from albums that also have training clips "
            f"({len(set(index.albums))} albums in all)."
        )
        found.append((run, judged("albums", share, 0.0, said, fail=share > FEW, warn=share > 0)))
    return worst(found)


def labels(source: Source) -> Finding:
    """Is the attack told the label, or does it push away from the model's own clean output?"""
    if source.released:
        return not_recorded("labels", "released logs do not record what the attack compares with.")
    told = source.rows["objective"].astype(str)
    based = _label_based(told)
    if not based.any():
        return judged("labels", 0.0, 0.0, f"none of {len(told)} attacks compares with the label.")
    named = ", ".join(sorted(set(told[based])))
    return judged(
        "labels",
        float(based.mean()),
        0.0,
        f"{int(based.sum())} of {len(told)} attacks compare with the label ({named}): part of their error is "
        "the model's own, and an attacker without labels has less to go by.",
        warn=True,
    )


def _label_based(objectives: pd.Series[str]) -> np.ndarray:
    starts = objectives.str.startswith(LABEL_WORDS)
    based: np.ndarray = (starts & ~objectives.str.contains("from clean")).to_numpy(bool)
    return based
