import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from tenuto import metrics
from tenuto.errors import DataError

LABEL = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]])


def test_pearson_agrees_with_numpy():
    label, prediction = np.random.default_rng(3).normal(size=(2, 20, 4))
    expected = [np.corrcoef(label[:, column], prediction[:, column])[0, 1] for column in range(4)]
    np.testing.assert_allclose(metrics.pearson(label, prediction), expected)


def test_spearman_agrees_with_scipy():
    label, prediction = np.random.default_rng(3).integers(0, 6, size=(2, 20, 4)).astype(float)
    expected = [stats.spearmanr(label[:, column], prediction[:, column]).statistic for column in range(4)]
    np.testing.assert_allclose(metrics.spearman(label, prediction), expected)


def test_ccc_of_known_numbers():
    # A shift by 1 of values with variance 2/3: 2 * 2/3 / (4/3 + 1).
    np.testing.assert_allclose(metrics.ccc(LABEL, LABEL + np.array([0, 1])), [1, 4 / 7])
    # Twice the spread around the same mean: 2 * 4/3 / (2/3 + 8/3).
    np.testing.assert_allclose(metrics.ccc(LABEL, 2 * LABEL - [1, 2]), [0.8, 0.8])
    np.testing.assert_allclose(metrics.ccc(LABEL, LABEL[::-1]), [-1, -1])


def test_ccc_of_a_constant_prediction_is_zero():
    assert metrics.ccc(LABEL, np.full((3, 2), 0.5)).tolist() == [0, 0]


def test_r2_is_one_for_the_label_and_zero_for_its_mean():
    np.testing.assert_allclose(metrics.r2(LABEL, LABEL), [1, 1])
    np.testing.assert_allclose(metrics.r2(LABEL, np.tile(LABEL.mean(axis=0), (3, 1))), [0, 0])


def test_r2_of_known_numbers_is_below_zero_for_a_poor_prediction():
    np.testing.assert_allclose(metrics.r2(LABEL, LABEL[::-1]), [-3, -3])


@given(st.floats(-1e3, 1e3), st.integers(2, 40))
def test_a_constant_column_is_undefined_whatever_its_value(value, clips):
    """0.1 is the known case: its mean is rounded, so deviations from it are not exactly 0."""
    constant, varying = np.full((clips, 1), value), np.arange(clips, dtype=float)[:, None]
    for metric in (metrics.pearson, metrics.spearman):
        assert np.isnan(metric(constant, varying)).all()
        assert np.isnan(metric(varying, constant)).all()
    assert np.isnan(metrics.r2(constant, varying)).all()
    assert np.isnan(metrics.ccc(constant, constant)).all()
    assert metrics.ccc(constant, varying) == 0
    assert metrics.distances(constant, constant)[1].tolist() == [0] * clips


def test_a_column_of_means_that_differ_by_rounding_is_constant():
    """Three raters may give 0.1, 0.1, 0.5 or 0.1, 0.2, 0.4: the mean is the same, its last digit is not."""
    constant = np.array([[np.mean([1, 1, 5]) / 10], [sum([0.1, 0.1, 0.5]) / 3], [sum([0.1, 0.2, 0.4]) / 3]])
    varying = np.arange(3, dtype=float)[:, None]
    assert np.ptp(constant) > 0
    assert metrics.is_constant(constant).all()
    for metric in (metrics.pearson, metrics.spearman, metrics.r2):
        assert np.isnan(metric(constant, varying)).all()
    single = np.add(constant, np.array([[0], [2e-8], [0]])).astype(np.float32)
    assert np.isnan(metrics.pearson(varying, single)).all()
    assert not metrics.is_constant([[0.7], [0.70001]])


def test_errors_of_known_numbers():
    prediction = LABEL + np.array([[1.0, 0.0], [-1.0, 0.0], [4.0, 0.0]])
    np.testing.assert_allclose(metrics.mae_each(LABEL, prediction), [2, 0])
    np.testing.assert_allclose(metrics.mse_each(LABEL, prediction), [6, 0])
    assert metrics.mae(LABEL, prediction) == pytest.approx(1)
    assert metrics.mse(LABEL, prediction) == pytest.approx(3)
    assert metrics.rmse(LABEL, prediction) == pytest.approx(np.sqrt(3))


