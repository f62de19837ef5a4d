"""What rows show about a comparison of systems: the rating scale, the measures, and the constant baseline."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping

import numpy as np
import pandas as pd

from tenuto import metrics
from tenuto.analysis.systems import (
    RESOLUTION,
    Pair,
    Ranking,
    at_budgets,
    constant_error,
    reversals,
    same_seed,
)
from tenuto.config import SYSTEMS
from tenuto.evaluation.audit.findings import Finding, check, judge, not_recorded, worst
from tenuto.evaluation.audit.sources import Evidence, Values
from tenuto.store.rows import outside, row_errors, values_of

OUTSIDE = 0.05
"""Share of predictions outside the scale above which raw and clipped errors have to be read together."""

Measure = Callable[[Values, Values], float]
RANKING_MEASURES: dict[str, Measure] = {
    "MAE": lambda label, predicted: metrics.mae(label, predicted),
    "RMSE": lambda label, predicted: metrics.rmse(label, predicted),
    "R2": lambda label, predicted: -float(metrics.r2(label, predicted).mean()),
    "CCC": lambda label, predicted: -float(metrics.ccc(label, predicted).mean()),
    "Pearson": lambda label, predicted: -float(metrics.pearson(label, predicted).mean()),
    "Spearman": lambda label, predicted: -float(metrics.spearman(label, predicted).mean()),
}
"""Six measures of a run, with the sign with which less is better."""


def rank_systems(rows: pd.DataFrame, measure: Measure, scale: tuple[float, float] | None = None) -> Ranking:
    """Rank systems by a measure of each run's attacked predictions, clipped to a scale where one is given."""
    values: dict[str, dict[int, float]] = {}
    for (system, seed, _), run in rows.groupby(["system", "seed", "run"]):
        predicted = values_of(run, "adversarial")
        predicted = predicted if scale is None else np.clip(predicted, *scale)
        values.setdefault(str(system), {})[int(str(seed))] = measure(values_of(run, "label"), predicted)
    return Ranking(values)


def kendall(first: Ranking, second: Ranking) -> float:
    """Kendall's tau of two rankings of the same systems: 1 the same order, -1 reversed, 1 where one orders nothing."""
    from scipy import stats

    both = [name for name in first.systems if name in second.means]
    tau = stats.kendalltau(
        [first.means[name] for name in both], [second.means[name] for name in both]
    ).statistic
    return float(np.nan_to_num(tau, nan=1.0))


@check(
    "rating-scale", "Are attacked predictions possible ratings, and does clipping them change the ranking?"
)
def rating_scale(evidence: Evidence) -> Finding:
    """Compare attacked predictions, raw and clipped to the scale of the data set."""
    if evidence.scale is None:
        return not_recorded(
            "rating-scale",
            "the scale of the ratings is not known, or the runs have several: these rows do not record it. Audit the "
            "run, or give its data set with `data` and `root`.",
        )
    if reason := same_seed(evidence.rows):
        return not_recorded("rating-scale", reason)
    label = values_of(evidence.rows, "label")
    low, high = evidence.scale
    if outside(label, evidence.scale).any():
        return not_recorded(
            "rating-scale",
            f"labels range from {label.min():.3g} to {label.max():.3g}, outside the scale {low:g} to {high:g}.",
        )
    return worst([(title, _scale_at(rows, evidence)) for title, rows in at_budgets(evidence.rows)])


