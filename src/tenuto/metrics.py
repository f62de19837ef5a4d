"""Metrics of a regressor with several outputs.

Conventions: labels and predictions are arrays of shape (clips, outputs) with one column per emotion (or concept).
A function ending in ``_each`` gives one value per column, shape (outputs,); its overall twin one number.
How the overall values are formed follows the SMC 2025 study (section on analysis): Pearson's r and R2 per column
across clips, then averaged over columns; MAE and MSE over all clips and columns; RMSE the root of that MSE.
A column is constant if its values differ by rounding alone (`is_constant`); deviations from the rounded mean are not
exactly 0. What is undefined for a constant column is NaN, and so are the correlations and R2 of one clip.
Arrays are matched by place; data frames must have the same rows and columns, named and ordered alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenuto.errors import DataError, quote
from tenuto.registry import Registry

Values = NDArray[np.float64]
Labelled = Callable[[ArrayLike, ArrayLike], Values]

ROUNDING = 1e-6
"""Values that differ by less than this share of them are equal: predictions are float32 (7 digits), and means of
different raters' ratings that are equal on paper differ in the last digit."""

RELEASED_OBJECTIVES = {"corr": "correlation", "mse": "error"}
"""Measure of the study's released attack -> its name in the column ``objective`` of rows."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """A measure of agreement between labels and predictions, both (clips, outputs).

    Attributes:
        each: One value per column, (outputs,).
        overall: One number over columns.
        higher_is_better: Whether a larger value means a better prediction.
        kind: ``ratings`` for labels of any kind, ``tags`` for labels that are 0 or 1 alone.
    """

    each: Labelled
    overall: Callable[[ArrayLike, ArrayLike], float]
    higher_is_better: bool
    kind: Literal["ratings", "tags"] = "ratings"


METRICS: Registry[Metric] = Registry("metric", "tenuto.metrics", Metric)
"""The metrics that `evaluate` reports."""


def validate(label: ArrayLike, prediction: ArrayLike) -> tuple[Values, Values]:
    """Return both as float64 (clips, outputs).

    Raises `DataError` for other shapes, no clip, values not finite, or data frames whose names differ.
    """
    _require_same_names(label, prediction)
    first, second = np.asarray(label, np.float64), np.asarray(prediction, np.float64)
    if first.ndim != 2 or first.shape != second.shape:
        raise DataError(
            f"labels {first.shape} and predictions {second.shape}: both must have the same shape (clips, outputs)."
        )
    if not len(first):
        raise DataError("there are no clips; give at least one.")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("labels or predictions contain NaN or infinite values; leave those clips out.")
    return first, second


def _require_same_names(*tables: Any, columns: Iterable[str] | None = None) -> None:
    """Raise `DataError` where data frames have other names, or in another order, than the first or than ``columns``."""
    frames = [table for table in tables if hasattr(table, "columns")]
    for frame in frames:
        expected = frames[0].columns if columns is None else columns
        for kind, own, first in (
            ("columns", frame.columns, expected),
            ("rows", frame.index, frames[0].index),
        ):
            if list(own) != list(first):
                raise DataError(
                    f"a data frame has {kind} {quote(list(own))}, expected {quote(list(first))}. Order it with "
                    "`reindex_like`, or give arrays."
                )


def distances(clean: Values, attacked: Values) -> tuple[Values, Values]:
    """Euclidean distances per clip, both (clips,): attacked to clean values, and clean values to their mean.

    Args:
        clean: (clips, outputs or features).
        attacked: The same of the attacked clips.
    """
    apart = attacked - clean, _centred(clean)
    distance, spread = (np.asarray(np.linalg.norm(difference, axis=1), np.float64) for difference in apart)
    return distance, spread


def is_constant(values: ArrayLike) -> NDArray[np.bool_]:
    """Whether the values (clips, outputs) of each column differ by no more than `ROUNDING`, shape (outputs,)."""
    array = np.asarray(values, np.float64)
    return np.asarray(np.ptp(array, axis=0) <= ROUNDING * np.abs(array).max(axis=0))


def _centred(values: Values) -> Values:
    """Deviations from the column means, exactly 0 in constant columns."""
    return np.where(is_constant(values), 0.0, values - values.mean(axis=0))


def pearson(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Pearson's r of each column across clips, shape (outputs,); NaN for a constant column."""
    first, second = map(_centred, validate(label, prediction))
    scale = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    return _ratio((first * second).sum(axis=0), scale)


