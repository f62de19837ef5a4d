"""A whole study in miniature: what it leaves, and that interruptions, deaths and processes change no table.

Longer than other files: most tests look at one study, which is run once.
"""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
import signal
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tenuto.config import StudyConfig, parse_yaml
from tenuto.data import synthesis
from tenuto.errors import DataError, PrecisionWarning
from tenuto.evaluation import robustness
from tenuto.files import read_csv, read_json, write_text
from tenuto.study import journal, processes
from tenuto.study.engines import Local, run_study
from tenuto.study.plan import plan_study, runs
from tenuto.study.stages import MADE, METRIC_COLUMNS, Outcome
from tests import short, small_runs
from tests.processes import is_running, wait_for
from tests.study import small
from tests.study.small import ROWS, TINY, each_refusal, refuses, silent, tables


@pytest.fixture(scope="module")
def report_lines():
    """What the first call of the study reports, line by line, and at last what it returns."""
    lines: list[object] = []
    return lines


@pytest.fixture(scope="module")
def study(tmp_path_factory, music, report_lines):
    folder = tmp_path_factory.mktemp("study")
    report_lines.append(run_study(TINY, folder, music, report=report_lines.append))
    return folder


def refuse(*arguments, **keywords):
    raise AssertionError("done again")


def test_a_study_leaves_its_settings_journal_runs_tables_and_figures(study):
    assert StudyConfig.parse(parse_yaml((study / "study.yaml").read_text(), "it"), "it") == TINY
    assert {path.name for path in study.iterdir()} == {
        "study.yaml",
        "cache",
        "journal",
        "runs",
        "metrics.csv",
        "paper",
    }
    folders = sorted(path.name.rsplit("-", 1)[0] for path in (study / "runs").iterdir())
    assert folders == ["A2M2E-21", "aA2E-21"]
    assert {path.name for path in (study / "paper").iterdir()} == set(MADE)


def test_metrics_are_one_row_per_run_in_the_order_of_the_plan(study):
    table = read_csv(study / "metrics.csv")
    assert tuple(table) == METRIC_COLUMNS
    assert table["system"].tolist() == [run.system for run in runs(TINY)] == ["A2M2E", "aA2E"]
    for row in table.to_dict("records"):
        report = read_json(study / "runs" / row["run"] / "metrics.json")
        assert row["seed"] == report["seed"] == 21
        assert row["test_correlation"] == report["test"]["correlation"]["overall"]
        assert row["test_mae"] == report["test"]["mae"]["overall"]
        assert row["mean_predictor_mae"] == report["mean_predictor"]["mae"]["overall"]


def test_every_run_is_attacked_with_the_study_s_protocol(study):
    for run in (study / "runs").iterdir():
        rows = read_csv(run / "attacks" / ROWS)
        assert len(rows) == 2
        assert set(rows["iterations"]) == {2}


def test_every_step_is_reported_and_timed(report_lines, study):
    *lines, report = report_lines
    assert lines[0] == "20 clips of midlevel are ready"
    assert [line.split(":")[0] for line in lines[1:]] == ["A2M2E, seed 21", "aA2E, seed 21"]
    assert list(report.seconds) == ["corpus", "spectrograms", "training", "attack", "paper"]
    assert all(spent >= 0 for spent in report.seconds.values())
    assert report.seconds["training"] > 0
    assert (report.runs, report.failed) == (2, ())


def test_the_journal_says_what_was_done_and_how_long_it_took(study):
    for run in (study / "runs").iterdir():
        record = journal.read(study, run.name)
        attack = f"attack {ROWS.removesuffix('.csv')}"
        assert (record.stage, record.finished) == (journal.DONE, ["train", "evaluate", attack])
        assert (record.epoch, record.steps, record.steps_total) == (2, 4, 4)
        assert all(record.seconds[stage] > 0 for stage in record.finished)
    assert journal.read(study, journal.STUDY).stage == journal.DONE


def test_a_finished_study_is_not_done_again(study, music, monkeypatch):
    before = tables(study)
    monkeypatch.setattr("tenuto.training.loop._epoch", refuse)
    monkeypatch.setattr("tenuto.evaluation.robustness.evaluate", refuse)
    monkeypatch.setattr("tenuto.attacks.ReleasedAttack.__call__", refuse)
    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", refuse)
    run_study(TINY, study, music, Local(2), silent)
    assert tables(study) == before


