"""The committed results: rows that validate, and numbers in prose that the rows show."""

from __future__ import annotations

import functools
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

import tenuto
from tenuto import metrics
from tenuto.analysis.certificates import summary, with_errors
from tenuto.attacks import protocol
from tenuto.config import preset_study
from tenuto.data import Soundtracks
from tenuto.files import read_csv, read_json
from tenuto.store.certificates import read_certificates
from tenuto.store.rows import read_rows, row_errors, values_of
from tenuto.study.stages import analyse

FOLDER = Path(__file__).resolve().parents[1] / "results"
PAGE = (FOLDER / "README.md").read_text("utf-8")
SENTENCES = " ".join(PAGE.split())
SOUND_PROTOCOL = "sound-1+precision=bfloat16"
read_once = functools.cache(read_rows)
"""Rows of a file that several tests read."""


def plain(value, digits=3):
    return f"{value:.{digits}f}".replace("0.", ".")


def moved(rows):
    return np.abs(values_of(rows, "adversarial") - values_of(rows, "clean")).mean()


QUICK = FOLDER / "paper-2025-quick"
QUICK_RUNS = sorted(path.name for path in (QUICK / "runs").iterdir())
SYSTEMS = ("A2E", "A2B2E", "A2M2E", "aA2E", "aA2B2E")


def test_the_mean_predictor_on_the_page_is_that_of_the_split(shared):
    index = Soundtracks(shared / "soundtracks").index
    for run in QUICK_RUNS:
        split = read_csv(QUICK / "runs" / run / "split.csv", text=("clip",)).set_index("clip")["split"]
        part = split.loc[list(index.clips)].to_numpy()
        constant = index.labels[part == "train"].mean(axis=0)
        error = np.abs(index.labels[part == "test"] - constant).mean()
        assert f"Predicting the mean of the training clips has MAE {plain(error)}." in PAGE


@pytest.mark.parametrize("run", QUICK_RUNS)
def test_every_run_of_the_quick_study_is_on_the_page_as_its_rows_say(run):
    folder = QUICK / "runs" / run
    rows = read_once(folder / "attacks" / "paper-2025-released.csv")
    split = read_csv(folder / "split.csv", text=("clip",)).set_index("clip")["split"]
    assert sorted(rows["clip"]) == sorted(split.index[split == "test"])
    label, clean, attacked = (values_of(rows, kind) for kind in ("label", "clean", "adversarial"))
    figures = [
        plain(score)
        for values in (clean, attacked)
        for score in (metrics.pearson(label, values).mean(), metrics.mae(label, values))
    ]
    clipped = plain(metrics.mae(label, np.clip(attacked, 0, 1)))
    system, seed, _ = run.split("-")
    line = " | ".join([f"| {system}, seed {seed}", *figures, clipped, f"{rows['l2'].median():.1f} |"])
    assert line in PAGE
    report = read_json(folder / "metrics.json")["test"]
    assert report["correlation"]["overall"] == pytest.approx(metrics.pearson(label, clean).mean(), abs=1e-5)


def quick_rows(system, name="paper-2025-released"):
    """The rows of every seed of a system."""
    runs = [run for run in QUICK_RUNS if run.startswith(f"{system}-")]
    return [read_once(QUICK / "runs" / run / "attacks" / f"{name}.csv") for run in runs]


def test_the_quick_study_is_whole():
    study = preset_study(str(QUICK / "study.yaml"))
    expected = {(system, str(seed)) for system in study.systems for seed in study.seeds}
    assert {tuple(run.split("-")[:2]) for run in QUICK_RUNS} == expected
    assert not any(rows["converged"].any() for system in study.systems for rows in quick_rows(system))


