import numpy as np
import pandas as pd
import pytest

import tenuto
from tenuto.analysis import smc2025
from tenuto.analysis.systems import errors_per_clip, run_metrics
from tenuto.errors import ConfigError, DataError
from tenuto.reporting import paper
from tenuto.store import released_logs
from tests.conftest import GOLDEN

from . import made_up


@pytest.fixture(scope="module")
def logs():
    return released_logs.read_logs()


def test_every_published_metric_of_the_fifty_runs_is_reproduced(logs):
    expected = pd.read_csv(GOLDEN / "paper" / "expected_metrics.csv").set_index("folder")
    result = run_metrics(logs).set_index("folder").loc[expected.index]
    assert list(result.columns) == list(expected.columns)
    assert result["system"].tolist() == expected["system"].tolist()
    np.testing.assert_allclose(result.iloc[:, 1:].astype(float), expected.iloc[:, 1:], rtol=0, atol=1e-6)


def test_the_published_t_tests_are_reproduced_to_nine_decimals(logs):
    table = smc2025.significance(logs, paper_data=True)
    pooled = table[table["unit"] == "clip x seed"]
    assert pooled["comparison"].tolist() == ["A2E against A2M2E", "A2B2E against A2M2E"]
    np.testing.assert_allclose(pooled["t"], [13.035200610, 12.099034452], rtol=0, atol=5.1e-10)
    np.testing.assert_allclose(pooled["p"], [4.567e-32, 1.695e-28], rtol=5e-4)
    assert pooled["degrees_of_freedom"].tolist() == [359, 359]


def test_with_seeds_as_the_unit_the_tests_are_far_weaker(logs):
    table = smc2025.significance(logs, paper_data=True)
    seeds = table[table["unit"] == "seed"]
    np.testing.assert_allclose(seeds["t"], [4.13, 2.71], atol=0.005)
    np.testing.assert_allclose(seeds["p"], [0.0026, 0.024], atol=0.0005)


def test_table_1_of_the_logs(logs):
    table = smc2025.table1(logs, paper_data=True).set_index("system")
    assert list(table.index) == ["A2E (orig.)", "A2M2E (orig.)", "A2E", "A2B2E", "A2M2E", "aA2E", "aA2B2E"]
    ours = table.iloc[2:][["correlation_mean", "correlation_std", "mae_mean", "mae_std"]]
    expected = [
        [0.7324, 0.0154, 0.0957, 0.0051],
        [0.6958, 0.0159, 0.1068, 0.0107],
        [0.6805, 0.0246, 0.1105, 0.0059],
        [0.6799, 0.0253, 0.1021, 0.0042],
        [0.6672, 0.0264, 0.1051, 0.0044],
    ]
    np.testing.assert_allclose(ours.astype(float), expected, rtol=0, atol=5.1e-5)


def test_the_print_deviates_from_the_logs_in_four_cells(logs):
    table = smc2025.table1(logs, paper_data=True).iloc[2:]
    differing = [
        (table[name].round(2) - table[f"paper_{name}"]).abs() > 0.005
        for name in ("correlation_mean", "mae_mean")
    ]
    assert [int(cells.sum()) for cells in differing] == [3, 1]


def test_differences_of_the_logs(logs):
    result = smc2025.difference(logs).groupby("system")["difference"].agg(["mean", "median"])
    expected = [[1.690, 1.618], [1.922, 1.515], [1.047, 0.979], [0.982, 0.974], [1.008, 0.998]]
    np.testing.assert_allclose(result.loc[list(made_up.SYSTEMS)], expected, rtol=0, atol=5.1e-4)


def test_clipped_errors_of_the_logs(logs):
    result = errors_per_clip(logs, 0.0, 1.0).groupby("system")["attacked"].mean()
    expected = [0.5024, 0.5043, 0.5111, 0.4890, 0.5077]
    np.testing.assert_allclose(result.loc[list(made_up.SYSTEMS)], expected, rtol=0, atol=5.1e-5)


def test_an_attack_that_stores_nothing_has_no_stored_norm():
    line = run_metrics(made_up.run().drop(columns=["stored_l2", "db"])).iloc[0]
    assert np.isnan(line["norm_mean"])
    assert line["iterations_mean"] == 40


def test_a_correlation_that_one_seed_lacks_is_not_averaged_over_the_others():
    constant = made_up.run(seed=7)
    constant["clean_fear"] = 0.5
    line = smc2025.table1(pd.concat([made_up.run(seed=6), constant])).set_index("system").loc["A2E"]
    assert np.isnan(line["correlation_mean"])
    assert line["mae_mean"] > 0


def test_a_system_of_ones_own_comes_last_and_has_no_value_of_the_paper():
    rows = pd.concat([made_up.run(system="a2m2e_w0.3"), made_up.run(system="aA2E")])
    table = smc2025.table1(rows, paper_data=True)
    assert table["system"].tolist()[2:] == ["aA2E", "a2m2e_w0.3"]
    assert table["group"].tolist()[2:] == ["adversarial training", "other"]
    assert np.isnan(table["paper_mae_mean"].iloc[-1])


def test_runs_with_different_clips_are_refused():
    rows = made_up.study()
    with pytest.raises(DataError, match=r"clip 000 has a row in .* but none in"):
        tenuto.paper(rows.drop(rows[(rows["run"] == "A2M2E-6") & (rows["clip"] == "000")].index), out=None)


