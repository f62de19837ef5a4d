"""`tenuto stats`: systems compared on seeds and clips, as tables, from rows of any source.

Three errors of a clip under a run are compared: after the attack (``attacked``), on the clean clip (``clean``), and
their difference (``added``). Clips are resampled, so a measure must have a value per clip: absolute or squared error,
averaged over emotions. Correlations and R2 exist only across clips and have no value per clip.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from tenuto.analysis import matched, statistics, words
from tenuto.analysis.systems import FEWEST_SEEDS, Pair, errors_per_clip, ordered_systems, selection
from tenuto.display import Displayed, Element
from tenuto.errors import ConfigError, DataError, counted, did_you_mean
from tenuto.store.rows import emotion_names, validate_rows

QUANTITIES = {"attacked": "after the attack", "added": "added by the attack", "clean": "on clean clips"}
"""Which error of a clip: its name in tables, and in words."""

ERROR_MEASURES: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "mae": ("mean absolute", np.abs),
    "mse": ("mean squared", np.square),
}
"""Which error of a clip: in words, and the function of prediction - rating that is averaged over emotions."""

SYSTEM_COLUMNS = ("quantity", "system", "seeds", "clips", "mean", "low", "high", "resampled")
PAIR_COLUMNS = (
    *("quantity", "first", "second", "seeds", "clips", "difference", "low", "high", "resampled"),
    *("t", "degrees_of_freedom", "p", "p_holm", "d_z", "g_z", "detectable"),
    *("pooled_n", "pooled_t", "pooled_degrees_of_freedom", "pooled_p"),
)
MIXED_COLUMNS = (
    *("quantity", "first", "second", "seeds_first", "seeds_second", "clips", "difference"),
    *("standard_error", "low", "high", "z", "p", "p_holm"),
    *("variance_seed", "variance_clip", "variance_system_clip", "variance_residual", "note"),
)
SAME_LABEL = 1e-5
"""Largest difference of two labels of one clip that rounding to float32 explains."""
TOO_FEW = "too few seeds or clips"
TEXTS = ("quantity", "first", "second", "resampled", "note")
COUNTS = (
    *("seeds", "clips", "seeds_first", "seeds_second"),
    *("degrees_of_freedom", "pooled_n", "pooled_degrees_of_freedom"),
)


@dataclass(frozen=True)
class Settings:
    """How systems are compared.

    Attributes:
        measure: One of `ERROR_MEASURES`.
        clipped: Predictions are clipped to this range first; None leaves them as they are.
        pairs: Planned comparisons, first minus second; None means all pairs of systems.
        draws: Bootstrap resamplings.
        seed: Of the bootstrap.
        level: Of all intervals.

    Raises:
        ConfigError: An unknown measure, an empty range, or a number out of its own.
    """

    measure: str = "mae"
    clipped: tuple[float, float] | None = None
    pairs: Sequence[Pair] | None = None
    draws: int = 10_000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.measure not in ERROR_MEASURES:
            raise ConfigError(
                f"measure {self.measure!r} is unknown. {did_you_mean(self.measure, ERROR_MEASURES)}"
            )
        if self.clipped is not None and not self.clipped[0] < self.clipped[1]:
            raise ConfigError(f"clipped to {self.clipped}: expected a range LOW HIGH, such as 0 1.")
        are_whole = isinstance(self.draws, Integral) and isinstance(self.seed, Integral)
        if not are_whole or self.draws < 100 or self.seed < 0 or not 0.5 <= self.level < 1:
            raise ConfigError(
                f"draws {self.draws}, seed {self.seed}, level {self.level}: allowed are at least 100 draws, "
                "a seed from 0 (whole numbers), and a level from 0.5 to below 1."
            )
        if any(isinstance(pair, str) or len(pair) != 2 for pair in self.pairs or ()):
            raise ConfigError(f"pairs {self.pairs!r}: expected pairs of systems, such as [('A2E', 'A2M2E')].")


@dataclass(frozen=True, repr=False)
class Comparison(Displayed):
    """The result of `compare`.

    Attributes:
        settings: The settings of the comparison.
        unit: One sentence: what a value is, and what is sampled.
        systems: One line per quantity and system, columns `SYSTEM_COLUMNS`.
        pairs: One line per quantity and pair, columns `PAIR_COLUMNS`.
        mixed: One line per quantity and pair, columns `MIXED_COLUMNS`.
        runs: One line per run, ``system seed attacked clean``: errors, means over its clips.
        matched: One line per pair, columns `matched.MATCHED_COLUMNS`: errors after the attack at the same clean error.
        remarks: What could not be computed or was left out, a sentence each.
    """

    settings: Settings
    unit: str
    systems: pd.DataFrame
    pairs: pd.DataFrame
    mixed: pd.DataFrame
    runs: pd.DataFrame
    matched: pd.DataFrame
    remarks: tuple[str, ...]

    def _elements(self) -> list[Element]:
        return [self.unit, self.systems, self.pairs, *self.remarks]


def clip_errors(rows: pd.DataFrame, settings: Settings = Settings()) -> pd.DataFrame:
    """``system seed clip attacked clean added``: the errors of every test clip under every run.

    Raises:
        DataError: See `systems.selection` and `validate_rows`, or runs on different clips or with different labels.
    """
    chosen = selection(validate_rows(rows))
    check_same_clips(chosen)
    limits = settings.clipped or (-np.inf, np.inf)
    table = errors_per_clip(chosen, *limits, ERROR_MEASURES[settings.measure][1])
    table["added"] = table["attacked"] - table["clean"]
    return table


def check_same_clips(rows: pd.DataFrame) -> None:
    """Raise `DataError` unless every run has the clips of the first."""
    clips = {str(run): set(part["clip"]) for run, part in rows.groupby("run", sort=False)}
    first, first_clips = next(iter(clips.items()))
    for run, run_clips in clips.items():
        if run_clips != first_clips:
            clip = min(run_clips ^ first_clips)
            having, lacking = (first, run) if clip in first_clips else (run, first)
            raise DataError(
                f"clip {clip} has a row in {having} but none in {lacking}; seeds and clips must be crossed: attack "
                "the same clips with every run, or leave that run out."
            )
    check_same_labels(rows)


def check_same_labels(rows: pd.DataFrame) -> None:
    """Raise `DataError` where runs have different labels for one clip, as those of two data sets have."""
    columns = [f"label_{name}" for name in emotion_names(rows)]
    labels = rows.groupby("clip")[columns]
    apart = (labels.max() - labels.min()).max(axis=1)
    if (apart > SAME_LABEL).any():
        clip = str(apart.idxmax())
        own = rows[rows["clip"] == clip]
        values, runs = own[columns].to_numpy(np.float64), list(own["run"])
        other = runs[int(np.abs(values - values[0]).max(axis=1).argmax())]
        raise DataError(
            f"clip {clip} has other labels in {other} than in {runs[0]}; only runs on the same data can be "
            "compared: leave one of them out."
        )


def parse_pairs(listed: str) -> list[Pair]:
    """``A2E:A2M2E,A2B2E:A2M2E`` as pairs. Raises `ConfigError` for anything else."""
    pairs: list[Pair] = []
    for part in listed.split(","):
        names = [name.strip() for name in part.split(":")]
        if len(names) != 2 or not all(names):
            raise ConfigError(
                f"pairs: got {part!r}, expected two systems as in A2E:A2M2E, commas between pairs."
            )
        pairs.append((names[0], names[1]))
    return pairs


def planned(systems: Sequence[str], pairs: Sequence[Pair] | None) -> list[Pair]:
    """The given pairs, or all pairs of the systems.

    Raises:
        ConfigError: A system without rows, one against itself, or a pair named twice (in either order).
    """
    if pairs is None:
        return list(itertools.combinations(systems, 2))
    for name in itertools.chain.from_iterable(pairs):
        if name not in systems:
            raise ConfigError(f"pairs: there are no rows of {name}. {did_you_mean(name, systems)}")
    for first, second in pairs:
        if first == second or sum({first, second} == set(pair) for pair in pairs) > 1:
            raise ConfigError(
                f"pairs: {first}:{second} compares a system with itself or is listed twice. Leave it out."
            )
    return list(pairs)


def compare(
    rows: pd.DataFrame, settings: Settings = Settings(), advance: Callable[[int], None] = lambda done: None
) -> Comparison:
    """Intervals, tests, mixed models and matched differences of all systems and planned pairs.

    Args:
        rows: Rows of one attack; only test clips count.
        settings: See `Settings`.
        advance: Called with 1 after every comparison, for a progress bar.

    Raises:
        DataError: See `clip_errors`.
        ConfigError: See `planned`.
    """
    errors = clip_errors(rows, settings)
    names = ordered_systems(errors)
    pairs = planned(names, settings.pairs)
    systems, paired, mixed = [], [], []
    for quantity in QUANTITIES:
        sides = {name: matrix(errors, name, quantity) for name in names}
        systems += [_system(quantity, name, sides[name], settings) for name in names]
        for pair in pairs:
            paired.append(_paired(quantity, pair, sides, settings))
            mixed.append(_mixed(quantity, pair, sides, settings.level))
            advance(1)
    tested, modelled = _family(paired, PAIR_COLUMNS), _family(mixed, MIXED_COLUMNS)
    runs = errors.groupby(["system", "seed"])[["attacked", "clean"]].mean().reset_index()
    at_matched = _family(matched.matched_lines(runs, pairs, settings.level), matched.MATCHED_COLUMNS)
    seeds = {name: set(runs.loc[runs["system"] == name, "seed"]) for name in names}
    return Comparison(
        settings=settings,
        unit=_unit(rows, settings),
        systems=pd.DataFrame(systems, columns=list(SYSTEM_COLUMNS)),
        pairs=tested,
        mixed=modelled,
        runs=runs,
        matched=at_matched,
        remarks=(*_remarks(seeds, pairs, tested, modelled), *matched.remarks(at_matched)),
    )


def matrix(errors: pd.DataFrame, system: str, quantity: str) -> pd.DataFrame:
    """A column of the errors of a system, one line per seed and one column per clip, both in order."""
    return errors[errors["system"] == system].pivot(index="seed", columns="clip", values=quantity)


def _system(quantity: str, name: str, side: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    interval = statistics.crossed_interval(side.to_numpy(), settings.draws, settings.seed, settings.level)
    line = {"quantity": quantity, "system": name, "seeds": side.shape[0], "clips": side.shape[1]}
    return line | vars(interval)


def _paired(
    quantity: str, pair: Pair, sides: Mapping[str, pd.DataFrame], settings: Settings
) -> dict[str, Any]:
    """A line of `Comparison.pairs`: statistics over the seeds that both systems have."""
    first, second = sides[pair[0]], sides[pair[1]]
    shared = first.index.intersection(second.index)
    a, b = first.loc[shared].to_numpy(), second.loc[shared].to_numpy()
    line: dict[str, Any] = {"quantity": quantity, "first": pair[0], "second": pair[1], "clips": a.shape[1]}
    line |= {"seeds": len(shared), "resampled": "nothing"}
    if not len(shared):
        return line
    interval = statistics.crossed_interval(a - b, settings.draws, settings.seed, settings.level)
    line |= {"difference": interval.mean, **vars(interval)}
    if statistics.differences_vary(a.ravel(), b.ravel()):
        pooled = vars(statistics.paired_t_test(a.ravel(), b.ravel()))
        line |= {f"pooled_{name}": value for name, value in pooled.items()}
    means = a.mean(axis=1), b.mean(axis=1)
    if len(shared) < FEWEST_SEEDS or not statistics.differences_vary(*means):
        return line
    test = statistics.paired_t_test(*means)
    line |= {"t": test.t, "degrees_of_freedom": test.degrees_of_freedom, "p": test.p}
    line |= vars(statistics.effect_size(test))
    deviation = float((means[0] - means[1]).std(ddof=1))
    return line | {"detectable": deviation * statistics.smallest_detectable(test.n)}


def _mixed(quantity: str, pair: Pair, sides: Mapping[str, pd.DataFrame], level: float) -> dict[str, Any]:
    """A line of `Comparison.mixed`: all runs of both systems, since seeds are nested in systems."""
    first, second = sides[pair[0]], sides[pair[1]]
    line: dict[str, Any] = {
        "quantity": quantity,
        "first": pair[0],
        "second": pair[1],
        "clips": first.shape[1],
    }
    line |= {"seeds_first": len(first), "seeds_second": len(second), "note": ""}
    if min(len(first), len(second)) < FEWEST_SEEDS or first.shape[1] < 2:
        return line | {"note": TOO_FEW}
    try:
        model = statistics.mixed_model(first.to_numpy(), second.to_numpy(), level)
    except DataError:
        return line | {"note": "no variation"}
    if not model.converged:
        return line | {"note": "did not converge"}
    values = vars(model) | {f"variance_{name}": value for name, value in model.variances.items()}
    zero = ", ".join(name.replace("_", " x ") for name in model.at_zero)
    note = f"variance of {zero} at zero" if zero else ""
    return line | {name: values[name] for name in MIXED_COLUMNS if name in values} | {"note": note}


def _family(lines: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Lines as a table, p adjusted by Holm over the planned pairs of each quantity."""
    table = pd.DataFrame(lines, columns=list(columns))
    for name in columns:
        if name not in TEXTS:
            table[name] = table[name].astype("Int64" if name in COUNTS else float)
    for quantity in QUANTITIES:
        own = table["quantity"] == quantity
        table.loc[own, "p_holm"] = statistics.holm(table.loc[own, "p"].to_numpy(float))
    return table


