"""Bad input of every command: exit code 2, and one sentence on stderr. The sentences are in ``snapshots/``.

``python -m pytest tests/cli --update-snapshots`` writes them anew; read the difference before you commit it.
"""

from __future__ import annotations

import shlex

import pytest

from tenuto.config import to_yaml
from tenuto.store.rows import NATURAL, write_rows
from tests import corpora, small_runs
from tests.evaluation.audit.planted import bounded
from tests.reporting.made_up_report import plain, stored

APGD = "attack RUN DATA --attack APGD --epsilon 0.1"
COMMANDS = [
    "attack RUN DATA --attack APG --epsilon 0.1",
    "attack RUN DATA --attack APGD",
    "attack RUN DATA --attack APGD --norm snr",
    "attack RUN DATA --attack APGD --norm snr --epsilon 0.1",
    "attack RUN DATA --attack APGD --norm snr --db 40",
    "attack RUN DATA --attack APGD --norm snr --db 40 --domain spectrogram",
    f"{APGD} --domain waveform",
    "attack RUN DATA --attack APGD --db 40",
    "attack RUN DATA --db 40",
    "attack RUN DATA --protocol paper-2025-released --precision bfloat16",
    "attack RUN DATA --epsilon 0.1",
    "attack RUN DATA --objective happy=0.8",
    "attack RUN DATA --norm l2",
    "attack RUN DATA --from-clean",
    "attack RUN DATA --clipped 0 1",
    "attack RUN DATA --attack Transfer --epsilon 0.1",
    "attack RUN DATA --attack Foreign --epsilon 0.1",
    "attack RUN DATA --attack gone.py:shake --epsilon 0.1 --trust",
    "attack RUN SONG --attack gone.py:shake --epsilon 0.1",
    f"{APGD} --protocol standard-1",
    f"{APGD} --setting steps",
    f"{APGD} --setting step=3",
    f"{APGD} --objective hapy+",
    "attack RUN DATA --protocol standard-1 --iterations 3",
    "attack RUN DATA --protocol standard-1 --released-log log",
    "attack RUN DATA --step-size 1e39",
    "attack RUN DATA --step-size -1",
    "attack RUN DATA --alpha nan",
    "attack RUN",
    "attack NOWHERE DATA",
    "audit ROWS --data soundtracks",
    "audit ROWS --root .",
    "audit ROWS --data folder --root .",
    "audit ROWS --runs table.csv",
    "audit ROWS --split SPLIT",
    "audit ROWS --data soundtracks --root . --split nowhere.csv",
    "audit ROWS --clips 3",
    "audit ROWS --data soundtracks --root . --sibling a",
    "audit OTHER --data soundtracks",
    "audit OTHER --split SPLIT",
    "audit OTHER --clips 3",
    "audit OTHER --sibling OTHER",
    "audit UNSPLIT --split SPLIT",
    "audit OTHER --root . --sibling SECOND",
    "audit OTHER THIRD --root .",
    "audit NATURAL",
    "audit EMPTY",
    "audit SPLIT",
    "curve EMPTY",
    "evaluate RUN",
    "evaluate EMPTY DATA",
    "explain RUN SONG --hop 0",
    "explain RUN SONG --hop 1e-9",
    "explain RUN SONG --hop inf",
    "explain RUN gone.mp3",
    "explain RUN SONG --plot a.svg",
    "attribute RUN nowhere DATA",
    "attribute RUN 055 DATA --emotion tensoin",
    "attribute RUN 055 DATA --seconds 2 4",
    "attribute RUN 055 DATA --plot figure.gif",
    "leakage RUN DATA",
    "leakage RUN DATA --black-box NOWHERE",
    "intervene RUN SONG",
    "intervene RUN",
    "intervene RUN DATA --protocol standard-1",
    "intervene RUN SONG --set disonance=0.5",
    "intervene RUN SONG --set dissonance",
    "intervene RUN SONG --set dissonance=high",
    "intervene RUN SONG --set =0.5=1",
    "intervene RUN SONG --set dissonance=inf",
    "intervene RUN SONG --set dissonance=0.7 --set dissonance=0.1",
    "intervene RUN --set dissonance=0.7 --protocol standard-1",
    "natural RUN",
    "natural RUN --protocol natural-3",
    "paper all --logs a --study b",
    "paper all a --study b",
    "paper all STUDY --runs r.csv",
    "paper all --logs a --protocol p",
    "paper figure4 STUDY --emotions tensoin",
    "paper figure4 STUDY --seed 99",
    "paper table1 STUDY --protocol standard-1",
    "predict RUN gone.mp3",
    "predict RUN EMPTY",
    "predict EMPTY SONG",
    "predict STUDY SONG",
    "predict RUN",
    "evaluate SONG",
    "show STUDY DATA",
    "attack RUN SONG --epsilon 0.1 --protocol standard-1",
    "attack RUN SONG --epsilon 0.1 --start -1",
    "attack RUN SONG",
    "attack RUN DATA --out shown",
    "export RUN --to torchscript --out a.pt --half",
    "export STUDY --to hub-folder --out a",
    "report EMPTY --out report.html",
    "report STUDY --out EMPTY",
    "show RUN DATA",
    "show RUN DATA 999",
    "stats --logs a --protocol p",
    "stats STUDY --level 2",
    "stats STUDY --clipped 1 0",
    "stats STUDY --pairs A2E",
    "stats STUDY --epsilon 0.1",
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
    (run / "attacks" / "planted-1.csv").rename(run / "attacks" / f"{NATURAL}.csv")
    return run


@pytest.mark.parametrize("line", COMMANDS)
def test_bad_input_is_refused_in_one_sentence(refused, snapshot, places, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = line
    for name, place in places.items():
        words = words.replace(f" {name}", f" {place}")
    snapshot(line.split(" --")[0].split()[0], line, refused(*shlex.split(words)))
    assert list(tmp_path.iterdir()) == []


def test_every_snapshot_belongs_to_a_case():
    """A case that is renamed leaves nothing behind."""
    from tests.cli.conftest import SNAPSHOTS, Snapshot

    tests = "".join(path.read_text("utf-8") for path in SNAPSHOTS.parent.glob("test_*.py"))
    for path in SNAPSHOTS.glob("*.txt"):
        for case in Snapshot(path.stem, False).texts:
            is_named = case in COMMANDS or f'snapshot("{path.stem}", "{case}"' in tests
            assert is_named or case.startswith(("help", "output")), f"{path}: {case}"
