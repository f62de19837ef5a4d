import numpy as np
import pandas as pd
import pytest

from tenuto.analysis.sentences import against, run_means, summarise
from tenuto.analysis.systems import STUDY_SCALE
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
    (result,) = (message for message in summarise(rows, STUDY_SCALE) if word in message)
    return result


def test_clean_numbers_of_each_system_come_first():
    message = summarise(two_systems())[0]
    assert message.startswith("On clean test clips, mean correlation with the ratings and MAE are: ")
    assert message.endswith(": A2E 1.00 and 0.125; A2M2E 1.00 and 0.125.")


def worse_from_the_start(attacked=(1.0, 1.5)):
    """A2M2E, whose error was 0.5 larger before the attack; both keep their correlation."""
    return pd.concat(
        [
            made_up.run("A2E", attacked=attacked[0], clean=0.125),
            made_up.run("A2M2E", attacked=attacked[1], clean=0.625),
        ]
    )


def test_the_least_and_the_most_changed_system_are_named_for_both_measures():
    assert sentence(two_systems(), "The attack adds") == (
        "The attack adds least error to A2M2E, +0.875 (0.125 → 1.000), and most to A2E, +1.902 (0.125 → 2.027); takes "
        "least correlation from A2E, +0.000 (1.000 → 1.000), and most from A2M2E, -2.000 (1.000 → -1.000)."
    )


def test_a_system_that_errs_less_after_the_attack_is_not_called_unchanged():
    rows = pd.concat([made_up.run("mine", clean=0.625, attacked=0.125), made_up.run("other", attacked=0.25)])
    assert "adds least error to mine, -0.500 (0.625 → 0.125), and most to other, +0.125" in sentence(
        rows, "adds"
    )


def test_rankings_that_disagree():
    message = sentence(two_systems(), "rankings")
    assert message.startswith("The two rankings disagree")
    assert "by MAE: A2M2E, A2E; by correlation: A2E, A2M2E" in message


def test_rankings_that_agree():
    rows = pd.concat([made_up.run("A2E", attacked=1.0), made_up.run("A2M2E", attacked=3.0, falling=True)])
    assert sentence(rows, "rank") == "Both measures rank the systems alike, most robust first: A2E, A2M2E."


def test_systems_within_their_standard_error_are_ties():
    """The same rule as in the audit: A2E varies by more between seeds than the means differ."""
    runs = [made_up.run("A2E", seed, attacked=1.0 + 0.1 * seed) for seed in (1, 2, 3)]
    runs += [made_up.run("A2M2E", seed, attacked=1.22) for seed in (1, 2, 3)]
    message = sentence(pd.concat(runs), "rank")
    assert message == "Both measures rank the systems alike, most robust first: A2E = A2M2E."
    assert ", a tie; takes least" in sentence(pd.concat(runs), "The attack adds")
    assert "not distinguishable from A2E (without) by both measures" in against(
        run_means(pd.concat(runs)), "A2E", "A2M2E"
    )


def test_systems_are_ranked_by_changes_and_other_orders_of_the_levels_are_stated():
    sentences = summarise(worse_from_the_start(attacked=(1.0, 1.25)))
    assert (
        "The two rankings differ only in ties (most robust first, by MAE: A2M2E, A2E; by correlation: A2E = A2M2E; "
        "= marks ties)."
    ) in sentences
    assert (
        "The values after the attack rank them differently, best first (by MAE: A2E, A2M2E): the systems also differ "
        "without an attack."
    ) in sentences


def test_levels_that_rank_like_the_changes_need_no_sentence():
    assert not any(
        "after the attack rank" in message for message in summarise(worse_from_the_start((1.0, 3.0)))
    )


def test_systems_without_a_change_are_not_ranked():
    rows = worse_from_the_start(attacked=(0.125, 0.625))
    unchanged = (
        "The attack changes neither the MAE nor the correlation of A2E, A2M2E (by more than 0.001), so it does not "
        "show which is more robust."
    )
    assert unchanged in summarise(rows)
    assert not any("rank" in message for message in summarise(rows))
    assert against(run_means(rows), "A2E", "A2M2E") == unchanged