def test_values_of_the_paper_are_shown_with_its_data_only(tmp_path, undrawn):
    rows = made_up.study(systems=("A2E", "A2M2E"))
    assert smc2025.table1(rows)["system"].tolist() == ["A2E", "A2M2E"]
    own = paper.write_paper(rows, tmp_path / "own")
    of_paper = paper.write_paper(rows, tmp_path / "paper", paper_data=True)
    for name in ("table1.md", "significance.md"):
        assert "paper" not in own[name].read_text().lower()
        assert "(paper)" in of_paper[name].read_text()


def test_only_test_clips_count():
    rows = pd.concat([made_up.run(), made_up.run(attacked=50.0, split="validation")])
    assert smc2025.difference(rows)["difference"].tolist() == pytest.approx([0.875])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (made_up.run(split="train"), "no test clips"),
        (pd.concat([made_up.run(), made_up.run(epsilon=0.1, norm="linf")]), "hold 2 attacks"),
        (
            pd.concat([made_up.run(), made_up.run(run="again")]),
            r"A2E with seed 6 has 2 runs \(A2E-6, again\)",
        ),
    ],
    ids=["no test clips", "two attacks", "two runs"],
)
def test_rows_that_would_be_mixed_up_are_refused(rows, message):
    with pytest.raises(DataError, match=message):
        run_metrics(rows)


def test_pairs_join_clips_and_seeds_whatever_the_order_of_the_rows():
    errors = errors_per_clip(made_up.study().sample(frac=1, random_state=0))
    first, second = smc2025.pairs(errors, "A2E", "A2M2E")
    assert sorted(np.round(second - first, 9)) == pytest.approx(
        sorted(2 + 0.02 * seed / 10 for seed in made_up.SEEDS for _ in range(made_up.CLIPS))
    )


def test_seeds_that_only_one_system_has_are_left_out_of_the_tests():
    rows = pd.concat([made_up.study(), made_up.run("A2E", 99)])
    assert set(smc2025.significance(rows)["n"]) == {15, 3}


def test_two_seeds_are_too_few_for_a_test_over_seeds():
    assert set(smc2025.significance(made_up.study(seeds=(6, 21)))["unit"]) == {"clip x seed"}


def test_a_comparison_whose_system_is_missing_is_left_out_and_named():
    rows = made_up.study(systems=("A2E", "A2M2E"))
    assert set(smc2025.significance(rows)["comparison"]) == {"A2E against A2M2E"}
    remarks = smc2025.remarks(rows)
    assert "No rows of A2B2E, aA2E, aA2B2E: left out of tables and figures." in remarks
    assert any("No t-test of A2B2E against A2M2E" in remark for remark in remarks)
    assert any("Figure 4 shows A2M2E" in remark for remark in remarks)


def test_rows_of_no_system_of_the_study_are_remarked_on_once():
    rows = pd.concat([made_up.run(system, seed) for system in ("mine", "other") for seed in (6, 21)])
    (remark,) = smc2025.remarks(rows.reset_index(drop=True))
    assert remark.startswith(
        "No system of the SMC 2025 study (A2E, A2B2E, A2M2E, aA2E, aA2B2E) is among these rows"
    )
    assert "show mine, other" in remark


def test_nothing_is_remarked_on_a_complete_study():
    assert smc2025.remarks(made_up.study()) == []


def test_figure_4_takes_the_smallest_seed_where_21_is_missing_and_says_so():
    rows = made_up.study(seeds=(42, 7, 9))
    assert smc2025.figure4_seed(rows) == 7
    assert smc2025.remarks(rows) == ["Figure 4 shows seed 7: there is no run with seed 21."]


def test_a_seed_asked_for_is_taken_without_remark():
    rows = made_up.study(seeds=(42, 7, 9))
    assert smc2025.figure4_seed(rows, 9) == 9
    assert smc2025.remarks(rows, 9) == []


def test_a_seed_without_runs_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="no run has seed 5; seeds of the runs: 6, 21, 42"):
        smc2025.figure4_seed(made_up.study(), 5)


@pytest.mark.parametrize(
    ("emotions", "message"),
    [
        (["tenson"], "Did you mean tension?"),
        ([], "each once"),
        (["sad", "sad"], "each once"),
    ],
)
def test_emotions_that_cannot_be_drawn_are_refused(emotions, message):
    with pytest.raises(ConfigError, match=message):
        smc2025.check_emotions(made_up.run(), emotions)


def test_a_data_set_with_other_emotions_shows_its_first_two():
    rows = made_up.run()
    rows.columns = [name.replace("tension", "calm") for name in rows.columns]
    assert smc2025.figure4_emotions(rows) == ("valence", "energy")


def test_everything_is_written_and_the_names_say_where(tmp_path):
    written = paper.write_paper(made_up.study(), tmp_path)
    tables = [f"{name}.{kind}" for name in ("significance", "table1") for kind in ("csv", "md", "tex")]
    figures = [f"figure{number}.{kind}" for number in (3, 4) for kind in ("pdf", "png")]
    assert sorted(written) == sorted(["metrics.csv", *tables, *figures])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written)
    assert all(path.stat().st_size > 50 for path in written.values())


def test_a_study_of_one_run_gets_what_one_run_supports(tmp_path, undrawn):
    written = paper.write_paper(made_up.run(), tmp_path)
    assert "figure4.png" in written
    assert written["significance.csv"].read_text().splitlines()[1:] == []


def test_a_wish_that_cannot_be_met_writes_nothing(tmp_path):
    with pytest.raises(ConfigError):
        paper.write_paper(made_up.study(), tmp_path / "out", emotions=("joy",))
    assert not (tmp_path / "out").exists()
