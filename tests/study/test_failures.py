"""A study that is refused, and runs that fail or whose processes die."""

from __future__ import annotations

import dataclasses
import errno
from typing import Any

import pytest

from tenuto.errors import ConfigError, DataError, TenutoError
from tenuto.study import journal
from tenuto.study.engines import Local, Ray, run_study
from tenuto.study.plan import Planned, identity, planned, runs
from tenuto.study.processes import in_processes
from tenuto.study.stages import Job, Outcome, complete_run
from tests.study import small
from tests.study.small import TINY, each_refusal, refuses, silent


def test_an_error_nobody_foresaw_leaves_its_trace_in_the_journal(music, tmp_path, monkeypatch):
    def breaks(*arguments, **keywords):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("tenuto.training.loop.train", breaks)
    report = run_study(TINY, tmp_path, music, report=silent)
    assert [outcome.error for outcome in report.failed] == 2 * ["ZeroDivisionError: of all things"]
    assert "in breaks" in str(journal.read(tmp_path, report.failed[0].run).trace)
    assert not (tmp_path / "metrics.csv").exists()


@dataclasses.dataclass
class Deadly:
    """An engine under which every run fails with this sentence, as one whose processes die."""

    error: str
    workers: int = 1

    def check(self):
        pass

    def carry_out(self, jobs):
        return (Outcome(job.planned.run, error=self.error) for job in jobs)


def begun(folder, music):
    """The first run of the study, as far as its journal looks when its process is killed in training."""
    run = planned(TINY, identity(TINY, folder, music))[0].run
    journal.Entry(folder, run).note(True, stage="train", epoch=1)
    return run


def test_a_failure_that_a_run_could_not_write_down_is_in_its_record(music, tmp_path):
    run = begun(tmp_path, music)
    run_study(TINY, tmp_path, music, Deadly("its process died 4 times"), silent)
    record = journal.read(tmp_path, run)
    assert (record.stage, record.error, record.epoch) == (journal.FAILED, "its process died 4 times", 1)
    assert not journal.is_held(tmp_path, run)


def test_the_record_of_a_run_that_another_process_has_is_left_alone(music, tmp_path):
    run = begun(tmp_path, music)
    before = journal.record_path(tmp_path, run).read_bytes()
    with journal.hold(tmp_path, run, patience=0):
        run_study(TINY, tmp_path, music, Deadly("at work on it"), silent)
    assert journal.record_path(tmp_path, run).read_bytes() == before
    assert journal.read(tmp_path, journal.STUDY).notes["failed"] == {run: "at work on it"}


def test_a_run_whose_processes_always_die_fails_in_one_sentence(monkeypatch):
    monkeypatch.setattr("tenuto.study.processes.TRIES", 2)
    job: Any = small.DeadlyJob()
    (outcome,) = in_processes([job], 2)
    assert "its process died 2 times, the last time by signal 9" in outcome.error


def test_signals_do_not_end_a_worker():
    (outcome,) = in_processes([small.TerminatedJob()], 2)  # type: ignore[list-item]
    assert outcome.is_unfinished


def test_a_second_driver_is_refused_in_one_sentence(music, tmp_path, monkeypatch):
    monkeypatch.setattr("tenuto.study.engines.STUDY_PATIENCE", 0.0)
    with (
        journal.hold(tmp_path, journal.STUDY, patience=0),
        pytest.raises(TenutoError, match="is working on the study"),
    ):
        run_study(TINY, tmp_path, music, report=silent)
    assert not (tmp_path / "runs").exists()


def test_a_run_on_a_file_system_without_locks_fails_in_one_sentence(tmp_path, monkeypatch):
    def flock(stream, expected):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    job = Job(TINY, Planned(runs(TINY)[0], "A2M2E-21-00000000"), tmp_path, None)
    assert "its file system has no locks (No locks available)" in str(complete_run(job).error)


def test_a_study_of_recordings_wants_to_know_where_they_are(tmp_path):
    with pytest.raises(ConfigError, match="`root"):
        run_study(TINY, tmp_path, report=silent)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"corpus": {"clips": 16}, "run": {"data": {"dataset": "synthetic"}}}, "Leave `root` out"),
        ({"run": {"data": {"dataset": "soundtracks"}}}, "soundtracks has no concept ratings"),
        ({"protocols": ["paper-2025-relesed"]}, "Did you mean paper-2025-released"),
    ],
)
def test_a_study_that_cannot_be_carried_out_is_refused_before_any_work(changes, message, music, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run_study(small.changed(**changes), tmp_path / "study", music, report=silent)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (Local(workers=-1), "workers must be a whole number of at least 1, got -1"),
        (Local(workers=0), "workers must be"),
        (Ray(workers=-1), "workers must be"),
        (Ray(gpus_per_run=-0.5), "gpus_per_run must be a number from 0"),
    ],
)
def test_numbers_that_no_engine_can_have_are_refused_before_any_work(engine, message, music, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run_study(TINY, tmp_path / "study", music, engine, silent)
    assert not (tmp_path / "study").exists()


@each_refusal
def test_a_call_that_is_refused_changes_no_study_in_the_folder(place, engine, music, tmp_path, monkeypatch):
    monkeypatch.setattr(place, refuses)
    with pytest.raises(DataError, match="a recording is silent"):
        run_study(TINY, tmp_path, music, engine, silent)
    assert not (tmp_path / "study.yaml").exists()
    file = small.write_study(tmp_path / "study.yaml", TINY)
    before = file.read_bytes()
    with pytest.raises(DataError, match="a recording is silent"):
        run_study(small.changed(run={"train": {"threads": 2}}), tmp_path, music, engine, silent)
    assert file.read_bytes() == before


def test_the_study_s_settings_are_there_before_its_first_run_begins(music, tmp_path, monkeypatch):
    written = []

    def breaks(*arguments, **keywords):
        written.append((tmp_path / "study.yaml").is_file())
        raise DataError("enough")

    monkeypatch.setattr("tenuto.training.loop.train", breaks)
    run_study(TINY, tmp_path, music, report=silent)
    assert written == [True, True]
