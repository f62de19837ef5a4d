"""The page of results states what the eighteen runs of `results/robust-2025` hold."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tenuto
from tenuto import metrics
from tenuto.analysis.comparison import Settings
from tenuto.files import read_csv, read_json
from tenuto.store.certificates import read_certificates
from tenuto.store.rows import read_rows, row_errors, values_of
from tenuto.store.run import RunFolder
from tenuto.store.study import StudyFolder
from tests.test_results_folder import PAGE, SENTENCES, plain

FOLDER = Path(__file__).parents[1] / "results" / "robust-2025"
PROTOCOL = "standard-1+precision=bfloat16"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The runs by system."""
    folder = tmp_path_factory.mktemp("robust")
    with tarfile.open(FOLDER / "runs.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    by_system: dict[str, list[RunFolder]] = {}
    for run in StudyFolder(folder).runs():
        by_system.setdefault(run.read_config().system, []).append(run)
    assert sum(map(len, by_system.values())) == 18
    return by_system


@pytest.fixture(scope="module")
def repeat(tmp_path_factory):
    """A run that was trained again, since the weights of the first were gone before they were certified."""
    folder = tmp_path_factory.mktemp("repeats")
    with tarfile.open(FOLDER / "repeats.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    (run,) = StudyFolder(folder).runs()
    return run


@pytest.fixture(scope="module")
def worst(runs):
    """Worst rows of every run with their errors."""
    tables = [read_rows(run.rows(PROTOCOL)) for own in runs.values() for run in own]
    rows = pd.concat(tables, ignore_index=True)
    rows = rows[rows["worst"]]
    assert (rows.groupby("run")["clip"].nunique() == 36).all()
    return rows.assign(error=row_errors(rows))


def cell(values):
    """Mean and standard deviation over seeds; of one seed its value."""
    return plain(np.mean(values)) + (f" ± {plain(np.std(values, ddof=1))}" if len(values) > 1 else "")


@pytest.mark.parametrize(
    "system", ["A2E", "A2E_fast", "A2M2E", "A2M2E_fast", "A2M2E_sequential", "A2M2E_sequential_fast"]
)
def test_the_page_states_errors(runs, worst, system):
    own = runs[system]
    tests = [read_json(run.metrics)["test"] for run in own]
    natural = [row_errors(read_rows(run.natural())).mean() for run in own]
    rows = worst[worst["system"] == system]
    attacked = rows.groupby(["epsilon", "seed"])["error"].mean().unstack()
    clean = [test["mae"]["overall"] for test in tests]
    again = metrics.mae(values_of(rows, "label"), values_of(rows, "clean"))
    assert np.mean(clean) == pytest.approx(again, abs=1e-5)
    cells = [str(len(own)), plain(np.mean([test["correlation"]["overall"] for test in tests])), cell(clean)]
    cells += [plain(np.mean(natural))]
    cells += [
        cell(line) if epsilon == 0.1 else plain(line.mean())
        for epsilon, line in attacked.apply(lambda line: line.dropna().to_numpy(), axis=1).items()
    ]
    assert f"| {system} | {' | '.join(cells)} |" in PAGE


def test_the_page_states_what_natural_variation_adds(runs):
    added = [
        np.mean(
            [
                row_errors(read_rows(run.natural())).mean() - read_json(run.metrics)["test"]["mae"]["overall"]
                for run in own
            ]
        )
        for own in runs.values()
    ]
    assert f"Natural variation** raises the error by {plain(min(added))} to {plain(max(added))}" in SENTENCES


def test_the_page_states_what_the_attack_adds_after_robust_training():
    systems = read_csv(FOLDER / "stats" / "stats_systems.csv").set_index(["quantity", "system"])["mean"]
    added = systems["added"]
    pairs = read_csv(FOLDER / "stats" / "stats_pairs.csv").query("quantity == 'added'")
    p = pairs.query("first == 'A2E_fast' and second == 'A2M2E_fast'")["p_holm"].item()
    assert pairs["p"].count() == 15
    assert (
        f"({plain(added['A2M2E_fast'])} against {plain(added['A2E_fast'])}, p = {plain(p)} by Holm over fifteen pairs)"
        in SENTENCES
    )
    assert (
        f"{plain(systems['attacked', 'A2E_fast'])} without and {plain(systems['attacked', 'A2M2E_fast'])} with it"
        in SENTENCES
    )


def test_the_page_states_differences_at_matched_clean_error(worst):
    four = worst[~worst["system"].str.contains("sequential") & (worst["epsilon"] == 0.1)]
    rows = four.assign(attack="worst", objective="worst", settings="worst")
    table = tenuto.compare(rows, settings=Settings(draws=100)).matched
    stored = read_csv(FOLDER / "stats-of-four" / "stats_matched.csv")
    np.testing.assert_allclose(
        stored[["difference", "low", "high"]], table[["difference", "low", "high"]], atol=1e-9
    )
    assert f"p = {table['p_slopes'][0]:.2f}".replace("0.", ".") in SENTENCES
    pairs = [("A2E", "A2E_fast"), ("A2M2E", "A2M2E_fast"), ("A2E", "A2M2E"), ("A2E_fast", "A2M2E_fast")]
    for first, second in pairs:
        (line,) = table[(table["first"] == first) & (table["second"] == second)].to_dict("records")
        difference, low, high = (plain(line[name]) for name in ("difference", "low", "high"))
        assert f".{difference.partition('.')[2]} ({low} to {high})" in SENTENCES


def test_the_page_states_the_runs_of_the_bottlenecks(runs, worst):
    errors = worst[worst["epsilon"] == 0.1].groupby("run")["error"].mean()
    sequential = {run.read_training()["best_epoch"]: errors[run.name] for run in runs["A2M2E_sequential"]}
    assert {epoch: plain(error) for epoch, error in sequential.items()} == {
        32: ".215",
        43: ".221",
        100: ".345",
    }
    assert "best after 32 and 43 epochs and err .215 and .221" in SENTENCES
    assert "best after 100 and errs .345" in SENTENCES
    joint = [(read_json(run.metrics)["test"]["mae"]["overall"], errors[run.name]) for run in runs["A2M2E"]]
    (clean, most), *others = sorted(joint)
    assert most == max(error for _, error in joint)
    listed = " and ".join(sorted(plain(error) for _, error in others))
    robust = sorted(runs["A2M2E_sequential_fast"], key=lambda run: run.read_config().train.seed)
    three = [errors[run.name] for run in robust]
    first, second, third = map(plain, three)
    assert f"the three sequential runs err {first}, {second} and {third}, between the means" in SENTENCES
    means = {system: np.mean([errors[run.name] for run in own]) for system, own in runs.items()}
    assert max(means["A2E_fast"], means["A2M2E_fast"]) < min(three)
    assert max(three) < min(means["A2E"], means["A2M2E"], means["A2M2E_sequential"])
    pairs = read_csv(FOLDER / "stats" / "stats_pairs.csv").query("quantity == 'attacked'")
    (pair,) = pairs.query("first == 'A2M2E_fast' and second == 'A2M2E_sequential_fast'").to_dict("records")
    more, low, high = (plain(-pair[name]) for name in ("difference", "high", "low"))
    assert f"{more} more than the joint bottleneck ({low} to {high})" in SENTENCES
    assert f"(p = {pair['p_holm']:.2f} by Holm)".replace("0.", ".") in SENTENCES
    assert f"clean clips ({plain(clean)}) and most at 0.1, {plain(most)} against {listed}" in SENTENCES


def test_the_page_states_leakage(runs):
    leakage = {
        system: sorted(
            round(read_csv(run.path / "leakage.csv").set_index("measure")["value"]["concept_task_leakage"], 2)
            for run in own
        )
        for system, own in runs.items()
        if system.startswith("A2M2E")
    }
    assert leakage["A2M2E_sequential"] == [0.01, 0.02, 0.03]
    assert leakage["A2M2E_sequential_fast"] == [0.03, 0.05, 0.08]
    assert leakage["A2M2E"] == [0.2, 0.23, 0.24]
    assert (leakage["A2M2E_fast"][0], leakage["A2M2E_fast"][-1]) == (0.12, 0.21)


def test_the_page_states_certificates_of_the_budget_of_the_study(runs, repeat):
    most: dict[str, float] = {}
    for system, own in {**runs, "A2M2E_sequential": [*runs["A2M2E_sequential"], repeat]}.items():
        for path in (path for run in own for path in run.certificate_files() if "sigma-0.216-" in path.name):
            rows = read_certificates(path)
            rows = rows[np.isclose(rows["radius"], 0.216)]
            assert len(rows) == 36 * 8
            moved = np.maximum(rows["high"] - rows["median"], rows["median"] - rows["low"]).max()
            most[system] = max(most.get(system, 0), moved)
    assert {system: plain(value) for system, value in most.items()} == {
        "A2E": ".020",
        "A2E_fast": ".008",
        "A2M2E": ".010",
        "A2M2E_fast": ".006",
        "A2M2E_sequential": ".008",
        "A2M2E_sequential_fast": ".008",
    }


def test_the_page_states_which_runs_have_no_certificates_and_how_a_repeated_run_differs(runs, repeat):
    missing = {
        run.name.rpartition("-")[0] for own in runs.values() for run in own if not run.certificate_files()
    }
    assert missing == {"A2E_fast-6", "A2M2E_sequential-21", "A2M2E_sequential-42"}
    (first,) = [run for run in runs["A2M2E_sequential"] if run.name == repeat.name]
    assert first.read_config() == repeat.read_config()
    again, before = (run.read_training()["best_epoch"] for run in (repeat, first))
    error, other = (plain(run.read_metrics()["test"]["mae"]["overall"]) for run in (repeat, first))
    assert f"best after {again} epochs, not {before}, with a clean error of {error}, not {other}" in SENTENCES


def test_the_page_states_from_which_size_attacks_exceed_natural_variation():
    beyond = read_csv(FOLDER / "curve" / "summary.csv").set_index("system")["beyond"]
    systems = ("A2E", "A2M2E", "A2E_fast", "A2M2E_fast")
    first, second, third, last = (f"{beyond[name]:.3f} ({name})" for name in systems)
    assert f"from {first}, {second}, {third} and {last} on" in SENTENCES


def test_the_page_states_what_robust_training_costs_on_clean_clips(runs):
    clean = {
        system: np.mean([read_json(run.metrics)["test"]["mae"]["overall"] for run in runs[system]])
        for system in ("A2E", "A2E_fast")
    }
    assert f"costs A2E {plain(clean['A2E_fast'] - clean['A2E'])} of clean error" in SENTENCES


def test_the_tables_are_those_of_the_runs(worst):
    table = read_csv(FOLDER / "stats" / "stats_systems.csv")
    stored = table[table["quantity"] == "attacked"].set_index("system")["mean"]
    computed = worst[worst["epsilon"] == 0.1].groupby("system")["error"].mean()
    assert stored.to_dict() == pytest.approx(computed.to_dict(), abs=1e-9)
    (counts,) = [line for line in PAGE.splitlines() if line.startswith("- **The audit: 1 FAIL")]
    verdicts = read_csv(FOLDER / "audit" / "audit.csv")["verdict"].value_counts()
    assert all(f"{count} {verdict}" in counts for verdict, count in verdicts.items())


def test_the_docs_state_how_long_a_run_took_in_the_sitting():
    docs = (FOLDER.parents[1] / "docs" / "studies.md").read_text("utf-8")
    minutes = [sum(stages.values()) / 60 for stages in read_json(FOLDER / "sitting.json")["seconds"].values()]
    assert f"{min(minutes):.1f} to {max(minutes):.1f} minutes for a complete run" in docs
