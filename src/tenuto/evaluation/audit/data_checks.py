"""What is known about the data: clips the normalisation was measured on, albums on both sides of the split, labels."""

from __future__ import annotations

import numpy as np

from tenuto.data.excerpts import Normalisation, measure
from tenuto.evaluation.audit.findings import Finding, check, judged, not_recorded, worst
from tenuto.evaluation.audit.sources import Evidence, aligned
from tenuto.store.run import RunFolder

SAME = 1e-6
"""Largest difference of two measurements of one mean or deviation."""

FEW = 0.1
"""Share of test clips from trained albums up to which they have little weight in a mean over clips."""


@check("normalisation", "Was the normalisation measured on training clips alone?")
def normalisation(evidence: Evidence) -> Finding:
    """Compare the mean and deviation that inputs are normalised with to those of the training clips."""
    folders = evidence.source.folders
    if not folders:
        return not_recorded(
            "normalisation",
            "rows and logs do not record which clips the normalisation was measured on; a run folder does.",
        )
    return worst([(run, _normalisation(evidence, run)) for run in sorted(folders)])


def _normalisation(evidence: Evidence, run: str) -> Finding:
    from tenuto.data.inputs import LogSpectrogramInputs

    folder, prepared = evidence.source.folders[run], evidence.data.prepared
    setting, split = RunFolder(folder).read_config().data.normalisation, evidence.split(run)
    if prepared is None or split is None or evidence.checkpoint(run) is None:
        return judged(
            "normalisation",
            float(setting == "all"),
            0.0,
            f"the configuration says it was measured on {'training' if setting == 'train' else 'all'} clips (not "
            "measured again).",
            warn=setting == "all",
        )
    inputs = evidence.open(run).recogniser.inputs
    if not isinstance(inputs, LogSpectrogramInputs):
        return not_recorded("normalisation", f"{run} takes {inputs.name}, which Tenuto does not normalise.")
    used = inputs.normalisation
    training = measure([prepared.spectrograms[place] for place in prepared.places(split.train)])
    apart = _apart(used, training)
    return judged(
        "normalisation",
        apart,
        SAME,
        f"mean {used.mean:.6f} and deviation {used.deviation:.6f} are used, {training.mean:.6f} and "
        f"{training.deviation:.6f} measured on the training clips; the configuration says '{setting}'.",
        fail=apart > SAME and setting == "train",
        warn=apart > SAME,
    )


def _apart(first: Normalisation, second: Normalisation) -> float:
    return max(abs(first.mean - second.mean), abs(first.deviation - second.deviation))


@check("albums", "Do test clips come from albums that are also trained on?")
def albums(evidence: Evidence) -> Finding:
    """Count test clips from albums that have training clips too."""
    index, source = evidence.data.known(), evidence.source
    if index is None or index.albums is None:
        missing = "the data" if index is None else "albums, and this data set names none"
        how = "`root`" if source.folders else "`dataset` and `root`"
        return not_recorded("albums", f"needs {missing}; give the data with {how}.")
    album = dict(zip(index.clips, index.albums, strict=True))
    findings = []
    for run in evidence.runs if source.folders else [""]:
        split = evidence.split(run)
        if split is None:
            return not_recorded("albums", "the rows do not record the training clips: give `split=FILE`.")
        own = source.rows[source.rows["run"] == run] if run else source.rows
        clips = aligned(tuple(dict.fromkeys(own["clip"].astype(str))), index)
        trained = {album[clip] for clip in aligned(split.train, index)}
        shared = [clip for clip in clips if album[clip] in trained]
        share = len(shared) / len(clips)
        sentence = (
            f"{len(shared)} of {len(clips)} attacked clips come from albums that also have training clips "
            f"({len(set(index.albums))} albums in all)."
        )
        findings.append((run, judged("albums", share, 0.0, sentence, fail=share > FEW, warn=share > 0)))
    return worst(findings)


@check("labels", "Does the attack know the labels?")
def labels(evidence: Evidence) -> Finding:
    """Count attacks whose objective compares with the label, by the column ``uses_label`` or the attack itself."""
    uses = _uses_label(evidence)
    based = sum(value is True for value in uses)
    if based:
        return judged(
            "labels",
            based / len(uses),
            0.0,
            f"{based} of {len(uses)} attacks compare with the label: part of their error is the model's own, and an "
            "attacker without labels is weaker.",
            warn=True,
        )
    if None in uses:
        return not_recorded(
            "labels",
            f"for {sum(value is None for value in uses)} of {len(uses)} attacks it is not recorded whether they "
            "compare with the label; attack again to record it.",
        )
    return judged("labels", 0.0, 0.0, f"none of {len(uses)} attacks compares with the label.")


def _uses_label(evidence: Evidence) -> list[bool | None]:
    """Of every row, whether its attack compares with the label; None where nothing records it."""
    recorded: list[bool | None] = [None] * len(evidence.rows)
    if "uses_label" in evidence.rows.columns:
        cells = evidence.rows["uses_label"].tolist()
        recorded = [bool(cell) if isinstance(cell, bool | np.bool_) else None for cell in cells]
    return [
        attack.uses_label if value is None and attack is not None else value
        for value, attack in zip(recorded, evidence.row_attacks, strict=True)
    ]
