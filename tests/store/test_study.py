"""A study's folder: where its runs are found, and the rows of all of them."""

from __future__ import annotations

import pandas as pd
import pytest

from tenuto.errors import CheckpointError, DataError, FileError, FolderWarning
from tenuto.files import sha256_file
from tenuto.store.rows import read_rows, write_rows
from tenuto.store.run import RunFolder
from tenuto.store.study import StudyFolder, read_natural, read_study
from tests.reporting import made_up
from tests.store.test_run import unreadable

PROTOCOL = "paper-2025-released"


def attacked(folder, seed, protocol=PROTOCOL):
    """A run with rows of three clips."""
    run = RunFolder(folder)
    write_rows(run.rows(protocol), made_up.run(seed=seed, run=run.name, clips=3, protocol=protocol))
    return run


@pytest.fixture
def study(tmp_path):
    place = StudyFolder(tmp_path / "study")
    for seed in (6, 21):
        attacked(place.runs_folder / f"A2E-{seed}", seed)
    return place


def test_runs_are_found_at_any_depth(study):
    named = [run.name for run in study.runs()]
    assert named == ["A2E-21", "A2E-6"]
    assert [run.name for run in StudyFolder(study.path.parent).runs()] == named
    assert StudyFolder(study.runs_folder / "A2E-6").runs() == [study.run("A2E-6")]
    assert study.protocols() == {PROTOCOL: study.runs()}


def test_runs_are_found_through_links_once_each(study, tmp_path):
    (collected := StudyFolder(tmp_path / "collected")).path.mkdir()
    for run in study.runs():
        (collected.path / run.name).symlink_to(run.path)
    (collected.path / "again").symlink_to(study.path)
    (study.path / "loop").symlink_to(collected.path)
    assert len(collected.runs()) == len(study.runs()) == 2
    assert set(collected.rows()["seed"]) == {6, 21}


def test_rows_of_all_runs_are_joined(study):
    rows = study.rows()
    assert len(rows) == 6
    assert rows.equals(study.rows(PROTOCOL))


def unreadable_folder(run, monkeypatch):
    unreadable(monkeypatch, run.path)


def unreadable_attacks(run, monkeypatch):
    run.config.write_text("")
    unreadable(monkeypatch, run.attacks)


def dangling_link(run, monkeypatch):
    run.path.rename(run.path.parents[2] / "moved")
    run.path.symlink_to("elsewhere")


def damaged_rows(run, monkeypatch):
    run.rows(PROTOCOL).write_text("run,system\nA2E-6,A2E\n")


def mixed_rows(run, monkeypatch):
    rows = made_up.run(seed=6, run=run.name, clips=3, protocol=PROTOCOL)
    rows.loc[0, "system"] = "A2M2E"
    rows.to_csv(run.rows(PROTOCOL), index=False)


def odd_cell(column, value):
    def damage(run, monkeypatch):
        rows = made_up.run(seed=6, run=run.name, clips=3, protocol=PROTOCOL)
        rows[column] = rows[column].astype(object)
        rows.loc[1, column] = value
        rows.to_csv(run.rows(PROTOCOL), index=False)

    return damage


