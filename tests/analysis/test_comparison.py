import json

import numpy as np
import pandas as pd
import pytest

from tenuto.analysis import statistics
from tenuto.analysis.comparison import (
    QUANTITIES,
    Settings,
    as_json,
    clip_errors,
    compare,
    parse_pairs,
    planned,
)
from tenuto.errors import ConfigError, DataError
from tenuto.reporting import write_comparison
from tenuto.reporting.comparison import comparison_tables
from tenuto.store import released_logs
from tests.reporting import made_up

PUBLISHED = (("A2E", "A2M2E"), ("A2B2E", "A2M2E"))
QUICK = Settings(draws=200)


def noisy(systems=("A2E", "A2M2E"), seeds=(1, 2, 3, 4), scatter=0.3):
    """Rows whose errors vary from seed to seed and clip to clip, before and after the attack."""
    rows, generator = made_up.study(systems, seeds), np.random.default_rng(0)
    for kind in ("clean", "adversarial"):
        columns = [f"{kind}_{name}" for name in released_logs.RELEASED_EMOTIONS]
        rows[columns] += scatter * generator.uniform(size=(len(rows), 1))
        rows[columns] += (
            scatter * generator.uniform(size=rows["run"].nunique()).repeat(made_up.CLIPS)[:, None]
        )
    return rows


def attacked(table):
    """The lines on the error after the attack, by pair."""
    own = table[table["quantity"] == "attacked"]
    return own.set_index(own["first"] + ":" + own["second"])


@pytest.fixture(scope="module")
def logs():
    return released_logs.read_logs()


@pytest.fixture
def without_models(monkeypatch):
    """No mixed model is fitted, for tests of everything else; each takes a second."""
    monkeypatch.setattr(statistics, "_fit", lambda sides, start: None)


@pytest.fixture(scope="module")
def published(logs):
    """The two comparisons of the paper on the released logs."""
    return compare(logs, Settings(pairs=PUBLISHED))


@pytest.fixture(scope="module")
def two_systems():
    """The comparison of `noisy`."""
    return compare(noisy(), QUICK)


def test_seed_level_tests_of_the_released_logs(published):
    lines = attacked(published.pairs).loc[["A2E:A2M2E", "A2B2E:A2M2E"]]
    np.testing.assert_allclose(lines["t"], [4.130, 2.713], atol=5e-4)
    np.testing.assert_allclose(lines["p"], [0.0026, 0.024], atol=5e-4)
    assert lines["degrees_of_freedom"].tolist() == [9, 9]


def test_the_pooled_tests_of_the_paper_stand_beside_them(published):
    lines = attacked(published.pairs)
    np.testing.assert_allclose(lines["pooled_t"], [13.035200610, 12.099034452], rtol=0, atol=5.1e-10)
    assert lines["pooled_degrees_of_freedom"].tolist() == [359, 359]
    assert lines["pooled_n"].tolist() == [360, 360]


def test_differences_of_the_released_logs(published):
    # mean MAE after the attack: 1.7861, 2.0286, 1.1578
    for table in (published.pairs, published.mixed):
        np.testing.assert_allclose(attacked(table)["difference"], [0.6283, 0.8708], atol=1.01e-4)


def test_what_the_released_study_could_have_detected(published):
    # d_z = 0.996 of ten pairs, times the deviation of the seed differences, 0.481 and 1.015
    np.testing.assert_allclose(attacked(published.pairs)["detectable"], [0.479, 1.011], atol=5e-4)


def test_the_mixed_models_of_the_released_logs_agree_with_mean_squares(published, logs):
    errors = clip_errors(logs)
    sides = [
        errors[errors["system"] == name].pivot(index="seed", columns="clip", values="attacked").to_numpy()
        for name in PUBLISHED[0]
    ]
    # E(MS) of a balanced design: variance of the difference = 2 (MS_seed + MS_both - MS_residual) / (R C)
    seed = 36 * sum(side.mean(1).var(ddof=1) for side in sides) / 2
    both = 10 * (sides[0] - sides[1]).mean(0).var(ddof=1) / 2
    rest = [side - side.mean(0) - side.mean(1, keepdims=True) + side.mean() for side in sides]
    residual = sum((part**2).sum() for part in rest) / (2 * 9 * 35)
    line = attacked(published.mixed).loc["A2E:A2M2E"]
    assert line["standard_error"] == pytest.approx(np.sqrt(2 * (seed + both - residual) / 360), rel=1e-4)
    assert line["variance_seed"] == pytest.approx((seed - residual) / 36, rel=1e-3)
    assert line["variance_residual"] == pytest.approx(residual, rel=1e-3)


