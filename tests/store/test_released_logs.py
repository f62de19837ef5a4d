import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tenuto.errors import ConfigError, DataError, FileError
from tenuto.files import sha256_bytes, sha256_file
from tenuto.store import released_logs
from tenuto.store.rows import VALUE_KINDS, values_of
from tests.reporting import made_up

ARCHIVE = Path(released_logs.__file__).with_name(released_logs.ARCHIVE)
LOG = """file,epoch,db,norm,converged,true-label,orig-pred,new-pred,adv-target
['146.mp3.spec'],1000,45.5,3.25,False,[[0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8]],"[[0.1  0.25 .5
  -1. 1e-1 2.5E+00 0.7 0.8]]",[[1 2 3 4 5 6 7 8]],0.7000000000000001
['007.mp3.spec'],12,,0.0,True,[[0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8]],[[1 2 3 4 5 6 7 8]],[[1 2 3 4 5 6 7 8]],-1.0
"""
SETTINGS = {
    "alpha": None,
    "architecture": "a2e",
    "clip_eps": 0.001,
    "conv_method": "corr",
    "lr": 0.002,
    "max_iters": 1000,
    "mode": "untargeted",
    "model": "m",
    "optimiser": "Adam",
    "sign": True,
    "target": "random",
}


@pytest.fixture
def logs(tmp_path):
    """A function that makes a folder with one log and a table of runs."""

    def make(text=LOG, **settings):
        folder = tmp_path / "clone" / "deep" / "mine"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.csv").write_text(text)
        (folder / "hparams.yaml").write_text(yaml.safe_dump(SETTINGS | settings))
        (tmp_path / "runs.csv").write_text("folder,system,seed\nmine,A2M2E,42\n")
        return tmp_path / "clone", tmp_path / "runs.csv"

    return make


def test_a_log_is_found_at_any_depth_and_read(logs):
    rows = released_logs.read_logs(*logs())
    assert rows[["run", "system", "seed", "clip", "iterations", "converged"]].to_numpy().tolist() == [
        ["mine", "A2M2E", 42, "146", 1000, False],
        ["mine", "A2M2E", 42, "007", 12, True],
    ]
    np.testing.assert_array_equal(values_of(rows, "clean")[0], [0.1, 0.25, 0.5, -1, 0.1, 2.5, 0.7, 0.8])
    np.testing.assert_array_equal(values_of(rows, "adversarial")[1], np.arange(1, 9))
    assert rows[["l2", "linf"]].isna().all(axis=None)  # the norm is that of the stored perturbation
    assert rows["stored_l2"].tolist() == [3.25, 0.0]
    assert rows["threshold"].tolist() == [0.7000000000000001, -1.0]
    np.testing.assert_array_equal(rows["db"], [45.5, np.nan])


@pytest.mark.parametrize(
    ("settings", "protocol", "objective"),
    [
        ({}, "paper-2025-released", "correlation"),
        ({"conv_method": "mse"}, "paper-2025-released+measure=mse", "error"),
        ({"max_iters": 50, "alpha": 5.0}, "paper-2025-released+alpha=5.0+iterations=50", "correlation"),
    ],
)
def test_the_protocol_names_every_setting_that_deviates(logs, settings, protocol, objective):
    rows = released_logs.read_logs(*logs(**settings))
    assert set(rows["protocol"]) == {protocol}
    assert set(rows["objective"]) == {objective}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[[1 2 3 4 5 6 7 8]]", "[[1 2 3 4 5 6 7]]", "8 finite numbers"),
        ("[[1 2 3 4 5 6 7 8]]", "[[1 2 3 4 5 6 7 nan]]", "8 finite numbers"),
        ("[[1 2 3 4 5 6 7 8]]", "[[1 2 3 4 5 6 7 exit()]]", "8 finite numbers"),
        ("['007.mp3.spec']", "007.mp3.spec", "it must be a name"),
        ("True", "yes", "it must be True or False"),
        (",-1.0", ",low", "column adv-target"),
        ("0.0,True", ",True", "column norm"),
        ("adv-target", "target", "no column adv-target"),
        ("['007", "['146", "two rows of the same attack"),
    ],
)
def test_a_damaged_log_is_refused_with_its_reason(logs, old, new, message):
    with pytest.raises((FileError, DataError), match=message):
        released_logs.read_logs(*logs(LOG.replace(old, new)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv_method: corr\n", "no alpha"),
        ("[", "not YAML"),
        ("- 1\n", "must be a mapping"),
        ("conv_method: [a\n", "not YAML"),
    ],
)
def test_damaged_settings_are_refused_with_the_file(logs, text, message):
    folder, runs = logs()
    (folder / "deep" / "mine" / "hparams.yaml").write_text(text)
    with pytest.raises(FileError, match=rf"hparams\.yaml: {message}"):
        released_logs.read_logs(folder, runs)


def test_an_unknown_measure_is_refused(logs):
    with pytest.raises(FileError, match="conv_method is 'cosine'; it must be corr or mse"):
        released_logs.read_logs(*logs(conv_method="cosine"))


def test_a_log_that_is_not_released_asks_for_a_table_of_runs(logs):
    folder, _ = logs()
    with pytest.raises(FileError, match=r"mine is not in the table of runs\. Pass `runs_file=FILE`"):
        released_logs.read_logs(folder)


def test_logs_of_another_kind_are_passed_over(logs):
    folder, runs = logs()
    (folder / "training").mkdir()
    (folder / "training" / "log.csv").write_text("epoch,loss\n1,0.5\n")
    assert len(released_logs.read_logs(folder, runs)) == 2


