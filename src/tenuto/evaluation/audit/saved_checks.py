"""What the saved perturbations show: their budget and norms measured again, and what the model predicts at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tenuto.data.excerpts import EXCERPT_FRAMES, WAVEFORM_UNIT
from tenuto.errors import DataError, counted
from tenuto.evaluation.audit import sound_checks
from tenuto.evaluation.audit.findings import Finding, Verdict, check, judge, not_recorded, worst
from tenuto.evaluation.audit.rows_checks import ENTRY_BANDS, EXCESS, MOVED, outside_budget
from tenuto.evaluation.audit.sources import Evidence, Values
from tenuto.files import Array, SafetensorsFile, sha256_file
from tenuto.store.budgets import norm_of
from tenuto.store.rows import values_of
from tenuto.store.run import RunFolder

if TYPE_CHECKING:
    from tenuto.evaluation.runs import OpenedRun

SAME_NORM = 1e-5
"""Relative difference of two norms of one perturbation that different orders of summing can cause."""

IDS = ("saved-budget", "saved-norm", "saved-prediction", "sound-budget")
SAVED_BATCH = 8
LIES_OUTSIDE = (
    "perturbation, measured again in float64, lies outside its budget",
    "perturbations, measured again in float64, lie outside their budget",
)


@check("saved-budget", "Are the saved perturbations inside their budget?")
def saved_budget(evidence: Evidence) -> Finding:
    """Measure the saved perturbations in float64."""
    return evidence.once(measure_saved)["saved-budget"]


@check("saved-norm", "Are the norms in the rows those of the saved perturbations?")
def saved_norm(evidence: Evidence) -> Finding:
    """Measure both norms of the saved perturbations."""
    return evidence.once(measure_saved)["saved-norm"]


@check("sound-budget", "Are perturbations of waveforms inside their budget in dB?")
def sound_budget(evidence: Evidence) -> Finding:
    """Measure saved perturbations against their recordings in float64."""
    if not set(evidence.rows["norm"]) & set(sound_checks.EXCESS_DB):
        return not_recorded("sound-budget", "the attack states no budget in dB.")
    return evidence.once(measure_saved)["sound-budget"]


@check("saved-prediction", "Does the model predict what the rows say, at the saved perturbations?")
def saved_prediction(evidence: Evidence) -> Finding:
    """Evaluate the model at clean and attacked inputs; rows of other weights or labels fail in any case."""
    runs = sorted(evidence.source.folders)
    strangers = [
        *(entry for run in runs for entry in _of_other_weights(evidence, run)),
        *_with_other_labels(evidence),
    ]
    return worst(strangers) if strangers else evidence.once(measure_saved)["saved-prediction"]


def measure_saved(evidence: Evidence) -> dict[str, Finding]:
    """The findings that need the file of perturbations; every row that should have one is looked at.

    Raises:
        FileError: A damaged file.
        DataError: A perturbation of another shape than an excerpt's.
        CheckpointError: A run that was trained on other data.
    """
    source = evidence.source
    if not source.saved:
        reason = (
            "released logs come without their perturbations."
            if source.released
            else "the rows have no file of perturbations."
        )
        return {name: not_recorded(name, reason) for name in IDS}
    findings: dict[str, list[tuple[str, Finding]]] = {name: [] for name in IDS}
    for run, path in sorted(source.saved.items()):
        rows = source.rows[source.rows["run"] == run]
        for finding in _of_run(evidence, run, rows, SafetensorsFile(path)):
            findings[finding.check].append((run, finding))
    unsaved = [run for run in evidence.runs if run not in source.saved]
    for name, own in findings.items():
        if unsaved and any(finding.verdict is not Verdict.NOT_RECORDED for _, finding in own):
            sentence = (
                f"{len(unsaved)} of {counted(len(evidence.runs), 'run has', 'runs have')} no file of "
                "perturbations."
            )
            own.append((unsaved[0], judge(name, len(unsaved), 0, sentence, warn=True)))
    return {name: worst(own) for name, own in findings.items()}


def _of_other_weights(evidence: Evidence, run: str) -> Iterator[tuple[str, Finding]]:
    """A failure where rows name other weights than those in the run's folder."""
    path, rows = evidence.checkpoint(run), evidence.rows
    if path is None or "checkpoint" not in rows.columns:
        return
    recorded, present = rows.loc[rows["run"] == run, "checkpoint"].dropna(), sha256_file(path)
    other = recorded[recorded != present]
    if len(other):
        sentence = (
            f"{len(other)} of {counted(len(recorded), 'row was', 'rows were')} made with weights "
            f"{str(other.iloc[0])[:8]}, the run now has {present[:8]}: these are predictions of another model."
        )
        yield run, judge("saved-prediction", len(other) / len(recorded), 0.0, sentence, fail=True)


