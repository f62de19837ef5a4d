import dataclasses

import numpy as np
import pytest

from tenuto.config import DataConfig
from tenuto.data.base import Index
from tenuto.data.splits import Split
from tenuto.errors import DataError
from tenuto.evaluation.audit.data import Data
from tenuto.evaluation.audit.findings import Verdict
from tenuto.evaluation.audit.system_checks import RANKING_MEASURES, kendall, rank_systems
from tenuto.store.released_logs import RELEASED_EMOTIONS
from tests.evaluation.audit.planted import bounded, differences, finding, source
from tests.reporting import made_up

PASS, WARN, FAIL, NOT_RECORDED = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.NOT_RECORDED
SEEDS = (1, 2, 3, 4)


def study(**attacked):
    """Four runs per system; each emotion of every clip is off by about the given value."""
    return source(
        *(
            bounded(system, seed, attacked=value + 0.001 * seed)
            for system, value in attacked.items()
            for seed in SEEDS
        )
    )


def spread(system, seed, share, off):
    """Only a share of the emotions is off, by much: clipping to 0-1 takes most of that error away."""
    rows = bounded(system, seed, attacked=0.0)
    for name in RELEASED_EMOTIONS[: round(share * len(RELEASED_EMOTIONS))]:
        rows[f"adversarial_{name}"] += off + 0.01 * seed
    return rows


# rating-scale


def rated(rows, **settings):
    """The finding where the data set is known: Soundtracks, or a folder."""
    return finding("rating-scale", rows, Data(config=DataConfig(**settings)))


def test_without_the_data_set_the_scale_is_not_assumed():
    result = finding("rating-scale", study(A2E=2.0))
    assert result.verdict is NOT_RECORDED
    assert "`data` and `root`" in result.sentence


def test_a_data_set_with_another_scale_is_judged_by_that():
    table = {"ratings": "r.csv", "id_column": "clip", "emotions": RELEASED_EMOTIONS, "scale": [-1, 1]}
    result = rated(study(A2E=-0.95), dataset="folder", folder=table)
    assert "20% of attacked predictions lie outside -1-1." in result.sentence or result.value < 0.3


def test_predictions_inside_the_scale_pass():
    result = rated(study(A2E=0.0515, A2M2E=0.0215))
    assert result.verdict is PASS
    assert "A2M2E 0.024 and 0.024, A2E 0.054 and 0.054" in result.sentence


def test_many_predictions_outside_are_a_warning_with_both_errors():
    result = rated(study(A2E=2.0, A2M2E=1.5))
    assert (result.verdict, result.value) == (WARN, 1.0)
    assert "100% outside the rating scale 0.1-0.9" in result.sentence
    assert "A2M2E 1.502 and 0.500" in result.sentence


def test_a_ranking_that_clipping_turns_fails():
    wild = [spread("A2E", seed, 0.25, 4.0) for seed in SEEDS]
    tame = [spread("A2M2E", seed, 1.0, 0.4) for seed in SEEDS]
    result = rated(source(*wild, *tame))
    assert result.verdict is FAIL
    assert "Clipping reverses: A2M2E/A2E" in result.sentence


def test_with_one_seed_a_turn_larger_than_the_resolution_fails():
    result = rated(source(spread("A2E", 1, 0.25, 4.0), spread("A2M2E", 1, 1.0, 0.4)))
    assert result.verdict is FAIL
    assert "Clipping reverses: A2M2E/A2E" in result.sentence


def test_a_turn_of_raw_means_closer_than_seeds_scatter_is_a_warning():
    wild = [spread("A2E", seed, 0.25, 4.0 + 2 * (-1) ** seed) for seed in SEEDS]
    tame = [spread("A2M2E", seed, 1.0, 0.9) for seed in SEEDS]
    result = rated(source(*wild, *tame))
    assert result.verdict is WARN
    assert "Clipping swaps ties: A2M2E/A2E" in result.sentence


def test_labels_of_another_scale_are_not_judged():
    rows = bounded()
    rows["label_sad"] += 3
    assert rated(source(rows)).verdict is NOT_RECORDED


def test_labels_at_an_end_of_the_scale_are_inside_although_float32_rounds_them():
    rows = bounded().assign(scale_low=1 / 9, scale_high=1.0)
    for name in RELEASED_EMOTIONS:
        rows[f"label_{name}"] = float(np.float32(1 / 9))  # below 1 / 9
        rows[f"adversarial_{name}"] = float(np.float32(1 / 9))
    result = finding("rating-scale", source(rows))
    assert (result.verdict, result.value) == (PASS, 0)


def test_the_ratings_of_soundtracks_are_not_those_of_rows_that_record_a_scale():
    rows = bounded(attacked=2.0).assign(scale_low=0.0, scale_high=1.0)
    assert "outside 0-1. MAE" in finding("rating-scale", source(rows)).sentence