def test_an_interrupted_study_ends_with_the_tables_of_an_undisturbed_one(study, music, tmp_path):
    def report(line):
        if line.startswith("A2M2E"):
            raise small_runs.InterruptionError

    with pytest.raises(small_runs.InterruptionError):
        run_study(TINY, tmp_path, music, report=report)
    assert [path.name[:5] for path in (tmp_path / "runs").iterdir()] == ["A2M2E"]
    assert journal.standing(tmp_path, journal.STUDY).stage == journal.STOPPED
    checkpoint = next((tmp_path / "runs").glob("A2M2E-*")) / "checkpoint.safetensors"
    written = checkpoint.stat().st_mtime_ns
    run_study(TINY, tmp_path, music, report=silent)
    assert tables(tmp_path) == tables(study)
    assert checkpoint.stat().st_mtime_ns == written  # the first run was not trained again


def test_a_study_that_stops_at_every_epoch_and_piece_ends_with_the_same_tables(
    study, music, tmp_path, monkeypatch
):
    calls = 0

    def is_reached(limit, ahead=0.0):
        """Let three checks pass in each call: before the run, before its stage, and one inside it."""
        nonlocal calls
        calls += 1
        return calls > 3

    monkeypatch.setattr("tenuto.study.limit.Limit.is_reached", is_reached)
    stopped = 0
    while (report := run_study(TINY, tmp_path, music, report=silent)).unfinished:
        assert not report.failed
        assert not (tmp_path / "metrics.csv").exists()
        assert journal.standing(tmp_path, report.unfinished[-1]).stage in (journal.STOPPED, journal.WAITING)
        stopped, calls = stopped + 1, 0
    assert stopped == 5
    assert tables(tmp_path) == tables(study)


def test_a_run_that_fails_is_reported_and_the_others_go_on(study, music, tmp_path, monkeypatch):
    attack = robustness.attack

    def fails_first(run, protocol, **keywords):
        if run.config.system == "A2M2E":
            raise DataError("the first run fails")
        return attack(run, protocol, **keywords)

    lines: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(robustness, "attack", fails_first)
        report = run_study(TINY, tmp_path, music, report=lines.append)
    (outcome,) = report.failed
    assert outcome.error == "the first run fails"
    assert "A2M2E, seed 21: failed: the first run fails" in lines
    record = journal.read(tmp_path, outcome.run)
    assert (record.stage, record.error, record.trace) == (journal.FAILED, "the first run fails", None)
    assert read_csv(tmp_path / "metrics.csv")["system"].tolist() == ["aA2E"]
    assert run_study(TINY, tmp_path, music, report=silent).failed == ()
    assert tables(tmp_path) == tables(study)
    assert journal.read(tmp_path, outcome.run).error is None


@pytest.fixture
def copied(study, tmp_path):
    """A copy of the study, whose runs are not carried out again."""
    return Path(shutil.copytree(study, tmp_path / "study"))


def test_tables_are_of_the_study_s_runs_alone(study, copied, music):
    more = small.changed(systems=["A2E", "A2M2E", "aA2E"])
    run_study(more, copied, music, report=silent)
    assert len(list((copied / "runs").iterdir())) == 3
    said: list[str] = []
    run_study(TINY, copied, music, report=said.append)
    for name in ("metrics.csv", "paper/table1.csv", "paper/metrics.csv"):
        assert (copied / name).read_bytes() == (study / name).read_bytes()
    (other,) = (copied / "runs").glob("A2E-*")
    assert said[-1].startswith(f"not in the study, but in its folder: {other.name}. `tenuto stats`")


def test_a_run_to_which_work_was_added_waits(copied, music):
    more = small.changed(
        protocols=[{"protocol": "paper-2025-released", "settings": {"iterations": n}} for n in (2, 3)]
    )
    done = run_study(more, copied, music, report=silent, time_limit=0.001)
    assert len(done.unfinished) == 2
    assert {journal.standing(copied, run).stage for run in done.unfinished} == {"waiting"}


def test_every_protocol_has_tables_of_its_own(copied, music):
    several = small.changed(
        systems=["aA2E"],
        protocols=[
            {"protocol": "paper-2025-released", "settings": {"iterations": iterations}}
            for iterations in (2, 3)
        ],
    )
    run_study(several, copied, music, report=silent)
    second = copied / "paper" / "paper-2025-released+iterations=3"
    for place, iterations in ((copied / "paper", 2), (second, 3)):
        assert read_csv(place / "metrics.csv")["iterations_mean"].tolist() == [iterations]
        assert (place / "table1.csv").is_file()


def analysis_is_done(study, folder, music):
    (stage,) = (stage for stage in plan_study(study, folder, music).stages if stage.kind == "analyse")
    return stage.done


