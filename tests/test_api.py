"""The front door: what a command does is one call in Python.

Longer than other files: all calls are made on one study, which is run once.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import tenuto
from tenuto.api.datasets import data_config
from tenuto.api.single_attacks import as_protocol, with_siblings
from tenuto.attacks import APGD, Foreign, Linf, Noise, OneEmotion, Region, ReleasedAttack, Transfer, Unbounded
from tenuto.cli.app import app
from tenuto.cli.options import with_options
from tenuto.config import RunConfig, StudyConfig, merge, preset_study
from tenuto.data import Normalisation
from tenuto.data.splits import PARTS
from tenuto.errors import CheckpointError, ConfigError, DataError, FileError, TrustError
from tenuto.evaluation import runs
from tenuto.evaluation.runs import Sibling
from tenuto.sinks import open_sink
from tests import corpora, short
from tests.reporting import made_up

ARRAY: Any = np.zeros((1, 2))
NO_ATTACK: Any = 5
EMOTIONS = ["valence", "energy", "tension", "anger", "fear", "happy", "sad", "tender"]


def command(*words):
    """What the command line prints."""
    outcome = CliRunner().invoke(app, [str(word) for word in words])
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A study of two systems with its own corpus and cache, attacked for two iterations."""
    folder = tmp_path_factory.mktemp("api") / "study"
    settings = preset_study("demo").model_dump(mode="json")
    small = {
        "systems": ("A2E", "A2M2E"),
        "seeds": (6,),
        "corpus": {"clips": 30},
        "run": {"model": {"width": 0.0625}, "train": {"epochs": 1}},
        "protocols": ({"protocol": "paper-2025-released", "settings": {"iterations": 2, "step_size": 0.05}},),
    }
    with short.undrawn(), short.rendered_once(tmp_path_factory):
        done = tenuto.run_study(StudyConfig.parse(merge(settings, small), "a small study"), folder)
    assert not done.failed
    return folder