def test_evaluate_names_every_metric_overall_first_and_per_output():
    report = metrics.evaluate(LABEL, LABEL + np.array([1.0, 0.0]), ("calm", "tense"))
    assert list(report) == ["r2", "correlation", "rmse", "mse", "mae"]
    assert report["mae"] == {"overall": 0.5, "calm": 1.0, "tense": 0.0}
    assert report["rmse"] == {"overall": pytest.approx(np.sqrt(0.5)), "calm": 1.0, "tense": 0.0}
    assert report["r2"] == pytest.approx({"overall": 0.25, "calm": -0.5, "tense": 1.0})
    assert report["correlation"]["overall"] == pytest.approx(1)


def test_evaluate_refuses_a_wrong_number_of_names():
    with pytest.raises(ValueError, match="zip"):
        metrics.evaluate(LABEL, LABEL, ("calm",))


@pytest.mark.parametrize(
    ("label", "prediction", "message"),
    [
        (LABEL, LABEL[:2], r"\(3, 2\) and predictions \(2, 2\)"),
        (LABEL[:, 0], LABEL[:, 0], r"same shape \(clips, outputs\)"),
        (LABEL[:0], LABEL[:0], "there are no clips"),
        (LABEL, LABEL * np.nan, "NaN or infinite"),
        (np.full((3, 2), np.inf), LABEL, "NaN or infinite"),
    ],
    ids=["other shape", "one axis", "no clip", "nan", "infinite"],
)
def test_bad_values_are_refused(label, prediction, message):
    with pytest.raises(DataError, match=message):
        metrics.validate(label, prediction)


def test_one_clip_has_errors_and_no_correlation():
    report = metrics.evaluate(LABEL[:1], LABEL[:1] + 0.5, ("calm", "tense"))
    assert [report[name]["overall"] for name in ("mae", "mse", "rmse")] == [0.5, 0.25, 0.5]
    assert np.isnan([report["r2"]["overall"], report["correlation"]["overall"]]).all()
    assert np.isnan(metrics.spearman(LABEL[:1], LABEL[:1])).all()


FRAME = pd.DataFrame(LABEL, index=["a", "b", "c"], columns=["calm", "tense"])


@pytest.mark.parametrize(
    ("other", "kind"),
    [(FRAME[["tense", "calm"]], "columns"), (FRAME[::-1], "rows"), (FRAME.reset_index(drop=True), "rows")],
)
def test_data_frames_are_not_matched_by_place(other, kind):
    assert metrics.mae(FRAME, FRAME + 1) == metrics.mae(FRAME, LABEL + 1) == 1
    for label, prediction in ((FRAME, other), (other, FRAME)):
        with pytest.raises(DataError, match=rf"a data frame has {kind} '\[.*reindex_like"):
            metrics.pearson(label, prediction)


@pytest.mark.parametrize("label", [FRAME, LABEL])
def test_columns_of_data_frames_are_those_that_are_named(label):
    assert metrics.evaluate(label, FRAME, ("calm", "tense"))["mae"]["tense"] == 0
    with pytest.raises(DataError, match="has columns"):
        metrics.evaluate(label, FRAME, ("tense", "calm"))
    with pytest.raises(DataError, match="has columns"):
        metrics.rmse_in_rater_sd(label, LABEL, FRAME, ("tense", "calm"))


def test_distances_are_euclidean_clip_by_clip():
    clean = np.array([[0.0, 0.0], [6.0, 8.0]])
    moved, spread = metrics.distances(clean, clean + np.array([[3.0, 4.0], [0.0, 1.0]]))
    assert moved.tolist() == [5.0, 1.0]
    assert spread.tolist() == [5.0, 5.0]


