"""Metrics of a run, and the rows of a protocol: what they say, and that interruptions do not change it.

Longer than other files: most tests look at the rows of one run, which is attacked once.
"""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from filelock import FileLock

from tenuto import metrics
from tenuto.analysis.systems import remarks_on_runs
from tenuto.attacks import SNR, Noise, Protocol, ReleasedAttack, protocol
from tenuto.data import prepare
from tenuto.errors import ConfigError, FileError, FolderWarning, TenutoError
from tenuto.evaluation import locking, robustness
from tenuto.evaluation.runs import open_run
from tenuto.files import read_json, read_safetensors
from tenuto.models.recogniser import predict
from tenuto.store.rows import concept_names, read_rows, validate_rows, values_of
from tenuto.store.traces import read_traces
from tenuto.training.loop import train
from tests import corpora, small_runs
from tests.small_runs import settings

BRIEF = protocol("paper-2025-released", iterations=4, step_size=0.02)
NAME = "paper-2025-released+iterations=4+step_size=0.02"
UNITS = tuple(f"unit_{number}" for number in range(1, 8))


@pytest.fixture(scope="module")
def open_trained(prepared, tmp_path_factory):
    """A function that opens a freshly trained run of a system, in a folder of its own."""

    def opened(system):
        return open_run(
            train(settings(system, epochs=1), prepared, tmp_path_factory.mktemp("runs")), prepared
        )

    return opened


@pytest.fixture(scope="module")
def control(open_trained):
    """An A2B2E that was attacked clip by clip."""
    run = open_trained("A2B2E")
    robustness.attack(run, BRIEF, batch_size=1)
    return run


@pytest.fixture(scope="module")
def rows(control):
    return read_rows(control.files.rows(BRIEF))


@pytest.fixture(scope="module")
def arrays(control):
    return read_safetensors(control.folder / "attacks" / f"{NAME}.safetensors")[0]


def delta(arrays, clip, kind="perturbation"):
    return arrays[f"{BRIEF.attacks[0]!r}/{clip}/{kind}"]


# Clean


def test_evaluate_measures_every_part(control):
    report = robustness.evaluate(control)
    assert list(report) == [
        "run",
        "system",
        "seed",
        "train",
        "validation",
        "test",
        "mean_predictor",
        "checkpoint",
    ]
    assert (report["run"], report["system"], report["seed"]) == (control.name, "A2B2E", 6)
    for part in ("train", "validation", "test"):
        clips = control.part(part)
        with torch.no_grad():
            prediction = control.recogniser(clips.inputs).emotions
        expected = metrics.evaluate(clips.labels, prediction, control.recogniser.emotions)
        assert set(report[part]) == {"r2", "correlation", "rmse", "mse", "mae"}
        for metric, values in expected.items():
            assert report[part][metric] == pytest.approx(values, rel=1e-6, abs=1e-5)


def test_evaluate_writes_what_it_returns(control):
    report = robustness.evaluate(control)
    written = read_json(control.folder / "metrics.json")
    assert json.dumps(written) == json.dumps(report)  # as text, since NaN is not equal to itself


def test_evaluate_returns_its_results_where_they_cannot_be_written(control, monkeypatch):
    def refuse(path, content):
        raise FileError(f"{path}: cannot write: the file system is read-only.")

    monkeypatch.setattr(robustness, "write_json", refuse)
    with pytest.warns(FolderWarning, match=r"metrics\.json: cannot write.* The metrics are not saved"):
        assert "test" in robustness.evaluate(control)


def test_metrics_of_other_weights_do_not_count(open_trained):
    run = open_trained("A2E")
    assert not run.files.is_evaluated()
    robustness.evaluate(run)
    assert run.files.is_evaluated()
    run.files.checkpoint.write_bytes(b"other weights")
    assert not run.files.is_evaluated()


def test_evaluate_computes_with_the_threads_of_the_run(control, monkeypatch):
    """An interrupted study evaluates in a process that has not trained."""
    before, threads = torch.get_num_threads(), list[int]()
    monkeypatch.setattr(type(control), "threads", before + 1)

    def compute(*arguments):
        threads.append(torch.get_num_threads())
        return predict(*arguments)

    monkeypatch.setattr(robustness, "predict", compute)
    robustness.evaluate(control)
    assert (set(threads), torch.get_num_threads()) == ({before + 1}, before)