@pytest.fixture(scope="session")
def folder(study):
    """The folder of its A2M2E."""
    return next((study / "runs").glob("A2M2E-*"))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("TENUTO_DATA", "TENUTO_CACHE", "TENUTO_RUNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def run(folder):
    """That run, opened; the corpus of its study is found."""
    return tenuto.open_run(folder)


def test_a_run_finds_the_corpus_and_cache_of_its_study(run, study):
    assert len(run.part("train")) == 24
    assert run.material.prepared.index.paths[0].is_relative_to(study / "corpus")


def test_a_run_elsewhere_needs_its_data(folder, study, tmp_path, monkeypatch):
    copy = shutil.copytree(folder, tmp_path / folder.name)
    with pytest.raises(ConfigError, match="Give its folder as `root`, or set TENUTO_DATA"):
        tenuto.open_run(copy)
    monkeypatch.setenv("TENUTO_DATA", str(study / "corpus"))
    monkeypatch.setenv("TENUTO_CACHE", str(study / "cache"))
    assert tenuto.open_run(copy).name == folder.name


def test_one_attack_is_one_call_and_its_rows_are_audited(run):
    rows = run.attack(APGD(Linf(0.1), steps=2, restarts=1))
    assert list(rows["clip"]) == list(run.part("test").clips)
    assert (rows["linf"] <= 0.1 * (1 + 1e-6)).all()
    pd.testing.assert_frame_equal(tenuto.attack(run, APGD(Linf(0.1), steps=2, restarts=1)), rows)
    audit = tenuto.audit(rows)
    assert "PASS" in audit.summary
    assert set(audit.table["check"]) >= {"budget", "convergence"}
    assert "<table" in audit._repr_html_()
    assert repr(audit).splitlines()[:2] == ["Audit", audit.summary]
    assert repr(run).startswith(f"Run\n{run.folder}: A2M2E, seed ")


def test_an_attack_by_its_name_is_that_of_the_command(run, folder, study):
    rows = run.attack("APGD", epsilon=0.1, objective="happy+", steps=2)
    words = ("--attack", "APGD", "--epsilon", 0.1, "--objective", "happy+", "--setting", "steps=2")
    printed = json.loads(command("attack", folder, *words, "--no-natural", "--json"))
    assert printed["protocol"] == rows["protocol"].iloc[0]
    assert set(rows["objective"]) == {"happy up"}
    other = next((study / "runs").glob("A2E-*"))
    by_folder = tenuto.attack(run, "Transfer", norm="l2", epsilon=1, source=other, steps=1)
    by_model = tenuto.attack(run, "Transfer", norm="l2", epsilon=1, source=tenuto.load(other), steps=1)
    assert by_folder["attack"].iloc[0] == f"Transfer from {other.name}"
    assert by_folder["loss"].equals(by_model["loss"])
    itself = tenuto.attack(run, "Transfer", norm="l2", epsilon=1, source=run.model, steps=1)
    assert not itself["loss"].equals(by_model["loss"])
    with pytest.raises(ConfigError, match="needs an epsilon"):
        run.attack("APGD")
    with pytest.raises(ConfigError, match="Set them in OneEmotion"):
        run.attack("APGD", epsilon=0.1, objective=OneEmotion(0), from_clean=True)


def test_a_function_of_the_user_is_named_as_on_the_command_line(run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def same(model, inputs, labels):\n    return inputs\n")
    with pytest.raises(TrustError):
        tenuto.attack(run, f"{file}:same", epsilon=0.1)
    rows = tenuto.attack(run, f"{file}:same", epsilon=0.1, trust=True)
    assert (rows["linf"] == 0).all()


def test_traces_of_another_part_are_reported_under_a_name_of_their_own(run, monkeypatch):
    reported: list[str] = []

    def noted(log, folder, name, part):
        reported.append(part)
        return open_sink("none", folder, name, part)

    monkeypatch.setattr("tenuto.api.runs.open_sink", noted)
    chosen = as_protocol(APGD(Linf(0.1), steps=1, restarts=1))
    for part in ("validation", "test"):
        run.attack(chosen, part, log="none")
    assert reported == [f"{chosen}-validation", str(chosen)]


def test_a_protocol_takes_settings_and_an_attack_has_its_own(run):
    rows = run.attack("paper-2025-released", iterations=2, step_size=0.05)
    assert set(rows["protocol"]) == {"paper-2025-released+iterations=2+step_size=0.05"}
    with pytest.raises(ConfigError, match="settings belong to a protocol given by its name"):
        run.attack(Noise(Linf(0.1)), draws=3)


def test_rows_of_one_sibling_are_not_taken_for_those_of_another(run, study):
    other = tenuto.load(next((study / "runs").glob("A2E-*")))
    rows = {}
    for name, source in (("itself", run.model), ("other", other), ("again", other)):
        rows[name] = run.attack(Transfer(Linf(0.05), source=source, steps=2))
    assert rows["other"].equals(rows["again"])
    assert rows["itself"]["protocol"].iloc[0] != rows["other"]["protocol"].iloc[0]
    gradient = run.attack(APGD(Linf(0.05), steps=2))  # a sibling with the same weights takes the same steps
    np.testing.assert_allclose(rows["itself"]["loss"], gradient["loss"], atol=1e-6)


def test_a_sibling_is_fed_inputs_in_its_own_normalisation(run):
    inputs = dataclasses.replace(run.model.inputs, normalisation=Normalisation(mean=-60.0, deviation=7.0))
    shifted = dataclasses.replace(run.model, inputs=inputs)
    with pytest.raises(ConfigError, match="takes other inputs than A2M2E, or normalises them otherwise"):
        tenuto.attack_recording(run, "song.wav", Transfer(Linf(0.05), source=shifted))
    (attack,) = with_siblings(as_protocol(Transfer(Linf(0.05), source=shifted)), run).attacks
    assert isinstance(attack, Transfer)
    assert isinstance(attack.source, Sibling)
    own = run.model.inputs.normalisation
    assert attack.source.scale == pytest.approx(own.deviation / 7)


def test_functions_of_one_name_are_two_attacks(run):
    def foreign(size):
        def call(model, inputs, labels):
            return inputs + size

        return run.attack(Foreign(Linf(0.05), call=call))

    small, large = foreign(0.01), foreign(0.04)
    assert small["protocol"].iloc[0] != large["protocol"].iloc[0]
    assert large["linf"].max() > 2 * small["linf"].max()
    assert foreign(0.01).equals(small)


def test_the_released_attack_is_its_protocol(run):
    rows = run.attack(ReleasedAttack(iterations=2, step_size=0.05))
    assert rows.equals(run.attack("paper-2025-released", iterations=2, step_size=0.05))


def test_metrics_are_a_table_and_those_of_the_command(run, folder):
    metrics = tenuto.evaluate(run)
    table = metrics.table.loc["test"]
    assert set(EMOTIONS) < set(table.index)
    assert json.loads(command("evaluate", folder, "--json"))["test"]["mae"] == table["mae"].to_dict()
    assert "<table" in metrics._repr_html_()


def test_recordings_are_predicted_as_by_the_model(run, folder, study):
    song = next((study / "corpus" / "Set1").glob("*.mp3"))
    table = tenuto.predict(folder, [song, str(song)])
    assert list(table.columns[:8]) == EMOTIONS
    assert list(table.iloc[0, :8]) == list(tenuto.load(folder).predict(song).emotions.values())
    assert tenuto.predict(run, song).equals(table.iloc[:1])
    with pytest.raises(ConfigError, match=r"got ndarray\. Predict a waveform with"):
        tenuto.predict(run, np.zeros(8, dtype=np.float32))  # type: ignore[arg-type]


def test_an_explanation_has_places_once_the_data_are_found(folder, study, run):
    song = next((study / "corpus" / "Set1").glob("*.mp3"))
    explanation = tenuto.explain(folder, song)
    assert explanation.training_clips == 24
    assert explanation.effects == run.explain(song).effects
    with pytest.raises(ConfigError, match="`hop_seconds` must be"):
        tenuto.explain(folder, song, hop_seconds=1e-9)


@pytest.mark.usefixtures("undrawn")
def test_concepts_are_set_and_corrected(run, folder, study, tmp_path):
    change = tenuto.set_concepts(folder, {"dissonance": 0.7})
    assert list(change.table.index) == EMOTIONS
    song = next((study / "corpus" / "Set1").glob("*.mp3"))
    assert tenuto.set_concepts(run, {"dissonance": 0.7}, song).source == str(song)
    with pytest.raises(CheckpointError, match="no bottleneck"):
        tenuto.set_concepts(next((study / "runs").glob("A2E-*")), {"dissonance": 0.7})
    corrected = tenuto.intervene(run, out=tmp_path)
    assert set(corrected.rows["k"]) == set(range(8))
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".png", ".pdf"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": Linf(0)}, "budget must be limited and larger than 0"),
        ({"budget": Unbounded()}, "budget must be limited and larger than 0"),
        ({"clips": 0}, "clips must be a whole number of at least 1"),
    ],
)
def test_an_audit_without_attacks_is_refused_by_the_name_of_the_setting(folder, settings, message):
    with pytest.raises(ConfigError, match=message):
        tenuto.audit(folder, **settings)