def _ratio(numerator: Values, denominator: Values) -> Values:
    """NaN where the denominator is 0."""
    nothing = np.full(denominator.shape, np.nan)
    return np.asarray(np.divide(numerator, denominator, out=nothing, where=denominator > 0))


def spearman(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Spearman's rho of each column across clips: Pearson's r of the ranks, ties sharing their mean rank.

    Shape (outputs,); NaN for a constant column.
    """
    first, second = validate(label, prediction)
    return pearson(*(np.where(is_constant(values), 0.0, _ranks(values)) for values in (first, second)))


def _ranks(values: Values) -> Values:
    """Ranks 1 to n within each column; equal values share their mean rank."""
    from scipy import stats

    return np.asarray(stats.rankdata(values, axis=0))


def ccc(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Lin's concordance correlation coefficient of each column, shape (outputs,).

    2 s_xy / (s_x^2 + s_y^2 + (m_x - m_y)^2) with moments over n (Lin 1989, Biometrics 45, equation 2): Pearson's r,
    lowered by a wrong mean or spread. NaN where label and prediction are the same constant.
    """
    first, second = validate(label, prediction)
    apart = first.mean(axis=0) - second.mean(axis=0)
    first, second = _centred(first), _centred(second)
    spread = (first**2).mean(axis=0) + (second**2).mean(axis=0) + apart**2
    return _ratio(2 * (first * second).mean(axis=0), spread)


def r2(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Coefficient of determination of each column, shape (outputs,); NaN for a constant label."""
    first, second = validate(label, prediction)
    residual = ((first - second) ** 2).sum(axis=0)
    return 1 - _ratio(residual, (_centred(first) ** 2).sum(axis=0))


def mae_each(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Mean absolute error of each column, shape (outputs,)."""
    first, second = validate(label, prediction)
    return np.asarray(np.abs(first - second).mean(axis=0))


def mse_each(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Mean squared error of each column, shape (outputs,)."""
    first, second = validate(label, prediction)
    return np.asarray(np.square(first - second).mean(axis=0))


def mae(label: ArrayLike, prediction: ArrayLike) -> float:
    """Mean absolute error over clips and columns."""
    return float(mae_each(label, prediction).mean())


def mse(label: ArrayLike, prediction: ArrayLike) -> float:
    """Mean squared error over clips and columns."""
    return float(mse_each(label, prediction).mean())


def rmse(label: ArrayLike, prediction: ArrayLike) -> float:
    """Root of the mean squared error over clips and columns."""
    return float(np.sqrt(mse(label, prediction)))


def roc_auc(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Area under the ROC curve of each tag, shape (outputs,); NaN for a tag that all clips or none have.

    The probability that a clip with the tag gets a higher prediction than one without it, ties counting half
    (Mann-Whitney U / (n1 n0)).
    """
    first, second = validate(label, prediction)
    has_tag = first > 0.5
    positive = has_tag.sum(axis=0)
    ranks = np.where(has_tag, _ranks(second), 0.0).sum(axis=0)
    return _ratio(
        ranks - positive * (positive + 1) / 2, (positive * (len(first) - positive)).astype(np.float64)
    )


def pr_auc(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Average precision of each tag, shape (outputs,); NaN for a tag that no clip has.

    The sum over thresholds of precision times the increase of recall, without interpolation; clips with equal
    predictions share a threshold.
    """
    first, second = validate(label, prediction)
    each = np.full(first.shape[1], np.nan)
    for column in range(first.shape[1]):
        order = np.argsort(-second[:, column], kind="stable")
        values, hits = second[order, column], np.cumsum(first[order, column] > 0.5)
        if hits[-1]:
            ends = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)  # last clip of every threshold
            precision = hits[ends] / (ends + 1)
            each[column] = (precision * np.diff(hits[ends], prepend=0)).sum() / hits[-1]
    return each


def evaluate(
    label: ArrayLike, prediction: ArrayLike, names: tuple[str, ...], kind: str = "ratings"
) -> dict[str, dict[str, float]]:
    """Compute every metric of `METRICS` for labels of a kind, per output and overall.

    Args:
        label: (clips, outputs).
        prediction: (clips, outputs).
        names: One name per column.
        kind: ``tags`` adds PR-AUC and ROC-AUC.

    Returns:
        ``{"r2": {"overall": ..., name: ...}, "correlation": ..., "rmse": ..., "mse": ..., "mae": ...}``.
    """
    _require_same_names(label, prediction, columns=names)
    return {
        metric: {
            "overall": METRICS[metric].overall(label, prediction),
            **dict(zip(names, map(float, METRICS[metric].each(label, prediction)), strict=True)),
        }
        for metric in METRICS
        if METRICS[metric].kind in ("ratings", kind)
    }


def rmse_in_rater_sd(
    label: ArrayLike, prediction: ArrayLike, deviations: ArrayLike, names: tuple[str, ...]
) -> dict[str, float]:
    """RMSE in units of the raters' disagreement: 1 where the model errs as much as one rater departs from the mean.

    The RMSE over the clips whose deviations are known, divided by the root of the mean squared deviation of these.

    Args:
        label: (clips, outputs).
        prediction: (clips, outputs).
        deviations: Standard deviation of the raters in units of the labels, (clips, outputs); NaN where unknown.
        names: One name per column.

    Returns:
        ``{"overall": ..., name: ...}``; NaN where no deviation is known, or all are 0.

    Raises:
        DataError: Deviations of another shape than the labels, or see `validate`.
    """
    _require_same_names(label, prediction, deviations, columns=names)
    first, second = validate(label, prediction)
    spread = np.asarray(deviations, np.float64)
    if spread.shape != first.shape:
        raise DataError(f"deviations {spread.shape}: must have the shape of the labels, {first.shape}.")
    is_known = np.isfinite(spread)
    squares = [np.where(is_known, np.square(values), 0.0) for values in (first - second, spread)]
    error, disagreement = (
        np.concatenate([[values.sum()], values.sum(axis=0)])  # overall, then each column
        for values in squares
    )
    return dict(zip(("overall", *names), np.sqrt(_ratio(error, disagreement)).tolist(), strict=True))


def _mean_of(each: Labelled, where_defined: bool = False) -> Callable[[ArrayLike, ArrayLike], float]:
    """The mean over columns, or over those alone for which the metric is defined; NaN where there is none."""

    def mean(label: ArrayLike, prediction: ArrayLike) -> float:
        values = each(label, prediction)
        counted = values[~np.isnan(values)] if where_defined else values
        return float(counted.mean()) if len(counted) else float("nan")

    return mean


METRICS.register("r2")(Metric(r2, _mean_of(r2), higher_is_better=True))
METRICS.register("correlation")(Metric(pearson, _mean_of(pearson), higher_is_better=True))
METRICS.register("rmse")(
    Metric(lambda label, prediction: np.sqrt(mse_each(label, prediction)), rmse, higher_is_better=False)
)
METRICS.register("mse")(Metric(mse_each, mse, higher_is_better=False))
METRICS.register("mae")(Metric(mae_each, mae, higher_is_better=False))
METRICS.register("pr_auc")(Metric(pr_auc, _mean_of(pr_auc, True), higher_is_better=True, kind="tags"))
METRICS.register("roc_auc")(Metric(roc_auc, _mean_of(roc_auc, True), higher_is_better=True, kind="tags"))