def _with_other_labels(evidence: Evidence) -> Iterator[tuple[str, Finding]]:
    """A failure where rows have other labels than the data."""
    rows = evidence.rows
    labels = evidence.labels_of(rows["clip"].tolist())
    if labels is None:
        return
    apart = np.abs(values_of(rows, "label") - labels).max(axis=1)
    if (wrong := apart > MOVED).any():
        first = rows.iloc[int(wrong.argmax())]
        sentence = (
            f"{wrong.sum()} of {counted(len(rows), 'row has', 'rows have')} other labels than the data, first clip "
            f"{first['clip']}."
        )
        yield str(first["run"]), judge("saved-prediction", apart.max(), MOVED, sentence, fail=True)


def _of_run(
    evidence: Evidence, run: str, rows: pd.DataFrame, arrays: Mapping[str, Array]
) -> Iterator[Finding]:
    """The findings of one run."""
    keys = _keys(rows)
    if keys is None or keys.empty:
        reason = (
            "the rows do not name their perturbations: they have no settings, or none is marked the worst."
        )
        yield from (not_recorded(name, reason) for name in IDS)
        return
    absent = [key for key in keys if key not in arrays]
    rows = rows.loc[keys.index[keys.isin(list(arrays))]]
    if rows.empty:
        yield from (judge(name, len(absent), 0, _absent(absent), fail=True) for name in IDS)
        return
    deltas = Deltas(arrays, keys[rows.index].tolist(), _shape(evidence, run))
    yield _budget(rows, deltas, absent)
    yield _norm(rows, deltas, absent)
    data, has_weights = evidence.data, evidence.checkpoint(run) is not None
    if data.prepared is None or not has_weights:
        reason = "needs the run's checkpoint and the data: give the data with `root`."
        reason = evidence.not_evaluated if data.spared and has_weights else reason
        yield from (not_recorded(name, reason) for name in ("saved-prediction", "sound-budget"))
        return
    attacked = evidence.open_attacked(run)
    yield _prediction(attacked, rows, deltas, absent)
    if rows["norm"].isin(sound_checks.EXCESS_DB).any():
        yield sound_checks.sound_budget(attacked, rows, deltas.__getitem__, _absent(absent))
    else:
        yield not_recorded("sound-budget", "the attack states no budget in dB.")


def _keys(rows: pd.DataFrame) -> pd.Series[str] | None:
    """The array that belongs to each worst row, by the row's place; None where rows have no settings."""
    if "settings" not in rows.columns:
        return None
    chosen = rows[rows["worst"].astype(bool)] if "worst" in rows.columns else rows
    return chosen["settings"].astype(str) + "/" + chosen["clip"].astype(str) + "/perturbation"


def _shape(evidence: Evidence, run: str) -> tuple[int, ...] | None:
    """The shape of a perturbation, that of an input; None where only the front end of the user's knows it."""
    folder = evidence.source.folders.get(run)
    adopted = None if folder is None else RunFolder(folder).read_config().adopted
    if adopted is None or adopted.takes == "log-spectrogram":
        from tenuto.data.inputs import WINDOW_SAMPLES  # imports torch, which the audit of logs does without

        return (WINDOW_SAMPLES,) if evidence.unit == WAVEFORM_UNIT else (EXCERPT_FRAMES, ENTRY_BANDS)
    return (round(adopted.sample_rate * adopted.seconds),) if adopted.takes == "waveform" else None


class Deltas:
    """The perturbations of rows, each read when it is asked for: those of waveforms are large.

    Args:
        arrays: The file.
        keys: Names of the arrays, in the order of the rows.
        shape: Of each perturbation; None for that of the first.

    Raises:
        DataError: When a perturbation is read that has another shape.
    """

    def __init__(
        self, arrays: Mapping[str, Array], keys: Sequence[str], shape: tuple[int, ...] | None
    ) -> None:
        self._arrays, self._keys = arrays, list(keys)
        self._shape = arrays[self._keys[0]].shape if shape is None else shape

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, row: int) -> Array:
        key = self._keys[row]
        delta = self._arrays[key]
        if delta.shape != self._shape:
            raise DataError(
                f"{key} has shape {delta.shape}, expected {self._shape}. Delete the file and attack the run again."
            )
        return delta


