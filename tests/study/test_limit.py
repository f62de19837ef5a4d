"""A call of a study that ends before its work is done."""

from __future__ import annotations

import os
import time

import pytest

from tenuto.errors import ConfigError
from tenuto.store.study import StudyFolder
from tenuto.study.limit import Limit, OutOfTime, Pace, parse_time, request_stop


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("value", "seconds"), [("90s", 90), ("12m", 720), ("1.5h", 5400), ("1h30m10s", 5410), (7, 7), (0.5, 0.5)]
)
def test_a_time_is_a_text_with_units_or_seconds(value, seconds):
    assert parse_time(value) == seconds


@pytest.mark.parametrize("value", ["", "12", "m", "0s", "1d", "-5m", "5 m", 0, -1, float("nan"), True, [1]])
def test_other_times_are_refused(value):
    with pytest.raises(ConfigError, match="time_limit must be a time such as 90s, 12m or 1h30m"):
        parse_time(value)


def test_no_epoch_begins_that_would_end_too_late(clock, tmp_path):
    pace = Pace(Limit(tmp_path, 100.0, clock[0]))
    for duration in (0, 20, 40, 10):  # then 30 s are left, and the longest took 40
        clock[0] += duration
        if duration != 10:
            pace.check()
    with pytest.raises(OutOfTime):
        pace.check()


def test_the_first_epoch_begins_until_the_time_is_over(clock, tmp_path):
    short = Limit(tmp_path, 100.0, clock[0])
    clock[0] += 99
    Pace(short).check()
    clock[0] += 2
    with pytest.raises(OutOfTime):
        Pace(short).check()


def test_what_precedes_the_first_epoch_or_piece_is_not_expected_again(clock, tmp_path):
    pace = Pace(Limit(tmp_path, 100.0, clock[0]))
    clock[0] += 60  # to open a model
    pace.check()
    pace = Pace(Limit(tmp_path, 100.0, clock[0]))
    pace.begin()
    clock[0] += 60  # the first epoch
    with pytest.raises(OutOfTime):
        pace.check()


def test_without_a_limit_only_a_request_ends_a_call_and_not_the_next_one(clock, tmp_path):
    endless = Limit(tmp_path, begun=clock[0])
    clock[0] += 1e9
    assert not endless.is_reached(1e9)
    request_stop(tmp_path)
    assert endless.is_reached()
    clock[0] += 1
    assert not Limit(tmp_path, begun=clock[0]).is_reached()
    StudyFolder(tmp_path).stop.write_text("x")
    assert not endless.is_reached()
    StudyFolder(tmp_path).stop.unlink()
    os.mkfifo(StudyFolder(tmp_path).stop)  # would block who opens it
    assert not endless.is_reached()