def test_the_mean_predictor_says_the_mean_training_label(control):
    training, test = control.part("train").labels.double().numpy(), control.part("test").labels.numpy()
    result = robustness.evaluate(control)["mean_predictor"]
    assert result["mae"]["overall"] == pytest.approx(np.abs(test - training.mean(axis=0)).mean())
    assert result["mse"]["overall"] == pytest.approx(np.square(test - training.mean(axis=0)).mean())
    assert np.isnan(result["correlation"]["overall"])  # it says the same of every clip


def test_learned_concepts_are_measured_too(open_trained, prepared):
    run = open_trained("A2M2E")
    report = robustness.evaluate(run)
    for part in ("train", "validation", "test"):
        clips = run.part(part)
        with torch.no_grad():
            concepts = run.recogniser(clips.inputs).concepts
        result = report[f"{part}_concepts"]["mae"]
        assert list(result) == ["overall", *prepared.index.concepts]
        assert result["overall"] == pytest.approx(metrics.mae(clips.concepts, concepts), abs=1e-5)


@pytest.mark.parametrize("other", ["name", "scale"])
def test_learned_concepts_are_not_measured_on_other_concepts_or_another_scale(open_trained, other):
    run = open_trained("A2M2E")
    if other == "name":
        index = run.material.prepared.index
        index = dataclasses.replace(index, concepts=("loudness", *index.concepts[1:]))
        run.material.prepared = dataclasses.replace(run.material.prepared, index=index)
    else:
        run = dataclasses.replace(run, own=dataclasses.replace(run.recogniser, scale=(1.0, 5.0)))
    assert "test_concepts" not in robustness.measure(run)


# Rows


def test_rows_are_one_per_clip_in_the_order_of_the_split(rows, control):
    validate_rows(rows)
    assert tuple(rows["clip"]) == control.part("test").clips
    values = rows[
        ["run", "system", "seed", "split", "protocol", "attack", "objective", "norm"]
    ].drop_duplicates()
    assert values.to_numpy().tolist() == [
        [control.name, "A2B2E", 6, "test", NAME, "ReleasedAttack", "correlation", "none"]
    ]
    assert rows["epsilon"].isna().all()
    assert rows["db"].isna().all()
    assert rows["iterations"].tolist() == rows["forward_passes"].tolist() == [4, 4, 4]
    assert rows["gradient_passes"].tolist() == [3, 3, 3]
    assert not rows["converged"].any()


def test_labels_and_clean_predictions_are_those_of_the_run(rows, control):
    clips = control.part("test")
    with torch.no_grad():
        clean = control.recogniser(clips.inputs)
    assert np.allclose(values_of(rows, "label"), clips.labels.numpy(), atol=1e-7)
    assert np.allclose(values_of(rows, "clean"), clean.emotions.numpy(), atol=1e-4)
    assert concept_names(rows) == UNITS
    assert np.allclose(values_of(rows, "clean", UNITS), clean.concepts.numpy(), atol=1e-4)


def test_norms_are_those_of_the_saved_perturbation(rows, arrays):
    for row in rows.to_dict("records"):
        saved = delta(arrays, row["clip"]).astype(np.float64)
        assert saved.shape == (313, 149)
        assert row["l2"] == pytest.approx(np.sqrt(np.square(saved).sum()), rel=1e-9)
        assert row["linf"] == pytest.approx(np.abs(saved).max(), rel=1e-9)
        assert row["l2"] > 0
        stored = delta(arrays, row["clip"], "stored").astype(np.float64)
        assert row["stored_l2"] == pytest.approx(np.linalg.norm(stored), rel=1e-6)


def test_predicting_the_saved_perturbation_gives_the_attacked_columns(rows, arrays, control):
    clips = control.part("test")
    saved = torch.from_numpy(np.stack([delta(arrays, clip) for clip in clips.clips]))[:, None]
    with torch.no_grad():
        attacked = control.recogniser(clips.inputs + saved)
    assert np.allclose(values_of(rows, "adversarial"), attacked.emotions.numpy(), atol=1e-4)
    assert np.allclose(values_of(rows, "adversarial", UNITS), attacked.concepts.numpy(), atol=1e-4)
    assert np.abs(values_of(rows, "adversarial") - values_of(rows, "clean")).max() > 1e-2


def test_a_direct_network_has_no_columns_of_units(open_trained):
    rows = robustness.attack(open_trained("A2E"), BRIEF)
    assert concept_names(rows) == ()


def test_all_clips_at_once_give_what_one_by_one_gave(open_trained, rows):
    at_once = robustness.attack(open_trained("A2B2E"), BRIEF, batch_size=12)
    numeric = rows.select_dtypes("number").columns
    assert np.allclose(at_once[numeric], rows[numeric], atol=1e-3, equal_nan=True)


