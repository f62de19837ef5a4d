"""Whether a t-test that pools seeds and clips claims more than one over seeds."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tenuto.analysis.smc2025 import COMPARISONS
from tenuto.analysis.statistics import differences_vary, paired_t_test
from tenuto.analysis.systems import FEWEST_SEEDS, Pair, at_budgets, ordered_systems, same_seed
from tenuto.errors import counted
from tenuto.evaluation.audit.findings import Finding, check, judge, not_recorded, worst
from tenuto.evaluation.audit.sources import Evidence, Values
from tenuto.store.rows import row_errors

SIGNIFICANT = 0.05

OVERSTATED = 2.0
"""A pooled standard error half as large as it should be claims four times the pairs there are: FAIL."""


@check("pooled-test", "Does a test that pools seeds and clips overstate what is known?")
def pooled_test(evidence: Evidence) -> Finding:
    """Compare the t-test over seeds x clips with the one over seeds, for every pair of systems.

    The released study published such a test. How own rows will be tested is open, so for them the most severe verdict
    is a warning.
    """
    if reason := same_seed(evidence.rows):
        return not_recorded("pooled-test", reason)
    published = evidence.source.released
    return worst([(title, _pooled_at(rows, published)) for title, rows in at_budgets(evidence.rows)])


def _pooled_at(rows: pd.DataFrame, published: bool) -> Finding:
    table = rows.assign(error=row_errors(rows)).pivot_table(
        index=["system", "seed"], columns="clip", values="error"
    )
    pairs = []
    for pair in itertools.combinations(ordered_systems(rows), 2):
        one, other = (table.loc[name] for name in pair)
        difference = np.asarray((one - other).dropna(how="all"), np.float64)
        if min(difference.shape) > 1 and len(difference) >= FEWEST_SEEDS and np.isfinite(difference).all():
            pairs += _pooled_pair(pair, difference)
    if not pairs:
        return not_recorded(
            "pooled-test",
            f"no two systems share {FEWEST_SEEDS} seeds and all clips with differences that vary: there is no test.",
        )
    most = max(pairs, key=lambda one: (one.severity, one.factor))
    clustered = sum(one.clustered for one in pairs)
    return judge(
        "pooled-test",
        most.factor,
        OVERSTATED,
        f"in {clustered} of {counted(len(pairs), 'pair')} of systems the clips of one seed are not independent; "
        f"{most.pair[0]} against {most.pair[1]}: the standard error over seeds is {most.factor:.1f} times "
        f"the pooled one. {_published(pairs) or most.sentence}",
        fail=most.severity == 2 and published,
        warn=most.severity == (1 if published else 2),
    )


@dataclass(frozen=True)
class Pooled:
    """One pair of systems under the pooled test and the one over seeds.

    Attributes:
        pair: The two systems.
        factor: Standard error over seeds divided by the pooled one.
        p_pooled: p of the test over seeds x clips.
        p_seeds: p of the test over seeds.
        clustered: Whether differences of one seed are alike (one-way analysis of variance, F-test).
    """

    pair: tuple[str, str]
    factor: float
    p_pooled: float
    p_seeds: float
    clustered: bool

    @property
    def severity(self) -> int:
        """2 where the pooled test misleads, 1 where its assumption fails, else 0."""
        flipped = (self.p_pooled < SIGNIFICANT) != (self.p_seeds < SIGNIFICANT)
        if self.clustered and (flipped or self.factor >= OVERSTATED):
            return 2
        return int(self.clustered)

    @property
    def sentence(self) -> str:
        """Both tests in words."""
        return (
            f"{self.pair[0]} against {self.pair[1]}: pooled p = {self.p_pooled:.4g}, over seeds p = "
            f"{self.p_seeds:.2g} (standard errors 1 to {self.factor:.1f})."
        )


def _pooled_pair(pair: Pair, difference: Values) -> list[Pooled]:
    """Both tests of differences of shape (seeds, clips); empty where one of them is not defined."""
    from scipy import stats

    seeds, clips = difference.shape
    means = difference.mean(axis=1)
    if not (
        differences_vary(means, np.zeros(seeds)) and differences_vary(difference, np.zeros(difference.shape))
    ):
        return []
    between = clips * means.var(ddof=1)
    within = float(((difference - means[:, None]) ** 2).sum()) / (seeds * (clips - 1))
    factor = math.sqrt(between / difference.var(ddof=1))
    p = float(stats.f.sf(between / within, seeds - 1, seeds * (clips - 1))) if within > 0 else 0.0
    pooled, over_seeds = (
        paired_t_test(values, np.zeros_like(values)).p for values in (difference.ravel(), means)
    )
    return [Pooled(pair, factor, pooled, over_seeds, p < SIGNIFICANT)]


def _published(pairs: list[Pooled]) -> str:
    """The comparisons that the SMC 2025 study published, where they are among the pairs."""
    return " ".join(one.sentence for one in pairs if one.pair in COMPARISONS)
