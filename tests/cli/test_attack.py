"""`tenuto attack`, and its logs in the released format."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from tenuto.audio.inversion import band_centres
from tenuto.evaluation import robustness
from tenuto.files import read_json, read_safetensors
from tests import corpora

TABLE = "paper-2025-released+iterations=2"


@pytest.fixture
def attack(tenuto, run, data, tmp_path):
    """A function that attacks a copy of the tiny run and returns what was said and the copy."""
    copy = shutil.copytree(run, tmp_path / run.name, ignore=shutil.ignore_patterns("attacks"))

    def call(*arguments):
        quickly = () if "--natural" in arguments else ("--no-natural",)
        outcome = tenuto("attack", copy, *data, *quickly, *arguments)
        assert outcome.exit_code == 0, outcome.output
        return outcome, copy

    return call


def rows(folder, name):
    return pd.read_csv(folder / "attacks" / f"{name}.csv")


def test_rows_and_perturbations_go_to_the_run(attack):
    outcome, folder = attack("--iterations", 2)
    path = folder / "attacks" / f"{TABLE}.csv"
    assert outcome.stdout.splitlines()[-1] == str(path)
    assert len(rows(folder, TABLE)) == 3
    arrays, _ = read_safetensors(path.with_suffix(".safetensors"))
    assert {array.shape for array in arrays.values()} == {(313, 149)}
    assert read_json(path.with_suffix(".json"))["part"] == "test"


def test_the_screen_says_which_prediction_is_shown(attack):
    outcome, folder = attack("--iterations", 2)
    assert f"{folder.name}, {TABLE}, 3 clips" in outcome.stdout
    assert "attacked, last evaluated iterate" in outcome.stdout
    assert "converged 0 of 3" in outcome.stdout
    assert "objective: squared error, mean" in outcome.stdout


def test_json_has_every_budget_and_the_natural_changes(attack):
    outcome, folder = attack("--attack", "FGSM", "--epsilon", 0.05, "--natural", "--json")
    content = json.loads(outcome.stdout)
    (line,) = content["budgets"]
    assert (content["run"], line["norm"], line["epsilon"], line["clips"]) == (folder.name, "linf", 0.05, 3)
    own = pd.read_csv(content["rows"])
    label, attacked = (own.filter(regex=f"^{kind}_").to_numpy() for kind in ("label", "adversarial"))
    assert line["mae"] == pytest.approx(np.abs(label - attacked[:, :8]).mean())
    assert line["moved"] > 0
    assert "mp3" in " ".join(change["change"] for change in content["natural"])


def test_json_of_another_part_of_the_split_has_its_numbers(attack):
    outcome, _ = attack("--iterations", 1, "--split", "validation", "--json")
    content = json.loads(outcome.stdout)
    own = pd.read_csv(content["rows"])
    label, clean = (own.filter(regex=f"^{kind}_").to_numpy()[:, :8] for kind in ("label", "clean"))
    assert (content["split"], content["budgets"][0]["clips"]) == ("validation", 3)
    assert content["budgets"][0]["clean_mae"] == pytest.approx(np.abs(label - clean).mean())


def test_json_of_a_recording_says_whether_its_goal_was_reached(tenuto, run, tmp_path):
    corpora.write_audio(song := tmp_path / "song.wav", 3, seconds=13)
    words = ("attack", run, song, "--objective", "happy+", "--epsilon", 0.1, "--json")
    plain = json.loads(tenuto(*words).stdout)
    assert (plain["attack"], plain["norm"], plain["goal_reached"]) == ("APGD", "linf", None)
    changes = {line["output"]: line["change"] for line in plain["outputs"]}
    assert changes["happy"] == pytest.approx(plain["loss"], abs=1e-5)
    far = json.loads(
        tenuto(*words, "--attack", "Minimal", "--setting", "goal=9", "--setting", "steps=2").stdout
    )
    assert far["goal_reached"] is False


def test_traces_are_written_next_to_the_rows(attack):
    outcome, folder = attack("--attack", "PGD", "--epsilon", 0.1, "--setting", "steps=3", "--trace")
    (path,) = (folder / "attacks").glob("*.trace.csv.gz")
    assert str(path) in outcome.stderr.replace("\n", "")
    assert pd.read_csv(path).groupby("clip")["step"].max().tolist() == [4, 4, 4]


def test_a_report_that_cannot_begin_is_refused_before_the_attack(tenuto, run, data):
    arguments = ("--attack", "PGD", "--epsilon", 0.3, "--log", "nowhere", "--no-natural")
    outcome = tenuto("attack", run, *data, *arguments)
    assert outcome.exit_code == 2
    assert "nowhere" in outcome.stderr
    assert not list((run / "attacks").glob("PGD*"))


def test_the_clips_are_those_of_the_part(attack):
    split = None
    for part, suffix, count in (("validation", "-validation", 3), ("train", "-train", 24)):
        _, folder = attack("--iterations", 1, "--split", part)
        split = pd.read_csv(folder / "split.csv")
        table = rows(folder, f"paper-2025-released+iterations=1{suffix}")
        assert len(table) == count
        assert list(table["clip"]) == list(split[split["split"] == part]["clip"])


@pytest.mark.parametrize(
    ("arguments", "name", "key", "value"),
    [
        (["--measure", "mse"], "measure=mse", "conv_method", "mse"),
        (["--optimizer", "SGD"], "optimizer=SGD", "optimiser", "SGD"),
        (["--no-sign"], "sign=False", "sign", False),
        (["--step-size", "0.01"], "step_size=0.01", "lr", 0.01),
        (["--alpha", "5"], "alpha=5.0", "alpha", 5.0),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_every_key_of_the_released_configuration(attack, tmp_path, arguments, name, key, value):
    outcome, folder = attack("--iterations", 2, *arguments, "--released-log", tmp_path / "log")
    parts = sorted([name, "iterations=2"])
    assert (folder / "attacks" / f"{'+'.join(['paper-2025-released', *parts])}.csv").is_file()
    settings = yaml.safe_load((tmp_path / "log" / "hparams.yaml").read_text())
    assert settings[key] == value
    assert settings["max_iters"] == 2
    assert "log.csv and hparams.yaml in the released format" in outcome.stderr


def test_the_keys_reach_the_attack(attack):
    _, folder = attack("--iterations", 2)
    _, _ = attack("--iterations", 2, "--step-size", 0.01)
    largest = [rows(folder, name)["linf"].max() for name in (TABLE, f"{TABLE}+step_size=0.01")]
    assert largest == pytest.approx([0.002, 0.01], rel=1e-3)  # one update before the last evaluation


def test_the_batch_size_reaches_the_attack(attack, monkeypatch):
    sizes, original = [], robustness._Work.attack

    def noted(work, clips, name):
        sizes.append(len(clips))
        original(work, clips, name)

    monkeypatch.setattr(robustness._Work, "attack", noted)
    attack("--iterations", 3, "--batch-size", 2)
    assert sizes == [2, 1]


def test_a_released_log_is_read_back_with_the_same_metrics(tenuto, attack, data, tmp_path):
    logs = tmp_path / "logs"
    _, folder = attack("--iterations", 2, "--released-log", logs / "version_1")
    (tmp_path / "runs.csv").write_text("folder,system,seed\nversion_1,A2M2E,21\n")
    read = tenuto(
        *("paper", "table1", "--logs", logs, "--runs", tmp_path / "runs.csv", "--out", tmp_path / "paper")
    )
    assert read.exit_code == 0
    table = pd.read_csv(tmp_path / "paper" / "table1.csv").set_index("system")
    report = json.loads(tenuto("evaluate", folder, *data, "--json").stdout)
    for name in ("correlation", "mae"):
        came, expected = table.loc["A2M2E", f"{name}_mean"], report["test"][name]["overall"]
        assert came == pytest.approx(expected, abs=1e-6)


def test_own_runs_and_their_released_logs_give_the_same_table(tenuto, attack, tmp_path):
    _, folder = attack("--iterations", 2, "--released-log", tmp_path / "logs" / "version_1")
    (tmp_path / "runs.csv").write_text("folder,system,seed\nversion_1,A2M2E,21\n")
    tenuto(
        *("paper", "table1", "--logs", tmp_path / "logs", "--runs", tmp_path / "runs.csv"),
        *("--out", tmp_path / "a"),
    )
    tenuto("paper", "table1", "--study", folder.parent, "--out", tmp_path / "b")
    logs, study = (pd.read_csv(tmp_path / place / "table1.csv") for place in ("a", "b"))
    pd.testing.assert_frame_equal(logs, study)


def test_other_emotions_have_no_released_format_and_lose_no_rows(
    refused, own_run, own_folder, cache, tmp_path
):
    copy = shutil.copytree(own_run, tmp_path / own_run.name)
    message = refused(
        *("attack", copy, "--root", own_folder, "--cache", cache, "--iterations", 2),
        *("--measure", "mse", "--released-log", tmp_path / "log"),
    )
    assert "the rows have arousal, joy" in message
    assert len(rows(copy, f"{TABLE}+measure=mse")) == 2


def test_a_gpu_that_is_not_there_is_refused_before_any_work(refused, run, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    message = refused("attack", run, "--root", tmp_path / "nowhere", "--device", "cuda")
    assert message == "error: device cuda: this machine has no usable GPU. Use --device cpu."


def test_help_names_the_default_batch_size(tenuto):
    from tenuto.attacks.base import DEFAULT_BATCH_SIZE, GPU_BATCH_SIZE

    line = next(line for line in tenuto("attack", "--help").stdout.splitlines() if "--batch-size" in line)
    assert f"({DEFAULT_BATCH_SIZE}; GPU: {GPU_BATCH_SIZE})" in line


def test_an_attack_of_one_s_own(attack):
    outcome, folder = attack(
        "--attack", "APGD", "--epsilon", 0.1, "--objective", "happy+", "--setting", "steps=2"
    )
    path = outcome.stdout.splitlines()[-1]
    table = pd.read_csv(path)
    assert folder.name in path
    assert set(table["attack"]) == {"APGD"}
    assert set(table["objective"]) == {"happy up"}
    assert set(table["norm"]) == {"linf"}
    assert (table["linf"] <= 0.1 * (1 + 1e-6)).all()
    assert table["settings"].str.contains("steps=2").all()
    assert "objective: happy up, mean" in outcome.stdout
    assert "attacked, linf 0.1" in outcome.stdout
    assert "at most 5 forward and 2 gradient passes a clip" in outcome.stdout


def test_an_attack_on_a_concept_names_it_and_says_how_far_it_moved(attack):
    words = ("--attack", "FGSM", "--epsilon", 0.1, "--objective", "concept:modality+")
    outcome, _ = attack(*words)
    table = pd.read_csv(outcome.stdout.splitlines()[-1])
    assert set(table["objective"]) == {"concept modality up emotions stay"}
    assert "|Δ concept|" in outcome.stdout
    (budget,) = json.loads(attack(*words, "--json")[0].stdout)["budgets"]
    concepts = [name.removeprefix("clean_") for name in map(str, table) if name.startswith("clean_")]
    moved = [
        (table[f"adversarial_{name}"] - table[f"clean_{name}"]).abs().mean()
        for name in concepts
        if f"label_{name}" not in table
    ]
    assert len(moved) == 7
    assert budget["concepts_moved"] == pytest.approx(np.mean(moved), rel=1e-4)


def test_the_search_may_be_in_bfloat16(attack):
    _, folder = attack("--attack", "FGSM", "--epsilon", 0.05, "--precision", "bfloat16")
    (path,) = (folder / "attacks").glob("FGSM-*.json")
    (settings,) = read_json(path)["attacks"].values()
    assert settings["precision"] == "bfloat16"


def test_an_attack_of_one_s_own_on_a_sibling(attack, run):
    outcome, _ = attack("--attack", "Transfer", "--epsilon", 0.1, "--setting", "steps=1", "--source", run)
    table = pd.read_csv(outcome.stdout.splitlines()[-1])
    assert set(table["attack"]) == {f"Transfer from {run.name}"}
    assert (table["gradient_passes"] == 0).all()


def own_rows(folder):
    """The table of the only single attack of a run."""
    (path,) = (folder / "attacks").glob("FGSM-*.csv")
    return path, pd.read_csv(path)


def test_an_attack_on_some_seconds_and_frequencies(attack):
    _, folder = attack(
        "--attack", "FGSM", "--epsilon", "0.1", "--seconds", "2", "4", "--bands", "200", "2000"
    )
    path, table = own_rows(folder)
    assert table["linf"].max() == pytest.approx(0.1)
    arrays, _ = read_safetensors(path.with_suffix(".safetensors"))
    hertz = band_centres()
    inside = np.ix_(np.arange(63, 126), (hertz >= 200) & (hertz <= 2000))
    for delta in arrays.values():
        delta[inside] = 0
        assert not delta.any()
    (described,) = read_json(path.with_suffix(".json"))["attacks"].values()
    assert described["region"] == {"type": "Region", "seconds": [2.0, 4.0], "bands": [200.0, 2000.0]}


def test_an_attack_that_averages_over_draws(attack):
    outcome, folder = attack("--attack", "FGSM", "--epsilon", "0.1", "--draws", "2")
    assert "on fresh draws MAE 0." in outcome.stdout
    path, table = own_rows(folder)
    assert table["fresh_error"].notna().all()
    assert (table["gradient_passes"] == 2).all()
    (described,) = read_json(path.with_suffix(".json"))["attacks"].values()
    assert described["transformations"] == {"type": "Transformations", "parts": [], "draws": 2, "seed": 0}


def test_the_described_protocol_stays_in_its_budget(attack):
    _, folder = attack("--protocol", "paper-2025-described", "--iterations", 2)
    table = rows(folder, "paper-2025-described+iterations=2")
    assert set(table["epsilon"]) == {0.001}
    assert (table["linf"] <= 0.001 * (1 + 1e-6)).all()


def test_beside_an_attack_stands_what_music_does_by_itself(attack):
    outcome, folder = attack("--iterations", 2, "--natural")
    message = outcome.stdout
    assert message.index("paper-2025-released") < message.index("under natural variation")
    assert "mp3 128 kb/s" in message
    assert (folder / "attacks" / "natural-1.csv").is_file()


def test_natural_changes_can_be_left_out(attack):
    outcome, folder = attack("--iterations", 2, "--no-natural")
    assert "mp3" not in outcome.stdout
    assert not (folder / "attacks" / "natural-1.csv").exists()


def test_a_batch_has_at_least_one_clip(tenuto, run, corpus):
    outcome = tenuto("attack", run, "--root", corpus, "--batch-size", 0)
    assert outcome.exit_code == 2
    assert "--batch-size" in outcome.stderr


def test_an_attack_of_the_users_own_is_run_once_it_is_trusted_and_again_when_it_changes(
    attack, tenuto, run, data, tmp_path
):
    code = tmp_path / "mine.py"
    code.write_text("def shake(model, inputs, labels):\n    return inputs + 0.5 * model.budget.epsilon\n")
    words = ("--attack", f"{code}:shake", "--epsilon", 0.05, "--objective", "happy+")
    refused = tenuto("attack", run, *data, *words)
    assert refused.exit_code == 2
    assert "mine.py:shake: this code is not trusted on this machine, so it was not executed" in refused.stderr
    _, folder = attack(*words, "--trust")
    (first,) = (folder / "attacks").glob("Foreign-*.csv")
    table = pd.read_csv(first)
    assert table["attack"].str.fullmatch(r"mine\.py:shake@[0-9a-f]{8}").all()
    assert set(np.round(table["linf"], 6)) <= {0, 0.025}
    assert set(table["forward_passes"]) == {3}
    code.write_text(code.read_text().replace("0.5", "0.25"))
    attack(*words, "--trust")
    assert len(list((folder / "attacks").glob("Foreign-*.csv"))) == 2
