"""Statistics for comparing systems on seeds and clips: tests, two-way intervals, a mixed model.

The data of a system are a matrix (seeds, clips) of errors. Both axes are samples: of the networks that could have been
trained, and of the music that could have been chosen. They are crossed: every network predicts every clip.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tenuto.errors import DataError, counted
from tenuto.metrics import ROUNDING

Values = NDArray[np.float64]
COMPONENTS = ("seed", "clip", "system_clip")
"""Random effects of `mixed_model`, in addition to the residual."""

ZERO = 1e-4
"""A variance component below this share of the residual variance counts as zero."""


def mean_of_all(values: pd.Series[float]) -> float:
    """The mean; NaN where one of the values is."""
    return float(values.mean(skipna=False))


@dataclass(frozen=True)
class PairedTest:
    """Student's t-test of paired differences, two-sided.

    Attributes:
        t: The statistic; positive where the first of the pair is larger on average.
        degrees_of_freedom: Pairs minus one.
        p: Probability of so large a \\|t\\| were the mean difference zero.
        n: Number of pairs.
    """

    t: float
    degrees_of_freedom: int
    p: float
    n: int


def differences_vary(a: ArrayLike, b: ArrayLike) -> bool:
    """Whether the paired differences of ``a`` and ``b`` vary by more than rounding; else no t is defined."""
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    size = max(np.abs(first).max(initial=0.0), np.abs(second).max(initial=0.0))
    return bool(first.size > 0 and np.ptp(first - second) > ROUNDING * size)


def paired_t_test(a: ArrayLike, b: ArrayLike) -> PairedTest:
    """Test whether the pairs of ``a`` and ``b`` differ on average.

    Args:
        a: Shape (n,).
        b: Shape (n,), in the same order of pairs.

    Raises:
        DataError: Different shapes, fewer than two pairs, values that are not finite, or differences that are equal up
            to rounding (see `differences_vary`): t is then not defined.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(f"values have shapes {first.shape} and {second.shape}; both must be (pairs,).")
    if len(first) < 2:
        raise DataError(
            f"{counted(len(first), 'pair')}: a paired test needs at least two; add clips or seeds."
        )
    if not np.isfinite(first - second).all():
        raise DataError("a pair holds NaN or an infinite value; leave that pair out.")
    if not differences_vary(first, second):
        raise DataError("all pairs differ by the same amount: t is not defined. Compare the means instead.")
    from scipy import stats

    result = stats.ttest_rel(first, second)
    return PairedTest(float(result.statistic), len(first) - 1, float(result.pvalue), len(first))


@dataclass(frozen=True)
class EffectSize:
    """How large a paired difference is relative to the deviation of the differences.

    Attributes:
        d_z: Cohen's d_z, mean difference / deviation (n - 1) of the differences.
        g_z: Hedges' g, d_z without its bias in small samples.
    """

    d_z: float
    g_z: float


def effect_size(test: PairedTest) -> EffectSize:
    """Effect sizes of a paired test.

    d_z = t / sqrt(n) (Cohen 1988, section 2.3.5). g_z = J(n - 1) d_z with
    J(m) = Gamma(m / 2) / (sqrt(m / 2) Gamma((m - 1) / 2)) (Hedges 1981, J. Educ. Stat. 6, equation 6e).
    With two pairs J is 0: nothing is known of the deviation.
    """
    d_z, m = test.t / math.sqrt(test.n), test.degrees_of_freedom
    if m < 2:
        return EffectSize(d_z, 0.0)
    return EffectSize(d_z, d_z * math.exp(math.lgamma(m / 2) - math.lgamma((m - 1) / 2)) / math.sqrt(m / 2))


def holm(p: ArrayLike) -> Values:
    """p-values adjusted for all tests of a family (Holm 1979, Scand. J. Stat. 6): step-down Bonferroni.

    Args:
        p: Shape (tests,). NaN marks a test that could not be made: it stays NaN and does not count.

    Raises:
        DataError: Another shape, or a value outside 0-1.
    """
    values = np.asarray(p, np.float64)
    is_made = ~np.isnan(values)
    if values.ndim != 1 or not ((values[is_made] >= 0) & (values[is_made] <= 1)).all():
        raise DataError(
            "p-values must be between 0 and 1, of shape (tests,); NaN where a test could not be made."
        )
    adjusted = np.full(values.shape, np.nan)
    if is_made.any():
        from statsmodels.stats.multitest import multipletests

        adjusted[is_made] = multipletests(values[is_made], method="holm")[1]
    return adjusted