def test_tables_that_lack_a_protocol_are_not_done(copied, music, monkeypatch):
    several = small.changed(
        protocols=[
            *small.CONTENT["protocols"],
            {"protocol": "paper-2025-released", "settings": {"iterations": 3}},
        ]
    )
    assert analysis_is_done(TINY, copied, music)
    with monkeypatch.context() as patched:
        patched.setattr("tenuto.study.engines.analyse", small_runs.interrupt)
        with pytest.raises(small_runs.InterruptionError):
            run_study(several, copied, music, report=silent)
    assert all(stage.done for stage in plan_study(several, copied, music).stages if stage.kind != "analyse")
    assert not analysis_is_done(several, copied, music)
    run_study(several, copied, music, report=silent)
    assert analysis_is_done(several, copied, music)
    assert not analysis_is_done(TINY, copied, music)


@pytest.mark.parametrize("name", ["paper", "paper/figure4.pdf", "metrics.csv"])
def test_tables_that_were_deleted_are_not_done(name, copied, music, tmp_path):
    aside = (copied / name).rename(tmp_path / "aside")
    assert not analysis_is_done(TINY, copied, music)
    aside.rename(copied / name)
    assert analysis_is_done(TINY, copied, music)


def test_tables_are_not_done_while_they_are_made_again(copied, music, monkeypatch):
    monkeypatch.setattr("tenuto.study.engines.analyse", small_runs.interrupt)
    with pytest.raises(small_runs.InterruptionError):
        run_study(TINY, copied, music, report=silent)
    assert not analysis_is_done(TINY, copied, music)


def test_a_study_with_a_corpus_of_its_own_makes_it_once(tmp_path, tmp_path_factory, monkeypatch):
    study = small.changed(
        systems=["A2B2E"],
        corpus={"clips": 16, "seconds": 11},
        run={"data": {"dataset": "synthetic"}, "train": {"epochs": 1}},
    )
    with short.rendered_once(tmp_path_factory):
        run_study(study, tmp_path, report=silent)
    assert read_csv(tmp_path / "metrics.csv")["system"].tolist() == ["A2B2E"]
    before = tables(tmp_path)
    monkeypatch.setattr(synthesis, "render", refuse)
    run_study(study, tmp_path, report=silent)
    assert tables(tmp_path) == before


SCRIPT = """
import os, signal, sys
from pathlib import Path
from typing import Any
from tenuto.config import preset_study
from tenuto.study.engines import Local, run_study
from tenuto.training.update import Trainee

place, music, victim = Path({place!r}), Path({music!r}), {victim!r}
learn, calls = Trainee.learn, []

def fatal(*arguments):
    calls.append(arguments)
    if len(calls) == 6 and not (place / "killed").exists():  # in the second epoch
        (place / "killed").touch()
        os.kill(os.getppid() if victim == "driver" else os.getpid(), signal.SIGKILL)
    return learn(*arguments)

Trainee.learn = fatal  # in every process: a spawned one imports this file

if __name__ == "__main__":
    {undrawn}
    done = run_study(preset_study(str(place / "study.yaml")), place / "study", music, Local(2))
    print([outcome.error for outcome in done.failed])
"""


@pytest.fixture
def disturbed(tmp_path, music):
    """A function that starts the study in another process, whose workers kill somebody; its output and exit code."""

    def start(victim, study=TINY):
        small.write_study(tmp_path / "study.yaml", study)
        script = tmp_path / "script.py"
        values = {"place": str(tmp_path), "music": str(music), "victim": victim, "undrawn": small.UNDRAWN}
        script.write_text(SCRIPT.format(**values))
        process = small.started(script)
        output, _ = process.communicate(timeout=600)
        assert (tmp_path / "killed").exists(), output
        return output, process.returncode

    return start


def test_kill_9_of_a_worker_costs_no_run_and_changes_no_table(disturbed, study, tmp_path):
    output, code = disturbed("worker")
    assert (code, output.splitlines()[-1]) == (0, "[]"), output
    assert tables(tmp_path / "study") == tables(study)


def test_kill_9_of_the_driver_ends_its_workers_and_the_same_call_finishes(disturbed, study, music, tmp_path):
    one = small.changed(systems=["aA2E"])
    output, code = disturbed("driver", one)
    assert code == -signal.SIGKILL, output
    folder = tmp_path / "study"
    (run,) = (folder / "runs").iterdir()
    record = journal.read(folder, run.name)
    wait_for(lambda: not is_running(record.pid))
    assert (record.stage, record.epoch) == ("train", 1)
    run_study(one, folder, music, report=silent)
    assert run_tables(folder, run.name) == run_tables(study, run.name)