@pytest.mark.parametrize("check", ["rating-scale", "ranking", "pooled-test"])
def test_two_runs_of_one_seed_are_not_compared(check):
    rows = study(A2E=0.1, A2M2E=0.3).rows
    again = rows[(rows["system"] == "A2E") & (rows["seed"] == 3)].assign(run="A2E-3b")
    result = finding(check, source(rows, again), Data(config=DataConfig()))
    assert result.verdict is NOT_RECORDED
    assert result.sentence == "A2E with seed 3 has 2 runs (A2E-3, A2E-3b); keep one of them."


def test_every_budget_is_looked_at_and_the_worst_named():
    small, large = study(A2E=0.05).rows, study(A2E=2.0).rows.assign(epsilon=0.2, linf=0.2)
    result = rated(source(small, large))
    assert result.sentence.startswith("linf 0.2 (the most severe of 2): 100%")


# ranking


def test_measures_that_agree_pass():
    rows = study(A2E=0.1, A2M2E=0.3).rows
    noise = np.random.default_rng(0).normal(size=(len(rows), 8))
    size = np.where(rows["system"] == "A2E", 0.05, 0.5)[:, None]
    columns = [f"adversarial_{name}" for name in RELEASED_EMOTIONS]
    rows[columns] = rows[columns].to_numpy() + size * noise
    result = finding("ranking", source(rows))
    assert (result.verdict, result.value) == (PASS, 1.0)
    assert "best first: A2E, A2M2E" in result.sentence


def test_a_ranking_that_turns_between_error_and_correlation_fails():
    near = [bounded("A2M2E", seed, attacked=0.01 * seed, falling=True) for seed in SEEDS]
    far = [bounded("A2E", seed, attacked=2.0 + 0.01 * seed) for seed in SEEDS]
    result = finding("ranking", source(*near, *far))
    assert (result.verdict, result.value) == (FAIL, -1.0)
    assert "A2E is number 1 by CCC, Pearson, Spearman and number 2 by MAE, RMSE, R2" in result.sentence


def test_with_one_seed_measures_that_turn_fail():
    near, far = bounded("A2M2E", 1, attacked=0.0, falling=True), bounded("A2E", 1, attacked=2.0)
    assert finding("ranking", source(near, far)).verdict is FAIL


def test_a_turn_of_means_closer_than_seeds_scatter_is_a_warning():
    near = [bounded("A2M2E", seed, attacked=10.0 * (seed % 2), falling=True) for seed in SEEDS]
    far = [bounded("A2E", seed, attacked=5.3) for seed in SEEDS]
    result = finding("ranking", source(*near, *far))
    assert result.verdict is WARN
    assert "is a tie" in result.sentence


def test_one_clip_has_errors_and_no_ranking():
    rows = source(*(bounded(system, attacked=0.02, clips=1) for system in ("A2E", "A2M2E")))
    assert finding("ranking", rows).verdict is NOT_RECORDED
    assert rated(rows).verdict is PASS


def test_one_system_is_not_ranked():
    assert finding("ranking", study(A2E=0.1)).verdict is NOT_RECORDED


def test_the_plainly_trained_systems_are_ranked_among_themselves():
    runs = [bounded(name, seed, attacked=0.01 * seed, falling=True) for name in ("A2M2E",) for seed in SEEDS]
    runs += [bounded("A2E", seed, attacked=2.0 + 0.01 * seed) for seed in SEEDS]
    runs += [bounded("aA2E", seed, attacked=0.001 * seed) for seed in SEEDS]
    assert "of 2 plainly trained systems A2" in finding("ranking", source(*runs)).sentence
    # Where the measure exchanges none of these, the system that it moves is named.
    runs = [
        bounded(name, seed, attacked=2.0 * place + 0.01 * seed)
        for place, name in enumerate(("A2E", "A2M2E"))
        for seed in SEEDS
    ]
    runs += [bounded("aA2E", seed, attacked=0.01 * seed, falling=True) for seed in SEEDS]
    assert (
        "of 3 systems A2M2E is number 2 by CCC, Pearson, Spearman and number 3 by MAE"
        in finding("ranking", source(*runs)).sentence
    )


def test_systems_with_equal_predictions_are_ranked_alike():
    result = finding("ranking", study(A2E=0.1, A2M2E=0.1))
    assert (result.verdict, result.value) == (PASS, 1.0)


def test_measures_that_are_not_defined_are_named():
    rows = study(A2E=0.1, A2M2E=0.3).rows.assign(label_sad=0.5)
    assert (
        "all 3 measures rank them alike (R2, Pearson, Spearman: not defined)"
        in finding("ranking", source(rows)).sentence
    )


def test_a_system_that_a_measure_leaves_out_is_named():
    rows = study(A2E=0.1, A2M2E=0.3).rows
    flat = study(A2B2E=0.2).rows
    flat[[name for name in flat if name.startswith("adversarial_")]] = 0.3  # no correlation
    assert finding("ranking", source(rows, flat)).sentence.endswith(
        "agree least (Kendall's tau 0.33); A2B2E is better than A2M2E by MAE and worse by RMSE."
    )