@pytest.mark.parametrize(
    ("attacked", "falling", "verdict"),
    [
        ((2.0, 1.0), (True, False), "more robust than A2E (without) by both measures:"),
        ((1.0, 2.0), (False, True), "less robust than A2E (without) by both measures:"),
        ((2.0, 1.0), (False, True), "more robust than A2E (without) by MAE and less robust by correlation:"),
        (
            (2.0, 1.0),
            (False, False),
            "more robust than A2E (without) by MAE and not distinguishable by correlation:",
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
    assert f"Here A2M2E (with concepts) is {verdict}" in against(run_means(rows), "A2E", "A2M2E")


def test_a_correlation_that_is_not_defined_decides_nothing():
    rows = two_systems()
    attacked = [name for name in rows.columns if name.startswith("adversarial_")]
    rows.loc[rows["system"] == "A2M2E", attacked] = 0.5
    assert against(run_means(rows), "A2E", "A2M2E") == (
        "Here A2M2E (with concepts) is more robust than A2E (without) by MAE; the correlation is not defined: "
        "the attack changes its MAE by +0.115 (0.125 → 0.240) against +1.902 (0.125 → 2.027)."
    )
    message = sentence(rows, "The attack adds")
    assert (
        "; changes the correlation of A2E by +0.000 (1.000 → 1.000); the correlation of A2M2E is not defined."
        in message
    )
    assert not any("nan" in each or "ranking" in each for each in summarise(rows))
    third = made_up.run("aA2E", attacked=1.5)
    assert sentence(pd.concat([rows, third]), "most robust first").count("A2M2E") == 0


def test_systems_of_ones_own_are_not_said_to_lack_a_test():
    rows = pd.concat(made_up.run(name, seed, attacked=seed / 10) for name in ("a", "b") for seed in (1, 2, 3))
    assert summarise(rows)[-1] == (
        "These are 3 seeds, 5 test clips; the systems that the paper tests are not among them."
    )


def test_the_share_outside_the_scale_and_the_error_of_clipped_predictions():
    rows = pd.concat([made_up.run("A2E", attacked=2.0), made_up.run("A2M2E", attacked=4.0)])
    message = sentence(rows, "outside the scale")
    assert message.startswith("100% of attacked predictions lie outside the scale 0 to 1;")
    assert "by up to 2.00, with predictions clipped to the scale by up to 0.00" in message
    # 0.1 0.3 0.5 0.7 0.9 raised by 0.35: two of five pass 1
    assert sentence(made_up.run(attacked=0.35), "outside the scale").startswith("40% of attacked")


def test_another_scale_is_used_as_given_and_an_unknown_one_is_not_assumed():
    rows = made_up.run(attacked=0.35)
    assert any(
        "20% of attacked predictions lie outside the scale -1 to 1.1" in s for s in summarise(rows, (-1, 1.1))
    )
    assert not any("outside the scale" in message for message in summarise(rows))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"linf": 0.0521},
            "The largest change of a spectrogram entry has a median of 0.052 standard deviations. The attack has no "
            "budget.",
        ),
        (
            {"linf": np.nan, "norm": "linf"},
            "The largest change of a spectrogram entry was not recorded; the stored perturbations have a median L2 "
            "norm of 2.",
        ),
    ],
)
def test_the_size_of_the_perturbation(columns, expected):
    assert sentence(two_systems(**columns), "largest change") == expected


def test_few_seeds_are_not_tested():
    message = sentence(two_systems(), "over-interpreted")
    assert (
        message
        == "Too few seeds to test (2 seeds, 5 test clips): differences should not be over-interpreted."
    )


def test_three_seeds_are_tested_with_seeds_as_the_unit():
    assert "A2E against A2M2E p = " in sentence(two_systems(seeds=(6, 21, 42)), "Paired tests")


def test_one_system_has_no_comparison():
    sentences = summarise(made_up.run())
    assert (
        "The attack changes the MAE of A2E by +0.875 (0.125 → 1.000); changes the correlation of A2E by +0.000 (1.000 "
        "→ 1.000)."
    ) in sentences
    assert sentences[-1] == "One system only (1 seed, 5 test clips): there is no comparison."


@pytest.mark.parametrize("rows", [made_up.study(), two_systems(), made_up.run()], ids=["five", "two", "one"])
def test_the_summary_is_four_to_seven_sentences(rows):
    sentences = summarise(rows, STUDY_SCALE)
    assert 4 <= len(sentences) <= 7
    assert all(message.endswith(".") for message in sentences)


def test_means_over_seeds():
    assert run_means(two_systems()).means.loc["A2E", "difference"] == pytest.approx(2.0 + 0.027 - 0.125)


def test_size_and_scale_are_those_of_the_rows():
    rows = made_up.run(unit="samples (full scale 1)", scale_low=0.0, scale_high=2.0)
    sentences = summarise(rows, STUDY_SCALE)
    assert any("largest change of a sample has a median of 0.05 of full scale" in one for one in sentences)
    assert any("lie outside the scale 0 to 2" in one for one in sentences)


def test_perturbations_of_waveforms_are_given_in_db():
    rows = made_up.sound(ladders={"snr": {40: 0.2}})
    sentences = summarise(rows[rows["attack"] == "APGD"])
    assert (
        "The perturbations have a median signal-to-noise ratio of 40.0 dB and a median noise-to-mask ratio of 3.0 dB."
        in sentences
    )
