"""The committed results of the GPU: tables made from their rows, and numbers in prose that rows and checks show."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tenuto
from tenuto import metrics
from tenuto.analysis.smc2025 import PRINTED_TABLE_1
from tenuto.attacks import protocol
from tenuto.files import read_csv, read_json
from tenuto.reporting import write_curves
from tenuto.store.rows import values_of
from tenuto.study.stages import analyse
from tests.test_results_folder import FOLDER, PAGE, SENTENCES, audited, error, plain, read_once

STUDY, GPU = FOLDER / "paper-2025", FOLDER / "gpu"
RUNS = {
    name: STUDY / "runs" / f"{name}-6-{signature}"
    for name, signature in {"A2E": "0f9f8894", "A2B2E": "643d529e", "A2M2E": "0a95f07f"}.items()
}
SYSTEMS = list(RUNS)


@pytest.fixture(scope="module")
def curves():
    return tenuto.curves(STUDY, "standard-1")


@pytest.fixture(scope="module")
def released():
    rows = tenuto.rows()
    errors = np.abs(values_of(rows, "adversarial") - values_of(rows, "label")).mean(axis=1)
    return rows.assign(error=errors).groupby(["system", "seed"])["error"].mean()


def attacked(system):
    return read_once(RUNS[system] / "attacks" / "paper-2025-released.csv")


def same_tables(made, expected):
    for path in made:
        if path.suffix not in (".png", ".pdf"):
            assert path.read_bytes() == (expected / path.name).read_bytes(), path.name


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", ["paper-2025-released", "standard-1", "natural-1"])
def test_rows_are_those_of_all_test_clips_and_of_the_gpu(system, name):
    rows = read_once(RUNS[system] / "attacks" / f"{name}.csv")
    split = read_csv(RUNS[system] / "split.csv", text=("clip",)).set_index("clip")["split"]
    assert set(rows["clip"]) == set(split.index[split == "test"])
    arithmetic = "cpu AVX512" if name == "natural-1" else "cuda NVIDIA H200"
    assert set(rows["versions"]) == {f"tenuto 0.1.0, torch 2.11.0+cu130, {arithmetic}"}
    assert rows["checkpoint"].iloc[0] == read_json(RUNS[system] / "metrics.json")["checkpoint"]


def test_the_tables_are_made_from_the_rows(tmp_path, undrawn):
    copy = tmp_path / "study"
    shutil.copytree(STUDY, copy, ignore=shutil.ignore_patterns("paper", "metrics.csv", "curve", "stats"))
    runs = [RUNS[system].name for system in SYSTEMS]
    made = analyse(copy, runs, [protocol("paper-2025-released"), protocol("standard-1")])
    tables = [path for path in made if Path(path).suffix not in (".png", ".pdf")]
    assert len(tables) == 9
    for path in tables:
        assert (copy / path).read_bytes() == (STUDY / path).read_bytes(), path


def test_curves_and_statistics_are_made_from_the_rows(curves, tmp_path, undrawn):
    write_curves(curves, tmp_path / "curve")
    tenuto.compare(STUDY, "paper-2025-released", out=tmp_path / "stats")
    for name in ("curve", "stats"):
        made = sorted((tmp_path / name).iterdir())
        assert [path.name for path in made] == sorted(path.name for path in (STUDY / name).iterdir())
        same_tables(made, STUDY / name)


@pytest.mark.parametrize("system", SYSTEMS)
def test_clean_predictions_on_the_page(system):
    rows = attacked(system)
    label, clean = values_of(rows, "label"), values_of(rows, "clean")
    score, mae = metrics.pearson(label, clean).mean(), metrics.mae(label, clean)
    mean, deviation, mae_mean, mae_deviation = PRINTED_TABLE_1[system]
    ended = read_json(RUNS[system] / "training.json")
    cells = [system, plain(score), plain(mae), f"{plain(mean, 2)} ± {plain(deviation, 2)}"]
    cells += [
        f"{plain(mae_mean, 2)} ± {plain(mae_deviation, 2)}",
        f"{ended['best_epoch']} of {ended['epochs']}",
    ]
    assert f"| {' | '.join(cells)} |" in PAGE
    assert abs(score - mean) <= deviation
    report = read_json(RUNS[system] / "metrics.json")
    assert (
        f"mean of the training clips has MAE {plain(report['mean_predictor']['mae']['overall'])}" in SENTENCES
    )


def test_the_concepts_on_the_page():
    report = read_json(RUNS["A2M2E"] / "metrics.json")
    scores = [plain(report[part]["correlation"]["overall"]) for part in ("test_concepts", "train_concepts")]
    assert f"proxies with correlation {scores[0]} (training clips: {scores[1]})" in SENTENCES


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_attack_of_the_paper_on_the_page(released, system):
    rows = attacked(system)
    label, values = values_of(rows, "label"), values_of(rows, "adversarial")
    outside = ((values < 0) | (values > 1)).mean()
    others = released[system]
    cells = [system, plain(metrics.pearson(label, values).mean()), plain(error(rows))]
    cells += [plain(metrics.mae(label, np.clip(values, 0, 1))), f"{outside:.0%}".replace("%", " %")]
    cells += [f"{rows['l2'].median():.1f}", f"{others[6]:.2f}"]
    cells += [f"{others.mean():.2f} ({others.min():.2f} to {others.max():.2f})"]
    assert f"| {' | '.join(cells)} |" in PAGE
    assert not rows["converged"].any()
    assert {f"{size:.3f}" for size in rows["linf"]} == {"1.998"}
    assert len(others) == 10
    assert error(rows) < others.min()


def test_the_order_after_the_attack_of_the_paper(released):
    errors = {system: error(attacked(system)) for system in SYSTEMS}
    assert max(errors, key=lambda system: errors[system]) == "A2M2E"
    assert released["A2M2E"].mean() < min(released["A2E"].mean(), released["A2B2E"].mean())
    assert released["A2M2E"][6] > released["A2E"][6]
    tests = read_csv(STUDY / "paper" / "significance.csv").set_index("comparison")
    for pair, row in tests.iterrows():
        assert (
            f"t(35) = {row.t:.2f}, p = {row.p:.2g} for {pair}".replace("0.", ".").replace("-.", "-0.")
            in SENTENCES
        )


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_curve_on_the_page(curves, system):
    table = curves.runs.query("system == @system").sort_values("epsilon")
    summary = curves.summary.set_index("system").loc[system]
    cells = [system, *map(plain, table["mae"])]
    doubles = f"{summary.doubling:.3f} ({summary.doubling_low:.3f} to {summary.doubling_high:.3f})"
    assert f"| {' | '.join([*cells, doubles, f'{summary.beyond:.3f}'])} |" in PAGE


def test_what_is_stated_of_the_curve(curves):
    errors = curves.runs.pivot(index="epsilon", columns="system", values="mae")
    constant = read_json(RUNS["A2E"] / "metrics.json")["mean_predictor"]["mae"]["overall"]
    assert (errors.loc[0.02] < constant).all()
    assert (errors.loc[0.05] > constant).all()
    assert set(errors.loc[:0.02].idxmin(axis=1)) == {"A2E"}
    assert set(errors.loc[0.05:].idxmin(axis=1)) == {"A2B2E"}
    assert set(errors.loc[0.01:].idxmax(axis=1)) == {"A2M2E"}
    middle = curves.runs.query("epsilon == 0.1").set_index("system").loc[SYSTEMS]
    first, second, third = map(plain, middle["correlation"])
    assert f"negative: {first}, {second} and {third}," in SENTENCES
    first, second, third = map(plain, middle["moved"])
    assert f"at 0.1 it moves them by {first}, {second} and {third}." in SENTENCES


def test_natural_changes_on_the_page(curves):
    natural, summary = curves.natural, curves.summary.set_index("system").loc[SYSTEMS]
    largest = [f"{plain(row.natural)} ({system}, {row.natural_change})" for system, row in summary.iterrows()]
    largest[2] = largest[2].replace("other", "another")
    assert f"moves predictions by {largest[0]}, {largest[1]} and {largest[2]}" in SENTENCES
    for change, name in (("mp3 128 kb/s", "mp3"), ("noise 20 dB", "noise at 20 dB")):
        moved = natural.loc[natural["change"] == change, "moved"]
        assert f"{name} by {plain(moved.min())} to {plain(moved.max())}" in SENTENCES
    assert (
        f"From {summary.beyond.min():.3f} to {summary.beyond.max():.3f} on the attack moves them" in SENTENCES
    )


def test_seconds_on_the_page():
    runs = read_csv(GPU / "runs.csv").set_index("run")
    stages = {"training": "train", "evaluation": "evaluate", "natural changes": "natural"}
    stages |= {f"`{name}`": f"attack {name}" for name in ("paper-2025-released", "standard-1")}
    order = [RUNS[system].name for system in ("A2E", "A2M2E", "A2B2E")]
    for name, column in stages.items():
        cells = [f"{runs[column][run]:.1f}" for run in order]
        assert f"| {name} | {' | '.join(cells)} |" in PAGE
    assert set(runs["peak_gib"]) == {7.45}
    assert "Each held 7.45 GiB at its peak" in SENTENCES
    alone = runs.loc[RUNS["A2B2E"].name]
    step = 1000 * alone["attack paper-2025-released"] / 36_000
    assert f"took {step:.2f} ms per iteration and clip" in SENTENCES
    measured = next(
        one for one in read_json(GPU / "benchmarks.json")["results"] if one["name"] == "attack, ms a step"
    )
    assert (
        f"{measured['plain_median'] / step:.1f} times as fast as the plain {measured['plain_median']:.2f} ms"
        in SENTENCES
    )
    epoch = alone["train"] / read_json(RUNS["A2B2E"] / "training.json")["epochs"]
    assert f"288 clips of A2B2E above took {epoch:.2f} s" in SENTENCES


def test_checks_of_attacks_on_the_page():
    calls = read_csv(GPU / "attacks.csv")
    assert (
        f"{len(calls)} calls, {calls['attack'].nunique()} attacks on random and trained networks" in SENTENCES
    )
    assert calls["untouched"].all()
    assert calls["twice_the_same"].all()
    assert calls["budget_used"].max() <= 1 + 1e-6
    assert f"from the CPU's by at most {calls['clean'].max():.1e}".replace("e-07", "e-7") in SENTENCES
    change = ((calls["loss_cpu"] - calls["loss_gpu"]).abs() / calls["loss_cpu"].abs()).fillna(0)  # of 0 and 0
    median = f"{change.median():.1e}".replace("e-07", "e-7")
    counts = [(change > limit).sum() for limit in (0.001, 0.01)]
    assert (
        f"differs by {median} in the median over calls, by more than 0.1 % in {counts[0]} of 126 calls"
        in SENTENCES
    )
    assert f"more than 1 % in {counts[1]}, all of them APGD" in SENTENCES
    assert calls.loc[change > 0.01, "attack"].str.startswith("apgd").all()
    low = calls["attack"] == "apgd bfloat16"
    largest = [f"{change[kind].max():.1%}".replace("%", " %") for kind in (~low, low)]
    assert f"{largest[0]} in float32 and {largest[1]} in bfloat16, of either sign" in SENTENCES
    sign = np.sign(calls["loss_cpu"] - calls["loss_gpu"])[change > 0.01]
    assert set(sign) == {-1.0, 1.0}
    assert f"differ by up to {calls['prediction'].max():.2f}" in SENTENCES
    for family, digits in (("noise", ".1e"), ("fgsm", ".5f")):
        most = calls.loc[calls["attack"].str.startswith(family), "prediction"].max()
        name = {"noise": "`Noise` they differ", "fgsm": "`FGSM`"}[family]
        assert f"{name} by at most {most:{digits}}".replace("e-07", "e-7") in SENTENCES


def test_checks_of_training_on_the_page():
    checks = read_json(GPU / "checks.json")
    training, predictions = checks["training"], checks["trained_networks"]
    for run in training.values():
        assert all(run["twice"].values())
        assert all(run["interrupted after epoch 3"].values())
    losses = [
        [f"{100 * run[f'loss of epoch {epoch}, relative to the CPU']:.1f}" for run in training.values()]
        for epoch in (1, 6)
    ]
    (low, high), (last_low, last_high) = ((min(values), max(values)) for values in losses)
    assert (
        f"epoch 1 differs by {low} to {high} %, that of epoch 6 by {last_low} to {last_high} %" in SENTENCES
    )
    most = max(value for run in predictions.values() for value in run.values())
    assert f"Predictions of trained networks differ by at most {most:.1e}".replace("e-07", "e-7") in SENTENCES
    assert all(rows["twice the same"] for rows in checks["rows_of_protocols"].values())
    held = [f"{checks['memory'][name]['GiB']:.1f}" for name in checks["memory"]]
    assert (
        f"holds {held[0]} GiB, APGD on 36 clips {held[1]} GiB (bfloat16: {held[2]} and {held[3]} GiB)"
        in SENTENCES
    )


def test_benchmarks_on_the_page():
    measured = {one["name"]: one for one in read_json(GPU / "benchmarks.json")["results"]}
    names = {
        "attack, ms a step": "attack, ms per iteration and clip",
        "attack bf16, ms a step": "attack, bfloat16",
        "training epoch, s": "training epoch, s",
        "training epoch bf16, s": "training epoch, bfloat16",
        "attacked epoch, s": "epoch with attacks of 10 iterations, s",
        "attacked epoch bf16, s": "epoch with attacks, bfloat16",
    }
    assert set(measured) == set(names)
    for name, one in measured.items():
        times = [f"{one[f'{side}_median']:#.3g}" for side in ("ours", "plain")]
        assert f"| {names[name]} | {times[0]} | {times[1]} | {one['speedup']:.3g} |" in PAGE
    # Epochs there hold 4 updates and count eight times; an epoch of the study holds 36.
    epoch = read_csv(GPU / "runs.csv").set_index("run")["train"][RUNS["A2B2E"].name]
    epoch /= read_json(RUNS["A2B2E"] / "training.json")["epochs"]
    small = measured["training epoch, s"]["ours_median"] / 8
    update = (epoch - small) / 32
    assert f"an update takes some {1000 * update:.0f} ms" in SENTENCES
    assert f"the rest of an epoch some {small - 4 * update:.2f} s" in SENTENCES


def test_the_docs_state_what_was_measured():
    docs = {
        name: " ".join((FOLDER.parent / "docs" / f"{name}.md").read_text("utf-8").split())
        for name in ("studies", "attacks", "training")
    }
    runs = read_csv(GPU / "runs.csv").set_index("run")
    alone = runs.loc[RUNS["A2B2E"].name]
    epochs = read_json(RUNS["A2B2E"] / "training.json")["epochs"]
    attacks = [f"attack {name}" for name in ("paper-2025-released", "standard-1")]
    first, second = (f"{alone[name]:.0f} s of `{name.removeprefix('attack ')}`" for name in attacks)
    assert (
        f"{alone['train']:.0f} s of training ({epochs} epochs of {alone['train'] / epochs:.2f} s), {first}, {second}"
        in docs["studies"]
    )
    assert f"{alone['peak_gib']} GiB of GPU memory" in docs["studies"]
    times = (runs.loc[runs["shared"], attacks] / alone[attacks]).to_numpy(float)
    assert f"took {times.min():.1f} to {times.max():.1f} times as long" in docs["studies"]
    calls = read_csv(GPU / "attacks.csv")
    in_float32 = calls[calls["attack"] != "apgd bfloat16"]
    change = ((calls["loss_cpu"] - calls["loss_gpu"]).abs() / calls["loss_cpu"].abs()).fillna(0)
    most = f"{change[in_float32.index].max():.0%}".replace("%", " %")
    assert f"by {change.median():.0e} in the median".replace("e-07", "e-7") in docs["attacks"]
    assert (
        f"up to {most} with `APGD`, and single predictions by up to {calls['prediction'].max():.2f}"
        in docs["attacks"]
    )
    training = read_json(GPU / "checks.json")["training"].values()
    losses = [run["loss of epoch 1, relative to the CPU"] for run in training]
    assert {f"{loss:.0%}" for loss in losses} == {"1%"}
    assert "the loss of the first epoch differed by 1 %" in docs["training"]


def test_the_audit_on_the_page_is_that_of_its_file():
    paper, standard = "paper-2025-released", "standard-1"
    failures = {(name, check) for name in (paper, standard) for check in ("ranking", "albums")}
    findings = audited(STUDY, failures | {(paper, "convergence")})
    assert "0 of 108 attacks reached their goal" in findings[paper, "convergence"]["sentence"]
    assert f"{findings[paper, 'rating-scale']['value']:.0%} of its attacked".replace("%", " %") in SENTENCES
    sentence = findings[paper, "ranking"]["sentence"]
    assert "A2E is number 2 by MAE, CCC, Pearson, Spearman and number 3 by RMSE, R2" in sentence
    sentence = findings[standard, "ranking"]["sentence"]
    assert "linf 0.01" in sentence
    assert "A2B2E is number 1 by CCC, Pearson, Spearman and number 3 by RMSE, R2" in sentence
    longer = findings[standard, "longer-search"]["value"]
    assert f"error by at most {longer:.1%}".replace("%", " %") in SENTENCES
    for system in SYSTEMS:  # neither noise nor Square is stronger
        rows = read_once(RUNS[system] / "attacks" / f"{standard}.csv")
        errors = np.abs(values_of(rows, "adversarial") - values_of(rows, "label")).mean(axis=1)
        keys = [rows["clip"], rows["epsilon"], rows["attack"] == "APGD"]
        largest = pd.Series(errors).groupby(keys).max().unstack()
        assert (largest[True] > largest[False]).all()