def test_a_prediction_is_attributed_and_its_attribution_attacked(run, folder, tmp_path):
    clip, picture = run.part("test").clips[0], tmp_path / "one.png"
    result = tenuto.attribute(folder, clip, "sad", budget=Linf(0.05), region=Region(seconds=(2, 4)), steps=2)
    assert (result.source, result.output, result.values.shape) == (clip, "sad", (313, 149))
    assert abs(result.gap) < 0.01
    words = (
        "attribute",
        folder,
        clip,
        "--emotion",
        "sad",
        "--epsilon",
        0.05,
        "--seconds",
        2,
        4,
        "--steps",
        2,
    )
    printed = json.loads(command(*words, "--json"))
    assert printed["segments"] == result.segments.to_dict("records")
    assert printed["found"] == result.found
    assert printed["moved"] == result.moved.table
    text = command("attribute", folder, clip, "--method", "occlusion", "--plot", picture)
    coarse = json.loads(command("attribute", folder, clip, "--segments", 4, 2, "--json"))
    assert len(coarse["segments"]) == 4 * 2
    assert "by occlusion" in text
    assert picture.stat().st_size > 1000


def test_the_code_of_a_second_run_is_trusted_like_that_of_the_first(run, folder, study, monkeypatch):
    other = next((study / "runs").glob("A2E-*"))
    trusted: list[bool] = []

    def noting(function):
        def call(place, *arguments, trust=False, **options):
            trusted.extend([trust] if Path(place) == other else [])
            return function(place, *arguments, trust=trust, **options)

        return call

    monkeypatch.setattr("tenuto.api.runs.runs.open_run", noting(runs.open_run))
    monkeypatch.setattr("tenuto.api.single_attacks.load", noting(tenuto.load))
    words = ("--attack", "Transfer", "--norm", "l2", "--epsilon", 1, "--source", other, "--no-natural")
    command("leakage", folder, "--split", "train", "--black-box", other, "--trust")
    command("attack", folder, *words, "--setting", "steps=1", "--trust")
    for first in (run, folder):
        tenuto.leakage(first, "train", black_box=other, trust=True)
        tenuto.attack(first, "Transfer", norm="l2", epsilon=1, source=other, steps=1, trust=True)
    assert trusted == [True] * 6
    tenuto.leakage(run, "train", black_box=other)
    tenuto.attack(run, "Transfer", norm="l2", epsilon=1, source=other, steps=1)
    assert trusted[6:] == [False] * 2