def test_kendall_s_tau_of_known_orders():
    first = rank_systems(study(A2E=0.1, A2B2E=0.2, A2M2E=0.3).rows, RANKING_MEASURES["MAE"])
    second = rank_systems(study(A2E=0.2, A2B2E=0.1, A2M2E=0.3).rows, RANKING_MEASURES["MAE"])
    assert kendall(first, first) == 1
    assert kendall(first, second) == pytest.approx(1 / 3)


# constant-predictor


def data(training):
    """The five attacked clips, and training clips 005 on with given labels."""
    labels = np.concatenate([made_up.labels(), training])
    names = tuple(f"{clip:03d}" for clip in range(len(labels)))
    split = Split(tuple(str(int(name)) for name in names[5:]), (), names[:5])
    return Data(index=Index(names, (), RELEASED_EMOTIONS, labels), split=split)


def test_without_training_labels_the_constant_is_not_known():
    result = finding("constant-predictor", study(A2E=0.2))
    assert result.verdict is NOT_RECORDED
    assert "`data`, `root` and `split`" in result.sentence


def test_with_training_labels_their_mean_is_the_line():
    result = finding("constant-predictor", study(A2E=0.2), data(np.full((2, 8), 0.5)))
    line = np.abs(made_up.labels() - 0.5).mean()
    assert result.verdict is PASS
    assert result.value == pytest.approx(0.125 / line)


def test_a_model_no_better_than_the_constant_fails():
    rows = source(bounded(clean=0.3, attacked=0.31))
    result = finding("constant-predictor", rows, data(np.full((2, 8), 0.5)))
    assert result.verdict is FAIL
    assert "not better: A2E" in result.sentence


def test_a_model_that_falls_behind_the_constant_at_its_smallest_budget_is_a_warning():
    result = finding("constant-predictor", study(A2E=0.5), data(np.full((2, 8), 0.5)))
    assert result.verdict is WARN
    assert "Attacked, A2E is worse" in result.sentence


def test_a_larger_budget_does_not_count_against_it():
    small, large = study(A2E=0.2).rows, study(A2E=2.0).rows.assign(epsilon=0.2)
    assert finding("constant-predictor", source(small, large), data(np.full((2, 8), 0.5))).verdict is PASS


def test_clip_of_other_data_are_refused():
    wrong = Data(index=data(np.full((2, 8), 0.5)).index, split=Split(("nine",), (), ()))
    with pytest.raises(DataError, match="clip nine is not in the data set"):
        finding("constant-predictor", study(A2E=0.2), wrong)


# pooled-test


def crossed(difference):
    """Rows of two systems whose errors differ by a matrix (seeds, clips)."""
    tables = []
    for seed, line in enumerate(difference):
        other = bounded("A2M2E", seed, attacked=1.0, clips=len(line))
        one = bounded("A2E", seed, attacked=1.0, clips=len(line))
        for name in RELEASED_EMOTIONS:
            one[f"adversarial_{name}"] += line
        tables += [one, other]
    return source(*tables)


def test_independent_pairs_pass():
    result = finding("pooled-test", crossed(differences(0.0)))
    assert result.verdict is PASS
    assert 0.5 < result.value < 1.5


def published(difference):
    """The same as released logs."""
    return dataclasses.replace(crossed(difference), kind="logs")


def test_logs_whose_pairs_share_their_seed_fail_and_both_tests_are_shown():
    difference = differences(0.8)
    result = finding("pooled-test", published(difference))
    means = difference.mean(axis=1)
    expected = (means.std(ddof=1) / np.sqrt(8)) / (difference.std(ddof=1) / np.sqrt(96))
    assert result.verdict is FAIL
    assert result.value == pytest.approx(expected, rel=1e-6)
    assert "A2E against A2M2E: pooled p = " in result.sentence


def test_own_rows_that_pooling_would_mislead_are_a_warning():
    result = finding("pooled-test", crossed(differences(0.8)))
    assert result.verdict is WARN
    assert result.value > 2


def test_a_weak_dependence_is_a_warning_in_logs_alone():
    result = finding("pooled-test", published(differences(0.08)))
    assert result.verdict is WARN
    assert 1 < result.value < 2
    assert finding("pooled-test", crossed(differences(0.08))).verdict is PASS


def test_two_seeds_cannot_be_tested():
    assert finding("pooled-test", crossed(differences(0.8, seeds=2))).verdict is NOT_RECORDED


def test_differences_that_are_equal_in_every_seed_have_no_test():
    rows = [
        bounded(name, seed, attacked=value)
        for name, value in (("A2E", 0.5), ("A2M2E", 0.4))
        for seed in SEEDS
    ]
    result = finding("pooled-test", source(*rows))
    assert result.verdict is NOT_RECORDED
    assert "differences that vary" in result.sentence