def test_the_tables_of_the_quick_study_are_made_from_its_rows(tmp_path, undrawn):
    copy = tmp_path / "quick"
    shutil.copytree(QUICK, copy, ignore=shutil.ignore_patterns("paper", "metrics.csv"))
    made = analyse(copy, plan_order(), [protocol("paper-2025-released")])
    tables = [path for path in made if Path(path).suffix not in (".png", ".pdf")]
    assert len(tables) == 8
    for path in tables:
        assert (copy / path).read_bytes() == (QUICK / path).read_bytes(), path


def plan_order():
    study = preset_study(str(QUICK / "study.yaml"))
    order = [f"{system}-{seed}" for system in study.systems for seed in study.seeds]
    return sorted(QUICK_RUNS, key=lambda run: order.index(run.rpartition("-")[0]))


def test_the_tables_of_the_quick_study_on_the_page_are_its_files():
    table = (QUICK / "paper" / "table1.md").read_text("utf-8").replace("| 0.", "| .").replace("± 0.", "± .")
    lines = [line for line in table.splitlines() if line.startswith(("| A", "| a")) and "orig." not in line]
    assert len(lines) == 5
    assert all(line in PAGE for line in lines)
    tests = read_csv(QUICK / "paper" / "significance.csv")
    results = [f"t(71) = {row.t:.2f}, p = {row.p:.2g}" for row in tests.itertuples()]
    assert f"{results[0]}, and {results[1]}".replace("0.", ".") in PAGE


def over_seeds(name, measure):
    """System -> mean over its seeds of a measure of their rows."""
    return {system: np.mean([measure(rows) for rows in quick_rows(system, name)]) for system in SYSTEMS}


def error(rows):
    return metrics.mae(values_of(rows, "label"), values_of(rows, "adversarial"))