def _scale_at(rows: pd.DataFrame, evidence: Evidence) -> Finding:
    scale, narrower = evidence.scale, evidence.rating_range
    assert scale is not None
    predicted = values_of(rows, "adversarial")
    share = float(outside(predicted, scale).mean())
    raw, clipped = (rank_systems(rows, RANKING_MEASURES["MAE"], limits) for limits in (None, scale))
    reversed_pairs, clear = reversals(raw, clipped, ties=True), _clear(raw, clipped)
    sides = ", ".join(f"{name} {raw.means[name]:.3f} and {clipped.means[name]:.3f}" for name in raw.systems)
    text = f"{scale[0]:.3g}-{scale[1]:.3g}"
    ratings = (
        f", {outside(predicted, narrower).mean():.0%} outside the rating scale {narrower[0]:.3g}-{narrower[1]:.3g}"
        if narrower
        else ""
    )
    return judge(
        "rating-scale",
        share,
        OUTSIDE,
        f"{share:.0%} of attacked predictions lie outside {text}{ratings}. MAE raw and clipped to {text}: {sides}."
        f"{_describe(reversed_pairs, clear)}",
        fail=bool(clear),
        warn=bool(reversed_pairs) or share > OUTSIDE,
    )


def _clear(raw: Ranking, clipped: Ranking) -> list[Pair]:
    """Reversed pairs that are no ties of raw errors; clipping compresses what is left of them."""
    return [pair for pair in reversals(raw, clipped, ties=True) if not raw.is_tie(*pair)]


def _describe(pairs: list[Pair], clear: list[Pair]) -> str:
    """The pairs that clipping reverses, if any."""
    if not pairs:
        return ""
    listed = ", ".join(f"{better}/{worse}" for better, worse in clear or pairs)
    return f" Clipping {'reverses' if clear else 'swaps ties'}: {listed}."


@check("ranking", "Do six measures rank the systems alike?", less_is_worse=True)
def ranking(evidence: Evidence) -> Finding:
    """Rank the systems by MAE, RMSE, R2, CCC, Pearson's r and Spearman's rho after the attack."""
    if evidence.rows["system"].nunique() < 2:
        return not_recorded("ranking", "there is one system only, so there is no ranking.")
    if reason := same_seed(evidence.rows):
        return not_recorded("ranking", reason)
    return worst([(title, _ranking_at(rows)) for title, rows in at_budgets(evidence.rows)])


def _ranking_at(rows: pd.DataFrame) -> Finding:
    if rows.groupby("run")["clip"].nunique().min() < 2:
        return not_recorded("ranking", "there is one clip only: no correlation is defined.")
    every = {name: rank_systems(rows, measure) for name, measure in RANKING_MEASURES.items()}
    rankings = {name: one for name, one in every.items() if len(one.means) > 1}
    if len(rankings) < 2:
        return not_recorded("ranking", "predictions do not vary over clips: no correlation is defined.")
    pairs = list(itertools.combinations(rankings, 2))
    lowest = min(pairs, key=lambda pair: kendall(rankings[pair[0]], rankings[pair[1]]))
    tau = kendall(rankings[lowest[0]], rankings[lowest[1]])
    is_reversed = any(reversals(rankings[a], rankings[b], ties=True) for a, b in pairs)
    is_clear = any(reversals(rankings[a], rankings[b]) for a, b in pairs)
    if not is_reversed:
        systems = ", ".join(rankings[lowest[0]].systems)
        without = "".join(f" ({one})" for one in _undefined(every, rows["system"].unique()))
        sentence = f"all {len(rankings)} measures rank them alike{without}, best first: {systems}."
    else:
        sentence = (
            f"{lowest[0]} and {lowest[1]} agree least (Kendall's tau {tau:.2f}); {_widest(rankings, lowest)}."
        )
        if not is_clear:
            sentence += " Every reversed pair is a tie under one of the two measures."
    return judge("ranking", tau, 1.0, sentence, fail=is_clear, warn=is_reversed)


def _undefined(rankings: Mapping[str, Ranking], systems: Collection[str]) -> list[str]:
    """Measures that are not defined for some systems, with these: ``Pearson, Spearman: not defined for A2E``."""
    lacking: dict[tuple[str, ...], list[str]] = {}
    for name, one in rankings.items():
        lacking.setdefault(tuple(system for system in systems if system not in one.means), []).append(name)
    return [
        f"{', '.join(own)}: not defined"
        + (f" for {', '.join(without)}" if len(without) < len(systems) else "")
        for without, own in lacking.items()
        if without
    ]


