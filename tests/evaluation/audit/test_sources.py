"""What can be audited at a path."""

import shutil

import pandas as pd
import pytest

from tenuto.errors import ConfigError, DataError, FileError
from tenuto.evaluation.audit import audit, open_sources, sources_of
from tenuto.store.released_logs import write_log
from tenuto.store.rows import NATURAL_PROTOCOL, write_rows
from tests.reporting import made_up

SETTINGS = dict.fromkeys(("alpha", "architecture", "mode", "model", "target"), "any") | {
    "clip_eps": 0.001,
    "conv_method": "corr",
    "lr": 0.002,
    "max_iters": 1000,
    "optimiser": "Adam",
    "sign": True,
}


def written(folder, rows, inside=True):
    if inside:
        (folder / "attacks").mkdir(parents=True)
        (folder / "config.yaml").write_text("system: A2E\n")
        return write_rows(folder / "attacks" / "paper-2025-released.csv", rows)
    return write_rows(folder / "rows.csv", rows)


def test_runs_with_and_without_a_configuration_are_one_source(tmp_path):
    for seed in (6, 21):
        written(tmp_path / f"run {seed}", made_up.run(seed=seed))
    (tmp_path / "run 21" / "config.yaml").unlink()
    (source,) = open_sources([tmp_path])
    assert (source.kind, list(source.folders)) == ("run", ["A2E-6"])
    assert set(source.rows["run"]) == {"A2E-6", "A2E-21"}
    made = [finding.check for finding in audit(source)]
    assert len(made) == len(set(made)) > 10


@pytest.fixture
def study(tmp_path):
    """Two runs, one of them with saved perturbations."""
    for seed in (6, 21):
        path = written(tmp_path / f"run {seed}", made_up.run(seed=seed))
    path.with_suffix(".safetensors").write_bytes(b"anything")
    return tmp_path


def log(folder, seed=6, **settings):
    rows = made_up.run(seed=seed)
    write_log(rows, folder / f"version_{seed}", SETTINGS | settings)
    table = pd.DataFrame({"folder": [f"version_{seed}"], "system": ["A2E"], "seed": [seed]})
    table.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def test_a_study_is_one_source_with_the_folders_of_its_runs(study):
    (source,) = open_sources([study])
    assert (source.name, source.kind, len(source.rows)) == ("paper-2025-released", "run", 10)
    assert source.folders == {"A2E-6": study / "run 6", "A2E-21": study / "run 21"}
    assert list(source.saved) == ["A2E-21"]


def test_a_run_and_its_rows_are_the_same_source(study):
    folder = study / "run 6"
    (by_run,) = open_sources([folder])
    (by_rows,) = open_sources([folder / "attacks" / "paper-2025-released.csv"])
    assert by_run.folders == by_rows.folders
    assert by_run.rows.equals(by_rows.rows)


def test_several_runs_are_gathered(study):
    (source,) = open_sources([study / "run 6", study / "run 21"])
    assert len(source.folders) == 2


def test_other_protocols_and_parts_are_other_sources(study):
    other = made_up.run(protocol="standard-1", split="validation")
    write_rows(study / "other.csv", other)
    names = [result.name for result in open_sources([study, study / "other.csv"])]
    assert names == ["paper-2025-released", "standard-1, validation clips"]


@pytest.fixture
def with_natural(study):
    """The same study, whose runs were also measured under natural changes."""
    for seed in (6, 21):
        rows = made_up.run(seed=seed, protocol=NATURAL_PROTOCOL, attack="natural")
        for suffix in ("", "-validation"):
            write_rows(study / f"run {seed}" / "attacks" / f"{NATURAL_PROTOCOL}{suffix}.csv", rows)
    return study


def test_natural_changes_are_no_attack(with_natural):
    (source,) = open_sources([with_natural])
    assert (source.name, len(source.rows)) == ("paper-2025-released", 10)


@pytest.mark.parametrize("place", ["run 6", f"run 6/attacks/{NATURAL_PROTOCOL}-validation.csv"])
def test_natural_changes_alone_are_nothing_to_audit(with_natural, place):
    (with_natural / "run 6" / "attacks" / "paper-2025-released.csv").unlink()
    with pytest.raises(FileError, match=r"holds natural changes .* and no attack"):
        open_sources([with_natural / place])


def test_rows_outside_a_run_have_no_folder(tmp_path):
    (source,) = open_sources([written(tmp_path, made_up.run(), inside=False)])
    assert (source.kind, source.folders, source.saved) == ("table", {}, {})


@pytest.mark.parametrize(("stated", "expected"), [(0.001, 0.001), (None, None), ("0.01", 0.01)])
def test_logs_bring_the_budget_their_settings_state(tmp_path, stated, expected):
    table = log(tmp_path, clip_eps=stated)
    (source,) = open_sources([tmp_path], table)
    assert (source.kind, source.released) == ("logs", True)
    assert source.stated == {"version_6": expected}


def test_a_budget_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(FileError, match="clip_eps is 'some'; it must be a number or null"):
        open_sources([tmp_path], log(tmp_path, clip_eps="some"))


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_a_place_with_nothing_to_audit_is_refused(tmp_path, name):
    with pytest.raises(FileError, match="nothing to audit"):
        open_sources([tmp_path / name])


def test_the_same_rows_twice_count_once(study):
    (source,) = open_sources([study, study / "run 6"])
    assert len(source.rows) == 10


@pytest.mark.parametrize("copy", ["A2E-06", "A2E-6-backup"])
def test_a_copy_of_the_same_rows_is_refused_and_both_files_are_named(study, copy):
    (study / "run 6").rename(study / "A2E-6")
    shutil.copytree(study / "A2E-6", study / copy)
    expected = (
        rf"{copy}/attacks/.*\.csv: holds rows of A2E-6, as .*A2E-6/attacks/.*\.csv does\. Remove the copy"
    )
    with pytest.raises(DataError, match=expected):
        open_sources([study])


def test_a_table_of_runs_without_logs_is_refused(study, tmp_path):
    with pytest.raises(ConfigError, match="`runs_file` belongs to released logs"):
        open_sources([study], tmp_path / "table.csv")


def test_natural_changes_in_memory_are_no_attack():
    natural = made_up.run(seed=7, protocol=NATURAL_PROTOCOL, attack="natural")
    (source,) = sources_of(pd.concat([made_up.run(), natural]))
    assert set(source.rows["seed"]) == {6}
    with pytest.raises(DataError, match="the rows hold no attack"):
        sources_of(natural)


def test_rows_of_two_units_are_two_sources():
    waves = made_up.run(seed=7).assign(unit="samples (full scale 1)", scale_low=1.0, scale_high=7.0)
    names = [one.name for one in sources_of(pd.concat([made_up.run(), waves]))]
    assert names == ["paper-2025-released on waveforms", "paper-2025-released"]
