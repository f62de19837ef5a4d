import numpy as np
import pandas as pd
import pytest

from tenuto.analysis.sentences import against, run_means, summarise
from tenuto.store.rows import values_of
from tests.reporting import made_up


def two_systems(seeds=(6, 21), **columns):
    """A2E: error 2 added, r kept at 1. A2M2E: error 0.875 added, r turned to -1."""
    return pd.concat(
        [
            run
            for seed in seeds
            for run in (
                made_up.run("A2E", seed, attacked=2.0 + seed / 500, **columns),
                made_up.run("A2M2E", seed, attacked=1.0, falling=True, **columns),
            )
        ]
    )


def sentence(rows, word):
    (found,) = (said for said in summarise(rows) if word in said)
    return found


def test_clean_numbers_of_each_system_come_first():
    said = summarise(two_systems())[0]
    assert said.startswith("On clean test clips, mean correlation with the ratings and MAE are: ")
    assert said.endswith(": A2E 1.00 and 0.125; A2M2E 1.00 and 0.125.")


def worse_from_the_start(attacked=(1.0, 1.5)):
    """A2M2E, whose error was 0.5 larger before the attack; both keep their correlation."""
    return pd.concat(
        [
            made_up.run("A2E", attacked=attacked[0], clean=0.125),
            made_up.run("A2M2E", attacked=attacked[1], clean=0.625),
        ]
    )


def test_the_least_and_the_most_changed_system_are_named_for_both_measures():
    assert sentence(two_systems(), "By MAE the attack changes") == (
        "By MAE the attack changes A2M2E least, +0.875 (0.125 → 1.000), and A2E most, +1.902 (0.125 → 2.027); by "
        "correlation A2E least, +0.000 (1.000 → 1.000), and A2M2E most, -2.000 (1.000 → -1.000)."
    )


def test_rankings_that_do_not_agree_are_said_not_to():
    said = sentence(two_systems(), "rankings")
    assert said.startswith("The two rankings do not agree")
    assert "by MAE: A2M2E, A2E; by correlation: A2E, A2M2E" in said


def test_rankings_that_agree_are_said_to():
    rows = pd.concat([made_up.run("A2E", attacked=1.0), made_up.run("A2M2E", attacked=3.0, falling=True)])
    assert sentence(rows, "rank") == "Both measures rank the systems alike, most robust first: A2E, A2M2E."


def test_systems_are_ranked_by_changes_and_where_levels_rank_otherwise_it_is_said():
    found = summarise(worse_from_the_start(attacked=(1.0, 1.25)))
    assert (
        "The two rankings differ in nothing but ties (most robust first, by MAE: A2M2E, A2E; by correlation: A2E = "
        "A2M2E)."
    ) in found
    assert (
        "What is left after the attack ranks them otherwise, best first (by MAE: A2E, A2M2E): they differ without an "
        "attack too."
    ) in found


def test_levels_that_rank_like_the_changes_are_not_spoken_of():
    assert not any("What is left" in said for said in summarise(worse_from_the_start((1.0, 3.0))))


def test_systems_that_nothing_moves_are_not_ranked():
    found = summarise(worse_from_the_start(attacked=(0.125, 0.625)))
    assert (
        "The attack changes neither the MAE nor the correlation with the ratings of A2E, A2M2E in 3 decimals: it does "
        "not tell which is more robust."
    ) in found
    assert not any("rank" in said for said in found)


@pytest.mark.parametrize(
    ("attacked", "falling", "verdict"),
    [
        ((2.0, 1.0), (True, False), "more robust than A2E (without) by both measures:"),
        ((1.0, 2.0), (False, True), "less robust than A2E (without) by both measures:"),
        (
            (2.0, 1.0),
            (False, True),
            "more robust than A2E (without) by error and less robust by correlation:",
        ),
        (
            (1.0, 2.0),
            (True, False),
            "less robust than A2E (without) by error and more robust by correlation:",
        ),
        (
            (2.0, 1.0),
            (False, False),
            "more robust than A2E (without) by error and equally robust by correlation:",
        ),
    ],
)
def test_the_verdict_follows_from_both_changes(attacked, falling, verdict):
    rows = pd.concat(
        [
            made_up.run(name, attacked=value, falling=turned)
            for name, value, turned in zip(("A2E", "A2M2E"), attacked, falling, strict=True)
        ]
    )
    assert f"Here A2M2E (with the concepts) is {verdict}" in against(run_means(rows), "A2E", "A2M2E")