def test_leakage_is_measured(folder, study):
    other = next((study / "runs").glob("A2E-*"))
    result = tenuto.leakage(folder, "train", black_box=other)
    assert result.black_box == other.name
    words = ("leakage", folder, "--split", "train", "--black-box", other)
    printed = json.loads(command(*words, "--json"))
    assert [line["measure"] for line in printed["summary"]] == list(result.summary["measure"])
    assert printed["tasks"] == result.tasks.to_dict("records")
    assert all(title in command(*words) for title in ("concept task leakage", "about", other.name))


@pytest.mark.usefixtures("undrawn")
def test_clips_are_shown(run, tmp_path):
    clip = run.part("test").clips[0]
    shown = tenuto.show(run, clip, "paper-2025-released+iterations=2+step_size=0.05", out=tmp_path)
    assert [one.clip for one in shown.clips] == [clip]
    assert len(shown.files[clip]) == 5
    page = shown._repr_html_()
    assert page.count("<audio") == 3
    assert 'alt="Log spectrograms of clip' in page
    with pytest.raises(ConfigError, match="clips of several parts"):
        run.show([clip, run.part("train").clips[0]])


def test_natural_variation_is_a_table(run):
    changes = tenuto.natural(run)
    assert {"change", "moved", "clean_mae", "mae"} <= set(changes.columns)


@pytest.mark.usefixtures("undrawn")
def test_the_report_is_the_file_of_the_command(study, tmp_path):
    report = tenuto.report(study, out=tmp_path / "python.html", clips=1)
    command("report", study, "--out", tmp_path / "command.html", "--clips", 1)
    assert report.path.read_bytes() == (tmp_path / "command.html").read_bytes()
    assert b"<audio" in report.path.read_bytes()
    assert len(report.answer) == 3
    assert "<ul>" in report._repr_html_()


def test_systems_are_compared_from_rows_or_a_study(study):
    settings = tenuto.analysis.comparison.Settings(draws=100)
    of_rows = tenuto.compare(tenuto.rows(study), settings=settings)
    of_study = tenuto.compare(study, settings=settings)
    pd.testing.assert_frame_equal(of_rows.pairs, of_study.pairs)


@pytest.mark.parametrize(
    "call",
    [
        tenuto.rows,
        tenuto.compare,
        tenuto.curves,
        tenuto.optimality,
        tenuto.corruption_error,
        tenuto.audit,
        tenuto.paper,
    ],
    ids=lambda call: str(call.__name__),
)
def test_a_table_that_holds_no_rows_is_refused(call):
    with pytest.raises(DataError, match=r"^rows: no column split\. Rows are written by `tenuto attack`"):
        call(made_up.run().drop(columns="split"))


def test_the_paper_is_made_of_rows_without_files(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paper = tenuto.paper(tenuto.rows(study), out=None)
    assert set(paper.table1["system"]) >= {"A2E", "A2M2E"}
    assert "<table" in paper._repr_html_()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="Did you mean figure4"):
        tenuto.paper(study, "figure2")


