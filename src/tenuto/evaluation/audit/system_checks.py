"""What rows show about a comparison of systems: rating scale, measures, the constant predictor, the pooled test."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tenuto import metrics
from tenuto.analysis.statistics import paired_t_test
from tenuto.config import SYSTEMS
from tenuto.evaluation.audit.evidence import (
    RESOLUTION,
    Data,
    Source,
    Values,
    aligned,
    at_budgets,
    rating_scale,
    split_of,
)
from tenuto.evaluation.audit.findings import Finding, judged, not_recorded, worst
from tenuto.store.rows import emotion_names, row_errors, values_of

SIGNIFICANT = 0.05
FEWEST_SEEDS = 3
"""Below it the pooled test has nothing to be held against."""

OUTSIDE = 0.05
"""Share of predictions outside the scale above which raw and clipped errors have to be read side by side."""

OVERSTATED = 2.0
"""A pooled standard error half as large as it should be stands for a quarter of the pairs it claims: FAIL."""

UNIT_RANGE = (0.0, 1.0)
Measure = Callable[[Values, Values], float]
MEASURES: dict[str, Measure] = {
    "MAE": lambda label, found: metrics.mae(label, found),
    "RMSE": lambda label, found: metrics.rmse(label, found),
    "R2": lambda label, found: -float(metrics.r2(label, found).mean()),
    "CCC": lambda label, found: -float(metrics.ccc(label, found).mean()),
    "Pearson": lambda label, found: -float(metrics.pearson(label, found).mean()),
    "Spearman": lambda label, found: -float(metrics.spearman(label, found).mean()),
}
"""Six measures of a run, each turned so that less is better."""


Pair = tuple[str, str]


@dataclass(frozen=True)
class Order:
    """How one measure ranks systems.

    Attributes:
        means: System -> mean over seeds, less is better.
        ties: Pair of systems -> difference of means up to which they may be ties, see `tie`.
    """

    means: dict[str, float]
    ties: dict[Pair, float]

    @property
    def ranked(self) -> list[str]:
        """Systems, best first."""
        return sorted(self.means, key=lambda name: self.means[name])

    def sign(self, pair: Pair) -> float:
        """Below 0 where the first of the pair is better."""
        return float(np.sign(self.means[pair[0]] - self.means[pair[1]]))

    def apart(self, pair: Pair) -> bool:
        """Whether the means of the pair differ by more than seeds scatter."""
        return abs(self.means[pair[0]] - self.means[pair[1]]) > self.ties[min(pair), max(pair)]


def order(rows: pd.DataFrame, measure: Measure, scale: tuple[float, float] | None = None) -> Order:
    """Rank systems by a measure of each run's attacked predictions, clipped to a scale where one is given."""
    values: dict[str, dict[int, float]] = {}
    for (system, seed, _), run in rows.groupby(["system", "seed", "run"]):
        found = values_of(run, "adversarial")
        found = found if scale is None else np.clip(found, *scale)
        values.setdefault(str(system), {})[int(str(seed))] = measure(values_of(run, "label"), found)
    means = {system: float(np.mean(list(by_seed.values()))) for system, by_seed in values.items()}
    means = {system: mean for system, mean in means.items() if math.isfinite(mean)}
    pairs = itertools.combinations(sorted(means), 2)
    return Order(means, {(one, other): tie(values[one], values[other]) for one, other in pairs})


def tie(first: Mapping[int, float], second: Mapping[int, float]) -> float:
    """Standard error over seeds of the difference of two systems, `RESOLUTION` at least.

    Args:
        first: Seed -> value of one system. Where two seeds at least are shared, the difference is taken per seed;
            else the two squared standard errors are added. With one seed nothing is known of their scatter.
        second: The same of the other.
    """
    shared = sorted(first.keys() & second.keys())
    if len(shared) > 1:
        groups = [[first[seed] - second[seed] for seed in shared]]
    else:
        groups = [list(values.values()) for values in (first, second)]
    squared = sum(np.var(group, ddof=1) / len(group) for group in groups if len(group) > 1)
    return max(math.sqrt(squared), RESOLUTION)