def test_a_worse_start_is_not_held_against_a_system():
    assert against(run_means(worse_from_the_start((1.0, 1.25))), "A2E", "A2M2E") == (
        "Here A2M2E (with the concepts) is more robust than A2E (without) by error and equally robust by correlation: "
        "the attack changes its mean absolute error by +0.625 (0.625 → 1.250) against +0.875 (0.125 → 1.000), and its "
        "correlation with the ratings by +0.000 (1.000 → 1.000) against +0.000 (1.000 → 1.000). What is left after the "
        "attack ranks them otherwise, best first (by MAE: A2E, A2M2E): they differ without an attack too."
    )


def test_without_effect_nobody_is_called_more_or_less_robust():
    said = against(run_means(worse_from_the_start((0.125, 0.625))), "A2E", "A2M2E")
    assert "it does not tell which is more robust" in said
    assert "Here" not in said


def test_a_correlation_that_is_not_defined_decides_nothing():
    rows = two_systems()
    attacked = [name for name in rows.columns if name.startswith("adversarial_")]
    rows.loc[rows["system"] == "A2M2E", attacked] = 0.5
    assert against(run_means(rows), "A2E", "A2M2E") == (
        "Here A2M2E (with the concepts) is more robust than A2E (without) by error; the correlation is not defined: "
        "the attack changes its mean absolute error by +0.115 (0.125 → 0.240) against +1.902 (0.125 → 2.027)."
    )
    assert (
        "; by correlation A2E by +0.000 (1.000 → 1.000); the correlation of A2M2E is not defined."
        in sentence(rows, "By MAE the attack changes")
    )


def test_the_share_outside_the_ratings_and_what_clipping_leaves():
    rows = pd.concat([made_up.run("A2E", attacked=2.0), made_up.run("A2M2E", attacked=4.0)])
    said = sentence(rows, "outside 0-1")
    assert said.startswith("100% of attacked predictions")
    assert "differ by up to 2.00, by up to 0.00 when predictions are clipped to 0-1" in said


def test_a_share_that_is_not_all():
    # 0.1 0.3 0.5 0.7 0.9 raised by 0.35: two of five pass 1
    assert sentence(made_up.run(attacked=0.35), "outside 0-1").startswith("40% of attacked")


def test_clipping_is_not_spoken_of_where_ratings_leave_the_range():
    rows = made_up.run()
    rows["label_sad"] += 5
    assert not any("outside 0-1" in said for said in summarise(rows))


def test_the_size_of_the_perturbation_is_given_where_it_was_recorded():
    said = sentence(two_systems(linf=0.0521), "largest change")
    assert said == (
        "The median largest change of one spectrogram entry is 0.052 normalised units. "
        "The released attack has no budget."
    )


def test_a_size_that_was_not_recorded_is_not_made_up():
    said = sentence(two_systems(linf=np.nan), "largest change")
    assert "was not recorded; the stored perturbations have a median L2 norm of 2" in said


def test_an_attack_with_a_budget_is_not_said_to_have_none():
    assert "no budget" not in sentence(two_systems(norm="linf", epsilon=0.1), "largest change")


def test_few_seeds_are_not_tested():
    said = sentence(two_systems(), "over-read")
    assert said == "With 2 seeds and 5 test clips differences are not to be over-read: too few seeds to test."


def test_three_seeds_are_tested_with_seeds_as_the_unit():
    rows = two_systems(seeds=(6, 21, 42))
    assert "A2E against A2M2E p = " in sentence(rows, "over-read")


def test_one_system_has_nothing_to_be_compared_with():
    rows = made_up.run()
    found = summarise(rows)
    assert len(found) == 5
    assert (
        "By MAE the attack changes A2E by +0.875 (0.125 → 1.000); by correlation A2E by +0.000 (1.000 → 1.000)."
    ) in found
    assert found[-1].startswith("With 1 seed and 5 test clips")


def test_a_correlation_that_does_not_exist_is_not_ranked():
    rows = two_systems()
    attacked = [name for name in rows.columns if name.startswith("adversarial_")]
    rows.loc[rows["system"] == "A2E", attacked] = 2.0
    assert not any("nan" in said for said in summarise(rows))
    assert not any("ranking" in said for said in summarise(rows))


@pytest.mark.parametrize("rows", [made_up.study(), two_systems(), made_up.run()], ids=["five", "two", "one"])
def test_the_summary_is_four_to_seven_sentences(rows):
    found = summarise(rows)
    assert 4 <= len(found) <= 7
    assert all(said.endswith(".") for said in found)


def test_means_over_seeds():
    means = run_means(two_systems())
    assert means.loc["A2E", "difference"] == pytest.approx(2.0 + 0.027 - 0.125)
    label = values_of(made_up.run(), "label")
    assert means.loc["A2E", "clipped"] == pytest.approx((1 - label).mean())
