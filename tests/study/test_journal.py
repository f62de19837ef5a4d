"""The journal: what is written while a run is worked on, who may write, and what a reader makes of it."""

from __future__ import annotations

import errno
import os

import pytest

from tenuto.errors import FileError, TenutoError
from tenuto.files import read_json, write_bytes, write_json, write_text
from tenuto.study import journal
from tenuto.study.journal import Entry, hold, is_held, read, standing
from tests.study import small


@pytest.fixture
def clock(monkeypatch):
    """A clock set by hand; the first entry of the list is the time."""
    now = [100.0]
    monkeypatch.setattr("tenuto.study.journal.time.monotonic", lambda: now[0])
    return now


def test_a_run_without_a_record_waits(tmp_path):
    assert read(tmp_path, "A2E-6-00000000") == journal.Record("A2E-6-00000000")
    assert standing(tmp_path, "A2E-6-00000000").stage == journal.WAITING


def test_a_record_has_the_name_of_its_file(tmp_path):
    Entry(tmp_path, "run").note(True, name="another")
    assert read(tmp_path, "run").name == "run"


def test_seconds_of_a_stage_add_up_over_sittings(tmp_path, clock):
    for spent in (3.0, 4.0):
        entry = Entry(tmp_path, "run")
        clock[0] += 1000.0  # between the stages nothing counts
        with entry.stage("train"):
            clock[0] += spent
    assert read(tmp_path, "run").seconds == {"train": 7.0}


def test_a_stage_that_is_broken_off_counts_its_seconds_but_is_not_finished(tmp_path, clock):
    entry = Entry(tmp_path, "run")

    def breaks():
        with entry.stage("train"):
            clock[0] += 3.0
            raise KeyError

    with pytest.raises(KeyError):
        breaks()
    entry.note(True, stage=journal.FAILED, error="it broke")
    record = read(tmp_path, "run")
    assert (record.stage, record.finished, record.seconds) == (journal.FAILED, [], {"train": 3.0})


def test_a_kill_loses_no_more_than_the_time_since_the_last_record(tmp_path, clock):
    entry = Entry(tmp_path, "run")
    stage = entry.stage("train")
    stage.__enter__()
    clock[0] += 5.0
    entry.note(epoch=1)
    clock[0] += 0.1
    entry.note(epoch=2)  # too soon to be written
    record = read(tmp_path, "run")
    assert (record.stage, record.epoch, record.seconds["train"]) == ("train", 1, 5.0)


def test_what_was_not_written_in_between_is_written_at_the_end_of_the_stage(tmp_path, clock):
    entry = Entry(tmp_path, "run")
    with entry.stage("train"):
        entry.note(epoch=7, best_score=0.5)
    record = read(tmp_path, "run")
    assert (record.epoch, record.best_score, record.finished) == (7, 0.5, ["train"])


def test_a_new_sitting_forgets_the_error_of_the_last(tmp_path):
    Entry(tmp_path, "run").note(True, stage=journal.FAILED, error="it broke", trace="there")
    Entry(tmp_path, "run").note(True, stage="train")
    record = read(tmp_path, "run")
    assert (record.error, record.trace) == (None, None)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"run": 1}',
        '{"name": "run", "colour": 2}',
        '{"name": "run", "seconds": {"train": "x"}}',
        '{"name": "run", "seconds": {"train": 1e400}}',
        '{"name": "run", "best_score": "x"}',
        '{"name": "run", "epoch": 1e400}',
        '{"name": "run", "finished": "train"}',
        '{"name": "run", "notes": []}',
    ],
)
def test_a_damaged_record_is_as_none(tmp_path, content):
    write_text(journal.record_path(tmp_path, "run"), content)
    assert read(tmp_path, "run") == journal.Record("run")


def test_a_record_says_who_wrote_it(tmp_path):
    Entry(tmp_path, "run").note(True, stage="train")
    content = read_json(journal.record_path(tmp_path, "run"))
    assert content["pid"] > 0
    assert content["host"]
    assert content["updated"] > 0


