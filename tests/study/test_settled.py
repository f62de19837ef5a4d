"""A study goes on with the threads and the precision it was begun with, on any machine."""

from __future__ import annotations

import pytest
import yaml

from tenuto.config import SYSTEMS, merge
from tenuto.files import write_text
from tenuto.study.plan import plan_study, settled
from tests.study import small


def test_a_study_goes_on_with_the_threads_it_was_begun_with(music, tmp_path, monkeypatch):
    study = small.changed(run={"train": {"threads": 0}})
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    begun = settled(study, tmp_path)
    assert begun.run.train.threads == 3
    names = [stage.run for stage in plan_study(study, tmp_path, music).stages]
    small.write_study(tmp_path / "study.yaml", begun)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert settled(study, tmp_path) == begun
    assert [stage.run for stage in plan_study(study, tmp_path, music).stages] == names


def test_a_study_goes_on_in_the_precision_it_was_begun_in(tmp_path, monkeypatch):
    study = small.changed(run={"train": {"precision": "auto"}})
    monkeypatch.setattr("tenuto.config.fast_bfloat16", lambda: True)
    begun = settled(study, tmp_path)
    assert begun.run.train.precision == "bfloat16"
    small.write_study(tmp_path / "study.yaml", begun)
    monkeypatch.setattr("tenuto.config.fast_bfloat16", lambda: False)
    assert settled(study, tmp_path) == begun


@pytest.mark.parametrize(
    "more",
    [
        {"seeds": [21, 42]},
        {"systems": ["A2E", "A2M2E", "aA2E"]},
        {"protocols": ["standard-1"]},
        {"run": {"train": {"adversarial": {"iterations": 3}}}},
    ],
    ids=["seeds", "systems", "protocols", "attacks in training"],
)
def test_a_study_that_has_grown_keeps_its_threads_and_precision(more, music, tmp_path, monkeypatch):
    left = {"run": {"train": {"threads": 0, "precision": "auto"}}}
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    monkeypatch.setattr("tenuto.config.fast_bfloat16", lambda: True)
    begun = small.changed(**left)
    named = {
        stage.run for stage in plan_study(begun, tmp_path, music).stages if stage.run.startswith("A2M2E-21")
    }
    small.write_study(tmp_path / "study.yaml", settled(begun, tmp_path))
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("tenuto.config.fast_bfloat16", lambda: False)
    grown = small.changed(**merge(left, more))
    train = settled(grown, tmp_path).run.train
    assert (train.threads, train.precision) == (3, "bfloat16")
    assert named <= {stage.run for stage in plan_study(grown, tmp_path, music).stages}


def test_what_a_grown_study_names_itself_is_not_taken_from_what_was_begun(tmp_path, monkeypatch):
    begun = small.changed(run={"train": {"threads": 3, "precision": "bfloat16"}})
    small.write_study(tmp_path / "study.yaml", begun)
    monkeypatch.setattr("tenuto.config.fast_bfloat16", lambda: False)
    train = settled(small.changed(run={"train": {"threads": 2, "precision": "auto"}}), tmp_path).run.train
    assert (train.threads, train.precision) == (2, "bfloat16")


def test_threads_of_another_study_in_the_folder_do_not_count(tmp_path, monkeypatch):
    other = small.changed(run={"train": {"threads": 3, "epochs": 3}})
    small.write_study(tmp_path / "study.yaml", other)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    study = small.changed(run={"train": {"threads": 0}})
    assert settled(study, tmp_path).run.train.threads == 8


def test_threads_are_settled_where_the_user_s_own_file_lies_in_the_folder(tmp_path, monkeypatch):
    study = small.changed(run={"train": {"threads": 0, "precision": "auto"}})
    small.write_study(tmp_path / "study.yaml", study)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("tenuto.config.fast_bfloat16", lambda: True)
    train = settled(study, tmp_path).run.train
    assert (train.threads, train.precision) == (8, "bfloat16")


@pytest.mark.parametrize("system", ["A2E", "A2M2E"])
def test_a_study_whose_file_has_a_system_among_its_settings_goes_on(system, music, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    study = small.changed(systems=list(SYSTEMS), run={"train": {"threads": 0}})
    names = [stage.run for stage in plan_study(study, tmp_path, music).stages]
    begun = settled(study, tmp_path).model_dump(mode="json", exclude_none=True)
    content = yaml.safe_dump(merge(begun, {"run": {"system": system}}))
    assert f"system: {system}" in content
    write_text(tmp_path / "study.yaml", content)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert settled(study, tmp_path).run.train.threads == 3
    assert [stage.run for stage in plan_study(study, tmp_path, music).stages] == names


def test_threads_the_study_names_are_kept(tmp_path):
    assert settled(small.TINY, tmp_path) == small.TINY