def test_curves_need_several_budgets(run, study):
    with pytest.raises(DataError, match="no row of a test clip has an epsilon"):
        tenuto.curves(tenuto.rows(study))
    rows = pd.concat([run.attack(Noise(Linf(epsilon))) for epsilon in (0.1, 0.2)]).assign(protocol="two")
    assert sorted(set(tenuto.curves(rows).runs["epsilon"])) == [0.0, 0.1, 0.2]


@pytest.mark.parametrize(
    "call",
    [
        lambda run: tenuto.evaluate(run, "elsewhere"),
        lambda run: tenuto.evaluate(run, data="deam"),
        lambda run: tenuto.attack(run, trust=True),
        lambda run: tenuto.natural(run, cache="elsewhere"),
        lambda run: tenuto.certify(run, sigma=0.1, data="deam"),
        lambda run: tenuto.predict(run, "song.wav", model=torch.nn.Identity()),
        lambda run: tenuto.explain(run.model, "song.wav", trust=True),
        lambda run: tenuto.explain(run, "song.wav", "elsewhere"),
        lambda run: tenuto.explain(run.model, "song.wav", "elsewhere"),
        lambda run: tenuto.set_concepts(run, {}, "song.wav", root="elsewhere"),
        lambda run: tenuto.certify(run.model, torch.zeros(1, 1, 313, 149), sigma=0.1, data="deam"),
    ],
)
def test_an_open_run_is_not_opened_again(run, call):
    """Other data would be judged by the run's own, without a word."""
    with pytest.raises(ConfigError, match="is open already"):
        call(run)


