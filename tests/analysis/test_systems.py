"""The one tie rule and the one constant baseline."""

import math

import numpy as np
import pandas as pd
import pytest

from tenuto.analysis.systems import (
    Ranking,
    constant_error,
    label_scale,
    reversals,
    selection,
    standard_error,
    worse_than_constant,
)
from tenuto.config import DataConfig
from tenuto.errors import DataError
from tests.reporting import made_up


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({1: 1.0, 2: 3.0}, {1: 0.0, 2: 0.0}, 1.0),  # differences 1 and 3
        ({1: 1.0, 2: 3.0}, {3: 0.0, 4: 4.0}, math.sqrt(1 + 4)),  # no shared seed
        ({1: 1.0, 2: 3.0}, {1: 9.0}, math.sqrt(2 * 1.5)),  # the second is taken to scatter as the first
        ({1: 1.0, 2: 3.0, 3: 1000.0}, {1: 1.0, 2: 3.0}, math.sqrt((664004 + 2 / 3 + 2) / 3 * 5 / 6)),
        ({1: 1.0}, {1: 3.0}, 0.0),
    ],
    ids=["paired", "unpaired", "one seed on one side", "an outlier in a seed of one", "one seed"],
)
def test_the_standard_error_of_a_difference(first, second, expected):
    assert standard_error(first, second) == pytest.approx(expected)
    assert standard_error(second, first) == pytest.approx(expected)


def ranking(**values):
    return Ranking({name: dict(enumerate(seeds)) for name, seeds in values.items()})


def test_systems_are_ranked_and_ties_are_marked():
    result = ranking(a=[3.0, 3.1], b=[1.0, 2.0], c=[1.3, 1.8], d=[math.nan, 1.0])
    assert result.systems == ["b", "c", "a"]
    assert str(result) == "b = c, a"
    assert [result.compare(*pair) for pair in (("b", "a"), ("a", "b"), ("b", "c"))] == [-1, 1, 0]


def test_a_difference_below_the_resolution_is_a_tie_with_any_number_of_seeds():
    assert ranking(a=[0.5], b=[0.5009]).is_tie("a", "b")
    assert not ranking(a=[0.5], b=[0.502]).is_tie("a", "b")
    assert ranking(a=[0.5, 0.6], b=[0.5009, 0.6009]).is_tie("a", "b")


def test_reversals_count_ties_only_on_request():
    first, second = ranking(a=[1.0, 1.0], b=[2.0, 2.0]), ranking(a=[2.0, 0.0], b=[1.0, 0.5])
    assert reversals(first, ranking(a=[3.0, 3.0], b=[2.0, 2.0])) == [("a", "b")]
    assert reversals(first, second) == []
    assert reversals(first, second, ties=True) == [("a", "b")]


def test_the_constant_baseline():
    assert constant_error([[0.0, 1.0], [0.5, 0.5]], [0.5, 0.5]) == pytest.approx(0.25)


def test_the_label_scale_comes_from_the_data_set():
    table = {"ratings": "r.csv", "id_column": "clip", "emotions": ["a"], "scale": [1, 5]}
    assert label_scale(DataConfig()) == (0.0, 1.0)
    assert label_scale(DataConfig(dataset="folder", folder=table)) == (0.2, 1.0)
    assert label_scale(DataConfig(dataset="deam")) == (0.0, 1.0)
    assert label_scale(None) is None


def test_many_attacks_are_refused_in_one_short_sentence():
    budgets = pd.concat([made_up.run(norm="linf", epsilon=epsilon) for epsilon in (0.1, 0.2)])
    with pytest.raises(DataError, match=r"several budgets \(0.1, 0.2\). Choose one with `epsilon`"):
        selection(budgets)
    many = pd.concat([made_up.run(objective=str(place)) for place in range(99)])
    with pytest.raises(DataError, match=r"hold 99 attacks .* and 96 more") as refused:
        selection(many)
    assert len(str(refused.value)) < 300


def test_rows_of_one_attack_are_selected():
    rows = pd.concat([made_up.run(), made_up.run(split="train")])
    assert len(selection(rows)) == made_up.CLIPS
    assert np.isfinite(selection(rows)["label_sad"]).all()


def metrics_report(model, constant, r2=0.1):
    return {
        "run": "A2E-0-x",
        "test": {"rmse": model, "r2": {"overall": r2}},
        "mean_predictor": {"rmse": constant},
    }


CONSTANT = {"overall": 0.2, "valence": 0.2, "arousal": 0.2}


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"overall": 0.1, "valence": 0.1, "arousal": 0.1}, None),
        (
            {"overall": 0.5, "valence": 0.5, "arousal": 0.4},
            "A2E-0-x: worse on test clips than always predicting the mean training label: RMSE 0.5000, the constant "
            "0.2000; R2 -2.30.",
        ),
        (
            {"overall": 0.19, "valence": 0.25, "arousal": 0.1},
            "A2E-0-x: on 1 of 2 outputs worse on test clips than always predicting the mean training label (valence): "
            "RMSE 0.1900, the constant 0.2000; R2 -2.30.",
        ),
    ],
)
def test_a_model_that_is_worse_than_a_constant_gets_a_sentence(model, sentence):
    assert worse_than_constant(metrics_report(model, CONSTANT, -2.3)) == sentence


def test_an_early_or_damaged_file_of_metrics_gets_none():
    assert worse_than_constant({"test": {}}) is None


@pytest.mark.parametrize("r2", [None, {}, {"overall": "abc"}])
def test_a_file_of_metrics_with_a_damaged_r2_gets_no_sentence(r2):
    report = metrics_report([0.3, 0.3], CONSTANT, -2.3)
    report["test"]["r2"] = r2
    assert worse_than_constant(report) is None