def test_errors_after_the_attack_are_means_over_seeds():
    errors = over_seeds("paper-2025-released", error)
    assert min(errors, key=lambda system: errors[system]) == "A2M2E"
    results = {system: f"{system} {plain(mean)}" for system, mean in errors.items()}
    assert f"{results['aA2E']} against {results['A2E']}, {results['aA2B2E']} against" in PAGE
    assert f"  {results['A2B2E']})" in PAGE
    assert errors["aA2E"] > errors["A2E"]
    assert errors["aA2B2E"] > errors["A2B2E"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_bounded_attack_on_the_page_is_that_of_its_rows(system):
    attacked = quick_rows(system, "APGD-185b94e1")
    natural = quick_rows(system, "natural-1")
    assert all((rows["linf"] <= 0.1 + 1e-6).all() for rows in attacked)
    figures = [
        np.mean([score(values_of(rows, "label"), values_of(rows, kind)) for rows in attacked])
        for kind, score in (
            ("clean", metrics.mae),
            ("adversarial", metrics.mae),
            ("adversarial", lambda *values: metrics.pearson(*values).mean()),
        )
    ]
    figures.append(np.mean([moved(rows) for rows in attacked]))
    figures += [
        np.mean([moved(rows[rows["objective"] == change]) for rows in natural])
        for change in ("mp3 128 kb/s", "noise 20 dB", "6 dB up", "other excerpt")
    ]
    line = " | ".join([f"| {system}", *map(plain, figures)]) + " |"
    assert line in PAGE


def test_what_is_said_of_the_bounded_attack_is_in_its_rows():
    errors = over_seeds("APGD-185b94e1", error)
    assert f"the same error ({plain(min(errors.values()))} to {plain(max(errors.values()))})" in SENTENCES
    gains = [plain(errors[system] - errors[f"a{system}"]) for system in ("A2E", "A2B2E")]
    assert f"the error is smaller by {gains[0]} and {gains[1]}" in SENTENCES
    changes = [
        over_seeds("natural-1", lambda r, change=change: moved(r[r["objective"] == change]))
        for change in ("noise 30 dB", "noise 20 dB", "6 dB up", "6 dB down", "other excerpt")
    ]
    every = [over_seeds("APGD-185b94e1", moved), *changes]
    assert {min(by_system, key=by_system.get) for by_system in every} == {"A2M2E"}


def audited(study, failures):
    """(Source, check) -> finding of the audit of a study, whose counts the page states and whose failures are known."""
    audit = read_json(study / "audit" / "audit.json")
    counts = ", ".join(
        f"{audit['verdicts'][name]} {name}" for name in ("FAIL", "WARN", "PASS", "NOT RECORDED")
    )
    assert f"**The audit first: {counts}.**" in SENTENCES
    findings = {(finding["source"], finding["check"]): finding for finding in audit["findings"]}
    assert {name for name, finding in findings.items() if finding["verdict"] == "FAIL"} == failures
    return findings


def test_the_audit_on_the_page_is_that_of_its_file():
    paper, bounded = "paper-2025-released", "APGD-185b94e1"
    failures = {*((paper, check) for check in ("convergence", "ranking", "albums")), (bounded, "albums")}
    values = audited(QUICK, failures)
    assert f"{values[paper, 'rating-scale']['figure']:.0%} of its attacked".replace("%", " %") in SENTENCES
    assert (
        f"{values[bounded, 'rating-scale']['figure']:.0%} of its predictions".replace("%", " %") in SENTENCES
    )
    assert (
        f"raise its error by some {values[bounded, 'longer-search']['figure']:.0%}".replace("%", " %")
        in SENTENCES
    )
    assert "0 of 360 attacks reached their goal" in values[paper, "convergence"]["sentence"]
    assert (
        "A2E is number 1 by CCC and number 3 by MAE, RMSE, R2, Pearson"
        in values[paper, "ranking"]["sentence"]
    )


SOUND = FOLDER / "sound"


@pytest.fixture(scope="module")
def sound():
    return tenuto.curves(SOUND, SOUND_PROTOCOL)


@pytest.mark.parametrize("system", ["A2E", "A2M2E"])
def test_the_page_states_errors_in_sound(system):
    (path,) = SOUND.glob(f"runs/{system}-6-*/attacks/{SOUND_PROTOCOL}.csv")
    rows = read_rows(path)
    rows = rows.assign(error=row_errors(rows))
    ladder = [("snr", 10 ** (-db / 20)) for db in (60, 50, 40, 30, 20)]
    ladder += [("masked", 10 ** (db / 20)) for db in (-6, 0, 6)]
    attacked, noise = [], []
    for norm, epsilon in ladder:
        budget = rows[(rows["norm"] == norm) & np.isclose(rows["epsilon"], epsilon)]
        attacked.append(budget[budget["worst"]]["error"].mean())
        noise.append(budget[budget["attack"].str.startswith("Noise")].groupby("clip")["error"].max().mean())
    clean = metrics.mae(values_of(rows, "label"), values_of(rows, "clean"))
    for name, values in ((system, attacked), (f"{system}, strongest noise", noise)):
        assert f"| {name} | {' | '.join(map(plain, [clean, *values]))} |" in PAGE
    assert rows["clip"].nunique() == 36
    assert rows.groupby("clip")["gradient_passes"].sum().tolist() == [664] * 36
    shares = rows[rows["worst"]][["survives_16_bit", "survives_mp3"]]
    assert shares["survives_mp3"].min() > 0.895
    assert shares["survives_16_bit"].min() >= 0.985


def test_the_page_states_where_errors_in_sound_double(sound):
    for curve in sound.by_norm:
        for line in curve.summary.to_dict("records"):
            low, middle, high = (
                f"{line[name]:.1f}" for name in ("doubling_low", "doubling", "doubling_high")
            )
            assert f"{middle} dB ({low} to {high})" in PAGE or f"{middle} dB ({high} to {low})" in PAGE
            if curve.norm == "snr":
                assert f"| {line['beyond']:.1f} dB |" in PAGE


@pytest.mark.parametrize("system", ["A2E", "A2M2E"])
def test_the_page_states_corruption_errors(sound, system):
    line = sound.corruption.set_index("system").loc[system]
    cells = [plain(line["clean_mae"])]
    for name in ("corruption_error", "increase"):
        low, middle, high = (plain(line[f"{name}{end}"]) for end in ("_low", "", "_high"))
        cells.append(f"{middle} ({low} to {high})")
    row = f"| {system} | {' | '.join([*cells, plain(line['moved'])])} |"
    assert row in PAGE


@pytest.fixture(scope="module")
def quick_sound():
    return tenuto.curves(FOLDER / "sound-quick", SOUND_PROTOCOL)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_page_states_errors_in_sound_of_the_five_systems(quick_sound, system):
    snr, masked = (
        curve.runs[curve.runs["system"] == system].sort_values("epsilon")["mae"]
        for curve in quick_sound.by_norm
    )
    summary, corruption = (
        table.set_index("system").loc[system] for table in (quick_sound.summary, quick_sound.corruption)
    )
    cells = [*map(plain, [*snr, *masked[1:]]), f"{summary['doubling']:.1f} dB"]
    assert f"| {system} | {' | '.join([*cells, plain(corruption['corruption_error'])])} |" in PAGE
    assert summary["clips"] == 12


CERTIFICATES = FOLDER / "certificates"


def at_most(value, digits=3):
    """A number that nothing can exceed, rounded up."""
    return plain(math.ceil(value * 10**digits) / 10**digits, digits)


@pytest.mark.parametrize("system", ["A2E", "A2M2E"])
def test_the_page_states_certificates_as_their_rows_do(system):
    (path,) = CERTIFICATES.glob(f"runs/{system}-6-*/certificates/*-sigma-0.216-draws-500-seed-0.csv")
    rows = read_certificates(path)
    assert rows["clips_together"].all()
    assert rows["bounded"].all()
    assert (rows["clip"].nunique(), rows["output"].nunique()) == (36, 8)
    table = summary(rows).set_index("radius")
    first = map(plain, table.loc[0.216, ["model_mae", "clean_mae"]])
    bounds = map(at_most, table.loc[[0.05, 0.108, 0.216], "certified_mae"])
    assert " | ".join([f"| {system}", *first, *bounds]) + " |" in PAGE
    assert (table["clean_mae"] - table["model_mae"]).abs().max() < 0.001
    largest = with_errors(rows).query("radius == 0.216")["moved"].max()
    assert f"smoothed {system} by more than {at_most(largest)}" in SENTENCES
    assert f"{at_most(table.loc[0.216, 'moved'], 4)})" in PAGE


@pytest.mark.parametrize("system", ["A2E", "A2M2E"])
def test_the_page_states_both_sides_as_their_rows_do(system):
    (path,) = CERTIFICATES.glob(f"runs/{system}-6-*/certificates/*-sigma-0.216-*-attack-10.csv")
    rows = read_certificates(path)
    (line,) = summary(rows).to_dict("records")
    clean, attacked = (plain(line[name], 4) for name in ("clean_mae", "attacked_mae"))
    most = at_most(line["certified_mae"], 4)
    assert f"On the first {line['clips']} clips of the split, σ 0.216, r 0.216" in SENTENCES
    assert f"smoothed {system} errs by {clean}, an attack on it" in SENTENCES
    assert f"reaches {attacked}, and no attack can exceed {most}." in SENTENCES
    assert rows["attacked"].between(rows["low"], rows["high"]).all()


def test_the_page_states_large_noise_as_its_rows_do():
    (path,) = CERTIFICATES.glob("runs/A2E-6-*/certificates/*-sigma-1-*.csv")
    rows = with_errors(read_certificates(path)).query("radius == 1")
    largest, change = at_most(rows["moved"].max()), at_most(rows["moved"].mean())
    assert f"of A2E by more than {largest} ({change} on average)" in SENTENCES
    assert (
        f"error from {plain(rows['model_mae'].mean())} to {plain(rows['clean_mae'].mean())}, above"
        in SENTENCES
    )
