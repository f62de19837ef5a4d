"""Numbers from rows: selection, statistics, comparison, curves, and the tables of the paper. Needs no torch."""

from tenuto.analysis.comparison import Comparison, Settings, compare
from tenuto.analysis.curves import Curves, curve, from_folders, measure
from tenuto.analysis.matched import MatchedDifference, matched_differences
from tenuto.analysis.optimality import Optimality, compare_attacks
from tenuto.analysis.sentences import Effects, summarise
from tenuto.analysis.smc2025 import difference, significance, table1
from tenuto.analysis.statistics import (
    EffectSize,
    Interval,
    MixedComparison,
    PairedTest,
    crossed_interval,
    effect_size,
    holm,
    mixed_model,
    paired_t_test,
    smallest_detectable,
)
from tenuto.analysis.systems import (
    Ranking,
    at_budgets,
    constant_error,
    errors_per_clip,
    ordered_systems,
    reversals,
    run_metrics,
    selection,
    standard_error,
)

__all__ = [
    "Comparison",
    "Curves",
    "EffectSize",
    "Effects",
    "Interval",
    "MatchedDifference",
    "MixedComparison",
    "Optimality",
    "PairedTest",
    "Ranking",
    "Settings",
    "at_budgets",
    "compare",
    "compare_attacks",
    "constant_error",
    "crossed_interval",
    "curve",
    "difference",
    "effect_size",
    "errors_per_clip",
    "from_folders",
    "holm",
    "matched_differences",
    "measure",
    "mixed_model",
    "ordered_systems",
    "paired_t_test",
    "reversals",
    "run_metrics",
    "selection",
    "significance",
    "smallest_detectable",
    "standard_error",
    "summarise",
    "table1",
]