def test_the_error_as_measure_is_called_error(control):
    attacked_rows = robustness.attack(control, protocol("paper-2025-released", measure="mse", iterations=2))
    assert set(attacked_rows["objective"]) == {"error"}


def test_other_parts_go_to_files_of_their_own(control):
    attacked_rows = robustness.attack(control, BRIEF, part="validation")
    assert tuple(attacked_rows["clip"]) == control.part("validation").clips
    assert (control.folder / "attacks" / f"{NAME}-validation.csv").is_file()
    assert set(attacked_rows["split"]) == {"validation"}


def test_the_run_s_own_network_is_left_alone(open_trained):
    run = open_trained("A2B2E")
    before = {name: value.clone() for name, value in run.recogniser.network.state_dict().items()}
    robustness.attack(run, BRIEF)
    after = run.recogniser.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in run.recogniser.network.parameters())


# Interruptions


def interrupted(run, **options):
    """Attack clip by clip, ended within the second clip."""
    spent: list[int] = []

    def progress(count):
        spent.append(count)
        if len(spent) == 6:
            raise small_runs.InterruptionError

    with pytest.raises(small_runs.InterruptionError):
        robustness.attack(run, BRIEF, batch_size=1, progress=progress, **options)
    assert not run.files.rows(BRIEF).exists()


def left(run):
    """Every file of the attack, by name; a safetensors file may order its metadata in several ways."""
    files = {path.name: path.read_bytes() for path in (run.folder / "attacks").glob(f"{NAME}.*")}
    arrays, metadata = read_safetensors(run.folder / "attacks" / f"{NAME}.safetensors")
    content = {name: array.tobytes() for name, array in arrays.items()}
    return {**files, f"{NAME}.safetensors": (content, metadata)}


def test_an_interrupted_attack_goes_on_with_the_next_clip(open_trained, control):
    run = open_trained("A2B2E")
    interrupted(run)
    spent: list[int] = []
    robustness.attack(run, BRIEF, batch_size=1, progress=spent.append)
    assert spent == [4] + [1] * 8  # the first clip at once, since it was finished
    assert left(run) == left(control)


def test_an_interrupted_attack_goes_on_with_other_batches(open_trained, rows):
    run = open_trained("A2B2E")
    interrupted(run)
    spent: list[int] = []
    attacked_rows = robustness.attack(run, BRIEF, batch_size=2, progress=spent.append)
    assert spent == [4] + [2] * 4
    assert attacked_rows["clip"].tolist() == rows["clip"].tolist()
    assert np.allclose(values_of(attacked_rows, "adversarial"), values_of(rows, "adversarial"), atol=1e-3)
    assert set(left(run)) == {f"{NAME}.csv", f"{NAME}.json", f"{NAME}.safetensors"}


def test_pieces_of_a_protocol_that_has_changed_are_made_again(open_trained, control):
    run = open_trained("A2B2E")
    interrupted(run)
    (place,) = run.files.all_pieces(BRIEF)
    path = place / "protocol.json"
    path.write_text(path.read_text().replace('"iterations": 4', '"iterations": 3'))
    spent: list[int] = []
    robustness.attack(run, BRIEF, batch_size=1, progress=spent.append)
    assert spent == [0] + [1] * 12  # nothing was finished
    assert left(run) == left(control)


def test_traces_go_to_a_file_of_their_own_also_after_an_interruption(open_trained, control, rows):
    with pytest.raises(ConfigError, match=r"\.csv: was made without `trace`\. Delete it"):
        robustness.attack(control, BRIEF, trace=True)
    run = open_trained("A2B2E")
    interrupted(run, trace=True)
    attacked_rows = robustness.attack(run, BRIEF, batch_size=1, trace=True)
    assert left(run).pop(f"{NAME}.trace.csv.gz")
    assert {name: content for name, content in left(run).items() if "trace" not in name} == left(control)
    traces = read_traces(run.files.trace(BRIEF))
    assert traces["clip"].unique().tolist() == rows["clip"].tolist()
    assert set(traces["settings"]) == set(rows["settings"])
    last = traces.groupby("clip", sort=False).last()
    assert last["step"].tolist() == (rows["iterations"] - 1).tolist()
    emotion = run.recogniser.emotions[0]
    assert np.allclose(last[f"prediction_{emotion}"], rows[f"adversarial_{emotion}"], atol=1e-6)
    assert robustness.attack(run, BRIEF, trace=True).equals(attacked_rows)
    run.files.rows(BRIEF).unlink()
    robustness.attack(run, BRIEF)
    assert not run.files.trace(BRIEF).is_file()


