"""Bad input of every command: exit code 2, and one sentence on stderr. Commands and sentences are in ``snapshots/``.

For a new case write ``## COMMAND`` in the file of its command, and ``python -m pytest tests/cli --update-snapshots``.
That writes all sentences anew; read the difference before you commit it.
"""

from __future__ import annotations

import shlex

import pytest

from tenuto.config import to_yaml
from tenuto.store.rows import NATURAL_PROTOCOL, write_rows
from tests import corpora, small_runs
from tests.cli.conftest import SNAPSHOTS, Snapshot
from tests.evaluation.audit.planted import bounded
from tests.reporting.made_up_report import plain, stored

CASES = [
    (path.stem, case)
    for path in sorted(SNAPSHOTS.glob("*.txt"))
    for case in Snapshot(path.stem, False).texts
    if not case.startswith("output")
]


@pytest.fixture(scope="session")
def places(run, corpus, cache, tmp_path_factory):
    """What the words in capitals stand for."""
    folder = tmp_path_factory.mktemp("refusals")
    (folder / "split.csv").write_text("clip,split,position\n000,test,0\n001,train,1\n")
    (folder / "empty").mkdir()
    corpora.write_audio(folder / "song.mp3", 3, seconds=11)
    rows = bounded(attacked=0.2, objective="squared error from clean")
    return {
        "RUN": run,
        "DATA": f"--root {corpus} --cache {cache}",
        "NOWHERE": folder / "nowhere",
        "EMPTY": folder / "empty",
        "SONG": folder / "song.mp3",
        "SPLIT": folder / "split.csv",
        "STUDY": stored(folder / "study", plain((6,))),
        "ROWS": write_rows(folder / "rows.csv", rows),
        "OTHER": attacked(folder / "runs"),
        "SECOND": attacked(folder / "runs", "A2B2E"),
        "THIRD": attacked(folder / "runs", seed=7, dataset="midlevel"),
        "UNSPLIT": unsplit(folder),
        "NATURAL": natural(folder),
    }


def attacked(folder, system="A2E", seed=6, **data):
    """A run of which there are rows and a configuration."""
    run = folder / f"{system}-{seed}"
    (run / "attacks").mkdir(parents=True)
    (run / "config.yaml").write_text(to_yaml(small_runs.settings(system, data=data, seed=seed)))
    (run / "split.csv").write_text("clip,split,position\n000,test,0\n001,train,1\n")
    write_rows(run / "attacks" / "planted-1.csv", bounded(system, seed))
    return run


def unsplit(folder):
    """The same without its split."""
    run = attacked(folder / "unsplit")
    (run / "split.csv").unlink()
    return run


def natural(folder):
    """The same with natural variations alone."""
    run = attacked(folder / "natural")
    (run / "attacks" / "planted-1.csv").rename(run / "attacks" / f"{NATURAL_PROTOCOL}.csv")
    return run


@pytest.mark.parametrize(("command", "line"), CASES)
def test_bad_input_is_refused_in_one_sentence(
    refused, snapshot, places, command, line, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = line
    for name, place in places.items():
        words = words.replace(f" {name}", f" {place}")
    snapshot(command, line, refused(*shlex.split(words)))
    assert list(tmp_path.iterdir()) == []


def test_there_are_cases_and_every_output_has_a_test():
    assert len(CASES) >= 140
    tests = "".join(path.read_text("utf-8") for path in SNAPSHOTS.parent.glob("test_*.py"))
    for path in SNAPSHOTS.glob("*.txt"):
        for case in Snapshot(path.stem, False).texts:
            assert (path.stem, case) in CASES or f'snapshot("{path.stem}", "{case}"' in tests, case