def _p(first: list[float], second: list[float]) -> float:
    """p of a paired t-test; where all differences are the same up to rounding, 0 or 1."""
    difference = np.subtract(first, second)
    if np.ptp(difference) <= 1e-9 * np.abs(difference).max():
        return float(not difference.any())
    return paired_t_test(first, second).p


def turns(first: Order, second: Order) -> list[Pair]:
    """Pairs of systems that two orders rank in opposite ways, better by the first order first."""
    both = sorted(first.means.keys() & second.means.keys())
    pairs = itertools.combinations(both, 2)
    turned = [pair for pair in pairs if first.sign(pair) * second.sign(pair) < 0]
    return [pair if first.sign(pair) < 0 else (pair[1], pair[0]) for pair in turned]


def tau(first: Order, second: Order) -> float:
    """Kendall's tau-a of two orders of the same systems: 1 the same, -1 reversed."""
    both = sorted(first.means.keys() & second.means.keys())
    pairs = list(itertools.combinations(both, 2))
    return float(np.mean([first.sign(pair) * second.sign(pair) for pair in pairs]))


def scale_of_ratings(source: Source) -> Finding:
    """Where do attacked predictions lie, and does clipping them to 0-1 turn the ranking of systems?"""
    label = values_of(source.rows, "label")
    if label.min() < UNIT_RANGE[0] or label.max() > UNIT_RANGE[1]:
        return not_recorded(
            "rating-scale", f"labels run from {label.min():.3g} to {label.max():.3g}: their scale is unknown."
        )
    return worst([(title, _scale_at(rows)) for title, rows in at_budgets(source.rows)])


def _scale_at(rows: pd.DataFrame) -> Finding:
    found = values_of(rows, "adversarial")
    scale = rating_scale(rows)
    share = _outside(found, UNIT_RANGE)
    raw, clipped = (order(rows, MEASURES["MAE"], limits) for limits in (None, UNIT_RANGE))
    turned = turns(raw, clipped)
    clearly = [pair for pair in turned if raw.apart(pair)]
    sides = ", ".join(f"{name} {raw.means[name]:.3f} and {clipped.means[name]:.3f}" for name in raw.ranked)
    told = (
        f", {_outside(found, scale):.0%} outside the rating scale {scale[0]:g}-{scale[1]:g}" if scale else ""
    )
    return judged(
        "rating-scale",
        share,
        OUTSIDE,
        f"{share:.0%} of attacked predictions lie outside 0-1{told}. MAE raw and clipped to 0-1: {sides}."
        f"{_say_turned(turned, clearly, 'clipped')}",
        fail=bool(clearly),
        warn=bool(turned) or share > OUTSIDE,
    )


def _outside(values: Values, scale: tuple[float, float]) -> float:
    return float(((values < scale[0]) | (values > scale[1])).mean())


def _say_turned(turned: list[Pair], clearly: list[Pair], how: str) -> str:
    """Which pairs turn, if any."""
    if not turned:
        return ""
    listed = ", ".join(f"{better}/{worse}" for better, worse in clearly or turned)
    kind = "the ranking turns for" if clearly else "pairs that may be ties swap:"
    return f" When {how}, {kind} {listed}."


def ranking(source: Source) -> Finding:
    """Do MAE, RMSE, R2, CCC, Pearson's r and Spearman's rho rank the systems alike after the attack?"""
    if source.rows["system"].nunique() < 2:
        return not_recorded("ranking", "there is one system only: nothing is ranked.")
    return worst([(title, _ranking_at(rows)) for title, rows in at_budgets(source.rows)])