def _widest(rankings: Mapping[str, Ranking], lowest: tuple[str, str]) -> str:
    """The system whose place depends most on the measure, among the study's plainly trained ones where that changes.

    Where that is none of the systems that all measures rank, a pair that the two measures ``lowest`` reverse.
    """
    systems = set.intersection(*(set(one.means) for one in rankings.values()))
    plain = {name for name in systems if name in SYSTEMS and not SYSTEMS[name].adversarial}
    group, places = "plainly trained systems", _places(rankings, plain)
    if plain == systems or not any(len(set(own.values())) > 1 for own in places.values()):
        group, places = "systems", _places(rankings, systems)
    if not any(len(set(own.values())) > 1 for own in places.values()):
        first, second = lowest
        (better, worse), *_ = reversals(rankings[first], rankings[second], ties=True)
        return f"{better} is better than {worse} by {first} and worse by {second}"
    name = max(places, key=lambda system: max(places[system].values()) - min(places[system].values()))
    best, last = min(places[name].values()), max(places[name].values())
    by = {place: ", ".join(m for m, p in places[name].items() if p == place) for place in (best, last)}
    return f"of {len(places)} {group} {name} is number {best} by {by[best]} and number {last} by {by[last]}"


def _places(rankings: Mapping[str, Ranking], among: set[str]) -> dict[str, dict[str, int]]:
    """System -> measure -> its place among some systems, 1 for the best."""
    return {
        system: {
            name: [one for one in ranking.systems if one in among].index(system) + 1
            for name, ranking in rankings.items()
        }
        for system in sorted(among)
    }


@check("constant-predictor", "Is the model better than a constant?")
def constant_predictor(evidence: Evidence) -> Finding:
    """Compare the model, clean and attacked at its smallest budget, with the mean training label."""
    _, rows = next(at_budgets(evidence.rows))
    constant = _constant_error(evidence, rows)
    if constant is None:
        how = "`root`" if evidence.source.folders else "`data`, `root` and `split`"
        return not_recorded(
            "constant-predictor",
            f"the constant is the mean training label, which is not known here: give the data with {how}.",
        )
    table = pd.DataFrame(
        {"system": rows["system"], "clean": row_errors(rows, "clean"), "after": row_errors(rows)}
    )
    means = table.groupby("system").mean()
    bad = means.index[means["clean"] >= constant - RESOLUTION].tolist()
    beyond = means.index[means["after"] >= constant].tolist()
    clean = f"; not better: {', '.join(bad)}" if bad else ""
    after = (
        f" Attacked, {', '.join(beyond)} {'is' if len(beyond) == 1 else 'are'} worse than that (MAE "
        f"{_span(means.loc[beyond, 'after'])}): such errors show how wrong a model is, not how useful."
        if beyond
        else ""
    )
    return judge(
        "constant-predictor",
        means["clean"].max() / constant if constant else math.inf,
        1.0,
        f"clean MAE {_span(means['clean'])}; always predicting the mean training label has {constant:.4f}{clean}."
        f"{after}",
        fail=bool(bad),
        warn=bool(beyond),
    )


def _constant_error(evidence: Evidence, rows: pd.DataFrame) -> float | None:
    """MAE of the constant baseline on these rows: from the data, else as `tenuto evaluate` recorded it; else None."""
    if (means := evidence.training_means) is not None:
        return constant_error(values_of(rows, "label"), np.stack([means[str(run)] for run in rows["run"]]))
    return evidence.recorded_constant


def _span(values: pd.Series[float]) -> str:
    """The one value, or the lowest and the highest."""
    low, high = f"{values.min():.4f}", f"{values.max():.4f}"
    return low if low == high else f"{low} to {high}"
