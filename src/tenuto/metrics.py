"""Metrics of a regressor with several outputs.

Conventions: labels and predictions are arrays of shape (clips, outputs) with one column per emotion (or concept).
A function ending in ``_each`` gives one value per column, shape (outputs,); its overall twin one number.
How the overall values are formed follows the SMC 2025 study (section on analysis): Pearson's r and R2 per column
across clips, then averaged over columns; MAE and MSE over all clips and columns; RMSE the root of that MSE.
Pearson's r and Spearman's rho of a column that does not vary are undefined and come out as NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenuto.errors import DataError

Values = NDArray[np.float64]


def validate(label: ArrayLike, prediction: ArrayLike) -> tuple[Values, Values]:
    """Both as float64 (clips, outputs). Raises `DataError` for other shapes, one clip, or values not finite."""
    first, second = np.asarray(label, np.float64), np.asarray(prediction, np.float64)
    if first.ndim != 2 or first.shape != second.shape:
        raise DataError(
            f"labels {first.shape} and predictions {second.shape}: wanted one shape (clips, outputs)."
        )
    if len(first) < 2:
        raise DataError(f"{len(first)} clips: wanted at least two, no correlation is defined below.")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("labels or predictions hold NaN or infinite values; leave those clips out.")
    return first, second


def distances(clean: Values, attacked: Values) -> tuple[Values, Values]:
    """How far each clip's values move, and how far its clean ones lie from the mean clip: Euclidean, both (clips,).

    Args:
        clean: (clips, outputs or features).
        attacked: The same of the attacked clips.
    """
    pairs = (attacked, clean), (clean, clean.mean(axis=0))
    moved, spread = (np.asarray(np.linalg.norm(one - other, axis=1), np.float64) for one, other in pairs)
    return moved, spread


def pearson(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Pearson's r of each column across clips, shape (outputs,); NaN where a column does not vary."""
    first, second = validate(label, prediction)
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    scale = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    result: Values = np.divide(
        (first * second).sum(axis=0), scale, out=np.full(scale.shape, np.nan), where=scale > 0
    )
    return result


def spearman(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Spearman's rho of each column across clips: Pearson's r of the ranks, equal values sharing their mean rank.

    Shape (outputs,); NaN where a column does not vary.
    """
    first, second = validate(label, prediction)
    return pearson(_ranks(first), _ranks(second))


def _ranks(values: Values) -> Values:
    """Ranks 1 to n within each column; equal values share their mean rank."""
    ranked = np.empty_like(values)
    for column in range(values.shape[1]):
        _, place, count = np.unique(values[:, column], return_inverse=True, return_counts=True)
        ranked[:, column] = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranked


def ccc(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Lin's concordance correlation coefficient of each column, shape (outputs,).

    2 s_xy / (s_x^2 + s_y^2 + (m_x - m_y)^2) with moments over n (Lin 1989, Biometrics 45, equation 2): Pearson's r,
    lowered by a wrong mean or spread. NaN where label and prediction are one and the same constant.
    """
    first, second = validate(label, prediction)
    apart = first.mean(axis=0) - second.mean(axis=0)
    shared = ((first - first.mean(axis=0)) * (second - second.mean(axis=0))).mean(axis=0)
    spread = first.var(axis=0) + second.var(axis=0) + apart**2
    result: Values = np.divide(2 * shared, spread, out=np.full(spread.shape, np.nan), where=spread > 0)
    return result


def r2(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Coefficient of determination of each column, shape (outputs,); NaN where a label does not vary."""
    first, second = validate(label, prediction)
    residual = ((first - second) ** 2).sum(axis=0)
    total = ((first - first.mean(axis=0)) ** 2).sum(axis=0)
    share: Values = np.divide(residual, total, out=np.full(total.shape, np.nan), where=total > 0)
    return 1 - share


def mae_each(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Mean absolute error of each column, shape (outputs,)."""
    first, second = validate(label, prediction)
    each: Values = np.abs(first - second).mean(axis=0)
    return each


def mse_each(label: ArrayLike, prediction: ArrayLike) -> Values:
    """Mean squared error of each column, shape (outputs,)."""
    first, second = validate(label, prediction)
    each: Values = np.square(first - second).mean(axis=0)
    return each


def mae(label: ArrayLike, prediction: ArrayLike) -> float:
    """Mean absolute error over clips and columns."""
    return float(mae_each(label, prediction).mean())


def mse(label: ArrayLike, prediction: ArrayLike) -> float:
    """Mean squared error over clips and columns."""
    return float(mse_each(label, prediction).mean())


def rmse(label: ArrayLike, prediction: ArrayLike) -> float:
    """Root of the mean squared error over clips and columns."""
    return float(np.sqrt(mse(label, prediction)))


def evaluate(label: ArrayLike, prediction: ArrayLike, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Every metric, per output and overall.

    Args:
        label: (clips, outputs).
        prediction: (clips, outputs).
        names: One name per column.

    Returns:
        ``{"r2": {"overall": ..., name: ...}, "correlation": ..., "rmse": ..., "mse": ..., "mae": ...}``.
    """
    squared = mse_each(label, prediction)
    each: dict[str, tuple[float, Any]] = {
        "r2": (float(r2(label, prediction).mean()), r2(label, prediction)),
        "correlation": (float(pearson(label, prediction).mean()), pearson(label, prediction)),
        "rmse": (rmse(label, prediction), np.sqrt(squared)),
        "mse": (mse(label, prediction), squared),
        "mae": (mae(label, prediction), mae_each(label, prediction)),
    }
    return {
        metric: {"overall": overall, **dict(zip(names, map(float, values), strict=True))}
        for metric, (overall, values) in each.items()
    }