def test_an_open_run_is_taken_for_its_folder(run, study, tmp_path):
    rows = tenuto.rows(run)
    assert len(rows) == len(tenuto.rows(run.folder)) == len(tenuto.rows(rows.assign(folder="a column")))
    assert list(tenuto.compare(run).systems["system"].unique()) == ["A2M2E"]
    assert tenuto.audit(run, root=study / "corpus", clips=1).findings
    assert tenuto.report(run, tmp_path / "one.html", clips=0).path.is_file()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: tenuto.curves(model), "a run or study, or an open run, got Recogniser"),
        (lambda model: tenuto.evaluate(model), "run must be a Run or a path, got Recogniser"),
        (lambda model: tenuto.report(model), "or an open run, got Recogniser"),
        (lambda model: tenuto.compare(model), "or the result of an attack, got Recogniser"),
        (
            lambda model: tenuto.certify(model.network, torch.zeros(1, 2), sigma=0.1),
            r"got A2M2E\. `tenuto\.adopt",
        ),
        (
            lambda model: tenuto.certify(model, ARRAY, sigma=0.1),
            "must be a Tensor, a string or None, got ndarray",
        ),
    ],
)
def test_what_is_no_run_is_named(run, call, message):
    with pytest.raises(ConfigError, match=message):
        call(run.model)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: tenuto.attribute(run, "1", epsilon=0.1), "epsilon is no parameter of attribute"),
        (lambda run: run.attack(0.1), r"got 0\.1\. Give one such as APGD\(Linf\(0\.05\)\)"),
        (lambda run: tenuto.attack_recording(run, "song.wav", NO_ATTACK), "Give one such as APGD"),
        (
            lambda run: run.universal(0.1),
            r"budget must be a Budget, got 0\.1\. Give one such as Linf\(0\.05\)",
        ),
        (
            lambda run: run.universal(Linf(0.1), epoch=3),
            "Universal has no setting 'epoch'. Did you mean epochs",
        ),
        (lambda run: run.certify(sigma=0.1, drws=3), "Smoothing has no setting 'drws'. Did you mean draws"),
        (lambda run: run.attack(APGD(Linf(0.1)), device="gpu"), "device gpu: unknown"),
        (lambda run: run.universal(Linf(0.1), device="gpu"), "device gpu: unknown"),
        (lambda run: tenuto.attack_recording(run, "song.wav", device="gpu"), "device gpu: unknown"),
        (
            lambda run: run.set_concepts({"dissonance": "high"}),
            "each value a number, got {'dissonance': 'high'}",
        ),
        (
            lambda run: tenuto.predict(run.folder, "song.wav", root="a"),
            "root: a model is opened without a data",
        ),
        (lambda run: tenuto.explain("a2e-soundtracks", "song.wav", "a"), "root: a2e-soundtracks is no run"),
        (
            lambda run: tenuto.prepare("a", NO_ATTACK),
            "config must be a string, a DataConfig or None, got 5",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_the_words_of_the_call(run, call, message):
    with pytest.raises(ConfigError, match=message):
        call(run)


def test_a_data_set_may_be_given_by_its_name(study, tmp_path):
    corpus = study / "corpus"
    assert len(tenuto.prepare(corpus, "synthetic", cache=study / "cache").index) == 30
    assert tenuto.validate(corpus, "synthetic", cache=study / "cache").ok
    with pytest.raises(ConfigError, match="Unknown data set 'syntetic'"):
        tenuto.train(tmp_path, data="syntetic")


def test_a_study_is_planned_and_followed(study):
    status = tenuto.study_status(study)
    assert status["stage"].tolist() == ["done", "done"]
    assert (status["epoch"].tolist(), status["epochs"].tolist()) == ([1, 1], [1, 1])
    assert status["error"].isna().all()
    plan = tenuto.plan_study(read_settings(study), study)
    assert all(stage.done for stage in plan.stages)
    with pytest.raises(ConfigError, match="contains no study"):
        tenuto.study_status(study / "corpus")


def read_settings(study):
    return str(study / "study.yaml")


def test_concepts_are_described(study, tmp_path):
    described = tenuto.describe(
        study / "corpus", "synthetic", out=tmp_path / "concepts.csv", cache=study / "cache", workers=1
    )
    assert described.values.shape == (30, 7)
    assert len(pd.read_csv(tmp_path / "concepts.csv")) == 30


@pytest.mark.parametrize(
    ("call", "computed"),
    [
        (lambda run, out: run.intervene(out=out), "tenuto.evaluation.intervention.intervene"),
        (lambda run, out: run.show(out=out), "tenuto.evaluation.resynthesis.resynthesise_clips"),
        (
            lambda run, out: tenuto.gallery(run, out / "g.html"),
            "tenuto.evaluation.resynthesis.resynthesise_clips",
        ),
        (
            lambda run, out: tenuto.report(run.folder.parents[1], out / "r.html"),
            "tenuto.api.reports.make_page",
        ),
        (lambda run, out: tenuto.compare(out=out), "tenuto.analysis.comparison.compare"),
        (
            lambda run, out: tenuto.describe(
                run.folder.parents[1] / "corpus", "synthetic", out=out / "c.csv"
            ),
            "tenuto.data.signal.signal_concepts",
        ),
        (
            lambda run, out: tenuto.attack_recording(run, "song.mp3", out=out),
            "tenuto.evaluation.recording.attack_recording",
        ),
    ],
)
def test_where_nothing_can_be_written_nothing_is_computed(run, tmp_path, monkeypatch, call, computed):
    monkeypatch.delattr(computed)
    (tmp_path / "file").write_text("in the place of a folder")
    with pytest.raises(FileError, match="cannot write: a part of its path is a file"):
        call(run, tmp_path / "file")


def test_progress_is_reported(folder):
    class Recorder(tenuto.Progress):
        def __init__(self):
            self.tasks, self.notes = [], []

        def bar(self, task, total):
            self.tasks.append((task, total))
            return super().bar(task, total)

        def note(self, sentence):
            self.notes.append(sentence)

    progress = Recorder()
    tenuto.open_run(folder, progress=progress).natural()
    assert [task for task, _ in progress.tasks] == ["spectrograms", "natural variation"]


@pytest.fixture
def own_folder(tmp_path):
    """Recordings with a table of ratings of other names, described by ``tenuto.yaml``."""
    corpora.folder(tmp_path / "own", clips=20)
    (tmp_path / "own" / "tenuto.yaml").write_text(
        "ratings: table.csv\nid_column: song\nemotions: [arousal, joy]\nconcepts: [roughness]\n"
        "scale: [1, 7]\nalbum_column: record\n"
    )
    return tmp_path / "own"


def test_a_folder_is_described_once_in_a_file(own_folder, tmp_path):
    prepared = tenuto.prepare(own_folder, cache=tmp_path / "cache")
    assert prepared.index.emotions == ("arousal", "joy")
    assert prepared.index.concepts == ("roughness",)
    assert json.loads(command("data", "validate", "folder", "--root", own_folder, "--json"))["ok"]
    shown = command("prepare", "--root", own_folder, "--cache", tmp_path / "cache")
    assert prepared.fingerprint[:8] in shown


def test_options_override_the_file_and_a_run_records_both(own_folder, tmp_path):
    words = ("--root", own_folder, "--cache", tmp_path / "cache", "--runs", tmp_path / "runs")
    tiny = ("--system", "A2E", "--width", 0.0625, "--epochs", 1, "--threads", 1, "--batch-size", 4)
    run = Path(command("train", *words, *tiny, "--emotions", "joy").strip())
    opened = tenuto.open_run(run, own_folder, cache=tmp_path / "cache")
    assert opened.recogniser.emotions == ("joy",)
    assert opened.config.data.folder.scale == (1, 7)


def test_an_adopted_model_is_judged_on_a_split_of_the_users(own_folder, tmp_path):
    index = tenuto.data.open_dataset(data_config(own_folder), own_folder).index
    parts = dict(zip(index.clips, ["train"] * 2 + ["validation"] * 2 + ["test"] * 16, strict=True))
    path = tmp_path / "split.csv"
    pd.Series(parts, name="split").rename_axis("clip").to_csv(path)
    about: dict[str, Any] = {"emotions": "arousal", "takes": "features", "front_end": level, "seconds": 1}
    about |= {"threads": 1, "cache": tmp_path / "cache", "runs": tmp_path / "runs"}
    adopted = tenuto.adopt(torch.nn.Linear(1, 1), root=own_folder, split=str(path), **about)
    assert [len(adopted.part(part)) for part in PARTS] == [2, 2, 16]
    with pytest.raises(ConfigError, match="`split` is part of `data`"):
        tenuto.adopt(
            torch.nn.Linear(1, 1), root=own_folder, split="random", data=adopted.config.data, **about
        )


def level(waveform):
    return np.abs(waveform).mean(keepdims=True)


def test_an_unknown_key_of_the_file_is_refused(own_folder):
    (own_folder / "tenuto.yaml").write_text("emotion: [joy]\n")
    with pytest.raises(ConfigError, match=r"tenuto.yaml: unknown key emotion. Did you mean emotions\?"):
        tenuto.prepare(own_folder)


def test_parameters_become_options():
    assert with_options("give `hop_seconds` or `batch_size`, not `nothing`") == (
        "give --hop or --batch-size, not `nothing`"
    )
    assert with_options("Use `dataset=folder`; `root` is no such folder.") == (
        "Use --data folder; --root is no such folder."
    )
    assert with_options("step_size must be above 0, got -1.") == "--step-size must be above 0, got -1."
    of_attack = "steps must be a whole number, got 'few'."  # `--setting steps=few`; train alone has --steps
    assert with_options(of_attack, "attack") == of_attack
    assert with_options(of_attack, "train") == f"--{of_attack}"
    assert with_options("`root`, `iterations`, `runs_file`", "study") == "--root, `iterations`, `runs_file`"


def test_a_whole_configuration_takes_no_other_settings(tmp_path):
    with pytest.raises(ConfigError, match=r"^system, seed: `config` is the whole configuration"):
        tenuto.train(tmp_path, RunConfig(), system="A2E", seed=99)


def test_a_study_on_a_device_that_is_not_there_is_refused_at_once(tmp_path):
    with pytest.raises(ConfigError, match="device gpu: unknown"):
        tenuto.run_study(preset_study("demo"), tmp_path / "study", device="gpu")
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "tf32"}, "only GPUs compute in TF32"),
        ({"robust": {"method": "noise", "steps": 3}}, "noise has no setting `steps`"),
        ({"bottleneck": "sequential"}, "bottleneck sequential needs the network a2m2e"),
    ],
)
def test_settings_of_training_are_refused_before_recordings_are_read(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        tenuto.train(tmp_path, **settings)  # a folder without recordings
