import numpy as np
import pandas as pd
import pytest
import yaml

from tenuto.cli.paper import app
from tenuto.config import to_yaml
from tenuto.errors import DataError, FileError
from tenuto.files import write_text
from tenuto.store.released_logs import LOG_SETTINGS, write_log
from tenuto.store.rows import write_rows
from tenuto.store.run import RunFolder
from tests import small_runs
from tests.cli.conftest import caller
from tests.reporting import made_up

PROTOCOL = "paper-2025-released+iterations=40"
SETTINGS_OF_A_LOG = dict.fromkeys(LOG_SETTINGS, None) | {
    "conv_method": "corr",
    "lr": 0.002,
    "max_iters": 1000,
    "optimiser": "Adam",
    "sign": True,
}


call = caller(app)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for name, rows in made_up.study().groupby("run"):
        write_text(folder / "runs" / str(name) / "config.yaml", to_yaml(small_runs.settings()))
        table = RunFolder(folder / "runs" / str(name)).rows(PROTOCOL)
        write_rows(table, rows.assign(protocol=PROTOCOL))
    return folder


@pytest.mark.parametrize(
    ("command", "files"),
    [
        ("table1", {"table1.csv", "table1.md", "table1.tex"}),
        ("significance", {"significance.csv", "significance.md", "significance.tex"}),
        ("figure3", {"figure3.png", "figure3.pdf"}),
        ("figure4", {"figure4.png", "figure4.pdf"}),
    ],
)
def test_each_command_writes_its_files_and_prints_their_paths(study, tmp_path, command, files):
    outcome = call(command, "--study", study, "--out", tmp_path)
    assert outcome.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == files
    assert all(str(tmp_path / name) in outcome.stdout for name in files)


def test_all_prints_table_1_with_the_values_of_the_paper_and_the_t_tests(study, tmp_path):
    outcome = call("all", "--study", study, "--out", tmp_path)
    line = next(line for line in outcome.stdout.splitlines() if line.startswith("│A2B2E "))
    assert "1.00 ± 0.00" in line
    assert "0.70 ± 0.02" in line
    assert "A2E against A2M2E" in outcome.stdout
    assert len(list(tmp_path.iterdir())) == 11


@pytest.mark.parametrize("columns", [80, 60])
def test_a_narrow_terminal_cuts_no_digit(tmp_path, columns):
    rows = made_up.study(systems=("A2E", "A2B2E", "A2M2E"))
    rows["adversarial_valence"] += np.random.default_rng(0).uniform(0, 0.1, len(rows))  # t of many digits
    write_rows(tmp_path / "all" / "attacks" / "paper-2025-released.csv", rows)
    write_text(tmp_path / "all" / "config.yaml", to_yaml(small_runs.settings()))
    shown = call("significance", "--study", tmp_path, "--out", tmp_path, COLUMNS=str(columns)).stdout
    result = pd.read_csv(tmp_path / "significance.csv")["t"]
    assert len(result) == 4
    assert [t for t in result if f" {t:.9f} " not in shown] == []
    assert " 13.035200610 " in shown  # the paper


def test_all_from_logs_with_a_table_of_runs(tmp_path):
    rows = made_up.study(systems=("A2E", "A2M2E"), seeds=(3, 4))
    lines = []
    for name, run in rows.groupby("run"):
        write_log(run, tmp_path / "logs" / str(name), SETTINGS_OF_A_LOG)
        lines.append(f"{name},{run['system'].iloc[0]},{run['seed'].iloc[0]}")
    (tmp_path / "runs.csv").write_text("\n".join(["folder,system,seed", *lines]) + "\n")
    outcome = call(
        "all", "--logs", tmp_path / "logs", "--runs", tmp_path / "runs.csv", "--out", tmp_path / "out"
    )
    assert outcome.exit_code == 0
    table = pd.read_csv(tmp_path / "out" / "table1.csv").set_index("system")
    assert table.loc["A2E", "mae_mean"] == pytest.approx(0.125)


def test_what_is_left_out_is_said(tmp_path):
    rows = made_up.run(seed=42)
    write_rows(tmp_path / "A2E-42" / "attacks" / "paper-2025-released.csv", rows)
    outcome = call("all", "--study", tmp_path, "--out", tmp_path / "out")
    assert "No rows of A2B2E, A2M2E, aA2E, aA2B2E" in outcome.stderr
    assert "Figure 4 shows seed 42: there is no run with seed 21." in outcome.stderr
    assert "No t-test" in outcome.stdout


@pytest.mark.usefixtures("drawn")
def test_figure_4_takes_seed_and_emotions(study, tmp_path):
    call("figure4", "--study", study, "--out", tmp_path / "a", "--seed", 6, "--emotions", "sad, happy")
    call("figure4", "--study", study, "--out", tmp_path / "b", "--seed", 42, "--emotions", "sad, happy")
    assert (tmp_path / "a" / "figure4.png").read_bytes() != (tmp_path / "b" / "figure4.png").read_bytes()


def test_a_protocol_can_be_named(study, tmp_path):
    assert call("table1", "--study", study, "--protocol", PROTOCOL, "--out", tmp_path).exit_code == 0
    with pytest.raises(FileError, match="no rows of protocol standard-1"):
        call("table1", "--study", study, "--protocol", "standard-1", "--out", tmp_path)


def test_a_budget_of_several_can_be_chosen(tmp_path):
    budgets = [
        made_up.run(protocol="standard-1", norm="linf", epsilon=epsilon, seed=21) for epsilon in (0.1, 0.2)
    ]
    write_rows(tmp_path / "A2E-21" / "attacks" / "standard-1.csv", pd.concat(budgets))
    with pytest.raises(DataError, match="Choose one"):
        call("table1", tmp_path, "--protocol", "standard-1", "--out", tmp_path / "out")
    outcome = call(
        "table1", tmp_path, "--protocol", "standard-1", "--epsilon", 0.2, "--out", tmp_path / "out"
    )
    assert outcome.exit_code == 0


def test_a_unit_of_several_can_be_chosen(tmp_path):
    for seed, unit in ((6, "dB"), (21, "samples (full scale 1)")):
        path = tmp_path / f"A2E-{seed}" / "attacks" / "paper-2025-released.csv"
        write_rows(path, made_up.run(seed=seed).assign(unit=unit))
    with pytest.raises(DataError, match="2 units"):
        call("table1", tmp_path, "--out", tmp_path / "out")
    outcome = call("table1", tmp_path, "--unit", "samples", "--out", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.output


@pytest.mark.usefixtures("drawn")
def test_the_whole_paper_from_the_released_logs(released, tmp_path):
    outcome = call("all", "--logs", released, "--out", tmp_path)
    assert "359 │ 13.035200610 │ 4.567e-32" in outcome.stdout
    assert "359 │ 12.099034452 │ 1.695e-28" in outcome.stdout
    assert len(list(tmp_path.iterdir())) == 11
    assert yaml.safe_load(outcome.stderr or "null") is None


def test_table_1_with_the_values_of_the_paper_fits_in_80_columns(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = call("table1", "--out", tmp_path).stdout.splitlines()
    assert "Table 1, continued" not in lines
    assert max(map(len, lines[: lines.index("Table 1") + 14])) <= 80