ODD = {
    "protocol": "odd",
    "split": "train",
    "attack": "odd",
    "objective": "odd",
    "norm": "odd",
    "epsilon": 0.3,
}
DAMAGES = (
    *(unreadable_folder, unreadable_attacks, dangling_link, damaged_rows, mixed_rows),
    *(odd_cell(column, value) for column, value in ODD.items()),
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_that_cannot_be_read_is_named(study, monkeypatch, damage):
    damage(study.run("A2E-6"), monkeypatch)
    with pytest.raises((FileError, DataError), match="A2E-6"):
        study.rows(PROTOCOL)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_rows_of_the_other_runs_can_be_read(study, monkeypatch, damage):
    damage(study.run("A2E-6"), monkeypatch)
    errors: list[Exception] = []
    assert set(study.rows(PROTOCOL, damaged=errors.append)["seed"]) == {21}
    assert len(errors) == 1
    assert "A2E-6" in str(errors[0])


def test_rows_of_other_weights_are_not_rows_of_the_run(study):
    """As where an attack found a training that went on afterwards."""
    first, second = study.runs()
    for run in (first, second):
        run.checkpoint.write_bytes(b"weights")
        rows = read_rows(run.rows(PROTOCOL)).assign(checkpoint=sha256_file(run.checkpoint))
        write_rows(run.rows(PROTOCOL), rows)
    assert set(study.rows(PROTOCOL)["run"]) == {first.name, second.name}
    second.checkpoint.write_bytes(b"weights of a later epoch")
    with pytest.raises(
        CheckpointError, match=rf"{PROTOCOL}\.csv: was made with other weights than .*checkpoint"
    ):
        study.rows(PROTOCOL)
    with pytest.warns(FolderWarning, match="was made with other weights .* The run is left out"):
        assert set(read_study(study.path, PROTOCOL)["run"]) == {first.name}
    second.checkpoint.unlink()  # nothing to compare with, as in published results
    assert len(study.rows(PROTOCOL)["run"].unique()) == 2


def test_the_rows_of_a_study_warn_of_a_damaged_run(study):
    damaged_rows(study.run("A2E-6"), None)
    write_rows(study.run("A2E-21").natural(), made_up.run(seed=21, protocol="natural-1", attack="natural"))
    with pytest.warns(FolderWarning, match=r"A2E-6.*no column .*The run is left out\."):
        rows = read_study(study.path)
    assert set(rows["seed"]) == {21}
    natural = read_natural(study.path)
    assert natural is not None
    assert set(natural["attack"]) == {"natural"}


@pytest.mark.parametrize("copied", ["A2E-06", "A2E-6-backup"])
def test_rows_of_one_run_in_two_folders_are_read_once_and_the_copy_is_named(study, copied):
    original, copy = study.run("A2E-6").rows(PROTOCOL), RunFolder(study.runs_folder / copied).rows(PROTOCOL)
    expected = study.rows(PROTOCOL)
    write_rows(copy, read_rows(original))
    message = rf"{copied}: holds rows of A2E-6, as .*A2E-6 does\. Remove the copy"
    with pytest.raises(FileError, match=message):
        study.rows(PROTOCOL)
    with pytest.warns(FolderWarning, match=message):
        rows = read_study(study.path)
    pd.testing.assert_frame_equal(rows, expected)


@pytest.mark.parametrize("column", ["worst", "label_valence"])
def test_a_column_that_some_runs_lack_is_named_with_the_run(study, column):
    for run in study.runs():
        rows = run.read_rows(PROTOCOL).assign(worst=True)
        write_rows(run.rows(PROTOCOL), rows.drop(columns=column) if run.name == "A2E-6" else rows)
    with pytest.raises(DataError, match=f"the rows of A2E-6 have no column {column}"):
        study.rows(PROTOCOL)


def test_without_readable_rows_there_is_an_error(study):
    for run in study.runs():
        damaged_rows(run, None)
    message = r"no run with rows of protocol paper-2025-released can be read\. The first: .*A2E-\d+/attacks/"
    with pytest.raises(FileError, match=message):
        study.rows(PROTOCOL, damaged=lambda error: None)


def test_without_a_protocol_the_released_one_that_all_runs_share_is_read(study):
    form = f"{PROTOCOL}+iterations=100"
    attacked(study.runs_folder / "A2E-6", 6, form)
    assert set(study.rows()["protocol"]) == {PROTOCOL}
    attacked(study.runs_folder / "A2E-21", 21, form)
    both = rf"which protocol\? .* {PROTOCOL} \(2 of 2 runs\), {PROTOCOL}\+iterations=100 \(2 of 2 runs\)"
    with pytest.raises(FileError, match=both):
        study.rows()


def test_a_protocol_of_some_runs_is_not_taken(study):
    attacked(study.runs_folder / "A2E-6", 6, f"{PROTOCOL}+iterations=40")
    assert set(study.rows()["protocol"]) == {PROTOCOL}


def test_other_parts_and_natural_variations_are_no_protocols_to_choose(study):
    run = study.run("A2E-6")
    rows = made_up.run(run=run.name, clips=3)
    write_rows(run.rows(PROTOCOL, "validation"), rows.assign(split="validation"))
    write_rows(run.natural(), rows.assign(protocol="natural-1", attack="natural"))
    assert set(study.rows()["split"]) == {"test"}
    assert set(study.rows()["attack"]) == {"ReleasedAttack"}
    assert set(study.rows(PROTOCOL, "validation")["split"]) == {"validation"}
    assert set(study.rows("natural-1")["attack"]) == {"natural"}


def test_an_unknown_protocol_or_folder_is_named(study, tmp_path):
    with pytest.raises(FileError, match=f"no rows of protocol standard-1 .* with rows: {PROTOCOL}"):
        study.rows("standard-1")
    with pytest.raises(FileError, match="no such folder"):
        StudyFolder(tmp_path / "absent").rows()
    with pytest.raises(FileError, match=r"no rows of an attack\. Run `tenuto attack`"):
        StudyFolder(tmp_path / "study" / "runs" / "A2E-6" / "attacks").rows()