def _ranking_at(rows: pd.DataFrame) -> Finding:
    every = {name: order(rows, measure) for name, measure in MEASURES.items()}
    orders = {name: one for name, one in every.items() if len(one.means) > 1}
    if len(orders) < 2:
        return not_recorded("ranking", "predictions do not vary over clips: no correlation is defined.")
    pairs = list(itertools.combinations(orders, 2))
    lowest = min(pairs, key=lambda pair: tau(orders[pair[0]], orders[pair[1]]))
    figure = tau(orders[lowest[0]], orders[lowest[1]])
    turned = [(a, b, pair) for a, b in pairs for pair in turns(orders[a], orders[b])]
    clearly = any(orders[a].apart(pair) and orders[b].apart(pair) for a, b, pair in turned)
    if not turned:
        said = (
            f"all {len(orders)} measures rank them alike, best first: {', '.join(orders[lowest[0]].ranked)}."
        )
    else:
        said = f"{lowest[0]} and {lowest[1]} agree least (Kendall's tau {figure:.2f}); {_widest(orders)}." + (
            ""
            if clearly
            else " Pairs that turn may be ties: under one of the two measures seeds scatter more than the means differ."
        )
    return judged("ranking", figure, 1.0, said, fail=clearly, warn=bool(turned))


def _widest(orders: Mapping[str, Order]) -> str:
    """The system whose place depends most on the measure, among the plainly trained ones where there are several."""
    systems = set.intersection(*(set(one.means) for one in orders.values()))
    plain = {name for name in systems if name in SYSTEMS and not SYSTEMS[name].adversarial}
    among = plain if 1 < len(plain) < len(systems) else systems
    places = {
        system: {
            name: [s for s in one.ranked if s in among].index(system) + 1 for name, one in orders.items()
        }
        for system in sorted(among)
    }
    name = max(places, key=lambda system: max(places[system].values()) - min(places[system].values()))
    best, last = min(places[name].values()), max(places[name].values())
    by = {place: ", ".join(m for m, p in places[name].items() if p == place) for place in (best, last)}
    group = "plainly trained systems" if among is plain else "systems"
    return f"of {len(among)} {group} {name} is number {best} by {by[best]} and number {last} by {by[last]}"


def constant_predictor(source: Source, data: Data) -> Finding:
    """Is the clean model, and the attacked one at its smallest budget, better than one constant per emotion?"""
    _, rows = next(at_budgets(source.rows))
    label = values_of(rows, "label")
    trained = _training_means(source, data)
    if trained is None:
        # No constant is better in absolute error than the median of the very labels it is judged on.
        unique = values_of(rows.drop_duplicates("clip"), "label")
        constant = float(np.abs(label - np.median(unique, axis=0)).mean())
        what = (
            f"any constant (at best {constant:.4f}, the test labels' own median; training labels not given)"
        )
    else:
        constant = float(np.abs(label - np.stack([trained[run] for run in rows["run"]])).mean())
        what = f"always saying the mean training label ({constant:.4f})"
    table = pd.DataFrame(
        {"system": rows["system"], "clean": row_errors(rows, "clean"), "after": row_errors(rows)}
    )
    means = table.groupby("system").mean()
    bad = means.index[means["clean"] >= constant - RESOLUTION].tolist()
    beyond = means.index[means["after"] >= constant].tolist()
    return judged(
        "constant-predictor",
        means["clean"].max() / constant if constant else math.inf,
        1.0,
        f"clean MAE {_span(means['clean'])} against {what}{_beyond(means, bad, beyond)}.",
        fail=bool(bad) and trained is not None,
        warn=bool(bad or beyond),
    )


def _beyond(means: pd.DataFrame, bad: list[str], beyond: list[str]) -> str:
    """Which systems are no better than the constant, clean and attacked."""
    clean = f"; not better: {', '.join(bad)}" if bad else ""
    if not beyond:
        return clean
    return (
        f"{clean}. Attacked, {', '.join(beyond)} {'is' if len(beyond) == 1 else 'are'} worse than that (MAE "
        f"{_span(means.loc[beyond, 'after'])}): such errors say how wrong a model is, not how useful"
    )


