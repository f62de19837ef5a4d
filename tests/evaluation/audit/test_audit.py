"""The audit as a whole: on the released logs, and on a tiny run with and without planted defects."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from tenuto.attacks import APGD, FGSM, PGD, AbsoluteError, Linf, Noise, Protocol
from tenuto.config import DataConfig
from tenuto.data import open_dataset
from tenuto.data.splits import read_split
from tenuto.errors import DataError
from tenuto.evaluation import robustness
from tenuto.evaluation.audit import (
    CHECKS,
    Data,
    Verdict,
    audit,
    examination,
    longer_search,
    open_sources,
    ordered_checks,
)
from tenuto.evaluation.audit.examination import STAND_IN
from tenuto.evaluation.audit.findings import not_recorded
from tenuto.evaluation.audit.model_checks import MODEL_CHECKS
from tenuto.evaluation.audit.subject import Subject
from tenuto.evaluation.runs import open_run
from tenuto.files import read_safetensors, write_safetensors
from tenuto.models.checkpoint import load
from tenuto.store.rows import read_rows, write_rows
from tenuto.training.loop import train
from tests import small_runs
from tests.conftest import GOLDEN
from tests.evaluation.audit.planted import finding

PASS, WARN, FAIL, NOT_RECORDED = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.NOT_RECORDED
BUDGET = Linf(0.1)
PLANNED = Protocol(
    name="planned-1",
    version=1,
    description="Small enough for a test.",
    attacks=(
        APGD(budget=BUDGET, objective=AbsoluteError(), steps=6),
        FGSM(budget=BUDGET, objective=AbsoluteError()),
        Noise(budget=BUDGET, objective=AbsoluteError(), draws=2),
    ),
    budgets=(Linf(0.05), BUDGET),
    silence=True,
)


NOTHING = [not_recorded(check, "in this test.") for check in MODEL_CHECKS if check != "longer-search"]


def by_check(findings):
    return {finding.check: finding for finding in findings}


# The released logs


@pytest.fixture(scope="module")
def logs(released):
    return open_sources([released])


@pytest.fixture(scope="module")
def of_logs(logs):
    return by_check(audit(*logs))


def test_logs_get_every_check_in_order(of_logs):
    assert list(of_logs) == ordered_checks()
    assert all(finding.source == "paper-2025-released (released logs)" for finding in of_logs.values())


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        ("budget", 1790 / 1800, "1790 of 1800 stored perturbations have an L2 norm above 0.216"),
        ("same-iterate", 3.534, "10 of 10 rows with norm 0 have a moved prediction"),
        ("convergence", 0.0, "0 of 1800 attacks reached their goal"),
        ("rating-scale", 0.826, "83% of attacked predictions lie outside 0-1, 87% outside the rating scale"),
        ("ranking", -0.2, "A2M2E is number 1 by MAE, RMSE, R2 and number 3 by CCC, Pearson, Spearman"),
        ("pooled-test", 4.635, "pooled p = 4.567e-32, over seeds p = 0.0026"),
    ],
)
def test_what_the_released_logs_alone_show(of_logs, check, value, message):
    result = of_logs[check]
    assert result.verdict is FAIL
    assert result.value == pytest.approx(value, abs=5e-4)
    assert message in result.sentence


def test_raw_and_clipped_errors_stand_side_by_side(of_logs):
    message = of_logs["rating-scale"].sentence
    assert "A2E 1.786 and 0.502, A2B2E 2.029 and 0.504" in message
    assert "Clipping reverses: A2M2E/A2B2E, aA2B2E/A2B2E, A2M2E/A2E, aA2B2E/A2E" in message


def test_what_logs_cannot_show_is_not_recorded(of_logs):
    for check in (
        "normalisation",
        "constant-predictor",
        "iterative",
        "saved-budget",
        "gradients",
        "unbounded",
    ):
        assert of_logs[check].verdict is NOT_RECORDED


def test_with_data_and_split_the_logs_show_the_albums(logs, shared):
    index = open_dataset(DataConfig(dataset="soundtracks"), shared / "soundtracks").index
    data = Data(index=index, split=read_split(GOLDEN / "paper" / "split.csv"))
    findings = by_check(audit(*logs, data=data))
    assert (findings["albums"].verdict, findings["albums"].value) == (FAIL, 1.0)
    assert "36 of 36 attacked clips" in findings["albums"].sentence
    assert "45 albums" in findings["albums"].sentence
    assert "mean training label has 0.1602" in findings["constant-predictor"].sentence


# A tiny run


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return small_runs.unrated(tmp_path_factory.mktemp("unrated"))


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    """A tiny A2E, attacked."""
    folder = train(small_runs.settings(epochs=1), prepared, tmp_path_factory.mktemp("runs"))
    robustness.attack(open_run(folder, prepared), PLANNED)
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / trained.name)


def test_a_sound_run_passes_what_is_measured_anew(trained, prepared):
    spent: list[tuple[str, int, int]] = []
    findings = by_check(
        audit(
            *open_sources([trained]),
            data=Data(prepared=prepared, clips=2),
            progress=lambda *step: spent.append(step),
        )
    )
    passed = (
        *("budget", "same-iterate", "monotone", "iterative", "black-box", "provenance"),
        *("saved-budget", "saved-norm", "saved-prediction", "gradients", "finite-differences", "repeatable"),
        "normalisation",
    )
    assert {check: findings[check].verdict for check in passed} == dict.fromkeys(passed, PASS)
    assert findings["transfer"].verdict is NOT_RECORDED
    assert "`siblings`" in findings["transfer"].sentence
    assert repr(PLANNED.members(8)[0][1]) in findings["longer-search"].sentence
    assert "started from the result of epsilon 0.05" in findings["longer-search"].sentence
    assert findings["labels"].verdict is WARN
    assert findings["albums"].verdict is FAIL  # four albums, thirty clips
    assert {run for run, _, _ in spent} == {trained.name}
    assert sum(done for _, done, _ in spent) == spent[0][2]


def test_without_the_data_the_files_are_still_measured(trained):
    findings = by_check(audit(*open_sources([trained])))
    assert (findings["saved-budget"].verdict, findings["saved-norm"].verdict) == (PASS, PASS)
    assert findings["saved-prediction"].verdict is NOT_RECORDED
    assert findings["normalisation"].verdict is PASS
    assert "`root`" in findings["gradients"].sentence


def test_a_sibling_makes_the_transfer_attack(copied, prepared):
    sibling = train(small_runs.settings(epochs=1, seed=7), prepared, copied.parent)
    data = Data(prepared=prepared, siblings=(sibling,), clips=1)
    findings = by_check(audit(*open_sources([copied]), data=data))["transfer"]
    assert findings.verdict is PASS
    assert "by transfer from a sibling" in findings.sentence


def test_a_sibling_hears_the_inputs_in_its_own_units(copied, prepared, monkeypatch):
    other = train(small_runs.settings(epochs=1, data={"normalisation": "all"}), prepared, copied.parent)
    given: list[Subject] = []

    def examine(subject, report):
        given.append(subject)
        return NOTHING

    monkeypatch.setattr(examination, "examine", examine)
    audit(*open_sources([copied]), data=Data(prepared=prepared, siblings=(other,), clips=2))
    run, recogniser = open_run(copied, prepared), load(other)
    own, its = small_runs.normalisation(run.recogniser.inputs), small_runs.normalisation(recogniser.inputs)
    assert own != its
    inputs = given[0].inputs
    in_its_units = (inputs * own.deviation + own.mean - its.mean) / its.deviation
    expected = recogniser(in_its_units).emotions.detach()
    assert given[0].sibling(inputs).emotions.detach().numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def rows_file(folder):
    return folder / "attacks" / "planned-1.csv"


def change_rows(folder, change):
    rows = read_rows(rows_file(folder))
    write_rows(rows_file(folder), change(rows))


def change_arrays(folder, change):
    path = rows_file(folder).with_suffix(".safetensors")
    arrays, about = read_safetensors(path)
    write_safetensors(path, change({name: array.copy() for name, array in arrays.items()}), about)


def test_a_perturbation_outside_its_budget_is_found_in_the_file(copied):
    def enlarge(arrays):
        first = sorted(arrays)[0]
        arrays[first].flat[0] = 0.5
        return arrays

    change_arrays(copied, enlarge)
    findings = by_check(audit(*open_sources([copied])))
    assert findings["saved-budget"].verdict is FAIL
    assert findings["saved-budget"].sentence.startswith(f"{copied.name}: 1 of 6 perturbations")
    assert findings["saved-norm"].verdict is FAIL
    assert findings["budget"].verdict is PASS  # the rows alone do not show it


def test_a_perturbation_that_is_not_a_number_is_found_in_the_file(copied):
    change_arrays(
        copied, lambda arrays: arrays | {sorted(arrays)[0]: np.full((313, 149), np.nan, np.float32)}
    )
    assert by_check(audit(*open_sources([copied])))["saved-budget"].verdict is FAIL


def test_an_edited_norm_is_found(copied):
    change_rows(copied, lambda rows: rows.assign(l2=rows["l2"] * 0.9))
    assert by_check(audit(*open_sources([copied])))["saved-norm"].verdict is FAIL


@pytest.mark.parametrize("kind", ["adversarial", "clean"])
def test_an_edited_prediction_is_found(copied, prepared, kind):
    def edit(rows):
        place = rows.index[rows["worst"]][0]
        rows.loc[place, f"{kind}_sad"] += 0.01
        return rows

    change_rows(copied, edit)
    result = finding("saved-prediction", open_sources([copied])[0], Data(prepared=prepared))
    assert result.verdict is FAIL
    assert result.value == pytest.approx(0.01, abs=1e-4)
    assert "1 of 6 rows" in result.sentence


@pytest.mark.parametrize("check", ["saved-budget", "saved-norm", "saved-prediction"])
def test_perturbations_that_are_missing_are_a_warning(copied, prepared, check):
    change_arrays(copied, lambda arrays: {name: arrays[name] for name in sorted(arrays)[1:]})
    result = finding(check, open_sources([copied])[0], Data(prepared=prepared))
    assert result.verdict is WARN
    assert "1 perturbation is missing" in result.sentence


def test_a_run_without_its_file_of_perturbations_is_a_warning(copied, tmp_path):
    other = shutil.copytree(copied, tmp_path / "other")
    change_rows(other, lambda rows: rows.assign(run="other", seed=7))
    rows_file(other).with_suffix(".safetensors").unlink()
    result = finding("saved-budget", open_sources([tmp_path])[0])
    assert result.verdict is WARN
    assert result.sentence.startswith("other (the most severe of 2): 1 of 2 runs have no file")


def test_labels_that_are_not_those_of_the_data_are_found(copied, prepared):
    def edit(rows):
        place = rows.index[~rows["worst"]][0]
        rows.loc[place, "label_sad"] += 0.1
        return rows

    change_rows(copied, edit)
    result = finding("saved-prediction", open_sources([copied])[0], Data(index=prepared.index))
    assert result.verdict is FAIL
    assert result.value == pytest.approx(0.1)
    assert "1 of " in result.sentence
    assert "rows have other labels than the data" in result.sentence


def test_a_file_without_any_of_the_perturbations_fails(copied):
    change_arrays(copied, lambda arrays: {"other": np.zeros(1)})
    assert by_check(audit(*open_sources([copied])))["saved-budget"].verdict is FAIL


def test_a_perturbation_of_another_shape_is_refused(copied):
    change_arrays(copied, lambda arrays: arrays | {sorted(arrays)[0]: np.zeros((3, 149), np.float32)})
    with pytest.raises(DataError, match=r"has shape \(3, 149\), expected \(313, 149\)"):
        audit(*open_sources([copied]))


def test_protocols_of_one_run_ask_its_model_once(copied, prepared, monkeypatch):
    examined, longer = [], []

    def examine(subject, report):
        examined.append(subject)
        return NOTHING

    def search_longer(subject, search, report):
        longer.append(search.attack)
        return [not_recorded("longer-search", "in this test.")]

    monkeypatch.setattr(examination, "examine", examine)
    monkeypatch.setattr(longer_search, "longer_search", search_longer)
    rows = read_rows(rows_file(copied))
    without_gradients = rows[rows["attack"] == "Noise uniform"]
    for name, attacks in (("planned-2", rows), ("planned-3", without_gradients)):
        write_rows(rows_file(copied).with_name(f"{name}.csv"), attacks.assign(protocol=name))
    findings = audit(*open_sources([copied]), data=Data(prepared=prepared, clips=1))
    names = ("planned-1", "planned-2", "planned-3")
    assert [finding.source for finding in findings] == [name for name in names for _ in CHECKS]
    assert len(examined) == 1
    assert longer == [PLANNED.members(8)[0][1], STAND_IN]


def test_a_search_that_was_too_short_is_found_through_its_rows(copied, prepared):
    short = PGD(budget=Linf(1.0), objective=AbsoluteError(), steps=1, step_size=0.3)
    protocol = Protocol(
        name="short-1", version=1, description="One small step.", attacks=(short,), silence=True
    )
    robustness.attack(open_run(copied, prepared), protocol)
    sources = open_sources([copied / "attacks" / "short-1.csv"])
    findings = by_check(audit(*sources, data=Data(prepared=prepared, clips=2)))["longer-search"]
    assert findings.verdict is FAIL
    assert repr(short) in findings.sentence


def test_rows_of_other_weights_than_the_run_s_fail(copied):
    change_rows(copied, lambda rows: rows.assign(checkpoint="ab" * 32))
    findings = by_check(audit(*open_sources([copied])))
    assert findings["saved-prediction"].verdict is FAIL
    assert "were made with weights abababab" in findings["saved-prediction"].sentence
    assert findings["saved-norm"].verdict is PASS  # the file is still that of the rows
    rows_file(copied).with_suffix(".safetensors").unlink()
    assert by_check(audit(*open_sources([copied])))["saved-prediction"].verdict is FAIL


def test_rows_that_do_not_name_their_weights_are_judged_by_their_predictions(copied, prepared):
    change_rows(copied, lambda rows: rows.drop(columns="checkpoint"))
    assert finding("saved-prediction", open_sources([copied])[0], Data(prepared=prepared)).verdict is PASS


def test_a_file_that_was_deleted_is_not_recorded(copied):
    rows_file(copied).with_suffix(".safetensors").unlink()
    findings = by_check(audit(*open_sources([copied])))
    assert findings["saved-budget"].verdict is NOT_RECORDED
    assert findings["provenance"].verdict is WARN


def test_normalisation_over_all_clips_is_a_warning(prepared, tmp_path):
    folder = train(small_runs.settings(epochs=1, data={"normalisation": "all"}), prepared, tmp_path)
    robustness.attack(open_run(folder, prepared), dataclasses.replace(PLANNED, budgets=(Linf(0.05),)))
    assert by_check(audit(*open_sources([folder])))["normalisation"].verdict is WARN


def test_normalisation_that_is_not_what_the_configuration_says_fails(copied, prepared):
    path = copied / "split.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows[12:]]))  # as if the first twelve clips had not been trained on
    assert finding("normalisation", open_sources([copied])[0], Data(prepared=prepared)).verdict is FAIL


def test_a_run_without_its_checkpoint_is_judged_by_what_is_left(copied, prepared):
    (copied / "checkpoint.safetensors").unlink()
    findings = by_check(audit(*open_sources([copied]), data=Data(prepared=prepared)))
    assert findings["gradients"].sentence == "the run folder holds no checkpoint."
    assert findings["saved-prediction"].verdict is NOT_RECORDED
    assert findings["normalisation"].verdict is PASS


def test_nothing_to_audit_is_refused():
    with pytest.raises(DataError, match="nothing to audit"):
        audit()
