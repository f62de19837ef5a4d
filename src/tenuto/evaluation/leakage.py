"""Does a bottleneck say more than its concepts? Leakage, completeness, and the effective number of concepts.

After E. Parisini et al., "Leakage and Interpretability in Concept-Based Models", arXiv 2504.14094, with shares of
explained variance in place of mutual information, which cannot be estimated from some dozens of clips:

- R2(y | x) = 1 - sum_n (y_n - f_n(x_n))^2 / sum_n (y_n - m_n)^2, where f_n is the least-squares fit of y on x, and m_n
  the mean of y, over all clips but n; 0 where that is negative, since a fit that is worse than the mean shows no
  information. The fits are linear as is the layer behind the concepts: what a linear layer cannot use does not leak
  through it.
- Concept-task leakage of an emotion y: max(0, R2(y | units) - R2(y | concepts)), units being the predicted concepts
  and concepts their ratings. The units say more about the emotion than the concepts do.
- Inter-concept leakage of two concepts i, j: max(0, R2(concept j | unit i) - R2(concept j | concept i)). Unit i says
  more about concept j than concept i does. (The paper compares units i and j, and does not see rotated units.)

Both are 0 where units equal their concepts. Intervals are bootstrapped over clips: the squared errors of a clip stay
together, and no fit is repeated, so a clip never judges a fit that it was part of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tenuto.attacks.calling import as_doubles
from tenuto.attacks.checks import require_whole
from tenuto.devices import repeatable
from tenuto.display import Displayed, Element
from tenuto.errors import ConfigError, DataError, counted
from tenuto.evaluation.attacked_clips import Clips
from tenuto.evaluation.runs import OpenedRun
from tenuto.metrics import is_constant
from tenuto.models.recogniser import predict

Values = NDArray[np.float64]

RESAMPLES = 2000
CONFIDENCE = 0.95
SPARE_CLIPS = 3
"""Clips beyond one per concept without which a fit that leaves one clip out says nothing."""

PENALTIES = tuple(float(10.0**power) for power in range(-4, 5))


@dataclasses.dataclass(frozen=True, repr=False)
class Leakage(Displayed):
    """What the units of a bottleneck say beyond their concepts, and what they leave out.

    Attributes:
        run: Name of the run.
        part: Part of the split.
        clips: Number of clips.
        black_box: What completeness compares with.
        summary: A line per measure: ``measure``, ``value``, ``low``, ``high`` (95 % bootstrap interval over clips).
            Measures are ``concept_task_leakage`` (mean over emotions), ``inter_concept_leakage`` (mean over ordered
            pairs; missing for free units), ``bottleneck_r2`` and ``black_box_r2`` (mean over emotions),
            ``completeness`` (their ratio; 0 where the bottleneck explains nothing, missing where the black box does),
            ``effective_units`` and ``effective_concepts`` (participation ratios of the correlations of units and of
            ratings).
        tasks: A line per emotion: ``emotion``, ``units_r2``, ``concepts_r2``, ``leakage``, ``low``, ``high``.
        pairs: A line per ordered pair: ``unit``, ``concept``, ``unit_r2``, ``concept_r2``, and the last three of these.
        remarks: Sentences about what could not be measured.
    """

    run: str
    part: str
    clips: int
    black_box: str
    summary: pd.DataFrame
    tasks: pd.DataFrame
    pairs: pd.DataFrame
    remarks: tuple[str, ...] = ()

    def __getitem__(self, measure: str) -> float:
        """The value of a measure; NaN where it is missing."""
        values = self.summary.set_index("measure")["value"]
        return float(values.get(measure, np.nan))

    def _elements(self) -> list[Element]:
        return [f"{self.run}, {counted(self.clips, f'{self.part} clip')}", self.summary, *self.remarks]


@dataclasses.dataclass(frozen=True)
class Errors:
    """Squared errors of predictions of q values for n clips, and of always predicting their mean, (n, q) each."""

    fitted: Values
    mean: Values

    def r2(self, counts: Values) -> Values:
        """Explained share of the variance where clips count as often as given, (resamples, n) to (resamples, q)."""
        with np.errstate(divide="ignore", invalid="ignore"):  # a constant value is NaN
            explained: Values = 1 - (counts @ self.fitted) / (counts @ self.mean)
        return np.where(counts @ self.mean > 0, explained, np.nan)


def left_out_errors(inputs: ArrayLike, outputs: ArrayLike) -> Errors:
    """Squared errors of linear least-squares fits that leave out the clip they predict, in closed form (PRESS).

    Args:
        inputs: (n, p).
        outputs: (n, q).

    Raises:
        DataError: Fewer than p + 3 clips.
    """
    x, y = np.asarray(inputs, np.float64), np.asarray(outputs, np.float64)
    clips, columns = x.shape
    if clips < columns + SPARE_CLIPS:
        raise DataError(
            f"{counted(clips, 'clip is', 'clips are')} too few for fits on {counted(columns, 'concept')}: at least "
            f"{columns + SPARE_CLIPS} are needed. Choose a larger part of the split."
        )
    left_vectors, sizes, _ = np.linalg.svd(_standardised(x)(x), full_matrices=False)
    basis = left_vectors[:, sizes > max(sizes[0], np.finfo(float).tiny) * 1e-10]
    centred = np.where(is_constant(y), 0.0, y - y.mean(axis=0))
    leverage = 1 / clips + (basis**2).sum(axis=1, keepdims=True)
    residual = centred - basis @ (basis.T @ centred)
    with np.errstate(divide="ignore", invalid="ignore"):  # a clip that alone decides a direction of the fit
        fitted = np.where(leverage < 1 - 1e-10, residual / (1 - leverage), centred * clips / (clips - 1))
    return Errors(fitted**2, (centred * clips / (clips - 1)) ** 2)


def participation_ratio(values: ArrayLike) -> float:
    """Effective number of columns: (sum of eigenvalues)^2 / sum of squared eigenvalues of their correlation matrix.

    From 1, where all columns rise and fall together, to their number, where none is correlated with another. Constant
    columns do not count; 0 where all are constant.

    Example:
        >>> participation_ratio([[0, 1], [1, 0], [0, 0], [1, 1]])
        2.0
    """
    array = np.asarray(values, np.float64)
    varying = array[:, ~is_constant(array)]
    if varying.shape[1] == 0:
        return 0.0
    correlations = np.atleast_2d(np.corrcoef(varying, rowvar=False))
    # The trace is the number of columns, and the squared eigenvalues add up to the squared entries.
    return float(varying.shape[1] ** 2 / (correlations**2).sum())


def ridge(inputs: ArrayLike, outputs: ArrayLike) -> Callable[[ArrayLike], Values]:
    """A linear fit with the penalty, of nine, that predicts left-out clips best; columns are standardised.

    Args:
        inputs: (n, p), also with more columns than clips.
        outputs: (n, q).

    Returns:
        A function from (m, p) to (m, q).
    """
    x, y = np.asarray(inputs, np.float64), np.asarray(outputs, np.float64)
    standardised = _standardised(x)
    left_vectors, sizes, right_vectors = np.linalg.svd(standardised(x), full_matrices=False)
    centred = y - y.mean(axis=0)

    def left_out_error(penalty: float) -> float:
        shrunk = left_vectors * (sizes**2 / (sizes**2 + penalty * len(x)))
        leverage = 1 / len(x) + (shrunk * left_vectors).sum(axis=1, keepdims=True)
        return float((((centred - shrunk @ (left_vectors.T @ centred)) / (1 - leverage)) ** 2).sum())

    penalty = len(x) * min(PENALTIES, key=left_out_error)
    weight = right_vectors.T @ ((sizes / (sizes**2 + penalty))[:, None] * (left_vectors.T @ centred))
    return lambda new: standardised(np.asarray(new, np.float64)) @ weight + y.mean(axis=0)


def _standardised(values: Values) -> Callable[[Values], Values]:
    """A function that gives columns the mean 0 and deviation 1 that they have in ``values``; constant ones become 0."""
    centre, spread = values.mean(axis=0), values.std(axis=0)
    varies = ~is_constant(values)  # a rounded mean can leave a spread
    return lambda new: np.where(varies, (new - centre) / np.where(varies, spread, 1.0), 0.0)


@repeatable
def measure(run: OpenedRun, part: str = "test", black_box: OpenedRun | None = None, seed: int = 0) -> Leakage:
    """Measure leakage, completeness and the effective number of concepts of a run with a bottleneck.

    Args:
        run: The run. Its data must rate concepts.
        part: ``test``, ``validation`` or ``train``.
        black_box: The run that completeness compares with; default: a ridge fit of the emotions of the training clips
            on the features in front of this run's bottleneck.
        seed: Of the bootstrap.

    Raises:
        ConfigError: No bottleneck, no concept ratings, or a black box with other emotions.
        DataError: Too few clips.
    """
    require_whole("seed", seed, 0)
    clips = Clips(run, part)
    if clips.head.to_concepts is None:
        raise ConfigError(f"{run.name}: has no bottleneck, so nothing can leak. Choose an A2M2E run.")
    if clips.batch.concepts is None:
        raise ConfigError(
            f"{run.name}: {run.material.prepared.name} has no concept ratings to compare its units with. Judge it on "
            "data that have them, such as midlevel or synthetic."
        )
    units, truth, labels = (
        clips.head.concepts(clips.features),
        as_doubles(clips.batch.concepts),
        clips.labels,
    )
    count = len(labels)
    counts = resamples(count, seed)
    tasks, task_values = task_leakage(units, truth, labels, run.recogniser.emotions, counts)
    lines = [_line("concept_task_leakage", task_values)]
    remarks: list[str] = []
    pairs = pd.DataFrame()
    if clips.annotations() is None:
        remarks.append(
            f"No unit stands for a concept of {run.material.prepared.name}: inter-concept leakage is not defined."
        )
    elif len(run.recogniser.concepts) > 1:
        pairs, pair_values = concept_leakage(units, truth, run.recogniser.concepts, counts)
        lines.append(_line("inter_concept_leakage", pair_values))
    scores, name, remark = _completeness(run, clips, black_box, counts)
    lines += [_line(measure_name, values) for measure_name, values in scores.items()]
    remarks += [remark] if remark else []
    draws = [np.repeat(np.arange(count), row.astype(int)) for row in counts]
    for measure_name, values in (("effective_units", units), ("effective_concepts", truth)):
        lines.append(_line(measure_name, np.array([participation_ratio(values[rows]) for rows in draws])))
    return Leakage(run.name, part, count, name, pd.DataFrame(lines), tasks, pairs, tuple(remarks))


def resamples(count: int, seed: int) -> Values:
    """How often every clip counts, (1 + resamples, clips): once each, then as drawn by the bootstrap."""
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return np.vstack([np.ones((1, count)), draws])


def task_leakage(
    units: Values, truth: Values, labels: Values, emotions: Sequence[str], counts: Values
) -> tuple[pd.DataFrame, Values]:
    """Concept-task leakage.

    Args:
        units: Predicted concepts, (clips, units).
        truth: Their ratings, (clips, concepts).
        labels: (clips, emotions).
        emotions: Names of the emotions.
        counts: `resamples`.

    Returns:
        The lines `Leakage.tasks`, and the mean over emotions of every resample.
    """
    by_units, by_concepts = (left_out_errors(one, labels).r2(counts) for one in (units, truth))
    leaked = _excess(by_units, by_concepts)
    columns = {"emotion": emotions, "units_r2": by_units[0], "concepts_r2": by_concepts[0]}
    return pd.DataFrame(columns | _intervals("leakage", leaked)), _mean(leaked)


def concept_leakage(
    units: Values, truth: Values, names: Sequence[str], counts: Values
) -> tuple[pd.DataFrame, Values]:
    """Inter-concept leakage, of two concepts at least.

    Args:
        units: Predicted concepts, (clips, concepts).
        truth: Their ratings, (clips, concepts).
        names: Names of the concepts.
        counts: `resamples`.

    Returns:
        The lines `Leakage.pairs`, and the mean over ordered pairs of every resample.
    """
    tables, leaks = [], []
    for place, name in enumerate(names):
        others = [other for other in range(len(names)) if other != place]
        by_unit, by_concept = (
            left_out_errors(one[:, [place]], truth[:, others]).r2(counts) for one in (units, truth)
        )
        leaked = _excess(by_unit, by_concept)
        columns = {
            "unit": [name] * len(others),
            "concept": [names[other] for other in others],
            "unit_r2": by_unit[0],
            "concept_r2": by_concept[0],
        }
        tables.append(pd.DataFrame(columns | _intervals("leakage", leaked)))
        leaks.append(leaked)
    return pd.concat(tables, ignore_index=True), _mean(np.hstack(leaks))


def _excess(by_units: Values, by_concepts: Values) -> Values:
    """How much more of the variance units explain than concepts."""
    excess: Values = np.maximum(0, np.maximum(0, by_units) - np.maximum(0, by_concepts))
    return excess


def _completeness(
    run: OpenedRun, clips: Clips, black_box: OpenedRun | None, counts: Values
) -> tuple[dict[str, Values], str, str | None]:
    """R2 of the bottleneck and of the black box and their ratio, of every resample; what the black box is; a remark."""
    ratings = as_doubles(run.part("train").labels)
    if black_box is None:
        name = "a ridge fit on the features in front of the bottleneck"
        rival = ridge(Clips(run, "train").features, ratings)(clips.features)
    else:
        name, part = black_box.name, black_box.part(clips.part)
        if part.clips != clips.batch.clips or black_box.recogniser.emotions != run.recogniser.emotions:
            raise ConfigError(
                f"{name}: has other emotions or other {clips.part} clips than {run.name}. Name a run on the same data "
                "and split."
            )
        rival = as_doubles(predict(black_box.recogniser.network, part.inputs).emotions)
    constant = (clips.labels - ratings.mean(axis=0)) ** 2
    own, other = (
        _mean(Errors((clips.labels - predicted) ** 2, constant).r2(counts))
        for predicted in (clips.head(clips.features), rival)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(other > 0, np.maximum(0, own) / other, np.nan)
    remark = None
    if not other[0] > 0:
        remark = f"{name} explains nothing of the emotions: completeness is not defined."
    elif clips.part == "train":
        remark = "Completeness on training clips compares fits: bottleneck and black box were fitted on these clips."
    return {"bottleneck_r2": own, "black_box_r2": other, "completeness": ratio}, name, remark


def _mean(values: Values) -> Values:
    """Mean over columns, without those that are NaN; NaN where all are."""
    is_known = np.isfinite(values)
    total = is_known.sum(axis=1)
    return np.where(total > 0, np.where(is_known, values, 0).sum(axis=1) / np.maximum(total, 1), np.nan)


def _intervals(name: str, values: Values) -> dict[str, Values]:
    """First line of (1 + resamples, columns) as ``name``, and the interval of the others as ``low`` and ``high``."""
    is_missing = np.isnan(values).all(axis=0)
    known_values = np.where(is_missing, 0.0, values)
    low, high = np.nanquantile(known_values[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    bounds = {name: values[0], "low": low, "high": high}
    return {key: np.where(is_missing, np.nan, bound) for key, bound in bounds.items()}


def _line(name: str, values: Values) -> dict[str, float | str]:
    """A line of the summary."""
    columns = _intervals("value", values[:, None])
    return {"measure": name, **{key: float(value[0]) for key, value in columns.items()}}
