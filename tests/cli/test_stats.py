import json

import pandas as pd
import pytest

from tenuto.analysis import statistics
from tenuto.cli.stats import stats
from tenuto.errors import ConfigError, DataError
from tenuto.store.rows import mark_worst, read_rows, write_rows
from tests.analysis.test_comparison import noisy
from tests.cli.conftest import caller
from tests.reporting import made_up

call = caller(stats)


@pytest.fixture
def unfitted(monkeypatch):
    """Mixed models are not fitted, as if they did not converge, for tests of what is next to them."""
    monkeypatch.setattr(statistics, "_fit", lambda sides, start: None)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for name, rows in noisy().groupby("run"):
        write_rows(folder / "runs" / str(name) / "attacks" / "paper-2025-released.csv", rows)
    return folder


def test_the_screen_has_the_unit_the_systems_and_the_pairs_and_no_file_is_written(
    study, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    outcome = call("--study", study, "--draws", 200)
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith("A value is the mean absolute error over 8 emotions of one test clip")
    for title in (
        "Systems",
        "Pairs, error after the attack",
        "Mixed models of pairs, error after the attack",
        "Pairs at matched clean error, error after the attack",
    ):
        assert f"\n{title}\n" in outcome.stdout
    assert "counts 20 pairs of clip and seed as independent" in " ".join(outcome.stdout.split())
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_attacked_differently_is_named(study, tmp_path):
    for path in study.rglob("*.csv"):
        rows = read_rows(path)
        if path == min(study.rglob("*.csv")):
            rows["objective"] = "absolute error"
            odd = rows["run"].iloc[0]
        write_rows(tmp_path / path.relative_to(study), rows.assign(worst=True))
    with pytest.raises(
        DataError, match=rf"^{odd} \(.*/absolute error/.*\): attacked differently from \d+ other"
    ):
        call(tmp_path)


@pytest.mark.usefixtures("unfitted")
def test_files_are_written_and_named(study, tmp_path):
    outcome = call("--study", study, "--draws", 200, "--out", tmp_path, "--show", "added")
    assert "Pairs, error added by the attack" in outcome.stdout
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 16
    assert all(str(tmp_path / name) in outcome.stdout for name in names)
    assert set(pd.read_csv(tmp_path / "stats_pairs.csv")["quantity"]) == {"attacked", "added", "clean"}


@pytest.mark.usefixtures("unfitted")
def test_json_is_one_object_and_nothing_else_and_repeats_with_its_seed(study):
    arguments = ("--study", study, "--draws", 200, "--measure", "mse", "--clipped", 0, 1, "--json")
    outcome, again, other = (call(*arguments, "--seed", seed).stdout for seed in (5, 5, 6))
    assert outcome == again
    assert outcome != other.replace('"seed": 6', '"seed": 5')
    content = json.loads(outcome)
    assert (content["measure"], content["clipped"], content["draws"]) == ("mse", [0.0, 1.0], 200)
    assert "predictions clipped to 0-1" in content["unit"]
    assert len(content["pairs"]) == 3


@pytest.mark.usefixtures("unfitted")
def test_pairs_can_be_planned(study):
    content = json.loads(call("--study", study, "--draws", 200, "--pairs", "A2M2E:A2E", "--json").stdout)
    assert {(line["first"], line["second"]) for line in content["pairs"]} == {("A2M2E", "A2E")}
    with pytest.raises(ConfigError, match="Did you mean A2E"):
        call("--study", study, "--pairs", "aA2E:A2M2E")


def test_what_is_left_out_is_said(tmp_path):
    write_rows(tmp_path / "A2E-7" / "attacks" / "paper-2025-released.csv", noisy(("A2E",), (7,)))
    outcome = call("--study", tmp_path, "--draws", 200)
    assert outcome.exit_code == 0
    assert "There is one system only, so there is no comparison: A2E." in outcome.stderr
    assert "Pairs" not in outcome.stdout


@pytest.mark.parametrize("columns", [80, 60])
def test_a_narrow_terminal_cuts_no_digit(study, tmp_path, columns):
    shown = call("--study", study, "--draws", 200, "--out", tmp_path, COLUMNS=str(columns)).stdout
    for name, columns_shown, digits in (
        ("pairs", ["difference", "low"], 4),
        ("mixed", ["difference", "low"], 3),
    ):
        table = pd.read_csv(tmp_path / f"stats_{name}.csv")
        own = table[table["quantity"] == "attacked"].iloc[0]
        for value in own[columns_shown]:
            assert f" {value:.{digits}f} " in shown
    assert "…" not in shown


def test_the_released_logs(released):
    outcome = call("--logs", released, "--pairs", "A2E:A2M2E,A2B2E:A2M2E", "--draws", 500)
    # t over seeds, and its p of 0.0026 and 0.0239 by Holm
    assert " 4.13 │   0.0051 " in outcome.stdout
    assert " 2.71 │   0.0239 " in outcome.stdout
    assert "360 │    13.04 │ 4.567e-32" in outcome.stdout
    assert "360 │    12.10 │ 1.695e-28" in outcome.stdout
    assert max(len(line) for line in outcome.stdout.splitlines() if line.startswith("┃")) <= 100
    assert "counts 360 pairs of clip and seed as independent" in " ".join(outcome.stdout.split())
    assert outcome.stderr.startswith("The comparison at matched clean error assumes one slope")


def test_systems_are_compared_at_a_budget_in_db(tmp_path):
    for seed in (6, 21):
        for system, ladders in (("A2E", None), ("A2M2E", {"snr": {40: 0.25}, "masked": {6: 0.5}})):
            rows = mark_worst(made_up.sound(system, seed, ladders))
            write_rows(tmp_path / "runs" / f"{system}-{seed}" / "attacks" / "sound-1.csv", rows)
    content = json.loads(call("--study", tmp_path, "--db", 40, "--draws", 200, "--json").stdout)
    means = {one["system"]: one["mean"] for one in content["systems"] if one["quantity"] == "attacked"}
    assert means == pytest.approx({"A2E": 0.1875, "A2M2E": 0.25})
    with pytest.raises(DataError, match=r"several budgets \(40 dB SNR, .*Choose one with `db`\."):
        call("--study", tmp_path)
