"""Leakage: known answers on planted units, and what a trained run reports."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import tenuto
from tenuto.errors import ConfigError, DataError
from tenuto.evaluation.leakage import (
    concept_leakage,
    left_out_errors,
    measure,
    participation_ratio,
    resamples,
    ridge,
    task_leakage,
)
from tenuto.evaluation.runs import open_run
from tenuto.training.loop import train
from tests import corpora, small_runs
from tests.small_runs import settings

CLIPS, NAMES = 60, ("a", "b", "c")


@pytest.fixture(scope="module")
def world():
    """Independent concepts, an emotion that follows one of them, and one about which concepts say nothing."""
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(CLIPS, 3))
    unexplained = generator.normal(size=CLIPS)
    labels = np.stack([truth[:, 0] + 0.3 * generator.normal(size=CLIPS), unexplained], axis=1)
    return truth, labels


def leaks(units, world):
    truth, labels = world
    counts = resamples(CLIPS, 0)
    tasks, mean = task_leakage(units, truth, labels, ("joy", "awe"), counts)
    pairs, pair_mean = concept_leakage(units, truth, NAMES, counts)
    assert mean[0] == pytest.approx(tasks["leakage"].mean())
    assert pair_mean[0] == pytest.approx(pairs["leakage"].mean())
    return tasks.set_index("emotion"), pairs.set_index(["unit", "concept"])


@pytest.mark.parametrize("scale", [1.0, -3.0])
def test_exact_concepts_leak_nothing(world, scale):
    tasks, pairs = leaks(scale * world[0] + 2.0, world)  # on any scale
    for table in (tasks, pairs):
        np.testing.assert_allclose(table[["leakage", "low", "high"]], 0, atol=1e-9)


def test_units_that_encode_an_emotion_leak_it_and_no_other(world):
    truth, labels = world
    units = truth.copy()
    units[:, 2] += 0.5 * labels[:, 1]
    tasks, _ = leaks(units, world)
    assert tasks["units_r2"]["awe"] > 0.1
    assert tasks["leakage"]["awe"] == pytest.approx(tasks["units_r2"]["awe"] - tasks["concepts_r2"]["awe"])
    assert tasks["low"]["awe"] > 0.05
    assert tasks["leakage"]["joy"] < 0.01


def test_concepts_that_mislead_a_fit_are_not_leakage(world):
    truth, labels = world
    counts, noise = resamples(CLIPS, 0), np.random.default_rng(5).normal(size=(CLIPS, 3))
    tasks, _ = task_leakage(truth, noise, labels[:, :1], ("joy",), counts)
    assert tasks["concepts_r2"][0] < 0  # no information, not less than none
    assert tasks["leakage"][0] == pytest.approx(tasks["units_r2"][0])


def test_rotated_units_leak_from_concept_to_concept_and_not_to_the_task(world):
    angle = np.pi / 4
    units = world[0].copy()
    units[:, 0] = np.cos(angle) * world[0][:, 0] + np.sin(angle) * world[0][:, 1]
    units[:, 1] = np.cos(angle) * world[0][:, 1] - np.sin(angle) * world[0][:, 0]
    tasks, pairs = leaks(units, world)
    np.testing.assert_allclose(tasks["leakage"], 0, atol=1e-9)  # the same information in other axes
    assert pairs["leakage"]["a", "b"] > 0.3
    assert pairs["leakage"]["b", "a"] > 0.3
    assert pairs["low"]["a", "b"] > 0.1
    assert pairs["leakage"]["c", "a"] == pytest.approx(0, abs=1e-9)


def test_left_out_errors_are_those_of_repeated_fits(world):
    truth, labels = world
    errors, place = left_out_errors(truth, labels), 7
    others = np.arange(CLIPS) != place
    design = np.column_stack([truth, np.ones(CLIPS)])
    weights = np.linalg.lstsq(design[others], labels[others], rcond=None)[0]
    np.testing.assert_allclose(errors.fitted[place], (labels[place] - design[place] @ weights) ** 2)
    np.testing.assert_allclose(errors.mean[place], (labels[place] - labels[others].mean(axis=0)) ** 2)


def test_constant_units_and_emotions_stay_defined_or_missing(world):
    truth, labels = world
    constant = left_out_errors(np.full_like(truth, 0.3), labels)
    np.testing.assert_allclose(constant.fitted, constant.mean)
    labels = labels * [1, 0] + 0.3
    tasks, _ = task_leakage(truth, truth, labels, ("joy", "awe"), resamples(CLIPS, 0))
    assert tasks["leakage"].isna().tolist() == [False, True]


@pytest.mark.parametrize(("mixed", "expected"), [(np.eye(3), 3.0), (np.ones((3, 3)), 1.0)])
def test_participation_ratio_counts_what_varies_independently(mixed, expected):
    rows = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])  # uncorrelated columns
    scales = [1.0, 50.0, 0.1]
    assert participation_ratio(rows @ mixed * scales) == pytest.approx(expected)
    assert participation_ratio(np.column_stack([rows, np.zeros(4)])) == pytest.approx(3)
    assert participation_ratio(np.zeros((4, 2))) == 0


def test_a_ridge_fit_with_more_features_than_clips_follows_a_signal_and_no_noise():
    generator = np.random.default_rng(1)
    features = generator.normal(size=(80, 60))
    labels = features[:, :1] + 0.1 * generator.normal(size=(80, 1))
    predicted = ridge(features[:40], labels[:40])(features[40:])
    assert np.corrcoef(predicted[:, 0], labels[40:, 0])[0, 1] > 0.6
    noise = generator.normal(size=(40, 1))
    assert np.abs(ridge(features[:40], noise)(features[40:]) - noise.mean()).std() < 0.3


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return small_runs.rated(tmp_path_factory.mktemp("rated"))


@pytest.fixture(scope="module")
def opened(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {
        system: open_run(train(settings(system, epochs=1), prepared, folder), prepared)
        for system in ("A2E", "A2B2E", "A2M2E")
    }


def test_a_run_reports_every_measure(opened, prepared):
    result = measure(opened["A2M2E"], "train")
    assert list(result.summary["measure"]) == [
        *("concept_task_leakage", "inter_concept_leakage", "bottleneck_r2", "black_box_r2", "completeness"),
        *("effective_units", "effective_concepts"),
    ]
    assert (result.clips, len(result.tasks), len(result.pairs)) == (24, 8, 42)
    assert (result.summary["low"] <= result.summary["high"]).all()
    explained = max(0, result["bottleneck_r2"])  # negative after one epoch
    assert result["completeness"] == pytest.approx(explained / result["black_box_r2"])
    assert result.summary.equals(measure(opened["A2M2E"], "train").summary)


def test_a_seed_is_no_negative_number(opened):
    with pytest.raises(ConfigError, match="seed must be a whole number of at least 0, got -1"):
        measure(opened["A2M2E"], "train", seed=-1)


def test_against_itself_a_bottleneck_is_complete(opened):
    result = measure(opened["A2M2E"], "train", black_box=opened["A2M2E"])
    assert result.black_box == opened["A2M2E"].name
    complete = result["bottleneck_r2"] > 0
    assert result["completeness"] == pytest.approx(1) if complete else np.isnan(result["completeness"])
    assert complete == (not result.remarks)


def test_a_black_box_is_judged_on_the_other_data_of_a_run(opened, tmp_path):
    corpora.midlevel(tmp_path / "data", small_runs.CLIPS)
    corpora.write_audio(tmp_path / "data" / "Set1" / "001.mp3", 99)
    place: dict[str, Any] = {"root": tmp_path / "data", "data": "midlevel", "cache": tmp_path / "cache"}
    run, black_box = (tenuto.open_run(opened[system].folder, **place) for system in ("A2M2E", "A2E"))
    result = run.leakage("train", black_box=opened["A2E"].folder)
    assert result.black_box == black_box.name != opened["A2E"].name
    assert result.summary.equals(measure(run, "train", black_box).summary)


def test_free_units_have_task_leakage_alone_and_say_so(opened):
    result = measure(opened["A2B2E"], "train")
    assert result.pairs.empty
    assert np.isnan(result["inter_concept_leakage"])
    assert any("No unit stands for a concept of midlevel" in remark for remark in result.remarks)


def test_what_cannot_be_measured_is_refused(opened, tmp_path):
    with pytest.raises(ConfigError, match="has no bottleneck"):
        measure(opened["A2E"], "train")
    with pytest.raises(DataError, match="3 clips are too few for fits on 7 concepts: at least 10"):
        measure(opened["A2M2E"])
    run = opened["A2B2E"]
    index = dataclasses.replace(run.material.prepared.index, concepts=(), concept_labels=None)
    run.material.prepared = dataclasses.replace(run.material.prepared, index=index)
    with pytest.raises(ConfigError, match="no concept ratings to compare its units with"):
        measure(run, "train")