def run_tables(folder, run):
    """Every table of one run."""
    return {path.name: path.read_bytes() for path in (folder / "runs" / run).rglob("*.csv")}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", "{}"),
        ("metrics.json", "{"),
        (f"attacks/{ROWS}", "run,clip\nx,1\n"),
        ("config.yaml", "data: ["),
        ("checkpoint.safetensors", None),
    ],
)
def test_a_damaged_run_is_named_and_the_tables_of_the_others_are_made(name, content, copied, music):
    run = next((copied / "runs").glob("A2M2E-*"))
    if content is None:  # the checkpoint is damaged, and needed for the attack that is missing
        (run / "checkpoint.safetensors").write_bytes(b"damaged")
        (run / "attacks" / ROWS).unlink()
    else:
        write_text(run / name, content)
    for _ in range(2):  # a second call says the same
        (outcome,) = run_study(TINY, copied, music, report=silent).failed
        assert outcome.run == run.name
        assert str(run) in outcome.error
        assert read_csv(copied / "metrics.csv")["system"].tolist() == ["aA2E"]
        assert set(read_csv(copied / "paper" / "metrics.csv")["system"]) == {"aA2E"}
        assert journal.read(copied, run.name).error == outcome.error


def test_tables_of_an_earlier_call_are_said_to_be(copied, music):
    for run in (copied / "runs").iterdir():
        write_text(run / "metrics.json", "{")
    said: list[str] = []
    assert len(run_study(TINY, copied, music, report=said.append).failed) == 2
    assert said[-1].startswith("no run is complete; tables and figures in the folder are those of an earlier")


@each_refusal
def test_a_call_that_is_refused_leaves_the_record_of_the_study(
    place, engine, study, copied, music, tmp_path, monkeypatch
):
    more = small.changed(seeds=[21, 22])
    monkeypatch.setattr(place, refuses)
    with pytest.raises(DataError, match="a recording is silent"):
        run_study(more, copied, music, engine, silent)
    assert journal.read(copied, journal.STUDY) == journal.read(study, journal.STUDY)
    assert analysis_is_done(TINY, copied, music)
    with pytest.raises(DataError):
        run_study(TINY, tmp_path / "new", music, engine, silent)
    assert journal.standing(tmp_path / "new", journal.STUDY).stage == journal.WAITING


PRECISION = PrecisionWarning("precision: rounded")


class FakeProcess:
    """A worker that warns twice and then ends its job."""

    def __init__(self):
        self.pipe, self.other_end = multiprocessing.Pipe()

    def give(self, job, tries):
        for answer in (PRECISION, PRECISION, Outcome(job)):
            self.other_end.send(answer)

    def answer(self):
        return self.pipe.recv()

    def end(self):
        self.pipe.close()


def test_what_several_processes_warn_of_is_warned_of_once(monkeypatch):
    monkeypatch.setattr(processes, "_Worker", FakeProcess)
    jobs: list[Any] = ["A2E-6-00000000", "A2E-21-00000000", "A2E-42-00000000"]
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        outcomes = list(processes.in_processes(jobs, 2))
    assert {outcome.run for outcome in outcomes} == set(jobs)
    assert [(one.category, str(one.message)) for one in given] == [(PrecisionWarning, str(PRECISION))]


def test_a_process_sends_warnings_of_tenuto_before_the_outcome(monkeypatch):
    def complete(job):
        warnings.warn(PRECISION, stacklevel=1)
        warnings.warn("of another library", UserWarning, stacklevel=1)
        return Outcome(job, 0.5)

    monkeypatch.setattr(processes, "complete_run", complete)
    for name in ("end_with_parent", "signal.signal"):
        monkeypatch.setattr(f"tenuto.study.processes.{name}", lambda *given: None)
    sent: list[Any] = []
    jobs = iter(["A2E-6-00000000"])

    def receive():
        try:
            return next(jobs)
        except StopIteration as end:
            raise EOFError from end

    with pytest.warns(UserWarning, match="of another library"):
        processes._serve(SimpleNamespace(recv=receive, send=lambda each: sent.append(pickle.dumps(each))))
    warning, outcome = map(pickle.loads, sent)
    assert (type(warning), str(warning)) == (PrecisionWarning, str(PRECISION))
    assert outcome == Outcome("A2E-6-00000000", 0.5)