def test_only_one_is_at_work_on_a_run(tmp_path):
    with hold(tmp_path, "run", patience=0):
        assert is_held(tmp_path, "run")
        with (
            pytest.raises(TenutoError, match=r"another process .* is working on run"),
            hold(tmp_path, "run", 0),
        ):
            pass
        with hold(tmp_path, "other", patience=0):
            assert is_held(tmp_path, "other")
    assert not is_held(tmp_path, "run")
    with hold(tmp_path, "run", patience=0):
        pass


@pytest.fixture
def without_locks(monkeypatch):
    """A file system whose locks fail with this error, as NFS and Lustre have them by their mount."""

    def install(number):
        def flock(stream, expected):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("fcntl.flock", flock)

    return install


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused_in_one_sentence(without_locks, tmp_path, number):
    without_locks(number)
    with (
        pytest.raises(
            FileError, match=r"\.run\.lock: its file system has no locks .* Mount it with flock"
        ) as caught,
        hold(tmp_path, "run", patience=0),
    ):
        pass
    assert os.strerror(number) in str(caught.value)


def test_a_lock_that_cannot_be_written_is_not_blamed_on_the_file_system(without_locks, tmp_path):
    without_locks(errno.EROFS)
    with (
        pytest.raises(FileError, match=r"\.run\.lock: cannot write: the file system is read-only"),
        hold(tmp_path, "run", 0),
    ):
        pass


def test_a_record_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    Entry(tmp_path, "run").note(True, stage="train")
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(FileError, match=r"run\.json: cannot read: permission denied"):
        Entry(tmp_path, "run")


def test_without_locks_a_run_keeps_the_stage_it_was_last_at(without_locks, tmp_path):
    with hold(tmp_path, "run", patience=0):
        Entry(tmp_path, "run").note(True, stage="train")
    without_locks(errno.ENOLCK)
    assert is_held(tmp_path, "run") is None
    assert standing(tmp_path, "run").stage == "train"


KILLED = """
import sys, time
from pathlib import Path
from tenuto.study import journal
with journal.hold(Path(sys.argv[1]), "run", 0):
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_lock_is_free_when_its_holder_is_killed(tmp_path):
    process = small.started("-c", KILLED, tmp_path)
    assert process.stdout.readline() == "held\n"
    assert is_held(tmp_path, "run")
    process.kill()
    process.communicate()
    assert is_held(tmp_path, "run") is False


@pytest.mark.parametrize("before", [None, b'{"name": "run", "stage": "done"}'])
def test_a_refused_call_leaves_the_record_as_it_was(tmp_path, before):
    path = journal.record_path(tmp_path, "run")
    if before:
        write_bytes(path, before)
    entry = Entry(tmp_path, "run")
    with pytest.raises(TenutoError), entry.restored_on_refusal(), entry.stage("prepare"):
        raise TenutoError("a recording is silent")
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_run_that_was_begun_is_stopped_when_nobody_is_at_work_on_it(tmp_path):
    with hold(tmp_path, "run", patience=0):
        Entry(tmp_path, "run").note(True, stage="train")
        assert standing(tmp_path, "run").stage == "train"
    assert standing(tmp_path, "run").stage == journal.STOPPED


@pytest.mark.parametrize("stage", [journal.DONE, journal.FAILED])
def test_a_run_that_has_ended_is_not_called_stopped(tmp_path, stage):
    Entry(tmp_path, "run").note(True, stage=stage)
    assert standing(tmp_path, "run").stage == stage


@pytest.mark.parametrize(
    "notes", [{"runs": ["a"]}, {"runs": None}, {"runs": {"a": "many"}}, {"failed": []}, {"made": [5]}]
)
def test_a_record_with_notes_of_another_kind_counts_as_none(tmp_path, notes):
    write_json(
        journal.record_path(tmp_path, journal.STUDY), {"name": "study", "stage": "runs", "notes": notes}
    )
    assert read(tmp_path, journal.STUDY) == journal.Record(journal.STUDY)