def smallest_detectable(n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true d_z that a two-sided paired t-test of ``n`` pairs finds with the given power.

    Multiplied by the deviation of the differences it is the smallest detectable difference (Cohen 1988, chapter 2).

    Raises:
        DataError: Fewer than two pairs, or power and alpha not 0 < alpha < power < 1.
    """
    if n < 2 or not 0 < alpha < power < 1:
        raise DataError(f"n is {n}, alpha {alpha}, power {power}; required: n > 1 and 0 < alpha < power < 1.")
    from scipy import optimize, stats

    freedom, limit = n - 1, stats.t.isf(alpha / 2, n - 1)

    def excess(shift: float) -> float:
        # The share of rejections on the wrong side is tiny, and NaN where SciPy cannot compute it.
        wrong_side = np.nan_to_num(stats.nct.cdf(-limit, freedom, shift))
        return float(stats.nct.sf(limit, freedom, shift) + wrong_side) - power

    high = limit
    while excess(high) < 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high)) / math.sqrt(n)


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and clips and its bootstrap interval.

    Attributes:
        mean: Mean of the values.
        low: Lower end; NaN where nothing can be resampled.
        high: Upper end.
        resampled: ``seeds and clips``, ``seeds`` or ``clips`` where there are several of one only, or ``nothing``.
    """

    mean: float
    low: float
    high: float
    resampled: str


def bootstrap_means(values: ArrayLike, draws: int = 10_000, seed: int = 0) -> Values:
    """Means under two-way resampling: seeds and clips each drawn with replacement, independently, shape (draws,).

    Owen 2007, *The pigeonhole bootstrap*, Ann. Appl. Stat. 1. With deviations s (seeds), c (clips) and e (rest) of
    R seeds and C clips, the variance of the draws is on average
    s^2 (R - 1) / R^2 + c^2 (C - 1) / C^2 + e^2 (R C - 1 + 2 (R - 1) (C - 1)) / (R C)^2,
    where the mean itself has s^2 / R + c^2 / C + e^2 / (R C): a little less for few seeds, more for the rest.

    Args:
        values: Shape (seeds, clips): errors of one system, or paired differences of two on shared seeds.
        draws: Number of resamplings.
        seed: Of the draws; the same seed and shape draw the same seeds and clips.

    Raises:
        DataError: Another shape, nothing in it, or values not finite.
    """
    table = _matrix(values)
    seeds, clips = _resampled(table.shape, draws, seed)
    means: Values = ((seeds @ table) * clips).sum(axis=1) / table.size
    return means


@functools.lru_cache(maxsize=4)
def _resampled(shape: tuple[int, ...], draws: int, seed: int) -> list[NDArray[np.int64]]:
    """How often each seed and each clip is drawn, shape (draws, size) each: all that a mean needs."""
    generator = np.random.default_rng(seed)
    return [generator.multinomial(size, np.full(size, 1 / size), draws) for size in shape]


def crossed_interval(values: ArrayLike, draws: int = 10_000, seed: int = 0, level: float = 0.95) -> Interval:
    """Mean and percentile interval of `bootstrap_means`.

    Args:
        values: Shape (seeds, clips).
        draws: Number of resamplings.
        seed: Of the draws.
        level: Share of the draws inside the interval.

    Raises:
        DataError: See `bootstrap_means`.
    """
    table = _matrix(values)
    several = [name for name, size in zip(("seeds", "clips"), table.shape, strict=True) if size > 1]
    if not several:
        return Interval(float(table.mean()), math.nan, math.nan, "nothing")
    ends = np.quantile(bootstrap_means(table, draws, seed), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(table.mean()), float(ends[0]), float(ends[1]), " and ".join(several))


def _matrix(values: ArrayLike) -> Values:
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not table.size:
        raise DataError(f"values have shape {table.shape}, expected a filled matrix (seeds, clips).")
    if not np.isfinite(table).all():
        raise DataError("the matrix holds NaN or infinite values; leave those seeds or clips out.")
    return table


@dataclass(frozen=True)
class MixedComparison:
    """Two systems under a linear mixed model; every number is NaN where the fit did not converge.

    Attributes:
        difference: Fixed effect, first minus second.
        standard_error: Its standard error.
        low: Lower end of the Wald interval.
        high: Upper end.
        z: difference / standard_error.
        p: Two-sided, by the normal distribution.
        variances: Component of `COMPONENTS` and ``residual`` -> variance, in squared units of the values.
        converged: Whether the fit ended at a maximum.
    """

    difference: float
    standard_error: float
    low: float
    high: float
    z: float
    p: float
    variances: dict[str, float]
    converged: bool

    @property
    def at_zero(self) -> tuple[str, ...]:
        """Components estimated as zero."""
        least = ZERO * self.variances["residual"]
        return tuple(name for name in COMPONENTS if self.variances[name] < least)


def mixed_model(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> MixedComparison:
    """Difference of two systems with seeds and clips as random effects, by REML (statsmodels' MixedLM).

    value = system + seed within system + clip + system x clip + residual. Every run is a network of its own, so
    seeds are nested in systems and need not be the same; clips are crossed with everything. The effect
    system x clip lets a clip be harder for one system than for the other (Barr et al. 2013, J. Mem. Lang. 68):
    without it clips would cancel from the difference as if no others could have been chosen.

    Args:
        first: Shape (seeds, clips).
        second: Shape (other seeds, clips), the same clips in the same order.
        level: Of the Wald interval.

    Raises:
        DataError: Different shapes, fewer than two seeds or clips, values not finite, or no residual variation.
    """
    sides = [_matrix(first), _matrix(second)]
    if sides[0].shape[1] != sides[1].shape[1] or min(*sides[0].shape, *sides[1].shape) < 2:
        raise DataError(
            f"values have shapes {sides[0].shape} and {sides[1].shape}, expected two matrices (seeds, clips) of the "
            "same clips, with at least two seeds and two clips."
        )
    values = np.concatenate(sides)
    scale = float(values.std())
    alike = scale <= ROUNDING * np.abs(values).max()
    start = None if alike else _start([side / scale for side in sides])
    if start is None:
        raise DataError(
            "the values vary with nothing but system, seed and clip: a mixed model has nothing to estimate."
        )
    fitted = _fit([side / scale for side in sides], start)
    if fitted is None:
        nan = math.nan
        nothing = dict.fromkeys((*COMPONENTS, "residual"), nan)
        return MixedComparison(nan, nan, nan, nan, nan, nan, nothing, converged=False)
    return _wald(fitted, scale, level)


def _wald(fitted: Any, scale: float, level: float) -> MixedComparison:
    """The comparison in the unit of the values, which were divided by ``scale`` for the fit."""
    from scipy import stats

    difference, error = scale * float(fitted.fe_params[1]), scale * float(fitted.bse_fe[1])
    reach = float(stats.norm.isf((1 - level) / 2)) * error
    p = float(2 * stats.norm.sf(abs(difference / error)))
    variances = [scale**2 * float(value) for value in (*fitted.vcomp, fitted.scale)]
    return MixedComparison(
        difference=difference,
        standard_error=error,
        low=difference - reach,
        high=difference + reach,
        z=difference / error,
        p=p,
        variances=dict(zip((*COMPONENTS, "residual"), variances, strict=True)),
        converged=True,
    )


def _start(sides: Sequence[Values]) -> Values | None:
    """Deviations of the components over that of the residual, from mean squares; None without a residual.

    With equal numbers of seeds and no negative component these are the REML estimates themselves (Searle, Casella
    and McCulloch 1992, *Variance Components*, chapter 4), so the search ends where it starts.
    """
    runs, clips = sum(len(side) for side in sides), sides[0].shape[1]
    by_clip = np.stack([side.mean(axis=0) for side in sides])
    within = [side - side.mean(axis=0) for side in sides]
    seed_square = clips * sum(float((part.mean(axis=1) ** 2).sum()) for part in within) / (runs - 2)
    rest = [part - part.mean(axis=1, keepdims=True) for part in within]
    residual = sum(float((part**2).sum()) for part in rest) / ((runs - 2) * (clips - 1))
    if residual < 1e-12:
        return None
    each = 2 / sum(1 / len(side) for side in sides)
    centred = by_clip - by_clip.mean(axis=1, keepdims=True)
    clip_square = 2 * each * float((centred.mean(axis=0) ** 2).sum()) / (clips - 1)
    both_square = each * float(((centred - centred.mean(axis=0)) ** 2).sum()) / (clips - 1)
    components = [
        (seed_square - residual) / clips,
        (clip_square - both_square) / (2 * each),
        (both_square - residual) / each,
    ]
    # The search cannot leave exactly zero: its variables are deviations.
    deviations: Values = np.sqrt(np.maximum(np.array(components) / residual, 1e-3))
    return deviations


def _fit(sides: Sequence[Values], start: Values) -> Any:
    """The fitted model, or None where the search did not converge."""
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

    runs, clips = sum(len(side) for side in sides), sides[0].shape[1]
    system = np.repeat([1, 0], [side.size for side in sides])
    clip = np.tile(np.arange(clips), runs)
    codes = (np.repeat(np.arange(runs), clips), clip, clip + clips * system)
    indicators = [np.eye(code.max() + 1)[code] for code in codes]
    names = [
        [[f"{name}{i}" for i in range(part.shape[1])]]
        for name, part in zip(COMPONENTS, indicators, strict=True)
    ]
    values = np.concatenate([side.ravel() for side in sides])
    model = MixedLM(
        values - values.mean(),
        np.column_stack([np.ones(len(values)), system]),
        groups=np.zeros(len(values)),  # one group: crossed effects have no smaller independent parts
        exog_vc=VCSpec(list(COMPONENTS), names, [[part] for part in indicators]),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a component at zero, which is checked below
            # At a component of zero the first may break off although it has arrived: the second tells.
            fitted = model.fit(reml=True, method=["lbfgs", "nm"], start_params=start)
    except np.linalg.LinAlgError:
        return None
    is_usable = fitted.converged and np.isfinite(fitted.bse_fe).all() and fitted.bse_fe[1] > 0
    return fitted if is_usable else None