def test_missing_logs_are_counted_and_named(logs):
    folder, runs = logs()
    runs.write_text("folder,system,seed\nmine,A2M2E,42\nyours,A2E,6\n")
    with pytest.raises(FileError, match=r"1 of 2 logs are missing \(yours\)"):
        released_logs.read_logs(folder, runs)


def test_an_empty_folder_misses_all_released_logs(tmp_path):
    with pytest.raises(FileError, match="50 of 50 logs are missing"):
        released_logs.read_logs(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileError, match="absent: no such folder"):
        released_logs.read_logs(tmp_path / "absent")


def test_the_same_log_twice_below_a_folder_is_refused(logs):
    folder, runs = logs()
    shutil.copytree(folder / "deep", folder / "copy")
    with pytest.raises(FileError, match="the same log is also in"):
        released_logs.read_logs(folder, runs)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mine,A2E,7", "folder mine is listed twice"),
        ("other,A2M2E,42", "system A2M2E, seed 42 is listed twice"),
        ("other,A2E,six", "not a whole number"),
    ],
)
def test_a_table_of_runs_that_contradicts_itself_is_refused(logs, line, message):
    folder, runs = logs()
    runs.write_text(runs.read_text() + line + "\n")
    with pytest.raises(FileError, match=message):
        released_logs.read_logs(folder, runs)


def test_the_released_logs_are_part_of_the_package():
    rows = released_logs.read_logs()
    assert len(rows) == 50 * 36
    assert released_logs.stated_budgets().keys() == set(rows["run"])


def test_the_archive_has_the_released_files_with_licence_and_origin(shared):
    with zipfile.ZipFile(ARCHIVE) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    origin = content.pop("ORIGIN.txt").decode()
    assert "github.com/CPJKU/robustness_mer_bottleneck" in origin
    assert content.pop("LICENSE") == (shared / "paper" / "LICENSE").read_bytes()
    released = {
        path.relative_to(shared / "paper").as_posix(): path for path in (shared / "paper").glob("logs/*/*")
    }
    assert {name: sha256_bytes(own) for name, own in content.items()} == {
        name: sha256_file(path) for name, path in released.items()
    }
    assert ARCHIVE.stat().st_size < 250_000


def test_a_folder_of_the_same_logs_gives_the_same_rows(released):
    pd.testing.assert_frame_equal(released_logs.read_logs(released), released_logs.read_logs())
    assert released_logs.stated_budgets(released) == released_logs.stated_budgets()


def test_the_package_knows_fifty_released_runs():
    table = released_logs._runs(None)
    assert table["folder"].nunique() == 50
    assert table.groupby("system")["seed"].nunique().to_dict() == dict.fromkeys(made_up.SYSTEMS, 10)


def test_a_written_log_reads_back_exactly(tmp_path):
    generator = np.random.default_rng(0)
    rows = made_up.run(system="A2M2E", seed=42, db=np.nan)
    for kind in VALUE_KINDS:
        for name in released_logs.RELEASED_EMOTIONS:
            rows[f"{kind}_{name}"] = generator.normal(size=5).astype(np.float32) * 10.0 ** generator.integers(
                -9, 9
            )
    released_logs.write_log(rows, tmp_path / "mine", SETTINGS)
    (tmp_path / "runs.csv").write_text("folder,system,seed\nmine,A2M2E,42\n")
    back = released_logs.read_logs(tmp_path, tmp_path / "runs.csv")
    for kind in VALUE_KINDS:
        np.testing.assert_array_equal(
            values_of(back, kind).astype(np.float32), values_of(rows, kind).astype(np.float32)
        )
    for column in ("clip", "iterations", "converged", "threshold", "stored_l2"):
        assert back[column].tolist() == rows[column].tolist()


def test_a_written_log_has_the_released_form(tmp_path):
    lines = released_logs.write_log(made_up.run(), tmp_path, SETTINGS).read_text().splitlines()
    assert lines[0] == LOG.splitlines()[0]
    assert lines[1].startswith("['000.mp3.spec'],40,,0.0,False,[[0.1 0.9 ")
    assert yaml.safe_load((tmp_path / "hparams.yaml").read_text()) == SETTINGS


@pytest.mark.parametrize("name", ["it's", 'say "a"', "a, b", "song.wav"])
def test_any_clip_name_survives_the_released_form(tmp_path, name):
    rows = made_up.run().assign(clip=[f"{name}{number}" for number in range(5)])
    released_logs.write_log(rows, tmp_path / "mine", SETTINGS)
    (tmp_path / "runs.csv").write_text("folder,system,seed\nmine,A2E,6\n")
    assert released_logs.read_logs(tmp_path, tmp_path / "runs.csv")["clip"].tolist() == rows["clip"].tolist()


def test_a_log_with_a_setting_missing_is_not_written(tmp_path):
    with pytest.raises(ConfigError, match="no setting lr"):
        released_logs.write_log(
            made_up.run(), tmp_path / "log", {k: v for k, v in SETTINGS.items() if k != "lr"}
        )
    assert not (tmp_path / "log").exists()


def test_other_emotions_do_not_fit_the_released_form(tmp_path):
    rows = made_up.run().drop(columns=["label_sad", "clean_sad", "adversarial_sad"])
    with pytest.raises(DataError, match="the rows have valence, energy, tension, anger, fear, happy, tender"):
        released_logs.write_log(rows, tmp_path, SETTINGS)


@pytest.mark.parametrize(
    "rows", [made_up.study(), made_up.run().drop(columns="threshold")], ids=["several runs", "another attack"]
)
def test_only_one_run_under_the_released_attack_fits_the_released_form(tmp_path, rows):
    with pytest.raises(DataError, match="one run under the released attack"):
        released_logs.write_log(rows, tmp_path, SETTINGS)