def test_one_process_at_a_time_runs_a_protocol_on_a_run(open_trained, monkeypatch):
    run = open_trained("A2E")
    monkeypatch.setattr(locking, "PROTOCOL_PATIENCE", 0.1)
    run.files.attacks.mkdir()
    with (
        FileLock(run.files.lock(BRIEF)),
        pytest.raises(TenutoError, match=f"another process is running {re.escape(NAME)} on its test clips"),
    ):
        robustness.attack(run, BRIEF)
    assert len(robustness.attack(run, BRIEF)) == 3
    assert not run.files.lock(BRIEF).exists()


def test_who_waited_for_the_lock_takes_the_finished_rows(open_trained, rows, monkeypatch):
    run = open_trained("A2B2E")
    robustness.attack(run, BRIEF, batch_size=1)
    answers = iter((False, True))
    monkeypatch.setattr(type(run.files), "is_attacked", lambda *arguments: next(answers))
    monkeypatch.setattr(ReleasedAttack, "__call__", lambda *arguments: pytest.fail("attacked again"))
    assert robustness.attack(run, BRIEF)["clip"].equals(rows["clip"])


def test_finished_rows_are_returned_without_an_attack(control, rows, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("attacked again")

    monkeypatch.setattr(ReleasedAttack, "__call__", refuse)
    before = left(control)
    attacked_rows = robustness.attack(control, BRIEF)
    assert attacked_rows.equals(rows)
    assert left(control) == before


def test_rows_of_a_protocol_that_has_changed_are_refused(open_trained):
    run = open_trained("A2E")
    budget = SNR(40)
    own = Protocol(
        name="own", version=1, description="", attacks=(Noise(budget, draws=1),), domain="waveform"
    )
    changed = dataclasses.replace(own, attacks=(Noise(budget, draws=2),))
    for one, is_same in ((own, True), (changed, False)):
        description = json.loads(json.dumps(own.at_sample_rate(16000).to_dict()))
        assert one.matches(description) == is_same
    assert changed.matches({"attacks": [{"type": "of a package that is gone"}]})
    robustness.attack(run, BRIEF)
    edited = dataclasses.replace(BRIEF, attacks=protocol("paper-2025-released", iterations=3).attacks)
    assert str(edited) == str(BRIEF)
    with pytest.raises(ConfigError, match=r"had other attacks or budgets .*\. Give the changed"):
        robustness.attack(run, edited)


# The released format


def test_released_settings_are_the_keys_of_the_released_file(control):
    changed = protocol("paper-2025-released", iterations=100, measure="mse", alpha=5.0)
    assert robustness.released_settings(control, changed) == {
        "alpha": 5.0,
        "architecture": "a2m2e",
        "clip_eps": None,
        "conv_method": "mse",
        "lr": 0.002,
        "max_iters": 100,
        "mode": "untargeted",
        "model": control.name,
        "optimiser": "Adam",
        "sign": True,
        "target": None,
    }


def test_tags_are_evaluated_by_areas(tmp_path):
    prepared = prepare(corpora.jamendo(tmp_path / "tags", 24), tmp_path / "cache", workers=1)
    folder = train(settings(epochs=1, select="loss"), prepared, tmp_path / "runs")
    report = robustness.evaluate(open_run(folder, prepared))
    assert set(report["test"]["roc_auc"]) == {"overall", "film", "happy", "sad"}
    assert report["mean_predictor"]["roc_auc"]["overall"] == pytest.approx(0.5)


def test_errors_are_given_in_units_of_the_raters_disagreement_where_it_is_known(prepared, tmp_path):
    index = prepared.index
    deviations = np.full(index.labels.shape, 0.2)
    rated = dataclasses.replace(prepared, index=dataclasses.replace(index, deviations=deviations))
    run = open_run(train(settings("A2E", epochs=1), rated, tmp_path), rated)
    report = robustness.evaluate(run)
    for part in ("train", "validation", "test", "mean_predictor"):
        in_units = {name: value / 0.2 for name, value in report[part]["rmse"].items()}
        assert report[part]["rmse_in_rater_sd"] == pytest.approx(in_units)
    assert read_json(run.files.metrics)["test"]["rmse_in_rater_sd"] == report["test"]["rmse_in_rater_sd"]
    (sentence,) = [remark for remark in remarks_on_runs([run.files]) if "raters'" in remark]
    assert (
        f"{report['test']['rmse_in_rater_sd']['overall']:.2f} times the raters' standard deviation"
        in sentence
    )