def _absent(absent: list[str]) -> str:
    number = counted(len(absent), "perturbation is", "perturbations are")
    return f"{number} missing, the first {absent[0]}." if absent else ""


def _sizes(deltas: Deltas, norm: str) -> Values:
    """L2 or L-infinity norm of every perturbation (n, ...) in float64, (n,)."""
    sizes = np.empty(len(deltas))
    for row in range(len(deltas)):
        flat = deltas[row].reshape(1, -1).astype(np.float64)
        sizes[row] = np.linalg.norm(flat, axis=1)[0] if norm == "l2" else np.abs(flat).max()
    return sizes


def _budget(rows: pd.DataFrame, deltas: Deltas, absent: list[str]) -> Finding:
    epsilon = rows["epsilon"].to_numpy(np.float64)
    columns = np.array([norm_of(str(name)).column for name in rows["norm"]])
    if not np.isfinite(epsilon).any():
        return not_recorded("saved-budget", "the attack states no budget to compare its perturbations with.")
    measurable = np.isfinite(epsilon) & np.isin(columns, ["l2", "linf"])
    if not measurable.any():
        return not_recorded(
            "saved-budget",
            "the size of these perturbations depends on the recording; sound-budget measures it.",
        )
    sizes = np.where(columns == "l2", _sizes(deltas, "l2"), _sizes(deltas, "linf"))[measurable]
    outside, largest = outside_budget(sizes, epsilon[measurable])
    return judge(
        "saved-budget",
        largest,
        EXCESS,
        f"{outside} of {counted(len(sizes), *LIES_OUTSIDE)}; the largest by {max(largest, 0):.2g} times epsilon. "
        f"{_absent(absent)}".rstrip(),
        fail=outside > 0,
        warn=bool(absent),
    )


def _norm(rows: pd.DataFrame, deltas: Deltas, absent: list[str]) -> Finding:
    differences = []
    for norm in ("l2", "linf"):
        measured = _sizes(deltas, norm)
        recorded = rows[norm].to_numpy(np.float64)
        differences.append(np.abs(recorded - measured) / np.maximum(measured, 1e-12) * (recorded != measured))
    difference = np.nan_to_num(np.max(differences, axis=0), nan=np.inf)
    wrong = int((difference > SAME_NORM).sum())
    return judge(
        "saved-norm",
        float(difference.max()),
        SAME_NORM,
        f"{wrong} of {counted(len(rows), 'row gives', 'rows give')} a norm that is not the saved perturbation's; "
        f"the largest relative difference is {difference.max():.2g}. {_absent(absent)}".rstrip(),
        fail=wrong > 0,
        warn=bool(absent),
    )


def _prediction(run: OpenedRun, rows: pd.DataFrame, deltas: Deltas, absent: list[str]) -> Finding:
    """Evaluate the network at clean and attacked inputs, and compare with the rows."""
    import torch

    from tenuto.models.recogniser import predict

    batch = run.part(str(rows["split"].iloc[0]))
    place = {clip: row for row, clip in enumerate(batch.clips)}
    if unknown := sorted(set(rows["clip"]) - set(place)):
        return judge(
            "saved-prediction", np.inf, MOVED, f"clip {unknown[0]} is not in the run's split.", fail=True
        )
    apart = np.zeros((2, len(rows)))
    for start in range(0, len(rows), SAVED_BATCH):
        part = slice(start, start + SAVED_BATCH)
        inputs = batch.inputs[[place[clip] for clip in rows["clip"].iloc[part]]]
        own = np.stack([deltas[row] for row in range(start, start + len(inputs))])
        attacked = inputs + torch.from_numpy(own).reshape(inputs.shape)
        for number, (kind, judged_inputs) in enumerate((("clean", inputs), ("adversarial", attacked))):
            predicted = predict(run.recogniser.network, judged_inputs, SAVED_BATCH).emotions.double().numpy()
            apart[number, part] = np.abs(predicted - values_of(rows.iloc[part], kind)).max(axis=1)
    apart = np.nan_to_num(apart, nan=np.inf)
    worst_difference, wrong = float(apart.max()), (apart > MOVED).any(axis=0)
    return judge(
        "saved-prediction",
        worst_difference,
        MOVED,
        f"{int(wrong.sum())} of {counted(len(rows), 'row holds', 'rows hold')} a clean or attacked prediction that is "
        f"not the model's; the largest difference is {worst_difference:.2g}. {_absent(absent)}".rstrip(),
        fail=bool(wrong.any()),
        warn=bool(absent),
    )