def _unit(rows: pd.DataFrame, settings: Settings) -> str:
    chosen = selection(rows)
    clipped = (
        "" if settings.clipped is None else ", predictions clipped to {:g}-{:g}".format(*settings.clipped)
    )
    emotions, clips = len(emotion_names(rows)), chosen["clip"].nunique()
    return (
        f"A value is the {ERROR_MEASURES[settings.measure][0]} error over {counted(emotions, 'emotion')} of one "
        f"test clip under one run (a system trained with one seed){clipped}; {counted(clips, 'clip')}, every run "
        f"predicts all of them. Attacked predictions {words.attacked_pair(chosen)}."
    )


def _remarks(
    seeds: Mapping[str, set[int]], pairs: Sequence[Pair], tested: pd.DataFrame, modelled: pd.DataFrame
) -> list[str]:
    """What is missing from the tables or uses only part of the data; each sentence names its systems or pairs."""
    names_by_sentence: dict[str, list[str]] = {}

    def add(sentence: str, name: str) -> None:
        names = names_by_sentence.setdefault(sentence, [])
        names += [name] if name not in names else []

    for name, own in seeds.items():
        if len(seeds) == 1:
            add("There is one system only, so there is no comparison", name)
        if len(own) < FEWEST_SEEDS:
            over = "clips only" if len(own) == 1 else f"{len(own)} seeds and is far too short"
            add(f"The interval of a system's mean resamples {over}", name)
    for first, second in pairs:
        shared = seeds[first] & seeds[second]
        if unpaired := seeds[first] ^ seeds[second]:
            listed = ", ".join(str(seed) for seed in sorted(unpaired))
            add(
                f"Only the {counted(len(shared), 'shared seed is', 'shared seeds are')} paired, not {listed}",
                f"{first}:{second}",
            )
        if len(shared) < FEWEST_SEEDS:
            add(f"No test with seeds as the unit below {FEWEST_SEEDS} shared seeds", f"{first}:{second}")
    same = tested["t"].isna() & (tested["seeds"] >= FEWEST_SEEDS)
    for quantity, first, second, *_ in tested[same].itertuples(index=False):
        error = QUANTITIES[str(quantity)]
        add(f"No test of the error {error}, every seed has the same difference", f"{first}:{second}")
    for quantity, first, second, *_, note in modelled[modelled["p"].isna()].itertuples(index=False):
        which = "" if note == TOO_FEW else f" of the error {QUANTITIES[str(quantity)]}"
        add(f"No mixed model{which}, {note}", f"{first}:{second}")
    return [f"{sentence}: {', '.join(names)}." for sentence, names in names_by_sentence.items()]


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything in plain values; what could not be computed is NaN or None."""
    records = {
        name: table.astype(object).where(table.notna(), None).to_dict("records")
        for name, table in vars(comparison).items()
        if isinstance(table, pd.DataFrame)
    }
    settings = {name: value for name, value in vars(comparison.settings).items() if name != "pairs"}
    return settings | {"unit": comparison.unit, **records, "remarks": list(comparison.remarks)}