def _span(values: pd.Series[float]) -> str:
    """The one value, or the lowest and the highest."""
    low, high = f"{values.min():.4f}", f"{values.max():.4f}"
    return low if low == high else f"{low} to {high}"


def _training_means(source: Source, data: Data) -> dict[str, Values] | None:
    """Run -> mean label of its training clips (emotions,); None where data or a split are not known."""
    index = data.known()
    if index is None or index.emotions != emotion_names(source.rows):
        return None
    place = {clip: row for row, clip in enumerate(index.clips)}
    means: dict[str, Values] = {}
    for run in sorted(set(source.rows["run"])):
        split = split_of(source, run, data)
        if split is None:
            return None
        means[run] = index.labels[[place[clip] for clip in aligned(split.train, index)]].mean(axis=0)
    return means


def pooled_test(source: Source) -> Finding:
    """Does a t-test over seeds x clips claim more than one over seeds, and by how much?

    The released study published such a test; of own rows nobody knows yet how they will be tested, so the worst
    verdict there is a warning.
    """
    return worst([(title, _pooled_at(rows, source.released)) for title, rows in at_budgets(source.rows)])


def _pooled_at(rows: pd.DataFrame, published: bool) -> Finding:
    table = rows.assign(error=row_errors(rows)).pivot_table(
        index=["system", "seed"], columns="clip", values="error"
    )
    systems = [name for name in SYSTEMS if name in set(rows["system"])]
    systems += sorted(set(rows["system"]) - set(systems))
    found = []
    for pair in itertools.combinations(systems, 2):
        one, other = (table.loc[name] for name in pair)
        difference = np.asarray((one - other).dropna(how="all"), np.float64)
        if min(difference.shape) > 1 and len(difference) >= FEWEST_SEEDS and np.isfinite(difference).all():
            found.append(_pooled_pair(pair, difference))
    if not found:
        return not_recorded(
            "pooled-test",
            f"no two systems share {FEWEST_SEEDS} seeds and all clips: nothing can be compared.",
        )
    most = max(found, key=lambda one: (one.severity, one.factor))
    clustered = sum(one.clustered for one in found)
    return judged(
        "pooled-test",
        most.factor,
        OVERSTATED,
        f"in {clustered} of {len(found)} pairs of systems the clips of one seed go together and are no independent "
        f"pairs; {most.pair[0]} against {most.pair[1]}: the pooled standard error is {most.factor:.1f} times too "
        f"small. {_published(found) or most.said}",
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
        clustered: Whether differences of one seed go together (one-way analysis of variance, F-test).
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
    def said(self) -> str:
        """The figures in words."""
        return (
            f"{self.pair[0]} against {self.pair[1]}: pooled p = {self.p_pooled:.4g}, over seeds p = "
            f"{self.p_seeds:.2g} (standard errors 1 to {self.factor:.1f})."
        )


def _pooled_pair(pair: tuple[str, str], difference: Values) -> Pooled:
    """Both tests of differences of shape (seeds, clips)."""
    from scipy import stats

    seeds, clips = difference.shape
    means = difference.mean(axis=1)
    between = clips * means.var(ddof=1)
    within = float(((difference - means[:, None]) ** 2).sum()) / (seeds * (clips - 1))
    total = difference.var(ddof=1)
    factor = math.sqrt(between / total) if total > 0 else 1.0
    p = (
        float(stats.f.sf(between / within, seeds - 1, seeds * (clips - 1)))
        if within > 0
        else float(between == 0)
    )
    nothing = np.zeros_like(difference)
    pooled, over_seeds = (
        _p(list(values), list(zero))
        for values, zero in ((difference.ravel(), nothing.ravel()), (means, nothing[:, 0]))
    )
    return Pooled(pair, factor, pooled, over_seeds, p < SIGNIFICANT)


def _published(found: list[Pooled]) -> str:
    """The two comparisons the SMC 2025 study published, where they are there."""
    wanted = (("A2E", "A2M2E"), ("A2B2E", "A2M2E"))
    return " ".join(one.said for one in found if one.pair in wanted)