def test_a_metric_can_be_added(monkeypatch):
    monkeypatch.setattr(metrics.METRICS, "_parts", dict(metrics.METRICS._parts))
    largest = metrics.Metric(
        lambda a, b: np.abs(a - b).max(axis=0), lambda a, b: float(np.abs(a - b).max()), False
    )
    metrics.METRICS.register("largest")(largest)
    report = metrics.evaluate(LABEL, LABEL + np.array([1.0, 0.0]), ("calm", "tense"))
    assert report["largest"] == {"overall": 1.0, "calm": 1.0, "tense": 0.0}
    assert [name for name, metric in metrics.METRICS.items() if metric.higher_is_better] == [
        "r2",
        "correlation",
        "pr_auc",
        "roc_auc",
    ]


TAGS = np.array([[1.0, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 1]])
SCORES = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.4], [0.7, 0.5, 0.6], [0.1, 0.2, 0.8]])


def test_roc_auc_of_known_numbers():
    # First tag: of the pairs (with, without) three of four are in order. Second: one tie of three, which counts half.
    np.testing.assert_allclose(metrics.roc_auc(TAGS, SCORES), [3 / 4, 2.5 / 3, np.nan])


def test_pr_auc_of_known_numbers():
    # First tag: precision 1 at recall 1/2, 2/3 at recall 1. Second: the tie makes one threshold of precision 1/2.
    np.testing.assert_allclose(metrics.pr_auc(TAGS, SCORES), [(1 + 2 / 3) / 2, 1 / 2, 1])
    np.testing.assert_allclose(metrics.pr_auc(1 - TAGS, SCORES)[2], np.nan)


def test_a_constant_prediction_has_the_areas_of_chance():
    constant = np.full(TAGS.shape, 0.3)
    np.testing.assert_allclose(metrics.roc_auc(TAGS, constant)[:2], 0.5)
    np.testing.assert_allclose(metrics.pr_auc(TAGS, constant), TAGS.mean(axis=0))


@given(arrays(np.bool_, (8, 1)), arrays(np.float64, (8, 1), elements=st.integers(0, 4)))
def test_roc_auc_counts_pairs(label, prediction):
    pairs = [
        float(high > low) + float(high == low) / 2 for high in prediction[label] for low in prediction[~label]
    ]
    expected = np.mean(pairs) if pairs else np.nan
    np.testing.assert_allclose(metrics.roc_auc(label, prediction)[0], expected)


def test_tags_get_areas_averaged_over_the_tags_that_have_one():
    report = metrics.evaluate(TAGS, SCORES, ("happy", "sad", "film"), "tags")
    assert report["roc_auc"]["overall"] == pytest.approx((3 / 4 + 2.5 / 3) / 2)
    assert report["pr_auc"]["sad"] == pytest.approx(0.5)
    assert "roc_auc" not in metrics.evaluate(TAGS, SCORES, ("happy", "sad", "film"))
    assert np.isnan(metrics.evaluate(TAGS[:, 2:], SCORES[:, 2:], ("film",), "tags")["roc_auc"]["overall"])


def test_rmse_in_units_of_the_raters_disagreement():
    label = np.array([[0.2, 0.5], [0.4, 0.5], [0.9, 0.1]])
    prediction = label + np.array([[0.1, 0.3], [0.1, 0.0], [0.1, 0.9]])
    deviations = np.array([[0.2, 0.1], [0.2, 0.1], [0.2, np.nan]])
    ratios = metrics.rmse_in_rater_sd(label, prediction, deviations, ("a", "b"))
    assert ratios == pytest.approx({"overall": np.sqrt(0.12 / 0.14), "a": 0.5, "b": np.sqrt(0.09 / 0.02)})


def test_without_disagreement_there_is_no_unit():
    label = np.array([[0.2, 0.5], [0.4, 0.5]])
    ratios = metrics.rmse_in_rater_sd(label, label + 0.1, [[0.0, np.nan], [0.0, np.nan]], ("a", "b"))
    assert all(np.isnan(value) for value in ratios.values())


def test_deviations_need_the_shape_of_the_labels():
    label = np.array([[0.2, 0.5], [0.4, 0.5]])
    with pytest.raises(DataError, match=r"deviations \(2, 1\): must have the shape of the labels, \(2, 2\)"):
        metrics.rmse_in_rater_sd(label, label + 0.1, [[0.1], [0.2]], ("a", "b"))
