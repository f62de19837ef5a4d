"""What is known about the data: the normalisation, what both sides of the split share, the order of columns, labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tenuto.data.base import Index
from tenuto.data.duplicates import is_recognisable
from tenuto.data.excerpts import measure
from tenuto.data.label_order import FEWEST_CLIPS, label_orders
from tenuto.data.splits import Split, one_spelling
from tenuto.errors import counted
from tenuto.evaluation.audit.findings import Finding, check, judge, not_recorded, worst
from tenuto.evaluation.audit.sources import Evidence, aligned
from tenuto.store.run import RunFolder

SAME_MOMENT = 1e-6
"""Largest difference of two measurements of one mean or deviation."""

FEW = 0.1
"""Share of test clips from trained albums or artists up to which they have little weight in a mean over clips."""

ALBUM_WORDS = ("attacked clip comes from", "attacked clips come from")
ARTIST_WORDS = ("attacked clip is by", "attacked clips are by")
NO_SPLIT = "the rows do not record the training clips: give `split=FILE`."
NOT_COMPARED = "the recordings were not compared; `tenuto audit STUDY --root DATA` compares them."
TOO_SHORT = "their recordings have less than 2.5 s of changing sound, or cannot be read"
OBJECT_NOT_COMPARED = "the recordings were not compared; `run.audit()` compares them, in Python."


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
    from tenuto.data.inputs import LogSpectrogramInputs  # imports torch, which the audit of logs does without

    folder, prepared = evidence.source.folders[run], evidence.data.prepared
    config, split = RunFolder(folder).read_config(), evidence.split(run)
    setting, adopted = config.data.normalisation, config.adopted
    if adopted is not None and adopted.takes != "log-spectrogram":
        return not_recorded("normalisation", f"{run} takes {adopted.takes}, which Tenuto does not normalise.")
    if adopted is not None and adopted.normalisation is not None:
        mean, deviation = adopted.normalisation
        return not_recorded(
            "normalisation",
            f"{run} was adopted with mean {mean:g} and deviation {deviation:g}; where they were measured is not known.",
        )
    if prepared is None or split is None or evidence.checkpoint(run) is None:
        return judge(
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
    statistics = inputs.normalisation
    training = measure([prepared.spectrograms[place] for place in prepared.places(split.train)])
    apart = max(abs(statistics.mean - training.mean), abs(statistics.deviation - training.deviation))
    return judge(
        "normalisation",
        apart,
        SAME_MOMENT,
        f"mean {statistics.mean:.6f} and deviation {statistics.deviation:.6f} are used, {training.mean:.6f} and "
        f"{training.deviation:.6f} measured on the training clips; the configuration says '{setting}'.",
        fail=apart > SAME_MOMENT and setting == "train",
        warn=apart > SAME_MOMENT,
    )


@check("albums", "Do test clips come from albums that are also trained on?")
def albums(evidence: Evidence) -> Finding:
    """Count test clips from albums that have training clips too."""
    return _owners(evidence, "albums")


@check("artists", "Are test clips by artists that are also trained on?")
def artists(evidence: Evidence) -> Finding:
    """Count test clips by artists that have training clips too."""
    return _owners(evidence, "artists")


def _owners(evidence: Evidence, kind: str) -> Finding:
    """Count test clips whose album or artist has training clips too; clips without a name cannot be compared."""
    index = evidence.data.known()
    owners = {"albums": index.albums, "artists": index.artists}[kind] if index is not None else None
    if index is None:
        return not_recorded(kind, f"needs the data; give the data with {_how(evidence)}.")
    if owners is None:
        return not_recorded(
            kind,
            f"the data set names no {kind}. In a data set of your own, `{kind[:-1]}_column` names their column.",
        )
    owners = one_spelling(owners)
    owner = dict(zip(index.clips, owners, strict=True))
    findings = []
    for run, clips, split in _divided(evidence, index):
        if split is None:
            return not_recorded(kind, NO_SPLIT)
        trained = {owner[clip] for clip in aligned(split.train, index)} - {""}
        unknown = sum(not owner[clip] for clip in clips)
        if unknown == len(clips) or not trained:
            which = "attacked" if trained else "training"
            return not_recorded(kind, f"no {which} clip has a name of its {kind[:-1]}.")
        shared = [clip for clip in clips if owner[clip] in trained]
        share = len(shared) / len(clips)
        words = ALBUM_WORDS if kind == "albums" else ARTIST_WORDS
        sentence = (
            f"{len(shared)} of {counted(len(clips), *words)} {kind} that also have training clips "
            f"({len(set(owners) - {''})} {kind} in all)."
            + (f" {unknown} have no name of their {kind[:-1]} and were not compared." if unknown else "")
        )
        is_doubtful = share > 0 or unknown > 0
        findings.append((run, judge(kind, share, 0.0, sentence, fail=share > FEW, warn=is_doubtful)))
    return worst(findings)


@check("duplicates", "Are test clips, by their sound, also training clips?")
def duplicates(evidence: Evidence) -> Finding:
    """Count test clips that hold the same sound as a training or validation clip."""
    index, sounds = evidence.data.known(), evidence.data.sounds
    if index is None or not sounds:
        return not_recorded("duplicates", _no_recordings(evidence))
    findings = []
    for run, clips, split in _divided(evidence, index):
        if split is None:
            return not_recorded("duplicates", NO_SPLIT)
        trained, validated = set(aligned(split.train, index)), set(aligned(split.validation, index))
        pairs = [
            (clip, other, pair)
            for pair in evidence.data.duplicates
            for clip, other in ((pair.first, pair.second), (pair.second, pair.first))
            if clip in clips and other in trained | validated
        ]
        leaked = {clip for clip, other, _ in pairs if other in trained} | trained.intersection(clips)
        unknown = {clip for clip in clips if clip not in sounds or not is_recognisable(sounds[clip])}
        unknown -= {clip for clip, _, _ in pairs} | leaked
        if len(unknown) == len(clips):
            return not_recorded("duplicates", f"no attacked clip was compared: {TOO_SHORT}.")
        others = {clip for clip, _, _ in pairs} - leaked
        pairs.sort(key=lambda entry: (entry[1] not in trained, -entry[2].seconds))
        example = f" {pairs[0][2]}." if pairs else ""
        beyond = f" {len(others)} more are validation clips, which choose the checkpoint." if others else ""
        sentence = (
            f"{len(leaked)} of {counted(len(clips), 'attacked clip has', 'attacked clips have')} the same sound as "
            f"a training clip ({counted(len(sounds), 'recording')} compared).{beyond}{example}"
            + (f" {len(unknown)} were not compared: {TOO_SHORT}." if unknown else "")
        )
        share = len(leaked) / len(clips)
        is_doubtful = bool(others or unknown)
        findings.append((run, judge("duplicates", share, 0.0, sentence, fail=bool(leaked), warn=is_doubtful)))
    return worst(findings)


@check("label-order", "Does arousal follow the audio more than valence does?")
def label_order(evidence: Evidence) -> Finding:
    """Compare ratings with the loudness and onset rate of the audio, to notice exchanged columns."""
    index, sounds = evidence.data.known(), evidence.data.sounds
    if index is None or not sounds:
        return not_recorded("label-order", _no_recordings(evidence))
    orders = label_orders(index, sounds)
    if not orders:
        return not_recorded(
            "label-order",
            f"needs {FEWEST_CLIPS} recordings and ratings named like valence and like arousal that vary; found: "
            f"{counted(len(sounds), 'recording')} and {', '.join(index.emotions)}.",
        )
    order = max(orders, key=lambda one: (one.is_exchanged, one.rho_valence - one.rho_arousal))
    return judge(
        "label-order", order.rho_valence - order.rho_arousal, 0.0, f"{order}.", warn=order.is_exchanged
    )


def _divided(evidence: Evidence, index: Index) -> Iterator[tuple[str, tuple[str, ...], Split | None]]:
    """Every run with its attacked clips and its split; all rows as one, named "", where no run is known."""
    source = evidence.source
    for run in evidence.runs if source.folders else [""]:
        rows = source.rows[source.rows["run"] == run] if run else source.rows
        clips = aligned(tuple(dict.fromkeys(rows["clip"].astype(str))), index)
        yield run, clips, evidence.split(run)


def _how(evidence: Evidence) -> str:
    return "`root`" if evidence.source.folders else "`data` and `root`"


def _no_recordings(evidence: Evidence) -> str:
    """Why no recordings were compared."""
    if evidence.data.known() is not None and evidence.data.spared:
        return OBJECT_NOT_COMPARED if evidence.has_object else NOT_COMPARED
    return f"needs the recordings; give the data with {_how(evidence)}."


@check("every-clip", "Do the rows hold every clip of their part of the split, and no other?")
def every_clip(evidence: Evidence) -> Finding:
    """Compare the attacked clips with those of the split: a mean over some of them is not that of the test clips."""
    part, index = str(evidence.rows["split"].iloc[0]), evidence.data.known()
    findings = []
    for run in evidence.runs:
        split = evidence.split(run)
        if split is None:
            return not_recorded("every-clip", "the rows do not record the split: give `split=FILE`.")
        rows = evidence.rows[evidence.rows["run"] == run]
        attacked, expected = tuple(dict.fromkeys(rows["clip"].astype(str))), split.part(part)
        if index is not None:
            attacked, expected = aligned(attacked, index), aligned(expected, index)
        lacking, others = sorted(set(expected) - set(attacked)), sorted(set(attacked) - set(expected))
        sentence = (
            f"{len(expected) - len(lacking)} of {counted(len(expected), f'{part} clip was', f'{part} clips were')} "
            "attacked"
        )
        sentence += f"; {lacking[0]} was not" if lacking else ""
        sentence += f"; {len(others)} of other parts were, the first {others[0]}" if others else ""
        wrong = len(lacking) + len(others)
        findings.append((run, judge("every-clip", wrong, 0, f"{sentence}.", fail=wrong > 0)))
    return worst(findings)


@check("labels", "Does the attack know the labels?")
def labels(evidence: Evidence) -> Finding:
    """Count attacks whose objective compares with the label, by the column ``uses_label`` or the attack itself."""
    uses = _uses_label(evidence)
    based = sum(value is True for value in uses)
    if based:
        return judge(
            "labels",
            based / len(uses),
            0.0,
            f"{based} of {counted(len(uses), 'attack compares', 'attacks compare')} with the label: part of their "
            "error is the model's own, and an attacker without labels is weaker.",
            warn=True,
        )
    if None in uses:
        return not_recorded(
            "labels",
            f"for {sum(value is None for value in uses)} of {counted(len(uses), 'attack')} it is not recorded "
            "whether they compare with the label; attack again to record it.",
        )
    return judge("labels", 0.0, 0.0, f"none of {counted(len(uses), 'attack')} compares with the label.")


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