def test_the_intervals_of_the_released_logs_hold_their_means(published):
    for table, middle in ((published.systems, "mean"), (published.pairs, "difference")):
        assert (table["low"] < table[middle]).all()
        assert (table[middle] < table["high"]).all()
    assert set(published.systems["resampled"]) == {"seeds and clips"}
    # F(4, 40) of a slope per system, by least squares with numpy: 6.823, p = .000276
    assert published.remarks == (
        "The comparison at matched clean error assumes one slope, but slopes of systems differ (F-test, p = 0.00028).",
    )


@pytest.mark.usefixtures("without_models")
def test_clipped_to_the_range_of_ratings_no_plain_system_differs_from_a2m2e(logs):
    pairs = [(name, "A2M2E") for name in ("A2E", "A2B2E", "aA2E", "aA2B2E")]
    result = attacked(compare(logs, Settings(pairs=pairs, clipped=(0.0, 1.0), draws=200)).pairs)
    assert result["p"].min() == pytest.approx(0.16, abs=0.005)
    assert result["p"].max() == pytest.approx(0.75, abs=0.005)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), {"attacked": 1.0, "clean": 0.125, "added": 0.875}),
        (Settings(measure="mse"), {"attacked": 1.0, "clean": 0.015625, "added": 0.984375}),
    ],
    ids=["mae", "mse"],
)
def test_errors_of_rows_whose_answers_are_known(settings, expected):
    errors = clip_errors(made_up.run(), settings)
    assert len(errors) == made_up.CLIPS
    for quantity, value in expected.items():
        np.testing.assert_allclose(errors[quantity], value)


def test_predictions_are_clipped_before_the_error_is_taken():
    # label + 1 becomes 1, label + 0.125 at most 1
    errors = clip_errors(made_up.run(), Settings(clipped=(0.0, 1.0)))
    labels = made_up.labels()
    np.testing.assert_allclose(errors["attacked"], (1 - labels).mean(axis=1))
    np.testing.assert_allclose(errors["clean"], np.minimum(0.125, 1 - labels).mean(axis=1))


def test_all_pairs_are_planned_unless_some_are_named():
    assert len(planned(made_up.SYSTEMS, None)) == 10
    assert planned(["A2E", "A2M2E"], None) == [("A2E", "A2M2E")]
    assert planned(made_up.SYSTEMS, PUBLISHED) == list(PUBLISHED)


def test_pairs_are_read_as_they_are_written():
    assert parse_pairs("A2E:A2M2E, A2B2E : A2M2E") == list(PUBLISHED)


@pytest.mark.parametrize("listed", ["A2E", "A2E:", "A2E:A2M2E:A2B2E", "A2E:A2M2E,,", ""])
def test_what_is_no_pair_is_refused(listed):
    with pytest.raises(ConfigError, match="expected two systems as in A2E:A2M2E"):
        parse_pairs(listed)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("A2E", "A2MZE")], "no rows of A2MZE. Did you mean A2M2E?"),
        ([("A2E", "A2E")], "A2E:A2E compares a system with itself"),
        ([("A2E", "A2M2E"), ("A2M2E", "A2E")], "is listed twice"),
    ],
    ids=["unknown", "itself", "both ways"],
)
def test_pairs_that_cannot_be_planned_are_refused(pairs, message):
    with pytest.raises(ConfigError, match=message):
        planned(made_up.SYSTEMS, pairs)


