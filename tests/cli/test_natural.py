"""`tenuto natural`."""

import json
import shutil

import pandas as pd
import pytest

import tenuto
from tenuto.cli.natural import natural
from tenuto.errors import DataError
from tests.cli.conftest import caller

call = caller(natural)


@pytest.fixture(scope="module")
def measured(run, tmp_path_factory):
    """A copy of the tiny run, to be measured and read again."""
    copy = tmp_path_factory.mktemp("natural") / run.name
    return shutil.copytree(run, copy, ignore=shutil.ignore_patterns("attacks"))


def test_a_table_is_printed_and_rows_are_written(measured, data):
    outcome = call(measured, *data)
    path = measured / "attacks" / "natural-1.csv"
    assert outcome.stdout.splitlines()[-1] == str(path)
    assert len(pd.read_csv(path)) == 5 * 3
    for change in ("other excerpt", "mp3 128 kb/s", "6 dB up", "6 dB down", "noise 30 dB", "noise 20 dB"):
        assert change in outcome.stdout
    assert "other excerpt: 3 clips are too short for it" in outcome.stderr


def test_json_is_one_object_for_programs(measured, data):
    outcome = call(measured, *data, "--json")
    content = json.loads(outcome.stdout)
    assert (content["run"], content["protocol"], content["split"]) == (measured.name, "natural-1", "test")
    other, *rest = content["changes"]
    assert (other["change"], other["clips"], other["skipped"], other["moved"]) == (
        "other excerpt",
        0,
        3,
        None,
    )
    assert all(change["clips"] == 3 and change["moved"] > 0 for change in rest)


@pytest.fixture(scope="module")
def graded(measured, data):
    """The options of `tenuto natural` for the second protocol."""
    return (measured, *data, "--protocol", "natural-2")


def test_strengths_are_printed_with_the_corruption_error(graded, measured):
    outcome = call(*graded)
    path = measured / "attacks" / "natural-2.csv"
    assert outcome.stdout.splitlines()[-1] == str(path)
    assert len(pd.read_csv(path)) == 50 * 3
    lines = {line.split("│")[1].strip(): line for line in outcome.stdout.splitlines() if "│" in line}
    assert len(lines) == 11
    assert "8000 to 2000 Hz" in lines["low-pass"]
    total = tenuto.corruption_error(measured).iloc[0]
    assert f"Corruption error {total['corruption_error']:.3f} [" in outcome.stdout
    assert f"increase {total['increase']:.3f} [" in outcome.stdout
    assert "95 % intervals over clips." in outcome.stdout
    assert "excerpt 1: 3 clips are too short for it" in outcome.stderr


def test_json_has_every_strength_and_the_corruption_error(graded, measured):
    content = json.loads(call(*graded, "--json").stdout)
    assert (content["protocol"], len(content["changes"])) == ("natural-2", 55)
    third = content["changes"][7]
    assert (third["kind"], third["strength"], third["value"]) == ("low-pass", 3, "4000 Hz")
    assert content["corruption"] == tenuto.corruption_error(measured).iloc[0].to_dict()


def test_audio_that_is_not_at_hand_is_said_in_one_sentence(measured, corpus, cache, tmp_path):
    bare = shutil.copytree(corpus, tmp_path / "bare", ignore=shutil.ignore_patterns("*.mp3"))
    with pytest.raises(DataError, match="30 of 30 recordings cannot be used"):
        call(measured, "--root", bare, "--cache", cache)