@pytest.mark.parametrize(
    "settings",
    [
        *(
            {"measure": "corr"},
            {"clipped": (1.0, 0.0)},
            {"draws": 10},
            {"draws": 1e4},
            {"seed": -1},
            {"level": 1.0},
        ),
        *({"pairs": "A2E:A2M2E"}, {"pairs": [("A2E",)]}),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=str(next(iter(settings)))):
        Settings(**settings)


@pytest.mark.usefixtures("without_models")
def test_holm_counts_all_planned_pairs_of_one_kind_of_error():
    lines = compare(noisy(("A2E", "A2B2E", "A2M2E")), QUICK).pairs
    assert len(lines) == 9
    for quantity in QUANTITIES:
        own = lines[lines["quantity"] == quantity]
        np.testing.assert_array_equal(own["p_holm"], statistics.holm(own["p"]))
    assert (lines["p_holm"] > lines["p"]).sum() >= 6


@pytest.mark.usefixtures("without_models")
def test_the_order_of_the_rows_changes_nothing(two_systems):
    shuffled = compare(noisy().sample(frac=1, random_state=0), QUICK)
    pd.testing.assert_frame_equal(two_systems.pairs, shuffled.pairs)
    pd.testing.assert_frame_equal(two_systems.matched, shuffled.matched)


@pytest.mark.usefixtures("without_models")
def test_the_other_direction_turns_the_sign(two_systems):
    forward = two_systems.pairs.iloc[0]
    back = compare(noisy(), Settings(draws=200, pairs=[("A2M2E", "A2E")])).pairs.iloc[0]
    assert back["difference"] == pytest.approx(-forward["difference"])
    assert back["low"] == pytest.approx(-forward["high"])
    assert (back["t"], back["p"]) == (pytest.approx(-forward["t"]), pytest.approx(forward["p"]))


@pytest.mark.usefixtures("without_models")
def test_what_is_paired_is_the_seed():
    # A2E exceeds A2M2E by 1.0, 1.2, 1.4 in seeds 1, 2, 3
    runs = [
        made_up.run(system, seed, attacked=attacked)
        for seed, extra in zip((3, 1, 2), (1.4, 1.0, 1.2), strict=True)
        for system, attacked in (("A2E", 1.0 + extra), ("A2M2E", 1.0))
    ]
    line = attacked(compare(pd.concat(runs), QUICK).pairs).iloc[0]
    assert line["difference"] == pytest.approx(1.2)
    assert line["t"] == pytest.approx(1.2 / (0.2 / np.sqrt(3)))
    assert line["d_z"] == pytest.approx(6.0)
    assert line["detectable"] == pytest.approx(0.2 * statistics.smallest_detectable(3))


def test_one_seed_has_intervals_over_clips_and_no_test():
    comparison = compare(noisy(seeds=(7,)), QUICK)
    assert set(comparison.systems["resampled"]) == set(comparison.pairs["resampled"]) == {"clips"}
    assert comparison.pairs["low"].notna().all()
    assert comparison.pairs[["t", "p", "p_holm", "g_z", "detectable"]].isna().all(axis=None)
    assert set(comparison.mixed["note"]) == {"too few seeds or clips"}
    assert comparison.remarks == (
        "The interval of a system's mean resamples clips only: A2E, A2M2E.",
        "No test with seeds as the unit below 3 shared seeds: A2E:A2M2E.",
        "No mixed model, too few seeds or clips: A2E:A2M2E.",
        "The comparison at matched clean error has no test because 2 runs of 2 systems leave fewer than 2 degrees of "
        "freedom: A2E:A2M2E.",
    )


def test_two_seeds_have_an_interval_that_is_called_too_short():
    comparison = compare(noisy(seeds=(1, 2)), QUICK)
    assert set(comparison.pairs["resampled"]) == {"seeds and clips"}
    assert (
        "The interval of a system's mean resamples 2 seeds and is far too short: A2E, A2M2E."
        in comparison.remarks
    )


def test_one_clip_has_seed_level_tests_only():
    rows = noisy()
    comparison = compare(rows[rows["clip"] == "000"], QUICK)
    assert set(comparison.pairs["resampled"]) == {"seeds"}
    assert attacked(comparison.pairs)["t"].notna().all()
    assert set(comparison.mixed["note"]) == {"too few seeds or clips"}


@pytest.mark.usefixtures("without_models")
def test_seeds_that_only_one_of_a_pair_has_are_left_out_and_named():
    rows = pd.concat([noisy(seeds=(1, 2, 3)), made_up.run("A2E", 99, attacked=50.0)])
    comparison = compare(rows, QUICK)
    assert set(comparison.pairs["seeds"]) == {3}
    assert attacked(comparison.pairs)["difference"].iloc[0] > -5
    assert "Only the 3 shared seeds are paired, not 99: A2E:A2M2E." in comparison.remarks
    assert set(comparison.mixed["seeds_first"]) == {4}


def test_systems_without_a_shared_seed_are_left_to_the_mixed_model():
    rows = pd.concat([noisy(("A2E",), (1, 2, 3)), noisy(("A2M2E",), (4, 5, 6))])
    comparison = compare(rows, QUICK)
    assert comparison.pairs[["difference", "low", "t", "pooled_t"]].isna().all(axis=None)
    assert attacked(comparison.mixed)["p"].notna().all()
    assert "Only the 0 shared seeds are paired, not 1, 2, 3, 4, 5, 6: A2E:A2M2E." in comparison.remarks


def test_errors_without_variation_have_neither_test_nor_model():
    comparison = compare(made_up.study(("A2E", "A2M2E")), QUICK)
    clean = comparison.pairs[comparison.pairs["quantity"] == "clean"].iloc[0]
    assert clean["difference"] == pytest.approx(0, abs=1e-12)
    assert np.isnan(clean["t"])
    assert set(comparison.mixed["note"]) == {"no variation"}
    alike = "No test of the error on clean clips, every seed has the same difference: A2E:A2M2E."
    assert alike in comparison.remarks


@pytest.mark.usefixtures("without_models")
def test_a_model_that_does_not_converge_says_so():
    comparison = compare(noisy(), QUICK)
    assert set(comparison.mixed["note"]) == {"did not converge"}
    assert comparison.mixed["difference"].isna().all()
    assert "No mixed model of the error after the attack, did not converge: A2E:A2M2E." in comparison.remarks


def test_one_system_alone_has_intervals_only():
    comparison = compare(noisy(("A2E",)), QUICK)
    assert len(comparison.systems) == 3
    assert comparison.pairs.empty
    assert comparison.mixed.empty
    assert comparison.remarks == ("There is one system only, so there is no comparison: A2E.",)


def test_runs_on_different_clips_are_refused_by_name():
    rows = noisy()
    lacking = rows.drop(rows.index[(rows["run"] == "A2M2E-2") & (rows["clip"] == "003")])
    with pytest.raises(DataError, match="clip 003 has a row in A2E-1 but none in A2M2E-2"):
        compare(lacking, QUICK)


@pytest.mark.usefixtures("without_models")
def test_every_comparison_done_is_told():
    values: list[int] = []
    compare(noisy(), QUICK, values.append)
    assert values == [1, 1, 1]


def test_files_have_every_digit_and_captions_name_the_unit(two_systems, tmp_path, undrawn):
    written = write_comparison(two_systems, tmp_path)
    names = [
        f"stats_{part}.{kind}"
        for part in ("systems", "pairs", "mixed", "matched")
        for kind in ("csv", "md", "tex")
    ]
    texts = [*names, "stats_pooled.md", "stats_pooled.tex"]
    names = [*texts, "stats_tradeoff.png", "stats_tradeoff.pdf"]
    assert sorted(written) == sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    np.testing.assert_array_equal(pd.read_csv(written["stats_pairs.csv"])["t"], two_systems.pairs["t"])
    for name in texts:
        if not name.endswith("csv"):
            assert "one test clip under one run" in written[name].read_text()


def test_the_pooled_test_is_labelled_with_what_it_counts(two_systems):
    caption = comparison_tables(two_systems)["pooled"].caption
    assert "counts 20 pairs of clip and seed as independent" in caption
    assert "pseudo-replication" in caption


def test_what_is_not_there_is_printed_as_a_dash():
    comparison = compare(noisy(seeds=(7,)), QUICK)
    shown = comparison_tables(comparison)["pairs"].cells.iloc[0]
    assert (shown["Pair"], shown["t"], shown["p (Holm)"], shown["g"]) == ("A2E:A2M2E", "–", "–", "–")
    assert comparison_tables(comparison)["pooled"].cells.iloc[0]["n"] == "5"


def test_the_percentiles_of_an_interval_head_its_columns():
    compared = compare(noisy(seeds=(7,)), Settings(draws=200, level=0.9))
    assert list(comparison_tables(compared)["systems"].cells)[-2:] == ["5 %", "95 %"]


def test_everything_is_plain_values():
    content = as_json(compare(noisy(seeds=(7,)), QUICK))
    again = json.loads(json.dumps(content))
    assert again["pairs"][0]["t"] is None
    assert again["pairs"][0]["seeds"] == 1
    assert again["measure"] == "mae"
    assert [len(again[name]) for name in ("systems", "pairs", "mixed", "runs", "matched")] == [6, 3, 3, 2, 1]


def test_runs_with_other_emotions_are_refused_by_name():
    rows = made_up.study(("A2E", "A2M2E"), (1,))
    rows.loc[rows["run"] == "A2M2E-1", "label_sad"] = np.nan
    with pytest.raises(
        DataError, match="the rows of A2M2E-1 have no column label_sad, those of other runs do"
    ):
        compare(rows)


def test_runs_with_other_labels_are_refused():
    rows = made_up.study(("A2E", "A2M2E"), (1, 2))
    labels = [name for name in rows if name.startswith("label_")]
    rows.loc[rows["run"] == "A2M2E-1", labels[0]] += 0.1
    with pytest.raises(DataError, match="clip 000 has other labels in A2M2E-1 than in A2E-1"):
        clip_errors(rows)
